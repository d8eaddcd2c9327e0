"""Is it told that the store has stopped, once it is not started again?"""

import os
from pathlib import Path

import pytest

from remuda.config.home import Home
from remuda.config.state_dir import claim
from remuda.config.store_config import Said, said_file, write_said
from remuda.scheduler.store_tuning import StoreTuning
from remuda.scheduler.store_watch import AWAY_AFTER_NS, StoreWatch


def test_a_store_that_stopped_is_told_of_once_it_is_not_started_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    root = tmp_path / "objects"
    root.mkdir()
    watch = StoreWatch(StoreTuning(home, lambda _what, about: pytest.fail(about)))
    assert "" == watch.problem(0) == watch.problem(AWAY_AFTER_NS)  # none ever ran here
    write_said(said_file(home), Said(root, b""))
    at = 2 * AWAY_AFTER_NS
    assert "" == watch.problem(at) == watch.problem(at + AWAY_AFTER_NS - 1)
    assert "the store has stopped" in watch.problem(at + AWAY_AFTER_NS)
    lock = claim(root, "store")
    assert "" == watch.problem(at + 2 * AWAY_AFTER_NS)
    os.close(lock)
    assert "" == watch.problem(at + 3 * AWAY_AFTER_NS)
