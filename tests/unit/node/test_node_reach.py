"""Is what the scheduler asks of a running task done once and answered as often as it asks?"""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from remuda.node.reach import KNOWN_MAX, Reach
from remuda.protocol.messages import Answered, Ask
from remuda.worker.asks import Answer

from .core_driver import INCARNATION, CoreDriver, task

KEY = (task(1), 1)


class RecordingAsks:
    """Takes down what was asked; the test answers."""

    def __init__(self, state):
        self.state = state
        self.asked = []
        self.replies = []

    def signal(self, key, number, reply, now):
        self.asked.append((key, number))
        self.replies.append(reply)

    def stack(self, key, reply, now):
        self.signal(key, "stack", reply, now)

    def exec(self, key, argv, reply, now, *, timeout_s):
        self.signal(key, (argv, timeout_s), reply, now)


class Wire:
    """Takes so many frames, then no more."""

    def __init__(self):
        self.sent = []
        self.room = 100

    def send(self, channel, frame):
        if not self.room:
            return False
        self.room -= 1
        self.sent.append((channel, frame))
        return True


SESSION = SimpleNamespace(frame=lambda message: message)


@pytest.fixture
def scene():
    asks, wire = RecordingAsks(CoreDriver().state), Wire()
    return Reach(asks, wire), asks, wire


def ask(request=1, verb="signal", incarnation=INCARNATION, **body):
    return Ask(incarnation, request, *KEY, verb, body or {"signal": "USR1"})


def test_a_question_is_put_to_the_runner_and_its_answer_sent_beside_output(scene):
    reach, asks, wire = scene
    reach.on_ask(ask(verb="exec", argv=["true"], timeout_ms=1_500), 0)
    assert [(KEY, (["true"], 1.5))] == asks.asked
    asks.replies[0](Answer(9, "", "", 3, b"out", b"err", 3, 4))
    reach.answer(SESSION)
    body = {"returncode": 3, "out": b"out", "err": b"err", "out_bytes": 3, "err_bytes": 4}
    assert [("output", Answered(1, "", "", body))] == wire.sent


def test_a_question_that_comes_again_is_done_once_and_answered_again(scene):
    reach, asks, wire = scene
    reach.on_ask(ask(), 0)
    reach.on_ask(ask(), 0)
    assert [(KEY, signal.SIGUSR1)] == asks.asked
    asks.replies[0](Answer(9))
    reach.on_ask(ask(), 0)
    reach.answer(SESSION)
    assert ([(KEY, signal.SIGUSR1)], [("output", Answered(1, "", "", {}))] * 2) == (
        asks.asked,
        wire.sent,
    )


def test_an_answer_waits_for_a_connection_that_takes_it(scene):
    reach, asks, wire = scene
    reach.on_ask(ask(verb="stack"), 0)
    asks.replies[0](Answer(9, out=b"in f"))
    wire.room = 0
    reach.answer(SESSION)
    wire.room = 1
    reach.answer(SESSION)
    assert [("output", Answered(1, "", "", {"stack": "in f"}))] == wire.sent


@pytest.mark.parametrize(("verb", "word"), [("signal", "NOPE"), ("attach", "attach")])
def test_what_this_node_does_not_know_is_answered_at_once(scene, verb, word):
    reach, asks, _ = scene
    reach.on_ask(ask(verb=verb, signal="NOPE"), 0)
    assert ([], "not_allowed") == (asks.asked, reach.unsent[0].code)
    assert word in reach.unsent[0].message


def test_a_question_for_an_agent_before_this_one_is_dropped(scene):
    reach, asks, _ = scene
    reach.on_ask(ask(incarnation=b"o" * 16), 0)
    assert ([], {"other_incarnation": 1}) == (asks.asked, asks.state.counters.by_name)


def test_only_so_many_questions_are_remembered(scene):
    reach, asks, _ = scene
    for request in range(KNOWN_MAX + 1):
        reach.on_ask(ask(request), 0)
    reach.on_ask(ask(0), 0)
    assert KNOWN_MAX + 2 == len(asks.asked)
