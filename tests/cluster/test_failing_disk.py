"""Does a disk that fails or stalls cost nobody an answer that is not true, and no node its work?"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.protocol import codec
from remuda.protocol import messages as m

from ..fakes.bad_disk import PROGRAM, wish
from ..fakes.pulse import Pulse
from ..fakes.raw import RawScheduler, wait_for
from .test_scheduler_daemon import QUICK, state_of

pytestmark = pytest.mark.cluster
IO_FAILURE_EXIT = 70


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[RawScheduler]:
    running = RawScheduler(tmp_path, QUICK, PROGRAM)
    try:
        running.start()
        yield running
    finally:
        running.close()


def wait_end(scheduler: RawScheduler) -> int:
    assert scheduler.process is not None
    return scheduler.process.wait(60)


@pytest.mark.parametrize(("fails", "stored"), [("sync", 1), ("write", 0)])
def test_a_commit_of_unknown_outcome_is_answered_by_nobody_and_its_frame_is_never_repeated(
    scheduler: RawScheduler, fails: str, stored: int
) -> None:
    key, alice = secrets.token_bytes(16), scheduler.client("alice")
    wish(scheduler.home.root, fail=fails)
    alice.send_submit(submit_key=key)
    assert (IO_FAILURE_EXIT, 0) == (wait_end(scheduler), alice.socket.poll(0))
    wish(scheduler.home.root)
    scheduler.start()
    alice = scheduler.client("alice")
    before = sum(alice.ask(m.Status()).body["counts"].values())
    answer = alice.submit(submit_key=key)
    counts = alice.ask(m.Status()).body["counts"]
    assert (stored, 1, {"queued": 1}) == (before, answer.count, counts)


def test_a_result_of_unknown_outcome_is_not_acknowledged_and_counts_once(
    scheduler: RawScheduler,
) -> None:
    node = scheduler.node("n1")
    node.register()
    (task,) = scheduler.client("alice").submit().tasks
    offer = node.hear(m.Offer)
    wish(scheduler.home.root, fail="sync")
    node.finish(offer)
    assert wait_end(scheduler) == IO_FAILURE_EXIT
    assert node.dispatch is not None
    assert not node.dispatch.poll(0), "a result was acknowledged that may not be there"
    node.hang_up()
    wish(scheduler.home.root)
    scheduler.start()
    assert "succeeded" == state_of(scheduler.client("alice"), task)
    again = scheduler.node("n1")
    again.register()
    again.finish(offer)
    assert [task] == again.hear(m.ResultAck).tasks


def test_an_error_of_the_disk_in_upkeep_ends_the_scheduler_as_well(
    scheduler: RawScheduler,
) -> None:
    root = scheduler.client("root")
    wish(scheduler.home.root, fail="sync")
    root.socket.send(codec.encode(m.RevokeKey("bob"), 0))
    assert (IO_FAILURE_EXIT, 0) == (wait_end(scheduler), root.socket.poll(0))
    assert "journal failed" in scheduler.log()


def test_commits_longer_than_lost_after_cost_no_node_its_task_and_are_told(
    scheduler: RawScheduler,
) -> None:
    node, alice = scheduler.node("n1"), scheduler.client("alice")
    node.register(cpus=1)
    (task,) = alice.submit().tasks
    node.held = node.hear(m.Offer)
    with Pulse(node):
        wish(scheduler.home.root, sync_s=2.5)
        for _ in range(2):
            alice.submit()
        wish(scheduler.home.root)
        (problem,) = wait_for(lambda: alice.ask(m.Status()).body["problems"], "a problem")
    assert problem.startswith("slow commits: one took ")
    assert ("running", 1) == (state_of(alice, task), alice.ask(m.Explain(task)).body["attempt"])
