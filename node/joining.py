"""How does this host become a node of the cluster that a line names, or learn why it cannot?"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import zmq

from ..config.enrolment import enrol
from ..config.findings import Finding, Level, of_level, render
from ..config.home import Home
from ..config.host_checks import judge_libzmq
from ..config.invitation import Invitation, from_line
from ..config.keys import load_identity, load_key_pair
from ..config.settings import Settings
from ..config.state_dir import is_claimed
from ..protocol.errors import Conflict, Invalid, NotFound, Refused, RemudaError, Unreachable
from .checking import look_at_cluster, look_at_host
from .naming import name_by_line
from .preflight_driver import judge_use
from .probe import read_once

FROM_STDIN = "-"
JOIN_VARIABLE = "REMUDA_JOIN"
LINE_BYTES_MAX = 8_192


class NotFit(RemudaError):  # noqa: N818 - the public names read as outcomes
    """This host cannot be a node as it is; the report before says why."""

    code = "preflight"


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
    name = name_by_line(settings.node, invitation)
    home.create()
    _check_is_no_schedulers(home, invitation)
    path = home.key_file(f"node-{name}")
    known = load_identity(path) if path.exists() else None
    if known is not None and known.joined_with == invitation.fingerprint:
        return name
    try:
        _enrol(settings, invitation, name, path, settings.node.state_dir or home.node_dir(name))
    except (Refused, Conflict, Unreachable) as error:
        if known is None or known.scheduler_public != invitation.scheduler_public:
            raise
        # A member stays one, whatever line was left in its environment.
        sys.stderr.write(f"remuda-node: starting with the key that is here: {error}\n")
    return name


def _enrol(
    settings: Settings, invitation: Invitation, name: str, path: Path, node_dir: Path
) -> None:
    reading = read_once(settings.node.nvml, settings.node.probe_deadline_s)
    found = [
        *judge_libzmq(zmq.zmq_version_info(), has_curve=zmq.has("curve")),
        *look_at_host(settings.node, node_dir, reading),
        *judge_use(reading),
    ]
    _stop_if_serious(found, "nothing was asked of the scheduler, the line is unused")
    enrolled = enrol(invitation, name, path)
    found += look_at_cluster(
        enrolled.identity, invitation.endpoint, enrolled.welcome, is_running=is_claimed(node_dir)
    )
    _stop_if_serious(found, "the same line is good for another try on this host")
    enrolled.keep()
    _say(found, joined=f"{name} joins {enrolled.identity.cluster} ({invitation.endpoint})")


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
