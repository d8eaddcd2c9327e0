"""How does the daemon follow its configuration: signals heard, changes taken up once on disk?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..config import daemon
from ..config.service import Service
from ..protocol.codec import VERSION_OLDEST, encode
from ..protocol.messages import Beacon
from . import config_verbs
from .events import ConfigChanged, Now
from .view import View

if TYPE_CHECKING:
    from .loop import Log

# Nodes come back to a new scheduler at random moments of this time: a handshake is dear.
ADMISSION_MS_MIN = 2_000
ADMISSION_MS_PER_NODE = 15


class Following:
    """Reads the files again when a signal asks for it; tells the rest of the daemon of changes."""

    def __init__(self, view: View, log: Log, service: Service) -> None:
        self._service = service
        self._view = view
        self._log = log
        self._is_asked = False
        self._problem = ""
        nodes = len(view.core.fleet.nodes)
        self._window_ms = max(ADMISSION_MS_MIN, ADMISSION_MS_PER_NODE * nodes)

    def ask(self) -> None:
        """Have the files read again in the next turn; a signal's handler may call this."""
        self._is_asked = True

    def problem(self, _now_ns: int = 0) -> str:
        """Say why the last reload changed nothing."""
        return self._problem

    def events(self, now: Now) -> Sequence[ConfigChanged]:
        """Return what a signal has brought."""
        if not self._is_asked or self._view.configuration is None:
            return ()
        daemon.drain_signals()
        self._is_asked = False
        self._service.reloading(now.mono_ns)
        made = config_verbs.reload_on_signal(self._view, now)
        if isinstance(made, ConfigChanged):
            self._problem = ""
            return (made,)
        self._problem = f"the last reload changed nothing, since it was refused: {made}" * bool(
            made
        )
        if made:
            self._log.warning("reload refused: the old configuration stays", why=made)
        else:
            self._view.loaded = self._view.configuration.loaded
            self._log.info("reloaded: nothing has changed")
        return ()

    def commit(self) -> None:
        """Take up what is on disk now."""
        configuration = self._view.configuration
        if configuration is not None:
            self._problem = ""
            self._view.loaded = configuration.loaded
            configuration.commit()

    def beacon(self) -> bytes:
        """Return the frame that says in which epoch we live, and which configuration holds.

        One frame for all nodes: each of them reads the oldest version of the protocol.
        """
        core = self._view.core
        beacon = Beacon(self._view.cluster, core.wanted.version, self._window_ms)
        return encode(beacon, core.epoch, VERSION_OLDEST)
