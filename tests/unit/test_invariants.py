"""Does the judge of histories find each kind of broken promise?"""

import pytest

from remuda.scheduler.task import State

from ..invariants import Attempt, History, Stored, violations

TASK = bytes(15) + b"\1"
WON = "succeeded"
OTHER = bytes(15) + b"\2"
GOOD = Stored(State.SUCCEEDED, (Attempt(1, 1, "lost"), Attempt(2, 2, "succeeded")), has_result=True)


def history(*ends: str) -> History:
    seen = History()
    seen.on_acknowledged([TASK])
    for end in ends:
        seen.on_end(TASK, end)
    return seen


def test_a_history_that_kept_every_promise_has_no_violations() -> None:
    assert [] == violations(history("succeeded"), {TASK: GOOD}, {TASK: 1})


def test_a_task_still_on_its_way_breaks_no_promise() -> None:
    running = Stored(State.QUEUED, (Attempt(1, 1, ""),), has_result=False)
    assert [] == violations(history(), {TASK: running})


def test_an_acknowledged_task_that_is_not_stored_is_found() -> None:
    (found,) = violations(history(), {OTHER: GOOD})
    assert found.startswith("I1")


@pytest.mark.parametrize(
    ("stored", "rule"),
    [
        (Stored(State.SUCCEEDED, (Attempt(1, 1, WON), Attempt(2, 1, WON)), True), "I2"),
        (Stored(State.FAILED, (Attempt(1, 1, "succeeded"),), True), "I2"),
        (Stored(State.SUCCEEDED, (Attempt(1, 1, "failed"),), True), "I2"),
        (Stored(State.QUEUED, (), True), "I2"),
        (Stored(State.SUCCEEDED, (Attempt(1, 1, "succeeded"), Attempt(2, 1, "lost")), True), "I3"),
        (Stored(State.FAILED, (Attempt(2, 1, "failed"), Attempt(2, 1, "failed")), True), "I3"),
        (Stored(State.FAILED, (Attempt(1, 2, "failed"), Attempt(2, 1, "failed")), True), "I3"),
        (Stored(State.FAILED, (Attempt(1, 1, "failed"), Attempt(2, 1, "")), True), "I3"),
        (Stored(State.QUEUED, (Attempt(1, 1, ""), Attempt(2, 1, "")), False), "I3"),
    ],
)  # fmt: skip
def test_each_contradiction_in_the_journal_is_found(stored: Stored, rule: str) -> None:
    (found,) = violations(history(), {TASK: stored})
    assert found.startswith(rule)


def test_an_end_that_changed_is_found() -> None:
    found = violations(history("succeeded", "failed"), {TASK: GOOD})
    assert 2 == len([text for text in found if text.startswith("I2")])


def test_work_done_twice_or_never_is_found() -> None:
    assert ["did its work 2 times"] == [
        text.split(" ", 2)[2] for text in violations(history(), {TASK: GOOD}, {TASK: 2})
    ]
    assert ["succeeded and never did its work"] == [
        text.split(" ", 2)[2] for text in violations(history(), {TASK: GOOD}, {})
    ]
