"""How do tests hold a real cluster: start it, kill parts of it, judge it, leave nothing behind?"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from remuda.cli.daemons import SCHEDULER, running
from remuda.cli.setup_home import orphans
from remuda.client.client import Client
from remuda.client.local import LocalCluster
from remuda.client.task import Task
from remuda.config.endpoints import read_endpoints
from remuda.config.home import Home

from ..fakes.raw import SMALL
from ..invariants import History, read_journal, violations
from .command_line import wait_until
from .far import far

LOG_TAIL_CHARS = 4_000


class FarCluster(LocalCluster):
    """A cluster whose nodes share nothing with us."""

    def __init__(
        self, nodes: int, home: Home, environment: dict[str, str], seen: tuple[Path, ...]
    ) -> None:
        self._command, more = far().up(home, seen)
        super().__init__(nodes, home=home.root, environment={**more, **environment})

    def _up(self) -> list[str]:
        return self._command


class Cluster:
    """A cluster in a folder of its own, one client of it, and what the client saw."""

    def __init__(
        self,
        folder: Path,
        nodes: int,
        environment: dict[str, str] | None = None,
        settings: str = "",
    ) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.history = History()
        if settings:
            self.home.create()
            self.home.config_file.write_text(settings)
        locks = folder / "locks"  # of the cards, which are those of this machine
        locks.mkdir(exist_ok=True)
        ours = {"REMUDA_NODE__LOCK_DIR": str(locks), **SMALL, **(environment or {})}
        self.local = FarCluster(nodes, self.home, ours, (locks,))
        self.client: Client = self.local.client()

    def note(self, tasks: Iterable[Task]) -> None:
        """Hold what was acknowledged, and each end once it is told, against the cluster."""
        for task in tasks:
            self.history.on_acknowledged([task.key])
            task.add_done_callback(self._on_done)

    def _on_done(self, task: Any) -> None:
        if task.standing.has_ended:
            self.history.on_end(task.key, task.standing.state)

    def pid(self, daemon: str) -> int:
        """Return the pid of a daemon as `up` noted it; 0 when it does not run."""
        try:
            pid = int(json.loads(self.home.pid_file(daemon).read_text())["pid"])
        except FileNotFoundError:
            return 0
        return pid if psutil.pid_exists(pid) else 0

    def kill(self, daemon: str) -> int:
        """Kill a daemon as nothing can prevent; return its pid."""
        pid = self.pid(daemon)
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_restarted(self, daemon: str, old: int) -> None:
        """Wait until `up` has started a daemon again, and a scheduler listens.

        Commands give up on one that does not after seconds, and a busy machine needs more of them.
        """
        wait_until(lambda: self.pid(daemon) not in (0, old), f"{daemon} was not started again")
        if daemon == SCHEDULER:
            wait_until(self._has_endpoints, "the scheduler does not listen")

    def _has_endpoints(self) -> bool:
        found = read_endpoints(self.home.endpoints_file)
        return found is not None and found.pid == self.pid(SCHEDULER)

    def violations(self, runs: dict[bytes, int] | None = None) -> list[str]:
        """Judge what clients saw against the journal, and against the work that was done."""
        return violations(self.history, read_journal(self.home.scheduler_dir / "journal.db"), runs)

    def logs(self) -> str:
        """Return the ends of all logs."""
        texts = [f"--- up\n{self.local.said}"]
        for path in sorted(self.home.logs_dir.glob("*.log")):
            texts.append(f"--- {path.name}\n{path.read_text(errors='replace')[-LOG_TAIL_CHARS:]}")
        return "\n".join(texts)

    def leftovers(self) -> list[str]:
        """Name what runs of this cluster: daemons, runners without an agent, work of tasks."""
        daemons = running(self.home.run_dir)
        for process in daemons.values():
            process.close()
        named = [" ".join(process.cmdline()) for process in processes_naming(str(self.home.root))]
        return [*daemons, *(each.name for each in orphans(self.home)), *named]

    def close(self) -> None:
        """Stop everything; what does not stop is killed and is a failure."""
        self.local.close()
        left = self.leftovers()
        for process in processes_naming(str(self.home.root)):
            process.kill()
        assert [] == left, "the cluster left processes behind"


def kill_all(cluster: Cluster) -> dict[str, int]:
    """Kill the scheduler and both nodes in one moment; return the pids that they had."""
    pids = {name: cluster.pid(name) for name in ("scheduler", "node-1", "node-2")}
    assert all(pids.values()), f"not all of them run: {pids}"
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    return pids


@contextmanager
def real_cluster(
    folder: Path,
    nodes: int = 2,
    environment: dict[str, str] | None = None,
    settings: str = "",
) -> Iterator[Cluster]:
    """Run a cluster; whatever the test did, its promises are judged and nothing stays.

    `environment` is laid over ours for the daemons; `settings` is the home's configuration file.
    """
    made = Cluster(folder, nodes, environment, settings)
    try:
        yield made
        found = made.violations()
        assert [] == found, found  # pytest does not look into this file
    except BaseException:
        print(made.logs())  # pytest shows it with the failure
        raise
    finally:
        made.close()


def processes_naming(text: str) -> list[psutil.Process]:
    """Find processes whose command line or environment names a folder, but for ourselves."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            ours = process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue  # it ended meanwhile, or is not ours
        if not ours and any(text in word for word in words):
            found.append(process)
    return found
