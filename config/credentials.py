"""Which keys did the service manager hand over (LoadCredential=)? They come before the home's.

Such a file belongs to root or to us, in a folder that nobody else can enter; it is read alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..protocol.errors import Invalid
from .home import Home

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
NODE = "node"


def handed_over(name: str, environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the key `NAME.key` among our credentials, if there is one.

    Raises Invalid where they cannot be looked at: the home's key would be another one.
    """
    folder = (os.environ if environ is None else environ).get(CREDENTIALS_VARIABLE, "")
    path = Path(folder) / f"{name}.key"
    try:
        return path if folder.startswith("/") and path.is_file() else None
    except OSError as error:
        raise Invalid(
            f"{path}: the service manager names this folder, but it cannot be read "
            f"({error.strerror}): keep the key in the home, and leave LoadCredential= out"
        ) from error


def scheduler_key(home: Home) -> Path:
    """Return where the scheduler's key pair is, which the store shows as well."""
    return handed_over("scheduler") or home.key_file("scheduler")


def node_key(home: Home, name: str) -> Path:
    """Return where the identity of a node is: a host has one node of its own key at most there."""
    return handed_over(NODE) or home.key_file(f"node-{name}")


def is_credential(path: Path) -> bool:
    """Tell whether a file lies among our credentials."""
    folder = os.environ.get(CREDENTIALS_VARIABLE, "")
    return folder.startswith("/") and path.parent == Path(folder)
