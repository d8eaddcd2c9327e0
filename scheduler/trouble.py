"""What of other people's mistakes reaches the log: once per kind and cause."""

from __future__ import annotations

from ..config.log_once import LogOnce
from .loop import Log

SELDOM_S = 3_600.0
CAUSE_CHARS_MAX = 200
ABOUT_CHARS_MAX = 500


class Trouble:
    """Logs each kind of trouble once per cause; what strangers send never floods the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._once = LogOnce()
        self._seldom = LogOnce(again_s=SELDOM_S)

    def __call__(self, what: str, about: str) -> None:
        if what == "connection_ended":  # mostly clients that leave
            if self._seldom.should_log(what) is not None:
                self._log.info(what, about=about)
            return
        silenced = self._once.should_log((what, about[:CAUSE_CHARS_MAX]))
        if silenced is not None:
            self._log.warning(what, about=about[:ABOUT_CHARS_MAX], silenced=silenced)
