"""What does the judge of histories forgive where a scheduler was restored from a backup?"""

from __future__ import annotations

from remuda.scheduler.task import State

from ..invariants import Attempt, Records, Stored, violations
from ..invariants.commits import Tried
from .test_invariants import TASK, history, records


def test_what_a_restore_put_back_may_end_otherwise_or_be_gone_and_whoever_asked_is_told() -> None:
    lost = Stored(State.FAILED, (Attempt(1, 1, "lost"),), has_result=True, owner="ana", number=1)
    for after in (records(lost), Records(epoch=2)):
        assert [] != violations(history(), after)
        seen = history()
        seen.forget([TASK])
        assert [] == violations(seen, after)
        seen.ends.clear()
        (found,) = violations(seen, after)
        assert found.startswith("I7 nobody was told")


def test_what_ran_beside_a_later_attempt_that_was_adopted_is_forgiven() -> None:
    seen = history()
    seen.commits.tried[TASK, 1] = Tried("alpha", 0, "failed", 45)
    assert ["I11"] == [found[:3] for found in violations(seen, records())]
    seen.forget([TASK])
    assert ["I11"] == [found[:3] for found in violations(seen, records())]
    seen.commits.tried[TASK, 2] = Tried("beta", 46)  # after it had begun
    assert [] == violations(seen, records())
