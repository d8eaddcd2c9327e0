"""Does an invitation let in whom it is for, once and in time, and tell everybody else why not?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.config.keys import fingerprint
from remuda.protocol.errors import Conflict, Invalid, NotAllowed, NotFound, QueueFull, RemudaError
from remuda.protocol.messages import Enrol, RevokeKey
from remuda.scheduler import invites, key_verbs
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.enrolling import Admission, judge
from remuda.scheduler.invites import InviteRow
from remuda.scheduler.journal import Journal
from remuda.scheduler.registry import KeyRow

ROOT = Principal("root", Role.ADMIN)
ONCE, TWICE, NEW, OTHER = ("a" * 40, "b" * 40, "c" * 40, "d" * 40)
MADE, ENDS = 1_000_000, 1_900_000


def row(**changes: object) -> InviteRow:
    return InviteRow(ONCE, "gpu-7", "node", "root", MADE, ENDS)._replace(**changes)


def comes(key: str = NEW, name: str = "gpu-7", role: str = "node") -> Enrol:
    return Enrol(name, role, key)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "state")
    opened.registry.allow_key("root", "admin", OTHER, principal="first start", now_ms=1)
    yield opened
    opened.close()


def admit(journal: Journal, key: str = NEW, name: str = "gpu-7", now_ms: int = MADE) -> None:
    journal.registry.allow_key(
        name, "node", key, principal="invited by root", now_ms=now_ms, invite=ONCE
    )


# --- who is let in ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpu-7", ""])
def test_whom_a_line_names_is_let_in_by_that_name(name: str) -> None:
    expected = Admission("gpu-7", Role.NODE, is_new=True, invited_by="root")
    assert expected == judge(row(), [], comes(name=name), MADE)


def test_a_line_without_a_name_takes_the_newcomers() -> None:
    found = judge(row(name=""), [], comes(name="host-3"), MADE)
    assert ("host-3", True) == (found.name, found.is_new)


SPENT = {"spent_ms": MADE, "spent_by": NEW}


@pytest.mark.parametrize(
    ("changes", "message", "now_ms", "why"),
    [
        (SPENT, comes(OTHER), MADE + 180_000, "was used already, 3 minutes ago, and each works on"),
        ({"withdrawn_ms": MADE}, comes(), MADE, "was withdrawn"),
        ({}, comes(), ENDS, "expired just now"),
        ({}, comes(), ENDS + 7_200_000, "expired 2 hours ago.*--expires"),
        ({}, comes(role="admin"), MADE, "for the role node, not 'admin'"),
        ({}, comes(name="gpu-8"), MADE, "for the name gpu-7, not 'gpu-8'"),
    ],
)
def test_who_comes_with_a_line_that_does_not_hold_is_told_why(
    changes: dict[str, object], message: Enrol, now_ms: int, why: str
) -> None:
    with pytest.raises(NotAllowed, match=why):
        judge(row(**changes), [], message, now_ms)


def test_a_key_that_nobody_invited_is_refused() -> None:
    with pytest.raises(NotAllowed, match="not known here any more: ask an admin for another"):
        judge(None, [], comes(), MADE)


@pytest.mark.parametrize("revoked_ms", [0, 9])
def test_a_line_without_a_name_gives_nobody_a_name_that_was_given(revoked_ms: int) -> None:
    known = [KeyRow("anna", "submit", OTHER, 5, revoked_ms)]
    with pytest.raises(Conflict, match=r"the name anna was given before.*--name anna"):
        judge(row(name="", role="submit"), known, comes(name="anna", role="submit"), MADE)


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 64])
def test_a_newcomer_cannot_choose_what_is_no_name(name: str) -> None:
    with pytest.raises(Invalid, match="name: found"):
        judge(row(name=""), [], comes(name=name), MADE)


# --- asked again --------------------------------------------------------------------------------

IN = [KeyRow("gpu-7", "node", NEW, MADE, 0)]


@pytest.mark.parametrize(
    "changes", [SPENT, {}, {**SPENT, "withdrawn_ms": MADE}], ids=["spent", "open", "withdrawn"]
)
def test_who_is_in_is_told_the_same_again_however_late(changes: dict[str, object]) -> None:
    again = judge(row(**changes), IN, comes(), ENDS + 1)
    assert Admission("gpu-7", Role.NODE, is_new=False) == again


@pytest.mark.parametrize(
    "known",
    [
        [],
        [KeyRow("gpu-7", "node", NEW, MADE, 9)],
        [KeyRow("gpu-8", "node", NEW, MADE, 0)],
        [KeyRow("gpu-7", "viewer", NEW, MADE, 0)],
    ],
    ids=["forgotten", "revoked", "another name", "another role"],
)
def test_who_is_not_in_as_the_line_says_is_not_told_that_it_is(known: list[KeyRow]) -> None:
    with pytest.raises(NotAllowed, match="used already"):
        judge(row(**SPENT), known, comes(), MADE)


# --- what is kept -------------------------------------------------------------------------------


def test_a_key_is_admitted_and_its_invitation_spent_in_one_commit(journal: Journal) -> None:
    registry = journal.registry
    registry.invites.add(row())
    admit(journal)
    (kept,) = registry.invites.all()
    assert (MADE, NEW) == (kept.spent_ms, kept.spent_by)
    assert ("gpu-7", "node", NEW) in [key[:3] for key in registry.keys()]


def test_a_key_that_cannot_be_admitted_spends_nothing(journal: Journal) -> None:
    journal.registry.invites.add(row())
    with pytest.raises(Conflict):
        admit(journal, name="root")
    assert [ONCE] == [each.public_key for each in journal.registry.invites.pending(MADE)]


def test_no_key_is_admitted_by_an_invitation_that_is_spent(journal: Journal) -> None:
    journal.registry.invites.add(row())
    admit(journal)
    with pytest.raises(AssertionError, match="spent twice"):
        admit(journal, TWICE, "gpu-8")
    assert ["gpu-7", "root"] == [key.name for key in journal.registry.keys()]


def test_invitations_survive_a_restart(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    journal.registry.invites.add(row())
    journal.close()
    journal = Journal.open(tmp_path / "state")
    assert [row()] == journal.registry.invites.pending(MADE)
    assert {ONCE: Principal(ONCE, Role.INVITED, ONCE)} == key_verbs.live_keys(
        journal.registry
    ).invited
    journal.close()


def test_a_second_invitation_for_a_name_replaces_the_first(journal: Journal) -> None:
    kept = journal.registry.invites
    assert [0, 1] == [kept.add(row()), kept.add(row(public_key=TWICE, created_ms=MADE + 1))]
    assert [TWICE] == [each.public_key for each in kept.pending(MADE + 1)]


def test_invitations_without_a_name_stand_side_by_side(journal: Journal) -> None:
    kept = journal.registry.invites
    kept.add(row(name=""))
    kept.add(row(public_key=TWICE, name=""))
    assert {fingerprint(ONCE), fingerprint(TWICE)} == {each.label for each in kept.pending(MADE)}


def test_what_is_long_over_is_forgotten(journal: Journal) -> None:
    kept = journal.registry.invites
    kept.add(row())
    kept.add(row(public_key=TWICE, name="b", created_ms=ENDS + invites.KEPT_MS, expires_ms=1 << 50))
    kept.add(row(public_key=OTHER, name="c", created_ms=ENDS + invites.KEPT_MS + 1))
    assert [TWICE] == [each.public_key for each in kept.all() if each.name == "b"]
    assert kept.find(ONCE) is None


def test_more_are_not_pending_than_the_bound(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invites, "PENDING_MAX", 1)
    journal.registry.invites.add(row())
    with pytest.raises(QueueFull, match="1 invitations are pending"):
        journal.registry.invites.add(row(public_key=TWICE, name="gpu-8"))


def revoke(journal: Journal, name: str) -> Role:
    live = key_verbs.live_keys(journal.registry)
    return key_verbs.revoke(journal.registry, live, RevokeKey(name), ROOT, MADE + 5)[1]


@pytest.mark.parametrize("named", ["gpu-7", ""])
def test_an_invitation_is_withdrawn_by_what_it_is_listed_as(journal: Journal, named: str) -> None:
    journal.registry.invites.add(row(name=named))
    assert Role.INVITED is revoke(journal, named or fingerprint(ONCE))
    assert [] == journal.registry.invites.pending(MADE + 5)


def test_what_is_neither_key_nor_invitation_cannot_be_revoked(journal: Journal) -> None:
    with pytest.raises(NotFound, match="no good key and no invitation has the name 'gpu-7'"):
        revoke(journal, "gpu-7")


def test_the_invitations_of_an_admin_go_with_the_admin(journal: Journal) -> None:
    journal.registry.allow_key("ada", "admin", TWICE, principal="root", now_ms=2)
    journal.registry.invites.add(row(principal="ada"))
    revoke(journal, "ada")
    assert [] == journal.registry.invites.pending(MADE + 5)


def test_the_last_admin_keeps_the_invitations_under_its_name(journal: Journal) -> None:
    journal.registry.invites.add(row(name="root"))
    with pytest.raises(Conflict, match="last admin"):
        revoke(journal, "root")
    assert 1 == len(journal.registry.invites.pending(MADE + 5))


def test_each_step_is_audited(journal: Journal) -> None:
    kept = journal.registry.invites
    kept.add(row())
    admit(journal)
    kept.add(row(public_key=TWICE, name="", created_ms=MADE + 1))
    kept.withdraw(fingerprint(TWICE), principal="root", now_ms=MADE + 2)
    found = journal._db.execute("SELECT principal, verb, subject FROM audit ORDER BY seq")
    assert [
        ("root", "key invite", "gpu-7 as node"),
        ("invited by root", "key enrol", "gpu-7 as node"),
        ("root", "key invite", f"{fingerprint(TWICE)} as node"),
        ("root", "key uninvite", fingerprint(TWICE)),
    ] == list(found)[1:]


@pytest.mark.parametrize("word", ["invited", "boss", ""])
def test_nobody_is_given_a_role_that_is_not_given(word: str) -> None:
    with pytest.raises(RemudaError, match="allowed are node, viewer, submit, operator, admin"):
        key_verbs.given_role(word)
