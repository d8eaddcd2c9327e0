"""Do this host and its scheduler go together: clocks, versions, each port that a node needs?"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from enum import Enum

from ..config.clock_checks import judge_apart
from ..config.enrolment import Welcome
from ..config.findings import Finding, fine, serious, warning
from ..protocol.codec import VERSION, VERSION_OLDEST


class Reach(Enum):
    """What came of dialling one port of the scheduler."""

    OPEN = "open"
    SILENT = "no answer"
    REFUSED = "refused"
    MUTE = "connected, and not a word"
    NOT_OURS = "something else answers"
    KEY_REFUSED = "our key is refused"


PATIENCE_S = 6.0  # for all ports together
STORE_MAY_BE = {
    Reach.REFUSED: "refuses connections",
    Reach.MUTE: f"is slow: it takes connections and answered none within {PATIENCE_S:g} s",
}
"""It is a process of its own, which may be down, and gives way to others where they are busy."""


def of_cluster(
    welcome: Welcome, ours: str, host: str, reached: Mapping[str, Reach]
) -> list[Finding]:
    """Say what is found; `ours` is our version, `reached` what came of dialling each channel."""
    return [
        *judge_apart(welcome.clock_ahead_ms),
        *judge_versions(welcome, ours),
        *judge_ports(host, welcome.ports, reached),
    ]


def judge_versions(welcome: Welcome, ours: str) -> Iterator[Finding]:
    lowest, highest = welcome.protocol_min, welcome.protocol_max
    spoken = f"remuda {ours} speaks protocol {VERSION_OLDEST} to {VERSION}"
    theirs = f"the scheduler ({welcome.version}) {lowest} to {highest}"
    if highest < VERSION_OLDEST or lowest > VERSION:
        older = "scheduler" if highest < VERSION_OLDEST else "host"
        yield serious("versions", f"{spoken}, {theirs}", f"upgrade this {older}: docs/upgrade.md")
    elif highest < VERSION:
        yield warning(
            "versions",
            f"{spoken}, {theirs}: what is new is not to be had here yet",
            "upgrade the scheduler; in an upgrade it comes first: docs/upgrade.md",
        )
    else:
        yield fine("versions", f"remuda {ours} here, {welcome.version} at the scheduler; "
                               f"Python {platform.python_version()}")  # fmt: skip


def judge_ports(
    host: str, ports: Mapping[str, int], reached: Mapping[str, Reach]
) -> Iterator[Finding]:
    """Say which ports of the scheduler are not reached, in one finding."""
    closed = {name: how for name, how in reached.items() if how is not Reach.OPEN}
    if closed.get("store") in STORE_MAY_BE:
        how = STORE_MAY_BE[closed.pop("store")]
        yield warning(
            "ports",
            f"the store (port {ports['store']} of {host}) {how}: tasks with files "
            "or large values fail here until it is reached",
            "is remuda-store up there (`systemctl status remuda-store`), and its host not "
            "overloaded? If so, a firewall rejects",
        )
    if not closed:
        names = ", ".join(f"{name} {ports[name]}" for name, how in reached.items()
                          if how is Reach.OPEN)  # fmt: skip
        yield fine("ports", f"reached on {host}: {names}")
        return
    named = ", ".join(f"{name} {ports[name]} ({how.value})" for name, how in closed.items())
    yield serious("ports", f"not reached on {host}: {named}", _ports_remedy(host, ports, closed))


def _ports_remedy(host: str, ports: Mapping[str, int], closed: Mapping[str, Reach]) -> str:
    kinds = set(closed.values())
    if kinds <= {Reach.SILENT, Reach.REFUSED}:
        numbers = ", ".join(str(port) for port in sorted(ports[name] for name in closed))
        way = f"let TCP through from this host to {host}, ports {numbers}"
        if "dispatch" in closed:
            way += " (each node has one of its own from the dispatch range)"
        return f"{way}: a firewall, a security group or a port forwarding is in the way"
    if Reach.MUTE in kinds:
        return f"is {host} the scheduler's own address? If so, it is too busy to answer: try again"
    if Reach.KEY_REFUSED in kinds:
        return "was the key of this node revoked? `remuda key list` shows it"
    return f"another program answers there: is {host} the scheduler's own address?"
