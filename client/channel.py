"""How is one socket to the scheduler made, and what becomes of its connection?"""

from __future__ import annotations

import random
from enum import Enum

import zmq
from zmq.utils.monitor import parse_monitor_message

from ..config.cluster import Connection as Dial
from ..protocol.codec import FRAME_BYTES_MAX

QUEUED_FRAMES_MAX = 256
RECONNECT_MS = (100, 300)
RECONNECT_MS_MAX = 500  # a killed scheduler is back in two seconds, and nobody should wait on
PING_MS = 2_000
PING_TIMEOUT_MS = 10_000
HANDSHAKE_MS = 10_000

_WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)


class News(Enum):
    """What the monitor of a socket tells; hints only, as they come late."""

    JOINED = "the handshake succeeded"
    LOST = "the connection is gone"
    REFUSED = "the scheduler does not admit our key"
    FAILED = "the handshake failed: not our scheduler, or not its key"


_NEWS = {
    zmq.EVENT_HANDSHAKE_SUCCEEDED: News.JOINED,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: News.REFUSED,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: News.FAILED,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: News.FAILED,
    zmq.EVENT_DISCONNECTED: News.LOST,
}


class Channel:
    """A DEALER socket with its monitor; everything here belongs to one thread.

    Frames are accepted only while connected (IMMEDIATE), so nothing queues for a scheduler that
    is away: the sender keeps its requests and sends them again.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], dial: Dial) -> None:
        self.endpoint = dial.endpoint
        self.socket = context.socket(zmq.DEALER)
        self.monitor: zmq.Socket[bytes] | None = None
        try:
            self._configure(dial)
            self.monitor = self.socket.get_monitor_socket(_WATCHED)
            self.socket.connect(dial.endpoint)
        except zmq.ZMQError:
            self.close()
            raise

    def _configure(self, dial: Dial) -> None:
        socket = self.socket
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = QUEUED_FRAMES_MAX
        socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.IPV6, 1)
        socket.setsockopt(zmq.RECONNECT_IVL, random.randint(*RECONNECT_MS))
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
        socket.setsockopt(zmq.HEARTBEAT_IVL, PING_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, PING_TIMEOUT_MS)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.curve_serverkey = dial.scheduler_public.encode()
        socket.curve_publickey = dial.key.public.encode()
        socket.curve_secretkey = dial.key.secret.encode()

    def send(self, correlation: bytes, payload: bytes) -> bool:
        """Send a request; False when there is no connection to take it now."""
        try:
            self.socket.send_multipart((correlation, b"", payload), zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def receive(self) -> tuple[bytes, bytes] | None:
        """Return the next (correlation, payload), or None when there is none now.

        What is not shaped like a reply has an empty correlation.
        """
        try:
            frames = self.socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None
        if len(frames) != 3 or frames[1]:
            return b"", b""
        return frames[0], frames[2]

    def news(self) -> list[News]:
        """Return what happened to the connection since the last call."""
        found: list[News] = []
        while self.monitor is not None:
            try:
                event = parse_monitor_message(self.monitor.recv_multipart(zmq.DONTWAIT))
            except zmq.Again:
                break
            kind = _NEWS.get(zmq.Event(event["event"]))
            if kind is not None:
                found.append(kind)
        return found

    def close(self) -> None:
        """Close the socket; what was not sent is gone."""
        if self.monitor is not None:
            self.socket.disable_monitor()
            self.monitor.close(linger=0)
            self.monitor = None
        self.socket.close(linger=0)
