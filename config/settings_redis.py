"""What the Redis mirror can be told: where the server is, how long keys live, how long to wait."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator

from .fields import DAY_S, MINUTE_S, FilePath, Seconds, Section, Text, setting

SCHEMES = ("redis", "rediss", "unix")
QUERY_KEYS = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
HIDDEN = "[redacted]"
_PASSWORD = re.compile(r"(://[^:@/?]*):.*@", re.DOTALL)
_IN_QUERY = re.compile(r"(password=)[^&]*", re.IGNORECASE)


def hide_password(url: str) -> str:
    """Write a URL so that it may be shown: the password is not in it."""
    return _IN_QUERY.sub(rf"\1{HIDDEN}", _PASSWORD.sub(rf"\1:{HIDDEN}@", url))


def _url(found: str) -> str:
    """Accept what both ends can dial; the messages name no part that may hold a password."""
    try:
        parts = urlsplit(found)
        port = parts.port
        query = parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise ValueError("a Redis URL is written redis://host:6379/0") from error
    if parts.scheme not in SCHEMES:
        raise ValueError(f"a Redis URL begins with {', '.join(f'{name}://' for name in SCHEMES)}")
    if unknown := sorted({key for key, _ in query} - QUERY_KEYS):
        raise ValueError(
            f"{unknown[0]!r} is no option of a Redis URL: allowed are "
            f"{', '.join(sorted(QUERY_KEYS))}; a password stands before the host or in "
            "password_file"
        )
    if parts.scheme == "unix":
        if not parts.path.startswith("/") or parts.hostname:
            raise ValueError("a socket is written unix:///path/to/redis.sock")
        return found
    database = parts.path.removeprefix("/")
    if not parts.hostname or port == 0 or not (database == "" or database.isdecimal()):
        raise ValueError("a Redis URL is written redis://host:6379/0")
    return found


RedisUrl = Annotated[Text, AfterValidator(_url)]


class RedisSettings(Section):
    """The mirror of task states in Redis: without a url there is none, and nothing is missed."""

    READERS = ("scheduler",)

    url: RedisUrl | None = setting(
        None, "server to mirror to: redis://, rediss:// or unix://; unset: no mirror"
    )
    password_file: FilePath | None = setting(
        None, "file with the server's password (its first line); read by the scheduler at start"
    )
    timeout_s: Seconds = setting(0.1, "time for one answer of the server", 0.01, 2.0)
    reconnect_s_max: Seconds = setting(
        30.0, "longest delay before the server is dialled again", 0.1, 10 * MINUTE_S
    )
    ttl_s: Seconds = setting(3_600.0, "how long a key lives unless written again", MINUTE_S, DAY_S)
    changes_max: int = setting(
        100_000, "entries kept in the stream of changes, about", 100, 10_000_000
    )
