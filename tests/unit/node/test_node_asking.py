"""Is whoever asks something of a running task answered exactly once, and no old runner confused?"""

from __future__ import annotations

import signal

import pytest

from remuda.node import link
from remuda.node.asking import ANSWER_WAIT_NS, ASKS_MAX, Asks
from remuda.node.crew import Crew, Order
from remuda.protocol.messages import Outcome
from remuda.worker import frames
from remuda.worker.asks import Answer, Exec

from .core_driver import CoreDriver, spec, task

KEY = (task(1), 1)


class RecordingLink:
    """A link of which the test reads what was sent."""

    closed = ""
    want_write = False

    def __init__(self):
        self.sent = []

    def send(self, message, fds=()):
        self.sent.append(message)

    def close(self, why=""):
        self.closed = why or "closed"


def hello(**fields):
    return frames.Hello(1, "r1", 1, "boot", "command", "", False, [], [], [], "", **fields)


@pytest.fixture
def scene(tmp_path):
    """Play an agent with one runner of today, which runs the command of task 1."""
    driver = CoreDriver()
    crew = Crew(tmp_path, tmp_path, idle_s=60, runners_max=4)
    (tmp_path / "r1").mkdir()
    seat = crew.take_over(tmp_path / "r1")
    seat.link = RecordingLink()
    driver.offer(spec(argv=["x"]), *map(task, range(1, 3)))
    driver.turn()
    asks = Asks(driver.state, crew, {KEY: seat})
    crew.greet(seat, hello(newest=frames.PROTOCOL))
    seat.link.sent.clear()
    yield driver, asks, seat
    seat.grants.close()
    seat.link = None
    crew.close()


def test_what_is_asked_goes_to_the_runner_and_its_answer_comes_back(scene):
    _, asks, seat = scene
    heard = []
    asks.exec(KEY, ["nvidia-smi"], heard.append, 0, timeout_s=3.0)
    (order,) = seat.link.sent
    assert Exec(order.request, *KEY, ["nvidia-smi"], None, 3.0) == order
    asks.on_answer(Answer(order.request, out=b"fine"))
    asks.on_answer(Answer(order.request, out=b"again"))
    assert [b"fine"] == [answer.out for answer in heard]
    assert {"late_answer": 1} == asks.state.counters.by_name


def test_an_answer_to_another_agent_is_dropped(scene):
    _, asks, _ = scene
    heard = []
    asks.stack(KEY, heard.append, 0)
    asks.on_answer(Answer(1, out=b"old"))
    assert [] == heard


@pytest.mark.parametrize("key", [(task(9), 1), (task(1), 2)])
def test_what_is_not_here_is_answered_at_once(scene, key):
    _, asks, seat = scene
    heard = []
    asks.signal(key, signal.SIGUSR1, heard.append, 0)
    assert (["not_running"], []) == ([answer.code for answer in heard], seat.link.sent)


def test_what_has_ended_is_answered_at_once(scene):
    driver, asks, _ = scene
    driver.end(task(1), Outcome.SUCCEEDED)
    heard = []
    asks.stack(KEY, heard.append, 0)
    assert ["not_running"] == [answer.code for answer in heard]


def test_a_runner_that_does_not_answer_is_answered_for(scene):
    _, asks, _ = scene
    heard = []
    asks.exec(KEY, ["x"], heard.append, 0, timeout_s=2.0)
    asks.on_time(ANSWER_WAIT_NS)
    assert [] == heard
    assert ANSWER_WAIT_NS + 2_000_000_000 == asks.deadline()
    asks.on_time(asks.deadline())
    assert (["no_answer"], None) == ([answer.code for answer in heard], asks.deadline())


def test_a_runner_that_is_gone_is_answered_for(scene):
    _, asks, seat = scene
    heard = []
    asks.stack(KEY, heard.append, 0)
    asks.on_gone(seat)
    assert ["ended"] == [answer.code for answer in heard]


def test_only_so_many_wait_for_an_answer(scene):
    _, asks, _ = scene
    heard = []
    for _ in range(ASKS_MAX + 1):
        asks.stack(KEY, heard.append, 0)
    assert ["busy"] == [answer.code for answer in heard]


def test_a_runner_of_the_protocol_before_is_sent_only_what_it_knows(scene):
    _, asks, seat = scene
    asks.crew.greet(seat, hello())
    heard = []
    asks.signal(KEY, signal.SIGUSR1, heard.append, 0)
    asks.crew.tell(seat, Order(frames.Renew(1)))
    asks.crew.tell(seat, Order(frames.Cancel(*KEY)))
    assert [frames.Cancel(*KEY)] == seat.link.sent
    assert ["not_allowed"] == [answer.code for answer in heard]


def test_a_runner_of_the_protocol_before_is_given_no_new_work(scene):
    _, asks, seat = scene
    asks.crew.greet(seat, hello())
    assert not seat.is_free
    asks.crew.greet(seat, hello(newest=frames.PROTOCOL))
    assert seat.is_free


def test_a_runner_of_the_protocol_after_is_spoken_to_in_ours(scene):
    _, asks, seat = scene
    asks.crew.greet(seat, hello(newest=frames.PROTOCOL + 1))
    attach = frames.Attach(frames.PROTOCOL, 60.0)
    assert (frames.PROTOCOL, [attach]) == (seat.protocol, seat.link.sent)


@pytest.mark.parametrize(
    ("oldest", "newest", "is_understood"),
    [
        (1, 1, True), (1, 2, True), (frames.PROTOCOL, frames.PROTOCOL + 1, True),
        (frames.PROTOCOL + 1, frames.PROTOCOL + 1, False), (0, 0, False),
    ],
)  # fmt: skip
def test_a_runner_is_understood_when_both_share_a_protocol(oldest, newest, is_understood):
    found = hello()._replace(protocol=oldest, newest=newest)
    if is_understood:
        link._check_protocol(found)
    else:
        with pytest.raises(frames.FrameError, match="speaks protocol"):
            link._check_protocol(found)
