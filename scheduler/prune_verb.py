"""What does a request to prune do: check it, remove one slice, say how far that went."""

from __future__ import annotations

import apsw

from ..protocol.errors import DiskFull, Invalid
from ..protocol.messages import PRUNE_MAX, Document, Prune
from .access import Principal
from .events import Now
from .happenings import Happening
from .listing import checked_filters
from .task import TERMINAL, State
from .view import View, read_id

RETRY_AFTER_S = 10.0


def prune(view: View, message: Prune, principal: Principal, now: Now) -> Document:
    """Remove a slice of ended tasks, or with `dry_run` count it; raises Invalid or DiskFull."""
    owner = principal.owner_filter
    pruning = view.pruning
    if message.tasks:
        for blob in message.tasks:
            read_id(blob, "tasks")
        if len(message.tasks) > PRUNE_MAX:
            raise Invalid(
                f"tasks: found {len(message.tasks)}, allowed are {PRUNE_MAX} at a time",
                field="tasks",
            )
        doomed, done = pruning.by_id(message.tasks, owner)
    else:
        filters = checked_filters(message.filters)
        if filters.get("active") or not (filters or message.before_ms):
            raise Invalid(
                "filters: say which tasks that have ended: a state, an owner, before when",
                field="filters",
            )
        if any(State[word.upper()] not in TERMINAL for word in filters.get("states", [])):
            raise Invalid("filters.states: only what has ended can be pruned", field="states")
        if owner:
            filters["owner"] = owner
        before_ms = message.before_ms or now.wall_ms + 1
        doomed, done = pruning.by_filter(filters, before_ms, message.cursor, PRUNE_MAX)
    if doomed and not message.dry_run:
        try:
            pruning.remove(doomed, principal.name, now.wall_ms)
        except apsw.FullError as error:
            raise DiskFull(
                "the disk is too full even to remove tasks: free some room there first",
                retry_after_s=RETRY_AFTER_S,
            ) from error
        said = f"{principal.name} pruned {len(doomed)} tasks"
        view.feed.add([Happening("task.pruned", "info", said, owner=principal.name)], now.wall_ms)
    return Document(done._asdict())
