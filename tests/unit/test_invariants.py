"""Does the judge of histories find each kind of broken promise, and only those?"""

from collections.abc import Callable

import pytest

from remuda.protocol.ids import from_bytes
from remuda.scheduler.records import (
    AttemptEnded,
    AttemptGranted,
    Change,
    Commit,
    TaskMoved,
    TaskResult,
    TaskRow,
)
from remuda.scheduler.task import State

from ..invariants import (
    FAR_NS,
    Attempt,
    AuditEntry,
    CacheRead,
    Cancelled,
    Commits,
    Frame,
    History,
    Lend,
    Records,
    Run,
    Stored,
    Submission,
    violations,
)

TASK = bytes(15) + b"\1"
OTHER = bytes(15) + b"\2"
WON = "succeeded"
KEY = b"k" * 16
GOOD = Stored(State.SUCCEEDED, (Attempt(1, 1, "lost"), Attempt(2, 2, WON)), True, "ana", 1, 0)


def history(*ends: str) -> History:
    """Return what was seen of a run in which all went well."""
    seen = History(
        frames={("ana", KEY): Frame("ana", 1, answered=True)},
        principals={"ana": "submit", "eve": "viewer", "alpha": "node"},
        epochs=[1, 2],
        cards={"GPU-1": 100},
        runs=[
            Run(TASK, 1, "alpha", 0, 30, (("GPU-1", 1000, 100),)),
            Run(TASK, 2, "beta", 20, 40, (("GPU-2", 1000, 100),), succeeded=True),
        ],
        is_settled=True,
    )
    seen.commits.take(commit(TASK), 0)
    seen.commits.take(granted(TASK, 1, "alpha"), 1)
    seen.commits.take(ended(TASK, 1, "alpha", "lost"), 10)
    seen.commits.take(granted(TASK, 2, "beta"), 11)
    seen.on_acknowledged([TASK])
    for end in ends or ("succeeded",):
        seen.on_end(TASK, end)
    return seen


def records(stored: Stored = GOOD) -> Records:
    return Records(
        tasks={TASK: stored},
        submissions=[Submission("ana", KEY, 1, 1)],
        audit=[AuditEntry("ana", "submit", "1 tasks from 1")],
        epoch=2,
    )


def commit(task: bytes) -> Commit:
    return Commit(tasks=[TaskRow(from_bytes(task), 1, 0, 1, "ana", "", b"", b"", "", 0, 0)])


def granted(task: bytes, number: int, node: str) -> Commit:
    return Commit(granted=[AttemptGranted(from_bytes(task), number, node, 1, (), 0)])


def ended(task: bytes, number: int, node: str, outcome: str) -> Commit:
    return Commit(ended=[AttemptEnded(from_bytes(task), number, node, outcome, "", "", 0, 0)])


def test_a_history_that_kept_every_promise_has_no_violations() -> None:
    assert [] == violations(history(), records(), {TASK: 1})


def test_a_task_still_on_its_way_breaks_no_promise() -> None:
    running = Stored(State.QUEUED, (Attempt(1, 1, ""),), has_result=False)
    assert [] == violations(History(), Records({TASK: running}))


def test_an_acknowledged_task_that_is_not_stored_is_found() -> None:
    seen = History()
    seen.on_acknowledged([TASK])
    (found,) = violations(seen, Records({OTHER: GOOD}))
    assert found.startswith("I1")


@pytest.mark.parametrize(
    ("stored", "rule"),
    [
        (Stored(State.SUCCEEDED, (Attempt(1, 1, WON), Attempt(2, 1, WON)), True), "I2"),
        (Stored(State.FAILED, (Attempt(1, 1, WON),), True), "I2"),
        (Stored(State.SUCCEEDED, (Attempt(1, 1, "failed"),), True), "I2"),
        (Stored(State.QUEUED, (), True), "I2"),
        (Stored(State.SUCCEEDED, (Attempt(1, 1, WON), Attempt(2, 1, "lost")), True), "I3"),
        (Stored(State.FAILED, (Attempt(2, 1, "failed"), Attempt(2, 1, "failed")), True), "I3"),
        (Stored(State.FAILED, (Attempt(1, 2, "failed"), Attempt(2, 1, "failed")), True), "I3"),
        (Stored(State.FAILED, (Attempt(1, 1, "failed"), Attempt(2, 1, "")), True), "I3"),
        (Stored(State.QUEUED, (Attempt(1, 1, ""), Attempt(2, 1, "")), False), "I3"),
    ],
)  # fmt: skip
def test_each_contradiction_in_the_journal_is_found(stored: Stored, rule: str) -> None:
    (found,) = violations(History(), Records({TASK: stored}))
    assert found.startswith(rule)


def test_an_end_that_changed_is_found() -> None:
    found = violations(history("succeeded", "failed"), records())
    assert ["I2", "I2"] == [text[:2] for text in found]


def test_work_done_twice_or_never_is_found() -> None:
    assert ["did its work 2 times"] == [
        text.split(" ", 2)[2] for text in violations(history(), records(), {TASK: 2})
    ]
    assert ["succeeded and never did its work"] == [
        text.split(" ", 2)[2] for text in violations(history(), records(), {})
    ]


def forget_the_submission(seen: History, _: Records) -> None:
    seen.frames = {("ana", b"another key"): Frame("ana", 1, answered=True)}


def refuse_the_submission(seen: History, _: Records) -> None:
    seen.frames["ana", KEY].refused = True


def store_half_of_a_frame(seen: History, _: Records) -> None:
    seen.frames["ana", KEY].members = 2


def accept_what_never_succeeded(seen: History, _: Records) -> None:
    seen.runs[1].succeeded = False


def lend_a_card_twice(view: str) -> Callable[[History, Records], None]:
    def lend(seen: History, _: Records) -> None:
        seen.lends += [
            Lend(view, "GPU-1", "one", 600, 0, 10, 30),
            Lend(view, "GPU-1", "two", 600, 0, 20, 40),
        ]

    return lend


def lend_more_memory_than_there_is(seen: History, _: Records) -> None:
    seen.lends += [Lend("node", "GPU-1", str(n), 0, 60, n, FAR_NS) for n in range(2)]


def lend_a_whole_card_beside_a_part(seen: History, _: Records) -> None:
    seen.lends += [Lend("ledger", "GPU-1", "whole", 1000, 0, 0), Lend("ledger", "GPU-1", "part", 0, 1, 5)]  # fmt: skip  # noqa: E501


def run_two_tasks_on_one_card(seen: History, _: Records) -> None:
    seen.runs[1].cards = (("GPU-1", 1000, 100),)


def go_back_in_epochs(seen: History, _: Records) -> None:
    seen.epochs = [2, 2]


def run_in_an_epoch_that_is_not_stored(seen: History, _: Records) -> None:
    seen.epochs = [1, 3]


def obey_the_past(seen: History, _: Records) -> None:
    for epoch in (1, 2, 1):
        seen.on_obeyed("alpha", epoch)


def succeed_after_a_cancel(seen: History, _: Records) -> None:
    seen.on_cancelled(TASK, "stopping", 5)


def live_after_the_proof(seen: History, kept: Records) -> None:
    kept.tasks[TASK] = Stored(State.CANCELLED, (Attempt(1, 1, "lost"), Attempt(2, 2, "killed")), False)  # fmt: skip  # noqa: E501
    kept.audit.append(AuditEntry("ana", "cancel", "1 tasks"))
    seen.commits.take(ended(TASK, 2, "beta", "killed"), 35)
    seen.ends[TASK] = ["cancelled"]
    seen.runs[1].succeeded = False


def never_tell(seen: History, _: Records) -> None:
    seen.ends.clear()


def never_answer(seen: History, _: Records) -> None:
    seen.frames["ana", KEY].answered = False


def run_on_and_on(seen: History, _: Records) -> None:
    seen.runs[1].end_ns = FAR_NS


def number_two_tasks_alike(seen: History, kept: Records) -> None:
    kept.tasks[OTHER] = GOOD
    kept.submissions[0] = Submission("ana", KEY, 1, 2)
    kept.audit[0] = AuditEntry("ana", "submit", "2 tasks from 1")
    seen.frames["ana", KEY].members = 2
    seen.runs.append(Run(OTHER, 2, "beta", 50, 60, succeeded=True))


def lose_a_member(seen: History, kept: Records) -> None:
    kept.submissions[0] = Submission("ana", KEY, 1, 2)
    kept.audit[0] = AuditEntry("ana", "submit", "2 tasks from 1")
    seen.frames["ana", KEY].members = 2


def wait_beyond_the_bound(seen: History, _: Records) -> None:
    seen.waits.append((TASK, 5_001, 5_000))


def send_too_much_ahead(seen: History, _: Records) -> None:
    seen.credits.append((513, 512))


def fail_too_often(seen: History, kept: Records) -> None:
    attempts = tuple(Attempt(number, 1, "failed") for number in (1, 2, 3))
    kept.tasks[TASK] = Stored(State.FAILED, attempts, True, "ana", 1, retries=1)
    seen.ends[TASK] = ["failed"]


def fail_too_often_of_one_class(seen: History, kept: Records) -> None:
    attempts = tuple(Attempt(number, 1, "failed", code="network") for number in (1, 2, 3))
    kept.tasks[TASK] = Stored(State.FAILED, attempts, True, "ana", 1, retries=0)
    seen.ends[TASK] = ["failed"]
    seen.budgets["network"] = 1


def run_ahead_of_the_database(seen: History, _: Records) -> None:
    seen.cache_reads.append(CacheRead(8, 7))


def lag_behind_for_ever(seen: History, _: Records) -> None:
    seen.cache_at_rest = CacheRead(6, 7)


def alter_the_audit(_: History, kept: Records) -> None:
    kept.broken_link = 1


def submit_without_a_word(_: History, kept: Records) -> None:
    kept.audit.clear()


def submit_without_the_right(seen: History, _: Records) -> None:
    seen.principals["ana"] = "viewer"


def run_what_nobody_submitted(seen: History, _: Records) -> None:
    seen.runs.append(Run(OTHER, 1, "alpha", 50, 60))


def begin_an_attempt_twice(seen: History, _: Records) -> None:
    seen.runs.append(Run(TASK, 2, "beta", 50, 60))


def run_beside_a_living_attempt(seen: History, _: Records) -> None:
    seen.commits.tried[TASK, 1] = seen.commits.tried[TASK, 1]._replace(outcome="returned")


def run_a_fenced_task_twice(seen: History, _: Records) -> None:
    seen.fenced.add(TASK)


def run_unprepared(seen: History, _: Records) -> None:
    seen.runs[1].has_outputs = True
    seen.stored.add((TASK, 2))


def succeed_without_outputs(seen: History, _: Records) -> None:
    seen.runs[1].has_outputs = True
    seen.prepared.add((TASK, 2))


def lend_as_little_again(seen: History, _: Records) -> None:
    first, second = seen.runs
    first.cards, second.cards = (("GPU-1", 0, 60),), (("GPU-2", 0, 60),)
    first.is_starved, first.end_ns = True, 15
    seen.commits.tried[TASK, 1] = seen.commits.tried[TASK, 1]._replace(outcome="failed")


@pytest.mark.parametrize(
    ("rule", "break_it"),
    [
        ("I1", forget_the_submission),
        ("I1", refuse_the_submission),
        ("I1", store_half_of_a_frame),
        ("I3", accept_what_never_succeeded),
        ("I4", lend_a_card_twice("ledger")),
        ("I4", lend_a_card_twice("node")),
        ("I4", lend_more_memory_than_there_is),
        ("I4", lend_a_whole_card_beside_a_part),
        ("I4", run_two_tasks_on_one_card),
        ("I5", go_back_in_epochs),
        ("I5", run_in_an_epoch_that_is_not_stored),
        ("I5", obey_the_past),
        ("I6", succeed_after_a_cancel),
        ("I6", live_after_the_proof),
        ("I7", never_tell),
        ("I7", never_answer),
        ("I7", run_on_and_on),
        ("I8", number_two_tasks_alike),
        ("I8", lose_a_member),
        ("I8", wait_beyond_the_bound),
        ("I8", send_too_much_ahead),
        ("I8", fail_too_often),
        ("I8", fail_too_often_of_one_class),
        ("I9", run_ahead_of_the_database),
        ("I9", lag_behind_for_ever),
        ("I10", alter_the_audit),
        ("I10", submit_without_a_word),
        ("I10", submit_without_the_right),
        ("I10", run_what_nobody_submitted),
        ("I11", begin_an_attempt_twice),
        ("I11", run_beside_a_living_attempt),
        ("I11", run_a_fenced_task_twice),
        ("I12", run_unprepared),
        ("I12", succeed_without_outputs),
        ("I15", lend_as_little_again),
    ],
)
def test_a_history_that_breaks_one_rule_is_found_by_that_rule(
    rule: str, break_it: Callable[[History, Records], None]
) -> None:
    seen, kept = history(), records()
    break_it(seen, kept)
    assert {rule} == {text.split()[0] for text in violations(seen, kept)}


def test_a_lost_attempt_may_live_on_beside_the_next_one() -> None:
    seen = history()
    assert seen.runs[0].end_ns > seen.runs[1].start_ns
    assert [] == violations(seen, records())


def test_a_cancel_without_effect_promises_nothing() -> None:
    seen = history()
    seen.on_cancelled(TASK, "ended", 5)
    assert {} == seen.cancels
    seen.on_cancelled(TASK, "stopping", 7)
    assert {TASK: Cancelled(7, "stopping")} == seen.cancels


@pytest.mark.parametrize(
    ("rule", "turn"),
    [
        ("I1", commit(TASK)),
        ("I1", granted(OTHER, 1, "alpha")),
        ("I3", granted(TASK, 3, "alpha")),
        ("I3", ended(TASK, 1, "alpha", "failed")),
        ("I3", Commit(results=[TaskResult(1, State.FAILED, "", b"", b"", 0)])),
    ],
)
def test_a_turn_that_cannot_follow_is_found_as_it_comes(rule: str, turn: Commit) -> None:
    (found,) = history().commits.take(turn)
    assert found.startswith(rule)


def ended_well() -> Commits:
    commits = history().commits
    turn = ended(TASK, 2, "beta", WON)
    turn.results.append(TaskResult(1, State.SUCCEEDED, "", b"", b"", 0))
    assert [] == commits.take(turn)
    assert [] == commits.tell([Change(b"", 1, State.SUCCEEDED, "", 2, "beta", b"", b"")])
    return commits


@pytest.mark.parametrize(
    "turn",
    [
        granted(TASK, 3, "alpha"),
        Commit(moved={1: TaskMoved(1, State.QUEUED, 0, 0, -1, "")}),
    ],
)
def test_what_has_ended_rests(turn: Commit) -> None:
    (found,) = ended_well().take(turn)
    assert found.startswith("I2")


def test_news_after_an_end_are_found() -> None:
    commits = ended_well()
    (found,) = commits.tell([Change(b"", 1, State.RUNNING, "", 3, "beta", b"", b"")])
    assert found.startswith("I2")
