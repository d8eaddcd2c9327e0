"""What does a user hold of many tasks that were submitted as one?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from ..protocol import ids
from . import control
from .task import Task

if TYPE_CHECKING:
    from .session import Session


class Batch(Sequence[Task]):
    """The tasks of a batch, in order; member `i` has the id `ID.i`."""

    def __init__(self, session: Session, key: bytes, tasks: Sequence[Task]) -> None:
        self._session = session
        self._tasks = tasks
        self.key = key

    @property
    def id(self) -> str:
        """Return the id of the batch; empty when nothing was submitted."""
        return ids.format_id(ids.from_bytes(self.key)) if self.key else ""

    @property
    def folders(self) -> Sequence[str]:
        """Name the folder of each member, into which `Client.get` brings its files."""
        return [str(index) for index in range(len(self))]

    @property
    def counts(self) -> dict[str, int]:
        """Count the members by the state in which they were last heard of."""
        return dict(Counter(task.state for task in self._tasks))

    def results(self, timeout: float | None = None) -> Iterator[Any]:
        """Yield each result in order, waiting for it; raises like `Task.result`."""
        until = None if timeout is None else time.monotonic() + timeout
        for task in self._tasks:
            yield task.result(None if until is None else max(0.0, until - time.monotonic()))

    def cancel(self, grace_s: float | None = None) -> int:
        """Cancel every member that has not ended; returns how many that were."""
        if not self.key:
            return 0
        verdicts = control.cancel(self._session.connection, (), [self.key], grace_s=grace_s)
        return sum(verdict in ("cancelled", "stopping") for _, verdict in verdicts)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | Sequence[Task]:
        return self._tasks[index]

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"<Batch {self.id or 'empty'} {self.counts}>"
