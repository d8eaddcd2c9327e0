"""How does the store follow its configuration: what the scheduler tells it, and signals?"""

from __future__ import annotations

import time

from ..config import daemon
from ..config.home import Home
from ..config.service import Service
from ..config.store_config import Said, said_file, told_file, write_said
from ..config.tuning import Tuning, read_told
from .desk import Log

Stamp = tuple[int, int, int]


class Following:
    """Looks now and then whether there is something to take in, and says what came of it."""

    def __init__(self, tuning: Tuning, home: Home, service: Service, log: Log) -> None:
        assert tuning.path is not None
        self._tuning = tuning
        self._told_path, self._said_path = told_file(home), said_file(home)
        self._root = tuning.path.parent
        self._service = service
        self._log = log
        self._stamp: Stamp | None = None
        self._has_news = True
        self._trouble = ""
        self.is_asked = False

    @property
    def problem(self) -> str:
        """Say why the last reload changed nothing."""
        refused = self._tuning.problem
        return f"the last reload changed nothing, since it was refused: {refused}" * bool(refused)

    def begin(self) -> None:
        """Go by all that the scheduler says, before anything runs by something else."""
        if self._is_told():
            self._hear()
        self._tuning.settle()
        self._say()

    def ask(self) -> None:
        """Have the files read again at the next look; a signal's handler may call this."""
        self.is_asked = True

    def look(self) -> None:
        """Read the files again if a signal asks for it, and the scheduler's word if it is new."""
        if self.is_asked:
            self.is_asked = False
            daemon.drain_signals()
            self._service.reloading(time.monotonic_ns())
            self._tuning.reload()
            self._stamp = None  # what was refused before may fit now
            self._has_news = True
        if self._is_told():
            self._hear()
            self._has_news = True
        if self._has_news:
            self._say()

    def _is_told(self) -> bool:
        """Tell whether the scheduler has written something since we looked."""
        try:
            status = self._told_path.stat()
        except FileNotFoundError:
            return False  # no scheduler yet, or an old one
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        is_new, self._stamp = stamp != self._stamp, stamp
        return is_new

    def _hear(self) -> None:
        try:
            self._tuning.hear(read_told(self._told_path))
        except (OSError, ValueError) as error:
            self._log.warning("changes of operators not read", file=str(self._told_path),
                              error=str(error))  # fmt: skip

    def _say(self) -> None:
        """Report what we go by; where the disk takes nothing, again at the next look."""
        try:
            said = Said(self._root, self._tuning.digest, self._tuning.report())
            write_said(self._said_path, said)
        except OSError as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                self._log.warning("cannot say what we go by", file=str(self._said_path),
                                  error=error.strerror)  # fmt: skip
            return
        self._has_news, self._trouble = False, ""
