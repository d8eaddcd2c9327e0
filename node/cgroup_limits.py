"""How many CPUs and how much memory do control groups leave to this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

CGROUP_MOUNT = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
# Version 1 writes "no limit" as a number of this size or above.
UNLIMITED_BYTES = 1 << 60


def memory_limit_bytes(own: Path = OWN_CGROUPS, mount: Path = CGROUP_MOUNT) -> int | None:
    """Return the smallest memory limit from here up to the root, or None without one."""
    return min(_limits(_memory_limit, ("memory",), own, mount), default=None)


def cpu_limit_milli(own: Path = OWN_CGROUPS, mount: Path = CGROUP_MOUNT) -> int | None:
    """Return the smallest CPU quota from here up to the root in 1/1000 CPU, or None without."""
    return min(_limits(_cpu_limit, ("cpu", "cpu,cpuacct"), own, mount), default=None)


def _limits(
    read: Callable[[Path], int | None], controllers: tuple[str, ...], own: Path, mount: Path
) -> Iterator[int]:
    for folder in _folders(controllers, own, mount):
        limit = read(folder)
        if limit is not None:
            yield limit


def _folders(controllers: tuple[str, ...], own: Path, mount: Path) -> Iterator[Path]:
    """Yield this process's group and its parents, in both versions' hierarchies."""
    wanted = {name for each in controllers for name in each.split(",")}
    for line in _text(own).splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            roots = [mount, mount / "unified"]
        elif wanted & set(names.split(",")):
            roots = [mount / name for name in dict.fromkeys((names, *controllers))]
        else:
            continue
        for root in roots:
            group = Path(path.lstrip("/"))
            for part in (group, *group.parents):
                yield root / part


def _memory_limit(folder: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        text = _text(folder / name).strip()
        if text.isdecimal() and int(text) < UNLIMITED_BYTES:
            return int(text)
    return None


def _cpu_limit(folder: Path) -> int | None:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota = _text(folder / "cpu.cfs_quota_us").strip()
        period = _text(folder / "cpu.cfs_period_us").strip()
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None
    return int(quota) * 1000 // int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # not this version, or a part of the tree that is not mounted here
