"""Does a line let in one newcomer and nobody else, whatever is tried with it?"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import socket as tcp
import subprocess
import sys
import threading
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from remuda.cli import ports
from remuda.config.invitation import Invitation, to_line
from remuda.config.keys import KeyPair, generate, load_identity
from remuda.protocol import messages as m

from ..fakes import dying, halting
from ..fakes.raw import RawScheduler, raw_scheduler, wait_for
from .command_line import COMMAND, DEADLINE_S

pytestmark = pytest.mark.cluster

ADMITTED, REFUSED = zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_HANDSHAKE_FAILED_AUTH
AGENT = (sys.executable, "-P", "-m", "remuda.node")
LAB = '[cluster]\nname = "lab"\n'


class Host:
    """A host of its own: another HOME, nothing of ours in its environment, started from `/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "var"
        folder.mkdir(parents=True)
        self.env = {
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
            "REMUDA_NODE__LOCK_DIR": str(folder / "locks"),
            "REMUDA_NODE__GPUS": "[]",
            "COLUMNS": "160",
        }
        self.agents: list[subprocess.Popen[str]] = []

    def remuda(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Type a command."""
        return self._run(COMMAND, *words, text=text)

    def node(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run the agent to its end."""
        return self._run(AGENT, "--home", str(self.home), *words, text=text)

    def start(self, *words: str, line: str = "") -> subprocess.Popen[str]:
        """Start the agent and leave it running."""
        env = self.env | ({"REMUDA_JOIN": line} if line else {})
        with (self.folder / "log").open("ab") as log:
            agent = subprocess.Popen(
                [*AGENT, "--home", str(self.home), *words], env=env, cwd="/", stderr=log, text=True
            )
        self.agents.append(agent)
        return agent

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def close(self) -> None:
        for agent in self.agents:
            agent.send_signal(signal.SIGTERM)
            agent.wait(DEADLINE_S)

    def _run(self, *words: Any, text: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = words
        return subprocess.run(
            [*program, *arguments],
            env=self.env,
            cwd="/",
            input=text,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host")
    yield made
    made.close()


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawScheduler]:
    with raw_scheduler(tmp_path_factory.mktemp("lab"), LAB) as running:
        yield running


def invite(
    scheduler: RawScheduler, role: str, name: str = "", valid_ms: int = 900_000
) -> Invitation:
    """Make an invitation as `remuda key invite` does."""
    pair, found = generate(), scheduler.endpoints
    told = scheduler.client("root").ask(m.Invite(name, role, pair.public, valid_ms))
    assert isinstance(told, m.Document), told
    return Invitation(
        found.url("control"), found.scheduler_public, pair.secret, name, role, found.cluster
    )


def ask(scheduler: RawScheduler, pair: KeyPair, *messages: m.Message) -> list[Any]:
    """Ask with any key and return the answers."""
    scheduler.keys["somebody"] = pair
    client = scheduler.client("somebody")
    return [client.ask(message) for message in messages]


def keys_of(scheduler: RawScheduler) -> dict[str, str]:
    rows = scheduler.client("root").ask(m.ListKeys()).rows
    return {row["name"]: f"{row['role']} {row['state']}" for row in rows}


# --- who is let in ------------------------------------------------------------------------------


def test_a_host_joins_by_one_line_and_starts_again_with_it(
    scheduler: RawScheduler, host: Host
) -> None:
    line = to_line(invite(scheduler, "node", "gpu-7"))
    first = host.start("--join", line)
    root = scheduler.client("root")
    states = lambda: {row["name"]: row["state"] for row in root.ask(m.ListNodes()).rows}
    wait_for(lambda: states().get("gpu-7") == "ready", "the node")
    key = host.home / "keys" / "node-gpu-7.key"
    assert [key.name] == [path.name for path in key.parent.iterdir()]
    assert 0o600 == key.stat().st_mode & 0o777
    assert scheduler.endpoints.scheduler_public == load_identity(key).scheduler_public
    first.send_signal(signal.SIGTERM)
    first.wait(DEADLINE_S)
    before = key.read_bytes()
    host.start(line=line)
    wait_for(lambda: host.log().count('"registered"') == 2, "the node, started again")
    assert before == key.read_bytes()
    assert 0 == host.node("--check").returncode


def test_a_user_logs_in_by_one_line_and_again(scheduler: RawScheduler, host: Host) -> None:
    line = to_line(invite(scheduler, "submit", "anna"))
    first, again = host.remuda("login", line), host.remuda("login", "-", text=line + "\n")
    assert (0, 0) == (first.returncode, again.returncode), first.stderr + again.stderr
    assert first.stdout == again.stdout
    assert "logged in to lab" in first.stdout
    assert "as anna, role submit" in first.stdout
    assert 0 == host.remuda("status").returncode
    assert "submit allowed" == keys_of(scheduler)["anna"]


def test_a_newcomer_without_a_name_in_its_line_chooses_one_that_is_new(
    scheduler: RawScheduler, host: Host
) -> None:
    line = to_line(invite(scheduler, "viewer"))
    taken = host.remuda("login", line, "--name", "alice")
    assert 1 == taken.returncode
    assert "the name alice was given before" in taken.stderr
    assert 0 == host.remuda("login", line, "--name", "walter").returncode
    assert "viewer allowed" == keys_of(scheduler)["walter"]


def test_clusters_stand_side_by_side(scheduler: RawScheduler, host: Host, tmp_path: Path) -> None:
    with raw_scheduler(tmp_path / "farm", LAB.replace("lab", "farm")) as farm:
        for each in (scheduler, farm):
            line = to_line(invite(each, "operator", "otto"))
            assert 0 == host.remuda("login", line).returncode
        shown = lambda: host.remuda("status").stdout.split()[0]
        assert "lab" == shown()
        assert 0 == host.remuda("cluster", "use", "farm").returncode
        assert "farm" == shown()
        listed = host.remuda("cluster", "list").stdout.splitlines()[1:]
        assert [["*", "farm"], ["lab", "tcp://127.0.0.1"]] == [
            [words[0], words[1].rpartition(":")[0] if ":" in words[1] else words[1]]
            for words in map(str.split, listed)
        ]
        assert "lab" == host.remuda("--cluster", "lab", "status").stdout.split()[0]
        assert 0 == host.remuda("cluster", "forget", "farm").returncode
        assert 3 == host.remuda("--cluster", "farm", "status").returncode


# --- who is not ---------------------------------------------------------------------------------


def test_the_key_of_a_line_may_say_nothing_but_enrol(scheduler: RawScheduler) -> None:
    pair = invite(scheduler, "admin", "boss").one_time_key
    others = [kind for kind in m.MESSAGES.values() if kind is not m.Enrol]
    answers = ask(scheduler, pair, *(plainest(kind) for kind in others))
    refused = {answer.code for answer in answers if isinstance(answer, m.Failure)}
    assert ({"not_allowed"}, len(others)) == (refused, len(answers))
    assert "admin invited" == keys_of(scheduler)["boss"]


def plainest(kind: type[m.Message]) -> m.Message:
    """Make a message with nothing in it."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]  # Message has no fields of its own
    return kind(**{f.name: (typing.get_origin(hints[f.name]) or hints[f.name])() for f in fields})


@pytest.mark.parametrize(
    ("channel", "kind"), [("uplink", zmq.PUSH), ("heartbeat", zmq.PUB), ("beacon", zmq.SUB)]
)
def test_the_key_of_a_line_opens_no_other_channel(
    scheduler: RawScheduler, channel: str, kind: int
) -> None:
    pair = invite(scheduler, "node", "gpu-9").one_time_key
    assert REFUSED == handshake(scheduler, kind, pair, getattr(scheduler.endpoints, channel))
    assert ADMITTED == handshake(scheduler, zmq.DEALER, pair, scheduler.endpoints.control)


def test_a_node_that_joined_cannot_read_what_is_sent_to_another(scheduler: RawScheduler) -> None:
    invited = {name: invite(scheduler, "node", name) for name in ("gpu-1", "gpu-2")}
    own = {name: generate() for name in invited}
    told = {
        name: ask(scheduler, each.one_time_key, m.Enrol(name, "node", own[name].public))[0].body
        for name, each in invited.items()
    }
    port = told["gpu-1"]["ports"]["dispatch"]
    verdicts = [handshake(scheduler, zmq.PULL, own[name], port) for name in ("gpu-1", "gpu-2")]
    assert [ADMITTED, REFUSED] == verdicts


def handshake(scheduler: RawScheduler, kind: int, pair: KeyPair, port: int) -> int:
    """Dial and return the verdict."""
    socket = scheduler.context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.CURVE_SERVERKEY, scheduler.endpoints.scheduler_public.encode())
    socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode())
    with socket, socket.get_monitor_socket(REFUSED | ADMITTED) as monitor:
        monitor.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1_000))
        socket.connect(f"tcp://127.0.0.1:{port}")
        frames = monitor.recv_multipart()
        socket.disable_monitor()
    return int.from_bytes(frames[0][:2], "little")


@pytest.mark.parametrize(
    ("name", "role"), [("ben", "admin"), ("carl", "submit"), ("ben", "node"), ("alice", "submit")]
)
def test_a_line_gives_no_other_name_and_no_other_role(
    scheduler: RawScheduler, name: str, role: str
) -> None:
    once = invite(scheduler, "submit", "ben").one_time_key
    (answer,) = ask(scheduler, once, m.Enrol(name, role, generate().public))
    assert "not_allowed" == answer.code
    assert "submit invited" == keys_of(scheduler)["ben"]


def test_a_line_lets_in_one_key_and_tells_that_one_the_same_again(
    scheduler: RawScheduler,
) -> None:
    once, mine, theirs = invite(scheduler, "submit", "dora").one_time_key, generate(), generate()
    enrol = m.Enrol("dora", "submit", mine.public)
    first, again = ask(scheduler, once, enrol)[0], ask(scheduler, once, enrol)[0]
    (other,) = ask(scheduler, once, m.Enrol("dora", "submit", theirs.public))
    same = [{k: v for k, v in each.body.items() if k != "wall_ms"} for each in (first, again)]
    assert same[0] == same[1]
    assert "was used already" in other.message
    port = scheduler.endpoints.control
    verdicts = [handshake(scheduler, zmq.DEALER, pair, port) for pair in (mine, theirs)]
    assert [ADMITTED, REFUSED] == verdicts


def test_who_admits_nobody_invites_nobody(scheduler: RawScheduler) -> None:
    question = m.Invite("eve", "admin", generate().public, 60_000)
    answers = [scheduler.client(name).ask(question) for name in ("oscar", "alice", "vera", "n1")]
    assert ["not_allowed"] * 4 == [answer.code for answer in answers]


def test_a_node_asks_for_itself_alone(scheduler: RawScheduler) -> None:
    node, keys = scheduler.client("n1"), scheduler.keys
    own = node.ask(m.Enrol("n1", "node", keys["n1"].public))
    assert ("n1", True) == (own.body["name"], own.body["ports"]["dispatch"] > 0)
    for public in (keys["n2"].public, generate().public):
        assert "not_allowed" == node.ask(m.Enrol("n1", "node", public)).code


def test_a_stranger_with_a_line_of_their_own_making_is_told_that_nobody_knows_it(
    scheduler: RawScheduler, host: Host
) -> None:
    found = scheduler.endpoints
    forged = Invitation(
        found.url("control"), found.scheduler_public, generate().secret, "eve", "admin", "lab"
    )
    done = host.remuda("login", to_line(forged))
    assert 4 == done.returncode
    assert "knows nothing of this line" in done.stderr
    assert "eve" not in keys_of(scheduler)


def test_a_line_that_is_withdrawn_says_so(scheduler: RawScheduler, host: Host) -> None:
    line = to_line(invite(scheduler, "node", "gpu-w"))
    assert isinstance(scheduler.client("root").ask(m.RevokeKey("gpu-w")), m.Done)
    done = host.node("--join", line)
    assert 4 == done.returncode
    assert "this line was withdrawn" in done.stderr


@pytest.mark.parametrize(
    ("role", "program", "words"),
    [
        ("node", COMMAND, ("login",)),
        ("submit", AGENT, ("--join",)),
        ("node", AGENT, ("--name", "gpu-other", "--join")),
    ],
    ids=["a node logs in", "a user joins", "a node of another name joins"],
)
def test_a_line_that_is_for_something_else_is_not_spent(
    scheduler: RawScheduler, host: Host, role: str, program: tuple[str, ...], words: tuple[str, ...]
) -> None:
    line = to_line(invite(scheduler, role, "gpu-x"))
    done = host._run(program, *words, line, text="")
    assert (4, True) == (done.returncode, "this line is for" in done.stderr), done.stderr
    assert f"{role} invited" == keys_of(scheduler)["gpu-x"]


# --- time ---------------------------------------------------------------------------------------


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[RawScheduler]:
    """Run a scheduler whose clock the test sets."""
    with raw_scheduler(tmp_path / "clocked", LAB, halting.PROGRAM) as running:
        yield running


def test_a_line_expires_and_says_when(clocked: RawScheduler, host: Host) -> None:
    line = to_line(invite(clocked, "submit", "anna", valid_ms=900_000))
    halting.set_wall_clock(clocked.home.root, 900 + 185)
    done = host.remuda("login", line)
    assert 4 == done.returncode
    assert "this line expired 3 minutes ago" in done.stderr
    assert "anna" not in keys_of(clocked)


def test_a_host_whose_clock_is_wrong_joins_once_it_is_set(
    clocked: RawScheduler, host: Host
) -> None:
    line = to_line(invite(clocked, "node", "gpu-7"))
    halting.set_wall_clock(clocked.home.root, -120)
    refused = host.node("--join", line)
    assert 1 == refused.returncode
    assert "serious  clock" in refused.stderr
    assert "clock is 120 s ahead of the scheduler's" in refused.stderr
    assert "the same line is good for another try on this host" in refused.stderr
    assert [] == clocked.client("root").ask(m.ListNodes()).rows
    halting.set_wall_clock(clocked.home.root, -10)
    host.start("--join", line)
    root = clocked.client("root")
    notes = lambda: str([row["notes"] for row in root.ask(m.ListNodes()).rows])
    wait_for(lambda: "clock is 10 s ahead of the scheduler's" in notes(), "its alarm")


# --- ports --------------------------------------------------------------------------------------


@contextmanager
def only_control(scheduler: RawScheduler, address: str) -> Iterator[str]:
    """Let one port of the scheduler be reached at another address of this host, and no other."""
    listener = tcp.create_server((address, scheduler.endpoints.control))

    def serve() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = tcp.create_connection(("127.0.0.1", scheduler.endpoints.control))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=pump, args=(source, sink), daemon=True).start()

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield f"tcp://{address}:{scheduler.endpoints.control}"
    finally:
        listener.shutdown(tcp.SHUT_RDWR)
        listener.close()
        server.join()


def pump(source: tcp.socket, sink: tcp.socket) -> None:
    with source, sink, contextlib.suppress(OSError):  # the other one may close them first
        while chunk := source.recv(65_536):
            sink.sendall(chunk)


def test_a_firewall_that_opens_the_control_port_alone_stops_the_join_with_the_ports_to_open(
    scheduler: RawScheduler, host: Host
) -> None:
    invitation = invite(scheduler, "node", "gpu-f")
    with only_control(scheduler, "127.0.0.3") as endpoint:
        line = to_line(dataclasses.replace(invitation, endpoint=endpoint))
        done = host.node("--join", line)
    assert 1 == done.returncode, done.stderr
    found = scheduler.endpoints
    for channel in ("uplink", "heartbeat", "beacon"):
        assert f"{channel} {getattr(found, channel)} (refused)" in done.stderr
    assert "let TCP through from this host to 127.0.0.3, ports " in done.stderr
    assert "gpu-f" not in [row["name"] for row in scheduler.client("root").ask(m.ListNodes()).rows]


# --- crashes ------------------------------------------------------------------------------------


def test_a_scheduler_killed_between_admission_and_answer_lets_the_same_host_in(
    tmp_path: Path, host: Host
) -> None:
    port = ports.free_control_port("127.0.0.1", 2, random.SystemRandom())
    scheduler = RawScheduler(tmp_path / "mortal", LAB, dying.PROGRAM, port=port)
    try:
        scheduler.start()
        line = to_line(invite(scheduler, "node", "gpu-7"))
        dying.die_after_admission(scheduler.home.root)
        host.start("--join", line)
        assert scheduler.process is not None
        assert -signal.SIGKILL == scheduler.process.wait(DEADLINE_S)
        scheduler.start()
        wait_for(lambda: '"registered"' in host.log(), "the node")
        assert "node allowed" == keys_of(scheduler)["gpu-7"]
        stranger = Host(tmp_path / "stranger").node("--join", line)
        assert (4, True) == (stranger.returncode, "was used already" in stranger.stderr)
    finally:
        scheduler.close()


def test_a_host_killed_between_admission_and_its_file_is_let_in_again(
    scheduler: RawScheduler, host: Host
) -> None:
    invitation = invite(scheduler, "node", "gpu-k")
    with only_control(scheduler, "127.0.0.4") as endpoint:  # its ports keep it from its file
        line = to_line(dataclasses.replace(invitation, endpoint=endpoint))
        agent = host.start("--join", line)
        wait_for(lambda: keys_of(scheduler)["gpu-k"] == "node allowed", "its admission")
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait(DEADLINE_S)
    keys = host.home / "keys"
    assert [".node-gpu-k.key.joining"] == [path.name for path in keys.iterdir()]
    host.start("--join", to_line(invitation))
    wait_for(lambda: '"registered"' in host.log(), "the node")
    assert ["node-gpu-k.key"] == [path.name for path in keys.iterdir()]
