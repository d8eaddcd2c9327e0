"""When a node says what it has: a lost heartbeat must not hide a change for long."""

from remuda.node.capabilities import HostFacts, Limits
from remuda.node.report import FULL_EVERY, SAY_NEW_TIMES, Report

FACTS = HostFacts("h", "boot", "6.1", "3.11", 1000, 1 << 30)


def said(report: Report, beats: int, notes: dict[str, str]) -> list[bool]:
    """Return for each heartbeat whether it carries the capabilities."""
    return [bool(report.capabilities_due(None, notes)) for _ in range(beats)]


def test_what_is_new_is_said_in_several_heartbeats_and_then_seldom() -> None:
    report = Report(FACTS, Limits(), {}, "1", {})
    quiet = [False] * (FULL_EVERY - 1)
    assert [True] * SAY_NEW_TIMES + quiet + [True] + quiet == said(
        report, SAY_NEW_TIMES + 1 + 2 * len(quiet), {}
    )


def test_a_change_is_said_in_several_heartbeats_again() -> None:
    report = Report(FACTS, Limits(), {}, "1", {})
    said(report, SAY_NEW_TIMES + 2, {})
    assert [True] * SAY_NEW_TIMES + [False] == said(report, SAY_NEW_TIMES + 1, {"GPU-a": "held"})
