"""How are the core's decisions carried out on runners: workers started, orders given, stops?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..config.logs import get_logger
from ..protocol.messages import Outcome
from ..worker.asks import CallLimits, Renew
from ..worker.frames import Calls, Cancel, EndWorker, HoldLocks, Host, Run
from . import endings, furnishing, releases, residents
from .archive import Archive
from .core import Core
from .crew import Crew, Order, Seat
from .effects import (
    CardsChanged,
    CloseLane,
    Effect,
    Feed,
    Forget,
    Fused,
    Launch,
    OpenLane,
    RenewFences,
    ResidentsChanged,
    StageIn,
    Stop,
    StopMoving,
    StoreOutputs,
    TakeBack,
)
from .endings import LaneEnd
from .executors import Executors
from .executors.command import TooLong
from .gpu import PinningError
from .gpu_locks import Conflict, GpuLocks
from .grants import WorkerGrant
from .interpreters import NotOffered
from .lanes import Lane
from .moving import Moving
from .premises import Premises
from .state import State
from .task import Attempt, Key, ending

CALLS_PER_BATCH_MAX = 256


class NotPlaced(Exception):  # noqa: N818 - an outcome
    """No runner can take the work now; the text says why."""


class NoMeans(NotPlaced):
    """The host has no room, descriptor or process left for it: waiting for a runner is in vain."""


@dataclass(slots=True)
class Stage:
    """Carry out effects.

    `seat_of` tells which runner has an attempt until it is acknowledged, `printed` how much those
    printed that have ended, `notes` which cards others hold, `unkillable` what does not die,
    `has_news` that the state of a
    handler or a card changed.
    """

    core: Core
    crew: Crew
    archive: Archive
    locks: GpuLocks
    executors: Executors
    moving: Moving
    premises: Premises = field(default_factory=Premises)
    seat_of: dict[Key, Seat] = field(default_factory=dict)
    lane_seats: dict[int, Seat] = field(default_factory=dict)
    printed: dict[Key, int] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    unkillable: dict[Seat, str] = field(default_factory=dict)
    has_news: bool = False
    _seq: int = 0

    @property
    def state(self) -> State:
        return self.core.state

    def carry_out(self, effects: list[Effect], now: int) -> None:
        """Do what the core asked for, in order."""
        for effect in effects:
            _CARRY[type(effect)](self, effect, now)

    def launch(self, effect: Launch, now: int) -> None:
        """Run a command on a free runner."""
        attempt = effect.attempt
        try:
            order = self.executors["command"].order(attempt)
            assert isinstance(order, Run)
            until_boot_ns = self.state.fence.until_for(attempt.plan.spec)
            order = order._replace(fence_boot_ns=until_boot_ns)
            seat = self._occupy(attempt.gpus, lambda seat: seat.grants.add_attempts([attempt]))
        except (NotPlaced, NotOffered, PinningError) as refusal:
            endings.on_refused(self.state, attempt, str(refusal))
            return
        except TooLong as error:
            word = ending(attempt, Outcome.FAILED, "exit_code", str(error), exit_code=126)
            endings.end(self.state, attempt, word)
            return
        seat.command = attempt.key
        self.seat_of[attempt.key] = seat
        self.crew.tell(seat, Order(order, (attempt.key,)))

    def open_lane(self, effect: OpenLane, now: int) -> None:
        """Start a worker on a free runner."""
        lane, attempt = effect
        executor = self.executors["handler" if lane.resident else "function"]
        try:
            # Stamped before it is read: what changes in between is taken for a change.
            lane.stamp = executor.stamp(lane.resident, attempt)
            host = executor.host(lane.resident, attempt, lane.gpus)
            host = host._replace(worker=worker_name(lane, host))
            project = attempt.plan.spec.project if attempt is not None else b""
            held = residents.find(self.state, lane.resident)
            vram_bytes = held.vram_bytes if held is not None else 0
            worker = WorkerGrant(
                host.worker, lane.pool, lane.resident, lane.gpus, project, vram_bytes
            )
            seat = self._occupy(lane.gpus, lambda seat: seat.grants.add_worker(worker))
        except (NotPlaced, NotOffered, PinningError) as refusal:
            self._lane_refused(lane, attempt, refusal, now)
            return
        seat.lane = lane.id
        seat.worker = worker
        if project:
            self.moving.projects[lane.id] = project
        self.lane_seats[lane.id] = seat
        self.crew.tell(seat, Order(host))

    def _lane_refused(
        self, lane: Lane, attempt: Attempt | None, refusal: Exception, now: int
    ) -> None:
        reason = str(refusal)
        refused = [attempt] if lane.single and attempt is not None else []
        is_alone = len(self.state.lanes.of_pool(lane.pool)) == 1
        if isinstance(refusal, (NoMeans, NotOffered)) and is_alone:
            refused += self.state.backlog.of_pool(lane.pool)
        for each in refused:
            endings.on_refused(self.state, each, reason)
        end = LaneEnd(lane.id, "model_unavailable" if lane.resident else "rejected", reason)
        endings.on_lane_ended(self.state, end, now)

    def feed(self, effect: Feed, now: int) -> None:
        """Hand calls to a worker."""
        lane, attempts = effect
        seat = self.lane_seats.get(lane.id)
        if seat is None:  # refused a moment ago: its attempts were answered
            return
        executor = self.executors[attempts[0].plan.spec.kind]
        try:
            if not lane.resident and executor.stamp("", attempts[0]) != lane.stamp:
                endings.on_stale(self.state, lane, attempts)
                return
            seat.grants.add_attempts(attempts)
        except (NotOffered, OSError) as error:
            reason = _unwritten(error) if isinstance(error, OSError) else str(error)
            for attempt in attempts:
                endings.on_refused(self.state, attempt, reason)
            return
        order = executor.order
        for at in range(0, len(attempts), CALLS_PER_BATCH_MAX):
            part = attempts[at : at + CALLS_PER_BATCH_MAX]
            keys = tuple((attempt.task, attempt.number) for attempt in part)
            for key in keys:
                self.seat_of[key] = seat
            limits = call_limits(self.state, part)
            if limits.rows:
                self.crew.tell(seat, Order(limits))
            self._seq += 1
            calls = Calls(self._seq, [order(attempt) for attempt in part])  # type: ignore[misc]  # those of lanes are calls
            self.crew.tell(seat, Order(calls, keys))

    def close_lane(self, effect: CloseLane, now: int) -> None:
        """End a worker that has no calls."""
        seat = self.lane_seats.get(effect.lane.id)
        if seat is not None:
            self.crew.tell(seat, Order(EndWorker(code="worker_ended")))

    def stop(self, effect: Stop, now: int) -> None:
        """End an attempt through its runner."""
        attempt, grace_ms = effect
        seat = self.seat_of.get(attempt.key)
        if seat is not None:
            order = Order(Cancel(attempt.task, attempt.number, grace_ms / 1000))
            self.crew.tell(seat, order)

    def take_back(self, effect: TakeBack, now: int) -> None:
        """Ask for calls that have not begun; one that has is left alone."""
        for attempt in effect.attempts:
            seat = self.seat_of.get(attempt.key)
            if seat is not None:
                order = Order(Cancel(attempt.task, attempt.number, only_if_waiting=True))
                self.crew.tell(seat, order)

    def forget(self, effect: Forget, now: int) -> None:
        """Let the runner forget an acknowledged answer; its output stays for a while."""
        key = effect.key
        self.moving.forget(key)
        furnishing.let_go(self, key)
        seat = self.seat_of.pop(key, None)
        if seat is None:
            return
        is_command = key in seat.ended
        self.crew.acknowledge(seat, key)
        size = self.printed.pop(key, 0)
        if is_command or size:
            self.archive.keep(key, seat.directory, size, now)
        else:
            self.archive.let_go(key, seat.directory)

    def _occupy(self, gpus: tuple[str, ...], write_down: Callable[[Seat], None]) -> Seat:
        """Return a free runner that keeps the cards locked for as long as its occupant lives.

        What it will be handed is written down before: the next agent must know what it has.
        """
        fds = self._lock(gpus)
        try:
            seat = self.crew.free_seat()
        except OSError as error:
            raise NoMeans(f"no runner can be started: {error.strerror}") from error
        if seat is None:
            raise NotPlaced("as many runners as [node] runners_max allows are busy")
        try:
            write_down(seat)
        except OSError as error:
            raise NoMeans(_unwritten(error)) from error
        seat.cards = gpus
        if gpus:
            self.crew.tell(seat, Order(HoldLocks(list(gpus)), fds=fds))
        return seat

    def _lock(self, gpus: tuple[str, ...]) -> tuple[int, ...]:
        for uuid in gpus:
            got = self.locks.acquire(uuid)
            if isinstance(got, Conflict):
                self.notes[uuid] = str(got)  # the next heartbeat says it, after the refusal
                raise NotPlaced(str(got))
            self.notes.pop(uuid, None)
        return self.locks.descriptors(gpus)

    def look_at_cards(self, *, noted_only: bool = False) -> None:
        """Note which of our cards another agent of this host holds now."""
        for uuid in list(self.notes) if noted_only else sorted(self.state.slots.cards):
            if not self.state.slots.is_card_free(uuid):
                continue
            got = self.locks.acquire(uuid)
            if isinstance(got, Conflict):
                self.notes[uuid] = str(got)
                continue
            self.has_news |= self.notes.pop(uuid, None) is not None
            self.locks.release(uuid)

    def free_cards(self, seat: Seat) -> None:
        """Give up our own hold of cards that nobody here uses; a runner keeps its own."""
        cards, seat.cards = seat.cards, ()
        self.cards_changed(CardsChanged(cards), 0)

    def cards_changed(self, effect: CardsChanged, now: int) -> None:
        """Give up cards that are free now, and say so if some are held back."""
        for uuid in effect.gpus:
            if self.state.slots.is_card_free(uuid):
                self.locks.release(uuid)
        if effect.is_news:
            self.has_news = True
            held = releases.withheld(self.state)
            get_logger().warning("cards held back", gpus=sorted(held), why=list(held.values()))


def _unwritten(error: OSError) -> str:
    return f"the node cannot write to its state directory: {error.strerror}"


def worker_name(lane: Lane, host: Host) -> str:
    """Name a worker by all that makes it what it is, so that another agent can tell."""
    # This goes to the disk: of secrets the names, and the files' stamps.
    secrets = dict.fromkeys(host.secrets, "")
    blob = repr((host._replace(worker="", secrets=secrets), lane.stamp)).encode()
    digest = hashlib.blake2b(blob, digest_size=8).hexdigest()
    return f"{lane.resident or lane.pool}:{digest}"


def call_limits(state: State, attempts: Iterable[Attempt]) -> CallLimits:
    """Name the limits of calls that are not in the calls themselves; most have none."""
    rows: list[list[object]] = []
    for attempt in attempts:
        spec = attempt.plan.spec
        until_boot_ns = state.fence.until_for(spec)
        if spec.silence_ms or until_boot_ns:
            rows.append([attempt.task.hex(), attempt.number, spec.silence_ms, until_boot_ns])
    return CallLimits(rows)


def renew_fences(stage: Stage, effect: RenewFences, now: int) -> None:
    """Tell the runners of fenced tasks; one that is not ready hears the next time."""
    found = map(stage.seat_of.get, stage.state.fence.attempts)
    for seat in dict.fromkeys(seat for seat in found if seat is not None and seat.is_ready):
        stage.crew.tell(seat, Order(Renew(effect.until_boot_ns)))


def residents_changed(stage: Stage, effect: ResidentsChanged, now: int) -> None:
    """Let the next heartbeat, which says that there is room, go out at once."""
    stage.has_news = True


def warn_of_fuse(stage: Stage, effect: Fused, now: int) -> None:
    """Say that the scheduler is not believed yet."""
    get_logger().warning(
        "the scheduler would end most of what runs here: it must say so again",
        ends=effect.doomed,
        of=effect.living,
    )


def stage_in(stage: Stage, effect: StageIn, now: int) -> None:
    """Have made what an attempt needs: its environment, then what the mover brings."""
    furnishing.begin(stage, effect.attempt, now)


def store_outputs(stage: Stage, effect: StoreOutputs, now: int) -> None:
    """Have the mover store what an attempt left."""
    seat = stage.seat_of.get(effect.attempt.key)
    stage.moving.deliver(effect.attempt, effect.answer, seat.directory if seat else None)


def stop_moving(stage: Stage, effect: StopMoving, now: int) -> None:
    """Give up what is being made or moved."""
    furnishing.let_go(stage, effect.key)
    stage.moving.give_up(effect.key)


_CARRY: dict[type, Callable[[Stage, Any, int], None]] = {
    Launch: Stage.launch,
    OpenLane: Stage.open_lane,
    Feed: Stage.feed,
    CloseLane: Stage.close_lane,
    Stop: Stage.stop,
    TakeBack: Stage.take_back,
    Forget: Stage.forget,
    StageIn: stage_in,
    StoreOutputs: store_outputs,
    StopMoving: stop_moving,
    CardsChanged: Stage.cards_changed,
    ResidentsChanged: residents_changed,
    RenewFences: renew_fences,
    Fused: warn_of_fuse,
}
