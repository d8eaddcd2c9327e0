"""Which state directory is refused, and how does an older or newer journal get opened?"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import apsw
import pytest

from remuda.config.filesystems import NETWORK_FILE_SYSTEMS, file_system_of
from remuda.config.state_dir import StateDirError, claim
from remuda.protocol import capabilities
from remuda.protocol.codec import pack_document
from remuda.protocol.ids import to_bytes
from remuda.protocol.spec import TaskSpec, to_document
from remuda.scheduler.journal import SCHEMA_VERSION, Journal, JournalError, connect, migrate
from remuda.scheduler.records import NodeRow
from remuda.scheduler.task import State, StopReason

MOUNTS = """\
overlay / overlay rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/sda1 /srv ext4 rw 0 0
server:/home /srv/home nfs4 rw 0 0
server:/odd /srv/with\\040space cifs rw 0 0
"""


def version_of(database: apsw.Connection) -> int:
    return int(database.pragma("user_version"))


def tables_of(database: apsw.Connection) -> set[str]:
    return {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}


def test_a_second_scheduler_on_one_directory_is_refused(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    with pytest.raises(StateDirError, match=r"another scheduler runs on .*: stop it first"):
        Journal.open(tmp_path / "state")
    journal.close()
    Journal.open(tmp_path / "state").close()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/srv/x", "ext4"), ("/srv/home/ana", "nfs4"), ("/srv/home", "nfs4"), ("/opt", "overlay"),
     ("/srv/homes", "ext4"), ("/srv/with space/x", "cifs"), ("/tmp/a/b", "tmpfs")],
)  # fmt: skip
def test_the_file_system_is_that_of_the_longest_mount_point(folder: str, kind: str) -> None:
    assert kind == file_system_of(Path(folder), MOUNTS)


def test_a_later_mount_on_the_same_point_is_what_counts() -> None:
    assert "nfs" == file_system_of(Path("/srv"), MOUNTS + "server:/srv /srv nfs rw 0 0\n")


@pytest.mark.parametrize("kind", sorted(NETWORK_FILE_SYSTEMS))
def test_a_network_file_system_is_refused_with_the_remedy(tmp_path: Path, kind: str) -> None:
    mounts = f"{MOUNTS}server:/x {tmp_path} {kind} rw 0 0\n"
    with pytest.raises(StateDirError, match=rf"network file system \({kind}\).*local disk"):
        claim(tmp_path / "state", "scheduler", mounts)


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDirError, match="cannot make"):
        claim(tmp_path / "file" / "state", "store")


def test_a_journal_of_a_newer_remuda_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    Journal.open(folder).close()
    set_version(folder, SCHEMA_VERSION + 1)
    with pytest.raises(JournalError, match=f"has schema {SCHEMA_VERSION + 1}.*upgrade remuda"):
        Journal.open(folder)
    set_version(folder, SCHEMA_VERSION)
    Journal.open(folder).close()


def set_version(folder: Path, version: int) -> None:
    database = apsw.Connection(str(folder / "journal.db"))
    database.pragma("user_version", version)
    database.close()


def test_a_file_that_is_no_database_is_refused_with_a_remedy(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "journal.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(JournalError, match="restore a backup"):
        Journal.open(folder)


def test_each_step_of_a_migration_runs_once(tmp_path: Path) -> None:
    database = connect(tmp_path / "journal.db")
    newest = SCHEMA_VERSION + 2
    steps = {
        newest - 1: "CREATE TABLE added (a)",
        newest: "INSERT INTO added VALUES (1)",
    }
    migrate(database)
    assert SCHEMA_VERSION == version_of(database)
    for _ in range(2):
        migrate(database, steps)
        assert newest == version_of(database)
        assert [(1,)] == list(database.execute("SELECT a FROM added"))
    database.close()


def test_a_journal_of_version_1_goes_on_with_its_tasks_and_nodes(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    database = connect(folder / "journal.db")
    database.execute((files("remuda.scheduler") / "schema.sql").read_text("utf-8"))
    database.execute("PRAGMA user_version = 1")
    spec = TaskSpec("command", ["true"])
    database.execute("INSERT INTO specs VALUES (1, ?)", (pack_document(to_document(spec)),))
    for number, state in ((1, State.QUEUED), (2, State.STOPPING)):
        database.execute(
            "INSERT INTO tasks (id, number, spec_id, owner, name, session, state, avoid,"
            " created_ms, args) VALUES (?, ?, 1, 'ana', 'true', x'', ?, 'n1', 7, x'')",
            (to_bytes(number), number, int(state)),
        )
    node = pack_document(capabilities.to_document(capabilities.Capabilities(1_000, 0)))
    database.execute("INSERT INTO nodes VALUES ('n1', 'boot', ?, 5)", (node,))
    database.close()
    journal = Journal.open(folder)
    found = journal.recover()
    assert [NodeRow("n1", "boot", node, 5)] == found.nodes
    assert [
        (State.QUEUED, StopReason.NONE, "n1", "", 0, 0, 7),
        (State.STOPPING, StopReason.CANCELLED, "n1", "", 0, 0, 7),
    ] == [
        (t.state, t.stop, t.avoid, t.spent, t.memory_bytes, t.vram_bytes, t.created_ms)
        for t in found.tasks
    ]
    journal.close()


def test_a_step_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    database = connect(tmp_path / "journal.db")
    migrate(database)
    before = tables_of(database)
    step = SCHEMA_VERSION + 1
    with pytest.raises(apsw.SQLError):
        migrate(database, {step: "CREATE TABLE half (a); INSERT INTO nowhere VALUES (1)"})
    assert (SCHEMA_VERSION, before) == (version_of(database), tables_of(database))
    migrate(database, {step: "CREATE TABLE half (a)"})
    assert (step, before | {"half"}) == (version_of(database), tables_of(database))
    database.close()


def test_the_reader_cannot_write(tmp_path: Path) -> None:
    connect(tmp_path / "journal.db").close()
    reader = connect(tmp_path / "journal.db", read_only=True)
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("CREATE TABLE t (a)")
    reader.close()


def test_nobody_else_may_read_the_journal_or_its_log(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    journal.next_epoch()
    files = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert {"journal.db", "journal.db-wal", "journal.db-shm", "lock"} == files.keys()
    assert {0o600} == set(files.values())
    journal.close()
