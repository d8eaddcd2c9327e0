"""What does a node do with an offer that comes too late, or twice?"""

from random import Random

from remuda.node.session import Session, Standing
from remuda.protocol.messages import Outcome

from .core_driver import CoreDriver, spec, task


def ended_and_acknowledged() -> CoreDriver:
    driver = CoreDriver()
    driver.offer(spec(argv=["x"]), task(1), rev=5)
    driver.turn()
    driver.end(task(1), Outcome.SUCCEEDED)
    driver.ack(task(1))
    driver.turn()
    return driver


def test_an_offer_that_comes_again_after_its_end_starts_nothing() -> None:
    driver = ended_and_acknowledged()
    driver.offer(spec(argv=["x"]), task(1), rev=5)
    driver.turn()
    assert [task(1)] == driver.launched()


def test_an_offer_that_a_later_word_overtook_starts_nothing() -> None:
    driver = CoreDriver()
    driver.desired(rev=7)
    driver.offer(spec(argv=["x"]), task(1), rev=6)
    driver.turn()
    assert [] == driver.launched()
    assert 1 == driver.state.counters.by_name["late_offer"]


def test_the_same_task_may_come_back_in_a_later_attempt() -> None:
    driver = ended_and_acknowledged()
    driver.offer(spec(argv=["x"]), task(1), number=2, rev=6)
    driver.turn()
    assert [task(1), task(1)] == driver.launched()


def test_what_was_settled_is_remembered_only_until_the_next_revision() -> None:
    driver = ended_and_acknowledged()
    assert {(task(1), 1)} == driver.state.settled
    driver.desired(rev=6)
    assert set() == driver.state.settled


def test_no_work_is_taken_while_a_register_is_under_way() -> None:
    session = Session(Random(1), 500_000_000, 5_000_000_000)
    session.on_registered(1, 0)
    assert session.may_take_work()
    session.on_beacon(2, 0, 0)
    session.on_sent(0)
    assert Standing.KNOCKING is session.standing
    assert not session.may_take_work()
