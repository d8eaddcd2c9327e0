"""Which keys does a home get by itself, so that whoever starts a cluster is its admin?"""

from __future__ import annotations

import getpass
import re
from dataclasses import dataclass
from pathlib import Path

from .cluster import CLIENT
from .home import Home
from .keys import Identity, generate, load_identity, save_identity

OWNER_DEFAULT = "admin"
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Trusted:
    """The scheduler that an identity is for."""

    public: str
    endpoint: str
    cluster: str


def ensure_admin(home: Home, scheduler: Trusted) -> Identity:
    """Give the home a client key of the role admin, or keep the key that is there.

    A new one is named after the user of this process.
    """
    path = home.key_file(CLIENT)
    name = load_identity(path).name if path.exists() else user_name()
    return ensure_identity(path, name, "admin", scheduler)


def ensure_identity(path: Path, name: str, role: str, scheduler: Trusted) -> Identity:
    """Keep the key of an identity, or make one, and point it at this scheduler."""
    pair = load_identity(path).key if path.exists() else generate()
    identity = Identity(name, role, pair, scheduler.public, scheduler.endpoint, scheduler.cluster)
    save_identity(path, identity)
    return identity


def user_name() -> str:
    """Return the name of the user of this process as a key can have it."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return OWNER_DEFAULT  # a user id without a name, as in some containers
    return name if _OWNER.fullmatch(name) else OWNER_DEFAULT
