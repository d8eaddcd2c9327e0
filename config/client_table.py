"""Which numbers does a client go by? The `[client]` table of its layers, cheaply.

Most clients have no such table: they load neither the models of the configuration nor what checks
them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .home import ETC, PROFILE_VARIABLE

TABLE = "client"
VARIABLES = "REMUDA_CLIENT__"


@dataclass(frozen=True, slots=True)
class ClientTable:
    """What the Python client and the command line can be told; see `[client]` in defaults.toml."""

    connect_timeout_s: float = 5.0
    request_timeout_s: float = 30.0
    poll_s: float = 20.0
    map_frame_tasks: int = 1_000
    map_window_tasks: int = 10_000


def read_client_table(
    home: Path | None, *, env: Mapping[str, str] | None = None, etc: Path = ETC
) -> ClientTable:
    """Read what `/etc/remuda`, a home and the environment say; raises ConfigError."""
    variables = os.environ if env is None else env
    directories = [etc] if home is None else [etc, home]
    profile = variables.get(PROFILE_VARIABLE, "")
    if not profile and not _is_said(directories, variables):
        return ClientTable()
    from .layers import Layer, Leaves
    from .load import checked
    from .problems import ConfigError
    from .sources import add_profile, profile_folders

    leaves = Leaves(only=TABLE)
    leaves.add_directory(etc, Layer.ETC)
    if profile:
        add_profile(leaves, profile, profile_folders(home, etc))
    if home is not None:
        leaves.add_directory(home, Layer.HOME)
    leaves.add_environment(variables)
    if leaves.problems:
        raise ConfigError(leaves.problems)
    found = checked(leaves.found).client
    return ClientTable(**{name: getattr(found, name) for name in ClientTable.__slots__})


def _is_said(directories: list[Path], env: Mapping[str, str]) -> bool:
    """Tell whether any layer may have such a table: a file that has the word may have it."""
    if any(name.startswith(VARIABLES) for name in env):
        return True
    word = TABLE.encode()
    return any(word in path.read_bytes() for each in directories for path in each.glob("*.toml"))
