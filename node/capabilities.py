"""What does this host offer to tasks: CPUs, memory, disks, GPUs, and how it is written down."""

from __future__ import annotations

import json
import os
import platform
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from ..protocol import capabilities as wire
from ..protocol.resources import MILLI, format_bytes
from . import cgroup_limits
from .gpu import Gpu, Reading, ReadingError, gpu_from_plain, gpu_to_plain

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DISKS_MAX = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """Narrow what a node reports of its host; None leaves the host's own figure.

    An empty `gpu_uuids` means no GPU at all.
    """

    cpus_milli: int | None = None
    memory_bytes: int | None = None
    gpu_uuids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """Name a mounted file system and its size."""

    mount: str
    device: str
    kind: str
    size_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Hold what a node has of its host.

    `gpus_reason` tells why there are no GPUs; `missing_gpu_uuids` names those that the limits
    grant and the host does not show, `lost_gpus` says which cards cannot be read, and why.
    """

    hostname: str
    boot_id: str
    kernel: str
    python: str
    cpus_milli: int
    memory_bytes: int
    disks: tuple[Disk, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    gpus_reason: str = ""
    missing_gpu_uuids: tuple[str, ...] = ()
    lost_gpus: tuple[str, ...] = ()


def host_facts(
    reading: Reading, limits: Limits | None = None, folders: Sequence[Path] = ()
) -> HostFacts:
    """Describe this host with one GPU reading; `folders` adds the disks that hold them."""
    whole = HostFacts(
        hostname=socket.gethostname(),
        boot_id=boot_id(),
        kernel=platform.release(),
        python=platform.python_version(),
        cpus_milli=usable_cpus_milli(),
        memory_bytes=usable_memory_bytes(),
        disks=mounted_disks(folders),
        gpus=reading.gpus,
        driver=reading.driver,
        gpus_reason=reading.reason,
        lost_gpus=tuple(f"card {lost.index}: {lost.error}" for lost in reading.lost),
    )
    return limited(whole, limits or Limits())


def limited(whole: HostFacts, limits: Limits) -> HostFacts:
    """Return the part of a host that one node may offer, never more than the host has."""
    gpus = limited_gpus(whole.gpus, limits)
    shown = {gpu.uuid for gpu in whole.gpus}
    reason = whole.gpus_reason
    if not gpus and not reason:
        reason = "no GPU is granted to this node" if whole.gpus else "the driver lists no GPU"
    return replace(
        whole,
        cpus_milli=min(whole.cpus_milli, _or(limits.cpus_milli, whole.cpus_milli)),
        memory_bytes=min(whole.memory_bytes, _or(limits.memory_bytes, whole.memory_bytes)),
        gpus=gpus,
        gpus_reason=reason,
        missing_gpu_uuids=tuple(u for u in limits.gpu_uuids or () if u not in shown),
    )


def limited_gpus(gpus: tuple[Gpu, ...], limits: Limits) -> tuple[Gpu, ...]:
    """Return the GPUs that the limits grant; a card's UUID grants its MIG devices too."""
    if limits.gpu_uuids is None:
        return gpus
    granted = set(limits.gpu_uuids)
    return tuple(gpu for gpu in gpus if gpu.uuid in granted or gpu.parent_uuid in granted)


def usable_cpus_milli() -> int:
    """Return the CPUs of this process's affinity mask, cut to its control group's quota."""
    affinity = len(os.sched_getaffinity(0)) * MILLI
    return min(affinity, _or(cgroup_limits.cpu_limit_milli(), affinity))


def usable_memory_bytes() -> int:
    """Return the host's memory, cut to this process's control group's limit."""
    total = int(psutil.virtual_memory().total)
    return min(total, _or(cgroup_limits.memory_limit_bytes(), total))


def boot_id() -> str:
    """Return the kernel's random name of this boot; empty where it tells none."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def mounted_disks(folders: Sequence[Path] = ()) -> tuple[Disk, ...]:
    """List the physical file systems, and those of the folders named, each device once."""
    mounts = {part.mountpoint: (part.device, part.fstype) for part in psutil.disk_partitions()}
    for folder in (Path("/"), *folders):
        mounts.setdefault(str(folder), (f"holds {folder}", ""))
    disks: list[Disk] = []
    seen: set[int] = set()
    for mount, (device, kind) in mounts.items():
        try:
            number = Path(mount).stat().st_dev
            usage = psutil.disk_usage(mount)
        except OSError:
            continue  # unmounted meanwhile, or not ours to look at
        if number not in seen and len(disks) < DISKS_MAX:
            seen.add(number)
            disks.append(Disk(mount, device, kind, int(usage.total), int(usage.free)))
    return tuple(disks)


def capabilities(
    facts: HostFacts,
    handlers: Sequence[wire.Handler] = (),
    labels: Mapping[str, str] | None = None,
    version: str = "",
) -> wire.Capabilities:
    """Return what the node tells the scheduler of itself."""
    notes = [f"no GPU: {facts.gpus_reason}"] if not facts.gpus else []
    notes += [f"GPU {uuid} is granted and not found" for uuid in facts.missing_gpu_uuids]
    notes += [f"GPU {card}" for card in facts.lost_gpus]
    notes += [f"GPU {gpu.uuid}: NVML hides processes" for gpu in facts.gpus if not gpu.pids_visible]
    return wire.Capabilities(
        cpus_milli=facts.cpus_milli,
        memory_bytes=facts.memory_bytes,
        gpus=[_wire_gpu(gpu) for gpu in facts.gpus[: wire.GPUS_PER_NODE_MAX]],
        handlers=list(handlers),
        labels=dict(labels or {}),
        hostname=facts.hostname,
        version=version,
        notes=notes,
        facts={
            "kernel": facts.kernel,
            "python": facts.python,
            "driver": facts.driver,
            "boot_id": facts.boot_id,
        }
        | {f"disk {disk.mount}": format_bytes(disk.size_bytes) for disk in facts.disks},
    )


def to_plain(facts: HostFacts) -> dict[str, Any]:
    """Return the facts as dicts, lists, text and numbers only."""
    plain = asdict(replace(facts, gpus=()))
    plain["disks"] = list(plain["disks"])
    plain["missing_gpu_uuids"] = list(plain["missing_gpu_uuids"])
    plain["lost_gpus"] = list(plain["lost_gpus"])
    plain["gpus"] = [gpu_to_plain(gpu) for gpu in facts.gpus]
    return plain


def from_plain(plain: dict[str, Any]) -> HostFacts:
    """Return the facts that `to_plain` wrote; raise ReadingError on anything else."""
    try:
        return HostFacts(
            **plain
            | {
                "disks": tuple(Disk(**disk) for disk in plain["disks"]),
                "gpus": tuple(gpu_from_plain(gpu) for gpu in plain["gpus"]),
                "missing_gpu_uuids": tuple(plain["missing_gpu_uuids"]),
                "lost_gpus": tuple(plain["lost_gpus"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise ReadingError(f"these are no facts of a host: {error}") from error


def write_capabilities(path: Path, facts: HostFacts) -> None:
    """Replace the file whole: a reader sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(to_plain(facts), indent=2) + "\n")
    temporary.replace(path)


def render(facts: HostFacts) -> str:
    """Return the lines that `remuda-node --probe` prints."""
    lines = [
        f"host      {facts.hostname}",
        f"kernel    {facts.kernel}",
        f"python    {facts.python}",
        f"cpus      {facts.cpus_milli / MILLI:g}",
        f"memory    {format_bytes(facts.memory_bytes)}",
    ]
    lines += [
        f"disk      {disk.mount}  {format_bytes(disk.free_bytes)} free "
        f"of {format_bytes(disk.size_bytes)}  {disk.kind}".rstrip()
        for disk in facts.disks
    ]
    lines += [_gpu_line(gpu) for gpu in facts.gpus]
    if not facts.gpus:
        lines.append(f"gpus      none: {facts.gpus_reason}")
    else:
        lines.append(f"driver    {facts.driver}")
    lines += [f"lost      {card}" for card in facts.lost_gpus]
    lines += [f"missing   {uuid}: granted, not found" for uuid in facts.missing_gpu_uuids]
    return "\n".join(lines) + "\n"


def _wire_gpu(gpu: Gpu) -> wire.Gpu:
    return wire.Gpu(
        uuid=gpu.uuid,
        name=gpu.name,
        memory_bytes=gpu.memory_bytes,
        free_bytes=gpu.memory_free_bytes,
        cc=gpu.cc,
        index=gpu.index,
        mig=gpu.mig,
        driver=gpu.driver,
        parent=gpu.parent_uuid,
    )


def _gpu_line(gpu: Gpu) -> str:
    free, total = format_bytes(gpu.memory_free_bytes), format_bytes(gpu.memory_bytes)
    ecc = "" if gpu.ecc is None else f"  ECC {'on' if gpu.ecc else 'off'}"
    errors = f" ({gpu.ecc_errors} uncorrectable errors)" if gpu.ecc_errors else ""
    note = "" if gpu.pids_visible else "  (its processes are hidden from here)"
    return (
        f"gpu {gpu.index:<5} {gpu.name}  {free} free of {total}  "
        f"compute {gpu.cc // 10}.{gpu.cc % 10}  {gpu.uuid}{ecc}{errors}{note}"
    )


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
