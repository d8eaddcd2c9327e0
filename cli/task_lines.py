"""What does a file of tasks say: one JSON object on each line, with the options' names as keys?"""

from __future__ import annotations

import dataclasses
import difflib
import json
import keyword
import shutil
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, get_args, get_origin, get_type_hints

from ..protocol.errors import Invalid, RemudaError
from .entries import OURS, is_file, open_lines
from .spelling import as_typed
from .task_options import TaskOptions

if TYPE_CHECKING:
    from ..client.depot import Depot
    from ..client.stream import Row

OPTION = "from"
LINES_MAX = 1_000_000
LINE_BYTES_MAX = 256 * 1024
WRONG_SHOWN_MAX = 10
TOLD_EVERY = 500
SHELL = ("sh", "-c")
COMMAND_KEYS = ("command", "cmd")
PAIRS = ("env", "tag", "node_label", "resource")
ALTERNATIVES = "or_"
MERGED = ("env", "tags", "labels", "resource")
LATER = ("after", "after_any", "begin", "start_after", "queue", "dry_run")
ELSEWHERE = {
    "once": "a key names one task, and these are many: submit that one by itself",
    "when_full": "it holds for the whole batch: give --when-full on the command line",
    "allow_infeasible": "it holds for the whole batch: give --allow-infeasible",
}


class Checked(NamedTuple):
    """How many tasks there are, the first of the lines that are none, and how many those are."""

    tasks: int
    wrong: list[str]
    wrong_count: int


class TaskLines:
    """The tasks of a file, or of our standard input (`-`), which is kept on disk meanwhile.

    `common` are the options of the command line, over which each line lays its own.
    """

    def __init__(self, path: str, common: Mapping[str, Any]) -> None:
        self.name = "stdin" if path == OURS else path
        self._path = path
        self._common = common
        self._kept: tempfile._TemporaryFileWrapper[bytes] | None = None

    def check(self, on_lines: Callable[[int], None]) -> Checked:
        """Read all of it, before anything is submitted; `on_lines` hears how far that is."""
        wrong: list[str] = []
        count = wrong_count = 0
        for number, line in self._lines():
            try:
                self._row(line, None)
                count += 1
            except (RemudaError, TypeError) as error:
                wrong_count += 1
                if len(wrong) < WRONG_SHOWN_MAX:
                    wrong.append(f"{self.name}, line {number}: {_told(error)}")
            if number % TOLD_EVERY == 0:
                on_lines(number)
        return Checked(count, wrong, wrong_count)

    def rows(self, depot: Depot) -> Iterator[Row]:
        """Yield the tasks, once what they bring is in the store; raises Invalid with the line."""
        for number, line in self._lines():
            try:
                row = self._row(line, depot)
            except (RemudaError, TypeError) as error:
                raise Invalid(
                    f"{self.name}, line {number}: {_told(error)}", field=OPTION
                ) from error
            yield row

    def line_of(self, index: int) -> int:
        """Return the number of the line on which a task stands; 0 where that has changed."""
        for at, (number, _) in enumerate(self._lines()):
            if at == index:
                return number
        return 0

    def _row(self, line: bytes, depot: Depot | None) -> Row:
        from ..client.calls import words_of
        from ..client.freight import ready
        from ..client.options import said_of, to_spec
        from ..client.stream import Row
        from ..protocol.spec import to_document

        command, own = read_task(line)
        options = {**self._common, **own}
        for name in MERGED:
            if name in self._common and name in own:
                options[name] = {**self._common[name], **own[name]}
        words = words_of(command)
        made = to_spec("command", options, argv=words)
        if depot is not None:
            made = to_spec("command", ready(options, depot), argv=words)
        return Row(to_document(made, said_of(options)), b"")

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are not blank, with their numbers; a long one is cut."""
        with self._open() as file:
            number = 0
            while line := file.readline(LINE_BYTES_MAX + 1):
                number += 1
                if number > LINES_MAX:
                    raise Invalid(f"{self.name}: has more than {LINES_MAX:,} lines", field=OPTION)
                if line.strip():
                    yield number, line
                while len(line) > LINE_BYTES_MAX and not line.endswith(b"\n"):
                    line = file.readline(LINE_BYTES_MAX + 1)

    def _open(self) -> BinaryIO:
        if is_file(self._path, OPTION):
            return open_lines(self._path, OPTION)
        if self._kept is None:
            kept = tempfile.NamedTemporaryFile(prefix="remuda-")  # noqa: SIM115 - until our end
            with open_lines(self._path, OPTION) as file:
                shutil.copyfileobj(file, kept)
            kept.flush()
            self._kept = kept
        return Path(self._kept.name).open("rb")


def _told(error: Exception) -> str:
    return as_typed(error, "") if isinstance(error, RemudaError) else str(error)


def read_task(line: bytes) -> tuple[Sequence[str], dict[str, Any]]:
    """Read one line: the command, and the options by the names of the Python client.

    Raises Invalid, which names the key and what to do.
    """
    if len(line) > LINE_BYTES_MAX:
        raise Invalid(f"it has more than {LINE_BYTES_MAX:,} bytes: put large values into files")
    found = _object(line)
    command = _command(found)
    fields = {_field(key): value for key, value in found.items() if key not in COMMAND_KEYS}
    if len(fields) < len(found) - 1:
        raise Invalid("a key is there twice, written in two ways: leave one out")
    texts = {name: _as_typed(name, value) for name, value in fields.items() if value is not None}
    return command, TaskOptions(**texts).given()


def _object(line: bytes) -> dict[str, Any]:
    def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise Invalid(f"{twice}: is there twice: leave one out", field=twice)
        return made

    try:
        found = json.loads(line, object_pairs_hook=once_each)
    except RecursionError as error:
        raise Invalid("it is not JSON: nested too deeply") from error
    except ValueError as error:
        raise Invalid(f'it is not JSON ({error}): write {{"command": ["echo", "hi"]}}') from error
    if not isinstance(found, dict):
        raise Invalid(f'found {_shown(found)}, it is an object: {{"command": ["echo", "hi"]}}')
    return found


def _command(found: Mapping[str, Any]) -> list[str]:
    """Return the words of the command; a text is one for the shell."""
    keys = [key for key in COMMAND_KEYS if key in found]
    if len(keys) != 1:
        said = "is given twice, as command and cmd" if keys else "is missing"
        raise Invalid(f'command: {said}: write "command": ["echo", "hi"]', field="command")
    value = found[keys[0]]
    if isinstance(value, str) and value.strip():
        return [*SHELL, value]
    words = value if isinstance(value, list) else []
    if not words or not all(isinstance(word, str) for word in words):
        raise Invalid(
            f"{keys[0]}: found {_shown(value)}, allowed is a list of words, each a text in quotes, "
            "or one text for the shell",
            field=keys[0],
        )
    return words


def _field(key: str) -> str:
    """Return the option that a key names; raises Invalid."""
    name = key.replace("-", "_")
    name = f"{name}_" if keyword.iskeyword(name) else name
    if name in LATER:
        raise Invalid(f"{key}: comes with a later version: leave it out for now", field=key)
    if name in ELSEWHERE:
        raise Invalid(f"{key}: {ELSEWHERE[name]}", field=key)
    if name not in _kinds():
        known = sorted({*_kinds(), *COMMAND_KEYS} - ELSEWHERE.keys())
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        raise Invalid(f"{key}: is not an option of a task: {hint}", field=key)
    return name


def _as_typed(name: str, value: Any) -> Any:
    """Turn a value into what the command line would have read; raises Invalid."""
    kind = _kinds()[name]
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise Invalid(f"{name}: found {_shown(value)}, allowed is true or false", field=name)
    if kind is list:
        return _as_list(name, value)
    if not _is_plain(value):
        raise Invalid(f"{name}: found {_shown(value)}, allowed is text or a number", field=name)
    if kind is not Path:
        return str(value)
    if str(value) == OURS:
        raise Invalid(f"{name}: our standard input cannot serve one of many: name a file")
    return Path(str(value))


def _as_list(name: str, value: Any) -> list[str]:
    if isinstance(value, dict) and name in PAIRS:
        value = [f"{key}={item}" if _is_plain(item) else item for key, item in value.items()]
    values = value if isinstance(value, list) else [value]
    if name == ALTERNATIVES:
        values = [_alternative(each) if isinstance(each, dict) else each for each in values]
    if not all(_is_plain(item) for item in values):
        allowed = "a list of texts" + (", or an object of texts" if name in PAIRS else "")
        raise Invalid(f"{name}: found {_shown(value)}, allowed is {allowed}", field=name)
    return [str(item) for item in values]


def _alternative(found: dict[str, Any]) -> object:
    """Write an alternative as the command line takes it, where that can be."""
    if not all(map(_is_plain, found.values())):
        return found
    return ",".join(f"{key}={value}" for key, value in found.items()) or "gpus=0"


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


@cache
def _kinds() -> dict[str, type]:
    """Return what each option is on the command line: a text, a flag, a path, or many texts."""
    hints = get_type_hints(TaskOptions)
    return {field.name: _kind(hints[field.name]) for field in dataclasses.fields(TaskOptions)}


def _kind(hint: Any) -> type:
    if get_origin(hint) is types.UnionType:
        hint = next(each for each in get_args(hint) if each is not types.NoneType)
    found = get_origin(hint) or hint
    assert isinstance(found, type)
    return found
