"""Does a task with an interpreter or a secret go only where that is, and is it said where it is?"""

from __future__ import annotations

import pytest

from remuda.protocol import messages as m
from remuda.protocol.capabilities import from_document
from remuda.protocol.errors import Invalid
from remuda.protocol.spec import TaskSpec, to_document
from remuda.scheduler.explain import explain
from remuda.scheduler.spec_check import check_spec

from ...fakes.world import World

SD = {"sd": "3.9.18 /opt/envs/sd/bin/python"}


def test_a_task_goes_to_the_node_that_has_its_interpreter(world: World) -> None:
    world.node("n1")
    world.node("n2", pythons=SD)
    (task,) = world.submit(python="sd")
    assert "n2" == world.core.tasks[task].live.node


def test_a_task_goes_to_the_node_that_has_all_of_its_secrets(world: World) -> None:
    world.node("n1", secrets=["hf"])
    world.node("n2", secrets=["hf", "s3"])
    (task,) = world.submit(secrets=["hf=HF_TOKEN", "s3=KEY"])
    assert "n2" == world.core.tasks[task].live.node


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"python": "sd"}, "no node has python 'sd'; known: base, torch"),
        ({"secrets": ["hf=A"]}, "no node has secret 'hf'; known: s3; `remuda node show "),
        ({"python": "base", "secrets": ["s3=A"]},
         "n1 has no secret 's3' (known: none); n2 has no python 'base' (known: torch)"),
    ],
)  # fmt: skip
def test_what_no_node_has_is_refused_with_what_there_is(
    world: World, fields: dict[str, object], words: str
) -> None:
    world.node("n1", pythons={"base": "3.11"})
    world.node("n2", pythons={"torch": "3.12"}, secrets=["s3"])
    world.submit(**fields)
    reply = world.replies[-1]
    assert isinstance(reply, m.Failure)
    assert "infeasible" == reply.code
    assert words in reply.message


def test_why_says_that_no_node_has_it_and_each_node_what_it_has(world: World) -> None:
    world.node("n1", pythons=SD)
    (task,) = world.submit(python="torch", allow_infeasible=True)
    answer = explain(world.core, task, world.now)
    assert (
        "no node has python 'torch'; known: sd; `remuda node show NAME` says what a node refuses"
    ) == answer["reason"]
    assert "has no python 'torch' (known: sd)" == answer["nodes"][0]["reason"]


def test_a_node_of_the_version_before_is_told_to_be_upgraded(world: World) -> None:
    world.node("n1").protocol = 2
    world.join(world.nodes["n1"])
    (task,) = world.submit(fresh=True, allow_infeasible=True)
    assert "queued" == world.state(task)
    assert (
        "speaks protocol 2, so it knows no files, code, environments or secrets of tasks: "
        "upgrade remuda there"
    ) == explain(world.core, task, world.now)["nodes"][0]["reason"]


@pytest.mark.parametrize(
    "fields",
    [{"python": "sd"}, {"requirements": "x"}, {"secrets": ["hf"]}, {"fresh": True}],
    ids=lambda fields: next(iter(fields)),
)
def test_what_is_around_a_handler_is_not_the_callers_to_say(fields: dict[str, object]) -> None:
    document = to_document(TaskSpec("handler", target="repair", **fields))  # type: ignore[arg-type]
    with pytest.raises(Invalid, match=r"\[handlers\.NAME\]") as refused:
        check_spec(document, "")
    assert next(iter(fields)) == refused.value.field


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"secrets": ["a b"]}, "secrets: 'a b' is no secret"),
        ({"secrets": ["X"], "env": {"X": "1"}}, "in the environment"),
    ],
)
def test_secrets_that_contradict_are_refused(fields: dict[str, object], words: str) -> None:
    document = to_document(TaskSpec("command", ["true"], **fields))  # type: ignore[arg-type]
    with pytest.raises(Invalid, match=words) as refused:
        check_spec(document, "")
    assert "secrets" == refused.value.field


@pytest.mark.parametrize(
    "offers",
    [
        {"pythons": {f"p{number}": "3" for number in range(65)}},
        {"secrets": [f"s{number}" for number in range(65)]},
        {"pythons": ["sd"]},
        {"secrets": [1]},
    ],
)
def test_a_node_that_offers_without_measure_is_not_believed(offers: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="capabilities"):
        from_document({"cpus_milli": 1, "memory_bytes": 1, **offers})
