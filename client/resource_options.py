"""How is said what a task asks of its node: GPUs, memory, named things, what else will do?"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping

from ..protocol import expressions, spec
from ..protocol.resources import MILLI
from .readers import (
    Fields,
    flag,
    names,
    pairs,
    pairs_of,
    size_of,
    sized,
    text,
    text_or_number,
    whole_of,
)

COUNT_MAX = 1_000_000
CC_MAX = 100.0


def _vram(value: object) -> Fields:
    """Read a size, `auto`, or an expression over numeric keyword arguments."""
    if value == spec.VRAM_AUTO:
        return {"vram": spec.VRAM_AUTO, "vram_bytes": 0}
    try:
        return {"vram_bytes": size_of(value), "vram": ""}
    except ValueError:
        if not isinstance(value, str) or not _is_worked_out(value):
            raise
    need = expressions.parse(value)
    if need.names:
        return {"vram": value, "vram_bytes": 0}
    return {"vram_bytes": expressions.need_bytes(need, {}), "vram": ""}


def _is_worked_out(written: str) -> bool:
    """Tell whether something is written as an expression, be it a wrong one."""
    return any(sign in written for sign in "+*/()")


def _size(value: object) -> Fields:
    written = str(value) if isinstance(value, str | int | float) else None
    if written is None or isinstance(value, bool):
        raise ValueError(f"found {value!r}, allowed is an expression like 'width*height'")
    expressions.parse(written)
    return {"size": written}


def _gpus(value: object) -> Fields:
    number = float(text_or_number(value, "1, 2 or a share of one card like 0.5"))
    if number == int(number):
        return {"gpus": int(number), "gpu_milli": 0}
    if not 0 < number < 1:
        raise ValueError(f"found {value!r}; whole cards, or a share of one between 0 and 1")
    return {"gpu_milli": max(1, round(number * MILLI)), "gpus": 0}


def _gpu_cc(value: object) -> Fields:
    number = float(text_or_number(value, "a compute capability like 8.0"))
    if not 0 <= number < CC_MAX or round(number * 10) != round(number * 10, 6):
        raise ValueError(f"found {value!r}, allowed is a compute capability like 8.0 or 8.9")
    return {"gpu_cc": round(number * 10)}


def _cpus(value: object) -> Fields:
    return {"cpus_milli": round(float(text_or_number(value, "a number of CPUs")) * MILLI)}


def _resources(value: object) -> Fields:
    found = pairs_of(value, spec.RESOURCES_MAX)
    return {"resources": {str(name): _count(str(name), each) for name, each in found.items()}}


def _count(name: str, value: object) -> int:
    try:
        return whole_of(value, COUNT_MAX, least=1)
    except ValueError as error:
        raise ValueError(f"{name}: {error}: write it like {name}=2") from error


def _alternatives(value: object) -> Fields:
    """Read `gpus=2,gpu-type=L4` texts or mappings, one or several."""
    found = [value] if isinstance(value, str | Mapping) else value
    if not isinstance(found, Iterable):
        raise TypeError(f"found {value!r}, allowed are texts like 'gpus=2,gpu-type=L4'")
    read = [_alternative(each) for each in found]
    if len(read) > spec.ALTERNATIVES_MAX:
        raise ValueError(f"found {len(read)}, allowed are {spec.ALTERNATIVES_MAX}")
    return {"alternatives": read}


def _alternative(value: object) -> Fields:
    given = _split(value) if isinstance(value, str) else value
    if not isinstance(given, Mapping):
        raise TypeError(f"found {value!r}, allowed is text like 'gpus=2,gpu-type=L4'")
    read: Fields = {}
    for written, each in given.items():
        name = str(written).replace("-", "_")
        name = ALIASES.get(name, name)
        if name not in _OF_ALTERNATIVES:
            near = difflib.get_close_matches(name, _OF_ALTERNATIVES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {_KNOWN}"
            raise ValueError(f"{written!r} is nothing that an alternative can ask for: {hint}")
        try:
            read |= READERS[name](each)
        except ValueError as error:
            raise ValueError(f"{written}: {error}") from error
    if read.pop("vram", ""):
        raise ValueError("vram: an alternative asks for a size, like vram=12GiB")
    return {name: each for name, each in read.items() if each or name not in _EITHER}


def _split(written: str) -> dict[str, object]:
    """Read `gpus=2,gpu-type=L4`; what is said more than once, like labels, adds up."""
    found: dict[str, object] = {}
    for part in filter(None, (each.strip() for each in written.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r} is not NAME=VALUE: write it like 'gpus=2,gpu-type=L4'")
        key = name.strip().replace("-", "_")
        key = ALIASES.get(key, key)
        if key in _REPEATED:
            values = found.setdefault(key, [])
            assert isinstance(values, list)
            values.append(value)
        elif key in found:
            raise ValueError(f"{name}: is there twice")
        else:
            found[key] = value
    return found


READERS: dict[str, Callable[[object], Fields]] = {
    "vram": _vram,
    "size": _size,
    "gpus": _gpus,
    "gpu_type": text("gpu_type", 256),
    "gpu_cc": _gpu_cc,
    "cpus": _cpus,
    "memory": sized("memory_bytes"),
    "labels": pairs("labels", spec.TAGS_MAX),
    "node": names("nodes", "nodes"),
    "not_node": names("not_nodes", "nodes"),
    "exclusive": flag("exclusive"),
    "resources": _resources,
    "model": text("model", 256),
    "kind": text("learn_as", spec.NAME_CHARS_MAX),
    "alternatives": _alternatives,
}
ALIASES = {
    "node_labels": "labels",
    "node_label": "labels",
    "label": "labels",
    "nodes": "node",
    "not_nodes": "not_node",
    "resource": "resources",
    "or": "alternatives",
    "learn_as": "kind",
}
_OF_ALTERNATIVES = (
    "gpus",
    "vram",
    "gpu_type",
    "gpu_cc",
    "cpus",
    "memory",
    "labels",
    "resources",
    "node",
)
_REPEATED = ("labels", "resources", "node")
_KNOWN = "gpus, vram, gpu-type, gpu-cc, cpus, memory, label, resource, node"
_EITHER = ("gpus", "gpu_milli", "vram_bytes")
"""Of these a reader says one and denies another: what is denied need not be stored."""
