"""How is a span of time written in what people read?"""

from __future__ import annotations

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def span(seconds: float) -> str:
    """Write a span in one unit: `3.2 s`, `45 s`, `2.5 min`, `30 h`."""
    size, unit = next((each for each in _UNITS if seconds >= 2 * each[0]), (1, "s"))
    number = seconds / size
    return f"{number:.{int(number < 10)}f} {unit}"
