"""Does time that stands still or jumps cost no node its work, and no task its retry?"""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.protocol import messages as m

from ..fakes.halting import COMMITTING, PROGRAM, WAITING, set_wall_clock, stand_still
from ..fakes.pulse import Pulse
from ..fakes.raw import RawClient, RawNode, RawScheduler, raw_scheduler, wait_for
from .test_scheduler_daemon import QUICK, state_of, wait_state

pytestmark = pytest.mark.cluster
PAUSE_S = 4.0  # twice lost_after
DAY_S = 86_400.0
LONG_PAUSE_S = 8.0  # after 6 s of silence the library ends connections as it wakes


class Scene:
    """A scheduler, and a node that runs one task."""

    def __init__(self, scheduler: RawScheduler) -> None:
        self.scheduler = scheduler
        self.alice: RawClient = scheduler.client("alice")
        self.node: RawNode = scheduler.node("n1")
        self.node.register(cpus=1)
        (self.task,) = self.alice.submit().tasks
        self.node.held = self.node.hear(m.Offer)

    def wait_heard(self) -> None:
        """Wait until the node was heard anew by a scheduler that is awake."""
        before = self._seen_ms()
        wait_for(lambda: self._seen_ms() > before, "a word of the node")

    def _seen_ms(self) -> int:
        seen: int = self.alice.ask(m.ListNodes()).rows[0]["seen_ms"]
        return seen

    def standing(self) -> tuple[int, bool]:
        """Return which try the task is in, and whether the node was ever given up."""
        attempt = self.alice.ask(m.Explain(self.task)).body["attempt"]
        return attempt, "node lost" in self.scheduler.log()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with raw_scheduler(tmp_path, QUICK, PROGRAM) as scheduler:
        yield Scene(scheduler)


def test_a_scheduler_that_was_stopped_for_long_gives_no_node_up(scene: Scene) -> None:
    assert scene.scheduler.process is not None
    with Pulse(scene.node):
        scene.scheduler.process.send_signal(signal.SIGSTOP)
        time.sleep(LONG_PAUSE_S)
        scene.scheduler.process.send_signal(signal.SIGCONT)
        scene.wait_heard()
    assert (1, False) == scene.standing()


def test_what_came_during_a_pause_is_heard_before_silence_is_judged(scene: Scene) -> None:
    stand_still(scene.scheduler.home.root, COMMITTING, PAUSE_S)
    with Pulse(scene.node):
        scene.alice.submit()
        scene.wait_heard()
    assert (1, False) == scene.standing()


def test_silence_counts_from_when_the_scheduler_is_awake_again(scene: Scene) -> None:
    home = scene.scheduler.home.root
    stand_still(home, WAITING, PAUSE_S)
    wait_for(lambda: not (home / WAITING).exists(), "the pause")
    assert "queued" == state_of(scene.alice, scene.alice.submit().tasks[0])
    assert (1, False) == scene.standing(), "the node had no time to be heard"
    wait_for(lambda: scene.standing()[1], "the end of its time")


@pytest.mark.parametrize("ahead_s", [-DAY_S, DAY_S])
def test_a_wall_clock_that_jumps_moves_neither_leases_nor_retries(
    scene: Scene, ahead_s: float
) -> None:
    retried = [{"kind": "command", "argv": ["x"], "retries": 1, "backoff_first_ms": 300}]
    with Pulse(scene.node):
        set_wall_clock(scene.scheduler.home.root, ahead_s)
        fail(scene.node, scene.node.held)
        wait_state(scene.alice, scene.task, "failed")
        (task,) = scene.alice.submit(specs=retried).tasks
        scene.node.held = None
    offer = scene.node.hear(m.Offer)
    fail(scene.node, offer)
    set_wall_clock(scene.scheduler.home.root, 0.0)
    again = scene.node.hear(m.Offer)
    assert ([task], [2]) == (again.tasks, again.attempts)
    assert "node lost" not in scene.scheduler.log()


def fail(node: RawNode, offer: m.Offer | None) -> None:
    """Let the offered attempt fail."""
    assert offer is not None
    outcome = int(m.Outcome.FAILED)
    node.say(m.Results(offer.tasks, offer.attempts, offer.tokens, [outcome], [b""], [b""], [1]))
