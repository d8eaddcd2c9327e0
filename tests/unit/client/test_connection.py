"""Does a request get its answer, or a clear error, whatever happens to the scheduler?"""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from remuda.client import control
from remuda.client.connection import Connection
from remuda.client.courier import ClientClosed
from remuda.config.keys import generate
from remuda.protocol import messages as m
from remuda.protocol.errors import QueueFull, RemudaError, Unreachable

from ...fakes.toy_scheduler import ToyScheduler, ref_of


@pytest.fixture
def link(toy: ToyScheduler) -> Iterator[Connection]:
    with Connection(ref_of(toy)) as link:
        yield link


def test_many_threads_share_one_connection(link: Connection) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: control.status(link), range(200)))
    assert [{"cluster": "toy"}] * 200 == answers


def test_a_refusal_raises_its_own_error_with_when_to_try_again(
    toy: ToyScheduler, link: Connection
) -> None:
    toy.on[m.Status] = lambda _: m.Failure("queue_full", "full", retry_after_ms=1500)
    with pytest.raises(QueueFull) as caught:
        control.status(link)
    assert ("full", 1.5) == (str(caught.value), caught.value.retry_after_s)


def test_an_answer_of_another_kind_is_an_error_and_not_a_crash(
    toy: ToyScheduler, link: Connection
) -> None:
    toy.on[m.Status] = lambda _: m.Done("what?")
    with pytest.raises(RemudaError, match="answered Done instead of Document"):
        control.status(link)


def test_a_request_survives_a_restart_of_the_scheduler(toy: ToyScheduler, link: Connection) -> None:
    control.status(link)
    toy.on[m.Status] = lambda _: None  # swallowed, as by a scheduler that is killed
    asked = threading.Event()
    answers: list[dict[str, object]] = []

    def ask() -> None:
        asked.set()
        answers.append(control.status(link))

    thread = threading.Thread(target=ask)
    thread.start()
    asked.wait()
    while len(toy.heard_of(m.Status)) < 2:
        time.sleep(0.01)
    toy.stop()
    del toy.on[m.Status]
    toy.start()
    thread.join(30)
    assert [{"cluster": "toy"}] == answers


def test_a_scheduler_that_comes_back_elsewhere_is_found_by_who_waits(toy: ToyScheduler) -> None:
    ref = ref_of(toy)
    with Connection(ref) as link, ThreadPoolExecutor(1) as pool:
        control.status(link)
        toy.stop()
        asked = pool.submit(control.status, link)
        while link.courier._exchange._connected:
            time.sleep(0.01)
        left, toy.port = toy.port, 0
        toy.start()
        assert left != toy.port
        ref_of(toy)  # whoever moved it says where it is now
        assert {"cluster": "toy"} == asked.result(20)


def test_a_late_answer_makes_the_same_bytes_go_out_again(
    toy: ToyScheduler, link: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remuda.client.courier.RESEND_S", 0.05)
    late = iter([None, None])
    toy.on[m.Status] = lambda _: next(late, m.Document({"n": 3}))
    receiver: list[object] = []
    answered = threading.Event()

    def receive(outcome: object) -> None:
        receiver.append(outcome)
        answered.set()

    from remuda.protocol import codec

    link.courier.post(codec.encode(m.Status(), 0), receive, patience_s=10, answer_s=0.05)
    assert answered.wait(10)
    (reply,) = receiver
    assert m.Document({"n": 3}) == reply.message  # type: ignore[attr-defined]
    assert reply.tries >= 3  # type: ignore[attr-defined]  # more where the third one's was late too
    assert toy.heard[:3] == [m.Status()] * 3


def test_a_scheduler_that_never_was_is_unreachable_soon_and_says_what_to_do(
    toy: ToyScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMUDA_CLIENT__CONNECT_TIMEOUT", "300ms")
    monkeypatch.setenv("REMUDA_CLIENT__REQUEST_TIMEOUT", "1h")
    ref = ref_of(toy)
    toy.stop()
    with Connection(ref) as link, pytest.raises(Unreachable, match="`remuda doctor`"):
        control.status(link)
    toy.start()


def test_a_scheduler_that_falls_silent_is_unreachable_in_the_end(toy: ToyScheduler) -> None:
    toy.on[m.ListNodes] = lambda _: None
    with Connection(ref_of(toy), request_timeout_s=0.3) as link:
        control.status(link)
        with pytest.raises(Unreachable, match="may or may not have happened"):
            control.list_nodes(link)


def test_how_long_an_answer_may_take_stands_in_the_configuration_unless_it_is_given(
    toy: ToyScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMUDA_CLIENT__REQUEST_TIMEOUT", "7s")
    with Connection(ref_of(toy)) as link, Connection(ref_of(toy), request_timeout_s=1) as other:
        assert (7, 1) == (link.request_timeout_s, other.request_timeout_s)


def test_a_key_that_is_not_admitted_is_said_at_once(tmp_path: Path) -> None:
    toy = ToyScheduler(tmp_path, admits=False)
    try:
        with Connection(ref_of(toy)) as link:
            began = time.monotonic()
            with pytest.raises(Unreachable, match="does not admit our key 'tester'"):
                control.status(link)
            assert time.monotonic() - began < 4  # not by patience
            toy.admits = True
            assert {"cluster": "toy"} == control.status(link)
    finally:
        toy.stop()


def test_a_scheduler_with_another_key_is_not_taken_for_ours(
    toy: ToyScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMUDA_CLIENT__CONNECT_TIMEOUT", "1.0s")
    with (
        Connection(ref_of(toy, server=generate().public)) as link,
        pytest.raises(Unreachable),
    ):
        control.status(link)
    assert [] == toy.heard


def test_whoever_waits_when_the_client_is_closed_hears_it(
    toy: ToyScheduler, link: Connection
) -> None:
    toy.on[m.Status] = lambda _: None
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(control.status, link)
        while not toy.heard_of(m.Status):
            time.sleep(0.01)
        link.close()
        assert isinstance(waiting.exception(10), ClientClosed)


def test_a_closed_client_refuses_new_requests(link: Connection) -> None:
    link.close()
    with pytest.raises(ClientClosed):
        control.status(link)


def test_a_forked_child_is_told_to_open_its_own_client(link: Connection) -> None:
    control.status(link)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            control.status(link)
        except RemudaError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode()
    os.waitpid(child, 0)
    assert "open a new Client in the child process" in said
