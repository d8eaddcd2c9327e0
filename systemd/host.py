"""What is changed on a host, and what only would be: every file and command of an installation.

Each verb says what it did, once, and does nothing where that is how things are already.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..protocol.errors import Invalid

COMMAND_WAIT_S = 240.0

Run = Callable[[Sequence[str]], subprocess.CompletedProcess[str]]


def run_command(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of the system; one that is missing counts as one that failed."""
    try:
        return subprocess.run(
            list(argv), capture_output=True, text=True, check=False, timeout=COMMAND_WAIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(list(argv), 127, "", str(error))


@dataclass(slots=True)
class Host:
    """A host, or a folder that stands for one (`root`); `run` is the one way to the system.

    With `dry` nothing is changed; `done` is what was, or would be.
    """

    root: Path = Path("/")
    dry: bool = False
    run: Run = run_command
    done: list[str] = field(default_factory=list)

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def exists(self, path: str) -> bool:
        return self.at(path).exists()

    def ids_of(self, user: str) -> tuple[int, int] | None:
        """Look a user up in the passwd file of the host; None without such a user."""
        try:
            lines = self.at("/etc/passwd").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        for line in lines:
            parts = line.split(":")
            if parts[0] == user and len(parts) > 3:
                return int(parts[2]), int(parts[3])
        return None

    def folder(self, path: str, mode: int, user: str = "") -> None:
        """Make a folder with this mode that belongs to `user` (root unless named)."""
        found = self.at(path)
        if found.is_dir() and found.stat().st_mode & 0o777 == mode and self._is_of(found, user):
            return
        self.done.append(f"folder {path}, mode {mode:04o}" + (f", of {user}" if user else ""))
        if not self.dry:
            found.mkdir(parents=True, exist_ok=True)
            found.chmod(mode)
            self._give(found, user)

    def file(self, path: str, text: str, mode: int = 0o644, user: str = "") -> bool:
        """Write a file unless it says just that; return whether it was (or would be) written."""
        found = self.at(path)
        if found.is_file() and found.read_text(encoding="utf-8") == text:
            return False
        self.done.append(f"file {path}")
        if not self.dry:
            found.parent.mkdir(parents=True, exist_ok=True)
            new = found.with_name(f".{found.name}.new")
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
                os.fchmod(descriptor, mode)
                file.write(text)
            self._give(new, user)
            new.replace(found)
        return True

    def remove(self, path: str) -> bool:
        """Remove a file, or a folder with all that is in it; a mount is emptied."""
        found = self.at(path)
        if not found.exists() and not found.is_symlink():
            return False
        is_mount = found.is_mount()
        gone = list(found.iterdir()) if is_mount else [found]
        if not gone:
            return False
        self.done.append(f"{'emptied' if is_mount else 'removed'} {path}")
        if self.dry:
            return True
        for each in gone:
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            else:
                each.unlink()
        return True

    def call(self, *argv: str, why: str) -> None:
        """Run a command that changes something; raises Invalid when it fails."""
        self.done.append(why)
        if self.dry:
            return
        answer = self.run(argv)
        if answer.returncode:
            said = (answer.stderr or answer.stdout).strip() or f"exit code {answer.returncode}"
            raise Invalid(f"{why}: `{' '.join(argv)}` failed: {said}")

    def ask(self, *argv: str) -> str:
        """Run a command that only looks; its words, whatever it exits with."""
        return self.run(argv).stdout.strip()

    def _is_of(self, path: Path, user: str) -> bool:
        ids = self.ids_of(user) if user else (0, 0)
        return os.geteuid() != 0 or ids is None or path.stat().st_uid == ids[0]

    def _give(self, path: Path, user: str) -> None:
        """Give a file to a user; in a folder that stands for a host only root can."""
        ids = self.ids_of(user) if user else (0, 0)
        if ids is not None and os.geteuid() == 0:
            os.chown(path, *ids)
