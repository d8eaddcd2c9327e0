"""How is each kind of task run: one small interface, one file per kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ...worker.frames import Call, Finished, Host, Outcome, Run
from ..secret_files import Stamp
from ..task import Attempt, Ending


class Executor(Protocol):
    """Turn attempts of one kind into what a runner is told, and its answers into endings."""

    def host(self, worker: str, attempt: Attempt | None, gpus: tuple[str, ...]) -> Host:
        """Describe the worker to start; only for kinds that run in one."""

    def stamp(self, worker: str, attempt: Attempt | None) -> tuple[Stamp, ...]:
        """Say what a worker is made of that changes outside of orders: with the same it is fresh.

        Raises NotOffered, as `host` and `order` do, when the node lacks what is asked for.
        """

    def order(self, attempt: Attempt) -> Run | Call:
        """Describe one attempt to the runner that has it."""

    def ending(self, answer: Finished | Outcome, directory: Path) -> Ending:
        """Read a runner's answer; `directory` is the runner's."""


Executors = Mapping[str, Executor]
"""By kind of task."""
