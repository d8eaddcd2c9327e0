"""Where could a waiting task start soonest if nothing new came, and what has to end for that?"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ..protocol.resources import Request
from . import forecast, shadow
from .events import Now
from .feasible import may_ever
from .fleet import Node
from .task import Task

if TYPE_CHECKING:
    from .core import Core

NODES_MAX = 64
"""So many nodes are looked at, those with the fewest tasks: to look at one takes a while."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What is counted as begun on a node though it waits: a task, its request and its cards."""

    task: Task
    request: Request
    cards: tuple[str, ...]
    blockers: Collection[int]


@dataclass(frozen=True, slots=True)
class Plan:
    """A place for a task once `blockers` have ended: at `start_ns`, None where nobody knows."""

    node: str
    request: Request
    cards: tuple[str, ...]
    blockers: frozenset[int]
    start_ns: int | None
    unknown: int


def soonest(
    core: Core,
    options: Iterable[Request],
    now: Now,
    begun: dict[str, list[Begun]],
    passed_over: Collection[str],
) -> Plan | None:
    """Return the place where one of the requests that will do could start first.

    One whose time is known comes before any whose time is not.
    """
    nodes = [
        node
        for node in core.fleet.nodes.values()
        if node.takes_work and node.name not in passed_over
    ]
    nodes.sort(key=lambda node: (len(node.held), node.name))
    found = []
    for request in options:
        able = (node for node in nodes if not may_ever(node, request))
        for node in islice(able, NODES_MAX):
            plan = on_node(core, node, request, now, begun.get(node.name, []))
            if plan is not None:
                found.append(plan)
    return min(found, key=lambda plan: (plan.unknown, plan.start_ns or 0), default=None)


def on_node(
    core: Core,
    node: Node,
    request: Request,
    now: Now,
    begun: list[Begun],
    *,
    gone: Collection[int] = (),
    only: tuple[str, ...] = (),
) -> Plan | None:
    """Return the earliest place on a node, on `only` some of its cards; None: there is none.

    What is `gone` is taken to end in any case.
    """
    left = {task_id for each in begun for task_id in each.blockers}
    left = (left | set(gone)) & node.held.keys()
    ends = {
        task.id: forecast.end_ns(core, task, now)
        for task in _in_the_way(node, request, begun, left)
    }
    order = sorted(ends, key=lambda task_id: _last_unknown(node, task_id, ends[task_id]))
    low, high = 0, len(order)
    if not shadow.fits(_without(node, [*left, *order], begun), request, only):
        return None
    while low < high:
        middle = (low + high) // 2
        if shadow.fits(_without(node, [*left, *order[:middle]], begun), request, only):
            high = middle
        else:
            low = middle + 1
    chosen = shadow.cards_for(_without(node, [*left, *order[:low]], begun), request, only)
    assert chosen is not None
    cards = tuple(card.gpu.uuid for card in chosen)
    blockers = set(order[:low])
    for task_id in reversed(order[:low]):
        if shadow.fits(_without(node, left | blockers - {task_id}, begun), request, cards):
            blockers.discard(task_id)
    found = [ends[task_id] for task_id in blockers]
    known = [end_ns for end_ns in found if end_ns is not None]
    start_ns = max(known, default=now.mono_ns) if len(known) == len(found) else None
    return Plan(
        node.name, request, cards, frozenset(blockers), start_ns, len(found) - len(known)
    )  # fmt: skip


def _last_unknown(node: Node, task_id: int, end_ns: int | None) -> tuple[bool, int, int]:
    """Sort by end; what may run for ever comes last, the youngest of it at the very end."""
    live = node.held[task_id].live
    return end_ns is None, end_ns or 0, live.offered_ns if live else 0


def _without(node: Node, gone: Iterable[int], begun: list[Begun]) -> Node:
    found = shadow.after(node, gone)
    for each in begun:
        shadow.begin(found, each.task, each.request, each.cards)
    return found


def _in_the_way(
    node: Node, request: Request, begun: list[Begun], left: Collection[int]
) -> list[Task]:
    """Return the tasks that may have to end: where the host has room, those on cards alone."""
    others = [task for task in node.held.values() if task.id not in left]
    if not shadow.has_host_room(_without(node, left, begun), request):
        return others
    return [task for task in others if task.live and shadow.touches(node, task.live)]
