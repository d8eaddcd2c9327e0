"""What a node can do, as it reports it: GPUs, CPUs, memory, labels and loaded handlers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

GPUS_PER_NODE_MAX = 64
HANDLERS_PER_NODE_MAX = 64
LABELS_PER_NODE_MAX = 64
PYTHONS_PER_NODE_MAX = 64
SECRETS_PER_NODE_MAX = 64
RESOURCES_PER_NODE_MAX = 64
BATCH_MAX = 1024
"""Most calls that one worker of a handler takes at a time."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card, or one MIG device, by UUID.

    `cc` is the compute capability times ten (8.6 is 86). `free_bytes` is what NVML measured.
    `withheld` says why the node does not lend the card for now; empty when it does. `parent` is
    the UUID of the card that a MIG device is a part of, `faults` what is wrong with its health.
    """

    uuid: str
    name: str
    memory_bytes: int
    free_bytes: int = 0
    cc: int = 0
    index: int = 0
    mig: bool = False
    driver: str = ""
    withheld: str = ""
    parent: str = ""
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Handler:
    """A named handler on a node, with the residents that hold it in memory.

    `state` is `loading`, `ready`, `failed` (then `error` says why) or `cold`: nothing is loaded.
    `gpu_uuids` lists the card of each resident that was there from the start and `vram_bytes` what
    each holds of it. `workers` are at most loaded at a time; `on_demand`: by the first call, not
    at the start. `max_batch` calls are taken by one worker at a time. `target` is its class;
    `source` says who declared it, the `node` itself or the `scheduler` for it; `refused` why this
    node cannot serve it now. `reloaded` is the last `reload` of HandlerOrders of which nothing of
    before is left, and whose models had their try if they are verified at the start and there is
    room; `verified`: each model was shown to load.
    """

    name: str
    models: list[str] = field(default_factory=list)
    workers: int = 1
    vram_bytes: int = 0
    state: str = "ready"
    error: str = ""
    gpu_uuids: list[str] = field(default_factory=list)
    on_demand: bool = False
    max_batch: int = 1
    target: str = ""
    source: str = "node"
    refused: str = ""
    reloaded: int = 0
    verified: bool = False

    def model_for(self, asked: str) -> str:
        """Return which model a worker holds that serves calls for this one ("": all, or none).

        One that is loaded on demand holds one of several models; one from the start holds all.
        """
        if len(self.models) == 1 or (self.models and self.on_demand):
            return asked if asked in self.models else self.models[0]
        return ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A node's whole statement about itself; sizes in bytes, CPUs in 1/1000.

    `pythons` are interpreters by name, with version and path; `secrets` names alone; `resources`
    countable things (licences, slots) with their number.
    """

    cpus_milli: int
    memory_bytes: int
    gpus: list[Gpu] = field(default_factory=list)
    handlers: list[Handler] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    hostname: str = ""
    version: str = ""
    notes: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    pythons: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    resources: dict[str, int] = field(default_factory=dict)


def to_document(capabilities: Capabilities) -> dict[str, Any]:
    return dataclasses.asdict(capabilities)


def from_document(document: dict[str, Any]) -> Capabilities:
    """Read a node's statement; raise ValueError for anything that does not fit.

    The sender is authenticated but not trusted: every field is checked and bounded.
    """
    gpus = [_build(Gpu, item) for item in _rows(document, "gpus", GPUS_PER_NODE_MAX)]
    handlers = [
        _build(Handler, item) for item in _rows(document, "handlers", HANDLERS_PER_NODE_MAX)
    ]
    if len({gpu.uuid for gpu in gpus}) != len(gpus):
        raise ValueError("capabilities: a GPU UUID is listed twice")
    plain = {key: value for key, value in document.items() if key not in ("gpus", "handlers")}
    capabilities: Capabilities = _build(Capabilities, {**plain, "gpus": [], "handlers": []})
    if len(capabilities.labels) > LABELS_PER_NODE_MAX:
        raise ValueError(f"capabilities: more than {LABELS_PER_NODE_MAX} labels")
    if len(capabilities.pythons) > PYTHONS_PER_NODE_MAX:
        raise ValueError(f"capabilities: more than {PYTHONS_PER_NODE_MAX} pythons")
    if len(capabilities.secrets) > SECRETS_PER_NODE_MAX:
        raise ValueError(f"capabilities: more than {SECRETS_PER_NODE_MAX} secrets")
    if len(capabilities.resources) > RESOURCES_PER_NODE_MAX:
        raise ValueError(f"capabilities: more than {RESOURCES_PER_NODE_MAX} resources")
    return dataclasses.replace(capabilities, gpus=gpus, handlers=handlers)


_KINDS: dict[str, type] = {
    "int": int,
    "str": str,
    "bool": bool,
}


def _rows(document: dict[str, Any], key: str, most: int) -> list[Any]:
    rows = document.get(key, [])
    if type(rows) is not list or len(rows) > most:
        raise ValueError(f"capabilities: {key} is a list of at most {most}")
    return rows


def _build(kind: type[Any], document: Any) -> Any:
    if type(document) is not dict:
        raise ValueError(f"capabilities: {kind.__name__} is a map")
    known = {f.name: str(f.type) for f in dataclasses.fields(kind)}
    values = {key: value for key, value in document.items() if key in known}
    for key, value in values.items():
        if not _fits(known[key], value):
            raise ValueError(f"capabilities: {kind.__name__}.{key} has a wrong type or range")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"capabilities: {kind.__name__}: {error}") from error


def _fits(annotation: str, value: object) -> bool:
    if annotation in _KINDS:
        if type(value) is int and not 0 <= value < 1 << 62:
            return False
        return type(value) is _KINDS[annotation] and (type(value) is not str or len(value) <= 4096)
    if annotation.startswith("list["):
        return type(value) is list and (
            annotation != "list[str]" or all(type(item) is str for item in value)
        )
    if type(value) is not dict or not all(type(key) is str for key in value):
        return False
    if annotation == "dict[str, int]":
        return all(type(item) is int and 0 <= item < 1 << 62 for item in value.values())
    return all(type(item) is str for item in value.values())
