"""How quantities are written and what a task may ask for: integers everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNITS = {
    "": 1,
    "B": 1,
    "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40,
    "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
_SECONDS = {"us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?(?:i?B)?)", re.IGNORECASE)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d|)", re.IGNORECASE)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?\s*(?:us|ms|s|m|h|d))+|\d+(?:\.\d+)?", re.IGNORECASE)
BYTES_MAX = 1 << 60
DURATION_S_MAX = 10 * 366 * 86400.0
MILLI = 1000
GPUS_MAX = 64
CPUS_MILLI_MAX = 100_000 * MILLI


def parse_bytes(text: str | int) -> int:
    """Read a size: `12GiB`, `12G` and `12 gib` are 2^30 each, `12GB` is 10^9, a bare number bytes.

    Raises ValueError that names what was found and what is allowed.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        size = text
    else:
        match = _BYTES.fullmatch(str(text).strip())
        if match is None:
            raise ValueError(f"{text!r} is not a size: write it like 512MiB, 12GiB or 80GB")
        number = float(match[1]) if "." in match[1] else int(match[1])
        size = round(number * UNITS[match[2].upper()])
    if not 0 <= size <= BYTES_MAX:
        raise ValueError(f"{text!r} is out of range: a size is between 0 and 1 EiB")
    return size


def format_bytes(size: int) -> str:
    """Write a size in the largest binary unit that keeps it at 1 or more: `79.6GiB`."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f}".removesuffix(".0") + unit
    return f"{size}B"


def parse_duration_s(text: str | float) -> float:
    """Read a duration in seconds: `90`, `1.5s`, `2m`, `1h30m`, `20ms`."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        seconds = float(text)
    else:
        stripped = str(text).strip()
        if not _DURATION.fullmatch(stripped):
            raise ValueError(f"{text!r} is not a duration: write it like 500ms, 30s, 2m or 1h30m")
        parts = _DURATION_PART.findall(stripped)
        seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts if number)
    if not 0 <= seconds <= DURATION_S_MAX:
        raise ValueError(f"{text!r} is out of range: a duration is between 0 and 10 years")
    return seconds


def refuse_bare_number(value: object) -> None:
    """Raise ValueError for a text like `2020`: a year for who wrote it, seconds for a duration."""
    text = value.strip() if isinstance(value, str) else ""
    if text != "0" and text.replace(".", "", 1).isdecimal():
        raise ValueError(
            f"found {value!r}, a number without a unit: write {text}s, {text}m, {text}h or {text}d"
        )


def parse_backoff(text: str) -> tuple[float, float]:
    """Read a backoff range `1s..5m` as (first, longest) in seconds; a single value is both."""
    low, dots, high = text.partition("..")
    first = parse_duration_s(low)
    longest = parse_duration_s(high) if dots else first
    if longest < first:
        raise ValueError(f"backoff {text!r}: the first delay is longer than the longest")
    return first, longest


@dataclass(frozen=True, slots=True)
class Request:
    """What a task asks of one node.

    `gpus` counts whole cards; `gpu_milli` is a share of one card in 1/1000; `vram_bytes` is needed
    on each card: alone it asks for a part of one shared card. At most one of `gpus`, `gpu_milli`
    is set, and `gpu_milli` excludes `vram_bytes`. `gpu_cc` is the least compute capability times
    ten. `resources` are countable things of the node by name, `exclusive` asks for a node without
    any other task. `model` is preferred where it is loaded. `protocol` is the oldest that its node
    may speak.

    `learned` names what is looked up instead of `vram_bytes` (see `learning_key`): where nothing is
    known of it yet, the whole cards that `gpus` asks for stand. `others` are what will do as well,
    in this order; they have no others of their own.
    """

    cpus_milli: int = MILLI
    memory_bytes: int = 0
    gpus: int = 0
    gpu_milli: int = 0
    vram_bytes: int = 0
    gpu_type: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    nodes: tuple[str, ...] = ()
    handler: str = ""
    protocol: int = 1
    python: str = ""
    secrets: tuple[str, ...] = ()
    gpu_cc: int = 0
    not_nodes: tuple[str, ...] = ()
    exclusive: bool = False
    resources: tuple[tuple[str, int], ...] = ()
    model: str = ""
    learned: str = ""
    others: tuple[Request, ...] = ()

    @property
    def cards(self) -> int:
        """Count the cards that the task touches."""
        return self.gpus or (1 if self.gpu_milli or self.vram_bytes else 0)

    @property
    def may_go_ahead(self) -> bool:
        """Tell whether it may wait in a node's own queue: it asks for CPUs and memory alone."""
        return not (self.cards or self.exclusive or self.resources or self.others)


def learning_key(kind: str, size_class: int) -> str:
    """Name what tasks have in common that need about as much VRAM: their kind and size class.

    A size class is the logarithm to base 2 of what the task's `size` evaluates to; 0 without one.
    """
    return f"{kind} ~{size_class}" if size_class else kind


def split_learning_key(key: str) -> tuple[str, int]:
    """Return kind and size class of a learning key."""
    kind, mark, size_class = key.rpartition(" ~")
    return (kind, int(size_class)) if mark and size_class.lstrip("-").isdecimal() else (key, 0)


def check_request(request: Request) -> None:
    """Raise ValueError, naming the field and the remedy, when a request contradicts itself."""
    if request.gpu_milli and request.vram_bytes:
        raise ValueError(
            "gpus: a fraction together with vram is ambiguous: ask for --vram alone, or whole GPUs"
        )
    if request.gpus and request.gpu_milli:
        raise ValueError("gpus: ask for whole GPUs (1, 2, ...) or a fraction below 1, not both")
    if not 0 <= request.gpus <= GPUS_MAX:
        raise ValueError(f"gpus: {request.gpus} is out of range 0..{GPUS_MAX}")
    if not 0 <= request.gpu_milli < MILLI:
        raise ValueError("gpus: a fraction is between 0.001 and 0.999")
    if not 0 <= request.cpus_milli <= CPUS_MILLI_MAX:
        raise ValueError(f"cpus: {request.cpus_milli / MILLI} is out of range")
    if not 0 <= request.memory_bytes <= BYTES_MAX or not 0 <= request.vram_bytes <= BYTES_MAX:
        raise ValueError("memory and vram are sizes between 0 and 1 EiB")
    if request.gpu_cc and not request.cards:
        raise ValueError("gpu_cc: says which GPU, but none is asked for: add --gpus or --vram")
    if request.gpu_type:
        if not request.cards:
            raise ValueError(
                "gpu_type: says which GPU, but none is asked for: add --gpus or --vram"
            )
        if len(request.gpu_type) > 256:
            raise ValueError("gpu_type: a pattern has at most 256 characters")
        try:
            re.compile(request.gpu_type)
        except re.error as error:
            raise ValueError(
                f"gpu_type: {request.gpu_type!r} is not a regular expression: {error}"
            ) from error


def describe_request(request: Request) -> str:
    """Write a request in the words of the command line."""
    parts = [f"cpus={request.cpus_milli / MILLI:g}"]
    if request.memory_bytes:
        parts.append(f"memory={format_bytes(request.memory_bytes)}")
    if request.learned:
        parts.append("vram=auto")
    elif request.gpus or request.gpu_milli:
        parts.append(f"gpus={request.gpus or request.gpu_milli / MILLI:g}")
    if request.vram_bytes:
        parts.append(f"vram={format_bytes(request.vram_bytes)}")
    if request.gpu_type:
        parts.append(f"gpu-type={request.gpu_type}")
    if request.gpu_cc:
        parts.append(f"gpu-cc={request.gpu_cc / 10:g}")
    parts += [f"node-label={key}={value}" for key, value in request.labels]
    parts += [f"node={name}" for name in request.nodes]
    parts += [f"not-node={name}" for name in request.not_nodes]
    parts += [f"resource={name}={count}" for name, count in request.resources]
    if request.exclusive:
        parts.append("exclusive")
    if request.model:
        parts.append(f"model={request.model}")
    if request.python:
        parts.append(f"python={request.python}")
    parts += [f"secret={name}" for name in request.secrets]
    if request.handler:
        parts.append(f"handler={request.handler}")
    return " or ".join([" ".join(parts), *map(describe_request, request.others)])
