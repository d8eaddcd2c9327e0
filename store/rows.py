"""What is an object to the index?"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """An object that is kept."""

    id: int
    digest: bytes
    size: int
    is_tree: bool
    keep_until_ms: int
