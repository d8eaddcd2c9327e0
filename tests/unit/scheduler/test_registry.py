"""Do keys and ports stay unique, and does every change of a key leave its trace?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.protocol.errors import Conflict
from remuda.scheduler.journal import Journal
from remuda.scheduler.registry import Registry

ONE, TWO = "a" * 40, "b" * 40


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "state")
    yield opened
    opened.close()


def allow(registry: Registry, name: str, key: str, role: str = "submit") -> None:
    registry.allow_key(name, role, key, principal="root", now_ms=5)


def test_an_allowed_key_is_listed_until_it_is_revoked(journal: Journal) -> None:
    allow(journal.registry, "ana", ONE)
    assert [("ana", "submit", ONE, 5, 0)] == [tuple(row) for row in journal.registry.keys()]
    assert journal.registry.revoke_key("ana", principal="root", now_ms=9)
    assert [9] == [row.revoked_ms for row in journal.registry.keys()]


def test_a_key_that_is_not_there_cannot_be_revoked(journal: Journal) -> None:
    assert not journal.registry.revoke_key("ana", principal="root", now_ms=9)
    allow(journal.registry, "ana", ONE)
    journal.registry.revoke_key("ana", principal="root", now_ms=9)
    assert not journal.registry.revoke_key("ana", principal="root", now_ms=10)


def test_a_name_that_is_taken_is_refused(journal: Journal) -> None:
    allow(journal.registry, "ana", ONE)
    with pytest.raises(Conflict, match="the name ana is taken"):
        allow(journal.registry, "ana", TWO)
    assert [ONE] == [row.public_key for row in journal.registry.keys()]


def test_a_key_is_known_under_one_name_for_ever(journal: Journal) -> None:
    allow(journal.registry, "ana", ONE)
    with pytest.raises(Conflict, match=r"known already as ana \(allowed\)"):
        allow(journal.registry, "bob", ONE)
    journal.registry.revoke_key("ana", principal="root", now_ms=9)
    with pytest.raises(Conflict, match=r"known already as ana \(revoked\)"):
        allow(journal.registry, "ana", ONE)


def test_a_revoked_name_can_be_given_to_a_new_key(journal: Journal) -> None:
    allow(journal.registry, "ana", ONE)
    journal.registry.revoke_key("ana", principal="root", now_ms=9)
    allow(journal.registry, "ana", TWO, "viewer")
    assert [("ana", "viewer", TWO, 0)] == [
        (row.name, row.role, row.public_key, row.revoked_ms) for row in journal.registry.keys()
    ]


def test_each_change_of_a_key_is_audited(journal: Journal) -> None:
    allow(journal.registry, "ana", ONE)
    journal.registry.revoke_key("ana", principal="root", now_ms=9)
    journal.registry.revoke_key("ana", principal="root", now_ms=9)
    expected = [("root", "key allow", "ana as submit"), ("root", "key revoke", "ana")]
    rows = journal._db.execute("SELECT principal, verb, subject FROM audit ORDER BY seq")
    assert expected == list(rows)


def test_a_port_belongs_to_the_node_that_took_it_last(journal: Journal) -> None:
    registry = journal.registry
    assert registry.dispatch_port("n1") is None
    registry.set_dispatch_port("n1", 7710)
    registry.set_dispatch_port("n2", 7711)
    assert (7710, 7711) == (registry.dispatch_port("n1"), registry.dispatch_port("n2"))
    registry.set_dispatch_port("n3", 7710)
    registry.set_dispatch_port("n2", 7712)
    assert [None, 7712, 7710] == [registry.dispatch_port(name) for name in ("n1", "n2", "n3")]


def test_keys_and_ports_survive_a_restart(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    allow(journal.registry, "n1", ONE, "node")
    journal.registry.set_dispatch_port("n1", 7710)
    journal.close()
    journal = Journal.open(tmp_path / "state")
    assert (["n1"], 7710) == (
        [row.name for row in journal.registry.keys()], journal.registry.dispatch_port("n1"),
    )  # fmt: skip
    journal.close()
