"""What tests with real daemons share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..fakes.raw import RawScheduler, raw_scheduler
from ..fakes.runner_driver import Driver, driven
from . import far
from .harness import Cluster, real_cluster
from .newcomers import LAB

# The files that take longest start first, so that no worker is left alone with one in the end.
LONG = ("hosts", "by_hand", "joining", "up", "cli", "keys", "store_kills", "quickstart",
        "cli_nodes", "full_disk", "gpus", "survival", "fleet", "all_killed", "files")  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests by their files."""
    rank = {f"test_{name}.py": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONG)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reason = far.why_near()
    if reason:
        terminalreporter.line(f"nodes were on this host, in no namespaces of their own: {reason}")


@pytest.fixture(scope="session", autouse=True)
def _hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have hosts for the nodes of all clusters, which do not see the folders of tests."""
    far.begin(tmp_path_factory.getbasetemp())
    yield
    far.end()


@pytest.fixture
def common(request: pytest.FixtureRequest) -> Path:
    """Make a folder that test and nodes both see, for what tells the test that work was done."""
    return far.far().common_folder(request.node.name[:40])


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


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawScheduler]:
    """Run a scheduler alone, of a cluster named lab, whose keys the tests hold."""
    with raw_scheduler(tmp_path_factory.mktemp("lab"), LAB) as running:
        yield running


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Driver]:
    """Run a runner that has not been told yet what to run."""
    with driven(tmp_path) as driver:
        yield driver
