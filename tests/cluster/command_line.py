"""How do tests type `remuda`: a home of their own, the command as a real process."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remuda.cli.daemons import running
from remuda.cli.setup_home import orphans
from remuda.config.endpoints import read_endpoints
from remuda.config.home import Home

from .far import far, plain_environment

DEADLINE_S = 60.0
COMMAND = (sys.executable, "-P", "-m", "remuda.cli.main")


class CommandLine:
    """A home, and the command that works on it; `folder` is where it is typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.env = {
            **plain_environment(),
            "REMUDA_HOME": str(self.home.root),
            "REMUDA_NODE__LOCK_DIR": str(folder / "locks"),
            "COLUMNS": "160",
        }

    @functools.cached_property
    def common(self) -> Path:
        """Return a folder that the nodes see as well."""
        return far().common_folder(self.folder.name)

    @property
    def host(self) -> str:
        """Return the address at which the scheduler listens."""
        found = read_endpoints(self.home.endpoints_file)
        assert found is not None
        return found.host

    def start(self, *words: str, **popen: Any) -> subprocess.Popen[str]:
        """Start a command with pipes; it is in a process group of its own."""
        return self._start([*COMMAND, *words], self.env, **popen)

    def _start(
        self, command: list[str], env: dict[str, str], **popen: Any
    ) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=env,
            text=True,
            process_group=0,
            **pipes | popen,
        )

    def __call__(self, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*COMMAND, *words],
            cwd=self.folder,
            env=self.env,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def json(self, *words: str) -> Any:
        """Run a command with --json and read what it answers."""
        done = self(*words, "--json")
        assert 0 == done.returncode, done.stderr
        return json.loads(done.stdout)

    def up(self, *words: str) -> tuple[subprocess.Popen[str], str]:
        """Start `up` and wait for its ready line."""
        return self._ready(self.start("up", *words))

    def _ready(self, process: subprocess.Popen[str]) -> tuple[subprocess.Popen[str], str]:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line.startswith("ready "), process.stderr.read()
        return process, line

    def cluster(self, nodes: int) -> subprocess.Popen[str]:
        """Bring up a cluster whose nodes share nothing with us; their code lies in `common`."""
        locks = Path(self.env["REMUDA_NODE__LOCK_DIR"])
        locks.mkdir(exist_ok=True)
        command, env = far().up(self.home, (locks,))
        env["REMUDA_NODE__PYTHON_PATH"] = json.dumps([str(self.common)])
        return self._ready(self._start([*command, "--nodes", str(nodes)], {**self.env, **env}))[0]

    def submit(self, *words: str) -> str:
        """Submit a command and return the id that was printed last."""
        done = self("submit", *words)
        assert 0 == done.returncode, done.stderr
        return done.stdout.splitlines()[-1]

    def pid(self, daemon: str) -> int:
        """Return the pid of a daemon that runs, else 0."""
        try:
            pid = int(json.loads(self.home.pid_file(daemon).read_text())["pid"])
            os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return pid

    def kill(self, daemon: str) -> None:
        """Kill a daemon as nothing can prevent."""
        os.kill(self.pid(daemon), signal.SIGKILL)

    def wait_state(self, task: str, *states: str) -> dict[str, Any]:
        """Wait until a task is in one of the states and return what `task show` says."""
        found: dict[str, Any] = {}

        def is_there() -> bool:
            found.update(self.json("task", "show", task))
            return found["state"] in states

        wait_until(is_there, f"{task} never was {' or '.join(states)}: {found}")
        return found

    def leftovers(self) -> list[str]:
        """Name what still runs of this home: daemons, and runners without their agent."""
        daemons = running(self.home.run_dir)
        for process in daemons.values():
            process.close()
        return [*daemons, *(each.name for each in orphans(self.home))]


def admit(owner: CommandLine, name: str, role: str) -> CommandLine:
    """Make a key, admit it, and return the command line of whoever holds it."""
    folder = owner.folder / name
    folder.mkdir()
    key = folder / "new.key"
    assert 0 == owner("key", "new", name, "--role", role, "--out", str(key)).returncode
    assert 0 == owner("key", "allow", name, str(key), "--role", role).returncode
    person = CommandLine(folder)
    person.home.create()
    key.rename(person.home.keys_dir / "client.key")
    person.home.endpoints_file.write_bytes(owner.home.endpoints_file.read_bytes())
    return person


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for a condition; fail with a message after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def stop(process: subprocess.Popen[str]) -> int:
    """End an `up` by Ctrl-C and return its exit code."""
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    return process.returncode
