"""Is a ping earned by every proof, and given by the loop alone?"""

import pytest

from remuda.config.notify import Notifier
from remuda.config.service import EXTEND_LOOK_EVERY, PINGS_PER_TIME, Service
from remuda.config.watchdog import Proof, earned, withheld

S = 1_000_000_000


class Said(Notifier):
    """A notifier that keeps what it would send."""

    def __init__(self, watchdog_s: int = 0) -> None:
        super().__init__()
        self.watchdog_ns = watchdog_s * S
        self.lines: list[str] = []

    @property
    def is_heard(self) -> bool:
        return True

    def _send(self, *lines: str) -> None:
        self.lines += lines


class Log:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, event: str, **facts: str) -> None:
        self.warnings.append(f"{event}: {facts['why']}")


def proofs(at_s: int):
    return lambda: (Proof("a commit", at_s * S, 10 * S),)


@pytest.mark.parametrize(("age_s", "is_earned"), [(0, True), (10, True), (11, False)])
def test_a_proof_counts_until_it_is_too_old(age_s: int, is_earned) -> None:
    assert is_earned == earned([Proof("a commit", 0, 10 * S)], age_s * S)


def test_one_old_proof_outweighs_the_fresh_ones_and_is_named() -> None:
    given = [Proof("heard", 19 * S, 10 * S), Proof("a commit", 5 * S, 10 * S)]
    assert "a commit: not for 15.0 s, at most 10 s are allowed" == withheld(given, 20 * S)


def test_pings_come_several_times_within_the_time_of_the_watchdog() -> None:
    said = Said(watchdog_s=30)
    service = Service(said, Log())
    for second in range(31):
        service.tend(second * S, lambda: "", proofs(second))
    assert PINGS_PER_TIME <= said.lines.count("WATCHDOG=1") <= PINGS_PER_TIME + 1


def test_without_proof_there_is_no_ping_and_the_log_says_why_once() -> None:
    said, log = Said(watchdog_s=30), Log()
    service = Service(said, log)
    for second in (11, 12, 40):
        service.tend(second * S, lambda: "", proofs(0))
    assert 0 == said.lines.count("WATCHDOG=1")
    assert ["the watchdog is not pinged: a commit: not for 11.0 s, at most 10 s are allowed"] == (
        log.warnings
    )


def test_a_proof_that_comes_late_earns_the_next_ping_at_once() -> None:
    said = Said(watchdog_s=30)
    service = Service(said, Log())
    service.tend(11 * S, lambda: "", proofs(0))
    service.tend(12 * S, lambda: "", proofs(12))
    assert 1 == said.lines.count("WATCHDOG=1")


def test_without_a_watchdog_no_proof_is_asked_for() -> None:
    service = Service(Said(), Log())
    service.tend(0, lambda: "", lambda: pytest.fail("nobody asked"))


def test_a_start_is_prolonged_only_while_rows_come() -> None:
    said = Said()
    clock = iter(range(0, 100 * S, S))
    rows = Service(said, Log()).extending(
        range(3 * EXTEND_LOOK_EVERY), lambda: next(clock), "reading tasks"
    )
    for _ in range(EXTEND_LOOK_EVERY):
        next(rows)
    early = [line for line in said.lines if line.startswith("EXTEND")]
    assert len(list(rows)) == 2 * EXTEND_LOOK_EVERY
    late = [line for line in said.lines if line.startswith("EXTEND")]
    assert (1, 2) == (len(early), len(late))
    assert f"STATUS=starting: reading tasks, {2 * EXTEND_LOOK_EVERY:,} so far" in said.lines


def test_a_reload_is_said_with_its_time_and_ends_with_the_next_readiness() -> None:
    said = Said()
    service = Service(said, Log())
    service.reloading(S)
    service.ready("up")
    service.reloading(2 * S)
    assert not service.is_ready
    service.ready("again")
    expected = ["READY=1", "STATUS=up", "RELOADING=1", "MONOTONIC_USEC=2000000"]
    assert [*expected, "READY=1", "STATUS=again"] == said.lines
