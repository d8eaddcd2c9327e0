"""What tests of the client share: a scheduler that only says what it is told, and a submitter."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.client.connection import Connection
from remuda.client.session import Session
from remuda.client.submitter import Submitter

from ...fakes.toy_scheduler import ToyScheduler, ref_of


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[ToyScheduler]:
    toy = ToyScheduler(tmp_path)
    yield toy
    toy.stop()


@pytest.fixture
def cluster(toy: ToyScheduler) -> Iterator[Submitter]:
    session = Session(Connection(ref_of(toy)))
    yield Submitter(session)
    session.close()
