"""Does the store take the scheduler's word, say what came of it, and bear damaged files?"""

from pathlib import Path
from typing import Any

import pytest

from remuda.config.applying import STORE
from remuda.config.changes import Change
from remuda.config.home import Home
from remuda.config.notify import Notifier
from remuda.config.service import Service
from remuda.config.sources import Sources
from remuda.config.store_config import Said, read_said, said_file, told_file
from remuda.config.tuning import Told, Tuning, write_told
from remuda.store.following import Following

from ...fakes.viewed import SilentLog

PORT = Told({"scheduler.port": Change(9000, "ana", 5, 2)}, version=2)
QUOTA = Told({"store.quota": Change("1GiB", "ana", 5, 3)}, version=3)


class Bench:
    """A home, and the store's configuration as it follows it."""

    def __init__(self, folder: Path) -> None:
        self.home, self.root = Home(folder / "home"), folder / "store"
        self.home.create()
        self.root.mkdir()
        self.start()

    def start(self) -> None:
        sources = Sources(self.home.root, {}, {}, self.root / "no-etc")
        self.tuning = Tuning.begin(STORE, sources, self.root)
        log: Any = SilentLog()
        self.following = Following(self.tuning, self.home, Service(Notifier(""), log), log)
        self.following.begin()

    def tell(self, told: Told) -> None:
        write_told(told_file(self.home), told)

    def said(self) -> Said:
        found = read_said(said_file(self.home))
        assert found is not None
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_what_would_need_a_restart_holds_where_it_is_heard_before_anything_runs(bench) -> None:
    bench.tell(PORT)
    bench.following.look()
    assert (7700, ("scheduler.port",)) == (
        bench.tuning.running.scheduler.port,
        bench.said().config.waiting,
    )
    bench.start()
    bench.tell(QUOTA)
    bench.start()
    assert (7700, (), QUOTA.digest) == (
        bench.tuning.running.scheduler.port,
        bench.said().config.waiting,
        bench.said().digest,
    )
    bench.tell(PORT)
    bench.start()
    assert (9000, ()) == (bench.tuning.running.scheduler.port, bench.said().config.waiting)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"changes": {"store.quota": 3}}', "\x00"])
def test_a_word_that_is_damaged_changes_nothing(bench, text: str) -> None:
    bench.tell(QUOTA)
    bench.following.look()
    told_file(bench.home).write_text(text)
    bench.following.look()
    assert 1 << 30 == bench.tuning.running.store.quota_bytes
    bench.start()
    assert QUOTA.digest == bench.said().digest


def test_a_report_that_could_not_be_written_is_written_later(bench) -> None:
    said_file(bench.home).unlink()
    away = bench.home.run_dir.with_name("away")
    bench.home.run_dir.rename(away)
    bench.start()
    bench.following.look()
    away.rename(bench.home.run_dir)
    assert read_said(said_file(bench.home)) is None
    bench.following.look()
    assert bench.root == bench.said().root
