"""A node that says again and again, beside what the test does, that it lives."""

from __future__ import annotations

import threading

from .raw import RawNode


class Pulse:
    """Lets a node beat for the length of a block; nothing else may use its heartbeat meanwhile."""

    def __init__(self, node: RawNode) -> None:
        self._node = node
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(0.1):
            self._node.beat()
