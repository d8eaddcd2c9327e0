"""What a simulated task does: how long it takes, how it ends, whether it minds a TERM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgpack

ENDS = ("ok", "flaky", "fails", "hungry")
HUNGRY_BYTES = 7 << 30
OUT_OF_MEMORY = "gpu_out_of_memory"


class Behaviour(NamedTuple):
    """It travels as the argument of the task, through journal and offer.

    `flaky` fails on its first attempt, `fails` always, with `code`; `hungry` runs out of memory on
    a card of which it was lent less than HUNGRY_BYTES; a `stubborn` one ends only by KILL.
    """

    run_ms: int
    ends: str = "ok"
    code: str = "exit_code"
    stubborn: bool = False

    def pack(self) -> bytes:
        packed: bytes = msgpack.packb(tuple(self))
        return packed

    def failure(self, attempt: int, lent: Sequence[tuple[str, int, int]]) -> str:
        """Return the code with which an attempt fails that was lent parts of cards; else nothing.

        A part is (UUID, share in 1/1000, bytes).
        """
        if self.ends == "hungry":
            is_starved = any(0 < vram < HUNGRY_BYTES for _, _, vram in lent)
            return OUT_OF_MEMORY if is_starved else ""
        is_fine = self.ends == "ok" or (self.ends == "flaky" and attempt > 1)
        return "" if is_fine else self.code

    def __str__(self) -> str:
        how = self.ends if self.ends == "ok" else f"{self.ends} ({self.code})"
        return f"{self.run_ms} ms, {how}{', stubborn' if self.stubborn else ''}"


def unpack(blob: bytes) -> Behaviour:
    """Read an argument; one that nobody knows any more after a restore is never handed out."""
    return Behaviour(*msgpack.unpackb(blob))
