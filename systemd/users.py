"""What does a node need on its host to run tasks as users of their own, besides the units?"""

from __future__ import annotations

from collections.abc import Mapping

from ..protocol.errors import Invalid
from .host import Host
from .units import RUN_AS_SOCKET

ALLOWED = "/etc/remuda-run-as.toml"
"""Beside the settings, not among them: it is the helper's alone, and only root changes it."""
SETTINGS_FILE = "/etc/remuda/run-as.toml"
STATE = "/var/lib/remuda-node"
ID_MIN = 1000
NOBODY = 65_534


def settle(host: Host, run_as: Mapping[str, str], agent: str) -> None:
    """Write who runs as whom, for the agent and for the helper; raises Invalid."""
    users = sorted(set(run_as.values()))
    for user in users:
        _check(host, user)
    host.folder(STATE, 0o711, agent)
    rows = "".join(f"{_quoted(owner)} = {_quoted(run_as[owner])}\n" for owner in sorted(run_as))
    host.file(SETTINGS_FILE, f'[node]\nstate_dir = "{STATE}"\n\n[node.run_as]\n{rows}')
    names = ", ".join(map(_quoted, users))
    host.file(ALLOWED, f'agent = "{agent}"\nusers = [{names}]\n')


def are_there(host: Host, units: str) -> bool:
    """Tell whether the helper is installed."""
    return host.exists(f"{units}/{RUN_AS_SOCKET}")


def purge(host: Host) -> None:
    """Remove the helper's file, and what tasks left."""
    host.remove(ALLOWED)
    host.remove(STATE)


def _check(host: Host, user: str) -> None:
    ids = host.ids_of(user)
    if ids is None:
        raise Invalid(f"--run-as: there is no user {user!r} on this host: add it first (useradd)")
    if min(ids) < ID_MIN or NOBODY in ids:
        raise Invalid(
            f"--run-as: user {user!r} has ids {ids[0]}:{ids[1]}: nothing is started with one below "
            f"{ID_MIN}, nor as nobody"
        )


def _quoted(text: str) -> str:
    if any(ord(char) < 32 or char in '"\\' for char in text) or not text:
        raise Invalid(f"--run-as: {text!r} is no name: OWNER=USER")
    return f'"{text}"'
