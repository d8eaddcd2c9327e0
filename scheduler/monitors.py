"""Which handshakes failed and which connections ended, as the library tells of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from .sockets import Socket

EVENTS_PER_TURN = 256
_EVENTS = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
)
# The library cuts an oversized frame off together with its connection and does not say so.
_WHY_ENDED = ": its peer left, or sent a frame over the limit"


class Monitors:
    """Listens to the library's own events, for counters and the log alone: they decide nothing."""

    def __init__(self, on_trouble: Callable[[str, str], None], counts: Counter[str]) -> None:
        self._on_trouble = on_trouble
        self._counts = counts
        self._monitored: list[Socket] = []
        self._monitors: list[Socket] = []

    def watch(self, sockets: Iterable[Socket], poller: zmq.Poller) -> None:
        """Hear from now on of what happens to the connections of these sockets."""
        for socket in sockets:
            monitor: Socket = socket.get_monitor_socket(_EVENTS)
            self._monitored.append(socket)
            self._monitors.append(monitor)
            poller.register(monitor, zmq.POLLIN)

    def read(self, ready: dict[Any, int]) -> None:
        """Take a bounded number of events from each monitor that is ready."""
        for monitor in self._monitors:
            if monitor in ready:
                self._read_one(monitor)

    def close(self) -> None:
        for socket in self._monitored:
            socket.disable_monitor()
        for monitor in self._monitors:
            monitor.close(linger=0)

    def _read_one(self, monitor: Socket) -> None:
        for _ in range(EVENTS_PER_TURN):
            try:
                event = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            where = bytes(event["endpoint"]).decode("utf-8", "replace")
            if event["event"] == zmq.EVENT_DISCONNECTED:
                self._counts["connections_ended"] += 1
                self._on_trouble("connection_ended", where + _WHY_ENDED)
            else:
                self._counts["handshakes_failed"] += 1
                self._on_trouble("handshake_failed", where)
