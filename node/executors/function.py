"""How is a function called: in a warm worker of its owner, environment, directory and code."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...worker.frames import Call, Finished, Host, Outcome
from ..secret_files import Stamp
from ..task import Attempt, Ending
from .calls import call_ending
from .surroundings import Surroundings


class FunctionExecutor:
    """Call plain functions."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def host(self, worker: str, attempt: Attempt | None, gpus: tuple[str, ...]) -> Host:
        """Describe a worker for calls like this one."""
        assert attempt is not None
        spec = attempt.plan.spec
        around = self._surroundings
        python = around.premises.interpreter(spec.python, spec.requirements)
        code = [str(around.project_dir(spec.project))] if spec.project else []
        return Host(
            worker=worker,
            python=around.program(python),
            env=around.env(spec.env, gpus, python),
            cwd=spec.cwd or None,
            sys_path=[*code, *around.python_path],
            main_name=spec.source_name or None,
            main_source=spec.source or None,
            main_sha256=hashlib.sha256(spec.source).hexdigest() if spec.source else None,
            grace_s=around.settings.tasks.grace_s,
            output_bytes_max=around.settings.tasks.output_bytes_max,
            secrets=around.premises.secrets.variables(spec.secrets),
            tasks_dir=str(around.tasks_dir),
        )

    def stamp(self, worker: str, attempt: Attempt | None) -> tuple[Stamp, ...]:
        """Return those of its secrets' files."""
        assert attempt is not None
        wanted = attempt.plan.spec.secrets
        return self._surroundings.premises.secrets.stamps(wanted) if wanted else ()

    def order(self, attempt: Attempt) -> Call:
        """Describe the call."""
        spec = attempt.plan.spec
        return Call(attempt.task, attempt.number, spec.target, attempt.args, spec.timeout_ms)

    def ending(self, answer: Finished | Outcome, directory: Path) -> Ending:
        assert isinstance(answer, Outcome)
        return call_ending(answer, directory, self._surroundings.edge_bytes)
