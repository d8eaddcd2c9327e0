"""Who may do what: make key pairs, and say which the cluster admits."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..protocol.errors import Invalid, Refused, RemudaError
from . import invites, screen
from .commands import Session, command
from .invites import ROLES, check_name, check_role
from .screen import Column
from .writing import rfc3339

if TYPE_CHECKING:
    from ..config.cluster import Connection
    from ..config.keys import KeyPair

__all__ = ["invites"]  # it registers its command when it is loaded

KEY_CHARS = 40
Role = Annotated[str, typer.Option(metavar="|".join(ROLES), help="What the key may do.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.")]
STYLES = {"allowed": "green", "revoked": "red", "invited": "yellow"}


@command(
    "key new",
    example="remuda key new anna --role submit --out anna.key",
)
def key_new(
    session: Session,
    name: Name,
    role: Role = "submit",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it (default: NAME.key).")
    ] = None,
) -> None:
    """Make a key pair and say how it is admitted."""
    from ..config import keys
    from ..config.endpoints import is_loopback

    check_role(role)
    check_name(name)
    path = out or Path(f"{name}.key")
    if path.exists():
        raise Refused(f"{path} exists: choose another --out, or remove it")
    pair = _new_pair()
    known = _known(session)
    if known is None:
        keys.save_key_pair(path, pair)  # no cluster is known here: the pair alone
    else:
        keys.save_identity(
            path,
            keys.Identity(name, role, pair, known.scheduler_public, known.endpoint, known.cluster),
        )
    words = ["remuda", *(("--home", str(session.home)) if session.home else ())]
    words += ["key", "allow", name, pair.public, "--role", role]
    admit = shlex.join(words)
    if session.json:
        screen.document(
            {
                "name": name,
                "role": role,
                "public_key": pair.public,
                "fingerprint": keys.fingerprint(pair.public),
                "file": str(path),
                "allow": admit,
            }
        )
        return
    screen.line(pair.public if session.quiet else f"wrote {path} ({keys.fingerprint(pair.public)})")
    if session.quiet:
        return
    screen.line(f"an admin lets it in with:\n  {admit}")
    if known is not None:
        screen.line(_where_to_keep(name, role, known.cluster))
    if known is not None and is_loopback(known.endpoint):
        screen.remark(f"it names {known.endpoint}: only this host can dial that (see --endpoint)")


@command("key list", example="remuda key list")
def key_list(
    session: Session,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="Rows to show.")] = 100,
    cursor: Annotated[str, typer.Option(metavar="NAME", help="Go on after this name.")] = "",
) -> None:
    """List the keys that the cluster knows, and the invitations that nobody used yet."""
    from ..client import control
    from ..config.keys import fingerprint

    with session.connect() as link:
        found = sorted(control.list_keys(link), key=lambda row: str(row["name"]))
    total = len(found)
    found = [row for row in found if row["name"] > cursor][:limit]
    rows = [
        {
            "name": row["name"],
            "role": row["role"],
            "state": row.get("state") or ("revoked" if row.get("revoked_ms") else "allowed"),
            "fingerprint": row.get("fingerprint") or fingerprint(row["public_key"]),
            "public_key": row["public_key"],
            "created_at": rfc3339(row.get("created_ms")),
            "revoked_at": rfc3339(row.get("revoked_ms")),
            "expires_at": rfc3339(row.get("expires_ms")),
        }
        for row in found
    ]
    if session.json:
        screen.document(rows)
    elif session.quiet:
        for row in rows:
            screen.line(str(row["name"]))
    else:
        columns = tuple(Column(c) for c in ("NAME", "ROLE", "STATE", "FINGERPRINT", "SINCE"))
        cells = [
            [
                str(row["name"]),
                str(row["role"]),
                screen.styled(str(row["state"]), STYLES.get(str(row["state"]), "")),
                str(row["fingerprint"]),
                _since(row),
            ]
            for row in rows
        ]
        screen.table(columns, cells)
    if len(rows) < total and not session.quiet:
        screen.remark(f"{len(rows):,} of {total:,} shown; more: --cursor {rows[-1]['name']}")


@command(
    "key allow",
    example="remuda key allow anna anna.key --role submit",
)
def key_allow(
    session: Session,
    name: Name,
    public_key: Annotated[
        str, typer.Argument(metavar="PUBLIC-KEY", help="40 characters, or the file of a key pair.")
    ],
    role: Role = "submit",
) -> None:
    """Admit a public key under a name and a role."""
    from ..client import control
    from ..config.keys import check_public, fingerprint

    check_role(role)
    public = check_public(_public(public_key))
    with session.connect() as link:
        said = control.allow_key(link, name, role, public)
        cluster = link.cluster
    if session.json:
        screen.document({"name": name, "role": role, "fingerprint": fingerprint(public)})
    elif not session.quiet:
        screen.line(f"{cluster}: {said or f'admits {name} as {role}'} ({fingerprint(public)})")


@command("key revoke", example="remuda key revoke anna\nremuda key revoke ux4t-2k7e-vyqn-cyp5")
def key_revoke(
    session: Session,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Whose key, or the fingerprint of an invitation."),
    ],
) -> None:
    """Withdraw a key: its next message is refused. Invitations under the name go as well."""
    from ..client import control

    with session.connect() as link:
        said = control.revoke_key(link, name)
        cluster = link.cluster
    if session.json:
        screen.document({"name": name, "state": "revoked"})
    elif not session.quiet:
        screen.line(f"{cluster}: {said or f'refuses {name} from now on'}")


def _since(row: Mapping[str, Any]) -> str:
    if row["state"] == "invited":
        return f"until {row['expires_at']}"
    return str(row["revoked_at"] or row["created_at"] or "-")


def _known(session: Session) -> Connection | None:
    """Find the scheduler that a new key is for, if one is known here."""
    from ..config.cluster import connection, find_cluster

    try:
        return connection(
            find_cluster(home=session.home, cluster=session.cluster, endpoint=session.endpoint)
        )
    except RemudaError:
        return None


def _new_pair() -> KeyPair:
    """Make a key pair whose public half does not look like an option."""
    from ..config.keys import generate

    while (pair := generate()).public.startswith("-"):
        continue
    return pair


def _where_to_keep(name: str, role: str, cluster: str) -> str:
    if role == "node":
        return f"that host keeps it as keys/node-{name}.key in the home of its agent, mode 600"
    return f"{name} keeps it as ~/.local/share/remuda-clusters/{cluster}.key, mode 600"


def _public(text: str) -> str:
    """Read a public key given as it is, or as the file of a pair."""
    import tomllib

    if len(text) == KEY_CHARS:
        return text
    try:
        return str(tomllib.loads(Path(text).read_text(encoding="utf-8"))["public"])
    except FileNotFoundError as error:
        raise Invalid(
            f"{text}: is neither a public key ({KEY_CHARS} characters) nor a file",
            field="public_key",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError) as error:
        raise Invalid(f"{text}: is not a key file of remuda", field="public_key") from error
