"""Does a handshake let in exactly the keys that its channel is for?"""

import pytest
from zmq.utils import z85

from remuda.config.handshakes import Verdict, judge
from remuda.config.keys import generate
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.zap import Keys

PAIRS = {name: generate() for name in ("alice", "n1", "n2", "guest", "stranger")}


@pytest.fixture
def keys() -> Keys:
    table = Keys()
    table.allow(PAIRS["alice"].public, Principal("alice", Role.ADMIN))
    for name in ("n1", "n2"):
        table.allow(PAIRS[name].public, Principal(name, Role.NODE))
    guest = PAIRS["guest"].public
    table.invited[guest] = Principal(guest, Role.INVITED)
    return table


def request(name: str, domain: str, mechanism: bytes = b"CURVE") -> list[bytes]:
    credentials = [z85.decode(PAIRS[name].public)]
    return [b"1.0", b"7", domain.encode(), b"10.0.0.1", b"", mechanism, *credentials]


def verdict(keys: Keys, name: str, domain: str) -> Verdict:
    found = judge(request(name, domain), keys.may_connect)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "domains"),
    [
        ("alice", {"control"}),
        ("n1", {"control", "uplink", "heartbeat", "beacon", "node:n1"}),
        ("guest", {"control"}),
        ("stranger", set()),
    ],
)
def test_a_key_is_let_in_where_its_role_has_business(
    keys: Keys, name: str, domains: set[str]
) -> None:
    asked = ["control", "uplink", "heartbeat", "beacon", "node:n1", "node:n2", "node:", "", "x"]
    assert domains == {domain for domain in asked if verdict(keys, name, domain).accepted}


def test_an_admitted_key_is_its_own_user_id(keys: Keys) -> None:
    public = PAIRS["n1"].public.encode()
    assert [b"1.0", b"7", b"200", b"OK", public, b""] == verdict(keys, "n1", "uplink").frames


def test_a_refused_key_gets_no_user_id(keys: Keys) -> None:
    refused = verdict(keys, "stranger", "control")
    assert (b"400", b"") == (refused.frames[2], refused.frames[4])


@pytest.mark.parametrize("mechanism", [b"NULL", b"PLAIN", b"GSSAPI"])
def test_only_curve_is_let_in(keys: Keys, mechanism: bytes) -> None:
    found = judge(request("alice", "control", mechanism), keys.may_connect)
    assert found is not None
    assert not found.accepted


@pytest.mark.parametrize("frames", [[], [b"1.0"], [b"2.0", *[b""] * 6]])
def test_what_is_no_request_gets_no_answer(keys: Keys, frames: list[bytes]) -> None:
    assert judge(frames, keys.may_connect) is None


def test_a_revoked_key_is_refused(keys: Keys) -> None:
    keys.revoke("n1")
    assert not verdict(keys, "n1", "uplink").accepted


def test_an_invited_key_is_nobody_who_lives(keys: Keys) -> None:
    guest = PAIRS["guest"].public
    assert (None, Role.INVITED) == (keys.live.get(guest), keys.invited[guest].role)
    assert keys.holder(guest) == keys.invited[guest]


def test_a_name_given_to_a_new_key_does_not_revive_the_old_one(keys: Keys) -> None:
    keys.revoke("n1")
    keys.allow(PAIRS["stranger"].public, Principal("n1", Role.NODE))
    assert [False, True] == [verdict(keys, name, "node:n1").accepted for name in ("n1", "stranger")]
