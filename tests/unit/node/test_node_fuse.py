"""Must a scheduler say several times that most of what runs is to end, and is it then done?"""

import pytest

from remuda.node.effects import Fused, Stop

from .core_driver import CoreDriver, spec, task, welcome

TASKS = [task(number) for number in range(1, 11)]


@pytest.fixture
def driver() -> CoreDriver:
    """A node that runs ten tasks."""
    driver = CoreDriver(cpus=10)
    driver.offer(spec(argv=["x"]), *TASKS)
    driver.turn()
    return driver


def stopped(driver: CoreDriver) -> list[bytes]:
    driver.turn()
    return [effect.attempt.task for effect in driver.of(Stop)]


def test_a_statement_that_would_end_most_is_not_believed_at_once(driver):
    driver.desired()
    assert [] == stopped(driver)
    assert [Fused(10, 10)] == driver.of(Fused)


def test_what_three_revisions_in_a_row_agree_on_is_done(driver):
    driver.desired()
    driver.desired()
    assert [] == stopped(driver)
    driver.desired()
    assert TASKS == stopped(driver)


def test_the_same_revision_again_is_no_confirmation(driver):
    driver.desired(rev=5)
    for _ in range(5):
        driver.desired(rev=5)
    assert [] == stopped(driver)


def test_a_revision_that_knows_the_tasks_again_starts_the_count_anew(driver):
    driver.desired()
    driver.desired()
    driver.desired(*TASKS)
    driver.desired()
    driver.desired()
    assert [] == stopped(driver)
    driver.desired()
    assert TASKS == stopped(driver)


def test_revisions_confirm_only_what_each_of_them_dooms(driver):
    driver.desired(task(1))
    driver.desired(task(2))
    driver.desired(task(3))
    assert TASKS[3:] == stopped(driver)


@pytest.mark.parametrize("kept", [5, 8, 9])
def test_less_than_most_ends_at_once(driver, kept):
    driver.desired(*TASKS[:kept])
    assert TASKS[kept:] == stopped(driver)


def test_two_end_at_once_although_they_are_all():
    driver = CoreDriver(cpus=2)
    driver.offer(spec(argv=["x"]), task(1), task(2))
    driver.turn()
    driver.desired()
    assert [task(1), task(2)] == stopped(driver)


def test_a_welcome_that_knows_nothing_of_the_tasks_is_not_believed_at_once(driver):
    welcome(driver)
    assert [] == stopped(driver)


def test_a_welcome_counts_as_the_first_of_three(driver):
    welcome(driver)
    driver.desired()
    assert [] == stopped(driver)
    driver.desired()
    assert TASKS == stopped(driver)


def test_another_welcome_starts_the_count_anew(driver):
    for _ in range(5):
        welcome(driver)
        driver.desired()
    assert [] == stopped(driver)


def test_what_is_named_to_be_killed_ends_at_once(driver):
    driver.kill(*TASKS)
    assert TASKS == stopped(driver)


def test_tasks_that_end_meanwhile_do_not_stop_the_count(driver):
    driver.desired()
    driver.end(task(1))
    driver.desired()
    driver.end(task(2))
    driver.desired()
    assert TASKS[2:] == stopped(driver)
