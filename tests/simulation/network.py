"""What becomes of a message under way: it arrives, late, twice, out of order, or never."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from .agenda import MS, Agenda

LATENCY_NS = (MS // 10, 2 * MS)
SNIFFED_MAX = 64
OLD_FRAMES_MAX = 64
OLD_CHANNELS = frozenset({"uplink", "heartbeat", "dispatch"})


class Station(Protocol):
    """Whoever has a network address."""

    def receive(self, source: str, channel: str, payload: bytes, context: int) -> None: ...


@dataclass(slots=True)
class Weather:
    """A fault of the network between some stations ("": any), until a time.

    `kind` is `loss`, `duplication`, `delay`, `reorder` or `cut`; `percent` of the messages meet it
    (`reach_ns` bounds a delay). `one_way` spares what goes from `b` to `a`. `struck` is told.
    """

    kind: str
    a: str
    b: str
    until_ns: int
    percent: int
    reach_ns: int
    one_way: bool
    struck: Callable[[], None]

    def meets(self, source: str, target: str) -> bool:
        if self.a in ("", source) and self.b in ("", target):
            return True
        return not self.one_way and self.a in ("", target) and self.b in ("", source)


@dataclass(slots=True)
class Network:
    """Carry frames between stations; `sniffed` keeps what a thief on the wire would know,
    `old_frames` what nodes and schedulers said to each other."""

    agenda: Agenda
    stations: dict[str, Station] = field(default_factory=dict)
    weather: list[Weather] = field(default_factory=list)
    sniffed: deque[tuple[str, bytes]] = field(default_factory=lambda: deque(maxlen=SNIFFED_MAX))
    old_frames: dict[tuple[str, str], deque[tuple[str, bytes]]] = field(default_factory=dict)
    lost: int = 0
    _last_ns: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def send(
        self, source: str, target: str, channel: str, payload: bytes, context: int = 0
    ) -> None:
        """Send one frame; without bad weather it arrives once, behind those sent before it."""
        chance = self.agenda.chance
        now_ns = self.agenda.now_ns
        arrival_ns = now_ns + chance.randrange(*LATENCY_NS)
        pipe = (source, target, channel)
        if channel in OLD_CHANNELS:
            old = self.old_frames.setdefault((source, target), deque(maxlen=OLD_FRAMES_MAX))
            old.append((channel, payload))
        in_order, copies = True, [arrival_ns]
        for each in self._weather(now_ns):
            if not each.meets(source, target) or chance.randrange(100) >= each.percent:
                continue
            each.struck()
            if each.kind in ("loss", "cut"):
                self.lost += 1
                self.agenda.trace.note(now_ns, f"{channel} {source} > {target} lost")
                return
            extra_ns = chance.randrange(each.reach_ns)
            if each.kind == "duplication":
                copies.append(copies[0] + extra_ns)
            else:
                copies = [copy + extra_ns for copy in copies]
                in_order = in_order and each.kind != "reorder"
        if in_order:
            copies[0] = max(copies[0], self._last_ns.get(pipe, 0) + 1)
            self._last_ns[pipe] = copies[0]
        for copy_ns in copies:
            self.agenda.at(copy_ns, lambda: self._arrive(pipe, payload, context))

    def _weather(self, now_ns: int) -> list[Weather]:
        if any(each.until_ns <= now_ns for each in self.weather):
            self.weather = [each for each in self.weather if each.until_ns > now_ns]
        return self.weather

    def _arrive(self, pipe: tuple[str, str, str], payload: bytes, context: int) -> None:
        source, target, channel = pipe
        self.agenda.trace.bytes(self.agenda.now_ns, channel, payload)
        self.stations[target].receive(source, channel, payload, context)
