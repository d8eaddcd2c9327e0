"""Are nodes let in at a pace, and do those sent away come back one after another?"""

from __future__ import annotations

import heapq

from remuda.protocol import messages as m
from remuda.scheduler.admission import NS_PER_MS, Admission

from ...fakes.world import World


def test_as_many_as_the_burst_are_let_in_at_once() -> None:
    admission = Admission(step_ns=NS_PER_MS, burst=3)
    assert [0, 0, 0] == [admission.wait_ms(0) for _ in range(3)]
    assert admission.wait_ms(0) > 0


def test_those_sent_away_are_told_different_times() -> None:
    admission = Admission(step_ns=10 * NS_PER_MS, burst=1)
    assert [0, 10, 20, 30] == [admission.wait_ms(0) for _ in range(4)]


def test_a_thousand_that_come_at_once_and_do_as_told_are_all_in_within_15_s() -> None:
    admission = Admission()
    coming = [(0, node) for node in range(1_000)]
    while coming:
        now_ms, node = heapq.heappop(coming)
        if wait_ms := admission.wait_ms(now_ms * NS_PER_MS):
            heapq.heappush(coming, (now_ms + wait_ms, node))
    assert now_ms <= 15_000


def test_a_quiet_time_saves_up_no_more_than_the_burst() -> None:
    admission = Admission(step_ns=NS_PER_MS, burst=2)
    admission.wait_ms(0)
    later = 3_600_000 * NS_PER_MS
    assert [True, True, False] == [admission.wait_ms(later) == 0 for _ in range(3)]


def test_a_known_node_that_is_to_wait_for_its_turn_is_not_taken_for_silent(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.later(50)
    world.core.admission = Admission(step_ns=10**12, burst=1)
    world.core.admission.wait_ms(world.mono_ns)
    answer = world.join(node)
    assert isinstance(answer, m.Failure)
    world.later(50)
    assert ("busy", True) == (answer.code, answer.retry_after_ms > 0)
    assert "assigned" == world.state(task)
