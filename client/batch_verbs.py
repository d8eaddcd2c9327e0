"""Which verbs make a batch: one call or command for each of many things?"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from ..protocol.errors import Invalid, ValueTooLarge
from ..protocol.messages import VALUE_BYTES_MAX
from ..protocol.spec import check_entry, to_document
from . import control
from .batch import Batch
from .calls import words_of
from .each_node import NodeBatch, NodeRun, choose, node_rows
from .environment_options import warn_of_secrets
from .flow import Flow, results
from .freight import ready
from .options import once_of, said_of, to_spec
from .shipment import Shipment
from .stream import Carrier, Row, Spec, Stored, Stream, Unwatched, Watched
from .when_full import FOR_EVER_S, Patience, patience_of

if TYPE_CHECKING:
    from .connection import Connection
    from .depot import Depot
    from .session import Session

Argv = Sequence[str | os.PathLike[str]]
Function = Callable[..., Any] | str


class BatchVerbs(ABC):
    """The verbs of a submitter that make many tasks at once."""

    _session: Session
    _options: dict[str, object]

    @abstractmethod
    def _spec_of(self, function: Function) -> Spec:
        """Return the spec of a call, with our options."""

    def map(self, function: Function, /, *iterables: Iterable[Any], **kwargs: Any) -> Batch:
        """Submit one call for each item, like `map`; returns once all are stored.

        Waits while the queue is full, unless `when_full` says otherwise.
        """
        if not iterables:
            raise TypeError("map needs at least one iterable")
        spec = self._spec_of(function)
        with Shipment(self._session.connection.depot) as shipment:
            calls = (
                Row(spec, *shipment.call(spec, args, kwargs))
                for args in zip(*iterables)  # noqa: B905 - as map does
            )
            return self._watched(calls, self._options, shipment)

    def imap(
        self,
        function: Function,
        /,
        *iterables: Iterable[Any],
        window: int | None = None,
        return_exceptions: bool = False,
    ) -> Iterator[Any]:
        """Yield the result of each call in order, while items are taken as results are.

        The iterable may be endless: at most `window` items (`[client] map_window_tasks`) have been
        taken and not given back. It is read on a thread of its own, from the first `next` on. What
        a call raises ends the stream, or is yielded in its place with `return_exceptions`; leaving
        the stream cancels what is open.
        """
        tasks = self._flow(function, iterables, window).in_order()
        return results(tasks, return_exceptions=return_exceptions)

    def imap_unordered(
        self,
        function: Function,
        /,
        *iterables: Iterable[Any],
        window: int | None = None,
        return_exceptions: bool = False,
    ) -> Iterator[Any]:
        """Yield results as the calls end, otherwise like `imap`."""
        tasks = self._flow(function, iterables, window).as_they_end()
        return results(tasks, return_exceptions=return_exceptions)

    def submit_array(self, /, argv: Argv, indices: Iterable[int], **options: object) -> Batch:
        """Submit a command once for each index, which REMUDA_ARRAY_INDEX tells it."""
        warn_of_secrets(options)
        given = self._with(options)
        rows = array_rows(argv, indices, given, self._session.connection.depot)
        return self._watched(rows, given)

    def submit_each(self, /, argv: Argv, entries: Iterable[str], **options: object) -> Batch:
        """Submit a command once for each entry, which stands for `{}` in its words.

        REMUDA_ENTRY tells it too.
        """
        warn_of_secrets(options)
        given = self._with(options)
        rows = entry_rows(argv, entries, given, self._session.connection.depot)
        return self._watched(rows, given)

    def submit_each_node(self, /, argv: Argv, **options: object) -> NodeBatch:
        """Submit a command once for every ready node; `node` and `labels` narrow which are meant.

        It books no CPU there unless told to, so that busy nodes run it too. Raises Refused where
        no node is ready.
        """
        warn_of_secrets(options)
        given = self._with(options)
        chosen = choose(control.list_nodes(self._session.connection), given)
        carrier = Watched(self._session)
        rows = node_rows(argv, chosen, given, self._session.connection.depot)
        self._submit(carrier, rows, given)
        return NodeBatch(self._session, carrier, chosen)

    def run_each_node(
        self, /, argv: Argv, *, check: bool = False, **options: object
    ) -> list[NodeRun]:
        """Run a command to its end on every ready node; see `submit_each_node`.

        `check` raises the first error that there was, once all have ended.
        """
        return self.submit_each_node(argv, **options).gather(check=check)

    def _flow(
        self, function: Function, iterables: Sequence[Iterable[Any]], window: int | None
    ) -> Flow:
        if not iterables:
            raise TypeError("it needs at least one iterable, like map")
        if window is not None and window < 1:
            raise ValueError(f"window: found {window}, allowed is 1 or more")
        refuse_once(self._options)
        self._spec_of(function)  # what cannot be named is refused here, not at the first result
        return Flow(
            self._session,
            lambda: self._spec_of(function),
            zip(*iterables),  # noqa: B905 - as map does
            window=window or self._session.connection.table.map_window_tasks,
            patience=Patience(patience_of(self._options, FOR_EVER_S)),
            allow_infeasible=bool(self._options.get("allow_infeasible")),
        )

    def _with(self, options: Mapping[str, object]) -> dict[str, object]:
        return {**self._options, **options}

    def _watched(
        self,
        rows: Iterable[Row | None],
        options: Mapping[str, object],
        shipment: Shipment | None = None,
    ) -> Batch:
        carrier = Watched(self._session)
        self._submit(carrier, rows, options, shipment)
        return Batch(self._session, carrier.batch, carrier.tasks)

    def _submit(
        self,
        carrier: Watched,
        rows: Iterable[Row | None],
        options: Mapping[str, object],
        shipment: Shipment | None = None,
    ) -> None:
        session = self._session
        stream(carrier, session.connection, options, session.closed, shipment).submit(rows)


def store_counted(
    link: Connection,
    rows: Iterable[Row | None],
    options: Mapping[str, object],
    on_count: Callable[[int], None] | None = None,
    frame_tasks: int = 0,
) -> Unwatched:
    """Submit a batch that is only counted, in bounded memory; `on_count` hears of each frame."""
    carrier = Unwatched(link, on_count)
    stream(carrier, link, options, frame_tasks=frame_tasks).submit(rows)
    return carrier


def stream(
    carrier: Carrier[Stored],
    link: Connection,
    options: Mapping[str, object],
    closed: threading.Event | None = None,
    shipment: Shipment | None = None,
    frame_tasks: int = 0,
) -> Stream[Stored]:
    """Make ready to submit a batch with these options; raises Invalid."""
    refuse_once(options)
    return Stream(
        carrier,
        link,
        Patience(patience_of(options, FOR_EVER_S)),
        closed=closed,
        allow_infeasible=bool(options.get("allow_infeasible")),
        shipment=shipment,
        frame_tasks=frame_tasks,
    )


def refuse_once(options: Mapping[str, object]) -> None:
    """Raise Invalid for a key that names one task."""
    if once_of(options):
        raise Invalid("once: a key names one task, and these are many", field="once")


def array_rows(
    argv: Argv, indices: Iterable[int], options: Mapping[str, object], depot: Depot
) -> Iterator[Row]:
    """Make a task of a command for each index."""
    spec = _command(argv, options, depot, array=True)
    return (Row(spec, b"%d" % index) for index in indices)


def entry_rows(
    argv: Argv, entries: Iterable[str | None], options: Mapping[str, object], depot: Depot
) -> Iterator[Row | None]:
    """Make a task of a command for each entry; raises Invalid, which names the entry.

    None stays None: what came before it need not wait for more.
    """
    spec = _command(argv, options, depot, each=True)
    number = count()
    return (
        None if entry is None else Row(spec, encode_entry(next(number), entry)) for entry in entries
    )


def _command(argv: Argv, options: Mapping[str, object], depot: Depot, **fields: bool) -> Spec:
    """Make the spec of a command, once what it brings along is in the store."""
    words = words_of(argv)
    to_spec("command", options, argv=words, **fields)
    made = to_spec("command", ready(options, depot), argv=words, **fields)
    return to_document(made, said_of(options))


def encode_entry(number: int, entry: str) -> bytes:
    """Write an entry as the argument of its task; raises Invalid or ValueTooLarge."""
    if not isinstance(entry, str):
        raise Invalid(f"entry {number}: found {entry!r}, an entry is text", field="entries")
    try:
        blob = entry.encode()
        check_entry(blob)
    except ValueError as error:
        raise Invalid(f"entry {number}: {error}", field="entries") from error
    if len(blob) > VALUE_BYTES_MAX:
        raise ValueTooLarge(
            f"entry {number}: it has {len(blob)} bytes, allowed are {VALUE_BYTES_MAX}: write it "
            "to a file and let the entry name that",
            field="entries",
        )
    return blob
