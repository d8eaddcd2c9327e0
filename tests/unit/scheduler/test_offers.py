"""Do offers carry what each grant needs, in frames that fit and revisions that tell no lie?"""

from collections.abc import Sequence

import pytest

from remuda.protocol.claims import OBJECT_BYTES, Object, join_objects
from remuda.protocol.ids import to_bytes
from remuda.scheduler import offers
from remuda.scheduler.offers import Payloads
from remuda.scheduler.records import (
    Commit,
    Granted,
    Offering,
    Payload,
    SpecRow,
    TaskResult,
    TaskRow,
)


class Disk:
    """What was stored, and which of it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def specs(self, spec_ids: Sequence[int]) -> dict[int, SpecRow]:
        self.asked += spec_ids
        return {spec_id: SpecRow(spec_id, b"spec %d" % spec_id) for spec_id in spec_ids}

    def payloads(self, task_ids: Sequence[int]) -> dict[int, Payload]:
        self.asked += task_ids
        return {task_id: Payload(b"args %d" % task_id) for task_id in task_ids}


def entitle(node: str, objects: bytes) -> bytes:
    return f"{node} may read {len(objects) // OBJECT_BYTES}".encode()


@pytest.fixture
def disk() -> Disk:
    return Disk()


def offering(count: int, specs: int = 1, first: int = 100) -> Offering:
    grants = [
        Granted(first + n, 0, 1 + n % specs, "alice", 1, b"t" * 16, (), False) for n in range(count)
    ]
    return Offering("n1", b"i" * 16, 9, grants)


def stored(first: int, count: int, args: bytes = b"near") -> Commit:
    rows = [TaskRow(first + n, n, 0, 1, "alice", "", b"", args, "", 0, 0) for n in range(count)]
    return Commit(specs=[SpecRow(1, b"near spec")], tasks=rows)


def test_what_was_just_stored_is_not_read_again(disk: Disk) -> None:
    payloads = Payloads(disk, entitle)
    payloads.keep(stored(100, 3))
    (offer,) = payloads.offers(offering(3))
    assert ([b"near"] * 3, [b"near spec"], []) == (offer.args, offer.specs, disk.asked)


def test_what_is_not_near_is_read(disk: Disk) -> None:
    (offer,) = Payloads(disk, entitle).offers(offering(2, specs=2))
    assert ([b"args 100", b"args 101"], [b"spec 1", b"spec 2"]) == (offer.args, offer.specs)


def test_an_offer_made_again_reads_its_arguments(disk: Disk) -> None:
    payloads = Payloads(disk, entitle)
    payloads.keep(stored(100, 1))
    list(payloads.offers(offering(1)))
    (offer,) = payloads.offers(offering(1))
    assert [b"args 100"] == offer.args


def test_the_oldest_arguments_stay_when_memory_is_full(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "ARGS_BYTES_MAX", 300)
    payloads = Payloads(disk, entitle)
    payloads.keep(stored(100, 5))
    (offer,) = payloads.offers(offering(5))
    assert [b"near", b"near", b"args 102", b"args 103", b"args 104"] == offer.args


def test_ended_tasks_make_room(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "ARGS_BYTES_MAX", 200)
    payloads = Payloads(disk, entitle)
    payloads.keep(stored(100, 2))
    payloads.keep(Commit(results=[TaskResult(n, 7, "", b"", b"", 1) for n in (100, 101)]))
    payloads.keep(stored(200, 1))
    (offer,) = payloads.offers(offering(1, first=200))
    assert [b"near"] == offer.args


def test_a_large_offering_is_split_and_only_its_last_frame_states_its_revision(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "OFFER_BYTES_MAX", 1_000)
    payloads = Payloads(disk, entitle)
    payloads.keep(stored(100, 5, args=b"x" * 200))
    frames = list(payloads.offers(offering(5)))
    assert [8, 8, 9] == [frame.rev for frame in frames]
    assert [to_bytes(100 + n) for n in range(5)] == [t for frame in frames for t in frame.tasks]


def test_each_frame_carries_the_specs_that_it_names(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "OFFER_GRANTS_MAX", 2)
    frames = list(Payloads(disk, entitle).offers(offering(4, specs=4)))
    assert [[b"spec 1", b"spec 2"], [b"spec 3", b"spec 4"]] == [frame.specs for frame in frames]
    assert [[0, 1], [0, 1]] == [frame.spec_index for frame in frames]


def test_an_offer_entitles_its_node_to_what_tasks_and_specs_name(disk: Disk) -> None:
    payloads = Payloads(disk, entitle)
    two = join_objects([Object(b"a" * 32, 1), Object(b"b" * 32, 2)])
    row = TaskRow(100, 1, 0, 1, "alice", "", b"", b"near", "", 0, 0, two)
    payloads.keep(Commit(specs=[SpecRow(1, b"near spec", two[:OBJECT_BYTES])], tasks=[row]))
    (offer,) = payloads.offers(offering(2))
    assert [b"n1 may read 2", b""] == offer.inputs
    assert [b"n1 may read 1"] == offer.spec_inputs


def test_an_offer_without_objects_says_nothing_of_them(disk: Disk) -> None:
    (offer,) = Payloads(disk, entitle).offers(offering(2))
    assert ([], []) == (offer.inputs, offer.spec_inputs)
