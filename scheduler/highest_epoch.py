"""Which epoch is the highest that this state directory, or a node of its cluster, ever knew?

A small file beside the journal, which no restore replaces: a restored scheduler goes on above it
whatever its clock says.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..config.home import write_atomically

FILE = "highest-epoch"
EPOCH_MAX = (1 << 31) - (1 << 24)
"""Revisions begin at an epoch times 2**32, and a signed integer of 64 bits holds them."""
_BYTES_MAX = 64


class HighestEpoch:
    """Keep the highest epoch in a state directory, or in memory alone; 0: none is known."""

    def __init__(self, state_dir: Path | None = None) -> None:
        self._path = None if state_dir is None else state_dir / FILE
        self.epoch = _read(self._path) if self._path else 0

    def see(self, epoch: int) -> None:
        """Keep an epoch that is higher than any before; an impossible one is forgotten.

        Where the disk takes no file the journal and the clock still say how far epochs are.
        """
        if not self.epoch < epoch <= EPOCH_MAX:
            return
        self.epoch = epoch
        if self._path is not None:
            with contextlib.suppress(OSError):
                write_atomically(self._path, b"%d\n" % epoch)


def _read(path: Path) -> int:
    try:
        with path.open("rb") as file:
            epoch = int(file.read(_BYTES_MAX))
    except (OSError, ValueError):
        return 0
    return epoch if 0 < epoch <= EPOCH_MAX else 0
