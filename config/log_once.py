"""How often may the same thing be logged: once per key and time, and so many lines in all."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

AGAIN_S = 60.0
KEYS_MAX = 1024
LINES_MAX = 60  # of all keys, within AGAIN_S


class LogOnce:
    """Decide whether a repeated event deserves a line.

    A stranger who sends garbage chooses the keys, so both memory and lines are bounded whatever
    the keys are; what is kept silent is counted and told with the next line.
    """

    def __init__(
        self,
        *,
        again_s: float = AGAIN_S,
        keys_max: int = KEYS_MAX,
        lines_max: int = LINES_MAX,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._again_s = again_s
        self._keys_max = keys_max
        self._lines_max = lines_max
        self._clock_s = clock_s
        self._seen: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()
        self._window_start_s = clock_s()
        self._window_lines = 0
        self.silenced = 0

    def should_log(self, key: Hashable) -> int | None:
        """Say whether to log an event: None for no, else how many like it were kept silent."""
        now_s = self._clock_s()
        logged_at_s, silent = self._seen.get(key, (None, 0))
        is_due = logged_at_s is None or now_s - logged_at_s >= self._again_s
        if is_due and self._take_line(now_s):
            self._remember(key, now_s, 0)
            return silent
        self.silenced += 1
        if logged_at_s is not None:
            self._seen[key] = (logged_at_s, silent + 1)
        return None

    def _take_line(self, now_s: float) -> bool:
        if now_s - self._window_start_s >= self._again_s:
            self._window_start_s, self._window_lines = now_s, 0
        if self._window_lines >= self._lines_max:
            return False
        self._window_lines += 1
        return True

    def _remember(self, key: Hashable, now_s: float, silent: int) -> None:
        self._seen[key] = (now_s, silent)
        self._seen.move_to_end(key)
        while len(self._seen) > self._keys_max:
            self._seen.popitem(last=False)
