"""Can one go back to the remuda before, without a backup? Its real code, on a journal of today."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from remuda.scheduler.journal import Journal
from remuda.scheduler.schema import SCHEMA_VERSION, version_of

from .two_releases import unpack_release_before

pytestmark = pytest.mark.cluster

BEFORE = "31d92d39a60fc8e70cc99d95730fc9e7ff15bb66"
"""The last state of the code that writes journals of schema 4."""
# A life of the scheduler before: it takes a task in, grants it, ends it, and admits a key.
LIFE = """
import sys
from pathlib import Path
from remuda.scheduler import journal as j, records as r

journal = j.Journal.open(Path(sys.argv[1]))
assert 4 == j.SCHEMA_VERSION
journal.next_epoch()
key = bytes(15) + b"1"
journal.commit(r.Commit(
    submissions=[r.SubmissionRow("ana", key, 0, b"", 0, 1, 1, 5)],
    specs=[r.SpecRow(1, b"body")],
    tasks=[r.TaskRow(1, 1, 0, 1, "ana", "x", b"", b"", "once", 0, 5)],
    granted=[r.AttemptGranted(1, 1, "n1", 1, (), 5)],
    nodes={"n1": r.NodeRow("n1", "boot", b"", 5)},
    learned={"kind": r.LearnedRow("kind", b"", 1)},
    cordons={"GPU-1": r.CordonRow("GPU-1", "n1", "hot", "ann", 5)},
    audit=[r.AuditRow(5, "ana", "submit", "1 task")],
))
journal.commit(r.Commit(
    ended=[r.AttemptEnded(1, 1, "n1", "succeeded", "", "", 6, 7)],
    results=[r.TaskResult(1, 5, "", b"v", b"", 6)],
))
journal.registry.allow_key("ann", "admin", "k" * 40, principal="test", now_ms=1)
journal.close()
"""


def test_the_remuda_before_works_with_a_journal_of_today_and_today_goes_on(tmp_path: Path) -> None:
    source = unpack_release_before(tmp_path / "before", BEFORE)
    folder = tmp_path / "state"
    Journal.open(folder).close()
    done = subprocess.run(
        [sys.executable, "-P", "-c", LIFE, str(folder)],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    journal = Journal.open(folder)
    assert "succeeded" == journal.history.show_task(1)["attempts"][0]["outcome"]
    assert ["ann"] == [row.name for row in journal.registry.keys()]
    journal.close()
    database = apsw.Connection(str(folder / "journal.db"))
    assert SCHEMA_VERSION == version_of(database)
    database.close()
