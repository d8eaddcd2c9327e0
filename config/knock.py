"""How does somebody ask a scheduler one thing who is not a member yet?"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from ..protocol import codec
from ..protocol.errors import NotAllowed, Unreachable, from_wire
from ..protocol.messages import Failure, Message
from .keys import KeyPair

PATIENCE_S = 20.0
RESEND_S = 3.0
POLL_MS = 200
RECONNECT_MS, RECONNECT_MS_MAX = 200, 1_000
HANDSHAKE_MS = 10_000
_FAILED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_WATCHED = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | _FAILED

Socket = zmq.Socket[bytes]


@dataclass(frozen=True, slots=True)
class Door:
    """A scheduler's control port, the key that it must have, and the key that we show there."""

    endpoint: str
    scheduler_public: str
    key: KeyPair


class NotLetIn(NotAllowed):
    """The scheduler does not know our key, or no longer."""


class Heard(NamedTuple):
    """An answer, and our own clock when the question went out and when this came."""

    message: Message
    sent_ms: int
    heard_ms: int


def knock(door: Door, message: Message, *, patience_s: float = PATIENCE_S) -> Heard:
    """Ask, and ask again until there is an answer.

    Raises what the scheduler refuses with, NotLetIn, or Unreachable.
    """
    context: zmq.Context[Socket] = zmq.Context()
    try:
        socket = _socket(context, door)
        monitor = socket.get_monitor_socket(_WATCHED)
        socket.connect(door.endpoint)
        return _until_answered(socket, monitor, door, codec.encode(message, 0), patience_s)
    except zmq.ZMQError as error:
        raise Unreachable(f"cannot dial {door.endpoint}: {error}") from error
    finally:
        context.destroy(linger=0)


def _socket(context: zmq.Context[Socket], door: Door) -> Socket:
    socket: Socket = context.socket(zmq.DEALER)
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.IMMEDIATE, 1),
        (zmq.IPV6, 1),
        (zmq.MAXMSGSIZE, codec.FRAME_BYTES_MAX),
        (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
        (zmq.RECONNECT_IVL, RECONNECT_MS),
        (zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX),
    ):
        socket.setsockopt(option, value)
    socket.curve_serverkey = door.scheduler_public.encode()
    socket.curve_publickey = door.key.public.encode()
    socket.curve_secretkey = door.key.secret.encode()
    return socket


def _until_answered(
    socket: Socket, monitor: Socket, door: Door, frame: bytes, patience_s: float
) -> Heard:
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(monitor, zmq.POLLIN)
    ends, resend_at, sent_ms, seen = time.monotonic() + patience_s, 0.0, 0, 0
    mark = os.urandom(8)
    while (now := time.monotonic()) < ends:
        if now >= resend_at and _send(socket, mark, frame):
            resend_at, sent_ms = now + RESEND_S, _wall_ms()
        ready = dict(poller.poll(POLL_MS))
        if monitor in ready:
            seen |= _event(monitor)
            if seen & zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                raise NotLetIn(f"{door.endpoint} does not admit this key")
        if socket in ready:
            parts = socket.recv_multipart()
            if len(parts) == 3 and parts[0] == mark:
                return Heard(_read(parts[2]), sent_ms, _wall_ms())
    raise Unreachable(_why(door, seen, patience_s))


def _send(socket: Socket, mark: bytes, frame: bytes) -> bool:
    try:
        socket.send_multipart([mark, b"", frame], zmq.NOBLOCK)
    except zmq.Again:
        return False  # there is no connection now
    return True


def _event(monitor: Socket) -> int:
    event: dict[str, Any] = dict(parse_monitor_message(monitor.recv_multipart()))
    return int(event["event"])


def _read(payload: bytes) -> Message:
    message = codec.decode(payload).message
    if isinstance(message, Failure):
        raise from_wire(message.code, message.message, field=message.field)
    return message


def _why(door: Door, seen: int, patience_s: float) -> str:
    if seen & _FAILED:
        return (
            f"{door.endpoint} is reached, but is not the scheduler that made this line: it has "
            "another key, or is not remuda: check the address, then ask an admin for another line"
        )
    if seen & zmq.EVENT_CONNECTED:
        return f"{door.endpoint} is reached and gave no answer within {patience_s:g} s: try again"
    return (
        f"nothing answers at {door.endpoint} within {patience_s:g} s: is the scheduler up, does a "
        "firewall let its ports through, and is this the address by which this host reaches it "
        "(else: `remuda key invite --endpoint tcp://HOST:PORT`)?"
    )


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
