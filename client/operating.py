"""What can an operator ask of a cluster from Python: its state, and changes to its nodes?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..protocol.errors import Invalid
from ..protocol.resources import parse_duration_s
from . import control, draining, exporting, feed, gpus
from .configuring import Config
from .connection import Connection
from .feed import LIMIT, Event
from .handlers import HandlerVerbs
from .task import Task

if TYPE_CHECKING:
    from .batch import Batch

Duration = str | float | dt.timedelta


class OperatorVerbs(HandlerVerbs):
    """The verbs of a client that are not about tasks."""

    link: Connection

    @property
    def config(self) -> Config:
        """Return what looks at the configuration, and changes it."""
        return Config(self.link)

    def nodes(self) -> list[dict[str, Any]]:
        """List the nodes with their resources."""
        return control.list_nodes(self.link)

    def status(self) -> dict[str, Any]:
        """Return the cluster's name, version, epoch and counts."""
        return control.status(self.link)

    def events(
        self,
        *,
        follow: bool = False,
        since: object = None,
        node: str = "",
        task: Task | None = None,
        kind: str | Sequence[str] = (),
        limit: int = LIMIT,
    ) -> Iterator[Event]:
        """Yield the newest events, oldest first; with `follow` go on until the loop is left.

        `since` is a duration until now, or a datetime. `kind` is like `node.lost`, or `node` for
        all of them. Following survives a restart of the scheduler, which forgets what was before.
        """
        kinds = [kind] if isinstance(kind, str) else list(kind)
        key = b"" if task is None else task.key
        return feed.events(
            self.link, follow=follow, since=since, node=node, task=key, kinds=kinds, limit=limit
        )

    def export_tasks(
        self,
        *,
        active: bool = False,
        states: Sequence[str] = (),
        owner: str = "",
        node: str = "",
        name: str = "",
        batch: Batch | None = None,
        tags: Mapping[str, str] | None = None,
        since: object = None,
        until: object = None,
        ended_since: object = None,
        ended_until: object = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield a document for each task with all its tries, the oldest first.

        Times are of the submission or the end: durations until now, or datetimes. The documents
        are the lines of `remuda task export`; they come in slices, so any number fits in memory.
        """
        wanted = {
            "active": active,
            "states": list(states),
            "owner": owner,
            "node": node,
            "name": name,
            "batch": b"" if batch is None else batch.key,
            "tags": dict(tags or {}),
        }
        filters = {key: value for key, value in wanted.items() if value}
        times = exporting.times_of(
            since=since, until=until, ended_since=ended_since, ended_until=ended_until
        )
        if batch is not None and not batch.key:  # nothing was submitted
            return iter(())
        return exporting.export(self.link, filters | times)

    def drain(
        self, name: str, *, reason: str = "", deadline: Duration | None = None, wait: bool = False
    ) -> str:
        """Give a node no new work; return what was done.

        What is left there after `deadline` (a duration from now) is stopped and queued again,
        charged nothing. With `wait` return once nothing is left there.
        """
        deadline_s = None if deadline is None else _duration_s(deadline)
        done = control.drain(self.link, name, reason=reason, deadline_s=deadline_s)
        if wait:
            draining.wait_drained(self.link, [name])
        return done

    def undrain(self, name: str) -> str:
        """Give a node work again; return what was done."""
        return control.undrain(self.link, name)

    def declare_lost(self, name: str) -> str:
        """Move the tasks of a node that you saw to be off, at once; return what was done.

        If it is on, they run twice. Raises Conflict for a node that is heard.
        """
        return control.declare_lost(self.link, name)

    def forget_node(self, name: str) -> str:
        """Strike a node that is off from the list; return what was done.

        What it held moves at once, as if it were declared lost. It may register again.
        """
        return control.forget_node(self.link, name)

    def gpus(self, node: str = "") -> list[dict[str, Any]]:
        """List the GPUs with their memory, tasks, models and health."""
        return gpus.list_gpus(self.link, node)

    def stats(self, kind: str = "") -> list[dict[str, Any]]:
        """List how long tasks of each kind run and what VRAM they use; `kind` begins its name."""
        return gpus.list_stats(self.link, kind)

    def cordon_gpu(self, gpu: str, *, reason: str = "") -> str:
        """Give a GPU (a UUID, its beginning, or NODE:INDEX) no new work; return what was done."""
        return gpus.cordon(self.link, gpu, reason=reason)

    def uncordon_gpu(self, gpu: str) -> str:
        """Give a GPU work again, whoever cordoned it; return what was done."""
        return gpus.uncordon(self.link, gpu)


def _duration_s(value: Duration) -> float:
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else value
    try:
        return parse_duration_s(seconds)
    except (ValueError, TypeError) as error:
        raise Invalid(f"deadline: {error}", field="deadline") from error
