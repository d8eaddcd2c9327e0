"""Does a line let in one newcomer and nobody else, whatever is tried with it?"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from remuda.config.invitation import Invitation, to_line
from remuda.config.keys import generate
from remuda.node.dialling import Scheduler, reach_ports
from remuda.node.preflight_cluster import Reach
from remuda.protocol import messages as m

from ..fakes.raw import RawScheduler
from .command_line import COMMAND
from .newcomers import ADMITTED, AGENT, REFUSED, Host, ask, handshake, invite, keys_of

pytestmark = pytest.mark.cluster


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host")
    yield made
    made.close()


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
    events = scheduler.client("root").ask(m.Events(0, 0, 0, 100, {"kinds": ["key"]})).rows
    assert ["key.invited", "key.enrolled"] == [
        row["kind"] for row in events if "dora" in row["text"]
    ]


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
    done = host.run(program, *words, line, text="")
    assert (4, True) == (done.returncode, "this line is for" in done.stderr), done.stderr
    assert f"{role} invited" == keys_of(scheduler)["gpu-x"]


def test_a_stranger_learns_of_each_port_that_its_key_is_refused(scheduler: RawScheduler) -> None:
    found = scheduler.endpoints
    ports = {name: getattr(found, name) for name in ("control", "uplink", "heartbeat", "beacon")}
    stranger = Scheduler("127.0.0.1", found.scheduler_public, generate())
    assert dict.fromkeys(ports, Reach.KEY_REFUSED) == reach_ports(stranger, ports, patience_s=30.0)
