"""Which remote clusters has a user logged in to, and which of them is meant by default?

Each is one identity file, `NAME.key`; the file `current` beside them names the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..protocol.errors import Conflict, NotFound
from .home import default_home, plain_name, write_atomically
from .invitation import Invitation
from .keys import KEY_FILE_BYTES_MAX, load_identity

CURRENT = "current"
SUFFIX = ".key"


def identities_dir(env: Mapping[str, str]) -> Path:
    """Find the directory of the identities of remote clusters."""
    return default_home(env).with_name("remuda-clusters")


def names(env: Mapping[str, str]) -> list[str]:
    """List the clusters that were logged in to."""
    return sorted(path.stem for path in identities_dir(env).glob(f"*{SUFFIX}"))


def identity_file(name: str, env: Mapping[str, str]) -> Path:
    """Find the identity of a cluster; raises NotFound with those there are."""
    directory = identities_dir(env)
    path = directory / f"{name}{SUFFIX}"
    if path.parent != directory or not path.is_file():
        raise NotFound(
            f"no cluster is called {name!r}; known are {', '.join(names(env)) or 'none'}: "
            "`remuda login LINE` adds one, with the line of an admin (`remuda key invite`)"
        )
    return path


def current(env: Mapping[str, str]) -> str:
    """Return the name of the default cluster, empty when none was chosen."""
    try:
        with (identities_dir(env) / CURRENT).open("rb") as file:
            return file.read(KEY_FILE_BYTES_MAX).decode("utf-8", "replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def use(name: str, env: Mapping[str, str]) -> None:
    """Make a cluster the default; raises NotFound."""
    identity_file(name, env)
    write_atomically(identities_dir(env) / CURRENT, f"{name}\n".encode())


def use_none(env: Mapping[str, str]) -> None:
    """Have no default any more: what runs on this host is meant again."""
    (identities_dir(env) / CURRENT).unlink(missing_ok=True)


def forget(name: str, env: Mapping[str, str]) -> None:
    """Remove the identity of a cluster; raises NotFound."""
    path = identity_file(name, env)
    if current(env) == name:
        use_none(env)
    path.unlink()


def file_for(invitation: Invitation, name: str, env: Mapping[str, str]) -> Path:
    """Choose where the identity of a login is kept; raises Conflict when another has the name."""
    path = identities_dir(env) / f"{plain_name(name)}{SUFFIX}"
    if path.exists():
        known = load_identity(path)
        if known.scheduler_public != invitation.scheduler_public:
            raise Conflict(
                f"another cluster ({known.endpoint}) is called {name} here: keep this one under a "
                f"name of your choice with `--as NAME`, or `remuda cluster forget {name}` first"
            )
    return path
