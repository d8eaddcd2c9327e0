"""How does one wait until batches have ended without a future for each member?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from . import control
from .connection import Connection
from .outcome import ENDED

LOOK_S = 0.5
Look = dict[str, Any]
"""What `control.show_batch` told of a batch."""


def wait_batches(
    link: Connection,
    batches: Sequence[bytes],
    *,
    timeout_s: float | None = None,
    on_look: Callable[[list[Look]], None] | None = None,
) -> list[Look]:
    """Wait until no member is open; `on_look` hears of each look. Raises TimeoutError."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    seen: dict[bytes, Look] = {}
    while True:
        for batch in batches:
            if batch not in seen or is_open(seen[batch]):
                seen[batch] = control.show_batch(link, batch)
        looks = [seen[batch] for batch in batches]
        if on_look is not None:
            on_look(looks)
        if not any(map(is_open, looks)):
            return looks
        left_s = LOOK_S if until is None else until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the batches have not ended")
        time.sleep(min(LOOK_S, left_s))


def is_open(look: Look) -> bool:
    """Tell whether members have not ended; those that were pruned had."""
    return any(count for word, count in look["counts"].items() if word not in ENDED)
