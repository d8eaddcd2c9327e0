"""The store's turn: hear, let others begin, say what threads have done; nothing here blocks."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from ..config.pacing import Pace
from ..protocol.codec import decode
from ..protocol.errors import ForeignProtocol, MalformedFrame, NotAllowed, UnknownMessage
from ..protocol.message import Message
from ..protocol.store_messages import (
    Abandon,
    AskStore,
    CheckObjects,
    GetCredit,
    GetObject,
    PutChunk,
    PutObject,
)
from .checks import Checks
from .collector import Collector
from .desk import Desk
from .following import Following
from .gets import Gets
from .keys import Holder, LiveKeys
from .pool import Returns
from .puts import Puts
from .state import State
from .wellbeing import Wellbeing
from .wire import Peer, Said, Wire

TICK_MS = 200


@dataclass(frozen=True, slots=True)
class Desks:
    """Who answers what; `pace` says how fast, `following` hears of the configuration."""

    desk: Desk
    puts: Puts
    gets: Gets
    checks: Checks
    state: State
    collector: Collector
    pace: Pace
    following: Following


class Loop:
    """Owns the order of things; `run` returns after `stop`."""

    def __init__(
        self, wire: Wire, keys: LiveKeys, returns: Returns, desks: Desks, wellbeing: Wellbeing
    ) -> None:
        self._wire = wire
        self._wellbeing = wellbeing
        self._keys = keys
        self._returns = returns
        self._desks = desks
        self._is_running = True
        self._ticked_s = 0.0
        self._key_changes = 0
        wire.watch(returns.fileno())

    def stop(self) -> None:
        self._is_running = False

    def run(self) -> None:
        """Serve until somebody calls `stop`."""
        while self._is_running:
            self.turn()
        self._wellbeing.stopping()

    def turn(self) -> None:
        """Wait for something, and do all that there is to be done now."""
        ready = self._wire.poll(self._wait_ms())
        now_s = time.monotonic()
        if self._desks.following.is_asked or now_s - self._ticked_s >= TICK_MS / 1000:
            self._tick(now_s)
        self._keys.refresh()
        if self._keys.changes != self._key_changes:
            self._key_changes = self._keys.changes
            self._desks.puts.drop_revoked(self._is_live)
            self._desks.gets.drop_revoked(self._is_live)
        if self._wire.router in ready:
            for said in self._wire.take():
                self._hear(said)
        if self._returns.fileno() in ready:
            for call in self._returns.take():
                call()
        self._desks.puts.uploads.start()
        self._desks.gets.start()
        self._desks.collector.turn(now_s)
        self._wire.read(on=not self._desks.puts.is_full)
        self._wellbeing.tend(time.monotonic_ns())

    def _tick(self, now_s: float) -> None:
        self._ticked_s = now_s
        self._desks.following.look()
        self._desks.puts.drop_silent(now_s)
        self._desks.gets.drop_silent(now_s)

    def _wait_ms(self) -> int:
        """Return how long to wait for something: a tick, or until those that rest may go on."""
        if not (self._desks.puts.uploads.resting or self._desks.gets.resting):
            return TICK_MS
        return min(TICK_MS, math.ceil(1000 * self._desks.pace.rest_s()))

    def _is_live(self, key: str) -> bool:
        return self._keys.holder(key) is not None

    def _hear(self, said: Said) -> None:
        """Understand one message; what is none of ours is counted and dropped."""
        counts = self._wire.counts
        holder = self._keys.holder(said.peer.key)
        if holder is None:
            counts["revoked"] += 1
            return
        try:
            message = decode(said.frame).message
        except (MalformedFrame, UnknownMessage, ForeignProtocol):
            counts["malformed"] += 1
            return
        self._dispatch(said.peer, holder, message, said.data)

    def _dispatch(
        self, peer: Peer, holder: Holder, message: Message, data: memoryview | None
    ) -> None:
        desks = self._desks
        if isinstance(message, PutChunk):
            desks.puts.on_put_chunk(peer, message, data)
        elif isinstance(message, GetCredit):
            desks.gets.on_get_credit(peer, message)
        elif isinstance(message, PutObject):
            desks.puts.on_put_object(peer, holder, message, data)
        elif isinstance(message, AskStore):
            desks.state.on_ask_store(peer, message)
        elif isinstance(message, Abandon):
            desks.puts.abandon(peer, message.request)
            desks.gets.abandon(peer, message.request)
        elif isinstance(message, (CheckObjects, GetObject)) and not holder.may_put:
            refusal = NotAllowed(f"the role {holder.role} reads no objects")
            desks.desk.refuse(peer, message.request, refusal)
        elif isinstance(message, CheckObjects):
            desks.checks.on_check_objects(peer, holder, message)
        elif isinstance(message, GetObject):
            desks.gets.on_get_object(peer, holder, message)
        else:
            self._wire.counts["malformed"] += 1
