"""What operators do to handlers, in the words of tests."""

from __future__ import annotations

from remuda.protocol import messages as m
from remuda.scheduler.events import Event, ReloadHandler, SwitchHandler

from .world import World

HANDLE = 0


def disable(world: World, handler: str, node: str = "", reason: str = "") -> m.Message:
    return _do(world, SwitchHandler(HANDLE, "olga", handler, node, on=False, reason=reason))


def enable(world: World, handler: str, node: str = "") -> m.Message:
    return _do(world, SwitchHandler(HANDLE, "olga", handler, node, on=True, reason=""))


def reload(world: World, handler: str, node: str = "") -> m.Message:
    return _do(world, ReloadHandler(HANDLE, "olga", handler, node))


def _do(world: World, event: Event) -> m.Message:
    world.step(event)
    return world.replies[-1]
