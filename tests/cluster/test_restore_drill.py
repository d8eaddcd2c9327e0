"""Does a cluster come back from a backup on another host, with each of its tasks done once?

A backup is taken under load, the cluster goes on, then everything is killed. The scheduler is
restored into another home, the nodes come back with what they hold, an operator decides.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from remuda.cli import ports, setup_home
from remuda.cli.dealing import Share
from remuda.client.client import Client
from remuda.client.outcome import TaskFailed
from remuda.client.task import Task
from remuda.config.home import Home
from remuda.config.load import load

from ..fakes.raw import SMALL
from .command_line import DEADLINE_S, wait_until
from .harness import processes_naming

pytestmark = pytest.mark.cluster

FINISH_S = 90.0
MEMORY_BYTES = 4 << 30
LOAD = 150
# Waits for its file, then writes a line: who has done it twice has two.
SCRIPT = 'echo $$ > "$0/$1.pid"; until [ -e "$0/$1.go" ]; do sleep 0.05; done; echo x >> "$0/$1"'


class Drill:
    """Daemons that are started one by one, a scheduler of either of two homes, and its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self.homes = {"old": Home(folder / "old"), "new": Home(folder / "new")}
        self.homes["old"].create()
        shares = [Share(2, MEMORY_BYTES, ())] * 2
        self.port = ports.free_control_port("127.0.0.1", 2, random.SystemRandom())
        settings = load(self.homes["old"].root).settings
        plan = setup_home.Plan(self.homes["old"], settings, self.port, shares, self.work)
        self._daemons = {each.name: each for each in setup_home.prepare(plan)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def _environment(self) -> dict[str, str]:
        kept = {key: text for key, text in os.environ.items() if not key.startswith("REMUDA_")}
        return {
            **kept,
            **SMALL,
            "REMUDA_NODE__LOCK_DIR": str(self.folder / "locks"),
            "COLUMNS": "200",
        }

    def start_scheduler(self, which: str) -> None:
        home = self.homes[which]
        home.endpoints_file.unlink(missing_ok=True)
        words = ["-P", "-m", "remuda.scheduler", "--home", str(home.root), "--port", str(self.port)]
        self._launch("scheduler", [sys.executable, *words])
        wait_until(home.endpoints_file.exists, "the scheduler does not listen")

    def start_nodes(self) -> None:
        for name in ("node-1", "node-2"):
            self._launch(name, list(self._daemons[name].argv))

    def _launch(self, name: str, argv: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                argv, cwd=self.folder, env=self._environment(), stderr=log, start_new_session=True
            )

    def kill(self, *names: str) -> None:
        for name in names:
            self._running[name].kill()
        for name in names:
            self._running.pop(name).wait(DEADLINE_S)

    def type(self, which: str, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-P", "-m", "remuda.cli.main", *words]
        return subprocess.run(
            [*argv, "--home", str(self.homes[which].root)],
            env=self._environment(), cwd=self.folder, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip

    def done(self, which: str, *words: str) -> str:
        made = self.type(which, *words)
        assert 0 == made.returncode, made.stdout + made.stderr
        return made.stdout

    def recovery(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.type("new", "recovery", "list", "--json").stdout)
        return found

    # --- tasks ------------------------------------------------------------------------------

    def submit(self, client: Client, name: str, **options: Any) -> Task:
        wanted = {"cpus": 0.1, "if_node_lost": "rerun", **options}
        return client.submit_command(["sh", "-c", SCRIPT, str(self.work), name], **wanted)

    def go(self, *names: str) -> None:
        for name in names:
            (self.work / f"{name}.go").touch()

    def runs(self, name: str) -> int:
        path = self.work / name
        return len(path.read_text().split()) if path.exists() else 0

    def wait_runs(self, *names: str) -> None:
        for name in names:
            path = self.work / f"{name}.pid"
            wait_until(lambda path=path: path.exists() and path.read_text(), f"{name} does not run")

    def is_alive(self, name: str) -> bool:
        return psutil.pid_exists(int((self.work / f"{name}.pid").read_text()))

    def close(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            process.wait(DEADLINE_S)
        for left in processes_naming(str(self.folder)):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself meanwhile
                left.kill()
        for log in sorted(self.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-3_000:]}")  # pytest shows it with a failure


def lose(drill: Drill, name: str) -> None:
    """Kill the runner of a task."""
    runner = psutil.Process(int((drill.work / f"{name}.pid").read_text())).parent()
    assert runner is not None
    runner.kill()


@pytest.fixture
def drill(tmp_path: Path) -> Iterator[Drill]:
    made = Drill(tmp_path)
    yield made
    made.close()


def test_a_backup_is_restored_elsewhere_and_everything_ends_once(drill: Drill) -> None:
    drill.start_scheduler("old")
    drill.start_nodes()
    file = drill.folder / "backup.tar"
    with Client(drill.homes["old"].root) as client:
        through = drill.submit(client, "through", node="node-2")  # runs all the time
        ends_after = drill.submit(client, "ends-after", node="node-1")  # ends before the crash
        begins_after = drill.submit(client, "begins-after", cpus=2, node="node-1")
        waits = drill.submit(client, "waits", cpus=2, node="node-2")  # there is no room for it
        drill.wait_runs("through", "ends-after")
        load_ = client.submit_array(["true"], range(LOAD), cpus=0.1)
        drill.done("old", "backup", str(file), "--with-keys")
        drill.go("ends-after", "begins-after")
        assert 0 == ends_after.result(FINISH_S).returncode
        adopted = drill.submit(client, "adopted", node="node-2", tags={"team": "a"})
        killed = drill.submit(client, "killed", node="node-2")
        lost = drill.submit(client, "lost", node="node-2")
        forgotten = drill.submit(client, "forgotten")
        drill.go("forgotten")
        drill.wait_runs("adopted", "killed", "lost")
        assert 0 == forgotten.result(FINISH_S).returncode
        client.wait([*load_, begins_after], FINISH_S)
        drill.kill("scheduler", "node-1", "node-2")

        drill.done("new", "restore", str(file))
        drill.start_scheduler("new")
        drill.start_nodes()
        wait_until(lambda: not drill.recovery().get("missing", ["?"]), "the nodes do not come")
        assert "restored from a backup" in drill.type("new", "status").stdout
        found = drill.recovery()
        # Beside these there may be what ended and whose end its runner had not been rid of yet.
        assert {adopted.id, killed.id} <= {row["task"] for row in found["strangers"]}
        doubts = {row["task"] for row in found["doubts"]}
        assert {ends_after.id, waits.id} <= doubts
        assert through.id not in doubts, "its node shows it"
        assert [True] * 3 == [drill.is_alive(name) for name in ("through", "adopted", "killed")]
        refused = drill.type("new", "recovery", "release")
        assert (1, True) == (refused.returncode, "undecided" in refused.stderr)

        wait_until(
            lambda: all(row["is_described"] for row in drill.recovery()["strangers"]),
            "the nodes do not say what they hold",
        )
        drill.done("new", "recovery", "kill", killed.id)
        drill.done("new", "recovery", "adopt", adopted.id)
        drill.done("new", "recovery", "adopt", "--all")
        drill.done("new", "recovery", "rerun", waits.id)
        drill.done("new", "recovery", "fail", "--all")
        drill.done("new", "recovery", "release")
        wait_until(lambda: not drill.is_alive("killed"), "it was let go and lives")
        lose(drill, "lost")  # its agent was started anew: what it runs is not known any more
        with pytest.raises(TaskFailed, match="it was adopted after a restore and cannot be tried"):
            lost.result(FINISH_S)
        drill.go("through", "adopted", "waits")
        assert [0] * 3 == [each.result(FINISH_S).returncode for each in (through, adopted, waits)]
        with pytest.raises(TaskFailed, match="restored"):
            client.task(ends_after.id).result(FINISH_S)
    names = ("through", "ends-after", "begins-after", "waits", "adopted", "forgotten")
    assert [1] * 6 + [0] * 2 == [drill.runs(name) for name in (*names, "killed", "lost")]
    assert "the chain holds" in drill.done("new", "audit", "--verify")
    verbs = [
        row["verb"]
        for row in json.loads(drill.done("new", "audit", "--json", "--verb", "recovery"))
    ]
    assert {"recovery adopt", "recovery kill", "recovery release"} <= set(verbs)


def test_a_backup_that_was_put_back_by_hand_is_not_obeyed_and_the_alarm_says_so(
    drill: Drill,
) -> None:
    drill.start_scheduler("old")
    drill.start_nodes()
    journal = drill.homes["old"].scheduler_dir / "journal.db"
    with Client(drill.homes["old"].root) as client:
        drill.submit(client, "before").cancel()
        drill.done("old", "backup", str(drill.folder / "b.tar"))
        for _ in range(2):  # the cluster goes on
            drill.kill("scheduler")
            drill.start_scheduler("old")
        task = drill.submit(client, "runs")
        drill.wait_runs("runs")
        drill.kill("scheduler")
        for path in journal.parent.glob("journal.db*"):
            path.unlink()
        unpack = "import tarfile, sys; tarfile.open(sys.argv[1]).extract('journal.db', sys.argv[2])"
        subprocess.run(
            [sys.executable, "-c", unpack, str(drill.folder / "b.tar"), str(journal.parent)],
            check=True,
        )
        drill.start_scheduler("old")
        wait_until(
            lambda: "older than what" in drill.type("old", "status").stdout,
            "nobody says that the journal is an old one",
        )
        assert drill.is_alive("runs"), "a scheduler of the past was obeyed"
        assert task.id


def test_a_restore_whose_clock_was_behind_goes_on_above_what_nodes_saw_after_a_restart(
    drill: Drill,
) -> None:
    drill.start_scheduler("old")
    drill.start_nodes()
    with Client(drill.homes["old"].root) as client:
        through = drill.submit(client, "through")
        drill.wait_runs("through")
        drill.done("old", "backup", str(drill.folder / "b.tar"), "--with-keys")
        drill.kill("scheduler")
        journal = drill.homes["old"].scheduler_dir / "journal.db"
        with contextlib.closing(sqlite3.connect(journal)) as db:
            db.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (str(1 << 30).encode(),))
            db.commit()  # as after a restore by a clock that was decades ahead
        drill.start_scheduler("old")
        drill.go("seen")
        assert 0 == drill.submit(client, "seen").result(FINISH_S).returncode
        drill.kill("scheduler")

        drill.done("new", "restore", str(drill.folder / "b.tar"))
        drill.start_scheduler("new")
        wait_until(
            lambda: "restart this scheduler" in drill.type("new", "status").stdout,
            "nobody says what is to be done",
        )
        drill.kill("scheduler")
        drill.start_scheduler("new")
        wait_until(lambda: not drill.recovery().get("missing", ["?"]), "the nodes do not come")
        drill.done("new", "recovery", "release", "--force")
        drill.go("through")
        assert 0 == through.result(FINISH_S).returncode
    assert 1 == drill.runs("through")
