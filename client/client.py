"""What does a program hold of a cluster?"""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.cluster import find_cluster
from ..protocol import ids
from ..protocol.errors import NotFound
from . import control, pruning
from .batch import Batch
from .bringing import bring, chosen
from .bringing_many import Member, bring_each
from .cached import CachedState, Mirror, cached_states
from .connection import Connection
from .moments import parse_past_ms
from .operating import OperatorVerbs
from .received import Far
from .reimport import refuse_while_imported_again
from .session import Session
from .submitter import Submitter
from .task import Task

PAGE_ROWS_MAX = 1_000


class Client(Submitter, OperatorVerbs):
    """A cluster, found as the command line finds it: argument, environment, files.

    Safe to use from many threads, not after a fork. Leaving it neither waits nor cancels.
    `redis` is the URL of its mirror, for `cached_states`.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        cluster: str | None = None,
        endpoint: str | None = None,
        request_timeout_s: float | None = None,
        redis: str | None = None,
    ) -> None:
        refuse_while_imported_again()
        ref = find_cluster(
            home=None if home is None else Path(home), cluster=cluster, endpoint=endpoint
        )
        self.link = Connection(ref, request_timeout_s=request_timeout_s)
        super().__init__(Session(self.link))
        session = self._session
        self._mirror = Mirror(self.link, redis, lambda: session.heard) if redis else None

    @property
    def name(self) -> str:
        """Return the name of the cluster."""
        return self.link.cluster

    def task(self, ref: str | int) -> Task:
        """Find a task by its id, its short number or `last`; raises NotFound."""
        found = control.resolve(self.link, [str(ref)])
        if len(found.tasks) != 1:
            raise NotFound(f"{ref!r} does not name one task: use batch() or tasks()", field="ref")
        return self._session.adopt(found.tasks)[0]

    def tasks(
        self,
        *,
        active: bool = False,
        states: Sequence[str] = (),
        owner: str = "",
        node: str = "",
        name: str = "",
        tags: Mapping[str, str] | None = None,
        limit: int = 100,
    ) -> list[Task]:
        """Find tasks, newest first."""
        keys: list[bytes] = []
        cursor = ""
        while len(keys) < limit:
            page = control.list_tasks(
                self.link,
                active=active,
                states=states,
                owner=owner,
                node=node,
                name=name,
                tags=tags,
                limit=min(limit - len(keys), PAGE_ROWS_MAX),
                cursor=cursor,
            )
            keys += [row["id"] for row in page.rows]
            cursor = page.cursor
            if not cursor:
                break
        return self._session.adopt(keys)

    def batch(self, ref: str | int) -> Batch:
        """Find a batch by its id or `last`; raises NotFound."""
        found = control.find_batch(self.link, str(ref))
        if not found:
            raise NotFound(f"{ref!r} does not name a batch", field="ref")
        total = control.batch_total(self.link, found)
        number = ids.from_bytes(found)
        keys = [ids.to_bytes(ids.member(number, index)) for index in range(total)]
        return Batch(self._session, found, self._session.adopt(keys, found))

    def as_completed(self, tasks: Iterable[Task], timeout: float | None = None) -> Iterator[Task]:
        """Yield tasks as they end; raises TimeoutError."""
        done: Iterator[Any] = concurrent.futures.as_completed(tasks, timeout)
        return done

    def wait(
        self,
        tasks: Iterable[Task],
        timeout: float | None = None,
        return_when: str = concurrent.futures.ALL_COMPLETED,
    ) -> concurrent.futures._base.DoneAndNotDoneFutures[Any]:
        """Wait like `concurrent.futures.wait`: returns what is done and what is not."""
        return concurrent.futures.wait(list(tasks), timeout, return_when)

    def prune(
        self,
        tasks: Iterable[Task] = (),
        *,
        states: Sequence[str] = (),
        owner: str = "",
        node: str = "",
        name: str = "",
        tags: Mapping[str, str] | None = None,
        older: object = None,
    ) -> int:
        """Remove ended tasks with their results: these, or those that match; returns how many.

        `older` is how long ago they ended (`7d`), or a datetime. What has not ended is kept, and
        raises nothing. A key given by `once` keeps its meaning: its task does not run again.
        """
        keys = [task.key for task in tasks]
        named = {"owner": owner, "node": node, "name": name}
        wanted = {**named, "states": list(states), "tags": dict(tags or {})}
        filters = {key: value for key, value in wanted.items() if value}
        if not keys and not filters and older is None:
            return 0
        before_ms = parse_past_ms("older", older)
        return pruning.prune(self.link, keys, filters=filters, before_ms=before_ms)["removed"]

    def get(
        self,
        task: Task | Batch,
        names: Sequence[str] = (),
        *,
        to: str | os.PathLike[str] = ".",
        force: bool = False,
    ) -> list[Path]:
        """Bring the files of a task into a folder: all, or those of these names or patterns.

        Those of a batch go into a folder for each member that has some, named by its index.
        Returns where they are. One that is there already and the same is left alone; raises
        Conflict before anything is fetched for one that differs, unless told to `force` it.
        """
        if isinstance(task, Batch):
            members = [
                Member(folder, each.key) for folder, each in zip(task.folders, task, strict=True)
            ]
            homes = bring_each(self.link, members, names, Path(to), force=force)
            return [path for home in homes for path in (*home.done.brought, *home.done.same)]
        far = Far(self.link, task.key)
        done = bring(far, chosen(far.outputs(), names), Path(to), force=force)
        return [*done.brought, *done.same]

    def cached_states(
        self, tasks: Iterable[Task], min_rev: tuple[int, int] | None = None
    ) -> list[CachedState]:
        """Say where tasks stand: by the Redis mirror where it can be used, else by the scheduler.

        The mirror is used if it holds the revision `min_rev` (epoch and rev, as in `status()`);
        unless told otherwise, all that this client has heard.
        """
        return cached_states(self.link, self._mirror, [task.key for task in tasks], min_rev)

    def close(self) -> None:
        """Hang up; tasks go on, and `task(id)` of another client finds them again."""
        self._session.close()
        if self._mirror is not None:
            self._mirror.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
