"""Does the judge of histories find tries that cost nothing without end?"""

import pytest

from remuda.scheduler.records import AttemptEnded, AttemptGranted, Commit, TaskMoved, TaskRow
from remuda.scheduler.task import State

from ..invariants import Commits

STORED = Commit(tasks=[TaskRow(1, 1, 0, 1, "ana", "", b"", b"", "", 0, 0)])
EXCUSED = "alpha is suspected: charged to nothing"


def test_what_is_excused_or_given_back_more_often_than_it_may_be_is_found() -> None:
    commits = Commits(excuses_max=1)
    found = commits.take(STORED)
    for number in (1, 2):
        found += commits.take(Commit(granted=[AttemptGranted(1, number, "alpha", 1, (), 0)]))
        excused = AttemptEnded(1, number, "alpha", "failed", "exit_code", EXCUSED, 0, 0)
        found += commits.take(Commit(ended=[excused]))
    assert ["I14"] == [text.split()[0] for text in found]
    assert "was excused 2 times" in found[0]


@pytest.mark.parametrize(
    ("charges", "says"),
    [([1, 0, 1, 0], "was given back 2 tries"), ([1, 0], ""), ([-1], "is charged -1 tries")],
)
def test_a_charge_that_is_taken_back_again_and_again_is_found(
    charges: list[int], says: str
) -> None:
    commits = Commits(excuses_max=1)
    found = commits.take(STORED)
    for charged in charges:
        found += commits.take(Commit(moved={1: TaskMoved(1, State.QUEUED, charged, 0, -1, "")}))
    assert [says] * bool(says) == [text.split(" ", 2)[2] for text in found]
