"""Does `remuda doctor` find what is wrong on a real host, and keep secrets out of its bundle?"""

import json
import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from .command_line import CommandLine, stop, wait_until

pytestmark = pytest.mark.cluster

CANARY = "canary-3f7a12"
OF_THE_MACHINE = {"ntp", "libzmq", "path"}  # what the host of a test may really lack


@pytest.fixture
def remuda(tmp_path: Path) -> Iterator[CommandLine]:
    """Bring up one node the way a user does: the doctor is asked about daemons of its own host."""
    made = CommandLine(tmp_path)
    made.home.create()
    made.home.config_file.write_text(f'[tasks.env]\nHF_TOKEN = "{CANARY}"\n')
    process, _ = made.up("--nodes", "1")
    yield made
    assert 0 == stop(process)


def findings(remuda: CommandLine, *words: str) -> list[dict[str, Any]]:
    """Return what is wrong, but for what is wrong with the machine that tests run on."""
    done = remuda("doctor", "--json", *words)
    rows = json.loads(done.stdout)
    assert int(any(row["level"] != "fine" for row in rows)) == done.returncode
    return [r for r in rows if r["level"] != "fine" and r["topic"] not in OF_THE_MACHINE]


def test_a_healthy_cluster_has_no_findings_in_any_of_its_parts(remuda: CommandLine) -> None:
    assert [] == findings(remuda)
    shown = remuda("doctor").stdout
    for part in ("this host", "scheduler (", "store (", "node node-1 (", "cluster local ("):
        assert part in shown
    assert "1 node heard and ready for work" in shown


def test_a_store_that_stands_still_is_found_from_the_cluster(remuda: CommandLine) -> None:
    pid = remuda.pid("store")
    os.kill(pid, signal.SIGSTOP)
    try:
        found = findings(remuda)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert ["store"] == [r["topic"] for r in found if r["part"].startswith("cluster")]


def test_what_is_wrong_with_files_is_found_also_when_nothing_runs(tmp_path: Path) -> None:
    remuda = CommandLine(tmp_path)
    process, _ = remuda.up("--nodes", "1")
    assert 0 == stop(process)
    remuda.home.key_file("scheduler").chmod(0o644)
    journal = apsw.Connection(str(remuda.home.scheduler_dir / "journal.db"))
    journal.execute("UPDATE audit SET principal = 'somebody' WHERE seq = 1")
    changed = journal.changes()
    journal.close()
    remuda.home.config_file.write_text("[store]\nquota = 7\n")
    found = findings(remuda)
    told = {(row["part"].split(" (")[0], row["topic"]) for row in found}
    assert ("store", "check") in told
    assert any("remuda.toml:2" in row["text"] for row in found)
    remuda.home.config_file.unlink()
    told = {(row["part"].split(" (")[0], row["topic"]) for row in findings(remuda)}
    assert ("scheduler", "keys") in told
    assert (("scheduler", "audit") in told) == bool(changed)


def test_a_bundle_has_all_parts_and_no_secret(remuda: CommandLine) -> None:
    remuda.submit("--env", f"MY_PASSWORD={CANARY}", "--", "true")
    wait_until(lambda: "succeeded" in remuda("task", "list").stdout, "it never ran")
    path = remuda.folder / "report.tar.gz"
    done = remuda("doctor", "--bundle", str(path), "-q")
    assert "wrote " in done.stderr
    assert 0o600 == path.stat().st_mode & 0o777
    secret = remuda.home.key_file("scheduler").read_text().split('secret = "')[1].split('"')[0]
    with tarfile.open(path) as tar:
        texts = {each.name: tar.extractfile(each).read().decode() for each in tar}  # type: ignore[union-attr]  # files alone
    assert {"report/findings.json", "report/host.json", "report/status.json", "report/nodes.json",
            "report/configuration.json", "report/logs/scheduler.log",
            "report/home/remuda.toml"} <= texts.keys()  # fmt: skip
    assert [] == [name for name, text in texts.items() if CANARY in text or secret in text]
    again = remuda("doctor", "--bundle", str(path))
    assert (4, True) == (again.returncode, "exists: name a new file" in again.stderr)
