"""Which part of a list that came whole is shown, and how to see the rest."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..protocol.errors import NotFound

_Row = TypeVar("_Row")


def page(
    rows: Sequence[_Row], key: Callable[[_Row], str], limit: int, cursor: str
) -> tuple[Sequence[_Row], str]:
    """Return the rows after the one that the cursor names, and what to say of those left out.

    Raises NotFound when no row has that key.
    """
    start = 0
    if cursor:
        keys = [key(row) for row in rows]
        if cursor not in keys:
            raise NotFound(f"--cursor {cursor}: that row is not there any more: begin without it")
        start = keys.index(cursor) + 1
    shown = rows[start : start + limit]
    if start + len(shown) >= len(rows):
        return shown, ""
    last = shlex.quote(key(shown[-1]))
    return shown, f"{len(shown):,} of {len(rows):,} shown; more: --cursor {last}"
