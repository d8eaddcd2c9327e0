"""Does what a task asks for contradict itself? Judged alike by the client and the scheduler."""

from __future__ import annotations

import dataclasses

from . import expressions
from .expressions import STEP_BYTES_MIN, BadExpression
from .resources import check_request
from .spec import GPU_FIELDS, HOST_FIELDS, VRAM_AUTO, TaskSpec

_ALTERNATIVE_FIELDS = (*GPU_FIELDS, *HOST_FIELDS)


def check_asks(spec: TaskSpec) -> None:
    """Raise ValueError, naming field and remedy, where the requests of a spec contradict."""
    for index, document in enumerate(spec.alternatives):
        if unknown := sorted(document.keys() - set(_ALTERNATIVE_FIELDS)):
            known = ", ".join(_ALTERNATIVE_FIELDS)
            raise ValueError(
                f"alternatives: the {_nth(index)} has {unknown[0]!r}, which no alternative can ask "
                f"for: known are {known}"
            )
    _check_vram(spec)
    if spec.size:
        _check_expression(spec, "size", spec.size)
    if spec.exclusive and spec.kind == "handler":
        raise ValueError(
            "exclusive: a handler's calls go to a worker that is there: a node cannot be had alone "
            "for one of them"
        )
    if both := sorted(set(spec.nodes) & set(spec.not_nodes)):
        raise ValueError(f"not_nodes: {both[0]} is asked for as well: name it once")
    request = spec.request
    if spec.vram and spec.vram != VRAM_AUTO:  # what it comes to depends on the task
        request = dataclasses.replace(request, vram_bytes=STEP_BYTES_MIN)
    check_request(request)
    for index, other in enumerate(request.others):
        try:
            check_request(other)
        except ValueError as error:
            raise ValueError(f"alternatives: the {_nth(index)}: {error}") from error


def _check_vram(spec: TaskSpec) -> None:
    if not spec.vram:
        return
    if spec.vram_bytes:
        raise ValueError("vram: is given as a size and as something to work out: give one of them")
    if spec.kind == "handler":
        raise ValueError(
            "vram: a handler's worker has its memory already: [handlers.NAME] of its node says how "
            "much"
        )
    if spec.vram == VRAM_AUTO:
        if spec.gpus or spec.gpu_milli:
            raise ValueError(
                "vram: auto finds the share of one GPU that a task needs, or takes a whole one: "
                "leave gpus out, or give a size"
            )
        return
    _check_expression(spec, "vram", spec.vram)


def _check_expression(spec: TaskSpec, field: str, text: str) -> None:
    try:
        names = expressions.parse(text).names
    except BadExpression as error:
        raise ValueError(f"{field}: {error}") from error
    if names and spec.kind == "command":
        raise ValueError(
            f"{field}: {text!r} depends on the argument {names[0]}, and a command has no keyword "
            "arguments: give a size"
        )


def _nth(index: int) -> str:
    return f"{index + 1}{('st', 'nd', 'rd')[index] if index < 3 else 'th'}"
