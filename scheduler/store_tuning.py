"""What is the store to go by of what operators changed, and does it?

It is told by a file and answers by another, as it is told of keys: nobody waits for anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..config.applying import STORE, applies
from ..config.changes import EVERYWHERE
from ..config.home import Home
from ..config.state_dir import is_claimed
from ..config.store_config import Said, read_said, said_file, told_file
from ..config.store_home import port_file, read_store_port
from ..config.tuning import Told, write_told
from ..protocol.errors import Invalid
from .config_versions import Version
from .configuration import read_by
from .configured import NodeState

NEVER_HEARD = "none runs beside the scheduler; one that starts goes by it"
AWAY = "it does not run; it goes by it when it starts"
BEHIND = "it has not confirmed yet"
OLD = "it is of a release that does not hear of changes: restart it with this one"


def told_of(version: Version) -> Told:
    """Return what the store is to go by as of a version."""
    changes = read_by(STORE, version.changes.get(EVERYWHERE, {}))
    return Told(changes, version.reloads, version.number)


def state_of(wanted: Told, said: Said | None, *, runs: bool) -> NodeState:
    """Say how the store stands to what it is to go by, as of a node."""
    digest = wanted.digest
    if (said.digest if said else b"") == digest:
        return NodeState("confirmed")
    if not runs:
        return NodeState("away", AWAY if said else NEVER_HEARD)
    if said is None:
        return NodeState("cannot", OLD)
    if digest and said.config.refused == digest:
        return NodeState("refused", said.config.why)
    return NodeState("behind", BEHIND)


@dataclass(slots=True)
class StoreTuning:
    """Tells the store what to go by, and reads what it says."""

    home: Home
    on_trouble: Callable[[str, str], None]
    wanted: Told = field(default_factory=Told)
    _is_told: bool = True

    def want(self, version: Version) -> None:
        """Have the store go by a version."""
        self.wanted, self._is_told = told_of(version), False
        self.tell()

    def tell(self) -> None:
        """Write down what the store is to go by, unless that was done."""
        if self._is_told:
            return
        try:
            write_told(told_file(self.home), self.wanted)
        except OSError as error:  # a full disk: it is tried again
            self.on_trouble("store", f"{told_file(self.home)}: {error.strerror}")
            return
        self._is_told = True

    def said(self) -> Said | None:
        """Return the last report of the store, None where none ever made one."""
        try:
            return read_said(said_file(self.home))
        except (Invalid, OSError) as error:
            self.on_trouble("store", str(error))
            return None

    def state(self, said: Said | None) -> NodeState:
        """Say how the store stands to what it is to go by, by its last report."""
        return state_of(self.wanted, said, runs=self._runs(said))

    def is_away(self) -> bool:
        """Tell whether a store that reported here does not run now."""
        said = self.said()
        return said is not None and not self._runs(said)

    @property
    def is_missed(self) -> bool:
        """Tell whether something was changed that nobody but a store goes by."""
        return any(applies(key).readers == (STORE,) for key in self.wanted.changes)

    def _runs(self, said: Said | None) -> bool:
        """Tell whether a store runs; of one that never made a report its port tells."""
        try:
            return is_claimed(said.root) if said else read_store_port(port_file(self.home)) > 0
        except (Invalid, OSError):
            return False
