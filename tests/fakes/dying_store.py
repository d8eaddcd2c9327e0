"""A store that kills itself at one step: `python -m` with STEP in the environment.

The steps are those at which something is on the disk that was not there before, or no longer.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from remuda.store import committer, landing, partials, uploads
from remuda.store.__main__ import main
from remuda.store.local import LocalFolder

STEP = "DYING_STORE_STEP"
MIDDLE_BYTES = 1024 * 1024


def _die(*_args: object, **_kwargs: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(owner: Any, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
    real = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if when(*args):
            _die()
        return real(*args, **kwargs)

    setattr(owner, name, wrapped)


def _after(owner: Any, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
    real = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        if when(*args):
            _die()
        return result

    setattr(owner, name, wrapped)


def _has_fresh(_self: object, batch: object) -> bool:
    return bool(batch)


STEPS: dict[str, Callable[[], None]] = {
    "bytes were written": lambda: _after(
        partials.Upload, "append", lambda upload, _: upload.size >= MIDDLE_BYTES
    ),
    "all bytes came, nothing is verified": lambda: _before(partials.Upload, "finish"),
    "a large object is verified and synced": lambda: _after(partials.Upload, "finish"),
    "a small object is written and synced": lambda: _after(uploads, "stage_small"),
    "it is about to be published": lambda: _before(LocalFolder, "publish", _has_fresh),
    "it is published, the index does not know": lambda: _after(LocalFolder, "publish", _has_fresh),
    "the index knows, nobody was told": lambda: _after(committer.Committer, "_add"),
    "it is committed, nobody was told": lambda: _before(landing.Promises, "claim"),
    "it is about to be removed": lambda: _before(committer.Committer, "_remove"),
    "its row is gone, its bytes are not": lambda: _before(
        LocalFolder, "remove", lambda _self, digests: bool(digests)
    ),
    "half of it is removed": lambda: _after(
        LocalFolder, "remove", lambda _self, digests: bool(digests)
    ),
}


if __name__ == "__main__":
    STEPS[os.environ[STEP]]()
    sys.exit(main())
