"""Are objects of the store named only by whom they belong to, and kept for as long?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.protocol import claims, ids
from remuda.protocol import messages as m
from remuda.protocol.claims import Claim, Object, Verb
from remuda.protocol.codec import unpack_document
from remuda.protocol.errors import Invalid, NotAllowed
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.claimed import Signatures, check_results
from remuda.scheduler.events import CancelTasks

from .test_edge import NOW, SECRET, Desk

ANA = Principal("ana", Role.SUBMIT, "key-of-ana")
FILE, TREE = Object(b"f" * 32, 10), Object(b"t" * 32, 20)
SPEC = {"kind": "function", "target": "m:f", "files": {"in.png": [FILE.digest, 10, "file"]}}


def have(thing: Object, holder: str = ANA.key, expires_ms: int = NOW.wall_ms + 1) -> bytes:
    return claims.sign(SECRET, Verb.HAVE, holder, Claim(*thing, expires_ms))


def submit(**fields: object) -> m.Submit:
    given = {
        "submit_key": b"k" * 16,
        "specs": [SPEC],
        "spec_index": [0],
        "args": [b""],
        "spec_objects": [have(FILE)],
    }
    return m.Submit(session=b"", **{**given, **fields})  # type: ignore[arg-type]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    found = Desk(tmp_path / "state")
    yield found
    found.journal.close()


def test_what_a_task_names_is_kept_with_it_and_its_spec(desk: Desk) -> None:
    desk.store(desk.judge(submit(objects=[have(TREE)]), ANA))
    objects = desk.journal.objects
    assert [True, True, False] == objects.are_held([FILE.digest, TREE.digest, b"o" * 32])
    (task,) = desk.core.tasks
    assert claims.join_objects([FILE, TREE]) == objects.of_task(task)


def test_no_old_node_gets_a_task_whose_argument_names_an_object(desk: Desk) -> None:
    plain = {"kind": "function", "target": "m:f"}
    both = submit(
        specs=[plain, plain], spec_index=[0, 1], args=[b"", b""], objects=[have(TREE), b""],
        spec_objects=[],
    )  # fmt: skip
    desk.store(desk.judge(both, ANA))
    assert [3, 1] == [task.spec.request.protocol for task in desk.core.tasks.values()]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"spec_objects": []}, "without a claim"),
        ({"spec_objects": [have(TREE)]}, "without a claim"),
        ({"spec_objects": [have(FILE, holder="key-of-bob")]}, r"spec_objects\[0\].*this key"),
        ({"spec_objects": [have(FILE, expires_ms=NOW.wall_ms - 1)]}, "has ended"),
        ({"objects": [have(TREE, holder="key-of-bob")]}, r"objects\[0\].*this key"),
    ],
)
def test_an_object_that_is_not_ones_own_is_not_named(desk: Desk, fields: dict, match: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(NotAllowed, match=match):
        desk.judge(submit(**fields), ANA)


def test_claims_for_other_tasks_than_there_are_are_refused(desk: Desk) -> None:
    with pytest.raises(Invalid, match="found 2 for 1"):
        desk.judge(submit(objects=[b"", b""]), ANA)


def test_a_copy_names_what_its_original_named_without_a_new_claim(desk: Desk) -> None:
    desk.store(desk.judge(submit(objects=[have(TREE)]), ANA))
    (task,) = desk.core.tasks
    desk.store(CancelTasks(9, "ana", "", [task], -1))
    retry = m.Retry(b"r" * 16, b"", [ids.to_bytes(task)], [])
    desk.store(desk.edge.retry(retry, ANA, 10, NOW.wall_ms, desk.core.tasks))
    (copy,) = desk.core.tasks
    assert claims.join_objects([FILE, TREE]) == desk.journal.objects.of_task(copy)


def test_a_copy_cannot_be_changed_to_name_what_was_not_claimed(desk: Desk) -> None:
    desk.store(desk.judge(submit(), ANA))
    (task,) = desk.core.tasks
    desk.store(CancelTasks(9, "ana", "", [task], -1))
    changes = {"files": {"in.png": [TREE.digest, 20, "file"]}}
    retry = m.Retry(b"r" * 16, b"", [ids.to_bytes(task)], [], changes=changes)
    with pytest.raises(NotAllowed, match="without a claim"):
        desk.edge.retry(retry, ANA, 10, NOW.wall_ms, desk.core.tasks)


def test_what_no_task_names_any_more_is_let_go(desk: Desk) -> None:
    desk.store(desk.judge(submit(objects=[have(TREE)]), ANA))
    (task,) = desk.core.tasks
    desk.store(CancelTasks(9, "ana", "", [task], -1))
    # The newest spec stays for the numbering: another one takes its place.
    other = {"kind": "command", "argv": ["true"]}
    desk.store(desk.judge(submit(submit_key=b"o" * 16, specs=[other], spec_objects=[]), ANA))
    doomed, _ = desk.journal.pruning.by_id([ids.to_bytes(task)], "")
    desk.journal.pruning.remove(doomed, "ana", NOW.wall_ms)
    assert [False, False] == desk.journal.objects.are_held([FILE.digest, TREE.digest])


def results(*objects: bytes) -> m.Results:
    n = len(objects)
    return m.Results(
        [b"t" * 16] * n, [1] * n, [b""] * n, [m.Outcome.SUCCEEDED] * n, [b"value"] * n, [b""] * n,
        [1] * n, list(objects),
    )  # fmt: skip


def test_a_result_is_taken_with_the_objects_that_its_node_has() -> None:
    said = results(have(FILE, "key-of-n1"), b"")
    assert "" == check_results(Signatures(SECRET), said, "key-of-n1", NOW.wall_ms)
    assert [claims.join_objects([FILE]), b""] == said.objects
    assert [m.Outcome.SUCCEEDED] * 2 == said.outcomes


def test_a_success_whose_objects_its_node_has_not_is_a_failure() -> None:
    said = results(have(FILE, "key-of-n2"), have(FILE, "key-of-n1"))
    trouble = check_results(Signatures(SECRET), said, "key-of-n1", NOW.wall_ms)
    assert "not good for this key" in trouble
    assert [m.Outcome.FAILED, m.Outcome.SUCCEEDED] == said.outcomes
    assert "output_missing" == unpack_document(said.details[0])["code"]


def test_a_right_that_the_scheduler_signs_is_to_read_and_for_one_key() -> None:
    blob = Signatures(SECRET).entitle(claims.join_objects([FILE]), "key-of-n1", 5, for_ms=10)
    assert Claim(*FILE, 15) == claims.check(SECRET, Verb.READ, "key-of-n1", blob, 15)
