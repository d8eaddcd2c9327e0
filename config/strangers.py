"""Is a stranger refused on every socket? Asked at each start, before anything is served."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import zmq
from zmq.utils.monitor import parse_monitor_message

from ..protocol.errors import RemudaError
from .keys import KeyPair, generate

SELF_TEST_S = 20.0
_POLL_MS = 50
_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_ADMITTED = zmq.EVENT_HANDSHAKE_SUCCEEDED
Socket = zmq.Socket[bytes]


class SelfTestFailed(RemudaError):  # noqa: N818 - the public names read as outcomes
    """A stranger's key was not refused: serving would serve everybody."""

    code = "self_test_failed"


def check_strangers_are_refused(
    context: zmq.Context[Socket],
    doors: Mapping[str, tuple[int, str]],
    server_public: str,
    answer: Callable[[str], None],
) -> None:
    """Knock on every door with a random key; raise SelfTestFailed unless all refuse.

    `doors` are kinds of sockets and URLs by name. `answer` judges the handshakes that wait, and
    hears the key whose refusal is no news.
    """
    sockets: list[Socket] = []
    open_doors: dict[Socket, str] = {}
    stranger = generate()
    try:
        for name, (kind, url) in doors.items():
            socket, monitor = _knock(context, kind, stranger, server_public)
            sockets += [socket, monitor]
            open_doors[monitor] = name
            socket.connect(url)
        _await_refusals(open_doors, lambda: answer(stranger.public))
    finally:
        for socket in sockets:
            socket.close(linger=0)


def _knock(
    context: zmq.Context[Socket], kind: int, stranger: KeyPair, server_public: str
) -> tuple[Socket, Socket]:
    socket: Socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.CURVE_SERVERKEY, server_public.encode())
    socket.setsockopt(zmq.CURVE_PUBLICKEY, stranger.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, stranger.secret.encode())
    monitor: Socket = socket.get_monitor_socket(_REFUSED | _ADMITTED)
    return socket, monitor


def _await_refusals(open_doors: dict[Socket, str], answer: Callable[[], None]) -> None:
    """Answer handshakes ourselves until each knock was refused."""
    ends = time.monotonic() + SELF_TEST_S
    while open_doors:
        if time.monotonic() > ends:
            raise SelfTestFailed(
                f"a random key was neither refused nor admitted on {', '.join(open_doors.values())}"
                f" within {SELF_TEST_S:g} s: the host may be overloaded; start again"
            )
        answer()
        for monitor in list(open_doors):
            if not monitor.poll(_POLL_MS // len(open_doors)):
                continue
            event = parse_monitor_message(monitor.recv_multipart())
            if event["event"] == _ADMITTED:
                raise SelfTestFailed(
                    f"a random key was admitted on {open_doors[monitor]}: libzmq "
                    f"{zmq.zmq_version()} does not ask for keys; nothing is served"
                )
            del open_doors[monitor]
