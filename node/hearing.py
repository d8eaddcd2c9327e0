"""What follows from what runners say, and from their silence when they are gone?"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..protocol.messages import Outcome
from ..worker import frames
from ..worker.frames import Finished, Hello, Message, Results
from . import endings, recovery, unkillable
from .asking import Asks
from .core import Core
from .crew import Crew, Seat
from .endings import LaneEnd
from .stage import Stage
from .task import Attempt, Ending, Key, ending
from .unkillable import Haunted

LOST = "node_lost"


@dataclass(slots=True)
class Hearing:
    """Turn the words of runners into the core's events, and into answers to what was asked."""

    stage: Stage
    asks: Asks
    haunted: Haunted = field(init=False)

    def __post_init__(self) -> None:
        self.haunted = Haunted(self.stage)

    @property
    def core(self) -> Core:
        return self.stage.core

    @property
    def crew(self) -> Crew:
        return self.stage.crew

    def on_messages(self, seat: Seat, messages: Sequence[Message], now: int) -> None:
        """Take in what one runner said, in order."""
        for message in messages:
            handler = _HEAR.get(type(message))
            if handler is not None:
                handler(self, seat, message, now)

    def on_results(self, seat: Seat, message: Results, now: int) -> None:
        """Take in outcomes of calls; the record is acknowledged when the last of them is."""
        known = seat.record_of
        fresh = [out for out in message.outcomes if (out.task, out.attempt) not in known]
        if not fresh:
            return
        state = self.core.state
        attempts, executor = state.attempts, self.stage.executors["function"]
        answers: list[Ending] = []
        for outcome in fresh:
            key = (outcome.task, outcome.attempt)
            seat.open.pop(key, None)
            known[key] = message.record
            self.stage.seat_of[key] = seat
            size = outcome.out_bytes + outcome.err_bytes
            if size:
                self.stage.printed[key] = size
            answers.append(executor.ending(outcome, seat.directory))
        seat.records[message.record] = seat.records.get(message.record, 0) + len(fresh)
        endings.on_endings(state, answers, now)
        for answer in answers:
            attempt = attempts.get((answer.task, answer.number))
            if attempt is not None and not attempt.handed:
                # It came back unstarted and waits here again: the runner is done with it.
                self.crew.acknowledge(seat, attempt.key)
                self.stage.seat_of.pop(attempt.key, None)

    def on_finished(self, seat: Seat, message: Finished, now: int) -> None:
        """Take in how a command ended; its runner is free again."""
        key = (message.task, message.attempt)
        if key in seat.ended:
            return
        seat.open.pop(key, None)
        seat.ended.add(key)
        if seat.command == key:
            seat.command = None
        self.stage.seat_of[key] = seat
        self.stage.printed[key] = message.out_bytes + message.err_bytes
        answer = self.stage.executors["command"].ending(message, seat.directory)
        endings.on_endings(self.core.state, [answer], now)
        unkillable.on_dead(self.stage, seat)
        self.stage.free_cards(seat)

    def on_started(self, seat: Seat, message: frames.Started, now: int) -> None:
        endings.on_started(self.core.state, [(message.task, message.attempt)], now)

    def on_progress(self, seat: Seat, message: frames.Progress, now: int) -> None:
        key = (message.task, message.attempt)
        milli = int(min(max(message.fraction, 0.0), 1.0) * 1000)
        endings.on_progress(self.core.state, key, milli, str(message.text))

    def on_loaded(self, seat: Seat, message: frames.Loaded, now: int) -> None:
        if seat.worker is not None and message.worker == seat.worker.worker:
            endings.on_lane_ready(self.core.state, seat.lane, now)
            self.stage.has_news |= bool(seat.worker.resident)

    def on_worker_ended(self, seat: Seat, message: frames.WorkerEnded, now: int) -> None:
        """Take in that a worker is gone with its tree; its runner is free again."""
        if seat.worker is None or message.worker != seat.worker.worker:
            return
        failure = {name: str(text) for name, text in message.failure.items()}
        text = ": ".join(filter(None, [failure.get("type", ""), failure.get("message", "")]))
        if not text:
            text = f"the worker ended ({message.how}, exit status {message.returncode})"
        code = failure.get("code") or "worker_died"
        loaded = message.how not in ("load_failed", "start_failed")
        trace = failure.get("traceback", "")
        self._lane_ended(seat, LaneEnd(seat.lane, code, text, trace, was_loaded=loaded), now)

    def _lane_ended(self, seat: Seat, end: LaneEnd, now: int) -> None:
        # The runner answered what its worker had: what is open was sent too late to be taken.
        lane = self.core.state.lanes.by_id.get(seat.lane)
        self._come_back(seat, list(lane.open) if lane else [], now)
        for_it = (frames.Calls, frames.EndWorker)
        seat.orders = deque(o for o in seat.orders if not isinstance(o.message, for_it))
        self.stage.has_news |= bool(seat.worker and seat.worker.resident)
        self.stage.lane_seats.pop(seat.lane, None)
        seat.lane, seat.worker = 0, None
        endings.on_lane_ended(self.core.state, end, now)
        unkillable.on_dead(self.stage, seat)
        self.stage.free_cards(seat)

    def on_refused(self, seat: Seat, message: frames.Refused, now: int) -> None:
        """Ask a runner what it holds after all; unknown attempts are gone already."""
        self.core.state.counters.add("refused_by_runner")
        if message.code != "unknown":
            self.crew.ask(seat)

    def on_hello(self, seat: Seat, message: Hello, now: int) -> None:
        """Compare what a runner holds with what it was told: what never arrived comes back."""
        for uuid, descriptor in seat.link.take_lock_fds().items() if seat.link else ():
            self.stage.locks.adopt(uuid, descriptor)
        holds = _keys(message.held) | _keys(message.unacked)
        self._come_back(seat, [key for key in seat.open if key not in holds], now)
        holds |= {key for order in seat.orders for key in order.keys}
        if seat.command is not None and seat.command not in holds:
            seat.command = None
        if seat.lane and seat.worker is not None and not _waits(seat, frames.Host):
            if message.occupant != "worker" or message.worker != seat.worker.worker:
                end = LaneEnd(seat.lane, "worker_died", "the worker ended unseen", was_loaded=False)
                self._lane_ended(seat, end, now)
            elif message.loaded:
                endings.on_lane_ready(self.core.state, seat.lane, now)
        self.crew.greet(seat, message)

    def _come_back(self, seat: Seat, keys: Iterable[Key], now: int) -> None:
        """Answer for attempts that a runner never had."""
        answers = []
        for key in list(keys):
            seat.open.pop(key, None)
            if self.stage.seat_of.get(key) is not seat:
                continue
            del self.stage.seat_of[key]
            attempt = self.core.find(key)
            if attempt is not None:
                answers.append(_never_ran(attempt))
        endings.on_endings(self.core.state, answers, now)

    def on_gone(self, seat: Seat, now: int) -> None:
        """Take in that a runner is no more: it was idle and left, or it was killed."""
        found = recovery.recover(seat.directory, kill_s=self.haunted.kill_s(seat))
        if found.stuck:  # nothing of it is free, and nothing is said of its end
            self.haunted.add(seat, found.stuck, now)
            return
        self.haunted.since.pop(seat, None)
        self.asks.on_gone(seat)
        self.core.state.counters.add("runners_gone")
        for finished in found.finished:
            self.on_finished(seat, finished, now)
        for results in found.results:
            self.on_results(seat, results, now)
        waiting = {key for order in seat.orders for key in order.keys}
        self._come_back(seat, waiting, now)
        seat_of = self.stage.seat_of
        lost = {key for key in {*found.lost, *seat.open} if seat_of.get(key) is seat}
        answers = [
            ending(attempt, Outcome.FAILED, LOST, "the runner of the task was killed")
            for key in sorted(lost)
            if (attempt := self.core.find(key)) is not None
        ]
        seat.open.clear()
        seat.orders.clear()
        endings.on_endings(self.core.state, answers, now)
        if seat.lane:
            end = LaneEnd(seat.lane, LOST, "the worker's runner was killed", was_loaded=False)
            self._lane_ended(seat, end, now)
        seat.command = None
        unkillable.on_dead(self.stage, seat)
        self.stage.free_cards(seat)
        self.stage.archive.bury(seat.directory, set(seat.ended) | set(seat.record_of))


def _never_ran(attempt: Attempt) -> Ending:
    return ending(attempt, Outcome.RETURNED, "worker_ended", "its runner never got it")


def _keys(rows: Sequence[Sequence[object]]) -> set[Key]:
    """Read the attempts that a Hello names."""
    return {(bytes.fromhex(str(row[0])), int(str(row[1]))) for row in rows}


def _waits(seat: Seat, kind: type) -> bool:
    return any(isinstance(order.message, kind) for order in seat.orders)


_HEAR: dict[type, Callable[[Hearing, Seat, Any, int], None]] = {
    Results: Hearing.on_results,
    Finished: Hearing.on_finished,
    frames.Started: Hearing.on_started,
    frames.Formed: lambda hearing, _seat, formed, _now: endings.on_formed(
        hearing.core.state, _keys(formed.rows)
    ),
    frames.Progress: Hearing.on_progress,
    frames.Loaded: Hearing.on_loaded,
    frames.WorkerEnded: Hearing.on_worker_ended,
    frames.Refused: Hearing.on_refused,
    frames.Answer: lambda hearing, _seat, answer, _now: hearing.asks.on_answer(answer),
    frames.Stuck: lambda hearing, seat, stuck, _: unkillable.on_stuck(hearing.stage, seat, stuck),
    Hello: Hearing.on_hello,
}
