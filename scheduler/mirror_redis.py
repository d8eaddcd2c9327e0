"""How the mirror process speaks to Redis: one connection, short timeouts, every reply looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..protocol import mirrored

HEAD_TTL_S = 10
MARK_TTL_S = 60  # renewed with each head
BATCH_COMMANDS = 512
PASSWORD_BYTES_MAX = 4096
Command = tuple[Any, ...]


class RedisFailure(Exception):  # noqa: N818 - it is told as a state, not raised to anybody
    """The server is away, too slow, or refuses: the text says which, without the password."""


class RedisLink:
    """One connection to the server; after any failure it is of no use any more."""

    def __init__(self, url: str, *, password_file: str, timeout_s: float) -> None:
        extra = {"password": _password(password_file)} if password_file else {}
        try:
            self._client = redis.Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
                single_connection_client=True,
                protocol=2,
                **extra,
            )
            self._client.ping()
        except (redis.RedisError, OSError, ValueError) as error:
            raise _failure(error) from error

    def write(self, commands: Sequence[Command]) -> None:
        """Send commands in order and check each reply; raises RedisFailure."""
        for start in range(0, len(commands), BATCH_COMMANDS):
            for reply in self._replies(commands[start : start + BATCH_COMMANDS]):
                if isinstance(reply, redis.RedisError):
                    raise _failure(reply) from reply

    def publish(self, key: str, head: bytes, mark: str) -> tuple[bytes, bytes]:
        """Write the head; return what stood there before, and in the key that marks the line."""
        before, marked, _, written = self._replies(
            [
                ("GETRANGE", key, 0, mirrored.VALUE_BYTES_MAX),
                ("GETRANGE", mark, 0, mirrored.VALUE_BYTES_MAX),
                ("EXPIRE", mark, MARK_TTL_S),
                ("SET", key, head, "EX", HEAD_TTL_S),
            ]
        )
        if isinstance(written, redis.RedisError):
            raise _failure(written) from written
        return _text(before), _text(marked)

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _replies(self, commands: Sequence[Command]) -> list[Any]:
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)  # type: ignore[no-untyped-call]  # it has none
                replies: list[Any] = pipeline.execute(raise_on_error=False)
        except (redis.RedisError, OSError, ValueError) as error:
            raise _failure(error) from error
        return replies


def _text(reply: Any) -> bytes:
    """Return what a key held; another type is something that is not ours."""
    return reply if isinstance(reply, bytes) else b"?"


def _failure(error: Exception) -> RedisFailure:
    return RedisFailure(f"{type(error).__name__}: {str(error)[:200]}")


def _password(path: str) -> str:
    """Read it anew for each dial, so that it can be changed; raises RedisFailure."""
    try:
        with Path(path).open("rb") as file:
            first = file.read(PASSWORD_BYTES_MAX).split(b"\n", 1)[0].rstrip(b"\r")
        return first.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RedisFailure(f"password_file cannot be read: {type(error).__name__}") from error
