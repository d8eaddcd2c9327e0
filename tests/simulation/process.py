"""One life of the scheduler's process: core, edge, verbs, rings; all of it is lost with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.protocol.errors import RemudaError
from remuda.scheduler.access import HEARTBEAT, UPLINK, Principal, Role, check_control
from remuda.scheduler.claimed import Signatures
from remuda.scheduler.configuration import wanted
from remuda.scheduler.core import Core, CoreSettings
from remuda.scheduler.edge import Edge, Later
from remuda.scheduler.events import Event, NodeSays, Now
from remuda.scheduler.feed import EventFeed
from remuda.scheduler.offers import Payloads
from remuda.scheduler.queries import answer
from remuda.scheduler.room import Restraint
from remuda.scheduler.verbs import Verbs
from remuda.scheduler.view import View
from remuda.scheduler.watch import Watches

from . import configuring
from .agenda import Agenda
from .storage import FaultyJournal

CHANGES_MAX = 64
"""So few that a client which was away for long meets a gap."""
VALUE_BYTES_MAX = 64 * 1024


class Frame(NamedTuple):
    """What came in, and from whom."""

    source: str
    channel: str
    payload: bytes
    context: int


class Asker(NamedTuple):
    """Where an answer goes, and the version of the protocol that is read there."""

    name: str
    number: int
    version: int


class Process:
    """`reply` sends an answer to whoever asked."""

    def __init__(
        self,
        journal: FaultyJournal,
        settings: CoreSettings,
        agenda: Agenda,
        now: Now,
        reply: Callable[[Asker, m.Message], None],
        *,
        is_configured: bool,
    ) -> None:
        self.journal = journal
        self.epoch = journal.next_epoch()
        seed = agenda.chance.getrandbits(63)
        self.core = Core(
            journal.recover(), epoch=self.epoch, secret=journal.secret(), seed=seed,
            settings=settings, now=now,
        )  # fmt: skip
        self.watches = Watches(self.epoch, changes_max=CHANGES_MAX)
        self.payloads = Payloads(journal.history, lambda _node, _objects: b"")
        unused: Any = None  # keys, sockets, settings: no request of the simulation asks for them
        self.view = View(
            core=self.core, history=journal.history, catalogue=journal.catalogue,
            batches=journal.batches,
            registry=journal.registry, audit=journal.audit,
            pruning=journal.pruning, watches=self.watches,
            feed=EventFeed(self.epoch, now.wall_ms), loaded=unused, cluster="simulated",
            version="", started_ms=now.wall_ms, listen="", store=unused, ended=Counter(),
        )  # fmt: skip
        if is_configured:
            self.view.configuration = configuring.begin(journal, now.wall_ms)
            self.view.config_versions = journal.config
            self.view.store = configuring.NoStore()
            self.core.wanted = wanted(self.view.configuration.newest)
        self.edge = Edge(
            journal.history, value_bytes_max=VALUE_BYTES_MAX,
            random_bits=agenda.chance.getrandbits, signatures=Signatures(b"s" * 32),
        )  # fmt: skip
        self.verbs = Verbs(self.view, self.edge, unused, unused, unused, unused)
        self.restraint = Restraint(self.core, journal.room)
        self.restraint.heed()
        self.later: list[Frame] = []
        self._reply = reply
        self._handles: dict[int, Asker] = {}
        self._last_handle = 0
        self._refused: list[int] = []

    def hear(self, frame: Frame, principal: Principal, now: Now) -> list[Event]:
        """Take in one frame as the real shell does: what is for the core, or an answer."""
        try:
            _, message, version = codec.decode(frame.payload)
            if frame.channel == "control":
                return self._serve(frame, message, version, principal, now)
        except RemudaError as error:
            if frame.channel == "control":
                failure = m.Failure(error.code, error.message, error.field)
                self._reply(Asker(frame.source, frame.context, codec.VERSION_OLDEST), failure)
            return []
        allowed = HEARTBEAT if frame.channel == "heartbeat" else UPLINK
        if type(message) not in allowed or principal.role is not Role.NODE:
            return []
        return [NodeSays(principal.name, message)]

    def _serve(
        self, frame: Frame, message: m.Message, version: int, principal: Principal, now: Now
    ) -> list[Event]:
        check_control(type(message), principal)
        if isinstance(message, m.Register):
            version = min(message.protocol_max, codec.VERSION)
        asker = Asker(frame.source, frame.context, version)
        if not self.verbs.serves(type(message)):
            found = answer(self.view, message, principal, now)
            assert found is not None
            self._reply(asker, found)
            return []
        self._last_handle += 1
        self._handles[self._last_handle] = asker
        outcome = self.verbs.serve(message, principal, self._last_handle, now)
        if outcome is Later.NEXT_TURN:
            self.later.append(frame)
            return []
        for handle, reply in outcome.answers:
            self.answer(handle, reply)
        return list(outcome.events)

    def answer(self, handle: int, message: m.Message) -> None:
        """Answer a request that was taken in before."""
        if isinstance(message, m.Failure):
            self._refused.append(handle)
        asker = self._handles.pop(handle, None)
        if asker is not None:
            self._reply(asker, message)

    def end_turn(self) -> None:
        """Let the edge forget what the commit has settled, and the next change be judged."""
        if self.view.configuration is not None:
            self.view.configuration.commit()
        self.edge.end_turn(self._refused)
        self._refused.clear()
