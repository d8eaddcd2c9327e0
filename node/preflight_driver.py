"""Are there cards that the driver does not show, and what is then to be done about it?

A host whose driver is broken looks like one without GPUs: it would join, and nobody were told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..config.findings import Finding, fine, serious, warning
from ..protocol.resources import format_bytes
from .gpu import Reading

NVIDIA_VENDOR = "0x10de"
DISPLAY_CLASS = "0x03"
PASSED_THROUGH = "vfio-pci"  # the driver of cards that are given to virtual machines
FOREIGN_USE_BYTES = 2 << 30

# What NVML says, and what helps against it; the first that is found in its words counts.
REMEDIES = (
    (
        "Driver/library version mismatch",
        "the driver was upgraded while it was loaded: reboot (or stop all GPU programs, then "
        "`rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && modprobe nvidia`)",
    ),
    (
        "Driver Not Loaded",
        "load it: `modprobe nvidia`; if that fails, `dkms status` and `dmesg | grep -i nvidia` "
        "tell why (often a new kernel without a module, or Secure Boot)",
    ),
    (
        "Shared Library Not Found",
        "install the driver's libraries (libnvidia-ml.so.1); in a container start it with the "
        "NVIDIA toolkit (`--gpus all`)",
    ),
    (
        "could not be loaded",
        "install the driver's libraries and remuda with its dependencies (nvidia-ml-py)",
    ),
    (
        "Insufficient Permissions",
        "let the user of the agent open /dev/nvidia* (often the group `video` or `render`)",
    ),
    (
        "GPU is lost",
        "a card has fallen off the bus: `dmesg | grep -i xid`, then reboot or power-cycle",
    ),
    (
        "Unknown Error",
        "`dmesg | grep -i -e xid -e nvrm` tells more; in a container the cards may have been taken "
        "away by a `systemctl daemon-reload` of the host: start it anew; else reboot",
    ),
    (
        "did not answer",
        "the driver hangs, as `nvidia-smi` will: `dmesg | grep -i xid`, then reboot",
    ),
    ("no answer within", "the driver hangs, as `nvidia-smi` will: reboot"),
)
OTHERWISE = "see what `nvidia-smi` says, mend the driver"
WITHOUT_GPUS = "to join without GPUs set [node] gpus = []"


def judge_driver(
    reading: Reading, cards: Sequence[str], granted: Sequence[str] | None
) -> Iterator[Finding]:
    """Hold what NVML shows against the cards that the kernel shows.

    `granted` are the UUIDs of the configuration; an empty list means that no GPU is wanted.
    """
    if granted is not None and not granted:
        yield fine("gpus", "none is wanted ([node] gpus is empty)")
        return
    if not reading.gpus and cards:
        said = reading.reason or "NVML lists no GPU"
        yield serious(
            "gpus",
            f"this host has NVIDIA cards ({', '.join(cards)}), and none can be used: {said}",
            f"{remedy(said)}; {WITHOUT_GPUS}",
        )
    elif not reading.gpus:
        yield fine("gpus", f"none: {reading.reason or 'the driver lists no GPU'}")
    else:
        names = ", ".join(f"{gpu.name} {format_bytes(gpu.memory_bytes)}" for gpu in reading.gpus)
        yield fine("gpus", f"{names}; driver {reading.driver}")
    for lost in reading.lost:
        yield warning("gpus", f"card {lost.index} cannot be read: {lost.error}", remedy(lost.error))
    shown = {gpu.uuid for gpu in reading.gpus}
    for uuid in granted or ():
        if uuid not in shown and not any(gpu.parent_uuid == uuid for gpu in reading.gpus):
            yield warning(
                "gpus", f"{uuid} is granted by [node] gpus and not found", "see `nvidia-smi -L`"
            )


def judge_use(reading: Reading) -> Iterator[Finding]:
    """Name cards that somebody uses already, before any task of ours can."""
    for gpu in reading.gpus:
        if gpu.memory_used_bytes >= FOREIGN_USE_BYTES:
            used, whole = format_bytes(gpu.memory_used_bytes), format_bytes(gpu.memory_bytes)
            pids = ", ".join(str(pid) for pid in sorted(gpu.pids)) or "not shown"
            yield warning(
                "gpus",
                f"GPU {gpu.index} ({gpu.name}): {used} of {whole} are in use by others "
                f"(processes: {pids}); remuda books the whole card all the same",
                "end them, or leave the card out with [node] gpus",
            )


def remedy(said: str) -> str:
    """Return what helps against an error of NVML."""
    return next((helps for words, helps in REMEDIES if words.lower() in said.lower()), OTHERWISE)


def seen_cards(root: Path = Path("/")) -> list[str]:
    """Name the NVIDIA cards that the kernel shows: on the PCI bus, or as devices of the driver."""
    found = []
    for device in sorted(root.glob("sys/bus/pci/devices/*")):
        vendor, kind = _read(device / "vendor"), _read(device / "class")
        if vendor != NVIDIA_VENDOR or not kind.startswith(DISPLAY_CLASS):
            continue
        driver = device / "driver"
        if not (driver.is_symlink() and driver.readlink().name == PASSED_THROUGH):
            found.append(f"PCI {device.name}")
    if found:
        return found
    devices = root.glob("dev/nvidia[0-9]*")
    return sorted(f"/dev/{device.name}" for device in devices)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
