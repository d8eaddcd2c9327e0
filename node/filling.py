"""Which of the waiting attempts start now: slots to commands, workers to calls?"""

from __future__ import annotations

from ..protocol.messages import Phase
from . import endings
from .backlog import Bucket
from .effects import Feed, Launch, OpenLane
from .lanes import IDLE_NS_MAX, WORK_AHEAD_US, Lane, LaneState
from .state import State
from .task import FRESH_POOL, HANDLER_POOL, Attempt

WORKERS_HARD_MAX = 256


def fill(state: State, now: int) -> None:
    """Start what fits, in turn; who does not fit lets smaller ones pass."""
    for bucket in state.backlog.in_turn():
        if not bucket.pool:
            _launch(state, bucket)
        elif bucket.charge.cards or bucket.pool.startswith(FRESH_POOL):
            _open_singles(state, bucket, now)
        elif state.lanes.in_batches(bucket.pool):
            _feed_batches(state, bucket)
        else:
            _feed_idle(state, bucket)
            _top_up(state, bucket)
            if not bucket.pool.startswith(HANDLER_POOL):
                _open_more(state, bucket, now)


def _claim(state: State, bucket: Bucket) -> Attempt | None:
    """Take the next attempt that has its slot, or gets it now."""
    attempt = bucket.head()
    if attempt is None:
        return None
    if not attempt.reserved and state.slots.refusal(bucket.charge):
        attempt = next((other for other in bucket.waiting if other.reserved), None)
        if attempt is None:
            return None
        bucket.waiting.remove(attempt)
        return attempt
    bucket.waiting.popleft()
    return attempt


def _launch(state: State, bucket: Bucket) -> None:
    while (attempt := _claim(state, bucket)) is not None:
        if not attempt.reserved:
            state.slots.take(attempt.seq, attempt.charge)
            attempt.reserved = True
        attempt.handed = True
        attempt.phase = Phase.RUNNING
        state.effects.append(Launch(attempt))


def _open_singles(state: State, bucket: Bucket, now: int) -> None:
    """Start a worker for each task with GPUs, or that wants a fresh one: it ends with its task."""
    while state.lanes.count_functions() < WORKERS_HARD_MAX:
        attempt = _claim(state, bucket)
        if attempt is None:
            return
        state.release(attempt)
        lane = state.lanes.add(bucket.pool, now, gpus=attempt.gpus, single=True)
        state.effects.append(OpenLane(lane, attempt))
        _feed(state, bucket, lane, [attempt])


def _feed(state: State, bucket: Bucket, lane: Lane, attempts: list[Attempt]) -> None:
    if lane.charge is None:
        state.slots.take(lane.id, bucket.charge)
        lane.charge = bucket.charge
    for attempt in attempts:
        attempt.handed = True
        attempt.lane = lane.id
        lane.open[attempt.key] = attempt
    state.effects.append(Feed(lane, attempts))


def _feed_idle(state: State, bucket: Bucket) -> None:
    """Share what waits among the idle workers for which there are slots."""
    lanes = state.lanes.of_pool(bucket.pool)
    idle = [lane for lane in lanes if lane.is_idle and not _is_sick(state, lane)]
    ahead = state.lanes.ahead(bucket.pool)
    head = bucket.head()
    if head is not None and head.gpus:  # the card that its scheduler counts it to
        idle.sort(key=lambda lane: lane.gpus != head.gpus)
    for position, lane in enumerate(idle):
        if bucket.head() is None or state.slots.refusal(bucket.charge):
            return
        sharing = max(1, min(len(idle) - position, state.slots.room(bucket.charge)))
        share = -(-len(bucket.waiting) // sharing)
        _feed(state, bucket, lane, bucket.pop(min(ahead, share)))


def _feed_batches(state: State, bucket: Bucket) -> None:
    """Share what waits among workers that take several at a time, the emptiest first."""
    lanes = [lane for lane in state.lanes.of_pool(bucket.pool) if _takes_more(state, bucket, lane)]
    first = bucket.head()
    card = first.gpus if first is not None else ()
    lanes.sort(key=lambda lane: (bool(card) and lane.gpus != card, len(lane.open)))
    for position, lane in enumerate(lanes):
        head = bucket.head()
        if head is None:
            return
        is_full = lane.charge is None and state.slots.refusal(bucket.charge)
        if is_full or (head.alone and lane.open):
            continue
        share = -(-len(bucket.waiting) // (len(lanes) - position))
        lane.solo = head.alone
        _feed(state, bucket, lane, bucket.pop(min(lane.size - len(lane.open), share)))


def _takes_more(state: State, bucket: Bucket, lane: Lane) -> bool:
    """Tell whether calls may join those that wait in a worker, of which none has begun."""
    is_open = lane.state is LaneState.READY and not (lane.single or lane.solo or lane.formed)
    has_room = len(lane.open) < lane.size and lane.charge in (None, bucket.charge)
    return is_open and has_room and not _is_sick(state, lane)


def _top_up(state: State, bucket: Bucket) -> None:
    """Hand quick calls ahead to busy workers, so that they never wait for the agent."""
    ahead = state.lanes.ahead(bucket.pool)
    if ahead == 1:
        return
    low = [
        lane
        for lane in state.lanes.of_pool(bucket.pool)
        if lane.open and lane.charge == bucket.charge and len(lane.open) <= ahead // 2
        and lane.state is LaneState.READY and not lane.single
        and lane.long is None and not _is_sick(state, lane)
    ]  # fmt: skip
    low.sort(key=lambda lane: len(lane.open))
    for position, lane in enumerate(low):
        if bucket.head() is None:
            return
        share = -(-len(bucket.waiting) // (len(low) - position))
        _feed(state, bucket, lane, bucket.pop(min(ahead - len(lane.open), share)))


def _is_sick(state: State, lane: Lane) -> bool:
    """Tell whether a worker is on a card that gets no new work."""
    return any(uuid in state.slots.closed for uuid in lane.gpus)


def _open_more(state: State, bucket: Bucket, now: int) -> None:
    """Start workers for what still waits while there are slots."""
    if bucket.head() is None:
        return
    siblings = [
        lane for lane in state.lanes.of_pool(bucket.pool) if lane.state is not LaneState.CLOSING
    ]
    waiting = len(bucket.waiting)
    pace_us = state.lanes.pace_us.get(bucket.pool, float(WORK_AHEAD_US))
    if siblings and pace_us * waiting < WORK_AHEAD_US / 2:
        return
    opening = sum(1 for lane in siblings if lane.state is LaneState.OPENING)
    for _ in range(min(waiting, state.slots.room(bucket.charge)) - opening):
        workers = state.lanes.count_functions()
        if workers >= state.workers_max and (idle := state.lanes.longest_idle()) is not None:
            endings.close(state, idle)
        elif workers >= WORKERS_HARD_MAX:
            return
        lane = state.lanes.add(bucket.pool, now)
        state.effects.append(OpenLane(lane, bucket.head()))


def close_idle(state: State, now: int) -> None:
    """Let workers go that nobody needed for long."""
    for lane in state.lanes.by_id.values():
        if lane.is_idle and not lane.resident and now - lane.idle_since >= IDLE_NS_MAX:
            endings.close(state, lane)
