"""Does a client that watches hear of every change once, or else that it missed some?"""

import pytest

from remuda.scheduler import watch
from remuda.scheduler.records import Change
from remuda.scheduler.task import State
from remuda.scheduler.watch import Answer, Waiting, Watches, wait_until

A, B = b"a" * 16, b"b" * 16
EPOCH = 7
SECOND = 1_000_000_000


def change(
    task: int, session: bytes = A, state: State = State.RUNNING, value: bytes = b""
) -> Change:
    return Change(session, task, state, "", 1, "n1", value, b"")


class Watcher:
    """One session, with the cursor that a client keeps."""

    def __init__(self, watches: Watches, session: bytes = A, owner: str = "alice") -> None:
        self.watches = watches
        self.session = session
        self.handle = 0
        assert watches.open(session, owner, 0)
        self.epoch, self.seq = EPOCH, watches.position(session)

    def ask(self, now_ns: int = 0, wait_ms: int = 1_000) -> list[Answer]:
        self.handle += 1
        wait = Waiting(self.handle, wait_until(now_ns, wait_ms))
        return self.watches.ask(self.session, self.epoch, self.seq, wait, now_ns)

    def take(self, answers: list[Answer]) -> list[int]:
        """Follow the cursor of the newest answer and return the tasks it tells of."""
        message = answers[-1].message
        self.epoch, self.seq = message.epoch, message.seq
        return [int.from_bytes(task, "big") for task in message.tasks]


@pytest.fixture
def watches() -> Watches:
    return Watches(EPOCH, changes_max=1_000)


def test_a_poll_waits_for_the_first_change_and_gets_it(watches: Watches) -> None:
    alice = Watcher(watches)
    assert [] == alice.ask()
    watches.add([change(1), change(2)])
    assert [1, 2] == alice.take(watches.due(0))


def test_a_change_before_the_poll_is_answered_at_once(watches: Watches) -> None:
    alice = Watcher(watches)
    watches.add([change(1)])
    assert [1] == alice.take(alice.ask())


def test_a_lost_answer_is_given_again(watches: Watches) -> None:
    alice = Watcher(watches)
    watches.add([change(1)])
    alice.ask()
    watches.add([change(2)])
    assert [1, 2] == alice.take(alice.ask())


def test_what_the_cursor_confirmed_is_not_told_again(watches: Watches) -> None:
    alice = Watcher(watches)
    watches.add([change(1)])
    alice.take(alice.ask())
    watches.add([change(2)])
    assert [2] == alice.take(alice.ask())


def test_another_epoch_is_a_gap(watches: Watches) -> None:
    alice = Watcher(watches)
    watches.add([change(1)])
    alice.epoch = EPOCH - 1
    (answer,) = alice.ask()
    assert (True, EPOCH, []) == (answer.message.gap, answer.message.epoch, answer.message.tasks)


def test_after_a_gap_the_cursor_goes_on_without_another(watches: Watches) -> None:
    alice = Watcher(watches)
    alice.epoch = 0
    alice.take(alice.ask())
    watches.add([change(3)])
    assert [3] == alice.take(alice.ask())


def test_more_changes_than_the_ring_holds_are_a_gap(watches: Watches) -> None:
    alice = Watcher(watches)
    watches.add([change(task) for task in range(1_001)])
    (answer,) = alice.ask()
    assert answer.message.gap


def test_more_bytes_than_the_ring_holds_are_a_gap(
    watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SESSION_RING_BYTES", 10_000)
    alice = Watcher(watches)
    watches.add([change(task, value=b"x" * 6_000) for task in (1, 2)])
    (answer,) = alice.ask()
    assert answer.message.gap


def test_a_cursor_of_a_forgotten_session_is_a_gap(watches: Watches) -> None:
    alice = Watcher(watches)
    watches.add([change(task) for task in range(5)])
    alice.take(alice.ask())
    watches.expire(SECOND * (watch.SESSION_IDLE_S + 1))
    assert 0 == len(watches)
    watches.open(A, "alice", 0)
    watches.add([change(task) for task in range(50)])
    (answer,) = alice.ask()
    assert answer.message.gap


def test_an_answer_is_cut_to_a_frame_and_the_rest_follows(
    watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ANSWER_BYTES_MAX", 1_000)
    alice = Watcher(watches)
    watches.add([change(task, value=b"x" * 300) for task in range(5)])
    assert [[0, 1], [2, 3], [4]] == [alice.take(alice.ask()) for _ in range(3)]


def test_one_change_larger_than_a_frame_still_goes_out(
    watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ANSWER_BYTES_MAX", 1_000)
    alice = Watcher(watches)
    watches.add([change(1, value=b"x" * 3_000)])
    assert [1] == alice.take(alice.ask())


def test_a_wait_that_is_over_is_answered_with_nothing(watches: Watches) -> None:
    alice = Watcher(watches)
    alice.ask(wait_ms=1_000)
    assert SECOND == watches.next_deadline_ns
    assert [] == watches.expire(SECOND - 1)
    assert [] == alice.take(watches.expire(SECOND))


def test_an_empty_answer_keeps_the_cursor(watches: Watches) -> None:
    alice = Watcher(watches)
    before = alice.seq
    alice.take(alice.ask(wait_ms=0))
    assert before == alice.seq


def test_a_newer_poll_answers_the_older_one_with_nothing(watches: Watches) -> None:
    alice = Watcher(watches)
    alice.ask()
    (older,) = alice.ask()
    assert (1, [], False) == (older.handle, older.message.tasks, older.message.gap)


def test_a_session_belongs_to_the_key_that_opened_it(watches: Watches) -> None:
    Watcher(watches)
    assert not watches.open(A, "bob", 0)


def test_a_follower_hears_of_a_task_of_another_session_until_it_ends(watches: Watches) -> None:
    Watcher(watches)
    bob = Watcher(watches, B, "bob")
    watches.follow(B, [1])
    watches.add([change(1), change(2), change(1, state=State.SUCCEEDED), change(1)])
    assert [1, 1] == bob.take(bob.ask())


def test_a_follower_of_its_own_task_hears_of_it_once(watches: Watches) -> None:
    alice = Watcher(watches)
    watches.follow(A, [1])
    watches.add([change(1, state=State.SUCCEEDED)])
    assert [1] == alice.take(alice.ask())


def test_a_viewer_hears_of_states_but_not_of_values(watches: Watches) -> None:
    watches.open(B, "vera", 0, payloads=False)
    vera = Watcher(watches, B, "vera")
    watches.follow(B, [1])
    watches.add([change(1, state=State.SUCCEEDED, value=b"secret")])
    (answer,) = vera.ask()
    assert (["succeeded"], [b""]) == (answer.message.states, answer.message.values)


def test_the_number_of_sessions_is_bounded(
    watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SESSIONS_MAX", 3)
    for number in range(5):
        watches.open(bytes([number]) * 16, "alice", 0)
    assert 3 == len(watches)


def test_one_owner_pushes_out_its_own_quietest_session_and_nobody_elses(
    watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SESSIONS_PER_OWNER_MAX", 2)
    bob = Watcher(watches, B, "bob")
    for number in (1, 2, 3):
        watches.open(bytes([number]) * 16, "alice", number)
        watches.open(b"\1" * 16, "alice", number + 10)
    known = [number for number in (1, 2, 3) if watches.position(bytes([number]) * 16)]
    assert ([1, 3], []) == (known, bob.take(bob.ask(wait_ms=0)))


def test_the_largest_ring_goes_when_all_together_are_too_large(
    watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    Watcher(watches)
    bob = Watcher(watches, B, "bob")
    watches.add([change(1, value=b"x" * 5_000), change(2, B)])
    monkeypatch.setattr(watch, "RINGS_BYTES_MAX", 4_000)
    watches.expire(0)
    assert (1, [2]) == (len(watches), bob.take(bob.ask()))


def test_a_session_of_a_withdrawn_key_hears_nothing_more(watches: Watches) -> None:
    Watcher(watches).ask()
    Watcher(watches, B, "bob").ask()
    watches.forget("alice")
    watches.add([change(1), change(2, B)])
    assert [[2]] == [[int.from_bytes(t, "big") for t in a.message.tasks] for a in watches.due(0)]


def test_a_dropped_follower_leaves_no_trace(watches: Watches) -> None:
    Watcher(watches)
    Watcher(watches, B, "bob")
    watches.follow(A, [1, 2])
    watches.follow(B, [2])
    watches.expire(SECOND * (watch.SESSION_IDLE_S + 1))
    watches.add([change(1), change(2)])
    assert 0 == len(watches)
