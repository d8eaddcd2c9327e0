"""Is each task that is to be cancelled told as what it is, also when it ends in that very turn?"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.events import CancelTasks
from remuda.scheduler.verbs import Outcome, Verbs

from .test_edge import ALICE, BOB, NOW, Desk, frame


class Looked:
    """What the verb reads of a view."""

    def __init__(self, desk: Desk) -> None:
        self.core, self.history = desk.core, desk.journal.history


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.journal.close()


def asked(desk: Desk, who: Principal = ALICE, **what: Any) -> CancelTasks:
    unused: Any = None
    view: Any = Looked(desk)
    verbs = Verbs(view, desk.edge, unused, unused, unused, unused)
    known: dict[str, Any] = {"tasks": [], "batches": []}
    outcome = verbs.serve(m.Cancel(**(known | what)), who, 7, NOW)
    assert isinstance(outcome, Outcome)
    (event,) = outcome.events
    assert isinstance(event, CancelTasks)
    return event


def verdicts(*replies: m.Message) -> list[list[str]]:
    return [reply.verdicts for reply in replies if isinstance(reply, m.Cancelled)]


def test_what_ends_in_the_turn_of_its_cancel_is_told_as_ended(desk: Desk) -> None:
    stored = desk.submit(frame(3))
    first, second = asked(desk, tasks=stored.tasks), asked(desk, tasks=stored.tasks)
    assert [["cancelled"] * 3, ["ended"] * 3] == verdicts(*desk.store(first, second))


def test_what_ended_before_is_told_as_ended(desk: Desk) -> None:
    stored = desk.submit(frame(1))
    desk.store(asked(desk, tasks=stored.tasks))
    assert [["ended"]] == verdicts(*desk.store(asked(desk, tasks=stored.tasks)))


@pytest.mark.parametrize("is_there", [True, False])
def test_what_never_was_or_is_not_ours_is_not_found(desk: Desk, is_there: bool) -> None:
    ended = desk.submit(frame(1)).tasks
    desk.store(asked(desk, tasks=ended))
    wanted = ended if is_there else [ids.to_bytes(secrets.randbits(127))]
    assert [["not_found"]] == verdicts(*desk.store(asked(desk, BOB, tasks=wanted)))


def test_an_admin_is_told_of_the_tasks_of_all(desk: Desk) -> None:
    ended = desk.submit(frame(1)).tasks
    desk.store(asked(desk, tasks=ended))
    admin = Principal("root", Role.ADMIN)
    assert [["ended"]] == verdicts(*desk.store(asked(desk, admin, tasks=ended)))
