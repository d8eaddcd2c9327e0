"""What the scheduler has to do with the store beside it: where it is, who may come, what it keeps.

No byte of an object passes here: the store gets keys, clients and nodes get claims.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..config.home import Home
from ..config.store_home import keys_file, port_file, read_store_port, write_store_keys
from ..protocol.errors import Invalid
from ..protocol.messages import Results
from .access import Principal
from .claimed import NODE_READ_MS, Signatures, check_results
from .object_refs import ObjectRefs
from .store_tuning import StoreTuning
from .zap import Keys


@dataclass(slots=True)
class StoreSide:
    """The files that store and scheduler share, and the claims that the scheduler signs.

    `tuning` has the store hear of changes of the configuration.
    """

    home: Home
    keys: Keys
    signatures: Signatures
    objects: ObjectRefs
    on_trouble: Callable[[str, str], None]
    tuning: StoreTuning
    usual_port: int = 0
    _told: int = field(default=-1)

    def port(self) -> int:
        """Return where the store listens now; 0 when none does."""
        try:
            return read_store_port(port_file(self.home))
        except (Invalid, OSError) as error:
            self.on_trouble("store", str(error))
            return 0

    def port_to_come(self) -> int:
        """Return where the store listens, or will once it has started: nodes ask only once."""
        return self.port() or self.usual_port

    def tell(self) -> None:
        """Let the store know who holds which key and what to go by, where that changed."""
        self._tell_keys()
        self.tuning.tell()

    def _tell_keys(self) -> None:
        if self._told == self.keys.changes:
            return
        holders = {key: (who.name, who.role.value) for key, who in self.keys.live.items()}
        try:
            write_store_keys(keys_file(self.home), holders)
        except OSError as error:  # a full disk: the store goes on with what it knows
            self.on_trouble("store", f"{keys_file(self.home)}: {error.strerror}")
            return
        self._told = self.keys.changes

    def check_objects(self, message: Results, node: Principal) -> None:
        """Put objects in place of the claims that a node brings for its results."""
        if trouble := check_results(self.signatures, message, node.key, _now_ms()):
            self.on_trouble("objects", f"{node.name}: {trouble}")

    def entitle_node(self, node: str, objects: bytes) -> bytes:
        """Let a node read what it was offered."""
        return self.signatures.entitle(objects, self.keys.of_node(node), _now_ms(), NODE_READ_MS)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
