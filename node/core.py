"""How does the node decide: one event in, effects out, messages at the end of a turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..protocol.messages import (
    Accept,
    Describe,
    Desired,
    Evict,
    ForgetFaults,
    HandlerOrders,
    Kill,
    Message,
    Offer,
    Phase,
    Progress,
    Registered,
    Reject,
    ResultAck,
    Started,
)
from . import (
    describing,
    endings,
    filling,
    giving_way,
    health,
    intake,
    loading,
    releases,
    retiring,
    stops,
    usage,
    verifying,
)
from .effects import Effect
from .gpu import Reading
from .slots import Slots
from .state import State
from .task import Attempt, Key
from .usage import Owner

PROGRESS_NS = 500_000_000
TICK_NS = 1_000_000_000
ROWS_MAX = 5_000


@dataclass(frozen=True, slots=True)
class Held:
    """The node's statement of what it holds, in columns."""

    tasks: list[bytes]
    attempts: list[int]
    tokens: list[bytes]
    phases: list[int]
    vram_used: list[int]


class Core:
    """Keep one node's attempts; pure: time is handed in, effects come out in order.

    A turn: `on_message`, `on_endings`, ... as things arrive, then `turn`, whose effects the shell
    carries out (it may come back with more endings), then `messages` and the outbox.
    """

    def __init__(self, incarnation: bytes, slots: Slots, workers_max: int) -> None:
        self.state = State(incarnation, slots, workers_max)
        self._progress_at = 0
        self._tick_at = 0

    def on_message(self, message: Message) -> None:
        """Take in what the scheduler says on the dispatch channel."""
        state = self.state
        if isinstance(message, Offer):
            intake.on_offer(state, message)
        elif isinstance(message, ResultAck):
            stops.on_result_ack(state, message)
        elif isinstance(message, Kill):
            stops.on_kill(state, message)
        elif isinstance(message, Desired):
            stops.on_desired(state, message)
        elif isinstance(message, ForgetFaults) and message.incarnation == state.incarnation:
            health.forget_faults(state.health, message.gpus)
            releases.let_go(state, message.gpus)
        elif isinstance(message, Evict):
            giving_way.on_evict(state, message)
        elif isinstance(message, HandlerOrders):
            retiring.on_orders(state, message)
        elif isinstance(message, Describe):
            describing.on_describe(state, message)
        else:
            state.counters.add("unexpected_message")

    def on_registered(self, message: Registered) -> None:
        """Begin with the scheduler that let us in."""
        stops.on_registered(self.state, message)

    def on_reading(
        self,
        reading: Reading,
        asked_ns: int,
        alive: frozenset[int],
        now: int,
        owners: Mapping[int, Owner] | None = None,
    ) -> None:
        """Take in what the GPUs show, as asked for at `asked_ns`, and which processes live.

        `owners` tells for whom each runner works.
        """
        endings.on_reading(self.state, reading, asked_ns, alive, now)
        usage.see(self.state, reading, owners or {})

    def on_boot_time(self, boot_ns: int) -> None:
        """Take in the time that goes on while the host sleeps; fences are of it."""
        self.state.fence.now_boot_ns = boot_ns

    def turn(self, now: int) -> list[Effect]:
        """Start what can start; return all that the shell is to do since the last turn."""
        state = self.state
        if now >= self._tick_at:
            self._tick_at = now + TICK_NS
            filling.close_idle(state, now)
            giving_way.end_unused(state, now)
        endings.on_time(state, now)
        stops.stop_fenced(state)
        if not state.is_draining:
            retiring.turn(state)
            verifying.turn(state, now)
            retiring.confirm(state)
        loading.load_due(state, now)
        endings.return_unserved(state)
        if not state.is_draining:
            filling.fill(state, now)
        effects, state.effects = state.effects, []
        return effects

    def messages(self, now: int) -> list[Message]:
        """Return what is to be said at the end of a turn, results excepted."""
        state = self.state
        found: list[Message] = []
        if state.fresh:
            found += _accepts(state)
        if state.rejected:
            rows, state.rejected = state.rejected, []
            found.append(
                Reject(
                    tasks=[row.key[0] for row in rows],
                    attempts=[row.key[1] for row in rows],
                    tokens=[row.token for row in rows],
                    reasons=[row.reason for row in rows],
                )
            )
        if state.started:
            keys, state.started = state.started, []
            found.append(Started([key[0] for key in keys], [key[1] for key in keys]))
        if state.progress and now >= self._progress_at:
            self._progress_at = now + PROGRESS_NS
            said, state.progress = state.progress, {}
            found.append(
                Progress(
                    tasks=[key[0] for key in said],
                    attempts=[key[1] for key in said],
                    milli=[milli for milli, _ in said.values()],
                    texts=[text for _, text in said.values()],
                )
            )
        if state.undescribed:
            found += describing.take(state)
        return found

    def adopt(self, attempt: Attempt, lane_id: int = 0) -> None:
        """Take over an attempt that an earlier agent handed to a runner which is alive."""
        state = self.state
        state.hold(attempt)
        attempt.handed = True
        attempt.phase = Phase.RUNNING
        lane = state.lanes.by_id.get(lane_id)
        if lane is None:
            state.slots.take(attempt.seq, attempt.charge, adopt=True)
            attempt.reserved = True
            return
        attempt.lane = lane.id
        lane.open[attempt.key] = attempt
        if lane.charge is None:
            lane.charge = attempt.charge
            state.slots.take(lane.id, attempt.charge, adopt=True)

    def held(self) -> Held:
        """State what the node holds."""
        attempts = list(self.state.attempts.values())
        return Held(
            tasks=[attempt.task for attempt in attempts],
            attempts=[attempt.number for attempt in attempts],
            tokens=[attempt.token for attempt in attempts],
            phases=[int(attempt.phase) for attempt in attempts],
            vram_used=usage.used_of(attempts),
        )

    def deadline(self) -> int | None:
        """Say when a turn is due without an event."""
        state = self.state
        due = [releases.deadline(state)]
        if not state.is_draining:
            due += [loading.deadline(state), verifying.deadline(state)]
        if state.lanes.by_id:
            due.append(self._tick_at)
        return min((at for at in due if at is not None), default=None)

    def speech_deadline(self) -> int | None:
        """Say when there is something to be said, to a scheduler that listens."""
        due = [self.state.outbox.deadline(), self._progress_at if self.state.progress else None]
        return min((at for at in due if at is not None), default=None)

    def find(self, key: Key) -> Attempt | None:
        """Return a held attempt."""
        return self.state.attempts.get(key)


def _accepts(state: State) -> list[Message]:
    """Say what was taken, unless it ended meanwhile: then its result says so."""
    fresh, state.fresh = state.fresh, []
    living = [
        attempt
        for attempt in fresh
        if attempt.phase != Phase.ENDED and state.attempts.get(attempt.key) is attempt
    ]
    return [
        Accept(
            [attempt.task for attempt in living[at : at + ROWS_MAX]],
            [attempt.number for attempt in living[at : at + ROWS_MAX]],
        )
        for at in range(0, len(living), ROWS_MAX)
    ]
