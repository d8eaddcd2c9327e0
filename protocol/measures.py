"""What a heartbeat says of GPUs and of the models in their memory, as it was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .resources import format_bytes

UNKNOWN = -1
GPUS_MAX = 64
RESIDENTS_MAX = 256
_TEXT_CHARS_MAX = 512
_NUMBER_MAX = 1 << 62


@dataclass(frozen=True, slots=True)
class GpuMeasure:
    """One card as the last reading showed it; UNKNOWN where that tells nothing.

    `free_bytes` is nobody's; `room_bytes` what of it is not spoken for by tasks that hold less yet
    than they asked for; `ours_bytes` is held by tasks and residents of the node, `foreign_bytes`
    by processes that are not. `foreign` of these compute; `strangers` names them.
    """

    free_bytes: int = UNKNOWN
    room_bytes: int = UNKNOWN
    ours_bytes: int = UNKNOWN
    foreign_bytes: int = UNKNOWN
    foreign: int = 0
    temperature_c: int = UNKNOWN
    utilisation_percent: int = UNKNOWN
    power_w: int = UNKNOWN
    strangers: str = ""

    def refusal(self, vram_bytes: int, *, is_whole: bool, room_bytes: int | None = None) -> str:
        """Say what speaks against lending so much of the card, or all of it; empty when nothing.

        Both guards ask this; the scheduler's knows of a `room_bytes` that is later than this.
        """
        room = self.room_bytes if room_bytes is None else room_bytes
        if self.room_bytes == UNKNOWN:
            return ""
        if is_whole and self.foreign:
            return f"is not free as a whole: {self.strangers} is not a task of its node"
        if vram_bytes <= room:
            return ""
        beside = f", beside {self.strangers}, which is not a task of its node"
        return (
            f"has {format_bytes(max(0, room))} free as measured, less what loading tasks are still "
            f"to take{beside if self.strangers else ''}; {format_bytes(vram_bytes)} asked"
        )


@dataclass(frozen=True, slots=True)
class Resident:
    """One model in memory, or about to be: of which handler, on which card ("": on none).

    `vram_bytes` is what the node's own table has it hold of the card: 0 when nothing of it is
    there, and `used_bytes` what was measured of that. `state` is `loading`, `ready`, `leaving` (its
    card is not free yet) or `failed`, and `error` says why. `calls` run in it now; `idle_ms` since
    its last one; `load_ms` is how long it took to load (0: not known).
    """

    handler: str
    model: str = ""
    gpu_uuid: str = ""
    vram_bytes: int = 0
    state: str = "ready"
    calls: int = 0
    idle_ms: int = 0
    load_ms: int = 0
    error: str = ""
    used_bytes: int = UNKNOWN


def gpus_from_document(document: dict[str, Any]) -> dict[str, GpuMeasure]:
    """Read what a node measured; what does not fit is left out, for the next beat says it again."""
    found = {}
    for uuid, row in list(document.items())[:GPUS_MAX]:
        measure = _built(GpuMeasure, row)
        if type(uuid) is str and measure is not None:
            found[uuid] = measure
    return found


def residents_from_documents(documents: Iterable[Any]) -> list[Resident]:
    """Read the models that a node holds; what does not fit is left out."""
    rows = (_built(Resident, document) for document in list(documents)[:RESIDENTS_MAX])
    return [row for row in rows if row is not None]


def to_documents(residents: Iterable[Resident]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(resident) for resident in residents]


# Each card of each heartbeat asks for these.
_FIELDS: dict[type[Any], dict[str, str]] = {
    kind: {f.name: str(f.type) for f in dataclasses.fields(kind)} for kind in (GpuMeasure, Resident)
}


def _built(kind: type[Any], document: Any) -> Any:
    if type(document) is not dict:
        return None
    fields = _FIELDS[kind]
    known = {key: value for key, value in document.items() if key in fields}
    if not all(_fits(fields[key], value) for key, value in known.items()):
        return None
    try:
        return kind(**known)
    except TypeError:
        return None


def _fits(annotation: str, value: object) -> bool:
    if annotation == "int":
        return type(value) is int and UNKNOWN <= value < _NUMBER_MAX
    return type(value) is str and len(value) <= _TEXT_CHARS_MAX
