"""How is a virtual environment made, as a process that may be killed at any moment?

Started by `environments.py` as `python -I environment_build.py LIFELINE` with a request on stdin;
one JSON line on stdout says what came of it. It is the leader of a session, in which all that it
starts stays; when the other end of LIFELINE is closed, its agent is gone, and it ends with all of
that. Only the standard library is imported.

An environment cannot be moved once it is made (its scripts name its place), so it is made where it
stays, and is one only when `complete.json` is there: written last, and whole. What is not complete
belongs to whoever holds its lock, or to nobody.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

COMPLETE = "complete.json"
LOCKS_MAX = 64
GONE = ".gone-"
TAIL_BYTES_MAX = 4 * 1024
READ_BYTES = 64 * 1024
REASON_CHARS_MAX = 1_000
REASON_LINES_MAX = 3
USED_LATELY_S = 60.0
LOCK_AGAIN_S = 0.1
FAILED, NETWORK, DISK_FULL = "environment_failed", "network", "disk_full"
UNMET = "requirements_unmet"
# pip says this at the last of its tries only, uv after the last of its own.
_NETWORK = re.compile(
    r"Retry\(total=0,.*after connection broken by|ReadTimeoutError|error sending request for url"
)
_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded|\(os error 28\)")
# What asks for something that there is not, or that contradicts itself, does so on every node.
_UNMET = re.compile(
    r"No matching distribution found for|ResolutionImpossible|No solution found when resolving"
)
# Unless it was asked for a Python or a platform of this one: another may have it.
_OF_THIS_NODE = re.compile(
    r"different python version|[Rr]equires-?[ ]?[Pp]ython|Python (version|ABI|implementation)"
    r"|platform|wheels? with a matching|--no-index|--find-links|disabled"
)
_ERROR = re.compile(r"\s*(ERROR|error|cause|[A-Za-z.]*Error)\b")


class Failed(Exception):  # noqa: N818 - an outcome
    """The environment could not be made."""

    def __init__(self, code: str, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.tail = tail


class Steps:
    """Run one program after the other until a moment, as long as the agent lives."""

    def __init__(self, lifeline: int, timeout_s: float) -> None:
        self._lifeline = lifeline
        self._timeout_s = timeout_s
        self._until = time.monotonic() + timeout_s

    def run(self, argv: Sequence[str | Path], cwd: Path) -> str:
        """Run a program; return the end of what it printed, raise Failed."""
        tail: collections.deque[bytes] = collections.deque()
        try:
            child = subprocess.Popen(
                argv,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise Failed(FAILED, f"{argv[0]} cannot be started: {error.strerror}") from error
        assert child.stdout is not None
        pipe, ending = child.stdout.fileno(), os.pidfd_open(child.pid)
        size = 0
        # Its end counts and not that of the pipe, which something that it left may hold.
        while pipe in (ready := self.wait(pipe, ending)) or ending not in ready:
            data = os.read(pipe, READ_BYTES)
            if not data:
                break
            tail.append(data)
            size += len(data)
            while size - len(tail[0]) >= READ_BYTES:
                size -= len(tail.popleft())
        os.close(ending)
        text = b"".join(tail).decode(errors="replace")
        if child.wait():
            raise Failed(code_of(text), reason_of(text), text[-TAIL_BYTES_MAX:])
        return text

    def wait(self, *descriptors: int, most_s: float = float("inf")) -> set[int]:
        """Wait until there is something to read; return where, nothing after `most_s`."""
        poll = select.poll()
        for descriptor in (self._lifeline, *descriptors):
            poll.register(descriptor, select.POLLIN)
        left_s = self._until - time.monotonic()
        ready = {descriptor for descriptor, _ in poll.poll(max(0.0, min(left_s, most_s)) * 1000)}
        if self._lifeline in ready:
            end()
        if not ready and left_s <= most_s:
            raise Failed(FAILED, f"it took longer than {self._timeout_s:g} s")
        return ready


def code_of(text: str) -> str:
    """Tell trouble of network, disk and node from requirements that no node can meet."""
    if _DISK_FULL.search(text):
        return DISK_FULL
    if _NETWORK.search(text):
        return NETWORK
    return UNMET if _UNMET.search(text) and not _OF_THIS_NODE.search(text) else FAILED


def reason_of(text: str) -> str:
    """Return the lines of an installer's output that say what is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if _ERROR.match(line)]
    found = telling[-REASON_LINES_MAX:] or lines[-1:] or ["the installer said nothing"]
    return "; ".join(found)[:REASON_CHARS_MAX]


def make(request: dict[str, Any], steps: Steps) -> dict[str, Any]:
    """Make the environment that a request describes, or find it made; return its description."""
    target = Path(request["target"])
    lock = _locked(target, steps)
    try:
        with contextlib.suppress(OSError, ValueError):
            known: dict[str, Any] = json.loads((target / COMPLETE).read_text())
            return known
        make_room(target.parent, request["size_bytes_max"], target)
        shutil.rmtree(target, ignore_errors=True)
        try:
            found = _made(request, target, steps)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        make_room(target.parent, request["size_bytes_max"], target)
    except OSError as error:
        code = code_of(str(error.strerror))
        raise Failed(code, f"{error.filename or target}: {error.strerror}") from error
    else:
        return found
    finally:
        os.close(lock)


def _made(request: dict[str, Any], target: Path, steps: Steps) -> dict[str, Any]:
    base, uv = str(request["base"]), str(request["uv"])
    python = target / "bin" / "python"
    if uv:
        steps.run([uv, "venv", "--python", base, target], target.parent)
    else:
        steps.run([base, "-m", "venv", target], target.parent)
    listed = target / "requirements.txt"
    listed.write_text(request["requirements"])
    install = [uv, "pip", "install", "--python"] if uv else []
    steps.run([*install, python, *([] if uv else ["-m", "pip", "install"]), "-r", listed], target)
    checked = steps.run([python, request["start"], "--check"], target)
    try:
        found = json.loads(checked.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise Failed(FAILED, "its Python printed nothing of what was asked for") from error
    found = {**found, "size_bytes": size_of(target)}
    new = target / f"{COMPLETE}.new"
    with new.open("w") as file:
        json.dump(found, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(target / COMPLETE)
    return dict(found)


def _locked(target: Path, steps: Steps) -> int:
    """Take the lock of an environment: the builder of an agent that was killed may hold it yet."""
    while (descriptor := _try_lock(target)) < 0:
        steps.wait(most_s=LOCK_AGAIN_S)
    return descriptor


def _try_lock(target: Path) -> int:
    """Take the lock of an environment if nobody has it; -1 else."""
    number = int(target.name[:4], 16) % LOCKS_MAX
    path = target.parent / f"lock-{number}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return -1
    return descriptor


def _clear(folder: Path, keep: Path) -> None:
    """Remove what was half made or half removed, and is nobody's any more."""
    for path in folder.glob(f"{GONE}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.iterdir():
        is_ours = path.is_dir() and path != keep and not path.name.startswith(".")
        is_half = is_ours and not (path / COMPLETE).exists()
        lock = _try_lock(path) if is_half else -1
        if lock >= 0:
            if not (path / COMPLETE).exists():
                shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def make_room(folder: Path, size_bytes_max: int, keep: Path) -> None:
    """Remove the least recently used environments above a size, but for those in use."""
    _clear(folder, keep)
    found = []
    for path in folder.glob(f"*/{COMPLETE}"):
        with contextlib.suppress(OSError, ValueError):
            size = int(json.loads(path.read_text())["size_bytes"])
            found.append((path.stat().st_mtime, size, path.parent))
    total = sum(size for _, size, _ in found)
    for used_at, size, path in sorted(found):
        if total <= size_bytes_max:
            return
        if path == keep or time.time() - used_at < USED_LATELY_S or is_in_use(path):
            continue
        gone = folder / f"{GONE}{path.name}"
        path.rename(gone)  # in one step: nobody finds half of it
        shutil.rmtree(gone, ignore_errors=True)
        total -= size


def is_in_use(path: Path) -> bool:
    """Tell whether a process was started in an environment."""
    mark = b"\0VIRTUAL_ENV=" + os.fsencode(path) + b"\0"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended, or belongs to somebody else
                if mark in b"\0" + (entry / "environ").read_bytes():
                    return True
    return False


def size_of(folder: Path) -> int:
    """Count what the files of a folder take of the disk."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_blocks * 512  # noqa: PTH118 - some 10,000 files
    return total


def end() -> NoReturn:
    """End with all that was started here."""
    os.killpg(0, signal.SIGKILL)
    raise SystemExit(1)


def main() -> None:
    """Make one environment and say what came of it."""
    request = json.load(sys.stdin)
    try:
        answer = make(request, Steps(int(sys.argv[1]), request["timeout_s"]))
    except Failed as failed:
        answer = {"code": failed.code, "message": failed.message, "tail": failed.tail}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    end()


if __name__ == "__main__":
    main()
