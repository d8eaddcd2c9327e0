"""How does a node hear what operators changed, and say in its heartbeats what came of it?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import tuning
from ..config.applying import NODE
from ..config.sources import Sources
from ..protocol.configured import to_document
from ..protocol.messages import Configure

FULL_EVERY = 15
# PUB drops what leaves before the subscription has arrived: what is new is said in several beats.
SAY_NEW_TIMES = 4


@dataclass(slots=True)
class Tuning(tuning.Tuning):
    """Keep the settings of a node, and tell of them."""

    _said: int = 0
    _since: int = 0

    def on_configure(self, message: Configure) -> None:
        """Take what the scheduler says, or refuse it; the next heartbeats tell."""
        self._said = 0
        self.hear_plain(message.changes, message.reloads, message.version, message.digest)

    def on_signal(self) -> None:
        """Read the files again; what is wrong with them changes nothing."""
        self._said = 0
        self.reload()

    def document_due(self) -> dict[str, Any]:
        """Return the report for a heartbeat: empty unless rather new, or every 15th time."""
        self._since += 1
        if self._said >= SAY_NEW_TIMES and self._since < FULL_EVERY:
            return {}
        self._since = 0
        self._said = min(self._said + 1, SAY_NEW_TIMES)
        return to_document(self.report())

    def forget(self) -> None:
        """Say everything again at the next heartbeats."""
        self._said = 0


def begin(sources: Sources, node_dir: Path) -> Tuning:
    """Take up what an earlier agent of this node was told; raises ConfigError (see `Tuning`)."""
    return Tuning.begin(NODE, sources, node_dir)
