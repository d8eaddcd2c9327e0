"""Does the chain of the audit show what was changed behind our back?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from remuda.protocol.chain import Link
from remuda.protocol.errors import Invalid
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.audit import (
    CLOCK_SLACK_MS,
    AuditLog,
    Found,
    anchor_of,
    checked,
    first_broken_link,
    prune_audit,
    write_audit,
)
from remuda.scheduler.events import RequestRefused
from remuda.scheduler.journal import Journal
from remuda.scheduler.records import AuditRow
from remuda.scheduler.refusals import KNOWN_MAX, ROW_EVERY_NS, Refusals

from . import facts


@pytest.fixture
def database(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Yield a journal's file with five audited requests, open for tampering."""
    journal = Journal.open(tmp_path / "state")
    for number in range(1, 6):
        journal.commit(facts.submission(number))
    journal.close()
    opened = apsw.Connection(str(tmp_path / "state" / "journal.db"))
    yield opened
    opened.close()


def test_an_untouched_audit_holds(database: apsw.Connection) -> None:
    assert first_broken_link(database) is None


@pytest.mark.parametrize(
    ("tampering", "broken"),
    [
        ("UPDATE audit SET principal = 'bob' WHERE seq = 3", 3),
        ("UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 1", 1),
        ("UPDATE audit SET hash = x'00' WHERE seq = 5", 5),
        ("DELETE FROM audit WHERE seq = 3", 4),
        ("UPDATE audit SET subject = 'x', verb = 'y' WHERE seq = 2", 2),
        ("INSERT INTO audit SELECT 6, at_ms, principal, verb, subject, hash FROM audit"
         " WHERE seq = 5", 6),
    ],
)  # fmt: skip
def test_what_was_altered_removed_or_forged_is_found(
    database: apsw.Connection, tampering: str, broken: int
) -> None:
    database.execute(tampering)
    assert broken == first_broken_link(database)


def test_old_rows_go_from_the_front_and_the_chain_holds_from_its_anchor(
    database: apsw.Connection,
) -> None:
    ((pinned,),) = database.execute("SELECT hash FROM audit WHERE seq = 2")
    database.execute("UPDATE audit SET at_ms = 9000 WHERE seq > 2")
    database.execute("UPDATE audit SET at_ms = 1000 WHERE seq <= 2")
    assert 2 == prune_audit(database, 5_000, 100)
    assert Link(2, pinned) == anchor_of(database)
    assert [3, 4, 5] == [seq for (seq,) in database.execute("SELECT seq FROM audit ORDER BY seq")]
    assert 3 == first_broken_link(database), "this test altered it"


def test_rows_that_somebody_removed_from_the_front_are_missed(database: apsw.Connection) -> None:
    database.execute("DELETE FROM audit WHERE seq <= 2")
    assert 3 == first_broken_link(database)


def test_the_newest_row_stays_and_new_ones_are_chained_to_it(database: apsw.Connection) -> None:
    assert [2, 2, 0] == [prune_audit(database, 1 << 60, 2) for _ in range(3)]
    write_audit(database, [AuditRow(7, "ann", "node drain", "n1")])
    assert [5, 6] == [seq for (seq,) in database.execute("SELECT seq FROM audit ORDER BY seq")]
    assert first_broken_link(database) is None


# --- questions -----------------------------------------------------------------------------


def seqs(found: Found) -> tuple[list[int], int]:
    return [row["seq"] for row in found.rows], found.next


def test_rows_come_in_slices_from_either_end(database: apsw.Connection) -> None:
    log = AuditLog(database)
    assert ([5, 4], 4) == seqs(log.before(0, {}, 2))
    assert ([3, 2], 2) == seqs(log.before(4, {}, 2))
    assert ([1], 0) == seqs(log.before(2, {}, 2))
    assert ([1, 2, 3], 3) == seqs(log.after(0, {}, 3))
    assert ([4, 5], 0) == seqs(log.after(3, {}, 3))


def test_rows_are_chosen_by_who_what_and_when(database: apsw.Connection) -> None:
    now_ms = 10 * CLOCK_SLACK_MS
    rows = [AuditRow(now_ms, "ann", "node drain", "n1"), AuditRow(now_ms, "bob", "node lost", "n")]
    write_audit(database, rows)
    log = AuditLog(database)
    assert ([7, 6], 0) == seqs(log.before(0, {"verb": "node "}, 9))
    assert ([6], 0) == seqs(log.before(0, {"by": "ann"}, 9))
    assert ([7, 6], 0) == seqs(log.before(0, {"since_ms": now_ms}, 9))
    assert ([1, 2, 3, 4, 5], 0) == seqs(log.after(0, {"until_ms": now_ms}, 9))


def test_a_rare_filter_takes_several_short_questions(
    database: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remuda.scheduler.audit.SCANNED_MAX", 2)
    log = AuditLog(database)
    assert [([], 4), ([], 2), ([], 0)] == [
        seqs(log.before(seq, {"by": "nobody"}, 9)) for seq in (0, 4, 2)
    ]


@pytest.mark.parametrize(
    ("filters", "limit", "field"),
    [({"who": "ann"}, 1, "filters"), ({"by": 1}, 1, "filters.by"), ({}, 0, "limit"),
     ({}, 1001, "limit")],
)  # fmt: skip
def test_a_wrong_question_is_refused_by_its_field(
    filters: dict[str, object], limit: int, field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        checked(filters, limit)
    assert field == caught.value.field


# --- refusals ------------------------------------------------------------------------------


def test_what_is_refused_again_and_again_is_one_row_a_minute_with_a_count() -> None:
    refusals, vera, bob = Refusals(), Principal("vera", Role.VIEWER), Principal("bob", Role.SUBMIT)
    drain = "drain nodes"
    assert [RequestRefused("vera", drain)] == refusals.note(vera, drain, 1)
    assert [[], []] == [refusals.note(vera, drain, at) for at in (2, ROW_EVERY_NS)]
    assert [RequestRefused("bob", drain)] == refusals.note(bob, drain, 3)
    assert [RequestRefused("vera", drain, 2)] == refusals.note(vera, drain, ROW_EVERY_NS + 1)
    assert [] == refusals.note(vera, drain, ROW_EVERY_NS + 2)


def test_the_memory_of_refusals_is_bounded() -> None:
    refusals = Refusals()
    for number in range(KNOWN_MAX + 10):
        refusals.note(Principal(f"k{number}", Role.VIEWER), "drain nodes", 1)
    assert KNOWN_MAX == len(refusals._known)


def test_the_chain_goes_on_over_a_restart(tmp_path: Path) -> None:
    for number in (1, 2):
        journal = Journal.open(tmp_path / "state")
        journal.commit(facts.submission(number))
        journal.registry.allow_key(
            f"k{number}", "node", f"{number}" * 40, principal="ana", now_ms=1
        )
        journal.close()
    database = apsw.Connection(str(tmp_path / "state" / "journal.db"))
    assert first_broken_link(database) is None
    assert ["submit", "key allow"] * 2 == [
        verb for (verb,) in database.execute("SELECT verb FROM audit ORDER BY seq")
    ]
    database.close()
