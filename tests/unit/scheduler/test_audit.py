"""Does the chain of the audit show what was changed behind our back?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from remuda.scheduler.audit import first_broken_link
from remuda.scheduler.journal import Journal

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


def test_old_rows_may_be_pruned_from_the_front(database: apsw.Connection) -> None:
    database.execute("DELETE FROM audit WHERE seq <= 2")
    assert first_broken_link(database) is None


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
