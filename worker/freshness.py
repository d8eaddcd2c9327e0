"""Has project code changed on disk since this worker loaded it?"""

from __future__ import annotations

import os
import sys
import time
from typing import Dict, List, Tuple  # noqa: UP035 - evaluated on Python 3.9 too

LOOK_EVERY_S = 0.5
FILES_MAX = 10_000

Stamp = Tuple[int, int]  # noqa: UP006 - as above


class Freshness:
    """Remember the files below `roots` from which modules came, as they were then."""

    def __init__(self, roots: List[str]) -> None:  # noqa: UP006 - as above
        self._roots = tuple(os.path.join(os.path.abspath(root), "") for root in roots)  # noqa: PTH100, PTH118 - compared as text with module files
        self._stamps: Dict[str, Stamp] = {}  # noqa: UP006 - as above
        self._modules = 0
        self._look_at = 0.0

    def note(self) -> None:
        """Take in modules that were imported since the last time."""
        if not self._roots or len(sys.modules) == self._modules:
            return
        self._modules = len(sys.modules)
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            if not isinstance(path, str) or path in self._stamps:
                continue
            if path.startswith(self._roots) and len(self._stamps) < FILES_MAX:
                self._stamps[path] = _stamp(path)

    def is_stale(self) -> bool:
        """Tell whether a noted file changed; looks at most every `LOOK_EVERY_S`."""
        now = time.monotonic()
        if not self._stamps or now < self._look_at:
            return False
        self._look_at = now + LOOK_EVERY_S
        return any(_stamp(path) != stamp for path, stamp in self._stamps.items())


def _stamp(path: str) -> Stamp:
    """Return what changes when a file is edited; (0, 0) when it is gone."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a hot path
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
