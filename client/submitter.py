"""How does work get from a user's hands to the scheduler?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..protocol.errors import Invalid
from ..protocol.messages import BATCH_MAX, Submit
from ..protocol.spec import TaskSpec, to_document
from .batch_verbs import BatchVerbs, Function
from .calls import words_of
from .completed import completed_run
from .environment_options import warn_of_secrets
from .freight import brings, ready
from .functions import target_of
from .numbers import column
from .options import check_names, moves_on, once_of, said_of, to_spec
from .outcome import CompletedTask
from .shipment import Call, Shipment, name_objects
from .stream import ARGS_BYTES_MAX, Spec
from .task import Task
from .when_full import Patience, patience_of, store

if TYPE_CHECKING:
    from .executor import Executor
    from .session import Session

SPECS_KNOWN_MAX = 128


class Submitter(BatchVerbs):
    """Submits functions, handlers and commands, all with the same options.

    `submit`, `call` and `map` hand every argument to the function; ours are given to `options`.
    """

    def __init__(self, session: Session, options: Mapping[str, object] | None = None) -> None:
        self._session = session
        self._options = dict(check_names(options or {}))
        self._specs: dict[object, dict[str, Any]] = {}

    def options(self, **options: object) -> Submitter:
        """Return a submitter with these options laid over ours, checked at once."""
        merged = {**self._options, **options}
        to_spec("function", merged)
        warn_of_secrets(options)
        return Submitter(self._session, merged)

    def submit(self, function: Function, /, *args: Any, **kwargs: Any) -> Task:
        """Submit one call; returns once it is stored durably."""
        with self._shipment() as shipment:
            spec = self._spec_of(function)
            call = shipment.call(spec, args, kwargs)
            shipment.send()
        return self._one(spec, call, self._options)

    def call(self, function: Function, /, *args: Any, **kwargs: Any) -> Any:
        """Submit one call and wait for its value."""
        return self.submit(function, *args, **kwargs).result()

    def submit_many(
        self, calls: Iterable[tuple[Function, Sequence[Any], Mapping[str, Any]]]
    ) -> list[Task]:
        """Submit calls of different functions, all or nothing: (function, args, kwargs) each."""
        indices: dict[Function, int] = {}
        specs: list[dict[str, Any]] = []
        spec_index: list[int] = []
        encoded: list[Call] = []
        with self._shipment() as shipment:
            for function, args, kwargs in calls:
                if function not in indices:
                    indices[function] = len(specs)
                    specs.append(self._spec_of(function))
                index = indices[function]
                spec_index.append(index)
                encoded.append(shipment.call(specs[index], tuple(args), dict(kwargs)))
            size = sum(len(call.args) for call in encoded)
            if len(encoded) > BATCH_MAX or size > ARGS_BYTES_MAX:
                raise Invalid(
                    f"submit_many takes at most {BATCH_MAX} tasks and {ARGS_BYTES_MAX} bytes "
                    "of arguments: use map for more",
                    field="calls",
                )
            if self._options.get("once"):
                raise Invalid("once: a key names one task, and these are many", field="once")
            shipment.send()
        if not encoded:
            return []
        message = self._message(specs, spec_index, encoded)
        return store(self._session, message, Patience(patience_of(self._options)))

    def submit_command(self, /, argv: Sequence[str | os.PathLike[str]], **options: object) -> Task:
        """Submit a command, a list of words; options are laid over ours."""
        words = words_of(argv)
        merged = {**self._options, **options}
        to_spec("command", merged, argv=words)
        warn_of_secrets(options)
        made = to_spec("command", ready(merged, self._session.connection.depot), argv=words)
        return self._one(to_document(made, said_of(merged)), Call(b""), merged)

    def run(
        self, argv: Sequence[str | os.PathLike[str]], *, check: bool = False, **options: object
    ) -> CompletedTask:
        """Run a command to its end, like `subprocess.run` with its output captured.

        A bad exit raises TaskFailed only with `check`; what is not the command's doing always.
        """
        return completed_run(self.submit_command(argv, **options), check=check)

    def executor(self) -> Executor:
        """Return a `concurrent.futures.Executor` that waits for its tasks when it is left."""
        from .executor import Executor

        return Executor(self)

    def _spec_of(self, function: Function) -> Spec:
        if moves_on(self._options) or brings(self._options):
            return to_document(self._make_spec(function), said_of(self._options))
        known = self._specs.get(function)
        if known is None:
            if len(self._specs) >= SPECS_KNOWN_MAX:
                self._specs.clear()
            document = to_document(self._make_spec(function), said_of(self._options))
            known = self._specs[function] = document
        return known

    def _make_spec(self, function: Function) -> TaskSpec:
        found = target_of(function)
        return to_spec(
            found.kind,
            ready(self._options, self._session.connection.depot),
            target=found.target,
            source_name=found.source_name,
            source=found.source,
        )

    def _shipment(self) -> Shipment:
        return Shipment(self._session.connection.depot)

    def _one(self, spec: dict[str, Any], call: Call, options: Mapping[str, object]) -> Task:
        once = once_of(options)
        message = self._message([spec], [0], [call], options)
        if once:
            message.once = [once]
        return store(self._session, message, Patience(patience_of(options)))[0]

    def _message(
        self,
        specs: list[dict[str, Any]],
        spec_index: list[int],
        calls: list[Call],
        options: Mapping[str, object] | None = None,
    ) -> Submit:
        allow = bool((self._options if options is None else options).get("allow_infeasible"))
        message = Submit(
            submit_key=os.urandom(16),
            session=self._session.key,
            specs=specs,
            spec_index=spec_index,
            args=[call.args for call in calls],
            allow_infeasible=allow,
            numbers=column([call.numbers for call in calls]),
        )
        name_objects(message, self._session.connection.depot, [call.digests for call in calls])
        return message
