"""How the calls of a batch run as one: their arguments as lists, a result or an error for each.

Each parameter of the handler's `__call__` becomes a list with an entry for each call, in the same
order; it returns a list in that order. An exception in it fails that call, one that is raised fails
all of them. Where a batch does not fit into memory its halves are tried, down to single calls.
"""

from __future__ import annotations

import gc
import inspect
import sys
import time
import types
from collections.abc import Iterable, Sequence
from typing import Any, Callable, List, NamedTuple, Tuple  # noqa: UP035 - evaluated on Python 3.9

from . import batches
from .batches import FAILED, Failure, Outcome
from .capture import Capture
from .failures import GPU_OUT_OF_MEMORY, OUT_OF_MEMORY
from .gathering import Numbered
from .member_dirs import MemberDirs
from .page import CALLS_WINDOW, Page
from .state import RunningCall
from .targets import describe
from .task_dir import TaskDir
from .values import NotDecodable, decode_call

_MEMORY = frozenset({OUT_OF_MEMORY, GPU_OUT_OF_MEMORY})
_WINDOW_MASK = CALLS_WINDOW - 1
_CANCELLED = batches.pack_failure(Failure("cancelled", "", "cancelled before it started"))
_LISTS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

Said = Tuple[int, bytes]  # noqa: UP006 - as above
"""Status and body of an outcome."""


class _Member(NamedTuple):
    """A call of a batch whose arguments are known."""

    each: Numbered
    running: RunningCall
    arguments: inspect.BoundArguments


class Together:
    """Runs the batches of one worker.

    `returned` encodes what is returned for one call, `formed` is told of each batch that begins.
    `fitted` is how many calls of the last one fit into memory together, at most.
    """

    def __init__(
        self,
        handler: Callable[..., Any],
        page: Page,
        running: RunningCall,
        out: Capture,
        err: Capture,
        task_dir: TaskDir,
        dirs: MemberDirs,
        returned: Callable[[object], Said],
        formed: Callable[[Sequence[Numbered]], None],
    ) -> None:
        self.fitted = 0
        self._handler = handler
        self._signature = signature_of(handler)
        self._name = type(handler).__qualname__
        self._page = page
        self._running = running
        self._captures = (out, err)
        self._task_dir = task_dir
        self._returned = returned
        self._formed = formed
        running.turn_to = self._turn_to
        running.directory_of = dirs.directory_of

    def run(self, batch: Sequence[Numbered]) -> List[Outcome]:  # noqa: UP006 - as above
        """Run what is not cancelled of a batch; return an outcome for each of its calls."""
        self.fitted = len(batch)
        begun_ns = time.monotonic_ns()
        self._page.begin(batch[0].number, begun_ns, batch[-1].number)
        marks = self._page.marks
        found = []
        members = []
        for each in batch:
            if marks[each.number & _WINDOW_MASK]:
                found.append(_outcome(each, (batches.RETURNED, _CANCELLED)))
                continue
            member = self._read(each)
            if isinstance(member, _Member):
                members.append(member)
            else:
                found.append(_outcome(each, member, time.monotonic_ns() - begun_ns))
        if members:
            found += self._run(members, begun_ns)
        return found

    def _read(self, each: Numbered) -> _Member | Said:
        """Read the arguments of one call, as its own call would; or return how it failed."""
        call = each.call
        self._task_dir.enter_member(call.task, call.attempt)
        try:
            args, kwargs = decode_call(call.args, self._task_dir)
            arguments = self._signature.bind(*args, **kwargs)
        except NotDecodable as error:
            return _failed(describe(error, error.code))
        except BaseException as error:  # noqa: BLE001 - reading runs the user's code
            return _failed(describe(error))
        finally:
            self._task_dir.leave_member()
        arguments.apply_defaults()
        member = self._running.member(call.task, call.attempt, each.number)
        member.sinks = tuple(capture.sink(member.folder) for capture in self._captures)
        return _Member(each, member, arguments)

    def _run(self, members: Sequence[_Member], begun_ns: int) -> List[Outcome]:  # noqa: UP006
        self._formed([member.each for member in members])
        running = [member.running for member in members]
        self._running.members = running
        self._turn_to(running)
        columns = {
            name: [member.arguments.arguments[name] for member in members]
            for name in self._signature.parameters
        }
        try:
            value = self._handler(*self._positional(columns), **self._named(columns))
            if type(value) is types.CoroutineType:
                value = asyncio_run(value)
            failure = None
        except BaseException as error:  # noqa: BLE001 - SystemExit must not end the worker
            failure = _of_all(describe(error), len(members))
        finally:
            self._turn_to(())
            self._running.members = ()
        if failure is not None and failure.code in _MEMORY and len(members) > 1:
            del columns  # what they hold may be the very memory that is short
            return self._halves(members)
        saids = (
            self._saids(members, value) if failure is None else [_failed(failure)] * len(members)
        )
        run_ns = time.monotonic_ns() - begun_ns
        return [
            _outcome(member.each, said, run_ns, *(sink.end() for sink in member.running.sinks))
            for member, said in zip(members, saids)
        ]

    def _halves(self, members: Sequence[_Member]) -> List[Outcome]:  # noqa: UP006 - as above
        """Run the halves of a batch that did not fit, each with a time and marks of its own."""
        _free_memory()
        for member in members:
            for sink in member.running.sinks:
                sink.close()
        middle = (len(members) + 1) // 2
        self.fitted = min(self.fitted, middle)
        found = []
        for half in (members[:middle], members[middle:]):
            begun_ns = time.monotonic_ns()
            self._page.begin(half[0].each.number, begun_ns, half[-1].each.number)
            marks = self._page.marks
            left = []
            for member in half:
                if marks[member.each.number & _WINDOW_MASK]:
                    found.append(_outcome(member.each, (batches.RETURNED, _CANCELLED)))
                else:
                    left.append(member)
            if left:
                found += self._run(left, begun_ns)
        return found

    def _saids(self, members: Sequence[_Member], value: object) -> Iterable[Said]:
        """Tell what each call returned, or failed of."""
        if not isinstance(value, (list, tuple)) or len(value) != len(members):
            failure = Failure("exception", "", self._misshapen(value, len(members)))
            return [_failed(failure)] * len(members)
        return [self._said(member, found) for member, found in zip(members, value)]

    def _said(self, member: _Member, found: object) -> Said:
        if isinstance(found, BaseException):
            return _failed(describe(found))
        call = member.each.call
        self._task_dir.enter_member(call.task, call.attempt)
        try:
            return self._returned(found)
        finally:
            self._task_dir.leave_member()

    def _misshapen(self, value: object, count: int) -> str:
        calls = "1 call" if count == 1 else f"{count} calls"
        if isinstance(value, (list, tuple)):
            found = f"{len(value)} results"
        else:
            found = f"a {type(value).__name__}, which is no list,"
        return (
            f"{self._name} returned {found} for a batch of {calls}: with max_batch __call__ gets "
            "lists and returns a list with one result, or one exception, for each call"
        )

    def _positional(self, columns: dict[str, list[Any]]) -> list[list[Any]]:
        kinds = self._signature.parameters.items()
        return [columns[name] for name, each in kinds if each.kind <= each.POSITIONAL_OR_KEYWORD]

    def _named(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        kinds = self._signature.parameters.items()
        return {name: columns[name] for name, each in kinds if each.kind == each.KEYWORD_ONLY}

    def _turn_to(self, members: Sequence[RunningCall]) -> None:
        for index, capture in enumerate(self._captures):
            capture.turn_to([member.sinks[index] for member in members])


def signature_of(handler: Callable[..., Any]) -> inspect.Signature:
    """Return the parameters of a handler that takes batches; raise TypeError if it cannot."""
    signature = inspect.signature(handler)
    loose = [name for name, each in signature.parameters.items() if each.kind in _LISTS]
    if loose or not signature.parameters:
        found = f"*{loose[0]}" if loose else "nothing"
        raise TypeError(
            f"__call__ takes {found}, but with max_batch each of its parameters becomes a list: "
            "name them, as in `def __call__(self, images, steps=20)`"
        )
    return signature


def _outcome(
    each: Numbered, said: Said, run_ns: int = 0, out_bytes: int = 0, err_bytes: int = 0
) -> Outcome:
    return Outcome(each.call.task, each.call.attempt, *said, run_ns, out_bytes, err_bytes)


def _failed(failure: Failure) -> Said:
    return FAILED, batches.pack_failure(failure)


def _of_all(failure: Failure, count: int) -> Failure:
    """Say of an error that it was raised for several calls."""
    if count == 1:
        return failure
    text = f"{failure.message} (raised for all {count} calls of the batch)".lstrip()
    return failure._replace(message=text)


def _free_memory() -> None:
    """Let go of what the try that failed has left, as far as Python and PyTorch can."""
    gc.collect()
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        cuda.empty_cache()


def asyncio_run(coroutine: types.CoroutineType[Any, Any, Any]) -> object:
    """Run what an `async def` function returned."""
    import asyncio

    return asyncio.run(coroutine)
