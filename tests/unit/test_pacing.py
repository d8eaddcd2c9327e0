"""Does bulk rest while others want the CPUs, and only then?"""

from pathlib import Path

import pytest

from remuda.config import pacing
from remuda.config.pacing import BULK_SHARE, CALM_S, LOOK_EVERY_S, REST_S_MAX, Cpus, Pace, read_cpus

CPUS = 2
HZ = 100


class Host:
    """A host under a test: its clock, and what its CPUs do."""

    def __init__(self, wanted_share: float) -> None:
        self.wanted_share = wanted_share
        self.now_s = 0.0
        self.used_s = 0.0
        self.wanted = 0.0
        self.pace = Pace(self.look, lambda: self.used_s, lambda: self.now_s, CPUS)

    def look(self) -> Cpus:
        return Cpus(int(self.wanted), int(self.now_s * HZ * CPUS))

    def live(self, seconds: float) -> None:
        self.now_s += seconds
        self.wanted += seconds * HZ * CPUS * self.wanted_share

    def move(self, cost_s: float, times: int) -> float:
        """Move so many pieces, resting as told; return the share of the CPUs that it took."""
        begun_s, begun_used_s = self.now_s, self.used_s
        for _ in range(times):
            self.live(cost_s)
            self.used_s += cost_s
            while rest_s := self.pace.rest_s():
                self.live(rest_s)
        return (self.used_s - begun_used_s) / (self.now_s - begun_s) / CPUS


def test_nobody_rests_while_the_cpus_are_idle_enough() -> None:
    host = Host(wanted_share=0.5)
    assert 1 / CPUS == pytest.approx(host.move(0.01, 200))


def test_bulk_takes_its_share_and_no_more_while_others_want_the_cpus() -> None:
    host = Host(wanted_share=0.7)
    host.live(LOOK_EVERY_S)
    host.pace.rest_s()
    assert BULK_SHARE == pytest.approx(host.move(0.002, 1_000), rel=0.1)


def test_no_rest_is_longer_than_its_bound_so_that_it_goes_on_for_ever() -> None:
    host = Host(wanted_share=1.0)
    host.live(LOOK_EVERY_S)
    host.pace.rest_s()
    host.used_s += 60
    assert REST_S_MAX == host.pace.rest_s()


def test_it_goes_on_soon_after_nobody_wants_the_cpus_any_more() -> None:
    host = Host(wanted_share=1.0)
    host.live(LOOK_EVERY_S)
    host.used_s += 60
    assert host.pace.rest_s() > 0
    host.wanted_share = 0.0
    host.live(CALM_S)
    assert 0 == host.pace.rest_s()


def test_work_that_waits_a_moment_for_a_disk_still_wants_the_cpus() -> None:
    host = Host(wanted_share=1.0)
    host.live(LOOK_EVERY_S)
    host.pace.rest_s()
    host.wanted_share = 0.1
    host.used_s += 60
    host.live(LOOK_EVERY_S)
    assert host.pace.rest_s() > 0


def test_a_kernel_that_does_not_say_lets_nobody_rest(tmp_path: Path) -> None:
    used = iter(range(100))
    times = iter(range(100))
    look = lambda: read_cpus(tmp_path / "none")
    pace = Pace(look, lambda: float(next(used)), lambda: float(next(times)), CPUS)
    assert [0.0] * 5 == [pace.rest_s() for _ in range(5)]


def test_time_of_nice_processes_is_wanted_by_nobody(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  70 20 5 3 1 0 1 0 0 0\ncpu0 1 1 1 1\n")
    assert Cpus(70, 100) == read_cpus(stat)


def test_the_kernel_here_says_what_the_cpus_do() -> None:
    seen = read_cpus(pacing.STAT)
    assert seen is not None
    assert 0 < seen.wanted < seen.total
