"""Does the node knock, wait, obey and come back as it should?"""

from random import Random

from remuda.node.session import REPLY_NS, SILENCE_NS, UNANSWERED_NS, Session, Standing

MS = 1_000_000


def session():
    return Session(Random(1), 500 * MS, 30_000 * MS)


def inside(epoch=3):
    made = session()
    made.on_sent(0)
    assert made.on_registered(epoch, 0)
    return made


def test_a_node_knocks_at_once_and_then_waits_for_the_answer():
    made = session()
    assert made.is_due(0)
    made.on_sent(0)
    assert not made.is_due(REPLY_NS - 1)


def test_a_knock_without_an_answer_is_repeated_later_and_later():
    made = session()
    delays, now = [], 0
    for _ in range(12):
        made.on_sent(now)
        now += REPLY_NS
        assert not made.is_due(now)
        delays.append(made.due_at - now)
        now = made.due_at
        assert made.is_due(now)
    assert min(delays) >= 500 * MS
    assert max(delays) <= 30_500 * MS
    assert max(delays[8:]) > max(delays[:2])


def test_a_welcome_from_the_past_is_not_believed():
    made = session()
    made.on_beacon(7, 0, 0)
    made.on_sent(0)
    assert not made.on_registered(6, 1)
    assert made.standing is not Standing.INSIDE


def test_a_beacon_of_a_newer_scheduler_makes_the_node_register_again_within_the_window():
    made = inside(3)
    assert made.on_beacon(4, 2_000, 0)
    assert 0 <= made.due_at <= 2_000 * MS
    assert made.is_due(made.due_at)


def test_messages_of_an_older_scheduler_are_not_obeyed():
    made = inside(3)
    assert (True, True, False) == (made.on_heard(3, 1), made.on_heard(4, 1), made.on_heard(2, 1))
    assert not made.on_beacon(2, 0, 1)
    assert made.standing is Standing.INSIDE


def test_a_scheduler_that_falls_silent_is_asked_again():
    made = inside()
    assert not made.is_due(SILENCE_NS - 1)
    assert made.is_due(SILENCE_NS)


def test_any_word_of_the_scheduler_counts_against_silence():
    made = inside()
    made.on_heard(3, SILENCE_NS // 2)
    assert not made.is_due(SILENCE_NS)


def test_a_scheduler_may_ask_for_patience():
    made = session()
    made.on_sent(0)
    made.on_failure(0, retry_after_ms=60_000)
    assert made.due_at >= 60_000 * MS


def test_a_node_whose_connection_ended_waits_for_a_beacon_of_the_same_scheduler():
    made = inside(3)
    made.on_cut(0)
    assert not made.is_due(SILENCE_NS - 1)
    made.on_beacon(3, 0, SILENCE_NS - 1)
    assert made.is_due(SILENCE_NS - 1)


def test_a_node_whose_connection_ended_knocks_when_no_beacon_comes():
    made = inside()
    made.on_cut(0)
    assert made.is_due(SILENCE_NS)


def test_a_beacon_after_the_return_from_a_cut_changes_nothing():
    made = inside(3)
    made.on_cut(0)
    made.on_sent(0)
    made.on_registered(3, 0)
    made.on_beacon(3, 0, 0)
    assert made.standing is Standing.INSIDE


def test_a_node_that_hears_beacons_but_no_answer_for_a_lease_knocks_again():
    made = inside(3)
    made.on_heard(3, 1)
    for now in range(SILENCE_NS // 2, UNANSWERED_NS, SILENCE_NS // 2):
        made.on_beacon(3, 0, now)
        assert not made.is_due(now)
    made.on_beacon(3, 0, UNANSWERED_NS)
    assert made.deadline() == UNANSWERED_NS + 1
    assert made.is_due(UNANSWERED_NS + 1)


def test_a_node_that_is_answered_stays_inside():
    made = inside(3)
    for now in range(0, 3 * UNANSWERED_NS, SILENCE_NS // 2):
        made.on_heard(3, now)
        assert not made.is_due(now)


def test_what_is_said_to_another_start_of_the_agent_is_no_answer():
    made = inside(3)
    for now in range(SILENCE_NS // 2, UNANSWERED_NS, SILENCE_NS // 2):
        assert made.on_heard(3, now, is_ours=False)
        assert not made.is_due(now)
    assert made.is_due(UNANSWERED_NS)
