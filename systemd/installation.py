"""What does a host need to run a scheduler or a node, and what of it is taken away again?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from ..protocol.errors import Invalid, NotFound
from . import users
from .host import Host
from .units import (
    PREFIX,
    ROLES,
    RUN_AS,
    RUN_AS_SOCKET,
    SERVICES,
    TARGET,
    files_of,
    text_of,
)

USER = "remuda"
HOME = "/var/lib/remuda"
SETTINGS = "/etc/remuda"
UNITS = "/etc/systemd/system"
NODE_ENV = f"{SETTINGS}/node.env"
NOLOGIN = "/usr/sbin/nologin"


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall stand on the host: one role, from one prefix; `line` joins a node.

    `run_as` names the users as whom a node runs what is of an owner.
    """

    role: str
    prefix: PurePath = PREFIX
    line: str = ""
    listen: str = ""
    start: bool = True
    run_as: Mapping[str, str] = field(default_factory=dict)


def install(host: Host, wish: Wish) -> list[str]:
    """Bring a host to where it runs this role; return what was changed, nothing when all was so.

    Raises NotFound where remuda itself is not there, Invalid where a command fails.
    """
    _check(host, wish)
    if host.ids_of(USER) is None:
        host.call(
            *_useradd(host),
            why=f"user {USER}, without a password and a shell",
        )
    host.folder(HOME, 0o700, USER)
    host.folder(f"{HOME}/keys", 0o700, USER)
    host.folder(SETTINGS, 0o755)
    host.folder(f"{SETTINGS}/credentials", 0o700)
    if wish.listen:
        _set_listen(host, f'listen = "{wish.listen}"')
    if wish.line and not _has_joined(host):
        host.file(NODE_ENV, f"REMUDA_JOIN={wish.line}\n", 0o600)
    with_others = bool(wish.run_as) or (wish.role == "node" and users.are_there(host, UNITS))
    if wish.run_as:
        users.settle(host, wish.run_as, USER)
    files = [*files_of(wish.role), *(RUN_AS if with_others else ())]
    units = [each for each in files if _write_unit(host, each, wish.prefix)]
    if units:
        host.call("systemctl", "daemon-reload", why="systemd reads its units")
    if with_others:
        _enable(host, RUN_AS_SOCKET, start=wish.start)
    for unit in (each for each in units if each in SERVICES[wish.role]):
        if host.ask("systemctl", "is-active", unit) == "active":
            host.done.append(f"{unit} runs as it was started: `systemctl restart {unit}`")
    for unit in (TARGET, *SERVICES[wish.role]):
        _enable(host, unit, start=wish.start)
    return host.done


def uninstall(host: Host, wish: Wish, *, purge: bool) -> list[str]:
    """Stop and remove the services of a role; with `purge` also data, keys and the user.

    Raises Invalid where the other role's services would lose what they need.
    """
    others = [role for role in ROLES if role != wish.role and _is_there(host, role)]
    if purge and others:
        raise Invalid(
            f"--purge would take the data of the {others[0]} that is installed here too: "
            f"`remuda install {others[0]} --uninstall` first"
        )
    gone = list(SERVICES[wish.role]) if others else [*SERVICES[wish.role], TARGET]
    if wish.role == "node":
        gone += RUN_AS
    there = [unit for unit in gone if host.exists(f"{UNITS}/{unit}")]
    named = [unit for unit in there if "@" not in unit]  # of a template there is nothing to stop
    if named:
        host.call("systemctl", "disable", "--now", *named, why=f"stopped {', '.join(named)}")
    for unit in there:
        host.remove(f"{UNITS}/{unit}")
    if there:
        host.call("systemctl", "daemon-reload", why="systemd reads its units")
    if wish.role == "node":
        host.remove(NODE_ENV)
    if purge:
        host.remove(HOME)
        host.remove(SETTINGS)
        users.purge(host)
        if host.ids_of(USER) is not None:
            host.call(*_of_root(host, "userdel"), USER, why=f"removed the user {USER}")
    return host.done


def _check(host: Host, wish: Wish) -> None:
    if not wish.prefix.is_absolute() or any(c in str(wish.prefix) for c in " %\n\"'"):
        raise Invalid(
            f"--prefix {wish.prefix}: name an absolute path without blanks, quotes and '%'"
        )
    for service in SERVICES[wish.role]:
        program = wish.prefix / "bin" / service.removesuffix(".service")
        if not host.exists(str(program)):
            raise NotFound(
                f"{program} is not there: make a virtual environment in {wish.prefix} and install "
                "remuda into it (`bin/install` does both), or name another --prefix"
            )
    if host.root == Path("/") and os.geteuid() != 0 and not host.dry:
        raise Invalid("only root can install services: use sudo, or look first with --dry-run")


def _write_unit(host: Host, unit: str, prefix: PurePath) -> bool:
    return host.file(f"{UNITS}/{unit}", text_of(unit, prefix))


def _enable(host: Host, unit: str, *, start: bool) -> None:
    """Let a unit start at boot, and now."""
    if host.ask("systemctl", "is-enabled", unit) != "enabled":
        host.call("systemctl", "enable", unit, why=f"{unit} starts at boot")
    if start and host.ask("systemctl", "is-active", unit) not in ("active", "activating"):
        host.call("systemctl", "start", unit, why=f"started {unit}")


def _set_listen(host: Host, line: str) -> None:
    """Write the first settings; those that are there are never touched, and that is said."""
    path = f"{HOME}/remuda.toml"
    if not host.exists(path):
        host.file(path, f"[scheduler]\n{line}\n", 0o600, USER)
    elif line not in host.at(path).read_text(encoding="utf-8"):
        host.done.append(f"{path} is left as it is: write {line} into its [scheduler] yourself")


def _has_joined(host: Host) -> bool:
    return any(host.at(f"{HOME}/keys").glob("node-*.key"))


def _is_there(host: Host, role: str) -> bool:
    return any(host.exists(f"{UNITS}/{unit}") for unit in SERVICES[role])


def _useradd(host: Host) -> list[str]:
    words = ["--system", "--user-group", "--home-dir", HOME, "--shell", NOLOGIN, USER]
    return [*_of_root(host, "useradd"), *words]


def _of_root(host: Host, tool: str) -> list[str]:
    return [tool] if host.root == Path("/") else [tool, "--root", str(host.root)]
