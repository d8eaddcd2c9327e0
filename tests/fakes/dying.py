"""A scheduler that is killed between two steps that the test names.

Run as a script it is the real daemon, but it dies once, as by `kill -9`, right after it has
admitted a newcomer: the commit is on disk, the answer was never said.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from remuda.scheduler.__main__ import main
from remuda.scheduler.registry import Registry

PROGRAM = ("-P", __file__)
WISH = "die-after-admission"


def die_after_admission(home: Path) -> None:
    """Let the scheduler of this home die after the next admission, once."""
    (home / WISH).touch()


def _mortal() -> None:
    allow_key = Registry.allow_key
    wish = Path(os.environ["REMUDA_HOME"]) / WISH

    def our_allow_key(registry: Registry, *args: Any, **kwargs: Any) -> None:
        allow_key(registry, *args, **kwargs)
        if kwargs.get("invite") and wish.exists():
            wish.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    Registry.allow_key = our_allow_key  # type: ignore[method-assign]  # for the test


if __name__ == "__main__":
    _mortal()
    sys.exit(main())
