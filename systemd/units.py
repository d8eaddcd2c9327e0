"""Which unit files belong to which daemon, and what is written into them for this host?"""

from __future__ import annotations

import importlib.resources
from pathlib import PurePath

PREFIX = PurePath("/opt/remuda")
TARGET = "remuda.target"
# A scheduler's host keeps the files as well; the store is of no use alone.
SERVICES = {
    "scheduler": ("remuda-scheduler.service", "remuda-store.service"),
    "node": ("remuda-node.service",),
}
ROLES = tuple(SERVICES)
RUN_AS_SOCKET = "remuda-run-as.socket"
RUN_AS = (RUN_AS_SOCKET, "remuda-run-as@.service")
"""What starts tasks as users of their own, on a node that is told to."""


def files_of(role: str) -> tuple[str, ...]:
    """Name the unit files of a role, the target that holds them together last."""
    return (*SERVICES[role], TARGET)


def text_of(unit: str, prefix: PurePath = PREFIX) -> str:
    """Return a unit file as it is to stand on a host that has remuda in `prefix`."""
    shipped = importlib.resources.files(__package__).joinpath(unit).read_text("utf-8")
    return shipped.replace(f"{PREFIX}/", f"{prefix}/")
