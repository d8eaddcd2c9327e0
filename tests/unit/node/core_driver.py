"""A node's core under a test: offers in, effects out, runners played by the test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from remuda.node import endings, staging, storing
from remuda.node.core import Core
from remuda.node.effects import Effect, Feed, Launch
from remuda.node.gpu import Gpu, GpuProcess, Reading
from remuda.node.slots import Card, Slots
from remuda.node.task import Ending
from remuda.node.usage import Owner
from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome
from remuda.protocol.spec import TaskSpec, to_document

GIB = 1 << 30
INCARNATION = b"i" * 16
CARDS = ("GPU-a", "GPU-b")


def task(number: int) -> bytes:
    return number.to_bytes(16, "big")


def spec(**fields: Any) -> bytes:
    return codec.pack_document(to_document(TaskSpec(**{"kind": "command", **fields})))


def card(uuid: str, *pids: int, used: int = 0, pids_visible: bool = True) -> Gpu:
    """Describe what a reading shows of one card of 24 GiB."""
    processes = tuple(GpuProcess(pid, None) for pid in pids)
    return Gpu(
        uuid, 0, "card", 24 * GIB, 24 * GIB - used, 86, "550",
        processes=processes, pids_visible=pids_visible,
    )  # fmt: skip


class CoreDriver:
    """Feeds a core through the codec, as the wire would, and keeps what it asked for."""

    def __init__(
        self,
        cpus: int = 2,
        cards: tuple[str, ...] = CARDS,
        resources: dict[str, int] | None = None,
    ) -> None:
        lent = {uuid: Card(24 * GIB) for uuid in cards}
        slots = Slots(cpus * 1000, 8 * GIB, lent, resources=resources or {})
        self.core = Core(INCARNATION, slots, cpus)
        self.now = 0
        self.rev = 0
        self.effects: list[Effect] = []

    @property
    def state(self):
        return self.core.state

    def offer(self, body: bytes, *tasks: bytes, number: int = 1, **fields: Any) -> None:
        self.rev = fields.get("rev", self.rev + 1)
        count = len(tasks)
        message = m.Offer(
            fields.get("incarnation", INCARNATION), self.rev, [body], [fields.get("owner", "ann")],
            [0] * count, list(tasks), [number] * count, [b"token"] * count, [b""] * count,
            [list(fields.get("gpus", ()))] * count, [b""] * count,
            [fields.get("prefetched", False)] * count,
            inputs=fields.get("inputs", []), spec_inputs=fields.get("spec_inputs", []),
        )  # fmt: skip
        self.say(message)

    def say(self, message: m.Message) -> None:
        self.core.on_message(codec.decode(codec.encode(message, 1)).message)

    def kill(self, *tasks: bytes, grace_ms: int = -1) -> None:
        count = len(tasks)
        self.say(m.Kill(INCARNATION, list(tasks), [1] * count, [grace_ms] * count, [""] * count))

    def desired(self, *tasks: bytes, rev: int | None = None, answers: int = 0) -> None:
        self.rev = self.rev + 1 if rev is None else rev
        count = len(tasks)
        self.say(m.Desired(INCARNATION, self.rev, 30_000, list(tasks), [1] * count, answers))

    def ack(self, *tasks: bytes) -> None:
        self.say(m.ResultAck(INCARNATION, list(tasks), [1] * len(tasks)))

    def turn(self, ms: int = 1) -> list[Effect]:
        self.now += ms * 1_000_000
        effects = self.core.turn(self.now)
        self.effects += effects
        self.core.state.check()
        return effects

    def end(self, key: bytes, outcome: Outcome = Outcome.SUCCEEDED, **fields: Any) -> None:
        answer = Ending(key, fields.pop("number", 1), outcome, **fields)
        endings.on_endings(self.state, [answer], self.now)

    def load(self, effect: Any) -> None:
        endings.on_lane_ready(self.state, effect.lane.id, self.now)

    def launched(self) -> list[bytes]:
        return [each.attempt.task for each in self.effects if isinstance(each, Launch)]

    def fed(self) -> list[list[bytes]]:
        return [
            [attempt.task for attempt in each.attempts]
            for each in self.effects
            if isinstance(each, Feed)
        ]

    def of(self, kind: type) -> list[Any]:
        return [each for each in self.effects if isinstance(each, kind)]

    def said(self, kind: type[m.Message]) -> list[m.Message]:
        return [each for each in self.core.messages(self.now) if isinstance(each, kind)]

    def results(self) -> dict[bytes, int]:
        """Return the outcomes that wait for an acknowledgement."""
        return {key[0]: entry[0].outcome for key, entry in self.state.outbox.entries.items()}


def staged(driver: CoreDriver, name: bytes, number: int = 1) -> None:
    """Say that all is prepared for an attempt."""
    staging.on_staged(driver.state, (name, number))


def stored(
    driver: CoreDriver,
    name: bytes,
    number: int = 1,
    found: dict[str, Any] | None = None,
    objects: bytes = b"",
) -> None:
    """Say that all is stored that an attempt left."""
    over = storing.on_stored(driver.state, (name, number), found or {}, objects)
    endings.on_storing_over(driver.state, over)


def not_stored(
    driver: CoreDriver, name: bytes, code: str, message: str = "", number: int = 1
) -> None:
    """Say that it could not be stored."""
    over = storing.on_failed(driver.state, (name, number), code, message)
    endings.on_storing_over(driver.state, over)


def details(driver: CoreDriver, name: bytes, number: int = 1) -> dict[str, Any]:
    """Return the details of a result that waits for an acknowledgement."""
    answer, _ = driver.state.outbox.entries[name, number]
    return codec.unpack_document(answer.details)


def welcome(driver: CoreDriver, *tasks: bytes, fence_ms: int = 0) -> None:
    """Let a scheduler in that starts to count anew."""
    driver.rev = 1
    count = len(tasks)
    driver.core.on_registered(
        m.Registered("n", 1, 1, 2, 3, 4, 2000, 30_000, list(tasks), [1] * count, fence_ms)
    )


def read(
    driver: CoreDriver,
    *shown: Gpu,
    alive: Iterable[int] = (),
    asked: int | None = None,
    owners: Mapping[int, Owner] | None = None,
) -> None:
    """Let the probe answer: as it is asked now, and with idle cards unless others are shown."""
    names = {gpu.uuid for gpu in shown}
    idle = [card(uuid) for uuid in driver.state.slots.cards if uuid not in names]
    reading = Reading(gpus=(*shown, *idle))
    asked_ns = driver.now if asked is None else asked
    driver.core.on_reading(reading, asked_ns, frozenset(alive), driver.now, owners)


def reasons(driver: CoreDriver) -> list[str]:
    """Return why attempts were refused in this turn."""
    return [row.reason for row in driver.state.rejected]
