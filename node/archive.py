"""Which output of ended attempts is still here, and when do its files go?"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from . import outputs, recovery
from .task import Key

ENTRIES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Kept:
    """Output that may still be asked for."""

    until: int
    key: Key
    directory: Path
    size_bytes: int


@dataclass(slots=True)
class Archive:
    """Keep output for a while after the acknowledgement, the oldest going first at the bound.

    A dead runner's directory goes when nothing in it is needed any more.
    """

    keep_ns: int
    bytes_max: int
    _kept: deque[Kept] = field(default_factory=deque)
    _by_key: dict[Key, Kept] = field(default_factory=dict)
    _bytes: int = 0
    _dead: dict[Path, set[Key]] = field(default_factory=dict)

    def keep(self, key: Key, directory: Path, size_bytes: int, now: int) -> None:
        """Keep the output of an attempt that was acknowledged."""
        entry = Kept(now + self.keep_ns, key, directory, size_bytes)
        self._kept.append(entry)
        self._by_key[key] = entry
        self._bytes += size_bytes

    def find(self, key: Key) -> Path | None:
        """Return the directory of the runner that has an attempt's output."""
        entry = self._by_key.get(key)
        return entry.directory if entry else None

    def bury(self, directory: Path, needed: set[Key]) -> None:
        """Remove a dead runner's directory once these attempts let it go."""
        needed |= {entry.key for entry in self._kept if entry.directory == directory}
        if needed:
            self._dead[directory] = needed
        else:
            recovery.remove(directory)

    def let_go(self, key: Key, directory: Path) -> None:
        """Count an attempt as done with a directory."""
        needed = self._dead.get(directory)
        if needed is None:
            return
        needed.discard(key)
        if not needed:
            del self._dead[directory]
            recovery.remove(directory)

    def expire(self, now: int) -> None:
        """Remove what is too old or too much."""
        kept = self._kept
        while kept and (
            kept[0].until <= now or self._bytes > self.bytes_max or len(kept) > ENTRIES_MAX
        ):
            entry = kept.popleft()
            self._bytes -= entry.size_bytes
            self._by_key.pop(entry.key, None)
            outputs.remove(entry.directory, *entry.key)
            self.let_go(entry.key, entry.directory)
