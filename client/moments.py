"""Until or since when? A moment, written as a duration from or until now, or as a datetime.

And how one is told: in RFC 3339.
"""

from __future__ import annotations

import datetime as dt
import time

from ..protocol import resources
from ..protocol.errors import Invalid

ALLOWED = "2h from now, 2026-01-31T18:00:00Z, or a datetime with its zone"
ALLOWED_PAST = "so long ago (30m, 7d), or a moment like 2026-01-31T18:00:00Z"


def is_from_now(value: object) -> bool:
    """Tell whether a moment moves on with the clock: a duration does."""
    if isinstance(value, str):
        text = value.strip()
        return not (":" in text or "-" in text)
    return isinstance(value, (int, float, dt.timedelta)) and not isinstance(value, bool)


def parse_moment_ms(value: object, now_ms: int) -> int:
    """Read a moment in Unix milliseconds; raises ValueError where it has passed or has no zone."""
    if is_from_now(value):
        if isinstance(value, dt.timedelta):
            value = value.total_seconds()
        found_ms = now_ms + round(_seconds(value) * 1000)
    else:
        found_ms = round(_moment(value).timestamp() * 1000)
    if found_ms <= now_ms:
        raise ValueError(f"found {str(value)!r}, which has passed; allowed is {ALLOWED}")
    return found_ms


def parse_past_ms(field: str, value: object) -> int:
    """Read a moment in the past: so long ago, or as in `parse_moment_ms`; 0 for none.

    Raises Invalid, which names the field.
    """
    if value is None or value == "":
        return 0
    try:
        if not is_from_now(value):
            return round(_moment(value, ALLOWED_PAST).timestamp() * 1000)
        if isinstance(value, dt.timedelta):
            value = value.total_seconds()
        ago_s = _seconds(value)
    except (ValueError, TypeError) as error:
        raise Invalid(f"{field}: {error}", field=field) from error
    return round((time.time() - ago_s) * 1000)


def _seconds(value: object) -> float:
    try:
        resources.refuse_bare_number(value)
        return resources.parse_duration_s(value)  # type: ignore[arg-type]  # text or number
    except ValueError as error:
        raise ValueError(f"{error}, or a moment like 2026-01-31T18:00:00Z") from error


def rfc3339(wall_ms: int | None) -> str | None:
    """Write a wall time in UTC; None for a time that has not come."""
    if not wall_ms:
        return None
    moment = dt.datetime.fromtimestamp(wall_ms / 1000, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{wall_ms % 1000:03}Z"


def _moment(value: object, allowed: str = ALLOWED) -> dt.datetime:
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value.strip())
        except ValueError as error:
            raise ValueError(f"found {value!r}, allowed is {allowed}") from error
    if not isinstance(value, dt.datetime):
        raise TypeError(f"found {value!r}, allowed is {allowed}")
    if value.utcoffset() is None:
        raise ValueError(f"found {str(value)!r} without a zone: append Z for UTC, or like +02:00")
    return value
