"""How a simulated client asks: again and again until it is answered, and the last one counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from remuda.protocol import codec
from remuda.protocol import messages as m

from .agenda import Agenda
from .network import Network


@dataclass(slots=True)
class Asked:
    """A request without an answer; each of its `tries` has a number of its own."""

    make: Callable[[], m.Message]
    on_reply: Callable[[m.Message, int], None]
    wait_ns: int
    tries: int = 0


@dataclass(slots=True)
class Exchange:
    """The open requests of one client, by the number of their latest try."""

    name: str
    agenda: Agenda
    network: Network
    open: dict[int, Asked] = field(default_factory=dict)
    _number: int = 0

    def ask(
        self,
        make: Callable[[], m.Message],
        on_reply: Callable[[m.Message, int], None],
        wait_ns: int,
    ) -> None:
        """Send a request, made anew for each try, until its answer comes."""
        self._send(Asked(make, on_reply, wait_ns))

    def _send(self, asked: Asked) -> None:
        self._number += 1
        number = self._number
        asked.tries += 1
        self.open[number] = asked
        frame = codec.encode(asked.make(), 0)
        self.network.send(self.name, "scheduler", "control", frame, number)
        self.agenda.after(asked.wait_ns, lambda: self._on_silence(number))

    def _on_silence(self, number: int) -> None:
        """Ask again under another number: a late answer to the first one is heard by nobody."""
        asked = self.open.pop(number, None)
        if asked is not None:
            self._send(asked)

    def receive(self, _source: str, _channel: str, payload: bytes, context: int) -> None:
        asked = self.open.pop(context, None)
        if asked is not None:
            asked.on_reply(codec.decode(payload).message, asked.tries)
