"""Which environments were made here from requirements, and which are being made?

They are kept in a folder by interpreter and text, made in children, and go by their last use.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..config.logs import get_logger
from ..config.settings_environments import EnvironmentSettings
from .environment_build import COMPLETE, FAILED, UNMET, code_of
from .interpreters import Interpreter, NotOffered
from .task import Key

CHILD = Path(__file__).with_name("environment_build.py")
ANSWER_BYTES_MAX = 64 * 1024
LOOK_AGAIN_NS = 50_000_000
TOUCH_EVERY_NS = 20_000_000_000  # well below what the builder takes for a late use
FAILED_KEEP_NS = 60_000_000_000
FAILED_MAX = 256
CLOSE_WAIT_S = 1.0

# What an installer needs of the agent's environment: its mirrors, proxies, certificates, caches.
PASSED_PREFIXES = ("PIP_", "UV_")
PASSED = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
          "REQUESTS_CA_BUNDLE", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")  # fmt: skip


class Failure(NamedTuple):
    """Why an environment is not there; `tail` is the end of what the installer printed."""

    code: str
    message: str
    tail: str = ""


class Made(NamedTuple):
    """What came of an environment, for those that waited for it."""

    waiting: list[Key]
    failure: Failure | None


@dataclass(slots=True, eq=False)
class Build:
    """One environment that is wanted and not there; without a child it waits for its turn."""

    base: Interpreter
    requirements: str
    waiting: dict[Key, None] = field(default_factory=dict)
    child: subprocess.Popen[bytes] | None = None
    lifeline: int = -1


@dataclass(slots=True)
class Environments:
    """Have environments made, a few at a time, and find those that are."""

    folder: Path
    settings: EnvironmentSettings
    start: Path
    env: Mapping[str, str]
    builds: dict[str, Build] = field(default_factory=dict)
    _failed: dict[str, tuple[Failure, int]] = field(default_factory=dict)
    _names: dict[Key, str] = field(default_factory=dict)
    _touch_at: int = 0
    _dying: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def want(self, key: Key, base: Interpreter, requirements: str, now: int) -> Made | None:
        """Have an environment made for an attempt; return at once what is known already."""
        name = name_of(base, requirements)
        if self._described(name) is not None:
            self._names[key] = name
            self._touch(name)
            return Made([key], None)
        failure, until = self._failed.get(name, (None, 0))
        if failure is not None and now < until:
            return Made([key], failure)
        self._names[key] = name
        build = self.builds.setdefault(name, Build(base, requirements))
        build.waiting[key] = None
        return None

    def let_go(self, key: Key) -> None:
        """Count an attempt as done; what nobody waits for any more is not made."""
        name = self._names.pop(key, "")
        build = self.builds.get(name)
        if build is None:
            return
        build.waiting.pop(key, None)
        if not build.waiting:
            del self.builds[name]
            if build.child is not None:
                self._drop(build)

    def find(self, base: Interpreter, requirements: str) -> Interpreter:
        """Return the interpreter of an environment that was made; raises NotOffered."""
        name = name_of(base, requirements)
        found = self._described(name)
        if found is None:
            raise NotOffered("the environment of the task is not there any more")
        self._touch(name)
        target = self.folder / name
        python = target / "bin" / "python"
        version, has_msgpack = str(found["version"]), bool(found["has_msgpack"])
        return Interpreter(python, version, str(target), is_venv=True, has_msgpack=has_msgpack)

    def look(self, now: int) -> Iterator[Made]:
        """Begin what has its turn, and yield what was made or failed."""
        self._dying = [child for child in self._dying if child.poll() is None]
        if now >= self._touch_at:
            self._touch_at = now + TOUCH_EVERY_NS
            for name in set(self._names.values()):
                self._touch(name)
        for name, build in list(self.builds.items()):
            if build.child is None:
                if sum(each.child is not None for each in self.builds.values()) >= self._most:
                    continue
                failure = self._begin(name, build)
                if failure is None:
                    continue
            elif build.child.poll() is None:
                continue
            else:
                failure = _answer(_sweep(build.child, build.lifeline))
                if failure is None and self._described(name) is None:
                    failure = Failure(FAILED, "it was made, and somebody removed it")
            yield self._settle(name, build, failure, now)

    def deadline(self, now: int) -> int | None:
        """Say when to look again."""
        return now + LOOK_AGAIN_NS if self.builds else None

    def close(self) -> None:
        """End what is being made."""
        for build in self.builds.values():
            if build.child is not None:
                self._drop(build)
        self.builds.clear()
        for child in self._dying:
            with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel does not let it go
                child.wait(CLOSE_WAIT_S)

    @property
    def _most(self) -> int:
        return self.settings.builds_max

    def _drop(self, build: Build) -> None:
        """Kill what makes an environment, without waiting for its death."""
        assert build.child is not None
        _sweep(build.child, build.lifeline)
        self._dying.append(build.child)

    def _settle(self, name: str, build: Build, failure: Failure | None, now: int) -> Made:
        del self.builds[name]
        if failure is None:
            get_logger().info("an environment was made", name=name, python=str(build.base.path))
        else:
            get_logger().warning("an environment failed", name=name, why=failure.message)
            if failure.code in (FAILED, UNMET):
                if len(self._failed) >= FAILED_MAX:
                    del self._failed[next(iter(self._failed))]
                self._failed[name] = failure, now + FAILED_KEEP_NS
        return Made(list(build.waiting), failure)

    def _begin(self, name: str, build: Build) -> Failure | None:
        request = {
            "target": str(self.folder / name),
            "base": str(build.base.path),
            "requirements": build.requirements,
            "uv": self._uv(),
            "start": str(self.start),
            "timeout_s": self.settings.build_timeout_s,
            "size_bytes_max": self.settings.size_bytes_max,
        }
        their_end = stdin = -1
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            their_end, build.lifeline = os.pipe2(os.O_CLOEXEC)
            stdin = os.memfd_create("request", os.MFD_CLOEXEC)
            os.write(stdin, json.dumps(request).encode())
            os.lseek(stdin, 0, os.SEEK_SET)
            build.child = subprocess.Popen(
                [sys.executable, "-I", str(CHILD), str(their_end)],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(self.env),
                cwd=self.folder,
                pass_fds=[their_end],
                start_new_session=True,
            )
        except OSError as error:
            if build.lifeline >= 0:
                os.close(build.lifeline)
            code = code_of(str(error.strerror))
            return Failure(code, f"no environment can be made: {error.strerror}")
        finally:
            for descriptor in (their_end, stdin):
                if descriptor >= 0:
                    os.close(descriptor)
        return None

    def _uv(self) -> str:
        """Return the path of uv, empty where pip is to be used."""
        if self.settings.installer == "pip":
            return ""
        own = Path(sys.executable).parent
        return shutil.which("uv", path=f"{self.env['PATH']}:{own}") or ""

    def _described(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.folder / name / COMPLETE).read_text())
        except (OSError, ValueError):
            return None
        return found

    def _touch(self, name: str) -> None:
        with contextlib.suppress(OSError):  # not made yet, or removed meanwhile
            os.utime(self.folder / name / COMPLETE)


def name_of(base: Interpreter, requirements: str) -> str:
    """Name an environment by what it is made from."""
    made_of = json.dumps([str(base.path), base.version, requirements])
    return hashlib.sha256(made_of.encode()).hexdigest()[:32]


def installer_env(task_env: Mapping[str, str], agent_env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which installers run."""
    passed = {
        name: value
        for name, value in agent_env.items()
        if name.startswith(PASSED_PREFIXES) or name.upper() in PASSED
    }
    fixed = {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**task_env, **fixed, **passed}


def _sweep(child: subprocess.Popen[bytes], lifeline: int) -> bytes:
    """Let nothing of a build live; return what its child said."""
    assert child.stdout is not None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    os.set_blocking(child.stdout.fileno(), False)
    try:
        said = os.read(child.stdout.fileno(), ANSWER_BYTES_MAX)
    except BlockingIOError:
        said = b""
    child.stdout.close()
    os.close(lifeline)
    return said


def _answer(said: bytes) -> Failure | None:
    """Read what a builder said; None when the environment was made."""
    try:
        found = json.loads(said)
        if "code" not in found:
            return None
        return Failure(str(found["code"]), str(found["message"]), str(found["tail"]))
    except (ValueError, KeyError, TypeError):
        return Failure(FAILED, "what makes the environment was killed: out of memory, or by hand")
