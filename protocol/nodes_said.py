"""What do nodes say of themselves, in few lines where many say the same?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NAMED_MAX = 5


def by_text(said: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Gather the nodes behind each text, in the order in which the texts first came."""
    found: dict[str, list[str]] = {}
    for node, text in said:
        found.setdefault(text, []).append(node)
    return found


def in_short(names: Sequence[str]) -> str:
    """Write the first of many names."""
    return ", ".join(names[:NAMED_MAX]) + (", ..." if len(names) > NAMED_MAX else "")
