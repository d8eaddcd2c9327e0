"""What a query looks at: the core, the journal and the daemon's own facts, in one place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..config.load import Loaded
from ..protocol import ids
from ..protocol.errors import Invalid, NotFound
from .access import Principal
from .audit import AuditLog
from .batch_history import BatchHistory
from .catalogue import Catalogue
from .config_versions import ConfigVersions
from .configuration import Configuration
from .core import Core
from .feed import EventFeed
from .history import History, TaskBrief
from .pruning import Pruning
from .registry import Registry
from .task import Task
from .watch import WORDS, Watches

if TYPE_CHECKING:
    from .store_side import StoreSide


@dataclass(slots=True)
class View:
    """Everything is read as it stood at the end of the last committed turn."""

    core: Core
    history: History
    catalogue: Catalogue
    batches: BatchHistory
    registry: Registry
    audit: AuditLog
    pruning: Pruning
    watches: Watches
    feed: EventFeed
    loaded: Loaded
    cluster: str
    version: str
    started_ms: int
    listen: str
    store: StoreSide
    ended: Counter[int] = field(default_factory=Counter)
    counters: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)
    redis: dict[str, Any] = field(default_factory=lambda: {"state": "off"})
    metrics: dict[str, Any] = field(default_factory=lambda: {"state": "off"})
    configuration: Configuration | None = None
    config_versions: ConfigVersions | None = None

    def counts(self) -> dict[str, int]:
        """Count all tasks by state, in words; states without a task are left out."""
        counts = {WORDS[state]: n for state, n in sorted(self.ended.items()) if n}
        return counts | {state.word: n for state, n in sorted(self.core.counts.items()) if n > 0}

    def forget_removed(self) -> None:
        """Leave out of the counts what was pruned."""
        for state, count in self.pruning.take_removed().items():
            self.ended[state] -= count

    def troubles(self) -> dict[str, str]:
        """Return what holds the scheduler up and what it suffers from, each by its own name."""
        holds = {f"hold {reason}": f"nothing is granted: {reason}" for reason in self.core.holds}
        return {**holds, **self.problems}

    def task(self, blob: bytes, principal: Principal) -> tuple[int, Task | TaskBrief]:
        """Find a task that this principal may see; raises NotFound."""
        task_id = read_id(blob, "task")
        found: Task | TaskBrief | None = self.core.tasks.get(task_id)
        if found is None:
            found = self.history.briefs([task_id]).get(task_id)
        if found is None or not may_see(owner_of(found), principal):
            raise NotFound(f"there is no task {ids.format_id(task_id)}", field="task")
        return task_id, found


def owner_of(found: Task | TaskBrief) -> str:
    return found.spec.owner if isinstance(found, Task) else found.owner


def may_see(owner: str, principal: Principal) -> bool:
    return principal.owner_filter in ("", owner)


def read_id(blob: bytes, field_name: str) -> int:
    """Read an id of a request; raises Invalid."""
    try:
        return ids.from_bytes(blob)
    except ValueError as error:
        raise Invalid(f"{field_name}: {error}", field=field_name) from error


def id_bytes(task_id: int) -> bytes:
    """Write an id for a document: empty for none."""
    return ids.to_bytes(task_id) if task_id else b""
