"""How are times, spans, shares and ids written, for people and for programs?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..client.moments import rfc3339 as rfc3339
from ..protocol import ids

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
BAR_CELLS = 12
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def span(seconds: float) -> str:
    """Write a span in two units at most: `3m 20s`, `1.25s`, `2d 4h`."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + "s"
    whole = round(seconds)
    if whole < MINUTE_S:
        return f"{whole}s"
    if whole < HOUR_S:
        return _two(whole, MINUTE_S, "m", 1, "s")
    if whole < DAY_S:
        return _two(whole, HOUR_S, "h", MINUTE_S, "m")
    return _two(whole, DAY_S, "d", HOUR_S, "h")


def age(seconds: float) -> str:
    """Write how long ago something was, in one unit: `now`, `12s`, `3m`, `5h`, `9d`."""
    whole = int(max(0.0, seconds))
    if whole < 1:
        return "now"
    for size, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "m"), (1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}"
    return "now"


def ahead(wall_ms: int, now_ms: float) -> str:
    """Write a time to come with how far off it is; one that has passed says so."""
    left_s = (wall_ms - now_ms) / 1000
    return f"{rfc3339(wall_ms)} ({f'in {span(left_s)}' if left_s > 0 else 'passed'})"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """Write `1 task`, `12,431 tasks`."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def bar(part: float, whole: float, cells: int = BAR_CELLS) -> str:
    """Draw a share as a bar, to an eighth of a cell; what is over the whole is cut."""
    share = min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0
    eighths = round(share * cells * 8)
    if share > 0:
        eighths = max(1, eighths)
    full, rest = divmod(eighths, 8)
    text = "█" * full + (_EIGHTHS[rest] if rest else "")
    return text.ljust(cells, "·")


def id_text(task: bytes, batch: bytes = b"") -> str:
    """Write an id as users know it, a member of a batch as `ID.7`."""
    return ids.format_id(ids.from_bytes(task), ids.from_bytes(batch) if batch else 0)


def row_id(row: Mapping[str, Any], key: str = "id") -> str:
    """Return an id of a row as users know it; empty when the row has none."""
    found, batch = row.get(key) or b"", row.get("batch") or b""
    return id_text(found, batch if key == "id" else b"") if found else ""


def one_line(text: str, chars_max: int = 200) -> str:
    """Return a text on one line, without control characters, cut with `...`."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= chars_max else flat[: chars_max - 3] + "..."


def _two(whole: int, large: int, large_unit: str, small: int, small_unit: str) -> str:
    first, rest = divmod(whole, large)
    second = rest // small
    return f"{first}{large_unit} {second}{small_unit}" if second else f"{first}{large_unit}"
