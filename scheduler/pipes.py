"""How messages reach one node each: a dispatch socket per node, with a short queue before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import zmq

from ..protocol.errors import Conflict
from .sockets import SNDHWM_DISPATCH, Door, Socket
from .zap import NODE_DOMAIN

# A node connects its end only after it was welcomed, so the first offers wait here.
QUEUE_FRAMES_MAX = 64
QUEUE_BYTES_MAX = 16 * 1024 * 1024
QUEUE_AGE_NS = 5_000_000_000


@dataclass(slots=True)
class Pipe:
    """The dispatch socket of one node; `queued` holds (sent_ns, frame) that found no peer.

    `is_fresh` until a frame was handed to it: nothing old can wait in it.
    """

    socket: Socket
    port: int
    is_fresh: bool = True
    queued: deque[tuple[int, bytes]] = field(default_factory=deque)
    queued_bytes: int = 0


class Pipes:
    """All dispatch sockets. What is dropped here is repaired by heartbeats."""

    def __init__(self, door: Door, first_port: int) -> None:
        self._door = door
        self._first_port = first_port
        self._pipes: dict[str, Pipe] = {}
        self._reserved: dict[str, int] = {}
        self._behind: dict[str, Pipe] = {}
        self.dropped = 0

    def reserve(self, ports: dict[str, int]) -> None:
        """Keep the ports that nodes had before a restart, and listen on them at once."""
        self._reserved.update(ports)
        for node, port in ports.items():
            try:
                self._bind(node, port)
            except Conflict:
                del self._reserved[node]  # somebody else took it: the node gets another one

    def is_used(self, node: str) -> bool:
        """Tell whether a frame was handed to a node's socket, which may still wait in it."""
        pipe = self._pipes.get(node)
        return pipe is not None and not pipe.is_fresh

    def bind(self, node: str) -> int:
        """Return the port of a node's socket, bound now if it has none."""
        pipe = self._pipes.get(node)
        if pipe is not None:
            return pipe.port
        port = self._reserved.get(node, 0)
        if port:
            try:
                return self._bind(node, port)
            except Conflict:
                del self._reserved[node]
        return self._bind_free(node)

    def close(self, node: str) -> None:
        """Cut a node off: its connection ends and nothing is queued for it."""
        self._behind.pop(node, None)
        pipe = self._pipes.pop(node, None)
        if pipe is not None:
            pipe.socket.close(linger=0)

    def close_all(self) -> None:
        for node in list(self._pipes):
            self.close(node)

    def send(self, node: str, frame: bytes, now_ns: int) -> None:
        """Hand a frame to a node's connection, or keep it a moment until there is one."""
        pipe = self._pipes.get(node)
        if pipe is None:
            self.dropped += 1
            return
        pipe.is_fresh = False
        if not pipe.queued:
            try:
                pipe.socket.send(frame, zmq.NOBLOCK)
            except zmq.Again:
                pass  # nobody is there yet
            else:
                return
        if len(pipe.queued) >= QUEUE_FRAMES_MAX or pipe.queued_bytes + len(frame) > QUEUE_BYTES_MAX:
            self.dropped += 1
            return
        pipe.queued.append((now_ns, frame))
        pipe.queued_bytes += len(frame)
        self._behind[node] = pipe

    def waiting(self) -> Iterable[Socket]:
        """Return the sockets that have frames queued: poll them for POLLOUT."""
        return [pipe.socket for pipe in self._behind.values()]

    def flush(self, now_ns: int) -> None:
        """Send what waits as far as it goes; drop what is too old to mean anything."""
        for node, pipe in list(self._behind.items()):
            while pipe.queued:
                sent_ns, frame = pipe.queued[0]
                if now_ns - sent_ns > QUEUE_AGE_NS:
                    self.dropped += 1
                else:
                    try:
                        pipe.socket.send(frame, zmq.NOBLOCK)
                    except zmq.Again:
                        break
                pipe.queued.popleft()
                pipe.queued_bytes -= len(frame)
            if not pipe.queued:
                del self._behind[node]

    def _bind(self, node: str, port: int) -> int:
        socket = self._door.open(zmq.PUSH, NODE_DOMAIN + node, sndhwm=SNDHWM_DISPATCH)
        try:
            bound = self._door.bind_again(socket, port) if port else self._door.bind(socket, 0)
        except Conflict:
            socket.close(linger=0)
            raise
        self._pipes[node] = Pipe(socket, bound)
        self._reserved[node] = bound
        return bound

    def _bind_free(self, node: str) -> int:
        """Take the first port of the range that no node has; any free one without a range."""
        if not self._first_port:
            return self._bind(node, 0)
        taken = set(self._reserved.values())
        port = self._first_port
        while True:
            while port in taken:
                port += 1
            if port > 65_535:
                raise Conflict("no dispatch port is free: forget nodes, or set [scheduler] port")
            socket = self._door.open(zmq.PUSH, NODE_DOMAIN + node, sndhwm=SNDHWM_DISPATCH)
            try:
                self._door.bind(socket, port)
            except Conflict:
                socket.close(linger=0)
                taken.add(port)
                continue
            self._pipes[node] = Pipe(socket, port)
            self._reserved[node] = port
            return port
