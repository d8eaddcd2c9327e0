"""How does this host become a node of the cluster that a line names, or learn why it cannot?"""

from __future__ import annotations

import fcntl
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from ..config.endpoints import read_endpoints
from ..config.enrolment import Welcome, ask_again, enrol
from ..config.home import Home, make_private_directory
from ..config.invitation import Invitation, from_line
from ..config.keys import Identity, load_identity, load_key_pair
from ..config.settings import Settings
from ..config.settings_node import NodeSettings
from ..protocol.errors import Conflict, Invalid, NotFound, RemudaError
from .dialling import Scheduler, reach_ports
from .gpu import Reading
from .preflight import Finding, Level, NotFit, fine, of_level, render, serious, warning
from .preflight_cluster import of_cluster
from .preflight_driver import judge_use
from .preflight_host import of_host
from .probe import read_once

FROM_STDIN = "-"
JOIN_VARIABLE = "REMUDA_JOIN"
LINE_BYTES_MAX = 8_192


def line_from(option: str | None) -> str:
    """Return the line that the option, stdin or the environment gives; empty when none does."""
    if option == FROM_STDIN:
        return sys.stdin.readline(LINE_BYTES_MAX)
    return option or os.environ.get(JOIN_VARIABLE, "")


def join(home: Home, settings: Settings, line: str) -> str:
    """Become a node by a line, unless this host is one by that very line; return its name.

    The line is not used before this host itself is found fit. Where the way to the scheduler is
    not, the key is admitted already and kept: the same line is good for another try.
    Raises NotFit after its report, and whatever the scheduler refuses with.
    """
    invitation = from_line(line)
    if invitation.role != "node":
        raise Invalid(
            f"this line is for a user (role {invitation.role}): use it with `remuda login LINE`"
        )
    name = _name_of(settings.node, invitation)
    home.create()
    _check_is_no_schedulers(home, invitation)
    path = home.key_file(f"node-{name}")
    if path.exists() and load_identity(path).joined_with == invitation.fingerprint:
        return name
    node_dir = settings.node.state_dir or home.node_dir(name)
    reading = read_once(settings.node.nvml, settings.node.probe_deadline_s)
    found = look_at_host(settings.node, node_dir, reading) + list(judge_use(reading))
    _stop_if_serious(found, "nothing was asked of the scheduler, the line is unused")
    enrolled = enrol(invitation, name, path)
    found += look_at_cluster(enrolled.identity, invitation.endpoint, enrolled.welcome)
    _stop_if_serious(found, "the same line is good for another try on this host")
    enrolled.keep()
    _say(found, joined=f"{name} joins {enrolled.identity.cluster} ({invitation.endpoint})")
    return name


def look_at_host(node: NodeSettings, node_dir: Path, reading: Reading) -> list[Finding]:
    """Look at this host alone."""
    make_private_directory(node_dir)
    return of_host(node, node_dir, reading)


def look_at_cluster(
    identity: Identity, control: str, welcome: Welcome, *, is_running: bool = False
) -> list[Finding]:
    """Dial the ports that a welcome names, and compare clocks and versions."""
    host = control.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    ports = dict(welcome.ports)
    if is_running:  # its own connection to that port shows that it is open
        ports.pop("dispatch", None)
    reached = reach_ports(Scheduler(host, identity.scheduler_public, identity.key), ports)
    return of_cluster(welcome, metadata.version("remuda"), host, reached)


def check(home: Home, settings: Settings, name: str) -> list[Finding]:
    """Look at everything, joining nothing; the node's directory is made to be tried out."""
    node_dir = settings.node.state_dir or home.node_dir(name)
    reading = read_once(settings.node.nvml, settings.node.probe_deadline_s)
    found = look_at_host(settings.node, node_dir, reading)
    try:
        identity = load_identity(home.key_file(f"node-{name}"))
    except NotFound:
        text = "not joined yet: its clock, versions and ports are looked at when it joins"
        return [*found, fine("cluster", text)]
    running = read_endpoints(home.endpoints_file)
    control = identity.endpoint if running is None else running.url("control")
    try:
        welcome = ask_again(identity, control)
    except RemudaError as error:
        if error.code in ("unknown_message", "foreign_protocol"):
            older = warning("cluster", "the scheduler is older and tells nothing of its ports",
                            "upgrade it: docs/upgrade.md")  # fmt: skip
            return [*found, older]
        return [*found, serious("cluster", str(error), f"it is at {control}: look there first")]
    is_running = _has_agent(node_dir)
    if not is_running:
        found += judge_use(reading)
    return found + look_at_cluster(identity, control, welcome, is_running=is_running)


def name_of(home: Home, settings: Settings) -> str:
    """Return what this node is called: as configured, else as it joined, else as its host."""
    if settings.node.name:
        return settings.node.name
    own = platform.node()
    keys = sorted(home.keys_dir.glob("node-*.key"))
    if len(keys) == 1:
        return keys[0].stem.removeprefix("node-")
    return own


def _name_of(node: NodeSettings, invitation: Invitation) -> str:
    if node.name and invitation.name and node.name != invitation.name:
        raise Invalid(
            f"this line is for the node {invitation.name}, and this one is to be called "
            f"{node.name}: leave --name and [node] name out, or ask for a line with that name",
            field="name",
        )
    return invitation.name or node.name or platform.node()


def _check_is_no_schedulers(home: Home, invitation: Invitation) -> None:
    """Raise Conflict in the home of another scheduler, whose address would be taken for ours."""
    try:
        public = load_key_pair(home.key_file("scheduler")).public
    except NotFound:
        return
    if public != invitation.scheduler_public:
        raise Conflict(
            f"{home.root} is the home of another cluster's scheduler: give this node a home of "
            "its own with --home DIR"
        )


def _has_agent(node_dir: Path) -> bool:
    """Tell whether an agent of this node runs."""
    try:
        descriptor = os.open(node_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _stop_if_serious(found: Sequence[Finding], consequence: str) -> None:
    bad = of_level(found, Level.SERIOUS)
    if not bad:
        return
    _say(found)
    topics = ", ".join(dict.fromkeys(each.topic for each in bad))
    raise NotFit(f"this host cannot join as it is ({topics}, see above): {consequence}")


def _say(found: Sequence[Finding], joined: str = "") -> None:
    sys.stderr.write(render(found) + (f"{joined}\n" if joined else ""))
    sys.stderr.flush()
