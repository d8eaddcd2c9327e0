"""What can an event loop ask and change of a cluster's configuration?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from .awaited import awaited, plain
from .bridge import Threads
from .configuring import Config


class AsyncConfig:
    """The verbs of `Config`, to be awaited: `cluster.config`."""

    def __init__(self, threads: Threads, sync: Config) -> None:
        self._threads = threads
        self._sync = sync

    get = awaited(Config.get, plain)
    show = awaited(Config.show, plain)
    set = awaited(Config.set, plain)
    unset = awaited(Config.unset, plain)
    reload = awaited(Config.reload, plain)
    rollback = awaited(Config.rollback, plain)
    diff = awaited(Config.diff, plain)
    state = awaited(Config.state, plain)

    def history(self) -> AsyncIterator[dict[str, Any]]:
        """Yield accepted versions, newest first; see `Config.history`."""
        return self._threads.iterate(self._sync.history)
