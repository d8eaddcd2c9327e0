"""Is a backup one moment of a journal in use, whole or not there, and does it come back?"""

from __future__ import annotations

import io
import json
import tarfile
import threading
from pathlib import Path

import apsw
import pytest

from remuda.config import sqlite
from remuda.config.home import Home
from remuda.config.load import load
from remuda.config.store_home import objects_dir
from remuda.scheduler import backup, offline
from remuda.scheduler.audit import first_broken_link
from remuda.scheduler.bundle import MANIFEST, BackupError, Reader, described
from remuda.scheduler.journal import Journal, connect
from remuda.scheduler.schema import SCHEMA_VERSION, migrate, opened_since, version_of

from . import facts

SOME = 300


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with a journal, settings, keys and an index of a store."""
    made = Home(tmp_path / "home")
    made.create()
    made.config_file.write_text('[cluster]\nname = "plant"\n')
    made.key_file("scheduler").write_text("secret key")
    journal = Journal.open(made.scheduler_dir)
    journal.next_epoch()
    journal.commit(facts.submission(1, SOME))
    journal.commit(facts.granted(1))
    journal.commit(facts.ended(1, value=b"v"))
    journal.close()
    return made


def index_of(home: Home) -> Path:
    return objects_dir(home) / "index.db"


def asides(path: Path) -> list[Path]:
    """List what was moved aside of a database, logs apart."""
    found = path.parent.glob(f"{path.name}.before-*")
    return [each for each in found if not each.name.endswith(("-wal", "-shm"))]


def run(home: Home, *words: str) -> int:
    return offline.main([*words, "--home", str(home.root)])


def tasks_in(path: Path) -> int:
    database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    ((count,),) = database.execute("SELECT count(*) FROM tasks")
    database.close()
    return int(count)


def has_table(path: Path, name: str) -> bool:
    database = apsw.Connection(str(path))
    found = database.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).fetchall()
    database.close()
    return bool(found)


# --- making one ----------------------------------------------------------------------------


def test_a_backup_says_what_is_in_it_and_is_for_its_owner_alone(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "b.tar"
    assert 0 == run(home, "backup", str(file), "--json")
    said = json.loads(capsys.readouterr().out)
    assert ("plant", SCHEMA_VERSION, 1, SOME - 1, 1, False) == (
        said["cluster"], said["schema"], said["epoch"], said["open_tasks"], said["ended_tasks"],
        said["was_running"],
    )  # fmt: skip
    assert 0o600 == file.stat().st_mode & 0o777
    reader = Reader(file)
    assert ["journal.db", "config/remuda.toml"] == reader.names()
    reader.close()
    assert [file] == list(tmp_path.glob("*b.tar*")), "nothing else is left"


def test_keys_go_along_only_when_they_are_asked_for(home: Home, tmp_path: Path) -> None:
    assert 0 == run(home, "backup", str(tmp_path / "a.tar"))
    assert 0 == run(home, "backup", str(tmp_path / "b.tar"), "--with-keys")
    assert b"secret key" not in (tmp_path / "a.tar").read_bytes()
    reader = Reader(tmp_path / "b.tar")
    assert ["keys/scheduler.key"] == reader.names("keys/")
    reader.close()


def test_a_backup_of_a_journal_in_use_is_one_moment_of_it(home: Home, tmp_path: Path) -> None:
    journal = Journal.open(home.scheduler_dir)
    places = backup.places_of(home, load(home.root))
    stop, begun, number = threading.Event(), threading.Event(), [1_000]

    def work() -> None:
        while not stop.is_set():
            number[0] += 2
            journal.commit(facts.submission(number[0], 2))
            begun.set()

    at_work = threading.Thread(target=work)
    at_work.start()
    assert begun.wait(60)
    try:
        manifest = backup.make(places, tmp_path / "b.tar", now_ms=1, on_progress=lambda *_: None)
    finally:
        stop.set()
        at_work.join()
    assert manifest.was_running
    reader = Reader(tmp_path / "b.tar")
    reader.copy("journal.db", tmp_path / "copy.db", lambda *_: None)
    reader.close()
    database = apsw.Connection(str(tmp_path / "copy.db"))
    ((frames, members, tasks),) = database.execute(
        "SELECT count(*), sum(members), (SELECT count(*) FROM tasks) FROM submissions"
    )
    assert (members, None) == (tasks, first_broken_link(database))
    assert frames > 1
    database.close()
    journal.close()


def test_the_log_is_not_waited_for_while_somebody_reads_it(home: Home) -> None:
    journal = Journal.open(home.scheduler_dir)
    reader = sqlite.connect(home.scheduler_dir / "journal.db", read_only=True)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM tasks").fetchall()
    journal.commit(facts.submission(5_000))
    waits: list[int] = []
    journal._db.set_busy_handler(lambda tries: waits.append(tries) or False)  # type: ignore[func-returns-value]  # it returns False
    journal.retention.checkpoint()
    assert [] == waits, "each turn would wait for the reader to end"
    reader.close()
    journal.close()


def test_a_timer_keeps_the_newest_few(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for day in range(1, 5):
        (folder / f"remuda-plant-2026010{day}T000000Z.tar").touch()
    (folder / "remuda-other-20260101T000000Z.tar").touch()
    assert 0 == run(home, "backup", "--into", str(folder), "--keep", "2")
    left = sorted(path.name for path in folder.iterdir())
    assert "remuda-plant-20260104T000000Z.tar" in left
    assert ["remuda-other-20260101T000000Z.tar"] == [n for n in left if "other" in n]
    assert 3 == len(left)


def test_a_damaged_journal_makes_no_backup(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home.scheduler_dir / "journal.db"
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(bytes(data))
    assert 1 == run(home, "backup", str(tmp_path / "b.tar"))
    assert [] == list(tmp_path.glob("*b.tar*"))
    assert "remuda: " in capsys.readouterr().err


def test_a_file_that_is_there_is_not_replaced(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.tar").write_text("mine")
    assert 1 == run(home, "backup", str(tmp_path / "b.tar"))
    assert "mine" == (tmp_path / "b.tar").read_text()
    assert "exists: choose another name" in capsys.readouterr().err


def test_integrity_can_be_asked_for(home: Home) -> None:
    path = home.scheduler_dir / "journal.db"
    assert [] == sqlite.problems_of(path)
    database = connect(path)
    database.execute("PRAGMA writable_schema = ON")
    database.execute("DELETE FROM sqlite_schema WHERE name = 'tasks_open'")
    database.close()
    assert [] != sqlite.problems_of(path)


# --- bringing one back ---------------------------------------------------------------------


@pytest.fixture
def made(home: Home, tmp_path: Path) -> Path:
    file = tmp_path / "made.tar"
    assert 0 == run(home, "backup", str(file), "--with-keys")
    return file


def test_a_backup_comes_back_on_another_home_held_with_all_that_was_open_in_doubt(
    made: Path, tmp_path: Path
) -> None:
    other = Home(tmp_path / "other")
    assert 0 == run(other, "restore", str(made))
    assert "secret key" == other.key_file("scheduler").read_text()
    assert 0o600 == other.key_file("scheduler").stat().st_mode & 0o777
    assert "plant" in other.config_file.read_text()
    journal = Journal.open(other.scheduler_dir)
    found = journal.recover()
    assert found.recovery is not None
    assert (SOME - 1, 1_000_001) == (len(found.doubts), found.next_number)
    assert journal.next_epoch() > 1 << 20
    assert first_broken_link(journal._db) is None
    assert SCHEMA_VERSION == opened_since(journal._db), "a remuda of before would not hold"
    journal.close()


def test_a_home_that_has_a_journal_is_left_alone_unless_forced(
    home: Home, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tasks_in(home.scheduler_dir / "journal.db")
    assert 1 == run(home, "restore", str(made))
    assert "restore into an empty home, or with --force" in capsys.readouterr().err
    assert before == tasks_in(home.scheduler_dir / "journal.db")
    assert 0 == run(home, "restore", str(made), "--force")
    (aside,) = asides(home.scheduler_dir / "journal.db")
    assert before == tasks_in(aside)


def test_what_a_killed_scheduler_left_in_logs_is_moved_aside_with_its_databases(
    home: Home, tmp_path: Path
) -> None:
    index_of(home).parent.mkdir(parents=True)
    index = sqlite.connect(index_of(home))
    index.execute("CREATE TABLE objects (digest)")
    index.close()
    made = tmp_path / "made.tar"
    assert 0 == run(home, "backup", str(made))
    databases = (home.scheduler_dir / "journal.db", index_of(home))
    for path in databases:
        connection = sqlite.connect(path, autocheckpoint=False)
        connection.execute("CREATE TABLE late (value)")
        left = {each: each.read_bytes() for each in path.parent.glob(f"{path.name}*")}
        connection.close()
        for each, data in left.items():
            each.write_bytes(data)
        assert path.with_name(f"{path.name}-wal").stat().st_size
    assert 0 == run(home, "restore", str(made), "--force")
    for path in databases:
        (aside,) = asides(path)
        assert [True, False] == [has_table(each, "late") for each in (aside, path)]


def test_the_home_of_a_scheduler_that_runs_is_refused_even_when_forced(
    home: Home, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal.open(home.scheduler_dir)
    assert 0 != run(home, "restore", str(made), "--force")
    assert "another scheduler runs" in capsys.readouterr().err
    journal.close()


def test_what_was_made_of_a_stopped_scheduler_may_simply_go_on(made: Path, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    assert 0 == run(other, "restore", str(made), "--continue")
    journal = Journal.open(other.scheduler_dir)
    assert journal.recover().recovery is None
    assert 2 == journal.next_epoch()
    journal.close()


def test_what_was_made_of_a_running_one_may_not(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal.open(home.scheduler_dir)
    assert 0 == run(home, "backup", str(tmp_path / "b.tar"))
    journal.close()
    assert 1 == run(Home(tmp_path / "other"), "restore", str(tmp_path / "b.tar"), "--continue")
    assert "restore it without --continue" in capsys.readouterr().err


def test_a_byte_that_was_changed_is_found_and_nothing_is_left(made: Path, tmp_path: Path) -> None:
    data = bytearray(made.read_bytes())
    data[20_000] ^= 1
    made.write_bytes(bytes(data))
    other = Home(tmp_path / "other")
    assert 1 == run(other, "restore", str(made))
    assert ["lock"] == [path.name for path in other.scheduler_dir.iterdir()]


@pytest.mark.parametrize("keep", [0, 700, 20_000])
def test_a_part_of_a_backup_is_none(made: Path, tmp_path: Path, keep: int) -> None:
    made.write_bytes(made.read_bytes()[:keep])
    with pytest.raises(BackupError, match="is no backup of remuda, or only a part of one"):
        Reader(made)


def test_a_name_that_leads_out_of_the_home_is_refused(tmp_path: Path, made: Path) -> None:
    reader = Reader(made)
    manifest = {**described(reader.manifest), "members": dict(reader.manifest.members)}
    reader.close()
    manifest["members"]["keys/../../evil"] = [4, "0" * 64]
    data = json.dumps(manifest).encode()
    forged = tmp_path / "forged.tar"
    with tarfile.open(made) as old, tarfile.open(forged, "w") as new:
        for info in old.getmembers():
            if info.name != MANIFEST:
                new.addfile(info, old.extractfile(info))
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(data)
        new.addfile(info, io.BytesIO(data))
    assert 1 == run(Home(tmp_path / "other"), "restore", str(forged))
    assert not (tmp_path / "evil").exists()


# --- schemas -------------------------------------------------------------------------------


def older(folder: Path, version: int) -> Path:
    """Make the journal of an earlier remuda."""
    folder.mkdir(parents=True, exist_ok=True)
    database = connect(folder / "journal.db")
    migrate(database, to=version)
    database.close()
    return folder / "journal.db"


def test_a_journal_is_backed_up_before_its_schema_changes_and_the_last_few_are_kept(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path / "home")
    home.create()
    places = backup.places_of(home, load(home.root))
    for day in range(5):
        path = older(home.scheduler_dir, 4)
        Journal.open(
            home.scheduler_dir,
            before_migration=lambda version, day=day: backup.before_migration(  # type: ignore[misc]  # bound now
                places, version, 1_000_000_000_000 + day * 86_400_000
            ),
        ).close()
        path.unlink()
    kept = sorted((home.scheduler_dir / "backups").iterdir())
    assert 3 == len(kept)
    reader = Reader(kept[-1])
    assert (4, False) == (reader.manifest.schema, reader.manifest.was_running)
    reader.close()


def test_a_scheduler_that_cannot_back_its_journal_up_leaves_it_as_it_was(tmp_path: Path) -> None:
    path = older(tmp_path / "state", 4)

    def fail(_version: int) -> None:
        raise BackupError("no room")

    with pytest.raises(BackupError):
        Journal.open(tmp_path / "state", before_migration=fail)
    database = connect(path)
    assert 4 == version_of(database)
    database.close()
    Journal.open(tmp_path / "state").close()


def test_migrate_says_what_is_to_do_does_it_and_has_then_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home")
    home.create()
    path = older(home.scheduler_dir, 3)
    assert 1 == run(home, "migrate", "--check")
    assert "to do: 4, 5" in capsys.readouterr().out
    assert 0 == run(home, "migrate", "--to", "4")
    assert 0 == run(home, "migrate")
    assert 0 == run(home, "migrate", "--check")
    assert "nothing is to be done" in capsys.readouterr().out
    database = connect(path)
    assert SCHEMA_VERSION == version_of(database)
    database.close()
    assert 2 == len(list((home.scheduler_dir / "backups").iterdir()))


def test_going_back_takes_nothing_or_the_backup_of_before(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == run(home, "migrate", "--to", "4")
    assert "nothing is to be done for schema 4" in capsys.readouterr().out
    assert 0 != run(home, "migrate", "--to", "3")
    assert "cannot open it; restore the backup" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named_once(home: Home, capsys, tmp_path) -> None:
    missing = tmp_path / "missing.tar"
    assert 1 == run(home, "restore", str(missing))
    assert f"remuda: {missing}: No such file or directory\n" == capsys.readouterr().err
