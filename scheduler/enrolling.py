"""Who is invited, and what becomes of whoever comes with an invitation."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..config.invitation import ANOTHER_LINE
from ..config.keys import check_public
from ..protocol import codec
from ..protocol.errors import Conflict, Invalid, NotAllowed
from ..protocol.messages import Document, Enrol, Invite
from . import key_verbs
from .access import Principal, Role
from .happenings import Happening
from .invites import InviteRow
from .registry import KeyRow
from .view import View
from .wire import Wire
from .zap import Keys

VALID_MS_MIN, VALID_MS_MAX = 1_000, 7 * 24 * 3_600_000


def invite(view: View, keys: Keys, message: Invite, principal: Principal, now_ms: int) -> Document:
    """Keep an invitation; raises Invalid, Conflict or QueueFull."""
    role = key_verbs.given_role(message.role)
    check_public(message.public_key)
    if message.name:
        key_verbs.check_name(message.name)
    if not VALID_MS_MIN <= message.valid_ms <= VALID_MS_MAX:
        raise Invalid("valid: from a second to seven days", field="valid_ms")
    registry = view.registry
    _check_is_free(registry.keys(), message)
    expires_ms = now_ms + message.valid_ms
    row = InviteRow(
        message.public_key, message.name, role.value, principal.name, now_ms, expires_ms
    )
    known = registry.invites.find(message.public_key)
    if known is None:
        replaced = registry.invites.add(row)
        keys.invited = registry.invites.principals()
        text = f"{principal.name} invited {row.name or 'whoever has the line'} as {row.role}"
        view.feed.add([Happening("key.invited", "info", text, owner=principal.name)], now_ms)
    elif known.is_pending(now_ms) and (known.name, known.role) == (row.name, row.role):
        expires_ms, replaced = known.expires_ms, 0  # asked again: the answer was lost
    else:
        raise Conflict("this one-time key was used before: make a new one", field="public_key")
    return Document(
        {
            "name": row.name,
            "role": row.role,
            "cluster": view.cluster,
            "listen": view.listen,
            "expires_ms": expires_ms,
            "replaced": replaced,
        }
    )


def _check_is_free(known: list[KeyRow], message: Invite) -> None:
    if any(row.public_key == message.public_key for row in known):
        raise Conflict("this key is known already: make a new one", field="public_key")
    if any(row.name == message.name and not row.revoked_ms for row in known):
        raise Conflict(
            f"the name {message.name} is taken: revoke that key first, or choose another",
            field="name",
        )


class Admission(NamedTuple):
    """Who a newcomer is to be; `is_new` unless that key has been admitted already."""

    name: str
    role: Role
    is_new: bool
    invited_by: str = ""


def judge(row: InviteRow | None, known: list[KeyRow], message: Enrol, now_ms: int) -> Admission:
    """Decide what an invitation gives to a key; raises NotAllowed, Invalid or Conflict."""
    if row is None:
        raise NotAllowed(f"this line is not known here any more: {ANOTHER_LINE}")
    name = row.name or message.name
    mine = next((key for key in known if key.public_key == message.public_key), None)
    if mine is not None and not mine.revoked_ms and (mine.name, mine.role) == (name, row.role):
        return Admission(name, Role(row.role), is_new=False)
    if row.spent_ms:
        raise NotAllowed(
            f"this line was used already, {_ago(now_ms - row.spent_ms)}, and each works once: "
            f"{ANOTHER_LINE}; if it was not you who used it, let them look at `remuda key list`"
        )
    if row.withdrawn_ms:
        raise NotAllowed(f"this line was withdrawn: {ANOTHER_LINE}")
    if now_ms >= row.expires_ms:
        raise NotAllowed(
            f"this line expired {_ago(now_ms - row.expires_ms)}: {ANOTHER_LINE}, "
            "and let them say --expires if it takes longer"
        )
    if message.role != row.role:
        raise NotAllowed(f"this line is for the role {row.role}, not {message.role[:64]!r}")
    if message.name not in ("", name):
        raise NotAllowed(f"this line is for the name {name}, not {message.name[:64]!r}")
    key_verbs.check_name(name)
    if not row.name and any(key.name == name for key in known):
        raise Conflict(
            f"the name {name} was given before: choose another one (--name), or let an admin "
            f"say so (`remuda key invite --name {name}`)",
            field="name",
        )
    return Admission(name, Role(row.role), is_new=True, invited_by=row.principal)


def enrol(
    view: View, keys: Keys, wire: Wire, message: Enrol, principal: Principal, now_ms: int
) -> Document:
    """Admit a newcomer, or tell one that is admitted the same again."""
    check_public(message.public_key)
    if principal.role is Role.INVITED:
        row = view.registry.invites.find(principal.name)
        admission = judge(row, view.registry.keys(), message, now_ms)
        if admission.is_new:
            _admit(view, keys, message, principal, admission, now_ms)
    elif keys.live.get(message.public_key) == principal:
        admission = Admission(principal.name, principal.role, is_new=False)
    else:
        raise NotAllowed("a node asks for nobody but itself", field="public_key")
    body: dict[str, Any] = {
        "name": admission.name,
        "role": admission.role.value,
        "cluster": view.cluster,
        "version": view.version,
        "wall_ms": now_ms,
        "protocol_min": codec.VERSION_OLDEST,
        "protocol_max": codec.VERSION,
    }
    if admission.role is Role.NODE:
        body["ports"] = _ports(view, wire, admission.name)
    return Document(body)


def _admit(
    view: View,
    keys: Keys,
    message: Enrol,
    principal: Principal,
    admission: Admission,
    now_ms: int,
) -> None:
    """Let a key in and spend its invitation: in the journal first, then in the live table."""
    name, role = admission.name, admission.role
    by = f"invited by {admission.invited_by}"
    view.registry.allow_key(
        name, role.value, message.public_key, principal=by, now_ms=now_ms, invite=principal.name
    )
    keys.allow(message.public_key, Principal(name, role))
    text = f"{name} is in as {role.value}, {by}"
    view.feed.add([Happening("key.enrolled", "info", text, owner=name)], now_ms)


def _ports(view: View, wire: Wire, node: str) -> dict[str, int]:
    """Name the ports that a node needs; its own one is bound now, so that it can be tried."""
    plan = wire.ports()
    dispatch = wire.pipes.bind(node)
    if view.registry.dispatch_port(node) != dispatch:
        view.registry.set_dispatch_port(node, dispatch)
    return {
        "control": plan.control,
        "uplink": plan.uplink,
        "heartbeat": plan.heartbeat,
        "beacon": plan.beacon,
        "dispatch": dispatch,
        "store": view.store.port(),
    }


def _ago(ms: int) -> str:
    seconds = max(ms, 0) // 1_000
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
