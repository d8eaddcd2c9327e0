"""Which results has the scheduler not acknowledged, and which of them are to be sent now?"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..protocol.messages import Results
from .task import Ending, Key

RESEND_NS = 5_000_000_000
BATCH_ROWS_MAX = 1_000
BATCH_BYTES_MAX = 3 * 1024 * 1024
ROW_BYTES = 96  # what ids, numbers and framing of a row take, at most


@dataclass(slots=True)
class Outbox:
    """Keep endings until RESULT_ACK; its size is bounded by what the node may hold."""

    entries: dict[Key, tuple[Ending, bytes]] = field(default_factory=dict)
    _unsent: deque[Key] = field(default_factory=deque)
    _sent: deque[tuple[int, Key]] = field(default_factory=deque)

    def put(self, key: Key, ending: Ending, token: bytes) -> None:
        """Take in how an attempt ended."""
        self.entries[key] = (ending, token)
        self._unsent.append(key)

    def resend(self, key: Key) -> None:
        """Send one again at the next chance."""
        self._unsent.append(key)

    def resend_all(self) -> None:
        """Send everything again: there is a new connection or a new scheduler."""
        self._sent.clear()
        self._unsent = deque(self.entries)

    def acknowledge(self, key: Key) -> bool:
        """Drop one; tell whether it was here."""
        return self.entries.pop(key, None) is not None

    def take(self, now: int) -> tuple[Results, list[Key]] | None:
        """Return the next message that is due, with its keys, and count it as sent."""
        while self._sent and (self._sent[0][0] <= now or self._sent[0][1] not in self.entries):
            self._unsent.append(self._sent.popleft()[1])
        rows: list[tuple[Ending, bytes]] = []
        keys: list[Key] = []
        size = 0
        taken = set()
        while self._unsent and len(rows) < BATCH_ROWS_MAX:
            key = self._unsent[0]
            entry = self.entries.get(key)
            if entry is None or key in taken:
                self._unsent.popleft()
                continue
            said = entry[0]
            size += ROW_BYTES + len(said.value) + len(said.details) + len(said.objects)
            if rows and size > BATCH_BYTES_MAX:
                break
            self._unsent.popleft()
            taken.add(key)
            keys.append(key)
            rows.append(entry)
        if not rows:
            return None
        self._sent.extend((now + RESEND_NS, key) for key in keys)
        return _message(rows), keys

    def defer(self, keys: list[Key]) -> None:
        """Count a message as not sent after all."""
        self._unsent.extendleft(reversed(keys))

    def deadline(self) -> int | None:
        """Say when something is to be sent again."""
        return self._sent[0][0] if self._sent else None

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)


def _message(rows: list[tuple[Ending, bytes]]) -> Results:
    endings = [ending for ending, _ in rows]
    has_objects = any(ending.objects for ending in endings)
    is_batched = any(ending.batch_calls for ending in endings)
    has_peaks = any(ending.vram_peak_bytes >= 0 for ending in endings)
    return Results(
        tasks=[ending.task for ending in endings],
        attempts=[ending.number for ending in endings],
        tokens=[token for _, token in rows],
        outcomes=[int(ending.outcome) for ending in endings],
        values=[ending.value for ending in endings],
        details=[ending.details for ending in endings],
        run_us=[ending.run_us for ending in endings],
        objects=[ending.objects for ending in endings] if has_objects else [],
        vram_peaks=[ending.vram_peak_bytes for ending in endings] if has_peaks else [],
        batch_calls=[ending.batch_calls for ending in endings] if is_batched else [],
    )
