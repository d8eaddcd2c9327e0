"""What goes in and out of the scheduler's sockets, and who said it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import zmq

from ..config.endpoints import tcp_url
from ..config.handshakes import Gate, Verdict
from ..config.settings_scheduler import PortPlan
from .access import Principal
from .monitors import Monitors
from .pipes import Pipes
from .sockets import Door, Socket, port_of
from .zap import (
    BEACON_DOMAIN,
    CONTROL_DOMAIN,
    HEARTBEAT_DOMAIN,
    UPLINK_DOMAIN,
    Keys,
)

ENVELOPE_FRAMES_MAX = 8
ENVELOPE_BYTES_MAX = 1_024
CONTROL_PER_TURN = 512
UPLINK_PER_TURN = 1_024
HEARTBEAT_PER_TURN = 2_048
BYTES_PER_TURN = 64 * 1024 * 1024


class Request(NamedTuple):
    """A control message: `envelope` is everything to be echoed before the answer.

    `principal` is None when the key was withdrawn after its handshake.
    """

    envelope: list[bytes]
    principal: Principal | None
    payload: bytes


class Said(NamedTuple):
    """A message of a node on the uplink or the heartbeat channel."""

    principal: Principal
    payload: bytes


@dataclass(slots=True)
class Drained:
    """What one turn took from the sockets."""

    heartbeats: list[Said] = field(default_factory=list)
    uplink: list[Said] = field(default_factory=list)
    control: list[Request] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.heartbeats or self.uplink or self.control)


class Wire:
    """The fixed sockets; `on_trouble(what, about)` hears of strangers and broken connections."""

    def __init__(
        self, door: Door, plan: PortPlan, keys: Keys, on_trouble: Callable[[str, str], None]
    ) -> None:
        self._door = door
        self._keys = keys
        self._on_trouble = on_trouble
        self.counts: Counter[str] = Counter()
        self._poller = zmq.Poller()
        self.gate = Gate(door.context, keys.may_connect, self._tell_refused, self.counts)
        self._poller.register(self.gate.socket, zmq.POLLIN)
        self.control = door.open(zmq.ROUTER, CONTROL_DOMAIN)
        self.uplink = door.open(zmq.PULL, UPLINK_DOMAIN)
        self.heartbeat = door.open(zmq.SUB, HEARTBEAT_DOMAIN)
        self.heartbeat.setsockopt(zmq.SUBSCRIBE, b"")
        self.beacon = door.open(zmq.PUB, BEACON_DOMAIN)
        self._monitors = Monitors(on_trouble, self.counts)
        self._polled_out: set[Socket] = set()
        self.pipes = Pipes(door, plan.dispatch_first)
        self._plan = plan

    def listen(self) -> None:
        """Bind the fixed sockets, control last; raises Conflict when a port is taken."""
        for socket, port in (
            (self.uplink, self._plan.uplink),
            (self.heartbeat, self._plan.heartbeat),
            (self.beacon, self._plan.beacon),
            (self.control, self._plan.control),
        ):
            self._door.bind(socket, port)
            if socket is not self.beacon:
                self._poller.register(socket, zmq.POLLIN)

    def watch_connections(self) -> None:
        """Hear from now on of handshakes that fail and of connections that end."""
        sockets = (self.control, self.uplink, self.heartbeat, self.beacon)
        self._monitors.watch(sockets, self._poller)

    def ports(self) -> PortPlan:
        """Return the ports that were really bound."""
        return PortPlan(
            control=port_of(self.control),
            uplink=port_of(self.uplink),
            heartbeat=port_of(self.heartbeat),
            beacon=port_of(self.beacon),
            dispatch_first=self._plan.dispatch_first,
        )

    def doors(self) -> dict[str, tuple[int, str]]:
        """Return what knocks on each fixed socket, and where it stands."""
        found, host = self.ports(), self._door.host
        return {
            "control": (zmq.DEALER, tcp_url(host, found.control)),
            "uplink": (zmq.PUSH, tcp_url(host, found.uplink)),
            "heartbeat": (zmq.PUB, tcp_url(host, found.heartbeat)),
            "beacon": (zmq.SUB, tcp_url(host, found.beacon)),
        }

    def watch_descriptor(self, descriptor: int) -> None:
        """Let `poll` also return when a descriptor becomes readable (a signal came)."""
        self._poller.register(descriptor, zmq.POLLIN)

    def poll(self, timeout_ms: int) -> dict[Any, int]:
        """Wait for something to do and return what is ready."""
        waiting = set(self.pipes.waiting())
        for socket in waiting - self._polled_out:
            self._poller.register(socket, zmq.POLLOUT)
        for socket in self._polled_out - waiting:
            self._poller.unregister(socket)
        self._polled_out = waiting
        return dict(self._poller.poll(timeout_ms))

    def close_pipes(self, nodes: Sequence[str], *, used_only: bool) -> None:
        """Close the dispatch sockets of nodes; `used_only`: those in which something may wait.

        The library frees a port a moment after its socket was closed: those of many nodes are
        closed together before the first is bound anew.
        """
        for socket in self._polled_out:
            self._poller.unregister(socket)
        self._polled_out = set()
        for node in nodes:
            if not used_only or self.pipes.is_used(node):
                self.pipes.close(node)

    def drain(self, ready: dict[Any, int], *, control: bool = True) -> Drained:
        """Answer handshakes, then take a bounded batch from each socket that is ready.

        Without `control` its requests stay where they are.
        """
        if self.gate.socket in ready:
            self.gate.answer()
        self._monitors.read(ready)
        drained = Drained()
        if self.heartbeat in ready:
            self._take_said(self.heartbeat, drained.heartbeats, HEARTBEAT_PER_TURN)
        if self.uplink in ready:
            self._take_said(self.uplink, drained.uplink, UPLINK_PER_TURN)
        if control and self.control in ready:
            self._take_requests(drained)
        return drained

    def _tell_refused(self, verdict: Verdict) -> None:
        key = verdict.public_key or "none"
        self._on_trouble("key_refused", f"{key} {verdict.domain} {verdict.address}")

    def reply(self, envelope: list[bytes], frame: bytes) -> bool:
        """Send an answer; False when its asker is gone or does not read."""
        try:
            self.control.send_multipart([*envelope, frame], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            self.counts["replies_dropped"] += 1
            return False
        return True

    def send_beacon(self, frame: bytes) -> None:
        self.beacon.send(frame, zmq.NOBLOCK)

    def close(self) -> None:
        self.pipes.close_all()
        self._monitors.close()
        for socket in (self.control, self.uplink, self.heartbeat, self.beacon, self.gate.socket):
            socket.close(linger=0)

    def _take_said(self, socket: Socket, into: list[Said], most: int) -> None:
        size = 0
        holder = self._keys.live.get
        for _ in range(most):
            try:
                frame = socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if frame.more:
                _discard_rest(socket)
                self.counts["multipart_dropped"] += 1
                continue
            principal = holder(str(frame.get("User-Id")))
            if principal is None:
                self.counts["revoked_dropped"] += 1
                continue
            payload = frame.bytes
            into.append(Said(principal, payload))
            size += len(payload)
            if size > BYTES_PER_TURN:
                return

    def _take_requests(self, drained: Drained) -> None:
        size = 0
        for _ in range(CONTROL_PER_TURN):
            try:
                frames = self.control.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            last = frames[-1]
            principal = self._keys.holder(str(last.get("User-Id")))
            envelope = _envelope(frames)
            if envelope is None:
                self.counts["envelopes_dropped"] += 1
                self._on_trouble("strange_envelope", principal.name if principal else "revoked")
                continue
            payload = last.bytes
            drained.control.append(Request(envelope, principal, payload))
            size += len(payload)
            if size > BYTES_PER_TURN:
                return


def _discard_rest(socket: Socket) -> None:
    while socket.getsockopt(zmq.RCVMORE):
        socket.recv(zmq.NOBLOCK, copy=False)


def _envelope(frames: list[zmq.Frame]) -> list[bytes] | None:
    """Return the frames up to and including the empty one before the payload, or None."""
    if not 3 <= len(frames) <= ENVELOPE_FRAMES_MAX or len(frames[-2]) != 0:
        return None
    envelope = [frame.bytes for frame in frames[:-1]]
    if sum(map(len, envelope)) > ENVELOPE_BYTES_MAX:
        return None
    return envelope
