"""How keys come and go while the scheduler runs: in the journal first, then in the live table."""

from __future__ import annotations

import re

from ..config.first_keys import Trusted, ensure_admin, ensure_identity
from ..config.home import Home
from ..config.keys import AuthorizedKey, Identity, check_public
from ..protocol.errors import Conflict, Invalid, NotFound, RemudaError
from ..protocol.messages import AllowKey, Done, RevokeKey
from .access import GIVEN, Principal, Role
from .registry import Registry
from .zap import Keys

STORE = "remuda-store"  # a name that no user would take
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


def allow(
    registry: Registry, keys: Keys, message: AllowKey, principal: Principal, now_ms: int
) -> Done:
    """Admit a key; raises Invalid or Conflict."""
    check_name(message.name)
    role = given_role(message.role)
    check_public(message.public_key)
    registry.allow_key(
        message.name, role.value, message.public_key, principal=principal.name, now_ms=now_ms
    )
    keys.allow(message.public_key, Principal(message.name, role))
    return Done(f"{message.name} is allowed as {role.value}")


def revoke(
    registry: Registry, keys: Keys, message: RevokeKey, principal: Principal, now_ms: int
) -> tuple[Done, Role]:
    """Withdraw a key and the invitations under its name; return the role it had.

    Raises NotFound or Conflict.
    """
    holders = [who for who in keys.live.values() if who.name == message.name]
    withdraw = registry.invites.withdraw
    if not holders and withdraw(message.name, principal=principal.name, now_ms=now_ms):
        return Done(f"the invitation of {message.name} is withdrawn"), Role.INVITED
    if not holders:
        raise NotFound(
            f"no good key and no invitation has the name {message.name[:64]!r}", field="name"
        )
    role = holders[0].role
    admins = {who.name for who in keys.live.values() if who.role is Role.ADMIN}
    if admins == {message.name}:
        raise Conflict(
            f"{message.name} is the last admin key: allow another admin first", field="name"
        )
    withdraw(message.name, principal=principal.name, now_ms=now_ms)
    registry.revoke_key(message.name, principal=principal.name, now_ms=now_ms)
    keys.revoke(message.name)
    return Done(f"{message.name} is revoked"), role


def check_name(name: str) -> None:
    """Raise Invalid unless a key can have this name."""
    if not NAME.fullmatch(name):
        raise Invalid(
            f"name: found {name[:64]!r}; allowed are letters, digits, . _ - @, at most 63",
            field="name",
        )


def given_role(word: str) -> Role:
    """Return the role that a key is to have; raises Invalid for one that nobody is given."""
    for role in GIVEN:
        if role.value == word:
            return role
    roles = ", ".join(role.value for role in GIVEN)
    raise Invalid(f"role: found {word[:64]!r}; allowed are {roles}", field="role")


def bootstrap(registry: Registry, authorized: list[AuthorizedKey], now_ms: int) -> list[str]:
    """Take keys of the home's file into the journal where it never had them.

    A key that was revoked stays so. Returns the names that were refused, with the reason.
    """
    refused = []
    rows = registry.keys()
    names = {row.name for row in rows}
    publics = {row.public_key for row in rows}
    for key in authorized:
        if key.name in names or key.public in publics:
            continue
        try:
            role = given_role(key.role)
            if not NAME.fullmatch(key.name):
                raise Invalid("its name has characters that a name has not")
            registry.allow_key(
                key.name, role.value, key.public, principal="authorized file", now_ms=now_ms
            )
        except RemudaError as error:
            refused.append(f"{key.name}: {error}")
        else:
            names.add(key.name)
            publics.add(key.public)
    return refused


def bootstrap_admin(
    registry: Registry, home: Home, scheduler: Trusted, now_ms: int
) -> Identity | None:
    """Admit a first admin where nobody was ever admitted and no list says who is to be.

    Its key is in the home before the journal knows it: a crash between leaves one to be used.
    """
    if registry.keys() or home.authorized_file.exists():
        return None
    admin = ensure_admin(home, scheduler)
    registry.allow_key(
        admin.name, Role.ADMIN.value, admin.key.public, principal="first start", now_ms=now_ms
    )
    return admin


def bootstrap_store(registry: Registry, home: Home, scheduler: Trusted, now_ms: int) -> None:
    """Give the store of this home its key, unless it was withdrawn."""
    identity = ensure_identity(home.key_file("store"), STORE, Role.STORE.value, scheduler)
    known = registry.keys()
    if all(row.public_key != identity.key.public for row in known):
        registry.allow_key(
            STORE, Role.STORE.value, identity.key.public, principal="first start", now_ms=now_ms
        )


def live_keys(registry: Registry) -> Keys:
    """Read the keys that are good now."""
    rows = registry.keys()
    return Keys(
        {
            row.public_key: Principal(row.name, Role(row.role), row.public_key)
            for row in rows
            if not row.revoked_ms
        },
        registry.invites.principals(),
    )
