"""What operators ask of what the scheduler keeps: the audit, a restored journal."""

from __future__ import annotations

from dataclasses import dataclass, field

from .message import Message

AUDIT_ROWS_MAX = 1_000


@dataclass(slots=True)
class ListAudit(Message):
    """Ask who did what: rows after `after`, the oldest first, or else before `before`, the newest
    first (0: the newest of all).

    `filters` may hold `by`, `verb` (of which it is the beginning): str, `since_ms`, `until_ms`:
    int. The answer is a document: `rows` with `seq`, `at_ms`, `principal`, `verb`, `subject` and
    `hash`; `next`, which is where to go on (0: that was all); `total`; and as [number, hash] the
    `anchor`, the last row that was removed, and the `head`, the newest.
    """

    TYPE = 52
    SINCE = 5
    before: int = 0
    after: int = -1
    limit: int = 100
    filters: dict = field(default_factory=dict)  # type: ignore[type-arg]


@dataclass(slots=True)
class ShowRecovery(Message):
    """Ask how a scheduler stands that was restored from a backup and is held.

    `what` is `strangers` (attempts that nodes hold and the journal does not know), `doubts` (tasks
    of which is not known what became of them since) or nothing. The answer is a document: `held`,
    `since_ms`, `backup_ms`, `principal`, counts of `strangers`, `undecided` and `doubts`, `missing`
    (nodes that were not heard yet), and `rows` with the `cursor` of the next page.
    """

    TYPE = 53
    SINCE = 5
    what: str = ""
    limit: int = 100
    cursor: str = ""


@dataclass(slots=True)
class DecideRecovery(Message):
    """Decide what a restored journal cannot know.

    `verb` is `adopt` or `kill` (of strangers), `rerun` or `fail` (of doubts), or `release`, which
    ends the hold. `tasks` names them, with `attempts` (0: the only one) for strangers, or with
    `everything` all that are left. `force`: release although nodes were not heard.
    """

    TYPE = 54
    SINCE = 5
    verb: str
    tasks: list[bytes] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    everything: bool = False
    force: bool = False


@dataclass(slots=True)
class ExportTasks(Message):
    """Ask for tasks with all their attempts, in the order of their numbers, a slice at a time.

    `filters` are those of ListTasks and, as int, `since_ms` and `until_ms` (when they were
    submitted), `ended_since_ms` and `ended_until_ms`. The answer is a document: `rows`; the
    `cursor` of the next slice, empty after the last; `at`, the number up to which was looked; and
    `last`, the newest number at the first question, with which an export ends.
    """

    TYPE = 60
    SINCE = 5
    filters: dict = field(default_factory=dict)  # type: ignore[type-arg]
    cursor: str = ""
