"""What is a GPU to a node: its facts in one reading, its pinning, and when it is free again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

# Memory of a card that is "near its baseline" again: a driver keeps small pools of its own.
RELEASE_SLACK_BYTES = 512 * 1024 * 1024
GPUS_PER_HOST_MAX = 128
PROCESSES_PER_GPU_MAX = 512
ANCESTORS_MAX = 64
XIDS_MAX = GPUS_PER_HOST_MAX * 32
SLOWED_BY_MAX = 8
TEXT_CHARS_MAX = 1024

MIG_PREFIX = "MIG-"


class ReadingError(ValueError):
    """Say that the probe's child answered something that is no reading."""


class PinningError(ValueError):
    """Say that these GPUs cannot be handed to one task together."""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """Name a process that uses a GPU; its memory is None where NVML does not tell.

    `above` are the processes that it descends from, its parent first; `is_compute` is False for
    one that only draws. `peak_bytes` is the most that it ever held, where the driver keeps book
    of that. Of one that has ended nothing but its pid is known.
    """

    pid: int
    memory_bytes: int | None
    name: str = ""
    above: tuple[int, ...] = ()
    is_compute: bool = True
    peak_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """Describe one GPU, or one MIG device, as NVML showed it.

    `index` counts cards in PCI bus order and is the card's for a MIG device; `cc` is compute
    capability times ten (8.6 is 86); `pids_visible` is False where NVML hides processes.

    `ecc_errors` counts uncorrectable errors since the driver was loaded; a repair of memory (rows
    remapped or pages retired) may be pending until a reset, or have failed. `slowed_by` says what
    slows it down beside its own power limit.
    """

    uuid: str
    index: int
    name: str
    memory_bytes: int
    memory_free_bytes: int
    cc: int
    driver: str
    mig: bool = False
    parent_uuid: str = ""
    bus: str = ""
    temperature_c: int | None = None
    utilisation_percent: int | None = None
    power_w: int | None = None
    processes: tuple[GpuProcess, ...] = ()
    pids_visible: bool = True
    ecc: bool | None = None
    ecc_errors: int | None = None
    is_repair_pending: bool = False
    has_repair_failed: bool = False
    slowed_by: tuple[str, ...] = ()

    @property
    def memory_used_bytes(self) -> int:
        """Return the bytes in use by anybody, the driver's own reserve included."""
        return self.memory_bytes - self.memory_free_bytes

    @property
    def pids(self) -> frozenset[int]:
        """Return the processes that NVML shows on this GPU."""
        return frozenset(process.pid for process in self.processes)


@dataclass(frozen=True, slots=True)
class LostGpu:
    """Name a card that is listed by the driver and cannot be read.

    `is_gone`: the driver itself says that it is lost.
    """

    index: int
    error: str
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Xid:
    """Name an error that the driver reported of a card since the last reading."""

    index: int
    xid: int


@dataclass(frozen=True, slots=True)
class Reading:
    """Hold what one probe of NVML saw; `reason` tells why there are no GPUs, else it is empty."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    reason: str = ""
    lost: tuple[LostGpu, ...] = ()
    xids: tuple[Xid, ...] = ()

    def gpu(self, uuid: str) -> Gpu | None:
        """Return the GPU with this UUID, or None when this reading does not show it."""
        return next((gpu for gpu in self.gpus if gpu.uuid == uuid), None)


def reading_from_plain(plain: object) -> Reading:
    """Check a child's answer and return it in PCI bus order; raise ReadingError."""
    body = _mapping(plain, "reading")
    cards = [gpu_from_plain(card) for card in _list(body, "gpus", GPUS_PER_HOST_MAX)]
    cards.sort(key=lambda gpu: gpu.index)
    if len({gpu.uuid for gpu in cards}) != len(cards):
        raise ReadingError("one GPU UUID is listed twice")
    lost = [_mapping(card, "lost GPU") for card in _list(body, "lost", GPUS_PER_HOST_MAX)]
    return Reading(
        gpus=tuple(cards),
        driver=_text(body, "driver"),
        reason=_text(body, "reason"),
        lost=tuple(
            LostGpu(_count(card, "index"), _text(card, "error"), _flag(card, "is_gone"))
            for card in lost
        ),
        xids=tuple(
            Xid(_count(each, "index"), _count(each, "xid"))
            for each in (_mapping(each, "XID") for each in _list(body, "xids", XIDS_MAX))
        ),
    )


def gpu_from_plain(plain: object) -> Gpu:
    """Check one GPU's plain form; raise ReadingError."""
    card = _mapping(plain, "GPU")
    uuid = _text(card, "uuid")
    if not uuid:
        raise ReadingError("a GPU without a UUID")
    processes = tuple(
        GpuProcess(
            _count(entry, "pid"),
            _count_or_none(entry, "memory_bytes"),
            _text(entry, "name"),
            tuple(_pids(entry, "above")),
            _flag(entry, "compute"),
            _count_or_none(entry, "peak_bytes"),
        )
        for entry in (
            _mapping(each, "process") for each in _list(card, "processes", PROCESSES_PER_GPU_MAX)
        )
    )
    return Gpu(
        uuid=uuid,
        index=_count(card, "index"),
        name=_text(card, "name"),
        memory_bytes=_count(card, "memory_bytes"),
        memory_free_bytes=_count(card, "memory_free_bytes"),
        cc=_count(card, "cc"),
        driver=_text(card, "driver"),
        mig=_flag(card, "mig"),
        parent_uuid=_text(card, "parent_uuid"),
        bus=_text(card, "bus"),
        temperature_c=_count_or_none(card, "temperature_c"),
        utilisation_percent=_count_or_none(card, "utilisation_percent"),
        power_w=_count_or_none(card, "power_w"),
        processes=processes,
        pids_visible=_flag(card, "pids_visible"),
        ecc=None if card.get("ecc") is None else _flag(card, "ecc"),
        ecc_errors=_count_or_none(card, "ecc_errors"),
        is_repair_pending=_flag(card, "is_repair_pending"),
        has_repair_failed=_flag(card, "has_repair_failed"),
        slowed_by=tuple(map(str, _list(card, "slowed_by", SLOWED_BY_MAX))),
    )


def gpu_to_plain(gpu: Gpu) -> dict[str, Any]:
    """Return the GPU as dicts, lists, text and numbers only."""
    plain = {field.name: getattr(gpu, field.name) for field in fields(gpu)}
    plain["processes"] = [
        {
            "pid": process.pid,
            "memory_bytes": process.memory_bytes,
            "name": process.name,
            "above": list(process.above),
            "compute": process.is_compute,
            "peak_bytes": process.peak_bytes,
        }
        for process in gpu.processes
    ]
    return plain


def pinning_env(
    uuids: Sequence[str],
    mode: Literal["uuid", "index"] = "uuid",
    known: Sequence[Gpu] = (),
) -> dict[str, str]:
    """Return the environment that shows a task these GPUs and no other.

    Without GPUs none is visible. Mode "index" is for software that cannot parse UUIDs: it looks
    the PCI bus index up in `known`, and refuses what it does not find there.
    """
    is_mig = [uuid.startswith(MIG_PREFIX) for uuid in uuids]
    if any(is_mig) and len(uuids) > 1:
        raise PinningError(
            "CUDA sees one MIG device per process: ask for a single GPU or a whole card"
        )
    visible = list(uuids)
    if mode == "index" and not any(is_mig):
        index_of = {gpu.uuid: gpu.index for gpu in known if not gpu.mig}
        missing = [uuid for uuid in uuids if uuid not in index_of]
        if missing:
            raise PinningError(
                f"no PCI bus index is known for {', '.join(missing)}: "
                "the last reading does not show it; wait for a new one or pin by UUID"
            )
        visible = [str(index_of[uuid]) for uuid in uuids]
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(visible),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "REMUDA_GPU_UUIDS": ",".join(uuids),
    }


def released(
    reading: Reading,
    uuids: Sequence[str],
    pids: frozenset[int],
    alone: bool,
    baseline: Mapping[str, int],
) -> bool:
    """Tell whether every one of these GPUs is free of the attempt whose processes were `pids`.

    `alone`: the attempt had the cards to itself, so memory must be near `baseline` (bytes in use
    per UUID before it began) too. Where NVML hides pids only memory can tell, and a card without
    a baseline counts as free: the caller has proven by then that the process tree is gone.
    A card that the reading does not show is never free.
    """
    return all(_is_free(reading.gpu(uuid), pids, alone, baseline.get(uuid)) for uuid in uuids)


def _is_free(gpu: Gpu | None, pids: frozenset[int], alone: bool, baseline: int | None) -> bool:
    if gpu is None:
        return False
    if gpu.pids_visible and gpu.pids & pids:
        return False
    if baseline is None or (gpu.pids_visible and not alone):
        return True
    return gpu.memory_used_bytes <= baseline + RELEASE_SLACK_BYTES


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ReadingError(f"a {what} must be a table, not {type(value).__name__}")
    return value


def _list(body: dict[str, Any], key: str, count_max: int) -> list[Any]:
    value = body.get(key)
    if not isinstance(value, list | tuple) or len(value) > count_max:
        raise ReadingError(f"{key} must be a list of at most {count_max}")
    return list(value)


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise ReadingError(f"{key} must be text")
    return value[:TEXT_CHARS_MAX]


def _count(body: dict[str, Any], key: str) -> int:
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ReadingError(f"{key} must be an integer from 0 on")
    return value


def _pids(body: dict[str, Any], key: str) -> list[int]:
    pids = _list(body, key, ANCESTORS_MAX)
    if not all(type(pid) is int and pid >= 0 for pid in pids):
        raise ReadingError(f"{key} must be a list of pids")
    return pids


def _count_or_none(body: dict[str, Any], key: str) -> int | None:
    return None if body.get(key) is None else _count(body, key)


def _flag(body: dict[str, Any], key: str) -> bool:
    value = body.get(key)
    if not isinstance(value, bool):
        raise ReadingError(f"{key} must be true or false")
    return value
