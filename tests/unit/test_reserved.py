"""How is a place shown that is kept for a waiting task?"""

from __future__ import annotations

from typing import Any

import pytest

from remuda.cli import views
from remuda.cli.gpu_drawing import kept_text

NOW_MS = 1_700_000_000_000
KEPT: dict[str, Any] = {
    "task": b"\x01" * 16, "number": 12, "node": "gpu-3", "gpus": ["GPU-a"], "indexes": [1],
    "since_ms": NOW_MS, "start_ms": NOW_MS + 240_000, "after": 2,
}  # fmt: skip
SAID = [
    ({}, "gpu-3 GPU 1 is reserved for task 12: free in about 4m"),
    ({"start_ms": 0}, "gpu-3 GPU 1 is reserved for task 12: free once 2 tasks there ended"),
    ({"after": 0}, "gpu-3 GPU 1 is reserved for task 12: free now"),
    ({"indexes": [0, 3]}, "gpu-3 GPUs 0, 3 are reserved for task 12: free in about 4m"),
    ({"indexes": []}, "gpu-3 is reserved for task 12: free in about 4m"),
]


@pytest.mark.parametrize(("changed", "words"), SAID)
def test_people_read_for_whom_a_place_is_kept_and_until_when(
    changed: dict[str, Any], words: str
) -> None:
    assert words == kept_text(KEPT | changed, NOW_MS)


def test_programs_read_null_where_nobody_knows_when_it_is_free() -> None:
    shown = views.reservation(KEPT | {"start_ms": 0})
    assert shown["start_at"] is None
    assert (12, "gpu-3", ["GPU-a"], 2) == (
        shown["number"], shown["node"], shown["gpus"], shown["after_tasks"]
    )  # fmt: skip
