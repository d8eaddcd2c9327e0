"""Where can the tasks of one bucket go in this turn?"""

from __future__ import annotations

import functools
import heapq
from typing import TYPE_CHECKING

from . import warm, warmth
from .buckets import Bucket
from .events import Now
from .feasible import may_ever
from .fleet import Node
from .placement import Candidates, Choice, avoided, could_run
from .reservations import Asker, seen_by
from .task import Task

if TYPE_CHECKING:
    from .core import Core

Place = tuple[Choice, bool]
"""A choice, and whether it is only in the node's own queue."""


class Places:
    """The nodes that may take tasks of a bucket, and what is left of them in this turn.

    A bucket that found no place is only shown `changed`, the nodes on which something may have
    become free since. That is not enough where the answer of one node hangs on the others: for
    calls, which wait for a loaded model, and for tasks that go back to a node only when no other
    would take them.
    """

    def __init__(self, core: Core, bucket: Bucket, now: Now, changed: list[Node]) -> None:
        self._core = core
        self._now = now
        self._request = bucket.key.request
        self._failed_it = bucket.key.avoid
        self._strict = bucket.key.strict
        head = bucket.head()
        assert head is not None
        self._asker = Asker(core, head)
        shown = self.nodes if self._failed_it or self._request.handler else changed
        self._options = [
            Candidates(shown, each, core.rating, self._seen)
            for each in core.options.of(self._request)
        ]
        self._ahead: list[tuple[float, str, Node]] | None = None

    @functools.cached_property
    def nodes(self) -> list[Node]:
        """List the nodes that may take tasks of the bucket."""
        nodes = list(self._core.fleet.nodes.values())
        if not self._failed_it:
            return nodes
        passed_over = avoided(self._core.fleet, self._request, self._failed_it)
        return [node for node in nodes if node.name not in passed_over]

    def pick(self, task: Task) -> Place | None:
        """Return where a task goes now, or None."""
        if task is not self._asker.task:
            self._asker = Asker(self._core, task)
        place = None
        for each in self._options:
            choice = each.pick()
            if choice is not None and not self._waits_for_warmth(task, choice):
                place = choice, False
                break
        if place is None and self._request.may_go_ahead:
            place = self._pick_ahead(task)
        if place is None or place[0].node.name not in self._failed_it:
            return place
        waits = self._strict and could_run(self._core.fleet, self._request, avoid=self._failed_it)
        return None if waits else place

    def _seen(self, node: Node) -> Node:
        """Show what of a node is not kept from the task at the head."""
        return seen_by(self._asker, node) if self._core.reservations.on else node

    def not_kept(self) -> list[Node]:
        """Return the nodes on which no place is kept from the task at the head."""
        if not self._core.reservations.on:
            return self.nodes
        return [node for node in self.nodes if self._seen(node) is node]

    def _waits_for_warmth(self, task: Task, choice: Choice) -> bool:
        """Tell whether a call waits for a loaded model rather than have it loaded once more."""
        request = choice.request
        if not request.handler or warm.idle_seat(choice.node, request) is not None:
            return False
        until_ns = warmth.patient_until_ns(self._core, task, request, self.nodes, self._now)
        if until_ns is not None:
            self._core.warmth.wake(until_ns)
        return until_ns is not None

    def _pick_ahead(self, task: Task) -> Place | None:
        """Send a tiny task ahead: as many as the node works off in `prefetch_ns`."""
        mean_ns = self._core.runtimes.mean_ns(task.spec.kind)
        if mean_ns is None:
            return None
        if self._ahead is None:
            self._ahead = [
                (len(node.backlog) / max(self._slots(node), 1), node.name, node)
                for node in self.not_kept()
                if node.takes_work and self._takes_ahead(node)
            ]
            heapq.heapify(self._ahead)
        settings = self._core.settings
        while self._ahead:
            _, name, node = self._ahead[0]
            slots = self._slots(node)
            credit = min(
                settings.prefetch_per_node_max,
                int(settings.prefetch_ns * slots / max(mean_ns, 1_000.0)),
            )
            if len(node.backlog) >= credit:
                heapq.heappop(self._ahead)
                continue
            heapq.heapreplace(self._ahead, ((len(node.backlog) + 1) / slots, name, node))
            return Choice(node, self._request, ()), True
        return None

    def _takes_ahead(self, node: Node) -> bool:
        request = self._request
        if may_ever(node, request) or request in node.shunned or node.exclusives:
            return False
        return self._slots(node) > 0 and not self._is_wanted(node)

    def _is_wanted(self, node: Node) -> bool:
        """Tell whether a more urgent task waits for a node: it would only be asked back there."""
        urgent = self._core.buckets.most_urgent()
        if urgent is None or urgent.spec.policy.priority <= self._asker.task.spec.policy.priority:
            return False
        return not may_ever(node, urgent.spec.request)

    def _slots(self, node: Node) -> int:
        """Count the tasks of this request that the node runs at a time."""
        if self._request.handler:
            return warm.calls_at_a_time(node, self._request)
        return max(node.capabilities.cpus_milli // max(self._request.cpus_milli, 1), 1)
