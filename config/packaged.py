"""What do the packaged defaults say, as text: against them is told what differs?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from .load import load


@lru_cache(maxsize=1)
def packaged() -> Mapping[str, str]:
    """Return every packaged value, empty where there is none."""
    return {each.key: each.text for each in load(env={}, etc=Path("/nonexistent")).entries()}


def packaged_text(key: str) -> str:
    """Return the packaged value of a key, empty where there is none."""
    return packaged().get(key, "")
