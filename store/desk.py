"""What do all who answer have in common: the wire, the clock, and how a refusal is said?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

from ..protocol.errors import RemudaError
from ..protocol.message import Message
from ..protocol.store_messages import StoreFailure
from .wire import Gone, Peer, Wire

IDLE_S = 60.0
IDLE_WHEN_OTHERS_WAIT_S = 10.0


class Log(Protocol):
    """The part of a structlog logger that is used here."""

    def info(self, event: str, **facts: Any) -> Any: ...
    def warning(self, event: str, **facts: Any) -> Any: ...
    def critical(self, event: str, **facts: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """Where answers are handed out."""

    wire: Wire

    def answer(self, peer: Peer, message: Message, data: bytes | None = None) -> bool:
        """Send an answer; False when nobody is there to hear it."""
        try:
            self.wire.send(peer, message, data)
        except Gone:
            return False
        return True

    def refuse(self, peer: Peer, request: int, error: RemudaError) -> None:
        """Say why a request comes to nothing."""
        retry_ms = round(error.retry_after_s * 1000)
        self.answer(peer, StoreFailure(request, error.code, error.message, retry_ms))


def now_ms() -> int:
    """Return the wall clock, by which claims and promises are dated."""
    return time.time_ns() // 1_000_000


def idle_limit_s(waiting: int) -> float:
    """Return after what silence a transfer loses its turn."""
    return IDLE_WHEN_OTHERS_WAIT_S if waiting else IDLE_S
