"""Does `remuda-scheduler --check` see what would keep a scheduler from its work?"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

import apsw

from remuda.config.findings import Finding, Level
from remuda.config.home import Home
from remuda.config.settings_redis import RedisSettings
from remuda.config.settings_scheduler import SchedulerSettings
from remuda.scheduler import checking
from remuda.scheduler.journal import Journal
from remuda.scheduler.records import AuditRow, Commit
from remuda.scheduler.schema import JOURNAL_FILE, SCHEMA_VERSION


def levels(found: Iterable[Finding]) -> list[tuple[str, Level]]:
    return [(each.topic, each.level) for each in found]


def journal_in(folder: Path) -> Path:
    """Make a journal with an audit of three rows."""
    journal = Journal.open(folder)
    rows = tuple(AuditRow(at, "ann", "drain", f"n{at}") for at in (1, 2, 3))
    journal.commit(Commit(audit=rows))
    journal.close()
    return folder / JOURNAL_FILE


def test_a_journal_that_is_whole_is_said_to_be_so(tmp_path: Path) -> None:
    found = list(checking.of_journal(journal_in(tmp_path)))
    assert [("journal", Level.FINE), ("audit", Level.FINE)] == levels(found)


def test_a_scheduler_that_never_started_has_no_journal_to_be_damaged(tmp_path: Path) -> None:
    (found,) = checking.of_journal(tmp_path / JOURNAL_FILE)
    assert (Level.FINE, "there is none yet") == (found.level, found.text)


def test_a_damaged_page_of_the_journal_is_serious(tmp_path: Path) -> None:
    path = journal_in(tmp_path)
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2 // 4096 * 4096
    raw[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(raw)
    (found, *_) = checking.of_journal(path)
    assert (Level.SERIOUS, True) == (found.level, "restore" in found.remedy)


def test_a_row_of_the_audit_that_was_altered_is_named(tmp_path: Path) -> None:
    path = journal_in(tmp_path)
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE audit SET principal = 'bob' WHERE seq = 2")
    connection.close()
    found = list(checking.of_journal(path))
    assert [("journal", Level.FINE), ("audit", Level.SERIOUS)] == levels(found)
    assert "row 2 was altered" in found[1].text


def test_the_journal_of_a_newer_remuda_asks_for_an_upgrade(tmp_path: Path) -> None:
    path = journal_in(tmp_path)
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 7}")
    connection.close()
    (found, *_) = checking.of_journal(path)
    assert (Level.SERIOUS, True) == (found.level, "upgrade remuda" in found.text)


def test_a_journal_too_large_to_read_in_time_is_left_unread(tmp_path: Path) -> None:
    path = journal_in(tmp_path)
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE filler (body TEXT)")
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
        "INSERT INTO filler SELECT printf('%0200d', i) FROM n"
    )
    connection.close()
    (found, *_) = checking.of_journal(path, patience_s=0.0)
    assert (Level.FINE, True) == (found.level, "too large to read whole" in found.text)


def test_a_port_that_another_program_has_is_named_with_that_program(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = SchedulerSettings(port=port)
        found = list(checking.of_ports(Home(tmp_path), settings, runs=False))
    taken = [each for each in found if f"control port {port}" in each.text]
    assert [Level.SERIOUS] == [each.level for each in taken]
    assert "(process " in taken[0].text


def test_a_key_that_others_can_read_is_serious(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    path = home.key_file("scheduler")
    path.write_text("x")
    path.chmod(0o644)
    (found,) = checking.of_keys(home)
    assert (Level.SERIOUS, True) == (found.level, "chmod 600" in found.text)


def test_a_home_without_keys_yet_is_fine(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    assert [("keys", Level.FINE)] == levels(checking.of_keys(home))


def test_a_redis_that_is_away_is_a_warning_without_its_password() -> None:
    settings = RedisSettings(url="redis://:hush@127.0.0.1:1/0")
    (found,) = checking.of_redis(settings)
    assert found.level is Level.WARNING
    assert "hush" not in found.text + found.remedy


def test_a_password_file_that_is_missing_is_said(tmp_path: Path) -> None:
    settings = RedisSettings(url="redis://127.0.0.1:1/0", password_file=tmp_path / "none")
    (found,) = checking.of_redis(settings)
    assert (Level.WARNING, True) == (found.level, "No such file" in found.text)


def test_without_a_home_nothing_is_made_by_looking(tmp_path: Path) -> None:
    folder = tmp_path / "scheduler"
    assert [("disk", Level.FINE)] == levels(checking.of_disk(SchedulerSettings(), folder))
    assert not folder.exists()
