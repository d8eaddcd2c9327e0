"""Which ports of the scheduler does this host reach? Each is dialled as the agent will dial it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import parse_monitor_message

from ..config.endpoints import tcp_url
from ..config.keys import KeyPair
from .preflight_cluster import PATIENCE_S, Reach

SETTLED_S = 2.0  # who refuses a connection will not think better of it; who is silent may be far
AT_ONCE_S = 1.0  # who is not ours hangs up so soon; ours when the time for a handshake is over
POLL_S = 0.05
REDIAL_S = 0.5
HEARS_LATER = "store"  # of a new key, a moment after the scheduler has admitted it
CHANNELS = {
    "control": zmq.DEALER,
    "uplink": zmq.PUSH,
    "heartbeat": zmq.PUB,
    "beacon": zmq.SUB,
    "dispatch": zmq.PULL,
    "store": zmq.DEALER,
}
_FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_CONNECTED
    | zmq.EVENT_CLOSED
    | _FAILED
)

Socket = zmq.Socket[bytes]


@dataclass(frozen=True, slots=True)
class Scheduler:
    """Whom to dial, and with which key."""

    host: str
    public: str
    key: KeyPair


class _Call:
    """One port that is being dialled."""

    def __init__(
        self, context: zmq.Context[Socket], scheduler: Scheduler, channel: str, port: int
    ) -> None:
        self.found = Reach.SILENT
        self.is_over = False
        self._context = context
        self._scheduler = scheduler
        self._channel = channel
        self._endpoint = tcp_url(scheduler.host, port)
        self._redial_at = self._connected_at = 0.0
        self._dial()

    def look(self, now: float) -> None:
        """Take in what the library tells; after a refusal it would not dial again by itself."""
        while not self.is_over and self._monitor.poll(0):
            event = int(parse_monitor_message(self._monitor.recv_multipart())["event"])
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.found, self.is_over = Reach.OPEN, True
            elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self.found, self._redial_at = Reach.KEY_REFUSED, now + REDIAL_S
                self.is_over = self._channel != HEARS_LATER
            elif event & _FAILED and self.found is not Reach.KEY_REFUSED:
                if now - self._connected_at < AT_ONCE_S:
                    self.found = Reach.NOT_OURS
            elif event == zmq.EVENT_CONNECTED:
                self._connected_at = now
                if self.found in (Reach.SILENT, Reach.REFUSED):
                    self.found = Reach.MUTE
            elif event == zmq.EVENT_CLOSED and self.found is Reach.SILENT:
                self.found = Reach.REFUSED
        if self._redial_at and now >= self._redial_at and not self.is_over:
            self._redial_at = 0.0
            self.hang_up()
            self._dial()

    def is_settled(self, after_s: float) -> bool:
        """Tell whether looking on would show nothing else."""
        return self.is_over or (self.found is Reach.REFUSED and after_s >= SETTLED_S)

    def hang_up(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)

    def _dial(self) -> None:
        self._socket: Socket = self._context.socket(CHANNELS[self._channel])
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.IPV6, int(":" in self._scheduler.host)),
            (zmq.HANDSHAKE_IVL, int(PATIENCE_S * 1_000)),
            (zmq.CURVE_SERVERKEY, self._scheduler.public.encode()),
            (zmq.CURVE_PUBLICKEY, self._scheduler.key.public.encode()),
            (zmq.CURVE_SECRETKEY, self._scheduler.key.secret.encode()),
        ):
            self._socket.setsockopt(option, value)
        self._monitor: Socket = self._socket.get_monitor_socket(_WATCHED)
        self._socket.connect(self._endpoint)


def reach_ports(
    scheduler: Scheduler, ports: Mapping[str, int], patience_s: float = PATIENCE_S
) -> dict[str, Reach]:
    """Dial the channels of a node all at once and say what came of each.

    Nothing is said on any. Leave `dispatch` out while an agent of this node runs: what is meant
    for it could be given to us.
    """
    context: zmq.Context[Socket] = zmq.Context()
    try:
        calls = {
            channel: _Call(context, scheduler, channel, ports[channel])
            for channel in CHANNELS
            if channel in ports
        }
        began = time.monotonic()
        while (now := time.monotonic()) < began + patience_s:
            for call in calls.values():
                call.look(now)
            if all(each.is_settled(now - began) for each in calls.values()):
                break
            time.sleep(POLL_S)
        for call in calls.values():
            call.hang_up()
        return {channel: call.found for channel, call in calls.items()}
    finally:
        context.destroy(linger=0)
