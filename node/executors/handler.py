"""How is a named handler called: in a resident worker that holds its model in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...config.settings import HandlerSettings
from ...worker.frames import MODEL_VARIABLE, Call, Finished, Host, Outcome
from ..interpreters import NotOffered
from ..residents import model_of
from ..secret_files import Stamp
from ..task import Attempt, Ending
from .calls import call_ending
from .surroundings import Surroundings


class HandlerExecutor:
    """Call handlers; `resident:NAME:INDEX`, with `:MODEL` if it holds one alone, is a worker."""

    def __init__(self, surroundings: Surroundings, settings: Mapping[str, HandlerSettings]) -> None:
        self._surroundings = surroundings
        self._known = settings

    def host(self, worker: str, attempt: Attempt | None, gpus: tuple[str, ...]) -> Host:
        """Describe a resident; it is the same for every caller."""
        around = self._surroundings
        handler = self._settings(worker)
        python = around.premises.interpreter(handler.python or "", "")
        return Host(
            worker=worker,
            python=around.program(python),
            env=around.env(_own(worker), gpus, python),
            sys_path=around.python_path,
            handler=handler.target,
            grace_s=around.settings.tasks.grace_s,
            output_bytes_max=around.settings.tasks.output_bytes_max,
            secrets=around.premises.secrets.variables(handler.secrets),
            tasks_dir=str(around.tasks_dir),
            max_batch=handler.max_batch,
            max_wait_s=handler.max_wait_s,
            options=dict(handler.options),
        )

    def stamp(self, worker: str, attempt: Attempt | None) -> tuple[Stamp, ...]:
        """Return those of its secrets' files."""
        return self._surroundings.premises.secrets.stamps(self._settings(worker).secrets)

    def order(self, attempt: Attempt) -> Call:
        """Describe the call; its target is the handler that the worker holds."""
        timeout_ms = attempt.plan.spec.timeout_ms
        return Call(attempt.task, attempt.number, "", attempt.args, timeout_ms)

    def ending(self, answer: Finished | Outcome, directory: Path) -> Ending:
        assert isinstance(answer, Outcome)
        return call_ending(answer, directory, self._surroundings.edge_bytes)

    def _settings(self, worker: str) -> HandlerSettings:
        name = worker.split(":")[1]
        if name not in self._known:
            raise NotOffered(f"this node has no handler {name!r} any more")
        return self._known[name]


def _own(worker: str) -> dict[str, str]:
    """Tell a worker which model it is to load, where that is one alone."""
    model = model_of(worker)
    return {MODEL_VARIABLE: model} if model else {}
