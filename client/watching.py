"""How does one wait for changes of given tasks without futures?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from ..protocol.messages import Changes, States, Watch
from .connection import Connection
from .courier import RESEND_S
from .outcome import Standing

STATES_SLICE = 2_000
UNANSWERED_S = 0.2


class Watching:
    """A watching session over a fixed set of tasks; `known` is where each stands."""

    def __init__(self, link: Connection, tasks: Sequence[bytes]) -> None:
        self._link = link
        self._session = os.urandom(16)
        start = link.request(States([], self._session), Changes)
        self._cursor = (start.epoch, start.seq)
        self.known = {
            standing.task: standing for standing in states(link, tasks, session=self._session)
        }

    @property
    def open(self) -> list[bytes]:
        """Return the tasks that have not ended."""
        return [task for task, standing in self.known.items() if not standing.has_ended]

    def poll(self, wait_s: float) -> list[Standing]:
        """Wait for the next changes, at most so long, and return them."""
        wait_ms = max(1, int(wait_s * 1000))
        timeout_s = wait_s + self._link.request_timeout_s
        answer = self._link.request(
            Watch(self._session, *self._cursor, wait_ms),
            Changes,
            timeout_s=timeout_s,
            answer_s=wait_s + RESEND_S,
        )
        self._cursor = (answer.epoch, answer.seq)
        news = [standing for standing in standings(answer) if standing.task in self.known]
        if answer.gap:
            news += states(self._link, self.open, session=self._session)
        news = [each for each in news if not self.known[each.task].has_ended]
        self.known.update((each.task, each) for each in news)
        return news


def states(link: Connection, tasks: Sequence[bytes], *, session: bytes = b"") -> list[Standing]:
    """Ask where tasks stand, in their order; `session` hears of them from now on."""
    known: dict[bytes, Standing] = {}
    wanted = list(dict.fromkeys(tasks))
    while wanted:
        found = standings(link.request(States(wanted[:STATES_SLICE], session), Changes))
        known.update((standing.task, standing) for standing in found)
        wanted = [task for task in wanted if task not in known]
        if not found:
            time.sleep(UNANSWERED_S)  # left out for size: there is nothing to wait for but time
    return [known[task] for task in tasks]


def wait_ended(
    link: Connection,
    tasks: Sequence[bytes],
    *,
    timeout_s: float | None = None,
    on_change: Callable[[Standing], None] | None = None,
) -> list[Standing]:
    """Wait until tasks have ended; raises TimeoutError. `on_change` hears all on the way."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    watching = Watching(link, tasks)
    news = list(watching.known.values())
    while True:
        for standing in news if on_change else ():
            assert on_change is not None
            on_change(standing)
        if not watching.open:
            return [watching.known[task] for task in tasks]
        poll_s = link.table.poll_s
        wait_s = poll_s if until is None else min(poll_s, until - time.monotonic())
        if wait_s <= 0:
            raise TimeoutError(f"{len(watching.open)} of {len(tasks)} tasks have not ended")
        news = watching.poll(wait_s)


def standings(changes: Changes) -> list[Standing]:
    """Turn columns into one record for each task."""
    return list(
        map(
            Standing,
            changes.tasks,
            changes.states,
            changes.codes,
            changes.attempts,
            changes.nodes,
            changes.values,
            changes.details,
        )
    )
