"""How is somebody let in who has no key yet: one line to copy, good once and not for long?"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Annotated

import typer

from ..protocol.errors import Invalid, RemudaError
from ..protocol.resources import parse_duration_s
from . import screen
from .commands import Session, command
from .writing import rfc3339

if TYPE_CHECKING:
    from ..client.connection import Connection

NAME_CHARS_MAX = 63
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
ROLES = ("node", "viewer", "submit", "operator", "admin")
# Any address beyond our own networks: nothing is sent, the kernel only chooses a route.
FAR_AWAY = ("192.0.2.1", 9)
WILDCARDS = ("0.0.0.0", "::", "*")  # noqa: S104 - compared, not bound
EXAMPLE = """\
remuda key invite --role node --name gpu-7
remuda key invite --role submit --name anna --expires 2h
remuda key invite --role node --endpoint tcp://sched.example.org:7700"""


@command("key invite", example=EXAMPLE)
def key_invite(
    session: Session,
    role: Annotated[str, typer.Option(metavar="|".join(ROLES), help="What the newcomer may do.")],
    name: Annotated[
        str,
        typer.Option(metavar="N", help="Its name; left out: the newcomer chooses one that is new."),
    ] = "",
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="How long the line is good.")
    ] = "15m",
) -> None:
    """Print one line with which one newcomer gets a key of its own.

    On a new host: `remuda-node --join LINE`. On a user's machine: `remuda login LINE`. Whoever has
    the line can use it, once: send it over a way that others do not read. `--endpoint` names the
    address by which the newcomer reaches the scheduler.
    """
    from ..client import control
    from ..config.invitation import Invitation, to_line
    from ..config.keys import fingerprint, generate

    check_role(role)
    if name:
        check_name(name)
    try:
        valid_s = parse_duration_s(expires)
    except ValueError as error:
        raise Invalid(f"--expires {expires}: {error}", field="expires") from error
    pair = generate()
    with _connect(session) as link:
        told = control.invite(link, name, role, pair.public, valid_s)
        dialled, public = link.endpoint, link.scheduler_public
    endpoint, doubt = address(session.endpoint, dialled, str(told["listen"]))
    line = to_line(Invitation(endpoint, public, pair.secret, name, role, str(told["cluster"])))
    if session.json:
        screen.document(
            {
                "line": line,
                "name": name or None,
                "role": role,
                "cluster": told["cluster"],
                "endpoint": endpoint,
                "fingerprint": fingerprint(pair.public),
                "expires_at": rfc3339(told["expires_ms"]),
            }
        )
    else:
        screen.line(line)
    if doubt:
        screen.remark(doubt)
    if session.quiet or session.json:
        return
    if told["replaced"]:
        screen.remark(f"the earlier line for {name} is withdrawn")
    verb = "remuda-node --join" if role == "node" else "remuda login"
    screen.remark(f"good once, until {rfc3339(told['expires_ms'])}, with: {verb} LINE")


def address(given: str | None, dialled: str, listen: str) -> tuple[str, str]:
    """Choose the address that goes into a line, and say what is doubtful about it.

    What was given, else what we dialled ourselves unless that is this host, else where the
    scheduler listens; where it listens everywhere, the address of this host as others see it.
    """
    from ..config.endpoints import check_endpoint, is_loopback, tcp_url

    if given:
        return check_endpoint(given), ""
    if not is_loopback(dialled):
        return dialled, ""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if host not in WILDCARDS:
        listens = tcp_url(host, int(port))
        if not is_loopback(listens):
            return listens, ""
        return listens, (
            f"the scheduler listens on {host} alone, so the line is of use on this host only: set "
            "[scheduler] listen to an address that others reach"
        )
    guess = own_address()
    if guess is None:
        return dialled, (
            f"the line names {dialled}, which only this host can dial: name the address that "
            "others reach with --endpoint tcp://HOST:PORT"
        )
    return tcp_url(guess, int(port)), (
        f"the line names {guess}, which seems to be how others reach this host; if it is not, "
        "name the address with --endpoint tcp://HOST:PORT"
    )


def own_address() -> str | None:
    """Return the address of this host on the way to others; None when there is no way."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(FAR_AWAY)
        except OSError:
            return None
        found = str(probe.getsockname()[0])
    return None if found.startswith("127.") or found == "0.0.0.0" else found  # noqa: S104 - compared, not bound


def check_role(role: str) -> None:
    """Raise Invalid unless keys can have this role."""
    if role not in ROLES:
        raise Invalid(f"{role!r} is not a role: {', '.join(ROLES)}", field="role")


def check_name(name: str) -> None:
    """Raise Invalid unless a key can have this name."""
    if not NAME.fullmatch(name):
        raise Invalid(
            f"{name!r} is not a name: use letters, digits and . _ - @, at most {NAME_CHARS_MAX}",
            field="name",
        )


def _connect(session: Session) -> Connection:
    """Dial a scheduler of this host as always: --endpoint is for the newcomer then."""
    from ..config.cluster import find_cluster

    if session.endpoint:
        ref = find_cluster(home=session.home, cluster=session.cluster)
        if ref.home is not None:
            with contextlib.suppress(RemudaError):
                return Session(home=session.home, cluster=session.cluster).connect()
    return session.connect()
