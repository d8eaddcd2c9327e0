"""What does a world's scheduler look like to those that it feeds: its mirror, its metrics?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from remuda.config.load import load
from remuda.scheduler.feed import EventFeed
from remuda.scheduler.view import View
from remuda.scheduler.watch import Watches

from .world import World


class SilentLog:
    """A log that nobody reads."""

    def info(self, event: str, **facts: object) -> None: ...
    def warning(self, event: str, **facts: object) -> None: ...
    def critical(self, event: str, **facts: object) -> None: ...


def view_of(world: World, folder: Path, settings: Mapping[str, str]) -> View:
    """Make the view of a world, with settings as variables of the environment."""
    journal, core = world.journal, world.core
    return View(
        core=core, history=journal.history, catalogue=journal.catalogue, batches=journal.batches,
        registry=journal.registry, audit=journal.audit, pruning=journal.pruning,
        feed=EventFeed(core.epoch, 0), watches=Watches(core.epoch, changes_max=1_000),
        loaded=load(env=dict(settings), etc=folder / "none"), cluster="test", version="0",
        started_ms=1, listen="", store=None,  # type: ignore[arg-type]  # nobody asks for it
    )  # fmt: skip
