"""How is a named handler called: in a resident worker that holds its model in memory."""

from __future__ import annotations

from pathlib import Path

from ...worker.frames import Call, Finished, Host, Outcome
from ..task import Attempt, Ending
from .calls import call_ending
from .surroundings import Surroundings


class HandlerExecutor:
    """Call handlers; `resident:NAME:INDEX` names a worker."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def host(self, worker: str, attempt: Attempt | None, gpus: tuple[str, ...]) -> Host:
        """Describe a resident; it is the same for every caller."""
        around = self._surroundings
        name = worker.split(":")[1]
        return Host(
            worker=worker,
            python=around.python,
            env=around.env({}, gpus),
            cwd=str(around.work_dir),
            sys_path=around.python_path,
            handler=around.settings.handlers[name].target,
            grace_s=around.settings.tasks.grace_s,
            output_bytes_max=around.settings.tasks.output_bytes_max,
        )

    def order(self, attempt: Attempt) -> Call:
        """Describe the call; its target is the handler that the worker holds."""
        timeout_ms = attempt.plan.spec.timeout_ms
        return Call(attempt.task, attempt.number, "", attempt.args, timeout_ms)

    def ending(self, answer: Finished | Outcome, directory: Path) -> Ending:
        assert isinstance(answer, Outcome)
        return call_ending(answer, directory, self._surroundings.edge_bytes)
