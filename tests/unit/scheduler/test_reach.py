"""Which questions about running tasks go to a node, and who hears each answer?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.codec import VERSION
from remuda.protocol.errors import Conflict, Invalid, NotFound, QueueFull, RemudaError
from remuda.scheduler import reach
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.events import TaskAsked
from remuda.scheduler.reach import ANSWER_WAIT_NS, Reach
from remuda.scheduler.view import View

from ...fakes.world import World

ANA = Principal("ana", Role.SUBMIT)
KEY = b"k" * 16
EXEC = {"argv": ["true"], "timeout_ms": 5_000}


class Scene:
    """A task of ana that runs on n1, and what may be asked about it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.node = world.node("n1")
        world.core.fleet.nodes["n1"].protocol = VERSION
        (self.task,) = world.submit()
        world.start(self.node, self.task)
        history = world.journal.history
        self.view: Any = SimpleNamespace(core=world.core, history=history)
        self.view.task = lambda *args: View.task(self.view, *args)
        self.reach = Reach()

    def ask(
        self, verb: str = "exec", body: Any = EXEC, *, key: bytes = KEY, handle: int = 1,
        principal: Principal = ANA, task: int = 0,
    ) -> TaskAsked | None:  # fmt: skip
        message = m.AskTask(key, ids.to_bytes(task or self.task), verb, body)
        return self.reach.ask(self.view, message, principal, handle, self.world.now)

    def asked(self, **fields: Any) -> m.Ask:
        found = self.ask(**fields)
        assert found is not None
        return found.message


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world)


def test_a_question_goes_to_the_node_of_the_attempt_after_its_audit(scene: Scene) -> None:
    event = scene.ask("signal", {"signal": "USR1"})
    assert event is not None
    effects = scene.world.step(event)
    (sent,) = effects.to_nodes
    assert ("n1", event.message) == (sent.node, sent.message)
    row = effects.commit.audit[0]
    name = ids.format_id(scene.task)
    assert ("ana", "task signal", f"{name} of ana: USR1") == row[1:]


def test_a_stack_changes_nothing_and_is_not_in_the_audit(scene: Scene) -> None:
    event = scene.ask("stack", {})
    assert event is not None
    assert [] == scene.world.step(event).commit.audit


def test_the_answer_goes_to_the_last_who_asked_with_the_same_key(scene: Scene) -> None:
    number = scene.asked(handle=1).request
    assert None is scene.ask(handle=2)
    told = scene.reach.told("n1", m.Answered(number, "", "", {"returncode": 0}))
    assert told is not None
    assert (2, m.TaskAnswer("", "", "n1", 1, {"returncode": 0})) == told
    assert None is scene.reach.told("n1", m.Answered(number, "", "", {}))


def test_a_question_has_the_same_number_in_the_next_life_of_the_scheduler(scene: Scene) -> None:
    number = scene.asked().request
    scene.reach = Reach()
    assert number == scene.asked().request
    scene.reach = Reach()
    assert number != scene.asked(key=b"l" * 16).request


def test_what_another_node_answers_is_not_believed(scene: Scene) -> None:
    number = scene.asked().request
    assert None is scene.reach.told("n2", m.Answered(number, "", "", {}))


def test_who_gets_no_answer_hears_that_it_may_have_happened(scene: Scene) -> None:
    scene.ask(handle=7)
    due_ns = scene.world.now.mono_ns + ANSWER_WAIT_NS + EXEC["timeout_ms"] * 1_000_000
    assert [] == scene.reach.expire(due_ns - 1)
    (told,) = scene.reach.expire(due_ns)
    assert (7, "no_answer") == (told.handle, told.message.code)
    assert "may or may not have happened" in told.message.message


def test_the_task_of_somebody_else_is_not_found(scene: Scene) -> None:
    with pytest.raises(NotFound):
        scene.ask(principal=Principal("bob", Role.SUBMIT))


def test_a_node_that_speaks_the_protocol_before_is_to_be_upgraded(scene: Scene) -> None:
    scene.world.core.fleet.nodes["n1"].protocol = 1
    with pytest.raises(Conflict, match=r"n1.* speaks protocol 1.*upgrade"):
        scene.ask()


def test_a_node_that_is_silent_is_not_asked(scene: Scene) -> None:
    scene.world.later(7)
    with pytest.raises(RemudaError, match="was not heard for 7 s") as caught:
        scene.ask()
    assert ("node_silent", 0) == (caught.value.code, caught.value.retry_after_s)


def test_after_a_start_a_node_is_on_its_way_back(scene: Scene) -> None:
    scene.world.restart()
    scene.view.core = scene.world.core
    with pytest.raises(RemudaError) as caught:
        scene.ask()
    assert ("node_silent", True) == (caught.value.code, caught.value.retry_after_s > 0)


def test_a_task_that_has_ended_is_not_reached(scene: Scene) -> None:
    scene.world.end(scene.node, scene.task)
    with pytest.raises(Conflict, match="is succeeded: only one that runs"):
        scene.ask()


def test_only_so_many_questions_are_under_way(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "ASKS_MAX", 1)
    scene.reach = Reach()
    scene.ask()
    with pytest.raises(QueueFull):
        scene.ask(key=b"l" * 16)


@pytest.mark.parametrize(
    ("verb", "body", "field"),
    [
        ("signal", {}, "signal"),
        ("signal", {"signal": "X" * 17}, "signal"),
        ("exec", {"argv": [], "timeout_ms": 1}, "argv"),
        ("exec", {"argv": ["x", 1], "timeout_ms": 1}, "argv"),
        ("exec", {"argv": ["x"], "timeout_ms": 600_001}, "timeout"),
        ("exec", {"argv": ["x"]}, "timeout"),
        ("exec", {"argv": ["x" * 65_536], "timeout_ms": 1}, "body"),
        ("attach", {}, "verb"),
    ],
)
def test_what_no_node_would_take_is_refused_with_the_field(
    scene: Scene, verb: str, body: Any, field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        scene.ask(verb, body)
    assert field == caught.value.field
