"""Is the scheduler closed to strangers, and does nothing they send end it?"""

import contextlib
import json
import secrets
import socket as tcp
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from remuda.config.first_keys import Trusted, ensure_admin
from remuda.config.home import Home
from remuda.config.keys import generate, load_identity, save_authorized
from remuda.config.settings_scheduler import PortPlan
from remuda.config.strangers import SelfTestFailed, check_strangers_are_refused
from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.scheduler.sockets import Door
from remuda.scheduler.wire import Wire
from remuda.scheduler.zap import Keys

from ..fakes.raw import RawScheduler, raw_scheduler, wait_for

pytestmark = pytest.mark.cluster
REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
ADMITTED = zmq.EVENT_HANDSHAKE_SUCCEEDED


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawScheduler]:
    with raw_scheduler(tmp_path_factory.mktemp("security")) as running:
        yield running


def handshake(
    scheduler: RawScheduler, kind: int, pair: Any, port: int, *, curve: bool = True
) -> int:
    """Dial and return the first verdict on the handshake."""
    socket = scheduler.context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    if curve:
        socket.setsockopt(zmq.CURVE_SERVERKEY, scheduler.endpoints.scheduler_public.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode())
    monitor = socket.get_monitor_socket(
        REFUSED | ADMITTED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_DISCONNECTED
    )
    monitor.setsockopt(zmq.RCVTIMEO, 10_000)
    socket.connect(f"tcp://127.0.0.1:{port}")  # only now, so that no verdict is missed
    frames = monitor.recv_multipart()
    socket.disable_monitor()
    monitor.close(linger=0)
    socket.close(linger=0)
    return int.from_bytes(frames[0][:2], "little")


@pytest.mark.parametrize(
    ("channel", "kind"),
    [("control", zmq.DEALER), ("uplink", zmq.PUSH), ("heartbeat", zmq.PUB), ("beacon", zmq.SUB)],
)
def test_an_unknown_key_is_refused_on_every_socket(
    scheduler: RawScheduler, channel: str, kind: int
) -> None:
    port = getattr(scheduler.endpoints, channel)
    assert handshake(scheduler, kind, generate(), port) == zmq.EVENT_HANDSHAKE_FAILED_AUTH


def test_an_unknown_key_is_logged_once(scheduler: RawScheduler) -> None:
    stranger = generate()
    for _ in range(3):
        handshake(scheduler, zmq.DEALER, stranger, scheduler.endpoints.control)
    wait_for(lambda: stranger.public in events(scheduler, "key_refused"), "a line about it")
    assert 1 == events(scheduler, "key_refused").count(stranger.public)


def events(scheduler: RawScheduler, name: str) -> str:
    lines = [json.loads(line) for line in scheduler.log().splitlines()]
    return "\n".join(line["about"] for line in lines if line["event"] == name)


@pytest.mark.parametrize(
    ("channel", "kind"), [("uplink", zmq.PUSH), ("heartbeat", zmq.PUB), ("beacon", zmq.SUB)]
)
def test_a_client_key_opens_no_socket_of_the_nodes(
    scheduler: RawScheduler, channel: str, kind: int
) -> None:
    port = getattr(scheduler.endpoints, channel)
    assert handshake(scheduler, kind, scheduler.keys["root"], port) == (
        zmq.EVENT_HANDSHAKE_FAILED_AUTH
    )


def test_a_node_cannot_read_what_is_sent_to_another(scheduler: RawScheduler) -> None:
    port = scheduler.node("n1").register().dispatch_port
    own = handshake(scheduler, zmq.PULL, scheduler.keys["n1"], port)
    other = handshake(scheduler, zmq.PULL, scheduler.keys["n2"], port)
    assert (ADMITTED, zmq.EVENT_HANDSHAKE_FAILED_AUTH) == (own, other)


def test_a_client_without_curve_gets_nowhere(scheduler: RawScheduler) -> None:
    port = scheduler.endpoints.control
    verdict = handshake(scheduler, zmq.REQ, None, port, curve=False)
    assert verdict != ADMITTED
    assert_served(scheduler)


def assert_served(scheduler: RawScheduler) -> None:
    assert isinstance(scheduler.client("alice").ask(m.Status()), m.Document)


def test_garbage_on_every_port_leaves_the_others_served(scheduler: RawScheduler) -> None:
    ports = scheduler.endpoints
    for port in (ports.control, ports.uplink, ports.heartbeat, ports.beacon):
        for blob in (b"GET / HTTP/1.1\r\n\r\n", secrets.token_bytes(5_000), b"\xff\x00\x00"):
            stream = tcp.create_connection(("127.0.0.1", port))
            with stream, contextlib.suppress(OSError):  # it may hang up on us
                stream.sendall(blob)
    wait_for(lambda: "handshake_failed" in scheduler.log(), "a line about garbage")
    assert_served(scheduler)


def test_a_frame_of_100_megabytes_is_cut_off_and_others_are_served(
    scheduler: RawScheduler,
) -> None:
    pair, port = scheduler.keys["alice"], scheduler.endpoints.control
    big = scheduler.socket(zmq.DEALER, pair, port)
    big.send_multipart([b"", b"x" * 100_000_000])
    assert 0 == big.poll(500)
    big.close(linger=0)
    wait_for(lambda: "connection_ended" in scheduler.log(), "a line about it")
    assert_served(scheduler)


def test_a_frame_over_the_limit_gets_a_typed_answer(scheduler: RawScheduler) -> None:
    answer = scheduler.client("alice").ask_frame(b"\xc1" * (codec.FRAME_BYTES_MAX + 1))
    assert (m.Failure, "malformed") == (type(answer), answer.code)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\xc1", "malformed"),
        (b"", "malformed"),
        (b"\x94" * 100_000, "malformed"),
        (b"\x94\x7f\x0c\x00\x90", "foreign_protocol"),
        (b"\x94\x01\xcd\x03\xe7\x00\x90", "unknown_message"),
        (b"\x94\x01\x0c\x00\x91\x01", "malformed"),
    ],
)
def test_a_malformed_frame_gets_a_typed_failure(
    scheduler: RawScheduler, frame: bytes, code: str
) -> None:
    answer = scheduler.client("alice").ask_frame(frame)
    assert (m.Failure, code) == (type(answer), answer.code)


def test_a_strange_envelope_is_dropped(scheduler: RawScheduler) -> None:
    pair, port = scheduler.keys["alice"], scheduler.endpoints.control
    dealer = scheduler.socket(zmq.DEALER, pair, port)
    frame = codec.encode(m.Status(), 0)
    dealer.send_multipart([frame])
    dealer.send_multipart([b"x"] * 20)
    dealer.send_multipart([b"corr", b"", frame])
    assert [b"corr", b""] == dealer.recv_multipart()[:-1]
    assert 0 == dealer.poll(50)
    dealer.close(linger=0)


def test_garbage_of_a_node_is_dropped_and_the_node_stays(scheduler: RawScheduler) -> None:
    node = scheduler.node("n2")
    node.register()
    node.uplink.send(b"\xc1")
    node.uplink.send_multipart([b"a", b"b", b"c"])
    node.uplink.send(codec.encode(m.Status(), 0))
    node.heartbeat.send(b"nonsense")
    wait_for(lambda: "misplaced" in scheduler.log(), "a line about it")
    assert isinstance(node.register(), m.Registered)


def test_a_node_key_cannot_submit(scheduler: RawScheduler) -> None:
    assert "not_allowed" == scheduler.client("n1").submit().code


def test_an_answer_to_a_late_request_is_never_taken_for_the_next_one(
    scheduler: RawScheduler,
) -> None:
    client = scheduler.client("alice")
    client.socket.send(codec.encode(m.Watch(secrets.token_bytes(16), 0, 0, 0), 0))
    assert isinstance(client.ask(m.Status()), m.Document)


def test_one_user_neither_sees_nor_cancels_the_tasks_of_another(scheduler: RawScheduler) -> None:
    (task,) = scheduler.client("alice").submit(allow_infeasible=True).tasks
    bob = scheduler.client("bob")
    seen = [
        bob.ask(m.ShowTask(task)).code,
        bob.ask(m.Explain(task)).code,
        bob.ask(m.Logs(task, 0, "out", 0)).code,
        bob.ask(m.Cancel([task], [])).code,
        bob.ask(m.States([task])).states[0],
        bob.ask(m.ListTasks({})).total,
    ]
    assert ["not_found"] * 5 + [0] == seen


def test_revocation_takes_effect_on_the_next_message(tmp_path: Path) -> None:
    with raw_scheduler(tmp_path) as scheduler:
        bob, root = scheduler.client("bob"), scheduler.client("root")
        assert isinstance(bob.ask(m.Status()), m.Document)
        assert isinstance(root.ask(m.RevokeKey("bob")), m.Done)
        assert "not_allowed" == bob.ask(m.Status()).code


def test_a_revoked_node_is_cut_off_and_its_tasks_move_on(tmp_path: Path) -> None:
    with raw_scheduler(tmp_path) as scheduler:
        first, second = scheduler.node("n1"), scheduler.node("n2")
        first.register()
        (task,) = scheduler.client("alice").submit().tasks
        assert [task] == first.hear(m.Offer).tasks
        scheduler.client("root").ask(m.RevokeKey("n1"))
        second.register()
        offer = second.hear(m.Offer)
        assert ([task], [2]) == (offer.tasks, offer.attempts)


def test_a_revoked_key_stays_revoked_over_a_restart(tmp_path: Path) -> None:
    with raw_scheduler(tmp_path) as scheduler:
        scheduler.client("root").ask(m.RevokeKey("bob"))
        scheduler.kill()
        scheduler.start()
        port = scheduler.endpoints.control
        verdict = handshake(scheduler, zmq.REQ, scheduler.keys["bob"], port)
        assert verdict == zmq.EVENT_HANDSHAKE_FAILED_AUTH


def test_an_allowed_key_is_served_at_once(tmp_path: Path) -> None:
    with raw_scheduler(tmp_path) as scheduler:
        carol = scheduler.keys["carol"] = generate()
        done = scheduler.client("root").ask(m.AllowKey("carol", "viewer", carol.public))
        assert isinstance(done, m.Done)
        assert isinstance(scheduler.client("carol").ask(m.Status()), m.Document)


def test_the_last_admin_cannot_be_revoked(scheduler: RawScheduler) -> None:
    assert "conflict" == scheduler.client("root").ask(m.RevokeKey("root")).code


def test_without_keys_nothing_beyond_loopback_is_opened(tmp_path: Path) -> None:
    scheduler = RawScheduler(tmp_path, '[scheduler]\nlisten = "0.0.0.0"\n')
    save_authorized(scheduler.home.authorized_file, [])
    scheduler.launch()
    assert scheduler.process is not None
    assert 4 == scheduler.process.wait(20)
    assert "without keys" in scheduler.log()
    scheduler.close()


STORE = ("remuda-store", "store")


def test_a_fresh_home_gets_one_admin_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    with fresh_scheduler(tmp_path) as scheduler:
        file = scheduler.home.key_file("client")
        admin = load_identity(file)
        scheduler.keys[admin.name] = admin.key
        rows = scheduler.client(admin.name).ask(m.ListKeys()).rows
        assert {(admin.name, "admin"), STORE} == {(row["name"], row["role"]) for row in rows}
        assert 0o600 == file.stat().st_mode & 0o777
        assert str(file) in scheduler.log()


def test_the_first_admin_key_is_made_once_and_survives_a_crash_before_it_is_known(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    home.create()
    made = ensure_admin(home, Trusted(generate().public, "tcp://127.0.0.1:1", "local"))
    with fresh_scheduler(tmp_path) as scheduler:
        scheduler.kill()
        scheduler.start()
        assert made.key == load_identity(home.key_file("client")).key
        scheduler.keys[made.name] = made.key
        rows = scheduler.client(made.name).ask(m.ListKeys()).rows
        assert {(made.name, "admin"), STORE} == {(row["name"], row["role"]) for row in rows}


@contextmanager
def fresh_scheduler(root: Path) -> Iterator[RawScheduler]:
    """Start a scheduler in a home that nobody has prepared."""
    scheduler = RawScheduler(root)
    scheduler.home.authorized_file.unlink()
    try:
        scheduler.start()
        yield scheduler
    finally:
        scheduler.close()


class AllAreAdmitted(Keys):
    """The safeguard removed: a table of keys that refuses nobody."""

    def may_connect(self, public_key: str, domain: str) -> bool:
        return True


@pytest.mark.parametrize("keys", [Keys(), AllAreAdmitted()])
def test_the_self_test_passes_only_where_strangers_are_refused(keys: Keys) -> None:
    server = generate()
    context: zmq.Context[Any] = zmq.Context()
    door = Door(context, "127.0.0.1", server, 3.0, codec.FRAME_BYTES_MAX)
    wire = Wire(door, PortPlan(0, 0, 0, 0, 0), keys, lambda *_: None)
    wire.listen()
    try:
        if isinstance(keys, AllAreAdmitted):
            with pytest.raises(SelfTestFailed, match="admitted"):
                check_strangers_are_refused(context, wire.doors(), server.public, wire.gate.answer)
        else:
            check_strangers_are_refused(context, wire.doors(), server.public, wire.gate.answer)
    finally:
        wire.close()
        context.destroy(linger=0)
