"""How keys are kept: CURVE key pairs and identities in files that only their owner can read.

Keys are Z85 text of 40 characters, as ZeroMQ writes them.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..protocol.errors import Invalid, NotFound
from .credentials import is_credential
from .home import as_that_user, write_atomically, write_first

KEY_CHARS = 40
KEY_FILE_BYTES_MAX = 16 << 10
AUTHORIZED_BYTES_MAX = 4 << 20
AUTHORIZED_MAX = 20_000
FINGERPRINT_BYTES = 10
SECRET_MODE = 0o600
_ANY, _WRITE = 0o077, 0o022  # what others must not be able to do
_CREDENTIAL = 0o037  # systemd lets us read by an access list, whose mask shows as the group's
_Z85 = {
    char: value
    for value, char in enumerate(
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    )
}


class KeyFileError(Invalid):
    """A key file is not usable; the message says why and what to do."""

    code = "key_file"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair; the secret half never shows in a repr."""

    public: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client or a node is, and which scheduler it trusts: one file holds all of it.

    `joined_with` is the fingerprint of the invitation by which it came, if it came by one.
    """

    name: str
    role: str
    key: KeyPair
    scheduler_public: str
    endpoint: str
    cluster: str
    joined_with: str = ""


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """A public key that may connect, whose it is and as what."""

    name: str
    role: str
    public: str


def generate() -> KeyPair:
    """Make a new key pair."""
    import zmq

    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def ensure_key_pair(path: Path) -> KeyPair:
    """Read a key pair, or make one and write it if there is no such file yet.

    Daemons of one host may all do so at their first start: they get the same one.
    """
    try:
        return load_key_pair(path)
    except NotFound:
        write_first(path, _of_pair(generate()))
        return load_key_pair(path)


def check_public(text: object) -> str:
    """Return the text if it can be a key; raises KeyFileError."""
    if not isinstance(text, str) or len(text) != KEY_CHARS or not set(text) <= _Z85.keys():
        raise KeyFileError(
            f"{str(text)[:KEY_CHARS]!r} is not a public key: it has {KEY_CHARS} characters of Z85"
        )
    for start in range(0, KEY_CHARS, 5):
        value = 0
        for char in text[start : start + 5]:
            value = value * 85 + _Z85[char]
        if value >> 32:
            raise KeyFileError(f"{text!r} is not a public key: its Z85 overflows: copy it again")
    return text


def fingerprint(public: str) -> str:
    """Shorten a public key to `abcd-efgh-ijkl-mnop` (80 bits), for people to compare."""
    digest = hashlib.blake2s(public.encode(), digest_size=FINGERPRINT_BYTES).digest()
    text = base64.b32encode(digest).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def save_key_pair(path: Path, pair: KeyPair) -> None:
    """Write a key pair to a file of mode 0600."""
    write_atomically(path, _of_pair(pair), mode=SECRET_MODE)


def _of_pair(pair: KeyPair) -> bytes:
    return _table("a key pair of remuda", {"public": pair.public, "secret": pair.secret})


def load_key_pair(path: Path) -> KeyPair:
    """Read a key pair; raises KeyFileError unless the file is ours alone and the halves match."""
    return _pair(path, _load_table(path))


def save_identity(path: Path, identity: Identity) -> None:
    """Write an identity to a file of mode 0600."""
    table = {
        "name": identity.name,
        "role": identity.role,
        "public": identity.key.public,
        "secret": identity.key.secret,
        "scheduler_public": identity.scheduler_public,
        "endpoint": identity.endpoint,
        "cluster": identity.cluster,
    }
    if identity.joined_with:
        table["joined_with"] = identity.joined_with
    write_atomically(path, _table("an identity of remuda", table), mode=SECRET_MODE)


def load_identity(path: Path, *, lent: bool = False) -> Identity:
    """Read an identity; raises KeyFileError like `load_key_pair`.

    `lent`: root may use that of another user, as an admin does who looks at a service.
    """
    table = _load_table(path, lent=lent)
    return Identity(
        name=_text(path, table, "name"),
        role=_text(path, table, "role"),
        key=_pair(path, table),
        scheduler_public=check_public(_text(path, table, "scheduler_public")),
        endpoint=_text(path, table, "endpoint"),
        cluster=_text(path, table, "cluster"),
        joined_with=_text(path, {"joined_with": "", **table}, "joined_with"),
    )


def save_authorized(path: Path, keys: Iterable[AuthorizedKey]) -> None:
    """Write the keys that may connect, one `NAME ROLE PUBLIC` a line."""
    lines = ["# NAME ROLE PUBLIC-KEY: read at the first start; afterwards the journal counts"]
    lines += [f"{key.name} {key.role} {check_public(key.public)}" for key in keys]
    write_atomically(path, "\n".join(lines).encode() + b"\n")


def load_authorized(path: Path) -> list[AuthorizedKey]:
    """Read the keys that may connect; raises KeyFileError with the line at fault."""
    keys: list[AuthorizedKey] = []
    for number, line in enumerate(
        _read_ours(path, AUTHORIZED_BYTES_MAX, others=_WRITE).splitlines(), start=1
    ):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split()
        if len(parts) != 3:
            raise KeyFileError(f"{path}:{number}: a line is NAME ROLE PUBLIC-KEY")
        try:
            keys.append(AuthorizedKey(parts[0], parts[1], check_public(parts[2])))
        except KeyFileError as error:
            raise KeyFileError(f"{path}:{number}: {error}") from error
        if len(keys) > AUTHORIZED_MAX:
            raise KeyFileError(f"{path}: has more than {AUTHORIZED_MAX} keys")
    return keys


def _table(title: str, table: dict[str, str]) -> bytes:
    lines = [f"# {title}: whoever can read this file can act as its owner"]
    for key, value in table.items():
        if not value.isprintable() or '"' in value or "\\" in value:
            raise KeyFileError(f"{key}: {value!r} cannot be written to a key file")
        lines.append(f'{key} = "{value}"')
    return "\n".join(lines).encode() + b"\n"


def _load_table(path: Path, *, lent: bool = False) -> dict[str, object]:
    try:
        return tomllib.loads(_read_ours(path, KEY_FILE_BYTES_MAX, lent=lent))
    except tomllib.TOMLDecodeError as error:
        raise KeyFileError(f"{path}: is not a key file of remuda") from error


def _read_ours(path: Path, bytes_max: int, *, others: int = _ANY, lent: bool = False) -> str:
    """Read a file that must belong to us and give none of these permissions to others."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFound(
            f"{path}: there is no such key file: join with `remuda-node --join LINE`, or log "
            "in with `remuda login LINE`; LINE is of an admin's `remuda key invite`"
        ) from error
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        _check_ours(path, os.fstat(descriptor), others, lent=lent)
        raw = os.read(descriptor, bytes_max + 1)
    finally:
        os.close(descriptor)
    if len(raw) > bytes_max:
        raise KeyFileError(f"{path}: is larger than {bytes_max} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{path}: is not a key file of remuda") from error


def _check_ours(path: Path, status: os.stat_result, others: int, *, lent: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path}: is not a regular file")
    if is_credential(path) and status.st_uid in (0, os.geteuid()):
        others = _CREDENTIAL
    elif status.st_uid != os.geteuid() and not (lent and os.geteuid() == 0):
        whose = f"belongs to user {status.st_uid}, we are {os.geteuid()}"
        raise KeyFileError(f"{path}: {whose}: {as_that_user(status)}")
    if status.st_mode & others:
        mode = stat.S_IMODE(status.st_mode)
        raise KeyFileError(f"{path}: others have access (mode {mode:04o}): chmod 600 it")


def _pair(path: Path, table: dict[str, object]) -> KeyPair:
    import zmq

    public = check_public(_text(path, table, "public"))
    secret = _text(path, table, "secret")
    try:
        derived = zmq.curve_public(secret.encode()).decode()
    except ValueError as error:
        raise KeyFileError(f"{path}: its secret is not a key: restore the file") from error
    if derived != public:
        raise KeyFileError(f"{path}: public and secret do not belong together: restore the file")
    return KeyPair(public, secret)


def _text(path: Path, table: dict[str, object], key: str) -> str:
    found = table.get(key)
    if not isinstance(found, str):
        raise KeyFileError(f"{path}: {key} is missing: restore the file")
    return found
