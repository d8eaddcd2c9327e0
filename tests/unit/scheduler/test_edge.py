"""Is a submission stored once, whole and checked, or refused with the field at fault?"""

import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.errors import (
    Conflict,
    Invalid,
    NotFound,
    RemudaError,
    ResultExpired,
    ValueTooLarge,
)
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.claimed import Signatures
from remuda.scheduler.core import Core, CoreSettings
from remuda.scheduler.edge import Edge, Later
from remuda.scheduler.events import CancelTasks, Now, SubmitTasks
from remuda.scheduler.journal import Journal

ALICE, BOB = Principal("alice", Role.SUBMIT), Principal("bob", Role.SUBMIT)
NOW = Now(1, 1_700_000_000_000_000_000)
COMMAND: dict[str, Any] = {"kind": "command", "argv": ["true"]}

SECRET = b"s" * 32


class Desk:
    """The edge before a real core and a real journal."""

    def __init__(self, folder: Path, *, defaults: Any = None, **settings: int) -> None:
        self.journal = Journal.open(folder)
        self.core = Core(
            self.journal.recover(),
            epoch=self.journal.next_epoch(),
            secret=b"s" * 32,
            seed=1,
            settings=CoreSettings(**settings),
            now=NOW,
        )
        self.edge = Edge(
            self.journal.history,
            value_bytes_max=1_000,
            random_bits=random.Random(1).getrandbits,
            signatures=Signatures(SECRET),
            spec_defaults=defaults,
        )
        self.requests = 0

    def judge(self, message: m.Submit, who: Principal = ALICE) -> Any:
        self.requests += 1
        return self.edge.submit(message, who, self.requests, NOW.wall_ms)

    def store(self, *events: Any) -> list[m.Message]:
        """End the turn with these events and return the replies."""
        effects = self.core.step(events, NOW)
        self.journal.commit(effects.commit)
        failed = [key for key, reply in effects.replies if isinstance(reply, m.Failure)]
        self.edge.end_turn(failed)
        return [reply for _, reply in effects.replies]

    def submit(self, message: m.Submit, who: Principal = ALICE) -> Any:
        outcome = self.judge(message, who)
        return self.store(outcome)[0] if isinstance(outcome, SubmitTasks) else outcome


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.journal.close()


def frame(count: int = 1, **fields: Any) -> m.Submit:
    known: dict[str, Any] = {
        "submit_key": secrets.token_bytes(16),
        "session": b"",
        "specs": [COMMAND],
        "spec_index": [0] * count,
        "args": [b""] * count,
    }
    return m.Submit(**(known | fields))


def test_a_new_frame_becomes_tasks_with_ids_of_their_own(desk: Desk) -> None:
    answer = desk.submit(frame(3))
    assert (3, 3) == (len(set(answer.tasks)), answer.count)


def test_ids_of_a_frame_are_in_order_and_carry_the_time(desk: Desk) -> None:
    found = [ids.from_bytes(blob) for blob in desk.submit(frame(100)).tasks]
    assert found == sorted(found)
    assert {NOW.wall_ms} == {ids.wall_ms_of(task) for task in found}


def test_a_frame_sent_again_is_answered_and_not_repeated(desk: Desk) -> None:
    message = frame(3)
    assert desk.submit(message) == desk.submit(message)
    assert 3 == len(desk.core.tasks)


def test_a_frame_sent_again_after_its_tasks_were_pruned_does_not_run_again(desk: Desk) -> None:
    message = frame(2)
    (first, _) = desk.submit(message).tasks
    desk.store(CancelTasks(9, "alice", "alice", list(desk.core.tasks), -1))
    doomed, _ = desk.journal.pruning.by_id([first], "")
    desk.journal.pruning.remove(doomed, "alice", NOW.wall_ms)
    with pytest.raises(ResultExpired, match="submitted before"):
        desk.submit(message)
    assert {} == desk.core.tasks


def test_a_frame_sent_twice_in_one_turn_waits_for_the_commit(desk: Desk) -> None:
    message = frame(2)
    first, second = desk.judge(message), desk.judge(message)
    assert Later.NEXT_TURN is second
    (answer,) = desk.store(first)
    assert answer == desk.judge(message)


def test_the_same_key_of_another_user_is_another_frame(desk: Desk) -> None:
    message = frame()
    desk.submit(message)
    desk.submit(message, BOB)
    assert 2 == len(desk.core.tasks)


def test_a_refused_frame_may_come_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, queued_max=1)
    message = frame(2, batch_key=b"b" * 16)
    assert ["queue_full"] * 2 == [desk.submit(message).code for _ in range(2)]
    desk.journal.close()


def test_an_idempotency_key_finds_its_task_for_ever(desk: Desk) -> None:
    first = desk.submit(frame(once=["nightly"]))
    again = desk.submit(frame(once=["nightly"]))
    assert (first.tasks, 1) == (again.tasks, len(desk.core.tasks))


def test_an_idempotency_key_used_twice_in_one_turn_waits(desk: Desk) -> None:
    first = desk.judge(frame(once=["nightly"]))
    assert Later.NEXT_TURN is desk.judge(frame(once=["nightly"]))
    desk.store(first)


def test_frames_of_a_batch_in_one_turn_and_later_share_its_id(desk: Desk) -> None:
    key = b"k" * 16
    events = [desk.judge(frame(2, batch_key=key, offset=offset)) for offset in (2, 0)]
    answers: list[Any] = desk.store(*events)
    answers.append(desk.submit(frame(1, batch_key=key, offset=4)))
    (batch,) = {answer.batch for answer in answers}
    members = {ids.member(ids.from_bytes(batch), index) for index in range(5)}
    assert members == desk.core.tasks.keys()


def test_a_batch_goes_on_after_a_restart(tmp_path: Path) -> None:
    key = b"k" * 16
    before = Desk(tmp_path)
    first = before.submit(frame(2, batch_key=key))
    before.journal.close()
    after = Desk(tmp_path)
    assert first.batch == after.submit(frame(2, batch_key=key, offset=2)).batch
    with pytest.raises(Conflict, match="overlap"):
        after.judge(frame(2, batch_key=key, offset=1))
    after.journal.close()


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_overlapping_members_of_a_batch_are_refused(desk: Desk, offset: int) -> None:
    key = b"k" * 16
    desk.submit(frame(2, batch_key=key, offset=1))
    with pytest.raises(Conflict, match="overlap"):
        desk.judge(frame(2, batch_key=key, offset=offset))


def test_a_refused_frame_gives_its_stretch_of_the_batch_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path, queued_max=3)
    key = b"k" * 16
    assert "queue_full" == desk.submit(frame(4, batch_key=key)).code
    assert 3 == desk.submit(frame(3, batch_key=key)).count
    desk.journal.close()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"submit_key": b"short"}, "submit_key"),
        ({"session": b"short"}, "session"),
        ({"spec_index": [1]}, "spec_index"),
        ({"spec_index": [-1]}, "spec_index"),
        ({"specs": []}, "spec_index"),
        ({"specs": [COMMAND, COMMAND]}, "specs"),
        ({"spec_index": [], "args": []}, "args"),
        ({"batch_key": b"short"}, "batch_key"),
        ({"batch_key": b"k" * 16, "offset": -1}, "offset"),
        ({"batch_key": b"k" * 16, "offset": 1 << 32}, "offset"),
        ({"offset": 1}, "offset"),
        ({"once": ["a", "b"]}, "once"),
        ({"once": ["x" * 300]}, "once"),
        ({"once": ["a"], "batch_key": b"k" * 16}, "once"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_by_field(
    desk: Desk, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        desk.judge(frame(**fields))
    assert field == caught.value.field


def test_an_argument_over_the_limit_is_too_large(desk: Desk) -> None:
    with pytest.raises(ValueTooLarge) as caught:
        desk.judge(frame(2, args=[b"", b"x" * 1_001]))
    assert "args[1]" == caught.value.field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "magic"}, "kind"),
        ({"argv": []}, "argv"),
        ({"argv": ["a\0b"]}, "argv.0"),
        ({"argv": "true"}, "argv"),
        ({"argv": [1]}, "argv.0"),
        ({"cpus_milli": -1}, "cpus_milli"),
        ({"cpus_milli": "1"}, "cpus_milli"),
        ({"cpus_milli": True}, "cpus_milli"),
        ({"memory_bytes": 1 << 61}, "memory_bytes"),
        ({"gpu_milli": 500, "vram_bytes": 1}, "gpus"),
        ({"gpus": 1, "gpu_milli": 500}, "gpus"),
        ({"gpu_type": "L4"}, "gpu_type"),
        ({"gpus": 1, "gpu_type": "("}, "gpu_type"),
        ({"priority": 101}, "priority"),
        ({"retries": -1}, "retries"),
        ({"timeout_ms": -5}, "timeout_ms"),
        ({"backoff_first_ms": 2_000, "backoff_longest_ms": 1}, "backoff_longest_ms"),
        ({"cwd": "relative"}, "cwd"),
        ({"env": {"A=B": "x"}}, "env.A=B.[key]"),
        ({"name": "a\nb"}, "name"),
        ({"tags": {str(n): "" for n in range(40)}}, "tags"),
        ({"stdin": b"x" * 70_000}, "stdin"),
        ({"colour": "red"}, "colour"),
        ({"target": "m:f"}, "target"),
        ({"kind": "function", "argv": [], "target": "no colon"}, "target"),
        ({"kind": "function", "argv": [], "target": "module"}, "target"),
        ({"kind": "function", "argv": [], "target": "m:f()"}, "target"),
        ({"kind": "function", "target": "m:f"}, "argv"),
        ({"kind": "handler", "argv": []}, "target"),
        ({"kind": "handler", "argv": [], "target": "a:b"}, "target"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_by_field(
    desk: Desk, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        desk.judge(frame(specs=[COMMAND | changes]))
    assert f"specs[0].{field}" == caught.value.field


def test_a_refusal_names_what_was_found_and_what_is_allowed(desk: Desk) -> None:
    with pytest.raises(Invalid, match="found 101; it should be less than or equal to 100"):
        desk.judge(frame(specs=[COMMAND | {"priority": 101}]))


def test_nothing_of_a_frame_is_stored_when_one_spec_is_wrong(desk: Desk) -> None:
    with pytest.raises(Invalid):
        desk.judge(frame(2, specs=[COMMAND, {"kind": "command"}], spec_index=[0, 1]))
    assert {} == desk.core.tasks


def cancel(desk: Desk, tasks: list[bytes]) -> None:
    wanted = [ids.from_bytes(task) for task in tasks]
    desk.store(CancelTasks(0, "alice", "", wanted, -1))


def retry(desk: Desk, who: Principal = ALICE, **fields: Any) -> Any:
    known: dict[str, Any] = {"submit_key": secrets.token_bytes(16), "session": b"", "tasks": [],
                             "batches": []}  # fmt: skip
    message = m.Retry(**(known | fields))
    outcome = desk.edge.retry(message, who, 99, NOW.wall_ms, desk.core.tasks)
    return desk.store(outcome)[0] if isinstance(outcome, SubmitTasks) else outcome


def test_a_retry_copies_an_ended_task_under_a_new_id(desk: Desk) -> None:
    old = desk.submit(frame(args=[b"7"])).tasks
    cancel(desk, old)
    (new,) = retry(desk, tasks=old).tasks
    row = desk.journal.history.show_task(ids.from_bytes(new))
    assert row is not None
    assert (ids.from_bytes(old[0]), b"7") == (row["retry_of"], row["args"])


def test_a_retry_may_change_the_request(desk: Desk) -> None:
    old = desk.submit(frame()).tasks
    cancel(desk, old)
    (new,) = retry(desk, tasks=old, changes={"priority": 90}).tasks
    assert 90 == desk.core.tasks[ids.from_bytes(new)].spec.policy.priority


@pytest.mark.parametrize("changes", [{"priority": 101}, {"colour": "red"}])
def test_a_retry_with_a_wrong_change_is_refused(desk: Desk, changes: dict[str, Any]) -> None:
    old = desk.submit(frame()).tasks
    cancel(desk, old)
    with pytest.raises(Invalid, match="changes"):
        retry(desk, tasks=old, changes=changes)


def test_a_task_that_has_not_ended_cannot_be_retried(desk: Desk) -> None:
    with pytest.raises(Conflict, match="has not ended"):
        retry(desk, tasks=desk.submit(frame()).tasks)


def test_a_task_of_another_user_cannot_be_retried(desk: Desk) -> None:
    old = desk.submit(frame()).tasks
    cancel(desk, old)
    with pytest.raises(NotFound):
        retry(desk, BOB, tasks=old)


def test_the_ended_members_of_a_batch_are_retried(desk: Desk) -> None:
    answer = desk.submit(frame(3, batch_key=b"k" * 16))
    batch = ids.from_bytes(answer.batch)
    cancel(desk, [ids.to_bytes(ids.member(batch, index)) for index in (0, 2)])
    assert 2 == retry(desk, batches=[answer.batch]).count


def test_a_retry_sent_again_is_answered_and_not_repeated(desk: Desk) -> None:
    old = desk.submit(frame()).tasks
    cancel(desk, old)
    key = secrets.token_bytes(16)
    first, again = (retry(desk, tasks=old, submit_key=key) for _ in range(2))
    assert first.tasks == again.tasks


def test_every_refusal_is_an_error_of_ours(desk: Desk) -> None:
    for spec in ({}, {"kind": 1}, {"kind": "command", "argv": [b"x"]}, {"argv": None}):
        with pytest.raises(RemudaError):
            desk.judge(frame(specs=[spec]))


def test_what_a_spec_does_not_say_is_as_the_cluster_has_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, defaults={"grace_ms": 1_000, "backoff_first_ms": 7})
    said = {**COMMAND, "grace_ms": 5_000}
    desk.submit(frame(2, specs=[COMMAND, said], spec_index=[0, 1]))
    found = [task.spec.policy for task in desk.core.tasks.values()]
    assert [(1_000, 7), (5_000, 7)] == [(each.grace_ms, each.backoff_first_ms) for each in found]
    desk.journal.close()


EACH: dict[str, Any] = {**COMMAND, "each": True}


def test_an_entry_is_any_text(desk: Desk) -> None:
    entries = [b"", "a b \u00e9 {}".encode(), b"-"]
    assert 3 == desk.submit(frame(3, specs=[EACH], args=entries)).count


@pytest.mark.parametrize(("entry", "said"), [(b"a\0b", "NUL"), (b"\xff", "UTF-8")])
def test_an_entry_that_no_command_could_take_is_refused_and_named(
    desk: Desk, entry: bytes, said: str
) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        desk.submit(frame(2, specs=[COMMAND, EACH], spec_index=[0, 1], args=[b"\xff", entry]))
    assert "args[1]" == caught.value.field


@pytest.mark.parametrize(
    "fields",
    [{"kind": "function", "target": "m:f", "each": True}, {**EACH, "array": True}],
)
def test_an_entry_needs_a_command_without_an_index(desk: Desk, fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="each: "):
        desk.submit(frame(specs=[fields]))


def test_an_endless_batch_takes_no_room(desk: Desk) -> None:
    for offset in range(0, 300, 3):
        desk.submit(frame(3, batch_key=b"b" * 16, offset=offset))
    (batch,) = desk.edge._batches.values()
    assert [(0, 300)] == batch.frames
    with pytest.raises(Conflict, match="overlap"):
        desk.submit(frame(3, batch_key=b"b" * 16, offset=150))
