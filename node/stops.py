"""Which attempts must end on the scheduler's word, and what is done about each?"""

from __future__ import annotations

from ..protocol.messages import (
    TAKEN_BACK,
    Desired,
    Kill,
    Outcome,
    Phase,
    Registered,
    ResultAck,
)
from . import endings
from .effects import Forget, Fused, RenewFences, Stop, TakeBack
from .state import State
from .task import FENCED, Attempt, ending


def on_kill(state: State, kill: Kill) -> None:
    """Stop attempts by name; unknown ones are gone already."""
    if kill.incarnation != state.incarnation:
        state.counters.add("other_incarnation")
        return
    rows = zip(kill.tasks, kill.attempts, kill.grace_ms, kill.reasons, strict=True)
    for task, number, grace_ms, reason in rows:
        attempt = state.attempts.get((task, number))
        if attempt is not None and reason == TAKEN_BACK:
            take_back(state, attempt)
        elif attempt is not None:
            stop(state, attempt, grace_ms, reason or "cancelled")


def take_back(state: State, attempt: Attempt) -> None:
    """Return an attempt that has not begun; one that has goes on."""
    if attempt.phase != Phase.QUEUED or attempt.stop:
        return
    attempt.recalled = True
    if attempt.handed:
        state.effects.append(TakeBack([attempt]))
    else:
        word = ending(attempt, Outcome.RETURNED, "cancelled", "taken back before it began")
        endings.end(state, attempt, word)


def on_desired(state: State, desired: Desired) -> None:
    """End what was offered before this statement and is not in it."""
    if desired.incarnation != state.incarnation:
        state.counters.add("other_incarnation")
        return
    state.see_rev(desired.rev)
    if state.fence.on_desired(desired.answers):
        _renew_fences(state)
    _keep_only(state, set(zip(desired.tasks, desired.attempts, strict=True)), desired.rev)


def on_registered(state: State, registered: Registered) -> None:
    """Begin with this scheduler: revisions count from its word on, results are said again."""
    state.rev = registered.rev
    state.settled.clear()
    state.fuse.reset()
    if state.fence.on_registered(registered.fence_ms):
        _renew_fences(state)
    for attempt in state.attempts.values():
        attempt.rev = 0
    living = set(zip(registered.tasks, registered.attempts, strict=True))
    _keep_only(state, living, max(1, registered.rev))
    state.outbox.resend_all()


def _keep_only(state: State, living: set[tuple[bytes, int]], rev: int) -> None:
    held = [one for one in state.attempts.values() if one.phase != Phase.ENDED and not one.stop]
    doomed = [one for one in held if one.rev < rev and one.key not in living]
    confirmed = state.fuse.confirmed(doomed, len(held), rev)
    if len(confirmed) < len(doomed):
        state.counters.add("fused")
        state.effects.append(Fused(len(doomed), len(held)))
    for attempt in confirmed:
        stop(state, attempt, -1, "the scheduler does not want it any more")


def _renew_fences(state: State) -> None:
    if state.fence.attempts:
        state.effects.append(RenewFences(state.fence.until_boot_ns))


def stop_fenced(state: State) -> None:
    """End what must not run unheard, once nothing was heard for too long."""
    for attempt in state.fence.doomed():
        stop(state, attempt, -1, FENCED)


def on_result_ack(state: State, ack: ResultAck) -> None:
    """Let acknowledged results go."""
    if ack.incarnation != state.incarnation:
        state.counters.add("other_incarnation")
        return
    attempts, outbox, effects = state.attempts, state.outbox, state.effects
    for key in zip(ack.tasks, ack.attempts, strict=True):
        if outbox.acknowledge(key):
            state.drop(attempts[key])
            state.settled.add(key)
            effects.append(Forget(key))


def stop(state: State, attempt: Attempt, grace_ms: int, reason: str) -> None:
    """End one attempt: at once when no runner has it, else through its runner."""
    if attempt.phase == Phase.ENDED or attempt.seq in state.releases:
        return
    if attempt.key in state.storing:
        if reason != FENCED:  # its process is gone: nothing of it runs unheard
            endings.stop_storing(state, attempt, reason)
        return
    if attempt.stop and grace_ms < 0:
        return
    attempt.stop = reason
    if not attempt.handed:
        endings.end(state, attempt, ending(attempt, Outcome.KILLED, "cancelled", reason))
        return
    grace = attempt.plan.spec.grace_ms if grace_ms < 0 else grace_ms
    state.effects.append(Stop(attempt, grace))


def hand_over(state: State) -> None:
    """Take nothing more, and give back what no runner has: no agent after us would know of it."""
    state.is_draining = True
    for attempt in list(state.attempts.values()):
        if not attempt.handed:
            stop(state, attempt, -1, endings.HAND_BACK)


def hand_back(state: State, grace_ms: int) -> None:
    """Give everything back uncharged and take nothing more."""
    state.is_draining = True
    for attempt in list(state.attempts.values()):
        stop(state, attempt, grace_ms, endings.HAND_BACK)
