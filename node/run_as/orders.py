"""What may a runner ask of the helper: four kinds of order, and nothing that does not fit them."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import Any

KIND = 1
"""The one type of frame on this socket; its body is a JSON object."""
WORDS_MAX = 100_000
FDS_MAX = 8
NAME_CHARS_MAX = 64
MARK_CHARS_MAX = 64
GIFTS = ("work", "said", "lock")
"""What comes along as a descriptor, behind those of the child: the directory and the file that
become the user's, and a lock that is kept until nothing is left."""
SIGNALS = frozenset(
    {
        signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
        signal.SIGALRM, signal.SIGTERM, signal.SIGCONT, signal.SIGSTOP, signal.SIGTSTP,
        signal.SIGWINCH, signal.SIGKILL,
    }
)  # fmt: skip


class Malformed(Exception):  # noqa: N818 - an outcome
    """It is none of the orders."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start a program as a user; `fds` are its descriptors, `gifts` what else came along."""

    user: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    fds: tuple[int, ...]
    gifts: tuple[str, ...]

    @property
    def descriptors(self) -> int:
        return len(self.fds) + len(self.gifts)


@dataclass(frozen=True, slots=True)
class Signal:
    """Signal all that was started here and lives, or one process (`group`: its group) of it."""

    numbers: tuple[int, ...]
    group: int = 0
    below: int = 0


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill all of it until nothing is left."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Kill, as that user, what a helper that was killed left of a runner."""

    user: str
    runner: str


Order = Start | Signal | Kill | Sweep


def read(kind: int, body: bytes) -> Order:
    """Read the body of a frame; raises Malformed."""
    if kind != KIND:
        raise Malformed("an unknown frame")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {error}") from error
    if type(found) is not dict or type(found.get("do")) is not str:
        raise Malformed("no order")
    reader = _READERS.get(found.pop("do"))
    if reader is None:
        raise Malformed("an unknown order")
    try:
        order: Order = reader(**found)
    except TypeError as error:
        raise Malformed(f"fields that it has not: {error}") from error
    return order


def _start(user: Any, argv: Any, env: Any, cwd: Any, fds: Any, gifts: Any) -> Start:
    _check(_is_text(user, NAME_CHARS_MAX), "user")
    words = type(argv) is list and 0 < len(argv) <= WORDS_MAX
    _check(words and all(_is_text(each) for each in argv), "argv")
    _check(type(env) is dict and len(env) <= WORDS_MAX, "env")
    _check(all(_is_text(key) and "=" not in key for key in env), "env")
    _check(all(_is_text(each, empty=True) for each in env.values()), "env")
    _check(_is_text(cwd) and cwd.startswith("/"), "cwd")
    numbers = type(fds) is list and 0 < len(fds) <= FDS_MAX and len(set(map(repr, fds))) == len(fds)
    _check(numbers and all(type(each) is int and 0 <= each < FDS_MAX for each in fds), "fds")
    _check(type(gifts) is list and len(gifts) <= len(GIFTS), "gifts")
    _check(all(type(each) is str for each in gifts) and len(set(gifts)) == len(gifts), "gifts")
    _check(all(each in GIFTS for each in gifts), "gifts")
    return Start(user, tuple(argv), env, cwd, tuple(fds), tuple(gifts))


def _signal(numbers: Any, group: Any = 0, below: Any = 0) -> Signal:
    _check(type(numbers) is list and 0 < len(numbers) <= len(SIGNALS), "numbers")
    _check(all(type(each) is int and each in SIGNALS for each in numbers), "numbers")
    _check(type(group) is int and 0 <= group < 1 << 31, "group")
    _check(type(below) is int and 0 <= below < 1 << 31, "below")
    return Signal(tuple(numbers), group, below)


def _kill() -> Kill:
    return Kill()


def _sweep(user: Any, runner: Any) -> Sweep:
    _check(_is_text(user, NAME_CHARS_MAX), "user")
    _check(_is_text(runner, MARK_CHARS_MAX) and runner.isalnum(), "runner")
    return Sweep(user, runner)


_READERS: dict[str, Any] = {"start": _start, "signal": _signal, "kill": _kill, "sweep": _sweep}


def _check(is_so: object, field: str) -> None:
    if not is_so:
        raise Malformed(f"{field} is not what it must be")


def _is_text(value: object, chars_max: int = 1 << 22, *, empty: bool = False) -> bool:
    is_text = type(value) is str and (empty or value != "") and len(value) <= chars_max
    if not is_text or "\0" in str(value):
        return False
    try:
        str(value).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
