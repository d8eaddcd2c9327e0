"""Where the output of an attempt is read: kept with the result, else asked of its node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from ..protocol import ids
from ..protocol.codec import unpack_document
from ..protocol.errors import Invalid, MalformedFrame, NotFound
from ..protocol.messages import OUTPUT_CHUNK_BYTES, Fetch, Logs, Output
from .access import Principal
from .events import Now
from .questions import Question, Questions, Told
from .task import State, Task
from .view import View

FETCHES_MAX = 1_024
FETCH_WAIT_NS = 5_000_000_000
STREAMS = ("out", "err")


class ToFetch(NamedTuple):
    """A question for a node."""

    node: str
    message: Fetch


class Outputs:
    """Questions for output that are on their way to nodes, at most `FETCHES_MAX`."""

    def __init__(self) -> None:
        self._questions: Questions[Fetch] = Questions("for output", FETCHES_MAX)
        self._last = 0

    def ask(
        self, view: View, message: Logs, principal: Principal, handle: int, now: Now
    ) -> Output | ToFetch:
        """Answer from what is kept, or say which node to ask; raises RemudaError."""
        if message.stream not in STREAMS:
            raise Invalid(f"stream: found {message.stream!r}, allowed are out and err",
                          field="stream")  # fmt: skip
        if message.offset < 0 or message.attempt < 0:
            raise Invalid("offset and attempt start at 0", field="offset")
        task_id, task = view.task(message.task, principal)
        number = message.attempt or task.attempt
        asked = replace(
            message,
            attempt=number,
            bytes_max=min(max(message.bytes_max, 0), OUTPUT_CHUNK_BYTES),
        )
        if message.attempt > max(task.attempt, 1):
            raise NotFound(
                f"there is no try {message.attempt}: the task had {task.attempt}", field="attempt"
            )
        if number == 0 or number > task.attempt:
            return _piece(asked, ended=not isinstance(task, Task))
        kept: Output | None = None
        node, incarnation = "", b""
        if isinstance(task, Task) and task.live and task.live.number == number:
            node = task.live.node
        else:
            known = view.history.show_task(task_id)
            if known is None:
                raise NotFound(f"task {ids.format_id(task_id)} was pruned", field="task")
            kept, complete = _kept(asked, known, is_last=number == known["attempt"])
            if complete:
                return kept
            node = _node_of(known, number)
        known_node = view.core.fleet.nodes.get(node)
        if known_node is not None and known_node.connected and not known_node.lost:
            incarnation = known_node.incarnation
        fallback = kept or replace(
            _piece(asked), error=f"{node or 'the node'} cannot be reached: try again later"
        )
        if not incarnation:
            return fallback
        return self._fetch(asked, node, incarnation, handle, now, fallback)

    def _fetch(
        self, asked: Logs, node: str, incarnation: bytes, handle: int, now: Now, fallback: Output
    ) -> ToFetch:
        self._last += 1
        fetch = Fetch(
            incarnation, self._last, asked.task, asked.attempt, asked.stream, asked.offset,
            asked.bytes_max,
        )  # fmt: skip
        deadline_ns = now.mono_ns + FETCH_WAIT_NS
        self._questions.add(self._last, Question(handle, node, fetch, deadline_ns, fallback))
        return ToFetch(node, fetch)

    def told(self, node: str, output: Output) -> Told | None:
        """Match what a node sent with who asked; None when nobody of that node was asked."""
        question = self._questions.find(output.request, node)
        if question is None:
            return None
        asked, fallback = question.asked, question.fallback
        assert isinstance(fallback, Output)
        same = (output.task, output.attempt, output.stream) == (
            asked.task, asked.attempt, asked.stream,
        )  # fmt: skip
        if not same:
            return None
        self._questions.drop(output.request)
        if output.error and not fallback.error:
            return Told(question.handle, fallback)
        more = output.offset + len(output.data) < output.total
        return Told(question.handle, replace(output, request=0, ended=output.ended and not more))

    def expire(self, now_ns: int) -> list[Told]:
        """Answer what no node answered in time."""
        return self._questions.expire(now_ns)


def _piece(
    asked: Logs, data: bytes = b"", *, total: int = 0, ended: bool = False, lost: int = 0,
    offset: int = -1,
) -> Output:  # fmt: skip
    start = asked.offset if offset < 0 else offset
    return Output(0, asked.task, asked.attempt, asked.stream, start, data, total, ended, lost)


def _node_of(known: dict[str, Any], number: int) -> str:
    for attempt in known["attempts"]:
        if attempt["number"] == number:
            return str(attempt["node"])
    return ""


def _kept(asked: Logs, known: dict[str, Any], *, is_last: bool) -> tuple[Output, bool]:
    """Read the first and last bytes kept with the result; tell whether that is the whole."""
    details: dict[str, Any] = {}
    blob = known["result"].get("details", b"") if is_last else b""
    if blob:
        try:
            details = unpack_document(blob)
        except MalformedFrame:
            details = {}  # the node wrote nonsense: nothing is kept
    head, tail = details.get(asked.stream, b""), details.get(f"{asked.stream}_tail", b"")
    total = details.get(f"{asked.stream}_bytes", 0)
    if type(head) is not bytes or type(tail) is not bytes or type(total) is not int:
        head, tail, total = b"", b"", 0
    total = max(total, len(head))
    if len(head) + len(tail) >= total:
        whole = head + tail[len(head) + len(tail) - total :]
        printed_nothing = known["result"].get("state") == State.SUCCEEDED and is_last
        return _slice(asked, whole, 0, total, 0), bool(details) or printed_nothing
    tail_starts = total - len(tail)
    if asked.offset < len(head):
        return _slice(asked, head, 0, total, 0), False
    lost = max(tail_starts - asked.offset, 0)
    return _slice(asked, tail, tail_starts, total, lost), False


def _slice(asked: Logs, part: bytes, part_starts: int, total: int, lost: int) -> Output:
    start = max(asked.offset, part_starts)
    data = part[start - part_starts : start - part_starts + asked.bytes_max]
    start = min(start, total)
    ended = start + len(data) >= total
    return _piece(asked, data, total=total, ended=ended, lost=lost, offset=start)
