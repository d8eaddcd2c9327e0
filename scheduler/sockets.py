"""How every socket of the scheduler is made: encrypted, authenticated, bounded, never lingering."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zmq

from ..config.keys import KeyPair
from ..protocol.errors import Conflict

SNDHWM_DISPATCH = 64
HWM = 1_000
BACKLOG = 1_024
# These end dead connections; who lives is judged by messages. At 1,000 nodes there are 5,000.
ZMTP_HEARTBEAT_MS = 10_000
ZMTP_SILENCE_MS = 30_000
# A frame a little over the limit still reaches us and gets a typed answer; beyond that the
# connection is cut by the library.
OVERSIZE_MARGIN_BYTES = 256 * 1024
REBIND_TRIES = 40
REBIND_PAUSE_S = 0.005

Socket = zmq.Socket[bytes]


@dataclass(frozen=True, slots=True)
class Door:
    """What all sockets share: the address, our key and the limits of a connection."""

    context: zmq.Context[Socket]
    host: str
    key: KeyPair
    handshake_s: float
    frame_bytes_max: int

    def open(self, kind: int, domain: str, *, sndhwm: int = HWM) -> Socket:
        """Make a CURVE server socket that asks ZAP under a domain; not bound yet.

        Raises Conflict when the process has no room for one more.
        """
        try:
            socket: Socket = self.context.socket(kind)
        except zmq.ZMQError as error:
            raise Conflict(
                f"no more sockets ({error}): raise nodes_max and the limit of open files"
            ) from error
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.CURVE_SERVER, 1),
            (zmq.CURVE_SECRETKEY, self.key.secret.encode()),
            (zmq.ZAP_DOMAIN, domain.encode()),
            (zmq.ZAP_ENFORCE_DOMAIN, 1),
            (zmq.HANDSHAKE_IVL, max(int(self.handshake_s * 1000), 1)),
            (zmq.MAXMSGSIZE, self.frame_bytes_max + OVERSIZE_MARGIN_BYTES),
            (zmq.SNDHWM, sndhwm),
            (zmq.RCVHWM, HWM),
            (zmq.BACKLOG, BACKLOG),
            (zmq.HEARTBEAT_IVL, ZMTP_HEARTBEAT_MS),
            (zmq.HEARTBEAT_TIMEOUT, ZMTP_SILENCE_MS),
            (zmq.IPV6, int(":" in self.host)),
            (zmq.IMMEDIATE, 1),
        ):
            socket.setsockopt(option, value)
        if kind == zmq.ROUTER:
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        return socket

    def bind(self, socket: Socket, port: int) -> int:
        """Bind to a port (0: any free one) and return it; raises Conflict when it is taken."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        try:
            socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            if error.errno == errno.EADDRINUSE:
                raise Conflict(
                    f"port {port} on {self.host} is taken: stop who has it, or set [scheduler] port"
                ) from error
            raise Conflict(f"cannot listen on {self.host} port {port}: {error}") from error
        return port_of(socket)

    def bind_again(
        self, socket: Socket, port: int, pause: Callable[[float], None] = time.sleep
    ) -> int:
        """Bind a port that a closed socket of ours may still hold for a moment."""
        for _ in range(REBIND_TRIES):
            try:
                return self.bind(socket, port)
            except Conflict:
                pause(REBIND_PAUSE_S)
        return self.bind(socket, port)


def port_of(socket: Socket) -> int:
    """Return the port that a bound socket has."""
    endpoint: Any = socket.getsockopt(zmq.LAST_ENDPOINT)
    return int(endpoint.rstrip(b"\0").rpartition(b":")[2])
