"""What if one safeguard were missing? Each entry takes one away; the simulation must notice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from remuda.node import giving_way, health, outbox, session, slots, staging, stops, storing
from remuda.protocol import measures
from remuda.protocol import messages as m
from remuda.scheduler import (
    black_holes,
    configured,
    cordons,
    core,
    dispatch,
    edge,
    highest_epoch,
    life,
    needs,
    on_node,
    on_results,
    vacancy,
)

from . import crew, limits, scheduler
from .draw import draw
from .plan import Kind
from .world import simulate

# Replacements are plain functions, not mocks: a run calls them a thousand times.

Removal = Callable[[], Any]


def _always(*_: Any, **__: Any) -> bool:
    return True


def _never(*_: Any) -> bool:
    return False


def _nothing(*_: Any) -> None:
    """Be what is missing."""


def _tokens() -> Any:
    return mock.patch.object(on_results, "same_token", _always)


def _attempt_numbers() -> Any:
    """Believe a result by its task alone, whichever attempt and node it is of."""

    def on_any_results(core: Any, node: Any, message: m.Results, now: Any, effects: Any) -> None:
        believed = replace(message, attempts=list(message.attempts), tokens=list(message.tokens))
        for at, blob in enumerate(message.tasks):
            task = core.tasks.get(int.from_bytes(blob, "big"))
            if task is not None and task.live is not None and task.live.node == node.name:
                believed.attempts[at] = task.live.number
                believed.tokens[at] = task.live.token
        on_results.on_results(core, node, believed, now, effects)

    return mock.patch.dict(on_node._HANDLERS, {m.Results: on_any_results})


def _commit_before_send() -> Any:
    """Say everything, then commit it."""
    commit, send = scheduler.Scheduler._commit, scheduler.Scheduler._send

    def send_first(self: Any, process: Any, effects: Any) -> None:
        send(self, process, effects)
        commit(self, process, effects)

    return mock.patch.multiple(scheduler.Scheduler, _commit=send_first, _send=_nothing)


def _fits(*_: Any) -> str:
    return ""


def _slot_guard() -> Any:
    """Take whatever is offered."""
    return mock.patch.multiple(slots.Slots, refusal=_fits, check=_nothing)


def _shared_things() -> Any:
    """Lend named things, and nodes that a task has alone, as if nobody had them."""
    lent = (vacancy._alone, vacancy.lacks_now)
    left = tuple(each for each in vacancy.IS_ROOM if each not in lent)
    return mock.patch.object(vacancy, "IS_ROOM", left)


def _submit_keys() -> Any:
    return mock.patch.object(edge.Edge, "_answer_known", _nothing)


def _resending() -> Any:
    """Say each result once."""
    return mock.patch.multiple(
        outbox.Outbox,
        resend_all=_nothing,
        resend=_nothing,
        take=_take_once(outbox.Outbox.take),
    )


def _take_once(take: Callable[..., Any]) -> Callable[..., Any]:
    def taken(self: Any, now: int) -> Any:
        found = take(self, now)
        self._sent.clear()
        return found

    return taken


def _adoption() -> Any:
    """Begin anew beside the runners of the agent before."""
    return mock.patch.object(crew, "adopt", _nothing)


def _node_epochs() -> Any:
    """Obey schedulers of the past."""
    return mock.patch.object(session.Session, "on_heard", _always)


def _reconciliation() -> Any:
    """Believe that what was once said has arrived: heartbeats are signs of life alone."""
    return mock.patch.dict(on_node._HANDLERS, {m.Heartbeat: _nothing})


def _fence_on_the_node() -> Any:
    """Let fenced tasks run on unheard."""
    stack = ExitStack()
    stack.enter_context(mock.patch.object(stops, "stop_fenced", _nothing))
    stack.enter_context(mock.patch.object(limits, "watch_fence", _nothing))
    return stack


def _fence_on_the_scheduler() -> Any:
    """Replace a fenced task as soon as its node is given up."""
    lose = life.lose

    def lose_at_once(*args: Any, is_sure: bool) -> bool:
        return lose(*args, is_sure=True)

    return mock.patch.object(life, "lose", lose_at_once)


def _staging() -> Any:
    """Begin at once."""
    return mock.patch.object(staging, "is_needed", _never)


def _storing() -> Any:
    """Tell a success as soon as its process has ended."""
    return mock.patch.object(storing, "is_needed", _never)


def _cordons() -> Any:
    """Lend cordoned GPUs as any other."""
    return mock.patch.object(cordons, "apply", _nothing)


def _none(*_: Any) -> dict[str, str]:
    return {}


def _quarantine() -> Any:
    """Know of faults, and lend the card."""
    return mock.patch.object(health.Health, "withheld", _none)


def _measured_room() -> Any:
    """Believe that a card holds nothing but what was lent of it."""
    return mock.patch.object(measures.GpuMeasure, "refusal", _fits_with)


def _fits_with(*_: Any, **__: Any) -> str:
    return ""


def _single_opinion() -> Any:
    """Have a task tried elsewhere for nothing wherever it fails."""
    on_failure = black_holes.on_failure

    def ask_again(core: Any, *args: Any) -> bool:
        core.black_holes.excused.clear()
        return on_failure(core, *args)

    return mock.patch.multiple(
        black_holes, on_failure=ask_again, _clear=_nothing, _could_go_elsewhere=_always
    )


def _asking_for_more() -> Any:
    """Try what ran out of memory with as much again."""
    return mock.patch.object(needs, "larger", _nothing)


def _unloading() -> Any:
    """Take a model for gone as soon as it is told to leave."""
    let_go = giving_way._let_go

    def forget(state: Any, resident: Any) -> None:
        let_go(state, resident)
        state.residents[resident.handler].remove(resident)
        state.slots.release(resident.name)

    return mock.patch.object(giving_way, "_let_go", forget)


def _hold() -> Any:
    """Go on after a restore as after any other start."""
    return mock.patch.object(core.Core, "hold", _nothing)


def _apart() -> Any:
    """Number attempts after a restore as if nothing had happened since the backup."""
    return mock.patch.object(dispatch, "_attempt_floor", _zero)


def _zero(*_: Any) -> int:
    return 0


def _settings_again() -> Any:
    """Tell each start of an agent what it is to go by once."""
    told: set[tuple[bytes, bytes]] = set()
    see = configured.see

    def see_once(core: Any, node: Any, message: Any, effects: Any) -> None:
        before = len(effects.to_nodes)
        see(core, node, message, effects)
        for item in effects.to_nodes[before:]:
            key = node.incarnation, item.message.digest
            if key in told:
                effects.to_nodes.remove(item)
            told.add(key)

    return mock.patch.object(configured, "see", see_once)


def _highest_epoch() -> Any:
    """Have a restore go by the clock and its backup alone."""
    return mock.patch.object(highest_epoch.HighestEpoch, "see", _nothing)


def _only_try() -> Any:
    """Try again what was adopted, whatever is known of it."""
    return mock.patch.object(life, "_was_only_try", _never)


SILENCE = (Kind.PARTITION, Kind.ONE_WAY, Kind.AGENT_CRASH)
SAFEGUARDS: dict[str, tuple[Removal, tuple[Kind, ...]]] = {
    "the token of a result is checked": (_tokens, (Kind.BYZANTINE,)),
    "a result counts for its own attempt alone": (_attempt_numbers, SILENCE),
    "nothing is said before it is durable": (_commit_before_send, (Kind.CRASH_BEFORE_COMMIT,)),
    "the node has a guard of its own": (_slot_guard, SILENCE),
    "the ledger counts named things and who is alone": (_shared_things, (Kind.LOSS,)),
    "a submission is known by its key": (_submit_keys, (Kind.LOSS, Kind.CLIENT_STORM)),
    "a result is said until it is acknowledged": (_resending, (Kind.LOSS,)),
    "an agent adopts what the one before it left": (_adoption, (Kind.AGENT_CRASH,)),
    "a node obeys no earlier scheduler": (_node_epochs, (Kind.CRASH_AT_REST, Kind.STALE_ORDER)),
    "heartbeats are compared with what should be held": (_reconciliation, (Kind.LOSS,)),
    "a node ends its fenced tasks when it hears nobody": (_fence_on_the_node, SILENCE),
    "a fenced task is replaced only when its node has surely ended it": (
        _fence_on_the_scheduler,
        SILENCE,
    ),
    "nothing begins before what it needs is there": (_staging, (Kind.AGENT_CRASH,)),
    "a success is told once its outputs are stored": (_storing, (Kind.AGENT_CRASH,)),
    "a cordoned GPU gets no work": (_cordons, (Kind.GPU_FAULT,)),
    "a GPU with a fault is lent to nobody": (_quarantine, (Kind.GPU_FAULT,)),
    "what others hold of a GPU is not lent": (_measured_room, (Kind.STRANGER,)),
    "what fails elsewhere as well is charged for it": (_single_opinion, (Kind.BLACK_HOLE,)),
    "what ran out of a GPU's memory asks for more": (_asking_for_more, (Kind.LOSS,)),
    "a restored scheduler starts nothing without a word": (_hold, (Kind.RESTORE,)),
    "what is adopted without its arguments is never tried again": (
        _only_try,
        (Kind.RESTORE, Kind.RESTORE, Kind.AGENT_CRASH, Kind.PARTITION),
    ),
    "a restore goes on above every epoch before it": (
        _highest_epoch,
        (Kind.RESTORE, Kind.WALL_JUMP),
    ),
    "attempts after a restore have other numbers": (_apart, (Kind.RESTORE,)),
    "the room of a model is lent once it is gone": (_unloading, (Kind.PRESSURE,)),
    "a node is told its settings until it goes by them": (
        _settings_again,
        (Kind.RECONFIGURE, Kind.LOSS),
    ),
}
"""Each safeguard: how it is taken away, and which faults it is there for."""


@contextmanager
def without(safeguard: str) -> Iterator[None]:
    """Take one safeguard away for a while."""
    removal, _ = SAFEGUARDS[safeguard]
    with removal():
        yield


def first_noticed(safeguard: str, seeds: Iterable[int]) -> int | None:
    """Return the first seed whose run breaks a promise without the safeguard."""
    _, kinds = SAFEGUARDS[safeguard]
    with without(safeguard):
        return next((seed for seed in seeds if simulate(draw(seed, kinds)).violations), None)
