"""How an agent deals with the runners of its host: orders, words, adoption after a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from remuda.node import endings, loading
from remuda.node.adoption import UNKNOWN_POOL
from remuda.node.effects import (
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
from remuda.node.endings import LaneEnd
from remuda.node.fencing import is_fenced
from remuda.node.grants import Grant, WorkerGrant
from remuda.node.hearing import LOST
from remuda.node.lanes import Lane, LaneState
from remuda.node.slots import Charge
from remuda.node.task import Attempt, Ending, Key, Plan, ending
from remuda.protocol.messages import Outcome
from remuda.protocol.spec import IfNodeLost, TaskSpec

from . import limits
from .agenda import MS
from .behaviour import unpack
from .host import Runner, Work, unload

if TYPE_CHECKING:
    from .agent import Agent

ADOPTED_RETURNS = 1_000


def carry_out(agent: Agent, effect: Effect, now: int) -> None:
    """Do what the core asked for."""
    _CARRY[type(effect)](agent, effect, now)


def _launch(agent: Agent, effect: Launch, _now: int) -> None:
    _order(agent, _seat(agent), [effect.attempt], is_call=False)


def _open_lane(agent: Agent, effect: OpenLane, _now: int) -> None:
    lane = effect.lane
    runner = _seat(agent)
    agent.lane_seats[lane.id] = runner
    agent.lane_of[runner.number] = lane.id
    name = f"worker {runner.number}.{-lane.id}"
    charge = agent.core.state.slots.holders.get(lane.resident, Charge())
    vram_bytes = sum(part.vram_bytes for part in charge.cards)
    worker = WorkerGrant(name, lane.pool, lane.resident, lane.gpus, vram_bytes=vram_bytes)
    agent.host.host_worker(runner, worker, charge.cards)


def _feed(agent: Agent, effect: Feed, _now: int) -> None:
    runner = agent.lane_seats.get(effect.lane.id)
    if runner is not None:
        _order(agent, runner, effect.attempts, is_call=True)


def _order(agent: Agent, runner: Runner, attempts: list[Attempt], *, is_call: bool) -> None:
    """Write attempts down beside their runner, then hand them over."""
    for attempt in attempts:
        runner.grants[attempt.key] = Grant(
            attempt.key, attempt.token, attempt.plan.spec.kind, attempt.plan.spec.grace_ms,
            attempt.batch, attempt.charge, attempt.gpus, is_fenced(attempt.plan.spec),
            tuple(attempt.plan.spec.outputs),
        )  # fmt: skip
    for attempt in attempts:
        if not agent.boundary():
            return
        agent.seat_of[attempt.key] = runner
        spec = attempt.plan.spec
        work = Work(
            attempt.key,
            unpack(attempt.args),
            attempt.charge.cards,
            is_call,
            grace_ns=spec.grace_ms * MS,
            timeout_ns=spec.timeout_ms * MS,
            fence_ns=agent.core.state.fence.until_for(spec),
            has_outputs=bool(spec.outputs),
        )
        agent.host.begin(runner, work)
        limits.watch_fence(agent.host, runner, work)


def _close_lane(agent: Agent, effect: CloseLane, _now: int) -> None:
    runner = agent.lane_seats.get(effect.lane.id)
    if runner is None or runner.worker is None:
        return
    runner.ends_when_idle = True
    if not runner.queue:
        unload(agent.host, runner)


def _stop(agent: Agent, effect: Stop, _now: int) -> None:
    runner = agent.seat_of.get(effect.attempt.key)
    if runner is not None:
        agent.host.stop(runner, effect.attempt.key, effect.grace_ms * MS)


def _take_back(agent: Agent, effect: TakeBack, _now: int) -> None:
    for attempt in effect.attempts:
        runner = agent.seat_of.get(attempt.key)
        if runner is not None:
            agent.host.stop(runner, attempt.key, None)


def _forget(agent: Agent, effect: Forget, _now: int) -> None:
    runner = agent.seat_of.pop(effect.key, None)
    if runner is not None:
        runner.forget(effect.key)


def _cards_changed(agent: Agent, effect: CardsChanged, now: int) -> None:
    """Say that a card is held back, or no more; its locks are not simulated."""
    if effect.is_news:
        agent.membership.beat_soon(now)


def _residents_changed(agent: Agent, _effect: ResidentsChanged, now: int) -> None:
    agent.membership.beat_soon(now)


def _renew_fences(agent: Agent, effect: RenewFences, _now: int) -> None:
    found = map(agent.seat_of.get, agent.core.state.fence.attempts)
    for runner in dict.fromkeys(runner for runner in found if runner is not None):
        limits.renew_fences(runner, effect.until_boot_ns)


def _fused(agent: Agent, effect: Fused, _now: int) -> None:
    """Nobody reads the log of a simulated agent."""


def _stage_in(agent: Agent, effect: StageIn, _now: int) -> None:
    agent.moving.prepare(effect)


def _store_outputs(agent: Agent, effect: StoreOutputs, _now: int) -> None:
    agent.moving.store(effect)


def _stop_moving(agent: Agent, effect: StopMoving, _now: int) -> None:
    agent.moving.give_up(effect)


def _seat(agent: Agent) -> Runner:
    # One that has ended its worker is free for us once we have heard of it.
    runner = agent.host.free_runner(agent.lane_of)
    attach(agent, runner)
    return runner


def attach(agent: Agent, runner: Runner) -> None:
    """Hear a runner from now on."""
    runner.tell = lambda word, what: agent.hear(runner, word, what)


_CARRY: dict[type, Callable[[Agent, Any, int], None]] = {
    Launch: _launch,
    OpenLane: _open_lane,
    Feed: _feed,
    CloseLane: _close_lane,
    Stop: _stop,
    TakeBack: _take_back,
    Forget: _forget,
    StageIn: _stage_in,
    StoreOutputs: _store_outputs,
    StopMoving: _stop_moving,
    CardsChanged: _cards_changed,
    ResidentsChanged: _residents_changed,
    RenewFences: _renew_fences,
    Fused: _fused,
}


# --- what runners say -------------------------------------------------------------------------


def hear(agent: Agent, runner: Runner, word: str, what: Any, now: int) -> None:
    """Turn the word of a runner into events of the core."""
    state = agent.core.state
    if word == "answer":
        _on_answer(agent, runner, what, now)
    elif word == "started":
        endings.on_started(state, [what], now)
    elif word == "loaded":
        endings.on_lane_ready(state, agent.lane_of.get(runner.number, 0), now)
    elif word == "worker_ended":
        _lane_ended(agent, runner, "worker_died", now, was_loaded=what)
    elif word == "gone":
        _on_gone(agent, runner, now)


def _on_answer(agent: Agent, runner: Runner, answer: Ending, now: int) -> None:
    key = (answer.task, answer.number)
    agent.seat_of[key] = runner
    endings.on_endings(agent.core.state, [answer], now)
    attempt = agent.core.find(key)
    if attempt is not None and not attempt.handed:
        # It came back unstarted and waits here again: the runner is done with it.
        runner.forget(key)
        agent.seat_of.pop(key, None)


def _lane_ended(agent: Agent, runner: Runner, code: str, now: int, *, was_loaded: bool) -> None:
    lane_id = agent.lane_of.pop(runner.number, 0)
    agent.lane_seats.pop(lane_id, None)
    lane = agent.core.state.lanes.by_id.get(lane_id)
    if lane is None:
        return
    never_had = [key for key in lane.open if key not in runner.works and key not in runner.answers]
    _come_back(agent, never_had, now)
    end = LaneEnd(lane_id, code, "the worker ended", was_loaded=was_loaded)
    endings.on_lane_ended(agent.core.state, end, now)


def _come_back(agent: Agent, keys: list[Key], now: int) -> None:
    found = [attempt for key in keys if (attempt := agent.core.find(key)) is not None]
    text = "its runner never got it"
    answers = [ending(attempt, Outcome.RETURNED, "worker_ended", text) for attempt in found]
    endings.on_endings(agent.core.state, answers, now)


def _on_gone(agent: Agent, runner: Runner, now: int) -> None:
    """Take in that a runner was killed: what it answered counts, the rest is lost."""
    for answer in list(runner.answers.values()):
        _on_answer(agent, runner, answer, now)
    agent.host.bury(runner)
    lost = [key for key, seat in agent.seat_of.items()
            if seat is runner and key not in runner.answers]  # fmt: skip
    _lose(agent, lost, "the runner of the task was killed", now)
    _lane_ended(agent, runner, LOST, now, was_loaded=False)


def _lose(agent: Agent, keys: list[Key], text: str, now: int) -> None:
    found = [attempt for key in keys if (attempt := agent.core.find(key)) is not None]
    answers = [ending(attempt, Outcome.FAILED, LOST, text) for attempt in found]
    endings.on_endings(agent.core.state, answers, now)


# --- what the agent before left ---------------------------------------------------------------


def adopt(agent: Agent, now: int) -> None:
    """Take over the runners that live and settle the dead ones, before anything is registered."""
    for runner in agent.host.runners:
        if not runner.alive:
            _settle(agent, runner, now)
    for runner in agent.host.runners:
        if runner.alive:
            attach(agent, runner)
            _take_over(agent, runner, now)
    agent.host.runners[:] = [r for r in agent.host.runners if r.alive or r.answers]


def _take_over(agent: Agent, runner: Runner, now: int) -> None:
    lane = None
    if runner.worker is not None:
        lane = _lane_of(agent, runner, runner.worker, now)
        agent.lane_seats[lane.id] = runner
        agent.lane_of[runner.number] = lane.id
    for key in [*runner.works, *runner.answers]:
        grant = _left_of(runner, key)
        in_lane = lane is not None and grant.kind != "command"
        agent.core.adopt(_attempt(grant), lane.id if lane is not None and in_lane else 0)
        agent.seat_of[key] = runner
    if lane is not None and lane.single and not lane.open:
        endings.close(agent.core.state, lane)
    for answer in list(runner.answers.values()):
        agent.hear(runner, "answer", answer)


def _lane_of(agent: Agent, runner: Runner, worker: WorkerGrant, now: int) -> Lane:
    """Count a worker as ours: a model stays, others end with the calls that they have."""
    state = agent.core.state
    card = worker.gpus[0] if worker.gpus else ""
    if worker.resident and (lane_id := loading.adopt(state, worker.resident, card, now)):
        if runner.is_loaded:
            endings.on_lane_ready(state, lane_id, now)
        return state.lanes.by_id[lane_id]
    if worker.resident:
        return loading.adopt_unwanted(
            state, worker.resident, worker.pool, card, worker.vram_bytes, now
        )
    lane = state.lanes.add(worker.pool, now, gpus=worker.gpus, single=True)
    lane.state = LaneState.READY
    return lane


def _left_of(runner: Runner, key: Key) -> Grant:
    """Return what was granted; what has ended has left its cards."""
    grant = runner.grants[key]
    return replace(grant, charge=Charge()) if key in runner.answers else grant


def _settle(agent: Agent, runner: Runner, now: int) -> None:
    lost = agent.host.bury(runner)
    for key in [*runner.answers, *lost]:
        if agent.core.find(key) is None:
            agent.core.adopt(_attempt(_left_of(runner, key)))
            agent.seat_of[key] = runner
    for answer in list(runner.answers.values()):
        _on_answer(agent, runner, answer, now)
    _lose(agent, lost, "the runner was killed, or the host was restarted", now)


def _attempt(grant: Grant) -> Attempt:
    """Make an attempt as far as its grant tells, as `node.adoption` does."""
    kind = grant.kind if grant.kind in ("function", "handler") else "command"
    fate: IfNodeLost = "fence" if grant.is_fenced else "rerun"
    spec = TaskSpec(
        kind=kind, grace_ms=grant.grace_ms, if_node_lost=fate, outputs=list(grant.outputs)  # type: ignore[arg-type]
    )  # fmt: skip
    pool = "" if kind == "command" else UNKNOWN_POOL
    plan = Plan(spec, "", pool, spec.request, is_stored=bool(spec.outputs))
    return Attempt(
        *grant.key, grant.token, plan, grant.charge, gpus=grant.gpus, batch=grant.batch,
        returned=ADOPTED_RETURNS,
    )  # fmt: skip
