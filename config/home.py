"""Where the files of a cluster on this host stand: the layout of `REMUDA_HOME`."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..protocol.errors import Invalid

HOME_VARIABLE = "REMUDA_HOME"
PROFILE_VARIABLE = "REMUDA_PROFILE"
ETC = Path("/etc/remuda")  # what holds for all clusters of a host
SERVICE_HOME = Path("/var/lib/remuda")  # of the daemons that `remuda install` puts under systemd
DIRECTORY_MODE = 0o700
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of a cluster; each property names one file or directory in it."""

    root: Path

    @property
    def config_file(self) -> Path:
        """Find the configuration that a user edits; every `*.toml` beside it is read too."""
        return self.root / "remuda.toml"

    @property
    def keys_dir(self) -> Path:
        """Find the directory of secret keys."""
        return self.root / "keys"

    @property
    def state_dir(self) -> Path:
        """Find the directory of what must survive a restart."""
        return self.root / "state"

    @property
    def scheduler_dir(self) -> Path:
        """Find the directory of the journal."""
        return self.state_dir / "scheduler"

    @property
    def logs_dir(self) -> Path:
        """Find the directory of the logs of daemons that `up` started."""
        return self.root / "logs"

    @property
    def run_dir(self) -> Path:
        """Find the directory of what holds only while daemons run."""
        return self.root / "run"

    @property
    def endpoints_file(self) -> Path:
        """Find the ports and the public key that the scheduler has now."""
        return self.root / "endpoints.json"

    def node_dir(self, name: str) -> Path:
        """Find the directory of one node's runners."""
        return self.state_dir / "nodes" / plain_name(name)

    def log_file(self, daemon: str) -> Path:
        """Find the log of one daemon."""
        return self.logs_dir / f"{plain_name(daemon)}.log"

    def pid_file(self, daemon: str) -> Path:
        """Find the process id of one daemon."""
        return self.run_dir / f"{plain_name(daemon)}.pid"

    def key_file(self, name: str) -> Path:
        """Find a key: `scheduler`, `client`, `node-NAME`."""
        return self.keys_dir / f"{plain_name(name)}.key"

    @property
    def authorized_file(self) -> Path:
        """Find the public keys that are known before the journal has any."""
        return self.keys_dir / "authorized"

    def create(self) -> None:
        """Make the directories, closed to others; raises Invalid where others can write."""
        _make_root(self.root)
        for directory in (
            self.keys_dir,
            self.state_dir,
            self.scheduler_dir,
            self.logs_dir,
            self.run_dir,
        ):
            make_private_directory(directory)


def default_home(env: Mapping[str, str] | None = None) -> Path:
    """Name the home that `remuda up` takes unless told otherwise."""
    variables = os.environ if env is None else env
    data = variables.get("XDG_DATA_HOME", "")
    base = Path(data) if data.startswith("/") else _user_directory(variables) / ".local/share"
    return base / "remuda"


def _user_directory(env: Mapping[str, str]) -> Path:
    return Path(env["HOME"]) if env.get("HOME", "").startswith("/") else Path.home()


def make_private_directory(directory: Path) -> None:
    """Make a directory that only we can enter, or close the one that is there."""
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        if directory.stat().st_mode & 0o777 != DIRECTORY_MODE:
            directory.chmod(DIRECTORY_MODE)
    except OSError as error:
        raise Invalid(f"{directory}: cannot be made ours: {error.strerror}") from error


def _make_root(root: Path) -> None:
    """Make the home; one that exists (it may be anything, even /tmp) keeps its mode."""
    if not root.is_dir():
        make_private_directory(root)
    status = root.stat()
    if status.st_uid != os.geteuid():
        raise Invalid(
            f"{root}: belongs to user {status.st_uid}: {as_that_user(status)}, or name another "
            "directory with --home"
        )
    if status.st_mode & 0o022:
        raise Invalid(f"{root}: others can write there: `chmod go-w` it, or name another directory")


def as_that_user(status: os.stat_result) -> str:
    """Say how the owner of a file does what we may not; nobody should take it from a service."""
    try:
        name = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        name = f"'#{status.st_uid}'"
    return f"do this as that user, with `sudo -u {name} ...`"


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file so that a reader, or a crash, finds the old or the new content, whole."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - opens a descriptor, not a path
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_directory(path.parent)


def write_first(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 unless there is one: of many at a time, the first one's holds."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    write_atomically(fresh, data)
    try:
        with contextlib.suppress(FileExistsError):  # somebody else was first
            os.link(fresh, path)
    finally:
        fresh.unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def plain_name(name: str) -> str:
    """Return a name that cannot leave its directory; raises Invalid for others."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{name!r} cannot name a file: use letters, digits, '.', '_' and '-', at most 63",
            field="name",
        )
    return name
