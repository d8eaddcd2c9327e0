"""Worlds for fixtures: checked and closed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from remuda.scheduler import invariants
from remuda.scheduler.core import CoreSettings

from .world import World


def worlds(folder: Path, settings: CoreSettings | None = None) -> Iterator[World]:
    """Yield one world."""
    world = World(folder, settings)
    yield world
    assert invariants.violations(world.core) == []
    world.close()
