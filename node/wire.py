"""What goes in and out of the node's sockets: CURVE clients of one scheduler, never blocking."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import parse_monitor_message

from ..config.endpoints import tcp_url
from ..config.keys import KeyPair
from ..protocol.codec import FRAME_BYTES_MAX
from ..protocol.errors import Conflict
from ..protocol.messages import Registered

OVERSIZE_MARGIN_BYTES = 256 * 1024
HWM = 1_000
FRAMES_PER_TURN = 64
HANDSHAKE_MS = 10_000  # the other side limits it too: whoever gives up early only comes again
# These end dead connections; a scheduler that says nothing is noticed by its beacon.
ZMTP_HEARTBEAT_MS = 10_000
ZMTP_SILENCE_MS = 30_000
RECONNECT_MS = (100, 500)
RECONNECT_MS_MAX = 5_000  # of the beacon alone: 1,000 nodes dial 200 times a second
CORRELATION_BYTES = 8
_WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)

Socket = zmq.Socket[bytes]


@dataclass(frozen=True, slots=True)
class Address:
    """Where the scheduler's control port is, and the key it must have."""

    host: str
    control: str
    scheduler_public: str


class Wire:
    """The sockets of one agent.

    A `context` that is handed in ends with them.
    `refused` is set when a key was not let in, `was_cut` when the dispatch connection ended.
    """

    def __init__(
        self,
        poller: zmq.Poller,
        key: KeyPair,
        jitter: Callable[[int, int], int],
        context: zmq.Context[Socket] | None = None,
    ) -> None:
        self._context = zmq.Context() if context is None else context
        self._poller = poller
        self._key = key
        self._jitter = jitter
        self._open: dict[str, Socket] = {}
        self._monitors: dict[str, Socket] = {}
        self._correlation = b""
        self._is_connected = False
        self.refused = ""
        self.was_cut = False

    def knock(self, address: Address, frame: bytes) -> None:
        """Send REGISTER on a fresh control connection, so that no stale one is ever answered.

        The dispatch connection ends before: offers that follow the welcome would go astray on it.
        """
        self.hang_up("dispatch")
        self._correlation = os.urandom(CORRELATION_BYTES)
        control = self._dial("control", zmq.DEALER, address, address.control, watch=True)
        control.send_multipart([self._correlation, b"", frame])
        self._poller.register(control, zmq.POLLIN)

    def reply(self) -> bytes | None:
        """Return the answer to the last knock, if it is there; the connection then ends."""
        control = self._open.get("control")
        while control is not None:
            try:
                parts = control.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return None
            if len(parts) == 3 and parts[0] == self._correlation and not parts[1]:
                self.hang_up("control")
                return parts[2]
        return None

    def join(self, address: Address, welcome: Registered) -> None:
        """Open the channels that a welcome names, anew each time: nothing stale comes through.

        Raises Conflict, as `knock` does, when the process has no descriptor left.
        """
        channels = (
            ("dispatch", zmq.PULL, welcome.dispatch_port, True),
            ("uplink", zmq.PUSH, welcome.uplink_port, True),
            ("output", zmq.PUSH, welcome.uplink_port, False),
            ("heartbeat", zmq.PUB, welcome.heartbeat_port, False),
            ("beacon", zmq.SUB, welcome.beacon_port, False),
        )
        for name, kind, port, watch in channels:
            socket = self._dial(name, kind, address, tcp_url(address.host, port), watch=watch)
            if kind in (zmq.PULL, zmq.SUB):
                self._poller.register(socket, zmq.POLLIN)

    def receive(self, channel: str) -> Iterable[bytes]:
        """Return frames of a channel, a bounded number at a time."""
        socket = self._open.get(channel)
        for _ in range(FRAMES_PER_TURN):
            if socket is None or socket.closed:
                return
            try:
                yield socket.recv_multipart(zmq.NOBLOCK)[-1]
            except zmq.Again:
                return

    def send(self, channel: str, frame: bytes) -> bool:
        """Send without blocking; False when it did not go."""
        socket = self._open.get(channel)
        if socket is None:
            return False
        try:
            socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def listen_to_monitors(self) -> None:
        """Take in what the library says about handshakes: a refused key never tries again."""
        for name, monitor in list(self._monitors.items()):
            while name in self._monitors:
                try:
                    parts = monitor.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                event = parse_monitor_message(parts)
                if event["event"] == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                    self.refused = name
                elif name == "dispatch":
                    ended = event["event"] == zmq.EVENT_DISCONNECTED
                    self.was_cut |= ended and self._is_connected
                    self._is_connected = event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED

    def hang_up(self, channel: str) -> None:
        """Close one channel and whatever waits in it."""
        socket = self._open.pop(channel, None)
        monitor = self._monitors.pop(channel, None)
        self._is_connected &= channel != "dispatch"
        if socket is None:
            return
        if monitor is not None:
            self._poller.unregister(monitor)
            socket.disable_monitor()
            monitor.close(linger=0)
        if socket in self._poller:
            self._poller.unregister(socket)
        socket.close(linger=0)

    def hang_up_work(self) -> None:
        """Close all channels but the beacon's, on which a new scheduler shows itself."""
        for channel in [name for name in self._open if name != "beacon"]:
            self.hang_up(channel)

    def hang_up_all(self) -> None:
        for channel in list(self._open):
            self.hang_up(channel)

    def close(self) -> None:
        self.hang_up_all()
        self._context.destroy(linger=0)

    def _dial(
        self, name: str, kind: int, address: Address, endpoint: str, *, watch: bool
    ) -> Socket:
        self.hang_up(name)
        socket = self._socket(kind)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.CURVE_PUBLICKEY, self._key.public.encode()),
            (zmq.CURVE_SECRETKEY, self._key.secret.encode()),
            (zmq.CURVE_SERVERKEY, address.scheduler_public.encode()),
            (zmq.RECONNECT_IVL, self._jitter(*RECONNECT_MS)),
            (zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX),
            (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
            (zmq.HEARTBEAT_IVL, ZMTP_HEARTBEAT_MS),
            (zmq.HEARTBEAT_TIMEOUT, ZMTP_SILENCE_MS),
            (zmq.MAXMSGSIZE, FRAME_BYTES_MAX + OVERSIZE_MARGIN_BYTES),
            (zmq.SNDHWM, HWM),
            (zmq.RCVHWM, HWM),
            (zmq.IPV6, int(":" in address.host)),
        ):
            socket.setsockopt(option, value)
        if kind == zmq.PUSH:
            socket.setsockopt(zmq.IMMEDIATE, 1)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._open[name] = socket
        if watch:
            try:
                monitor = socket.get_monitor_socket(_WATCHED)
            except zmq.ZMQError as error:
                self.hang_up(name)
                raise _no_more(error) from error
            self._monitors[name] = monitor
            self._poller.register(monitor, zmq.POLLIN)
        socket.connect(endpoint)
        return socket

    def _socket(self, kind: int) -> Socket:
        try:
            return self._context.socket(kind)
        except zmq.ZMQError as error:
            raise _no_more(error) from error


def _no_more(error: zmq.ZMQError) -> Conflict:
    return Conflict(f"no more sockets ({error}): raise the limit of open files")
