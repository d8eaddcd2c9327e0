"""Do keys take turns, whoever comes first with however much?"""

import pytest

from remuda.protocol.errors import QueueFull
from remuda.store.turns import ACTIVE_MAX, ACTIVE_PER_KEY_MAX, WAITING_PER_KEY_MAX, Turns


def all_next(turns: Turns[str]) -> list[str]:
    found = []
    while (turn := turns.next()) is not None:
        found.append(turn[1])
    return found


def test_the_key_with_the_fewest_active_ones_is_next() -> None:
    turns: Turns[str] = Turns()
    for number in range(3):
        turns.wait("many", f"m{number}")
    turns.wait("one", "o0")
    assert ["m0", "o0", "m1", "m2"] == all_next(turns)


def test_one_key_does_not_take_all_turns() -> None:
    turns: Turns[str] = Turns()
    for number in range(ACTIVE_MAX):
        turns.wait("greedy", f"g{number}")
    assert ACTIVE_PER_KEY_MAX == len(all_next(turns))
    turns.wait("late", "first")
    assert ["first"] == all_next(turns)
    turns.end("greedy")
    assert [f"g{ACTIVE_PER_KEY_MAX}"] == all_next(turns)


def test_who_leaves_the_line_is_not_called() -> None:
    turns: Turns[str] = Turns()
    turns.wait("a", "stays")
    turns.wait("a", "leaves")
    turns.leave("a", "leaves")
    assert (["stays"], 0) == (all_next(turns), turns.waiting)


def test_a_line_that_is_too_long_is_refused_with_a_time() -> None:
    turns: Turns[str] = Turns()
    for number in range(WAITING_PER_KEY_MAX):
        turns.wait("a", str(number))
    with pytest.raises(QueueFull) as caught:
        turns.wait("a", "one more")
    assert caught.value.retry_after_s > 0
    turns.wait("b", "another key")
