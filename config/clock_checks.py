"""Is this host's clock right: kept so by something, and in step with the scheduler's?"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator

from .findings import Finding, fine, serious, warning

APART_WARNING_MS, APART_SERIOUS_MS = 2_000, 60_000
CLOCK_REMEDY = "let NTP set the clock: `timedatectl set-ntp true`, or chrony; then look again"
_TIMEX_BYTES, _STATUS_AT, _MAXERROR_AT = 256, 40, 24  # of struct timex, adjtimex(2), 64 bit
_UNSYNCHRONISED = 0x40


def ahead_ms(between: tuple[int, int]) -> int:
    """Return by how much our clock is ahead (behind: < 0) at least, whatever the way took."""
    least, most = between
    return max(least, 0) or min(most, 0)


def judge_apart(between: tuple[int, int]) -> Iterator[Finding]:
    """Say what it means that ours is ahead of the scheduler's by at least and at most so much."""
    apart_ms = ahead_ms(between)
    text = describe_apart(apart_ms)
    if abs(apart_ms) >= APART_SERIOUS_MS:
        yield serious(
            "clock", f"{text}: deadlines and rights that expire would go wrong", CLOCK_REMEDY
        )
    elif abs(apart_ms) >= APART_WARNING_MS:
        yield warning("clock", f"{text}: times of files and logs will not fit", CLOCK_REMEDY)
    else:
        yield fine("clock", "agrees with the scheduler's")


def describe_apart(apart_ms: int) -> str:
    """Write a difference between clocks in words."""
    seconds = round(abs(apart_ms) / 1_000)
    amount = f"{seconds} s" if seconds < 600 else f"{seconds // 60} minutes"
    side = "ahead of" if apart_ms > 0 else "behind"
    return f"this host's clock is {amount} {side} the scheduler's"


def kept_right() -> tuple[bool, float] | None:
    """Ask the kernel whether something sets its clock, and how wrong it may be, in seconds.

    None where it cannot be asked.
    """
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes 0: only look
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    if answer < 0:
        return None
    (status,) = struct.unpack_from("i", buffer, _STATUS_AT)
    (maxerror_us,) = struct.unpack_from("l", buffer, _MAXERROR_AT)
    return not status & _UNSYNCHRONISED, maxerror_us / 1e6


def judge_kept(state: tuple[bool, float] | None) -> Iterator[Finding]:
    """Say whether a clock will stay right."""
    if state is None:
        yield warning("ntp", "the kernel does not say whether the clock is set", CLOCK_REMEDY)
    elif not state[0]:
        yield warning(
            "ntp",
            "nothing keeps this host's clock right: it will drift from the others",
            CLOCK_REMEDY,
        )
    else:
        yield fine("ntp", f"kept right, within {state[1]:.1g} s")
