"""Which options of a task does the command line take, and how do they reach the client?"""

from __future__ import annotations

import atexit
import datetime as dt
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ..protocol.errors import Invalid
from ..protocol.resources import parse_duration_s, refuse_bare_number
from ..protocol.spec import STDIN_BYTES_MAX

ARRAY_MAX = 1_000_000
_NOT_GIVEN: tuple[object, ...] = ("", None, False, {}, [])
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d\d(:\d\d)?")
_ARRAY_PART = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """The options that `run`, `submit` and `call` share; empty: not given."""

    gpus: Annotated[
        str, typer.Option(metavar="N", help="Whole GPUs (1, 2, ...) or a share of one (0.5).")
    ] = ""
    vram: Annotated[
        str,
        typer.Option(
            metavar="SIZE|auto|EXPR",
            help="GPU memory: 12GiB of a card, maybe shared; as seen; '2GiB + 24B*width*height'.",
        ),
    ] = ""
    size: Annotated[
        str,
        typer.Option(metavar="EXPR", help="How much work a call is: 'width*height' (--vram auto)."),
    ] = ""
    kind: Annotated[
        str, typer.Option(metavar="NAME", help="What its needs are learned under (--vram auto).")
    ] = ""
    gpu_type: Annotated[
        str, typer.Option(metavar="REGEX", help="Only GPUs whose name matches.")
    ] = ""
    gpu_cc: Annotated[
        str, typer.Option(metavar="X.Y", help="Only GPUs of at least this compute capability: 8.0.")
    ] = ""
    or_: Annotated[
        list[str] | None,
        typer.Option(
            "--or",
            metavar="NAME=VALUE,...",
            help="Will do as well: 'gpus=2,gpu-type=L4'; gpus=0 is CPU only; in order.",
        ),
    ] = None
    cpus: Annotated[str, typer.Option(metavar="N", help="CPUs to book (default: 1).")] = ""
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Main memory to book: 8GiB.")] = ""
    resource: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=N", help="So many of what nodes count by name; repeatable."),
    ] = None
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="On a node without any other task.")
    ] = False
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Rather where this model is in memory.")
    ] = ""
    node_label: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Only nodes with this label.")
    ] = None
    node: Annotated[
        list[str] | None, typer.Option(metavar="NODE", help="Only on this node; repeatable.")
    ] = None
    not_node: Annotated[
        list[str] | None, typer.Option(metavar="NODE", help="Not on this node; repeatable.")
    ] = None
    priority: Annotated[
        str, typer.Option(metavar="0..100", help="Higher goes first (default: 50).")
    ] = ""
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Per try: 90s, 2m, 1h30m.")] = ""
    start_timeout: Annotated[
        str, typer.Option(metavar="TIME", help="Per try: from its grant to its start.")
    ] = ""
    silence: Annotated[
        str, typer.Option(metavar="TIME", help="Per try: without output or progress.")
    ] = ""
    deadline: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Over all tries: 2h from now, 18:30, 2026-01-31T18:00:00Z."
        ),
    ] = ""
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="Give up if no try began after this long.")
    ] = ""
    retries: Annotated[
        str, typer.Option(metavar="N", help="More tries after its own errors (default: 0).")
    ] = ""
    retry_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE", help="Retry only after this code or class of failure; repeatable."
        ),
    ] = None
    never_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE", help="No more try after this code or class of failure; repeatable."
        ),
    ] = None
    backoff: Annotated[
        str, typer.Option(metavar="MIN..MAX", help="Delay between tries (default: 1s..5m).")
    ] = ""
    if_node_lost: Annotated[
        str,
        typer.Option(
            metavar="rerun|fence|fail",
            help="rerun (default) may run twice; fence runs it once it surely stopped.",
        ),
    ] = ""
    when_full: Annotated[
        str, typer.Option(metavar="fail|wait[=TIME]", help="If the queue is full (default: fail).")
    ] = ""
    once: Annotated[str, typer.Option(metavar="KEY", help="Submit only if this key is new.")] = ""
    env: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="A variable of its environment.")
    ] = None
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=VAR]", help="A variable that its node sets from its [secrets]."
        ),
    ] = None
    python: Annotated[
        str, typer.Option(metavar="NAME", help="An interpreter of its node, one of [pythons].")
    ] = ""
    requirements: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its node makes (and keeps) an environment from these."),
    ] = None
    fresh: Annotated[
        bool, typer.Option("--fresh", help="A call: in a new worker, which ends with it.")
    ] = False
    cwd: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="Its working directory, on the node (a command's default: an empty one).",
        ),
    ] = ""
    stdin: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file for its standard input (- is ours).")
    ] = None
    file: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LOCAL[:NAME]",
            help="A file or folder for its directory, under this name; repeatable.",
        ),
    ] = None
    output: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB", help="Files of its directory that come home: '*.png'; repeatable."
        ),
    ] = None
    project: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Code to send along: a folder, as far as git tracks it."),
    ] = None
    keep_log: Annotated[
        bool, typer.Option("--keep-log", help="Keep all that it prints, not only first and last.")
    ] = False
    name: Annotated[str, typer.Option(metavar="TEXT", help="A name for people.")] = ""
    tag: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A tag; repeatable.")] = None
    allow_infeasible: Annotated[
        bool, typer.Option("--allow-infeasible", help="Submit what no known node could run.")
    ] = False

    def given(self) -> dict[str, Any]:
        """Return what was given, by the names of the Python client."""
        texts = {
            "gpus": self.gpus,
            "vram": self.vram,
            "size": self.size,
            "kind": self.kind,
            "gpu_type": self.gpu_type,
            "gpu_cc": self.gpu_cc,
            "or": list(self.or_ or []),
            "cpus": self.cpus,
            "memory": self.memory,
            "resource": pairs("resource", self.resource),
            "exclusive": self.exclusive,
            "model": self.model,
            "labels": pairs("node-label", self.node_label),
            "nodes": list(self.node or []),
            "not_node": list(self.not_node or []),
            "priority": whole("priority", self.priority),
            "timeout": self.timeout,
            "start_timeout": self.start_timeout,
            "silence": self.silence,
            "deadline": moment(self.deadline),
            "expires": self.expires,
            "retries": whole("retries", self.retries),
            "retry_on": _words(self.retry_on),
            "never_on": _words(self.never_on),
            "backoff": self.backoff,
            "if_node_lost": self.if_node_lost,
            "when_full": self.when_full,
            "once": self.once,
            "env": pairs("env", self.env),
            "secrets": list(self.secret or []),
            "python": self.python,
            "requirements": self.requirements,
            "fresh": self.fresh,
            "cwd": self.cwd,
            "stdin": _stdin(self.stdin),
            "files": local_files(self.file),
            "outputs": list(self.output or []),
            "project": _folder("project", self.project),
            "keep_log": self.keep_log,
            "name": self.name,
            "tags": pairs("tag", self.tag),
            "allow_infeasible": self.allow_infeasible,
        }
        return {key: value for key, value in texts.items() if value not in _NOT_GIVEN}


def pairs(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """Read `K=V` texts; raises Invalid that names the option."""
    found: dict[str, str] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise Invalid(f"--{option} {text}: write it like KEY=VALUE", field=option)
        found[key] = value
    return found


def local_files(texts: Sequence[str] | None) -> dict[str, str]:
    """Read `LOCAL[:NAME]` texts into local paths by name; raises Invalid."""
    found: dict[str, str] = {}
    for text in texts or []:
        local, colon, name = text, "", ""
        if not Path(text).expanduser().exists():
            local, colon, name = text.rpartition(":")
        if not colon:
            local, name = text, ""
        if not local:
            raise Invalid(
                f"--file {text!r}: the path is empty: name a file or a folder (. is the current "
                "one), or leave --file out",
                field="file",
            )
        if not name or name.endswith("/"):
            name += Path(local).expanduser().absolute().name
        if name in found:
            raise Invalid(
                f"--file {text}: {found[name]} is called {name} too: write {local}:OTHER",
                field="file",
            )
        found[name] = local
    return found


def _folder(option: str, text: str | None) -> str | None:
    if text == "":
        raise Invalid(
            f"--{option} '': the path is empty: name a folder (. is the current one), or leave "
            f"--{option} out",
            field=option,
        )
    return text


def whole(option: str, text: str) -> int | None:
    """Read a whole number; raises Invalid that names the option."""
    if not text:
        return None
    if not text.isdecimal():
        raise Invalid(f"--{option} {text}: is not a whole number of 0 or more", field=option)
    return int(text)


def duration_s(option: str, text: str, *, bare: bool = True) -> float | None:
    """Read a duration, `bare` without a unit too; raises Invalid that names the option."""
    if not text:
        return None
    try:
        if not bare:
            refuse_bare_number(text)
        return parse_duration_s(text)
    except ValueError as error:
        raise Invalid(f"--{option}: {error}", field=option) from error


def moment(text: str) -> str | dt.datetime:
    """Read `18:30` as the next time that our clocks show so; what else there is the client reads.

    Raises Invalid for a time of day that there is not.
    """
    if not _TIME_OF_DAY.fullmatch(text.strip()):
        return text
    try:
        wanted = dt.time.fromisoformat(text.strip().zfill(5))
    except ValueError as error:
        raise Invalid(f"--deadline {text}: {error}", field="deadline") from error
    now = dt.datetime.now().astimezone()
    day = now.date() + dt.timedelta(days=wanted <= now.time())
    return dt.datetime.combine(day, wanted).astimezone()


def _words(texts: Sequence[str] | None) -> list[str]:
    """Read words that were given one by one or with commas."""
    return [word for text in texts or [] for word in text.split(",") if word]


def array(text: str) -> list[int]:
    """Read array indices: `0-9999`, `1,5,8-10`, `0-100:10`; raises Invalid."""
    if "%" in text:
        raise Invalid(
            f"--array {text}: a limit of tasks at a time (%N) comes with a later version",
            field="array",
        )
    found: list[int] = []
    for part in text.split(","):
        match = _ARRAY_PART.fullmatch(part.strip())
        if match is None:
            raise Invalid(f"--array {text}: write it like 0-9, 1,5,8-10 or 0-100:10", field="array")
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if last < first or step == 0:
            raise Invalid(f"--array {part}: goes from a lower to a higher number", field="array")
        if (last - first) // step + 1 + len(found) > ARRAY_MAX:
            raise Invalid(f"--array {text}: has more than {ARRAY_MAX:,} tasks", field="array")
        found += range(first, last + 1, step)
    if len(set(found)) != len(found):
        raise Invalid(f"--array {text}: names an index twice", field="array")
    return found


def arguments(texts: Sequence[str]) -> tuple[list[object], dict[str, object]]:
    """Read `--arg V` and `--arg N:=JSON` into positional and keyword arguments."""
    import json

    positional: list[object] = []
    keywords: dict[str, object] = {}
    for text in texts:
        name, marker, body = text.partition(":=")
        if not marker or not (name.isidentifier() or not name):
            positional.append(text)
            continue
        try:
            value = json.loads(body)
        except ValueError as error:
            raise Invalid(f"--arg {text}: {body!r} is not JSON ({error})", field="arg") from error
        if not name:
            positional.append(value)
        elif name in keywords:
            raise Invalid(f"--arg {name}: is given twice", field="arg")
        else:
            keywords[name] = value
    return positional, keywords


def _stdin(path: Path | None) -> object:
    """Return a file, or what our own standard input holds for `-`."""
    if path is None or str(path) != "-":
        return path
    blob = sys.stdin.buffer.read(STDIN_BYTES_MAX + 1)
    if len(blob) <= STDIN_BYTES_MAX:
        return blob
    # It goes when we do: nothing needs it after the submission.
    file = tempfile.NamedTemporaryFile(prefix="remuda-")  # noqa: SIM115 - closed by `atexit`
    atexit.register(file.close)
    file.write(blob)
    shutil.copyfileobj(sys.stdin.buffer, file)
    file.flush()
    return Path(file.name)
