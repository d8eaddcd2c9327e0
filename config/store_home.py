"""What do scheduler and store share of a home: a secret, who holds which key, and a port?"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from ..protocol.claims import SECRET_BYTES
from ..protocol.errors import Invalid
from .home import Home, write_atomically, write_first
from .keys import KeyFileError, check_public

KEYS_BYTES_MAX = 4 << 20
PORT_BYTES_MAX = 4096
PORT_MAX = 65_535


def objects_dir(home: Home) -> Path:
    """Find the directory of the store's objects."""
    return home.state_dir / "store"


def secret_file(home: Home) -> Path:
    """Find the secret that scheduler and store share."""
    return home.keys_dir / "store-secret"


def keys_file(home: Home) -> Path:
    """Find what the scheduler tells the store of keys."""
    return home.run_dir / "store-keys.json"


def port_file(home: Home) -> Path:
    """Find where the store listens now."""
    return home.run_dir / "store.json"


def ensure_store_secret(home: Home) -> bytes:
    """Return the secret behind the claims of objects; whoever comes first makes it.

    Raises KeyFileError where others can read it.
    """
    path = secret_file(home)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        write_first(path, secrets.token_hex(SECRET_BYTES).encode() + b"\n")
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - opens a descriptor, not a path
        if os.fstat(descriptor).st_mode & 0o077:
            raise KeyFileError(f"{path}: others have access: chmod 600 it")
        text = file.read(2 * SECRET_BYTES + 2)
    try:
        secret = bytes.fromhex(text.decode().strip())
    except ValueError as error:
        raise KeyFileError(f"{path}: is not the secret of a store: restore the file") from error
    if len(secret) != SECRET_BYTES:
        raise KeyFileError(f"{path}: is not the secret of a store: restore the file")
    return secret


def write_store_keys(path: Path, keys: Mapping[str, tuple[str, str]]) -> None:
    """Tell the store who holds which public key: name and role."""
    table = {"keys": {public: list(who) for public, who in sorted(keys.items())}}
    write_atomically(path, json.dumps(table, indent=0).encode() + b"\n")


def read_store_keys(path: Path) -> dict[str, tuple[str, str]]:
    """Read who holds which public key; nobody does before the scheduler wrote it.

    Raises Invalid for what is no such file.
    """
    try:
        raw = _read(path, KEYS_BYTES_MAX)
        found = json.loads(raw)["keys"] if raw else {}
        return {check_public(key): (str(who[0]), str(who[1])) for key, who in found.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise Invalid(f"{path}: cannot be read: restart the scheduler, which writes it") from error


def write_store_port(path: Path, port: int) -> None:
    """Say where the store listens, and which process it is."""
    write_atomically(path, json.dumps({"port": port, "pid": os.getpid()}).encode() + b"\n")


def read_store_port(path: Path) -> int:
    """Return the port of the store; 0 when none has said where it is. Raises Invalid."""
    try:
        raw = _read(path, PORT_BYTES_MAX)
        port = json.loads(raw)["port"] if raw else 0
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"{path}: cannot be read: restart the store, which writes it") from error
    if type(port) is not int or not 0 <= port <= PORT_MAX:
        raise Invalid(f"{path}: {port!r} is no port: restart the store, which writes it")
    return port


def _read(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(bytes_max)
    except FileNotFoundError:
        return b""
