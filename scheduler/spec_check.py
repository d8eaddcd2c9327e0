"""Is this document a task we can take: types, limits and contradictions, each named by field."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    create_model,
)

from ..protocol import failures, secret_names
from ..protocol import spec as wire_spec
from ..protocol.claims import DIGEST_BYTES
from ..protocol.codec import INT_MAX, pack_document
from ..protocol.contradictions import check_asks
from ..protocol.errors import Invalid
from ..protocol.messages import SOURCE_BYTES_MAX
from ..protocol.resources import BYTES_MAX, CPUS_MILLI_MAX, GPUS_MAX, MILLI
from ..protocol.spec import TaskSpec
from .events import NewSpec
from .task import policy_of

FAILURES_MAX = 32
COUNT_MAX = 1_000_000
ARGV_BYTES_MAX = 1024 * 1024
TEXT_CHARS_MAX = 256
ENV_VALUE_CHARS_MAX = 128 * 1024
PATH_CHARS_MAX = 4_096
DURATION_MS_MAX = 10 * 366 * 86_400 * 1000
SPECS_KNOWN_MAX = 512
SPECS_KNOWN_BYTES = 8 * 1024 * 1024


def _as_tuple(found: object) -> object:
    return tuple(found) if isinstance(found, list) else found


_Text = Annotated[str, StringConstraints(max_length=TEXT_CHARS_MAX, pattern=r"^[^\x00]*$")]
_Key = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_CHARS_MAX)]
_EnvKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,255}$")]
_EnvValue = Annotated[str, StringConstraints(max_length=ENV_VALUE_CHARS_MAX, pattern=r"^[^\x00]*$")]
_Argument = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
_Size = Annotated[int, Field(ge=0, le=BYTES_MAX)]
_Count = Annotated[int, Field(ge=1, le=COUNT_MAX)]
_Duration = Annotated[int, Field(ge=0, le=DURATION_MS_MAX)]
_Digest = Annotated[bytes, Field(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
_DigestOrNone = Annotated[bytes, Field(max_length=DIGEST_BYTES)]
_FileName = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
_FileKind = Literal["file", "exec", "tree"]
_FileRow = Annotated[tuple[_Digest, _Size, _FileKind], BeforeValidator(_as_tuple)]
_Glob = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00]*$")]
_Failures = Annotated[list[_Text], Field(max_length=FAILURES_MAX)]
_NAME = StringConstraints(max_length=wire_spec.NAME_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")
_TARGET = StringConstraints(max_length=512, pattern=r"^[^\s\x00]*$")

_Counts = Annotated[dict[_Key, _Count], Field(max_length=wire_spec.RESOURCES_MAX)]
_Need = Annotated[str, StringConstraints(max_length=wire_spec.NEED_CHARS_MAX)]

# What each field of a TaskSpec may hold; a field without a line here is refused at import.
_FIELDS: dict[str, Any] = {
    "kind": Literal["command", "function", "handler"],
    "argv": Annotated[list[_Argument], Field(max_length=wire_spec.ARGV_MAX)],
    "target": Annotated[str, _TARGET],
    "source_name": Annotated[str, StringConstraints(max_length=PATH_CHARS_MAX)],
    "source": Annotated[bytes, Field(max_length=SOURCE_BYTES_MAX)],
    "name": Annotated[str, _NAME],
    "tags": Annotated[dict[_Key, _Text], Field(max_length=wire_spec.TAGS_MAX)],
    "env": Annotated[dict[_EnvKey, _EnvValue], Field(max_length=wire_spec.ENV_MAX)],
    "cwd": Annotated[str, StringConstraints(max_length=PATH_CHARS_MAX, pattern=r"^(/[^\x00]*)?$")],
    "stdin": Annotated[bytes, Field(max_length=wire_spec.STDIN_BYTES_MAX)],
    "cpus_milli": Annotated[int, Field(ge=0, le=CPUS_MILLI_MAX)],
    "memory_bytes": _Size,
    "gpus": Annotated[int, Field(ge=0, le=GPUS_MAX)],
    "gpu_milli": Annotated[int, Field(ge=0, lt=MILLI)],
    "vram_bytes": _Size,
    "gpu_type": _Text,
    "labels": Annotated[dict[_Key, _Text], Field(max_length=wire_spec.TAGS_MAX)],
    "nodes": Annotated[list[_Key], Field(max_length=64)],
    "priority": Annotated[int, Field(ge=0, le=wire_spec.PRIORITY_MAX)],
    "timeout_ms": _Duration,
    "grace_ms": _Duration,
    "retries": Annotated[int, Field(ge=0, le=wire_spec.RETRIES_MAX)],
    "backoff_first_ms": _Duration,
    "backoff_longest_ms": _Duration,
    "array": bool,
    "if_node_lost": Literal["rerun", "fence", "fail"],
    "start_timeout_ms": _Duration,
    "silence_ms": _Duration,
    "deadline_ms": Annotated[int, Field(ge=0, le=INT_MAX)],
    "expires_ms": _Duration,
    "retry_on": _Failures,
    "never_on": _Failures,
    "files": Annotated[dict[_FileName, _FileRow], Field(max_length=wire_spec.FILES_MAX)],
    "outputs": Annotated[list[_Glob], Field(max_length=wire_spec.OUTPUTS_MAX)],
    "project": _DigestOrNone,
    "stdin_object": _DigestOrNone,
    "python": Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,63}$")],
    "requirements": Annotated[
        str, StringConstraints(max_length=wire_spec.REQUIREMENTS_CHARS_MAX, pattern=r"^[^\x00]*$")
    ],
    "secrets": Annotated[list[_Text], Field(max_length=wire_spec.SECRETS_MAX)],
    "fresh": bool,
    "keep_log": bool,
    "objects": bool,
    "each": bool,
    "gpu_cc": Annotated[int, Field(ge=0, le=1_000)],
    "not_nodes": Annotated[list[_Key], Field(max_length=64)],
    "exclusive": bool,
    "resources": _Counts,
    "model": Annotated[str, _TARGET],
    "vram": _Need,
    "size": _Need,
    "learn_as": Annotated[str, _NAME],
}


_CLOSED = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=False)
_ASKED: dict[str, Any] = {
    name: (_FIELDS[name], None) for name in (*wire_spec.GPU_FIELDS, *wire_spec.HOST_FIELDS)
}
_ALTERNATIVE: Any = create_model("Alternative", __config__=_CLOSED, **_ASKED)
_FIELDS["alternatives"] = Annotated[
    list[_ALTERNATIVE], Field(max_length=wire_spec.ALTERNATIVES_MAX)
]


def _adapter() -> TypeAdapter[Any]:
    """Build the strict schema of TaskSpec: its own fields and defaults with the limits above."""
    fields: dict[str, Any] = {}
    for known in dataclasses.fields(TaskSpec):
        limits = _FIELDS[known.name]
        if known.default_factory is not dataclasses.MISSING:
            fields[known.name] = (limits, Field(default_factory=known.default_factory))
        elif known.default is not dataclasses.MISSING:
            fields[known.name] = (limits, known.default)
        else:
            fields[known.name] = (limits, ...)
    return TypeAdapter(create_model("TaskSpec", __config__=_CLOSED, **fields))


_SPEC = _adapter()


def check_spec(document: dict[str, Any], where: str) -> NewSpec:
    """Turn a document into what the core needs; raise Invalid that names field, found, allowed."""
    try:
        checked = _SPEC.validate_python(document)
    except ValidationError as error:
        raise _invalid(error, where) from error
    found = {name: getattr(checked, name) for name in _FIELDS}
    found["alternatives"] = [each.model_dump(exclude_unset=True) for each in found["alternatives"]]
    spec = wire_spec.from_document(found)
    try:
        _check_kind(spec)
        check_asks(spec)
    except ValueError as error:
        text = str(error)
        field = text.partition(":")[0]
        raise Invalid(
            f"{where}{text}", field=where + field if field in _FIELDS else where.rstrip(".")
        ) from error
    return NewSpec(
        body=pack_document(wire_spec.to_document(spec)),
        request=spec.request,
        policy=policy_of(spec),
        kind=spec.learns,
        name=spec.label[: wire_spec.NAME_CHARS_MAX],
        digests=tuple(spec.digests()),
        vram=spec.vram_need,
        size=spec.size,
    )


def _check_kind(spec: TaskSpec) -> None:
    """Raise ValueError where the kind of work and the other fields do not go together."""
    if spec.kind == "command":
        if not spec.argv or not spec.argv[0]:
            raise ValueError("argv: a command needs at least its program")
        if spec.target or spec.source:
            raise ValueError("target: a command has none; use kind function or handler")
        if sum(len(part.encode("utf-8", "surrogatepass")) for part in spec.argv) > ARGV_BYTES_MAX:
            raise ValueError(f"argv: more than {ARGV_BYTES_MAX} bytes; put them into a file")
    else:
        if spec.argv:
            raise ValueError("argv: only a command has one")
        if not spec.target:
            raise ValueError(f"target: a {spec.kind} needs one")
    if spec.kind == "function":
        module, colon, name = spec.target.partition(":")
        dotted = [*module.split("."), *name.split(".")]
        if not colon or not all(part.isidentifier() for part in dotted):
            raise ValueError(f"target: {spec.target!r} is not a function: write it module:qualname")
    if spec.kind == "handler" and ":" in spec.target:
        raise ValueError(f"target: {spec.target!r} is not the name of a handler")
    if spec.each and spec.kind != "command":
        raise ValueError("each: only the words of a command have a place for an entry")
    if spec.each and spec.array:
        raise ValueError("each: a member has an array index or an entry, not both")
    _check_files(spec)
    _check_environment(spec)
    if spec.backoff_longest_ms < spec.backoff_first_ms:
        raise ValueError("backoff_longest_ms: is shorter than backoff_first_ms")
    for field, names in (("retry_on", spec.retry_on), ("never_on", spec.never_on)):
        if unknown := sorted(set(names) - failures.KNOWN):
            known = ", ".join(sorted(failures.KNOWN))
            raise ValueError(f"{field}: {unknown[0]!r} is no code or class of failure: {known}")


def _check_files(spec: TaskSpec) -> None:
    """Raise ValueError where a name leads out of the task's directory, or two things are one."""
    for field, names in (("files", spec.files), ("outputs", spec.outputs)):
        for name in names:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\x00" in name or not path.parts:
                raise ValueError(f"{field}: {name!r} leads out of the task's directory")
    for field, digest in (("project", spec.project), ("stdin_object", spec.stdin_object)):
        if digest and len(digest) != DIGEST_BYTES:
            raise ValueError(f"{field}: a digest has {DIGEST_BYTES} bytes")
    if spec.stdin and spec.stdin_object:
        raise ValueError("stdin_object: the standard input is given twice")


def _check_environment(spec: TaskSpec) -> None:
    """Raise ValueError for secrets that contradict, or where a handler's worker is what it is."""
    try:
        secret_names.check(spec.secrets, spec.env)
    except ValueError as error:
        raise ValueError(f"secrets: {error}") from error
    if spec.kind != "handler":
        return
    said = {"python": spec.python, "requirements": spec.requirements, "secrets": spec.secrets}
    for field, value in {**said, "fresh": spec.fresh}.items():
        if value:
            raise ValueError(
                f"{field}: a handler runs in the worker that holds its model: what is around that "
                "is said in [handlers.NAME] of its node"
            )


def _invalid(error: ValidationError, where: str) -> Invalid:
    first = error.errors(include_url=False, include_context=False)[0]
    field = where + ".".join(str(part) for part in first["loc"])
    found = repr(first["input"])[:80]
    allowed = (
        first["msg"].replace("Input should", "it should").replace("Extra inputs", "such fields")
    )
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "missing":
        return Invalid(f"{field}: is missing{more}", field=field)
    return Invalid(f"{field}: found {found}; {allowed}{more}", field=field)


class SpecCheck:
    """Checks specs and remembers the latest that passed: `map` sends the same one again.

    `defaults` are fields that hold where a spec does not say otherwise.
    """

    def __init__(self, defaults: Mapping[str, Any] | None = None) -> None:
        self._defaults = dict(defaults or {})
        self._known: dict[bytes, NewSpec] = {}
        self._bytes = 0

    def check(self, document: dict[str, Any], where: str) -> NewSpec:
        """Return the checked spec, equal ones shared; raises Invalid."""
        raw = pack_document(document)
        known = self._known.get(raw)
        if known is not None:
            return known
        new = check_spec({**self._defaults, **document}, where)
        if len(self._known) >= SPECS_KNOWN_MAX or self._bytes + len(raw) > SPECS_KNOWN_BYTES:
            self._known.clear()
            self._bytes = 0
        self._known[raw] = new
        self._bytes += len(raw)
        return new
