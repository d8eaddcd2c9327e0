"""What does the node do with an offer: take it, say it again, or refuse it with a true reason?"""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat

from ..protocol import codec, spec
from ..protocol.claims import CLAIM_BYTES
from ..protocol.errors import MalformedFrame
from ..protocol.messages import Offer, Outcome, Phase
from . import as_whom, endings, residents, staging, stops, usage
from .slots import Charge, Mismatch
from .state import ATTEMPTS_MAX, PLAN_BYTES_MAX, PLANS_MAX, Rejection, State
from .task import HANDLER_POOL, Attempt, Plan, ending, plan_of

TOKEN_BYTES_MAX = 64


def on_offer(state: State, offer: Offer) -> None:
    """Take in a batch of attempts."""
    if offer.incarnation != state.incarnation:
        state.counters.add("other_incarnation")
        return
    if offer.rev < state.rev:
        # We have stated to hold all that was offered up to there: the scheduler takes what is in
        # this frame for missing, or has its result.
        state.counters.add("late_offer")
        return
    if not _has_sound_claims(offer):
        state.counters.add("malformed_offer")
        return
    state.see_rev(offer.rev)
    plans: dict[int, Plan | str] = {}
    charges: dict[int, Charge] = {}
    rows = zip(
        offer.tasks,
        offer.attempts,
        offer.tokens,
        offer.args,
        offer.gpus,
        offer.batches,
        offer.prefetched,
        offer.spec_index,
        offer.inputs or repeat(b"", len(offer.tasks)),
        strict=True,
    )
    for task, number, token, args, gpus, batch, prefetched, index, claims in rows:
        plan = plans.get(index)
        if plan is None:
            plan = plans[index] = _as_user(state, _in_pool(state, _plan(state, offer, index)))
        known = state.attempts.get((task, number))
        if known is not None:
            _say_again(state, known, offer.rev)
            continue
        if number < state.newest.get(task, -1) or (task, number) in state.settled:
            state.counters.add("stale_offer")
            continue
        if isinstance(plan, str):
            state.rejected.append(Rejection((task, number), token, plan))
            continue
        charge = charges.get(index) if not gpus else None
        if charge is None:
            try:
                charge = state.slots.charge(plan.request, tuple(gpus))
            except Mismatch as error:
                state.rejected.append(Rejection((task, number), token, str(error)))
                continue
            if not gpus:
                charges[index] = charge
        attempt = Attempt(
            task, number, token, plan, charge, args, tuple(gpus), batch, offer.rev,
            prefetched=prefetched,
            claims=offer.spec_inputs[index] + claims if offer.spec_inputs else claims,
        )  # fmt: skip
        _take(state, attempt)


def _has_sound_claims(offer: Offer) -> bool:
    """Tell whether the claims of an offer are one row for each task and spec, and whole."""
    for rows, count in ((offer.inputs, len(offer.tasks)), (offer.spec_inputs, len(offer.specs))):
        if len(rows) not in (0, count) or any(len(row) % CLAIM_BYTES for row in rows):
            return False
    return True


def _plan(state: State, offer: Offer, index: int) -> Plan | str:
    """Read one spec of an offer, or say why it cannot be run."""
    if not 0 <= index < len(offer.specs) or index >= len(offer.owners):
        return "the offer names a spec that it does not carry"
    blob, owner = offer.specs[index], offer.owners[index]
    plan = state.plans.get((blob, owner))
    if plan is None:
        try:
            plan = plan_of(spec.from_document(codec.unpack_document(blob)), owner)
        except (MalformedFrame, TypeError, ValueError, AttributeError) as error:
            return f"the task's specification cannot be read: {error}"
        if len(blob) > PLAN_BYTES_MAX:
            return plan
        if len(state.plans) >= PLANS_MAX:
            del state.plans[next(iter(state.plans))]
        state.plans[blob, owner] = plan
    return plan


def _in_pool(state: State, plan: Plan | str) -> Plan | str:
    """Name the workers of a handler that hold the model of its calls."""
    if isinstance(plan, str) or plan.spec.kind != "handler":
        return plan
    handler = state.handlers.get(plan.spec.target)
    if handler is None:
        return plan
    pool = residents.pool_of(handler.name, handler.model_for(plan.spec.model))
    return plan if plan.pool == pool else replace(plan, pool=pool)


def _as_user(state: State, plan: Plan | str) -> Plan | str:
    """Say as whom it runs; what is another user's has a directory apart from ours."""
    if isinstance(plan, str):
        return plan
    user = state.as_whom.user_of(plan.owner, plan.spec.kind)
    return replace(plan, user=user, is_staged=True) if user else plan


def _say_again(state: State, known: Attempt, rev: int) -> None:
    """Answer an offer of an attempt that is held: nothing is executed twice."""
    known.rev = max(known.rev, rev)
    if known.phase == Phase.ENDED:
        state.outbox.resend(known.key)
    else:
        state.fresh.append(known)


def _take(state: State, attempt: Attempt) -> None:
    reason = _refusal(state, attempt)
    if reason:
        state.rejected.append(Rejection(attempt.key, attempt.token, reason))
        return
    older = state.newest.get(attempt.task)
    if older is not None:
        held = state.attempts[attempt.task, older]
        stops.stop(state, held, -1, "a later attempt of the task was offered")
    state.hold(attempt)
    state.fresh.append(attempt)
    if why := state.as_whom.refusal(attempt.plan.owner, attempt.plan.spec.kind):
        # Not a rejection: that keeps all alike away for a while, this one alone goes elsewhere.
        word = ending(attempt, Outcome.FAILED, as_whom.CODE, why)
        endings.end(state, attempt, word)
        return
    if attempt.plan.is_command or attempt.charge.cards:
        _reserve(state, attempt)
    if staging.is_needed(attempt):
        staging.begin(state, attempt)
    else:
        state.backlog.add(attempt)


def _refusal(state: State, attempt: Attempt) -> str:
    """Say why an attempt cannot be taken; empty when it can."""
    if state.is_draining:
        return "the node is stopping"
    if len(state.attempts) >= ATTEMPTS_MAX:
        return f"the node holds {ATTEMPTS_MAX} attempts already"
    if len(attempt.token) > TOKEN_BYTES_MAX:
        return "the token is too long"
    if attempt.plan.pool.startswith(HANDLER_POOL):
        spec = attempt.plan.spec
        if reason := residents.refusal(state, spec.target, spec.model):
            return reason
    misfit = "" if _joins(state, attempt) else state.slots.refusal(attempt.charge)
    if not misfit:
        return usage.refusal(state, attempt.charge, attempt.plan.request)
    if attempt.charge.cards or not state.slots.could_ever(attempt.charge):
        return misfit
    # What was sent ahead may hold the slot that the scheduler meant: then this one waits too.
    if attempt.prefetched or state.prefetched_held:
        return ""
    return misfit


def _joins(state: State, attempt: Attempt) -> bool:
    """Tell whether a worker that takes several calls at a time has its slot for this one too."""
    lanes = state.lanes.of_pool(attempt.plan.pool)
    return any(lane.size > 1 and lane.charge == attempt.charge for lane in lanes)


def _reserve(state: State, attempt: Attempt) -> None:
    """Take the slot of an attempt that needs one of its own, as far as there is room."""
    if not state.slots.refusal(attempt.charge):
        state.slots.take(attempt.seq, attempt.charge)
        attempt.reserved = True
