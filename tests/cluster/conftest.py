"""What tests with real daemons share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Cluster, real_cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Run a cluster of two nodes for one test."""
    with real_cluster(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run a cluster of two nodes for all tests of a file, which do it no harm."""
    with real_cluster(tmp_path_factory.mktemp("shared")) as made:
        yield made
