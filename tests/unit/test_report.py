"""When a node says what it has: a lost heartbeat must not hide a change for long."""

from dataclasses import replace

from remuda.node.capabilities import HostFacts, Limits
from remuda.node.releases import WAIT_NS_MAX
from remuda.node.report import FULL_EVERY, SAY_NEW_TIMES, Report

from .node.core_driver import CoreDriver, card, read, spec, task

FACTS = HostFacts("h", "boot", "6.1", "3.11", 1000, 1 << 30)


def said(report: Report, beats: int, notes: dict[str, str]) -> list[bool]:
    """Return for each heartbeat whether it carries the capabilities."""
    return [bool(report.capabilities_due(CoreDriver().core, notes)) for _ in range(beats)]


def test_what_is_new_is_said_in_several_heartbeats_and_then_seldom() -> None:
    report = Report(FACTS, Limits(), {}, "1")
    quiet = [False] * (FULL_EVERY - 1)
    assert [True] * SAY_NEW_TIMES + quiet + [True] + quiet == said(
        report, SAY_NEW_TIMES + 1 + 2 * len(quiet), {}
    )


def test_a_change_is_said_in_several_heartbeats_again() -> None:
    report = Report(FACTS, Limits(), {}, "1")
    said(report, SAY_NEW_TIMES + 2, {})
    assert [True] * SAY_NEW_TIMES + [False] == said(report, SAY_NEW_TIMES + 1, {"GPU-a": "held"})


def test_a_card_that_is_held_back_is_named_with_its_reason() -> None:
    driver = CoreDriver()
    driver.offer(spec(argv=["x"], gpus=1), task(1), gpus=["GPU-a"])
    driver.turn()
    driver.end(task(1))
    driver.turn()
    read(driver, card("GPU-a", 4711))
    driver.turn(WAIT_NS_MAX // 1_000_000)
    facts = replace(FACTS, gpus=(card("GPU-a"), card("GPU-b")))
    statement = Report(facts, Limits(), {}, "1").statement(driver.core, {})
    reason = "30 s after the end of its task it still shows process 4711"
    assert [reason, ""] == [gpu["withheld"] for gpu in statement["gpus"]]
    assert f"GPU GPU-a is held back: {reason}" in statement["notes"]
