"""Is a stranger refused? Asked at each start, before anything is served."""

from __future__ import annotations

import time

import zmq
from zmq.utils.monitor import parse_monitor_message

from ..config.endpoints import tcp_url
from ..config.keys import generate
from ..protocol.errors import RemudaError
from .wire import Socket, Wire

SELF_TEST_S = 20.0
_POLL_MS = 50
_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_ADMITTED = zmq.EVENT_HANDSHAKE_SUCCEEDED


class SelfTestFailed(RemudaError):  # noqa: N818 - the public names read as outcomes
    """A stranger's key was not refused: serving would serve everybody."""

    code = "self_test_failed"


def check_stranger_is_refused(wire: Wire, host: str, port: int, server_public: str) -> None:
    """Knock with a random key; raise SelfTestFailed unless it is refused."""
    stranger = generate()
    socket: Socket = wire.context.socket(zmq.DEALER)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.curve_serverkey = server_public.encode()
        socket.curve_publickey = stranger.public.encode()
        socket.curve_secretkey = stranger.secret.encode()
        monitor: Socket = socket.get_monitor_socket(_REFUSED | _ADMITTED)
        socket.connect(tcp_url(host, port))
        _await_refusal(wire, monitor, stranger.public)
    finally:
        socket.disable_monitor()
        socket.close(linger=0)


def _await_refusal(wire: Wire, monitor: Socket, stranger: str) -> None:
    """Answer handshakes ourselves until the knock was refused."""
    ends = time.monotonic() + SELF_TEST_S
    while time.monotonic() < ends:
        wire.answer_handshakes(expected=stranger)
        if not monitor.poll(_POLL_MS):
            continue
        event = parse_monitor_message(monitor.recv_multipart())
        if event["event"] == _ADMITTED:
            raise SelfTestFailed(
                f"a random key was admitted: libzmq {zmq.zmq_version()} does not ask for keys; "
                "nothing is served"
            )
        return
    raise SelfTestFailed(
        f"a random key was neither refused nor admitted within {SELF_TEST_S:g} s: the host may be "
        "overloaded; start again"
    )
