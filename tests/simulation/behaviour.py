"""What a simulated task does: how long it takes, how it ends, whether it minds a TERM."""

from __future__ import annotations

from typing import NamedTuple

import msgpack

ENDS = ("ok", "flaky", "fails")


class Behaviour(NamedTuple):
    """It travels as the argument of the task, through journal and offer.

    `flaky` fails on its first attempt, `fails` always, with `code`; a `stubborn` one ends only by
    KILL.
    """

    run_ms: int
    ends: str = "ok"
    code: str = "exit_code"
    stubborn: bool = False

    def pack(self) -> bytes:
        packed: bytes = msgpack.packb(tuple(self))
        return packed

    def succeeds(self, attempt: int) -> bool:
        return self.ends == "ok" or (self.ends == "flaky" and attempt > 1)

    def __str__(self) -> str:
        how = self.ends if self.ends == "ok" else f"{self.ends} ({self.code})"
        return f"{self.run_ms} ms, {how}{', stubborn' if self.stubborn else ''}"


def unpack(blob: bytes) -> Behaviour:
    return Behaviour(*msgpack.unpackb(blob))
