"""Do the verbs for nodes find what is meant, ask before harm, and say what is left?"""

import re
import time

import pytest

from remuda.cli import main, nodes
from remuda.cli.drain_progress import left_in_short
from remuda.cli.node_changes import chosen
from remuda.protocol import messages as m
from remuda.protocol.errors import NotFound

from ..fakes.toy_scheduler import ToyScheduler, toy_of_commands


def row(name: str, state: str = "ready", running: int = 0, **rest: object) -> dict[str, object]:
    return {"name": name, "state": state, "running": running, "backlog": 0, "seen_ms": 0, **rest}


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    """Let commands speak to a scheduler with four nodes."""
    with toy_of_commands(tmp_path, monkeypatch) as toy:
        rows = [row("gpu-1"), row("gpu-2", "draining", 2, drain={"reason": "disk"}),
                row("old-1", "lost"), row("old-2", "suspect", 3, seen_ms=1)]  # fmt: skip
        toy.on[m.ListNodes] = lambda _: m.Page(rows, len(rows))
        for kind in (m.Drain, m.Undrain, m.DeclareLost, m.ForgetNode):
            toy.on[kind] = lambda message: m.Done(f"{message.node}: {type(message).__name__}")
        yield toy


def changed(toy: ToyScheduler) -> list[tuple[str, str]]:
    kinds = (m.Drain, m.Undrain, m.DeclareLost, m.ForgetNode)
    return [(type(each).__name__, each.node) for each in toy.heard if isinstance(each, kinds)]


def run(capsys, line: str) -> tuple[int, str, str]:
    code = main.run(line.split())
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["b"], ["b"]),
        (["b", "a", "b"], ["b", "a"]),
        (["*"], ["a", "a-1", "b"]),
        (["a*", "b"], ["a", "a-1", "b"]),
        (["[ab]"], ["a", "b"]),
    ],
)
def test_nodes_are_meant_by_names_and_patterns(words, names) -> None:
    rows = [row("a"), row("b"), row("a-1")]
    assert names == [each["name"] for each in chosen(rows, words)]


@pytest.mark.parametrize("word", ["gpu-3", "x*"])
def test_a_node_that_is_not_there_is_named_with_the_nearest(word) -> None:
    with pytest.raises(NotFound, match=f"there is no node {re.escape(word)}"):
        chosen([row("gpu-1")], ["gpu-1", word])


def test_nothing_is_changed_when_one_of_the_nodes_is_not_there(capsys, fleet) -> None:
    code, out, err = run(capsys, "node drain gpu-1 gpu-9")
    assert (3, "") == (code, out)
    assert err.startswith("remuda: there is no node gpu-9: did you mean gpu-")
    assert [] == changed(fleet)


def test_a_drain_carries_reason_and_deadline_and_says_what_it_changed(capsys, fleet) -> None:
    code, out, err = run(capsys, "node drain gpu-* --deadline 30m --reason disk")
    assert (0, "toy: gpu-1: Drain\ntoy: gpu-2: Drain\n", "") == (code, out, err)
    assert [m.Drain("gpu-1", "disk", 1_800_000), m.Drain("gpu-2", "disk", 1_800_000)] == (
        fleet.heard_of(m.Drain)
    )


def test_a_deadline_of_nothing_is_now_and_none_is_never(capsys, fleet) -> None:
    run(capsys, "node drain gpu-1 --deadline 0s")
    run(capsys, "node drain gpu-1")
    assert [1, 0] == [each.deadline_ms for each in fleet.heard_of(m.Drain)]


def test_programs_get_one_document_of_what_was_changed(capsys, fleet) -> None:
    code, out, _ = run(capsys, "node undrain gpu-2 --json")
    assert (0, True) == (code, '"message": "gpu-2: Undrain"' in out)


def test_a_refusal_names_its_node_after_what_was_changed_before(capsys, fleet) -> None:
    fleet.on[m.DeclareLost] = lambda message: (
        m.Failure("conflict", f"{message.node} was heard", "node")
        if message.node == "gpu-1"
        else m.Done(f"{message.node} is lost")
    )
    code, out, err = run(capsys, "node lost old-1 gpu-1 gpu-2 --yes")
    assert (1, "toy: old-1 is lost\n", "remuda: gpu-1 was heard\n") == (code, out, err)
    assert ["old-1", "gpu-1"] == [name for _, name in changed(fleet)]


@pytest.mark.parametrize("line", ["node lost old-2", "node forget old-*"])
def test_what_could_run_tasks_twice_is_not_done_unasked(capsys, fleet, line) -> None:
    code, out, err = run(capsys, line)
    assert (4, "", []) == (code, out, changed(fleet))
    assert "old-2 is suspect, not heard for" in err
    assert "holds 3 tasks, which would run twice if it is on: add --yes" in err


def test_a_lost_node_without_tasks_is_forgotten_unasked(capsys, fleet) -> None:
    assert 0 == run(capsys, "node forget old-1")[0]
    assert [("ForgetNode", "old-1")] == changed(fleet)


def test_only_names_are_declared_lost(capsys, fleet) -> None:
    assert (3, []) == (run(capsys, "node lost old-* --yes")[0], changed(fleet))


def test_a_wait_for_a_drain_says_each_number_of_tasks_that_is_left(
    capsys, fleet, monkeypatch
) -> None:
    monkeypatch.setattr("remuda.client.draining.LOOK_S", 0.0)
    looks = iter([0, 2, 2, 1, 0])

    def look(_: m.Message) -> m.Page:
        return m.Page([row("gpu-1", "draining", next(looks), drain={"reason": ""})], 1)

    fleet.on[m.ListNodes] = look
    code, out, err = run(capsys, "node drain gpu-1 --wait")
    assert (0, "toy: gpu-1: Drain\ntoy: gpu-1 is drained\n") == (code, out)
    assert "2 tasks left on gpu-1\n1 task left on gpu-1\n" == err


def test_a_wait_for_a_drain_that_was_taken_back_fails(capsys, fleet) -> None:
    fleet.on[m.ListNodes] = lambda _: m.Page([row("gpu-1", "ready", 1, drain={})], 1)
    code, _, err = run(capsys, "node drain gpu-1 --wait")
    assert (1, True) == (code, "gpu-1 was undrained" in err)


def test_what_is_left_is_named_by_node_with_what_keeps_it_there() -> None:
    look = {
        "a": row("a", "draining", 2),
        "b": row("b", "suspect", 1),
        "c": row("c", "drained"),
    }
    assert "3 tasks left on a, b (suspect)" == left_in_short(look)
    many = {f"n{index}": row(f"n{index}", "draining", 1) for index in range(7)}
    assert "7 tasks left on n0, n1, n2, n3, n4, 2 more nodes" == left_in_short(many)


def test_a_row_notes_why_a_node_is_drained_and_until_when_its_tasks_may_stay() -> None:
    due_ms = round(time.time() * 1000) + 3_600_000
    drained = row("a", "draining", 1, drain={"reason": "new\ndisk", "due_ms": due_ms})
    assert re.fullmatch(r"new disk; tasks move on in (1h|59m 59s)", nodes.note_of(drained))
    assert "new disk" == nodes.note_of(drained | {"running": 0})
    assert "" == nodes.note_of(row("a"))


def test_the_page_of_a_node_lists_its_interpreters_and_the_names_of_its_secrets(
    fleet, capsys
) -> None:
    shown = row("gpu-1", pythons={"sd": "3.9.18 /opt/sd/bin/python"}, secrets=["s3", "hf"])
    fleet.on[m.ListNodes] = lambda _: m.Page([shown], 1)
    _, out, _ = run(capsys, "node show gpu-1")
    assert re.search(r"python +sd: 3\.9\.18 /opt/sd/bin/python\n", out)
    assert re.search(r"secrets +hf, s3\n", out)
