"""Is a port that is reached told from one that is not, and why?"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import zmq

from remuda.config.keys import generate
from remuda.node.dialling import AT_ONCE_S, Scheduler, reach_ports
from remuda.node.preflight_cluster import Reach

SERVER = generate()
PATIENCE_S = 0.7


def reach(port: int, patience_s: float = PATIENCE_S, public: str = SERVER.public) -> Reach:
    scheduler = Scheduler("127.0.0.1", public, generate())
    return reach_ports(scheduler, {"uplink": port}, patience_s)["uplink"]


@pytest.fixture
def port() -> Iterator[int]:
    """Let a CURVE server that admits everybody listen."""
    with zmq.Context() as context, context.socket(zmq.PULL) as server:
        server.setsockopt(zmq.LINGER, 0)
        server.setsockopt(zmq.CURVE_SERVER, 1)
        server.setsockopt(zmq.CURVE_SECRETKEY, SERVER.secret.encode())
        yield server.bind_to_random_port("tcp://127.0.0.1")


def test_a_port_of_the_scheduler_is_open(port: int) -> None:
    assert Reach.OPEN is reach(port, 30.0)


def test_a_port_where_nobody_listens_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    assert Reach.REFUSED is reach(number)


def test_what_accepts_a_connection_and_does_not_speak_is_mute() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert Reach.MUTE is reach(mute.getsockname()[1])


def test_a_port_whose_packets_are_dropped_is_silent() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),  # the kernel drops who comes after it
    ):
        assert Reach.SILENT is reach(full.getsockname()[1])


def test_a_scheduler_with_another_key_is_not_ours(port: int) -> None:
    assert Reach.NOT_OURS is reach(port, public=generate().public)


def test_a_daemon_of_ours_that_ends_a_handshake_which_it_was_too_slow_for_is_mute() -> None:
    with zmq.Context() as context, context.socket(zmq.REP) as judge:
        judge.setsockopt(zmq.LINGER, 0)
        judge.bind("inproc://zeromq.zap.01")  # where nobody answers who may come in
        with context.socket(zmq.PULL) as server:
            server.setsockopt(zmq.LINGER, 0)
            server.setsockopt(zmq.CURVE_SERVER, 1)
            server.setsockopt(zmq.CURVE_SECRETKEY, SERVER.secret.encode())
            server.setsockopt(zmq.ZAP_DOMAIN, b"store")
            server.setsockopt(zmq.HANDSHAKE_IVL, int(1_500 * AT_ONCE_S))
            number = server.bind_to_random_port("tcp://127.0.0.1")
            assert Reach.MUTE is reach(number, 3 * AT_ONCE_S)


def test_only_the_ports_that_are_named_are_dialled(port: int) -> None:
    scheduler = Scheduler("127.0.0.1", SERVER.public, generate())
    found = reach_ports(scheduler, {"uplink": port, "unknown": 1}, 30.0)
    assert {"uplink": Reach.OPEN} == found
