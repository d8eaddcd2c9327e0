"""What stands in the way of a good node, all of it: this host and its way to the scheduler."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from ..config.credentials import node_key
from ..config.disk_checks import judge_syncs, time_syncs
from ..config.endpoints import read_endpoints
from ..config.enrolment import Welcome, ask_again
from ..config.findings import Finding, fine, serious, warning
from ..config.home import Home
from ..config.host_checks import of_runtime
from ..config.invitation import ANOTHER_LINE, Invitation, from_line
from ..config.keys import Identity, load_identity
from ..config.knock import NotLetIn
from ..config.settings import Settings
from ..config.settings_node import NodeSettings
from ..config.state_dir import is_claimed
from ..protocol.errors import NotFound, RemudaError
from .dialling import Scheduler, reach_ports
from .gpu import Reading
from .naming import name_of
from .others import make_directory
from .preflight_cluster import Reach, of_cluster
from .preflight_driver import judge_use
from .preflight_host import of_host, place_of
from .probe import read_once

CONTROL_PATIENCE_S = 3.0
OLDER_CODES = ("unknown_message", "foreign_protocol")


def check(home: Home, settings: Settings, line: str = "") -> list[Finding]:
    """Look at everything, joining nothing; the node's directory is made to be tried out.

    A host that has not joined dials the control port of its `line`, which does not spend it.
    """
    name = name_of(home, settings)
    node_dir = settings.node.state_dir or home.node_dir(name)
    reading = read_once(settings.node.nvml, settings.node.probe_deadline_s)
    found = of_runtime() + look_at_host(settings.node, node_dir, reading)
    found += _time_disk(node_dir)
    try:
        identity = load_identity(node_key(home, name))
    except NotFound:
        return found + _look_at_line(line)
    running = read_endpoints(home.endpoints_file)
    control = identity.endpoint if running is None else running.url("control")
    try:
        welcome = ask_again(identity, control)
    except RemudaError as error:
        return [*found, _no_welcome(error, control)]
    is_running = is_claimed(node_dir)
    if not is_running:
        found += judge_use(reading)
    return found + look_at_cluster(identity, control, welcome, is_running=is_running)


def _time_disk(node_dir: Path) -> list[Finding]:
    try:
        return list(judge_syncs(place_of(node_dir), time_syncs(node_dir)))
    except OSError:
        return []  # that it cannot be written is found already


def look_at_host(node: NodeSettings, node_dir: Path, reading: Reading) -> list[Finding]:
    """Look at this host alone."""
    make_directory(node_dir)
    return of_host(node, node_dir, reading)


def look_at_cluster(
    identity: Identity, control: str, welcome: Welcome, *, is_running: bool = False
) -> list[Finding]:
    """Dial the ports that a welcome names, and compare clocks and versions."""
    ports = dict(welcome.ports)
    if is_running:  # its own connection to that port shows that it is open
        ports.pop("dispatch", None)
    host = host_of(control)
    reached = reach_ports(Scheduler(host, identity.scheduler_public, identity.key), ports)
    return of_cluster(welcome, metadata.version("remuda"), host, reached)


def host_of(control: str) -> str:
    """Return the host of an endpoint."""
    return control.removeprefix("tcp://").rpartition(":")[0].strip("[]")


def _look_at_line(line: str) -> list[Finding]:
    if not line:
        return [fine("cluster", "not joined yet: with --join LINE its control port is dialled too")]
    invitation = from_line(line)
    how = _reach_of(invitation)
    where = invitation.endpoint
    if how is Reach.OPEN:
        return [fine("cluster", f"{where} is reached, and this line is known there")]
    if how is Reach.KEY_REFUSED:
        return [serious("cluster", f"{where} does not know this line (any more)", ANOTHER_LINE)]
    text = f"{where} is not reached ({how.value})"
    return [serious("cluster", text, "let TCP through to there, or ask for a line with --endpoint")]


def _reach_of(invitation: Invitation) -> Reach:
    key = invitation.one_time_key
    scheduler = Scheduler(host_of(invitation.endpoint), invitation.scheduler_public, key)
    port = int(invitation.endpoint.rpartition(":")[2])
    return reach_ports(scheduler, {"control": port}, CONTROL_PATIENCE_S)["control"]


def _no_welcome(error: RemudaError, control: str) -> Finding:
    """Say what it means that a node was not told what a newcomer is told."""
    if isinstance(error, NotLetIn):
        return serious("cluster", f"{control} does not admit the key of this node", ANOTHER_LINE)
    if error.code in OLDER_CODES:
        text = "the scheduler is older and tells nothing of its clock and its ports"
        return warning("cluster", text, "upgrade it: docs/upgrade.md")
    return serious("cluster", str(error), f"it is to be at {control}: look there first")
