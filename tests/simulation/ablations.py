"""What if one safeguard were missing? Each entry takes one away; the simulation must notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from remuda.node import outbox, session, slots
from remuda.protocol import messages as m
from remuda.scheduler import edge, on_node, on_results

from . import crew, scheduler

# Replacements are plain functions, not mocks: a run calls them a thousand times.

Removal = Callable[[], Any]


def _always(*_: Any) -> bool:
    return True


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


SAFEGUARDS: dict[str, Removal] = {
    "the token of a result is checked": _tokens,
    "a result counts for its own attempt alone": _attempt_numbers,
    "nothing is said before it is durable": _commit_before_send,
    "the node has a guard of its own": _slot_guard,
    "a submission is known by its key": _submit_keys,
    "a result is said until it is acknowledged": _resending,
    "an agent adopts what the one before it left": _adoption,
    "a node obeys no earlier scheduler": _node_epochs,
    "heartbeats are compared with what should be held": _reconciliation,
}


@contextmanager
def without(safeguard: str) -> Iterator[None]:
    """Take one safeguard away for a while."""
    with SAFEGUARDS[safeguard]():
        yield
