"""How full is the store and what does it do? The document that `remuda store status` prints."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

from ..protocol.store_messages import AskStore, StoreState
from .admission import Limits
from .collector import Collector
from .desk import Desk, now_ms
from .following import Following
from .gets import Gets
from .index import Index
from .keys import LiveKeys
from .partials import Partials
from .uploads import Uploads
from .usage import Ledger
from .wire import Peer


class State:
    """Answers AskStore."""

    def __init__(
        self,
        desk: Desk,
        index: Index,
        ledger: Ledger,
        limits: Limits,
        partials: Partials,
        uploads: Uploads,
        gets: Gets,
        collector: Collector,
        keys: LiveKeys,
        following: Following,
        where: str,
    ) -> None:
        self._desk = desk
        self._index = index
        self._ledger = ledger
        self.limits = limits
        self._partials = partials
        self._uploads = uploads
        self._gets = gets
        self._collector = collector
        self._keys = keys
        self._following = following
        self._where = where
        self._version = importlib.metadata.version("remuda")  # ours, whatever is installed later

    def on_ask_store(self, peer: Peer, message: AskStore) -> None:
        self._desk.answer(peer, StoreState(message.request, self._document()))

    def _document(self) -> dict[str, Any]:
        uploads, gets = self._uploads.turns, self._gets.turns
        return {
            "where": self._where,
            "objects": self._ledger.objects,
            "bytes": self._ledger.stored_bytes,
            "quota_bytes": self.limits.quota_bytes,
            "promised_bytes": self._ledger.promised_bytes,
            "disk_free_bytes": self._ledger.free_bytes(),
            "claimed": self._index.claimed(now_ms()),
            "by_owner": dict(self._ledger.by_name.most_common(100)),
            "puts": {"active": uploads.active.total(), "waiting": uploads.waiting,
                     "finishing": self._uploads.finishing},
            "gets": {"active": gets.active.total(), "waiting": gets.waiting},
            "partial": {"files": len(self._partials.idle), "bytes": self._partials.idle_bytes},
            "collected_ms": self._collector.last_ms,
            "removed": self._collector.removed,
            "problem": self._problem(),
            "keys": len(self._keys),
            "memory_bytes_max": _memory_bytes_max(),
            "version": self._version,
        }  # fmt: skip

    def _problem(self) -> str:
        return self._collector.problem or self._keys.problem or self._following.problem


def _memory_bytes_max() -> int:
    """Return the most memory that this process ever had in use."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
