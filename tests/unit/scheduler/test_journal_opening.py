"""Which state directory is refused, and how does an older or newer journal get opened?"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import apsw
import pytest

from remuda import scheduler
from remuda.config.filesystems import NETWORK_FILE_SYSTEMS, file_system_of
from remuda.config.state_dir import StateDirError, claim
from remuda.protocol import capabilities
from remuda.protocol.codec import pack_document
from remuda.protocol.ids import to_bytes
from remuda.protocol.spec import TaskSpec, to_document
from remuda.scheduler.invites import InviteRow
from remuda.scheduler.journal import Journal, connect
from remuda.scheduler.records import CordonRow, LearnedRow, NodeRow
from remuda.scheduler.schema import (
    OPENED_SINCE,
    SCHEMA_VERSION,
    JournalError,
    migrate,
    opened_since,
    version_of,
)
from remuda.scheduler.task import State, StopReason

from . import facts

MOUNTS = """\
overlay / overlay rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/sda1 /srv ext4 rw 0 0
server:/home /srv/home nfs4 rw 0 0
server:/odd /srv/with\\040space cifs rw 0 0
"""


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
    set_version(folder, OPENED_SINCE[SCHEMA_VERSION])
    Journal.open(folder).close()


# What the next version may do to a journal, and this one must bear: more tables and columns.
NEXT = SCHEMA_VERSION + 1
WIDER = (
    ("audit", "note TEXT NOT NULL DEFAULT ''"), ("attempts", "zone TEXT NOT NULL DEFAULT ''"),
    ("cordons", "level INTEGER NOT NULL DEFAULT 0"), ("keys", "note TEXT NOT NULL DEFAULT ''"),
    ("invites", "note TEXT NOT NULL DEFAULT ''"), ("learned", "runs INTEGER NOT NULL DEFAULT 0"),
    ("meta", "changed_ms INTEGER NOT NULL DEFAULT 0"), ("nodes", "zone TEXT NOT NULL DEFAULT ''"),
    ("object_refs", "at_ms INTEGER NOT NULL DEFAULT 0"), ("once_keys", "uses INTEGER DEFAULT 0"),
    ("ports", "host TEXT NOT NULL DEFAULT ''"), ("results", "kind TEXT NOT NULL DEFAULT ''"),
    ("specs", "kind TEXT NOT NULL DEFAULT ''"), ("submissions", "note TEXT NOT NULL DEFAULT ''"),
    ("tasks", "zone TEXT NOT NULL DEFAULT ''"),
)  # fmt: skip
STEP = ";\n".join(
    [
        "CREATE TABLE of_the_next (a)",
        *(f"ALTER TABLE {table} ADD COLUMN {column}" for table, column in WIDER),
    ]
)


def test_a_journal_of_the_next_remuda_is_opened_and_worked_with(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    Journal.open(folder).close()
    database = connect(folder / "journal.db")
    migrate(database, {NEXT: STEP}, since={NEXT: SCHEMA_VERSION})
    journal = Journal.open(folder)
    assert (NEXT, SCHEMA_VERSION) == (version_of(database), opened_since(database))
    journal.next_epoch()
    turn = facts.submission(1, once="a key")
    turn.granted, turn.nodes = facts.granted(1).granted, {"n1": NodeRow("n1", "boot", b"", 5)}
    turn.learned = {"kind": LearnedRow("kind", b"", 1)}
    turn.cordons = {"GPU-1": CordonRow("GPU-1", "n1", "hot", "ann", 5)}
    journal.commit(turn)
    journal.commit(facts.ended(1, value=b"v"))
    journal.registry.allow_key("ann", "admin", "k" * 40, principal="test", now_ms=1)
    journal.registry.invites.add(InviteRow("i" * 40, "bob", "submit", "ann", 1, 10**15))
    journal.registry.set_dispatch_port("n1", 7710)
    journal.close()
    journal = Journal.open(folder)
    assert State.SUCCEEDED == journal.history.briefs([1])[1].state
    assert 1 == journal.history.find_once("ana", "a key")
    assert journal.history.find_submission("ana", to_bytes(1)) is not None
    assert ["ann"] == [row.name for row in journal.registry.keys()]
    assert ["bob"] == [row.name for row in journal.registry.invites.all()]
    found = journal.recover()
    assert (["n1"], 1, 1) == ([n.name for n in found.nodes], len(found.learned), len(found.cordons))
    assert NEXT == version_of(database)
    journal.close()
    database.close()


def test_every_statement_names_its_columns_so_that_a_journal_may_have_more() -> None:
    careless = re.compile(r"INSERT (?:OR \w+ )?INTO \w+[\s\"]+VALUES|SELECT \*|SELECT \w\.\*")
    found = [
        f"{path.name}: {match[0]}"
        for path in sorted(Path(scheduler.__file__).parent.glob("*.py"))
        for match in careless.finditer(path.read_text("utf-8"))
    ]
    assert [] == found


def test_only_what_a_remuda_of_the_schema_before_can_bear_is_added_since_it_may_open_it() -> None:
    scripts = files("remuda.scheduler")
    for version, oldest in OPENED_SINCE.items():
        for step in range(oldest + 1, version + 1):
            script = (scripts / f"schema_{step}.sql").read_text("utf-8").upper()
            words = re.sub("--.*", "", script)
            assert not re.search(r"\b(DROP|RENAME|UPDATE|DELETE|TRIGGER)\b", words), step
            assert "ALTER" not in words or oldest >= NAMES_COLUMNS_SINCE, step


NAMES_COLUMNS_SINCE = 5
"""Before this schema statements did not name their columns: to such a remuda nothing but whole
tables may be added."""


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
    names = {"journal.db", "journal.db-wal", "journal.db-shm", "lock", "highest-epoch"}
    assert names == files.keys()
    assert {0o600} == set(files.values())
    journal.close()
