"""What follows when an attempt ends or its worker does: slots, lanes, the result, another try."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from ..protocol.messages import Outcome, Phase
from . import blaming, releases, residents, staging, storing
from .effects import CloseLane, Forget, TakeBack
from .gpu import Reading
from .lanes import Lane, LaneState
from .state import Rejection, State
from .storing import Storing
from .task import FENCED, FENCED_TEXT, HANDLER_POOL, Attempt, Ending, Key, ending

RETURNS_MAX = 3
MODEL_UNAVAILABLE = "model_unavailable"
BATCH_DIED, BATCH_ENDED = "batch_died", "batch_ended"
NONE_LEFT = "no worker of its handler is left here, and none can be loaded"
HAND_BACK = "handed back: the node is stopping"


@dataclass(frozen=True, slots=True)
class LaneEnd:
    """How a lane's worker ended.

    `code`, `message` and `traceback` go to the tasks that it failed to start for.

    `was_loaded` False means that the worker never got ready.
    """

    lane: int
    code: str
    message: str
    traceback: str = ""
    was_loaded: bool = True


def on_endings(state: State, found: Iterable[Ending], now: int) -> None:
    """Take in answers of runners: each attempt has exactly one."""
    pace: dict[str, list[int]] = {}
    for said in found:
        answer = said
        attempt = state.attempts.get((answer.task, answer.number))
        if attempt is None:
            state.effects.append(Forget((answer.task, answer.number)))
            continue
        is_stored = state.storing and attempt.key in state.storing
        if attempt.phase == Phase.ENDED or is_stored or attempt.seq in state.releases:
            state.counters.add("repeated_answer")
            continue
        if attempt.lane:
            answer = _judged(state, attempt, answer)
            if answer.outcome == Outcome.SUCCEEDED:
                sums = pace.setdefault(attempt.plan.pool, [0, 0])
                sums[0] += answer.run_us
                sums[1] += 1
            _leave_lane(state, attempt, now)
        is_back = answer.outcome == Outcome.RETURNED and answer.code != FENCED
        if is_back and _goes_back(attempt):
            attempt.returned += 1
            attempt.handed, attempt.lane, attempt.phase = False, 0, Phase.QUEUED
            state.backlog.put_back(attempt)
            continue
        end(state, attempt, answer)
    for pool, (run_us, calls) in pace.items():
        state.lanes.learn(pool, run_us, calls)


def _judged(state: State, attempt: Attempt, answer: Ending) -> Ending:
    """Charge a task whose own worker, bound to its cards, could not even start.

    One whose worker died in a batch that it was part of runs alone the next time: if it was what
    killed it, it harms nobody else then, and is charged.
    """
    if answer.code in (BATCH_DIED, BATCH_ENDED) and attempt.plan.spec.if_node_lost == "fail":
        return answer._replace(outcome=Outcome.FAILED)  # it has begun, and must not do so twice
    attempt.alone |= answer.code == BATCH_DIED
    lane = state.lanes.by_id.get(attempt.lane)
    never_ready = lane is not None and lane.single and lane.state is LaneState.OPENING
    if never_ready and answer.outcome == Outcome.RETURNED and answer.code != "cancelled":
        return answer._replace(outcome=Outcome.FAILED)
    return answer


def _goes_back(attempt: Attempt) -> bool:
    """Tell whether a call that no worker began may wait here for another worker."""
    plan = attempt.plan
    can_wait = not (plan.is_command or attempt.reserved or attempt.stop or attempt.recalled)
    is_bound = attempt.gpus and not plan.pool.startswith(HANDLER_POOL)
    return can_wait and not is_bound and attempt.returned < RETURNS_MAX


def end(state: State, attempt: Attempt, answer: Ending) -> None:
    """End an attempt, as soon as its cards are free and its outputs stored."""
    if attempt.stop:
        answer = _as_asked(attempt, answer)
    if releases.is_needed(attempt):
        attempt.phase = Phase.RUNNING
        releases.begin(state, attempt, answer)
    else:
        _settle(state, attempt, answer)


def _as_asked(attempt: Attempt, answer: Ending) -> Ending:
    """Say of an attempt that was asked to end what that makes of it."""
    is_unstored = storing.is_needed(attempt, answer)
    if answer.outcome == Outcome.SUCCEEDED and not is_unstored:
        return answer
    if attempt.stop == FENCED:
        word = ending(attempt, Outcome.RETURNED, FENCED, FENCED_TEXT)
        return word._replace(run_us=answer.run_us)
    outcome = Outcome.RETURNED if attempt.stop == HAND_BACK else Outcome.KILLED
    if answer.outcome == Outcome.SUCCEEDED:  # what it left would have to be stored first
        word = ending(attempt, outcome, "cancelled", attempt.stop)
        return word._replace(run_us=answer.run_us)
    return answer._replace(outcome=outcome, value=b"")


def _settle(state: State, attempt: Attempt, answer: Ending) -> None:
    """End an attempt that holds no cards any more, as soon as its outputs are stored."""
    if storing.is_needed(attempt, answer):
        storing.begin(state, attempt, answer)
    else:
        _finish(state, attempt, answer)


def on_stage_failed(state: State, key: Key, code: str, message: str) -> None:
    """End an attempt for which something could not be prepared."""
    attempt = state.staging.get(key)
    if attempt is not None:
        end(state, attempt, ending(attempt, Outcome.FAILED, code, message))


def on_storing_over(state: State, found: Storing | None) -> None:
    """End an attempt whose outputs are stored, or cannot be."""
    if found is not None:
        _finish(state, found.attempt, found.answer)


def stop_storing(state: State, attempt: Attempt, reason: str) -> None:
    """End an attempt although its outputs are not stored: nobody wants them any more."""
    found = storing.leave(state, attempt.key)
    if found is None:
        return
    attempt.stop = reason
    if found.answer.outcome == Outcome.SUCCEEDED:
        found.answer = _as_asked(attempt, found.answer)
    _finish(state, attempt, found.answer)


def _finish(state: State, attempt: Attempt, answer: Ending) -> None:
    """Give its slot back and keep its result until it is acknowledged."""
    attempt.phase = Phase.ENDED
    attempt.args = b""
    state.release(attempt)
    if attempt.prefetched:
        state.prefetched_held -= 1
    state.progress.pop(attempt.key, None)
    if state.staging:
        staging.leave(state, attempt)
    answer = blaming.told(state, attempt, answer)
    if attempt.vram_peak_bytes >= 0:
        answer = answer._replace(vram_peak_bytes=attempt.vram_peak_bytes)
    if attempt.batch_calls:
        answer = answer._replace(batch_calls=attempt.batch_calls)
    state.outbox.put(attempt.key, answer, attempt.token)


def _leave_lane(state: State, attempt: Attempt, now: int) -> None:
    lane = state.lanes.by_id.get(attempt.lane)
    if lane is None or lane.open.pop(attempt.key, None) is None:
        return
    if lane.long == attempt.key:
        lane.long = None
    lane.formed.discard(attempt.key)
    if lane.open:
        return
    lane.solo = False
    _give_up_slot(state, lane, [attempt])
    lane.idle_since = now
    if lane.single and lane.state is not LaneState.CLOSING:
        close(state, lane)


def _give_up_slot(state: State, lane: Lane, attempts: Iterable[Attempt]) -> None:
    """Take the slot from a worker without calls; its task keeps the cards until they are free."""
    state.slots.release(lane.id)
    lane.charge = None
    for attempt in attempts:
        if attempt.charge.cards and not attempt.reserved:
            state.slots.take(attempt.seq, attempt.charge, adopt=True)
            attempt.reserved = True


def on_reading(
    state: State, reading: Reading, asked_ns: int, alive: frozenset[int], now: int
) -> None:
    """Take in what the cards show: what waited for that has ended now."""
    for attempt, answer in releases.on_reading(state, reading, asked_ns, alive, now):
        _settle(state, attempt, answer)


def on_time(state: State, now: int) -> None:
    """End what waited long enough for its cards."""
    for attempt, answer in releases.turn(state, now):
        _settle(state, attempt, answer)


def close(state: State, lane: Lane) -> None:
    """Let a lane's worker go; it has no calls."""
    lane.state = LaneState.CLOSING
    state.effects.append(CloseLane(lane))


def on_lane_ready(state: State, lane_id: int, now: int) -> None:
    """Take in that a lane's worker can be given calls."""
    lane = state.lanes.by_id.get(lane_id)
    if lane is None or lane.state is not LaneState.OPENING:
        return
    lane.state = LaneState.READY
    lane.idle_since = now
    if lane.resident:
        residents.on_ready(state, lane.resident, now)


def on_lane_ended(state: State, event: LaneEnd, now: int) -> None:
    """Take in that a lane's worker and its tree are gone; its calls were answered before."""
    lane = state.lanes.by_id.get(event.lane)
    if lane is None:
        return
    left = list(lane.open.values())
    lane.open.clear()
    _give_up_slot(state, lane, left)
    for attempt in left:
        end(state, attempt, _lost(attempt, event))
    state.lanes.remove(lane)
    releases.on_lane_gone(state, lane.id)
    if lane.resident:
        said = residents.on_ended(state, lane.resident, event.message, now)
        _give_up_unserved(state, lane, replace(event, message=said))
    elif not event.was_loaded and lane.state is LaneState.OPENING and not lane.single:
        _give_up(state, lane.pool, Outcome.FAILED, event.code, event)


def _give_up_unserved(state: State, lane: Lane, event: LaneEnd) -> None:
    """End the calls of a model that nobody holds: those that had it loaded failed of that."""
    found = list(residents.of_pool(state, lane.pool))
    if any(each.serves for each in found):
        return
    if any(each.state is residents.ResidentState.FAILED for each in found):
        outcome = Outcome.RETURNED if found[0].from_start else Outcome.FAILED
        _give_up(state, lane.pool, outcome, MODEL_UNAVAILABLE, event)


def return_unserved(state: State) -> None:
    """Hand calls back for which no worker can be loaded here."""
    if state.is_draining:
        return
    for bucket in list(state.backlog.buckets.values()):
        if not bucket.pool.startswith(HANDLER_POOL) or bucket.head() is None:
            continue
        found = list(residents.of_pool(state, bucket.pool))
        if not any(each.serves for each in found):
            _, error = residents.summary(found)
            name = bucket.pool.removeprefix(HANDLER_POOL).partition("/")[0]
            text = residents.is_off(state, name) or error or NONE_LEFT
            _give_up(state, bucket.pool, Outcome.RETURNED, MODEL_UNAVAILABLE, LaneEnd(0, "", text))


def _give_up(state: State, pool: str, outcome: Outcome, code: str, event: LaneEnd) -> None:
    """End what waits for a kind of worker that cannot be started."""
    for attempt in state.backlog.of_pool(pool):
        end(state, attempt, _word(attempt, outcome, code, event))


def _lost(attempt: Attempt, event: LaneEnd) -> Ending:
    return _word(attempt, Outcome.FAILED, event.code, event)


def _word(attempt: Attempt, outcome: Outcome, code: str, event: LaneEnd) -> Ending:
    shown = {"traceback": event.traceback} if event.traceback else {}
    return ending(attempt, outcome, code, event.message, **shown)


def on_started(state: State, keys: Iterable[Key], now: int) -> None:
    """Take in which attempts have been running for 100 ms.

    A call that takes long gives back those that wait behind it in its worker.
    """
    for key in keys:
        attempt = state.attempts.get(key)
        if attempt is None or attempt.phase == Phase.ENDED:
            continue
        attempt.phase = Phase.RUNNING
        state.started.append(key)
        lane = state.lanes.by_id.get(attempt.lane)
        if lane is not None and not lane.single and lane.size == 1:
            lane.long = key
            behind = [other for other in lane.open.values() if other is not attempt]
            if behind:
                state.effects.append(TakeBack(behind))


def on_formed(state: State, keys: Collection[Key]) -> None:
    """Take in which calls run as one batch now."""
    for key in keys:
        attempt = state.attempts.get(key)
        lane = state.lanes.by_id.get(attempt.lane) if attempt is not None else None
        if attempt is not None and lane is not None and key in lane.open:
            attempt.batch_calls = len(keys)
            lane.formed.add(key)


def on_progress(state: State, key: Key, milli: int, text: str) -> None:
    """Keep the last word of an attempt about itself."""
    attempt = state.attempts.get(key)
    if attempt is not None and attempt.phase != Phase.ENDED:
        state.progress[key] = (milli, text)


def on_stale(state: State, lane: Lane, attempts: Iterable[Attempt]) -> None:
    """Take calls back that were not handed over: what their worker is made of has changed.

    It ends with the calls that it has; a new one is started for these.
    """
    for attempt in reversed(list(attempts)):
        del lane.open[attempt.key]
        attempt.handed, attempt.lane = False, 0
        state.backlog.put_back(attempt)
    if lane.open:
        lane.single = True
    else:
        _give_up_slot(state, lane, [])
        close(state, lane)


def on_refused(state: State, attempt: Attempt, reason: str) -> None:
    """Take in that the shell could not begin an attempt: nothing ran."""
    if attempt.phase == Phase.ENDED:
        return
    _leave_lane(state, attempt, 0)
    state.release(attempt)
    if attempt.prefetched:
        state.prefetched_held -= 1
    attempt.phase = Phase.ENDED
    state.drop(attempt)
    if staging.is_needed(attempt):
        state.effects.append(Forget(attempt.key))
    state.rejected.append(Rejection(attempt.key, attempt.token, reason))
