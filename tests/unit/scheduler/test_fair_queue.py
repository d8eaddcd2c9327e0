"""Does a client that floods wait behind its own requests, and nobody else's?"""

from remuda.scheduler.access import Principal, Role
from remuda.scheduler.fair_queue import WAITING_BYTES_MAX, WAITING_MAX, FairQueue
from remuda.scheduler.wire import Request


def request(name: str, payload: str) -> Request:
    return Request([], Principal(name, Role.SUBMIT), payload.encode())


def drained(queue: FairQueue) -> str:
    return "".join(queue.pop().payload.decode() for _ in range(len(queue)))


def test_keys_take_turns_and_each_keeps_its_order() -> None:
    queue = FairQueue()
    queue.add([request("alice", "a")] * 4 + [request("bob", "b"), request("bob", "c")])
    assert "abacaa" == drained(queue)


def test_who_comes_late_waits_for_one_request_of_the_flood() -> None:
    queue = FairQueue()
    queue.add([request("alice", "a")] * 100)
    queue.pop()
    queue.add([request("bob", "b")])
    assert "ab" == (queue.pop().payload + queue.pop().payload).decode()


def test_what_is_put_back_goes_before_the_rest_of_its_key() -> None:
    queue = FairQueue()
    queue.add([request("alice", "c")])
    queue.put_back([request("alice", "a"), request("alice", "b")])
    assert "abc" == drained(queue)


def test_a_revoked_key_has_a_queue_of_its_own() -> None:
    queue = FairQueue()
    queue.add([Request([], None, b"x"), request("alice", "a")])
    assert "xa" == drained(queue)


def test_large_requests_fill_it_sooner() -> None:
    queue = FairQueue()
    queue.add([request("alice", "x" * (WAITING_BYTES_MAX // 2))] * 2)
    before = queue.is_full
    queue.pop()
    assert (True, False) == (before, queue.is_full)


def test_it_says_when_it_is_full() -> None:
    queue = FairQueue()
    queue.add([request("alice", "a")] * (WAITING_MAX - 1))
    before = queue.is_full
    queue.add([request("alice", "a")])
    assert (False, True) == (before, queue.is_full)
