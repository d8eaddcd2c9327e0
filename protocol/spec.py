"""What a task is, as the client states it: one record that submissions carry and nodes run."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from . import secret_names
from .resources import MILLI, Request

Kind = Literal["command", "function", "handler"]
IfNodeLost = Literal["rerun", "fence", "fail"]
NAME_CHARS_MAX = 128
LIMITS_PROTOCOL = 2
OBJECTS_PROTOCOL = 3
RESOURCES_PROTOCOL = 4
RESOURCES_MAX = 16
ALTERNATIVES_MAX = 8
NEED_CHARS_MAX = 200
COMMAND_WORD_CHARS = 24
VRAM_AUTO = "auto"
FILES_MAX = 256
OUTPUTS_MAX = 64
SECRETS_MAX = 32
REQUIREMENTS_CHARS_MAX = 64 * 1024
ARGV_MAX = 4_096
ENV_MAX = 512
TAGS_MAX = 32
STDIN_BYTES_MAX = 64 * 1024
RETRIES_MAX = 1_000
PRIORITY_MAX = 100
ENTRY_MARK = "{}"
GPU_FIELDS = ("gpus", "gpu_milli", "vram_bytes", "gpu_type", "gpu_cc")
HOST_FIELDS = ("cpus_milli", "memory_bytes", "labels", "resources", "nodes")
"""With GPU_FIELDS: what an alternative may ask for otherwise."""
PRIORITY_DEFAULT = 50
GRACE_MS_DEFAULT = 5_000
BACKOFF_FIRST_MS = 1_000
BACKOFF_LONGEST_MS = 300_000


class FileRow(NamedTuple):
    """An object of the store under a name: `kind` is `file`, `exec` or `tree`."""

    digest: bytes
    size: int
    kind: str


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """The request of one task, or of many that differ in `args` alone.

    `target` is `module:qualname` of a function or the name of a handler; a function of a script's
    `__main__` brings its file as `source` (with `source_name`). `array` says that `args` holds the
    member's array index, `each` that it holds the member's entry: UTF-8 text that stands for each
    `{}` in the words of the command.

    Limits are 0 for none: `timeout_ms` of a try, `start_timeout_ms` from its grant to its start,
    `silence_ms` without output or progress, `deadline_ms` (Unix time) over all tries, `expires_ms`
    in the queue. `retry_on` limits the task's own retries to these codes or classes of failure,
    `never_on` forbids any retry after them (see `failures.py`).

    `files` lie in the task's directory when it starts, `outputs` are patterns of what comes back
    from there.
    `project` (digest of a tree) goes on `sys.path`, `stdin_object` is a standard input that is too
    large for `stdin`. `python` names an interpreter of the node, `requirements` holds the text of a
    requirements file for an environment made from it, `secrets` are `NAME` or `NAME=VARIABLE`: the
    node sets the variable.
    `fresh`: in a new worker; `keep_log`: with all of its output in the store. `objects`: arguments
    name objects of the store (the scheduler says so, which sees their claims).

    `vram` is `auto` (what tasks like this were seen to need) or a need in bytes that depends on
    numeric keyword arguments, `size` such a measure of the work: tasks of a `learn_as` (what runs,
    if empty) and of one order of size are alike. `alternatives` are what will do as well, in this
    order: each is a document of some GPU_FIELDS and HOST_FIELDS. What it does not name of the
    former is not asked for, of the latter it is asked for as above.
    """

    kind: Kind
    argv: list[str] = field(default_factory=list)
    target: str = ""
    source_name: str = ""
    source: bytes = b""
    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = ""
    stdin: bytes = b""
    cpus_milli: int = MILLI
    memory_bytes: int = 0
    gpus: int = 0
    gpu_milli: int = 0
    vram_bytes: int = 0
    gpu_type: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    nodes: list[str] = field(default_factory=list)
    priority: int = PRIORITY_DEFAULT
    timeout_ms: int = 0
    grace_ms: int = GRACE_MS_DEFAULT
    retries: int = 0
    backoff_first_ms: int = BACKOFF_FIRST_MS
    backoff_longest_ms: int = BACKOFF_LONGEST_MS
    array: bool = False
    if_node_lost: IfNodeLost = "rerun"
    start_timeout_ms: int = 0
    silence_ms: int = 0
    deadline_ms: int = 0
    expires_ms: int = 0
    retry_on: list[str] = field(default_factory=list)
    never_on: list[str] = field(default_factory=list)
    files: dict[str, FileRow] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    project: bytes = b""
    stdin_object: bytes = b""
    python: str = ""
    requirements: str = ""
    secrets: list[str] = field(default_factory=list)
    fresh: bool = False
    keep_log: bool = False
    objects: bool = False
    each: bool = False
    gpu_cc: int = 0
    not_nodes: list[str] = field(default_factory=list)
    exclusive: bool = False
    resources: dict[str, int] = field(default_factory=dict)
    model: str = ""
    vram: str = ""
    size: str = ""
    learn_as: str = ""
    alternatives: list[dict[str, Any]] = field(default_factory=list)

    @property
    def request(self) -> Request:
        """Return the resources asked for, as far as no argument of the task decides.

        Where what to ask for is to be learned it is one whole card until then.
        """
        others = tuple(self._alternative(each).request for each in self.alternatives)
        return Request(
            cpus_milli=self.cpus_milli,
            memory_bytes=self.memory_bytes,
            gpus=self.gpus or int(self.vram == VRAM_AUTO),
            gpu_milli=self.gpu_milli,
            vram_bytes=self.vram_bytes,
            gpu_type=self.gpu_type,
            labels=tuple(sorted(self.labels.items())),
            nodes=tuple(sorted(self.nodes)),
            handler=self.target if self.kind == "handler" else "",
            protocol=self.protocol,
            python=self.python,
            secrets=secret_names.names(self.secrets),
            gpu_cc=self.gpu_cc,
            not_nodes=tuple(sorted(self.not_nodes)),
            exclusive=self.exclusive,
            resources=tuple(sorted(self.resources.items())),
            model=self.model,
            learned=self.learns if self.vram == VRAM_AUTO else "",
            others=others,
        )

    def _alternative(self, document: dict[str, Any]) -> TaskSpec:
        """Return this spec asking for something else."""
        asked: dict[str, Any] = {name: _DEFAULTS[name] for name in GPU_FIELDS} | document
        return dataclasses.replace(self, **asked, vram="", alternatives=[])

    @property
    def vram_need(self) -> str:
        """Return the expression of the VRAM that is needed, if there is one."""
        return "" if self.vram == VRAM_AUTO else self.vram

    @property
    def learns(self) -> str:
        """Name what its tasks have in common with those that run and need alike, but for size."""
        return learned_as(self.learn_as or kind_of(self), self.model)

    @property
    def needs_limits_of_nodes(self) -> bool:
        """Tell whether the node itself must hold a limit that came after the first protocol."""
        return self.if_node_lost == "fence" or bool(self.silence_ms)

    @property
    def protocol(self) -> int:
        """Return the oldest protocol that a node must speak to run this as it is meant."""
        if self.exclusive or self.resources:
            return RESOURCES_PROTOCOL
        if self.has_surroundings or self.each:
            return OBJECTS_PROTOCOL
        return LIMITS_PROTOCOL if self.needs_limits_of_nodes else 1

    @property
    def has_surroundings(self) -> bool:
        """Tell whether files, code, an environment or secrets belong to it."""
        things = (self.files, self.outputs, self.project, self.stdin_object, self.objects)
        others = (self.python, self.requirements, self.secrets, self.fresh, self.keep_log)
        return any(things) or any(others)

    def digests(self) -> list[bytes]:
        """Name the objects that it needs, each once."""
        named = [row.digest for row in self.files.values()]
        named += [each for each in (self.project, self.stdin_object) if each]
        return list(dict.fromkeys(named))

    @property
    def label(self) -> str:
        """Return what people see as the task's name."""
        if self.name:
            return self.name
        return " ".join(self.argv)[:NAME_CHARS_MAX] if self.kind == "command" else self.target


def kind_of(spec: TaskSpec) -> str:
    """Name what a spec runs, to compare runs of it: a command counts with its arguments."""
    if spec.kind == "command":
        return command_kind(spec.argv)
    return f"{spec.kind} {spec.target}"


def learned_as(kind: str, model: str) -> str:
    """Name the work of a kind with a model."""
    return f"{kind} {model}" if model else kind


def command_kind(argv: Sequence[str]) -> str:
    """Name a command line in few bytes: program, first word after it, and a checksum of all."""
    words = [word.rpartition("/")[2][:COMMAND_WORD_CHARS] for word in argv[:2]]
    if len(words) > 1 and words[1].startswith("-"):
        del words[1]
    return (
        f"command {' '.join(words)} {zlib.crc32(chr(0).join(argv).encode('utf-8', 'replace')):08x}"
    )


def with_entry(argv: list[str], entry: str) -> list[str]:
    """Put an entry in the place of each `{}`."""
    return [word.replace(ENTRY_MARK, entry) for word in argv]


def check_entry(entry: bytes) -> None:
    """Raise ValueError for an entry that no word of a command and no variable can hold."""
    if b"\x00" in entry:
        raise ValueError("a NUL byte cannot be part of a command")
    try:
        entry.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from error


_DEFAULTS = {
    f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
    for f in dataclasses.fields(TaskSpec)
}


def to_document(spec: TaskSpec, said: Collection[str] = ()) -> dict[str, Any]:
    """Write a spec as a document that leaves defaults out, but for fields that were `said`."""
    document = {}
    for name, default in _DEFAULTS.items():
        value = getattr(spec, name)
        if value != default or name in said:
            document[name] = value
    return document


def from_document(document: dict[str, Any]) -> TaskSpec:
    """Read a document that was validated when it was submitted; unknown keys are dropped.

    A newer scheduler may know fields that this side does not; raises TypeError when `kind` is
    missing.
    """
    known = {name: document[name] for name in _DEFAULTS if name in document}
    if "files" in known:
        known["files"] = {name: FileRow(*row) for name, row in known["files"].items()}
    return TaskSpec(**known)
