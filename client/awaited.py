"""How does a verb of the threads' client become one to be awaited?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from .bridge import Threads

P = ParamSpec("P")
Found = TypeVar("Found")
Made = TypeVar("Made")


class Forwarding(Protocol):
    """What has awaited verbs: the threads that call, and whose verbs they are."""

    _threads: Threads
    _sync: Any


Awaited = Callable[Concatenate[Forwarding, P], Coroutine[Any, Any, Made]]


def plain(_threads: Threads, found: Found) -> Found:
    """Hand on what a verb returned as it is."""
    return found


def awaited(
    verb: Callable[Concatenate[Any, P], Found], wrap: Callable[[Threads, Found], Made]
) -> Awaited[P, Made]:
    """Make a verb of the threads' client one to be awaited, with its signature and its words."""

    async def forward(self: Forwarding, /, *args: P.args, **kwargs: P.kwargs) -> Made:
        bound = getattr(self._sync, verb.__name__)
        return wrap(self._threads, await self._threads.call(bound, *args, **kwargs))

    functools.update_wrapper(forward, verb)
    return forward
