"""What can an event loop ask and change of a cluster's configuration?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from .bridge import Threads
from .configuring import Config


class AsyncConfig:
    """The verbs of `Config`, to be awaited: `cluster.config`."""

    def __init__(self, threads: Threads, sync: Config) -> None:
        self._threads = threads
        self._sync = sync

    async def get(self, key: str, *, node: str = "") -> Any:
        """Return one value, or a table; see `Config.get`."""
        return await self._threads.call(self._sync.get, key, node=node)

    async def show(self, key: str = "", *, node: str = "") -> list[dict[str, Any]]:
        """List values with where each was set; see `Config.show`."""
        return await self._threads.call(self._sync.show, key, node=node)

    async def set(
        self,
        key: str | Mapping[str, Any],
        value: Any = None,
        *,
        node: str = "",
        if_version: int = 0,
        dry_run: bool = False,
        wait: bool = True,
    ) -> dict[str, Any]:
        """Change a value, or several at once; see `Config.set`."""
        return await self._threads.call(
            self._sync.set, key, value, node=node, if_version=if_version, dry_run=dry_run, wait=wait
        )

    async def unset(
        self, *keys: str, node: str = "", if_version: int = 0, wait: bool = True
    ) -> dict[str, Any]:
        """Take changes back; see `Config.unset`."""
        return await self._threads.call(
            self._sync.unset, *keys, node=node, if_version=if_version, wait=wait
        )

    async def reload(self, *, wait: bool = True) -> dict[str, Any]:
        """Have all daemons read their files again."""
        return await self._threads.call(self._sync.reload, wait=wait)

    async def rollback(self, version: int = 0, *, wait: bool = True) -> dict[str, Any]:
        """Make things as they were in a version; see `Config.rollback`."""
        return await self._threads.call(self._sync.rollback, version, wait=wait)

    def history(self) -> AsyncIterator[dict[str, Any]]:
        """Yield accepted versions, newest first; see `Config.history`."""
        return self._threads.iterate(self._sync.history)

    async def diff(self, before: int | str, after: int | str = "running") -> list[dict[str, Any]]:
        """List what differs between two versions; see `Config.diff`."""
        return await self._threads.call(self._sync.diff, before, after)

    async def state(self) -> dict[str, Any]:
        """Return which version holds, what waits for a restart, and which nodes are behind."""
        return await self._threads.call(self._sync.state)
