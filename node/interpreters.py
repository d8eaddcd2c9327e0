"""Which interpreters does this node offer by name, and does a worker run in each of them?"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..config.logs import get_logger

DEADLINE_NS = 10_000_000_000
LOOK_AGAIN_NS = 60_000_000_000  # at those that were not right
OUTPUT_BYTES_MAX = 64 * 1024
LINE_CHARS_MAX = 300
_PAUSE_S = 0.005
# The words that even a Python of long ago understands.
_PROGRAM = """
import sys
if sys.version_info < (3, 9):
    sys.exit("it is Python %d.%d.%d, and a worker needs 3.9 or newer" % sys.version_info[:3])
import runpy
sys.argv[1:] = ["--check"]
runpy.run_path({start!r}, run_name="__main__")
"""
# A program on a file system that hangs must stop the shell in the child, and not us.
_SHELL = ("/bin/sh", "-c", 'exec "$0" "$@"')
_SHELL_SAYS = {127: "there is no such program", 126: "it cannot be executed"}


class NotOffered(Exception):  # noqa: N818 - says what the node lacks
    """This node does not have what a task needs around it; the text says what."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that works."""

    path: Path
    version: str
    prefix: str
    is_venv: bool
    has_msgpack: bool

    @property
    def text(self) -> str:
        """Describe it as the scheduler shows it."""
        return f"{self.version} {self.path}"

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        """Add to an environment what makes `python` and its scripts mean this one."""
        added = {"PATH": f"{self.path.parent}:{env['PATH']}"}
        if self.is_venv:
            added["VIRTUAL_ENV"] = self.prefix
        return {**env, **added}


@dataclass(slots=True)
class Interpreters:
    """Check the interpreters of the settings in children, and keep those that work.

    `broken` says of the others what is wrong; they are looked at again every minute.
    """

    paths: Mapping[str, Path]
    start: Path
    env: Mapping[str, str]
    working: dict[str, Interpreter] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    _checks: dict[str, tuple[subprocess.Popen[bytes], int]] = field(default_factory=dict)
    _dying: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _due_ns: int = 0

    def find(self, name: str) -> Interpreter:
        """Return an interpreter by its name; raises NotOffered."""
        found = self.working.get(name)
        if found is not None:
            return found
        if name in self.broken:
            raise NotOffered(self.problem(name))
        known = ", ".join(sorted(self.working)) or "none"
        raise NotOffered(f"this node has no python {name!r} (known: {known})")

    def problem(self, name: str) -> str:
        """Say why one is not offered."""
        return f"python {name!r} is not offered: {self.paths[name]}: {self.broken[name]}"

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(self.problem(name) for name in self.broken)

    @property
    def notes(self) -> list[str]:
        """Say what is worth a remark about those that work."""
        return [
            f"python {name!r} has no msgpack of its own: a slower one stands in for it"
            for name, found in self.working.items()
            if not found.has_msgpack
        ]

    def check_all(self) -> None:
        """Check all of them, side by side, and wait for the answers: at the start of an agent."""
        self.look_if_due(time.monotonic_ns())
        while self._checks:
            time.sleep(_PAUSE_S)
            self.look_if_due(time.monotonic_ns())

    def look_if_due(self, now: int) -> bool:
        """Take in answers, check again what was not right; return whether something changed."""
        before = (dict(self.working), dict(self.broken))
        living = {name: child for name, child in self._dying.items() if child.poll() is None}
        self._dying = living
        if now >= self._due_ns and not self._checks:
            self._due_ns = now + LOOK_AGAIN_NS
            for name, path in self.paths.items():
                if name not in self.working and name not in self._dying:
                    self._begin(name, path, now)
        for name, (child, since) in list(self._checks.items()):
            is_late = now - since >= DEADLINE_NS
            if child.poll() is not None or is_late:
                del self._checks[name]
                self._settle(name, _judge(self.paths[name], child, is_late=is_late))
                self._dying[name] = child
        return before != (self.working, self.broken)

    def _begin(self, name: str, path: Path, now: int) -> None:
        try:
            child = subprocess.Popen(
                [*_SHELL, path, "-c", _PROGRAM.format(start=str(self.start))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(self.env),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            self._settle(name, f"cannot be started: {error.strerror}")
            return
        self._checks[name] = (child, now)

    def _settle(self, name: str, verdict: Interpreter | str) -> None:
        if isinstance(verdict, Interpreter):
            self.working[name] = verdict
            self.broken.pop(name, None)
            get_logger().info("python", name=name, found=verdict.text)
        elif self.broken.get(name) != verdict:
            self.broken[name] = verdict
            get_logger().warning("a python is not offered", problem=self.problem(name))


def _judge(path: Path, child: subprocess.Popen[bytes], *, is_late: bool) -> Interpreter | str:
    """Read what a check printed, and let nothing of it live, without waiting for its death."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    assert child.stdout is not None
    assert child.stderr is not None
    out, err = (_read(pipe.fileno()) for pipe in (child.stdout, child.stderr))
    child.stdout.close()
    child.stderr.close()
    if is_late:
        return f"did not answer within {DEADLINE_NS // 1_000_000_000} s"
    return verdict(path, child.returncode, out, err)


def _read(descriptor: int) -> str:
    """Read what is there: something that left the session may hold the other end."""
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, OUTPUT_BYTES_MAX).decode(errors="replace")
    except BlockingIOError:
        return ""


def verdict(path: Path, returncode: int, out: str, err: str) -> Interpreter | str:
    """Tell an interpreter that can run a worker from anything else, in words."""
    if returncode in _SHELL_SAYS:
        return _SHELL_SAYS[returncode]
    if returncode:
        last = (err.strip().splitlines() or [f"it ended with code {returncode}"])[-1]
        return last[:LINE_CHARS_MAX]
    try:
        found = json.loads(out)
        return Interpreter(
            path,
            str(found["version"]),
            str(found["prefix"]),
            bool(found["is_venv"]),
            bool(found["has_msgpack"]),
        )
    except (ValueError, KeyError, TypeError):
        return "it is no Python: it printed nothing of what was asked for"
