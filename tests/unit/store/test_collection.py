"""Is only that removed which no task refers to and no claim keeps?"""

from remuda.store.collection import is_fresh, margin_ms, plan, recheck_ms
from remuda.store.rows import Row

HOUR_MS = 3_600_000


def rows(count: int) -> list[Row]:
    return [Row(number, bytes([number]) * 32, 10, False, 0) for number in range(count)]


def test_what_is_referred_to_is_kept_and_the_rest_removed() -> None:
    due = rows(3)
    assert ([due[1]], [due[0], due[2]]) == plan(due, [False, True, False])


def test_an_answer_that_does_not_fit_removes_nothing() -> None:
    due = rows(3)
    assert (due, []) == plan(due, [False, False])


def test_a_claim_ends_before_the_time_of_its_object() -> None:
    assert 60_000 == margin_ms(6 * HOUR_MS)
    assert 250 == margin_ms(1_000)


def test_what_is_referred_to_is_asked_about_again_within_the_hour() -> None:
    assert (HOUR_MS, 1_000) == (recheck_ms(6 * HOUR_MS), recheck_ms(1_000))


def test_a_claim_of_what_was_just_put_needs_no_new_promise() -> None:
    assert is_fresh(8_000, 500, 8_000)
    assert not is_fresh(8_000, 1_001, 8_000)
