"""Where is the store of a cluster, and which connections of a client speak with it?"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..config import cluster as clusters
from ..protocol.errors import Conflict, RemudaError, Unreachable
from ..protocol.messages import Document, FindStore
from ..transfer.mover import Mover

if TYPE_CHECKING:
    from .connection import Connection

IDLE_MAX = 4
PATIENCE_S = 30.0
ABSENT_S = 10.0
"""A store that is not there at all is waited for as long as it takes to start one anew."""
DIAL_S = 5.0
PAUSE_S = 0.2
Found = TypeVar("Found")


class Movers:
    """The connections of one client to the store, which is found by the scheduler."""

    def __init__(self, link: Connection) -> None:
        self._link = weakref.proxy(link)  # which holds us
        self._lock = threading.Lock()
        self._idle: list[Mover] = []
        self._address = ""
        self._is_closed = False

    def work(self, work: Callable[[Mover], Found]) -> Found:
        """Let a connection do something; a store that was started anew may be elsewhere.

        Raises Unreachable, and what the store refuses with.
        """
        begun_s = time.monotonic()
        while True:
            try:
                return self._once(work)
            except Unreachable:
                waited_s = time.monotonic() - begun_s
                if waited_s + PAUSE_S > (PATIENCE_S if self._address else ABSENT_S):
                    raise
                self._address = ""
            time.sleep(PAUSE_S)

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for mover in idle:
            mover.close()

    def _once(self, work: Callable[[Mover], Found]) -> Found:
        mover = self._take()
        try:
            found = work(mover)
        except RemudaError as error:
            self._give_back(mover, is_usable=not isinstance(error, Unreachable))
            raise
        except BaseException:  # an interrupt: what is half done is resumed by another
            self._give_back(mover, is_usable=False)
            raise
        self._give_back(mover, is_usable=True)
        return found

    def _take(self) -> Mover:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        if not self._address:
            self._address = self._find()
        dial = clusters.connection(self._link.ref)
        return Mover(self._address, dial.key, dial.scheduler_public, patience_s=DIAL_S)

    def _give_back(self, mover: Mover, *, is_usable: bool) -> None:
        with self._lock:
            if is_usable and len(self._idle) < IDLE_MAX and not self._is_closed:
                self._idle.append(mover)
                return
            others = [] if is_usable else self._idle
            if not is_usable:
                self._idle = []
        for each in (mover, *others):
            each.close()

    def _find(self) -> str:
        try:
            port = self._link.request(FindStore(), Document).body["port"]
        except Conflict as error:
            raise Unreachable(error.message) from error
        host = self._link.endpoint.rpartition(":")[0]
        return f"{host}:{port}"
