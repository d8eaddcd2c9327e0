"""What tests of the scheduler's core share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ...fakes.world import World
from ...fakes.worlds import worlds


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path / "state")
