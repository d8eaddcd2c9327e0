"""A node that lies: about attempts of others with stolen tokens, about its own with wrong ones."""

from __future__ import annotations

from random import Random

from remuda.protocol import capabilities as wire
from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.scheduler.tokens import TOKEN_BYTES

from .network import Network

NAME = "mallory"
INCARNATION = b"mallory".ljust(16, b"!")
GARBAGE_SHARE = 0.15
OWN_SHARE = 0.4
"""How often it is a node that lies about its own attempts, under tokens that were never given."""
FRESH, FRESH_SHARE = 5, 0.7
"""How often a lie is about one of the latest offers, which still live."""
NOTHING = wire.Capabilities(0, 0)


class Mallory:
    """A registered node with nothing to offer, who has heard every offer to others."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._seq = 0

    def receive(self, _source: str, _channel: str, _payload: bytes, _context: int) -> None:
        """Not listen."""

    def join(self) -> None:
        """Register as a node with no room for anything."""
        self._say("control", self._register([], [], []))

    def lie(self, pick: int) -> None:
        """Say one thing that must not be believed; the number picks which."""
        chance = Random(pick)
        sniffed = self._network.sniffed
        if not sniffed or chance.random() < GARBAGE_SHARE:
            self._network.send(NAME, "scheduler", "uplink", chance.randbytes(chance.randrange(90)))
            return
        fresh = list(sniffed)[-FRESH:] if chance.random() < FRESH_SHARE else list(sniffed)
        holder, frame = chance.choice(fresh)
        offer = codec.decode(frame).message
        assert isinstance(offer, m.Offer)
        count = len(offer.tasks)
        wrong = [chance.randbytes(TOKEN_BYTES) for _ in range(count)]
        if chance.random() < OWN_SHARE:
            lies = self._lies(offer, wrong)[:3]
            self._say(*chance.choice(lies), name=holder)
        else:
            tokens = wrong if chance.random() < OWN_SHARE else offer.tokens
            self._say(*chance.choice(self._lies(offer, tokens)))

    def _lies(self, offer: m.Offer, tokens: list[bytes]) -> list[tuple[str, m.Message]]:
        """Return what can be made up about the attempts of an offer."""
        tasks, attempts = offer.tasks, offer.attempts
        count = len(tasks)
        empty, later = [b""] * count, [number + 1 for number in attempts]
        command = {"kind": "command", "argv": ["x"]}
        return [
            ("uplink", m.Results(tasks, attempts, tokens, [0] * count, [b"forged"] * count, empty,
                                 [1] * count)),
            ("uplink", m.Results(tasks, attempts, tokens, [1] * count, empty, [b"\xc1"] * count,
                                 [1] * count)),
            ("uplink", m.Results(tasks, later, tokens, [0] * count, [b"forged"] * count, empty,
                                 [1] * count)),
            ("uplink", m.Started(tasks, attempts)),
            ("uplink", m.Accept(tasks, attempts)),
            ("uplink", m.Reject(tasks, attempts, tokens, ["no"] * count)),
            ("uplink", m.Progress(tasks, attempts, [1 << 40] * count, ["x" * 999] * count)),
            ("uplink", m.Beacon("false", 0, 0)),
            ("heartbeat", m.Heartbeat(INCARNATION, 1 << 60, 1 << 60, tasks, attempts, [2] * count,
                                      {"GPU-1": -1}, -1, -1, {"gpus": "many"})),
            ("control", self._register(tasks, attempts, tokens)),
            ("control", m.Submit(b"k" * 16, b"", [command], [0], [b""])),
            ("control", m.Cancel(tasks, [])),
        ]  # fmt: skip

    def _say(self, channel: str, message: m.Message, name: str = NAME) -> None:
        self._network.send(name, "scheduler", channel, codec.encode(message, 1), 0)

    def _register(self, tasks: list[bytes], attempts: list[int], tokens: list[bytes]) -> m.Register:
        return m.Register(
            NAME, INCARNATION, "boot", 1, codec.VERSION, wire.to_document(NOTHING), tasks,
            attempts, tokens, [1] * len(tasks),
        )  # fmt: skip
