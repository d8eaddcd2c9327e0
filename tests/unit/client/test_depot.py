"""Which claims does a client keep and renew, and which does a submission carry?"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from remuda.client import depot as depots
from remuda.client.depot import Depot
from remuda.client.freight import ready
from remuda.client.options import to_spec
from remuda.client.shipment import Shipment, name_objects, renew_claims
from remuda.protocol import claims
from remuda.protocol import messages as m
from remuda.protocol.claims import Claim, Verb
from remuda.protocol.errors import Conflict, Invalid, NotFound, ValueTooLarge
from remuda.protocol.spec import FILES_MAX, to_document
from remuda.protocol.trees import unpack_tree
from remuda.transfer import Source
from remuda.worker.files import File

SECRET = bytes(32)
HOUR_MS = 3_600_000


class FakeStore:
    """Stands in for the movers and the store behind them; claims last `lasts_ms`."""

    def __init__(self) -> None:
        self.objects: dict[bytes, bytes] = {}
        self.lasts_ms = 6 * HOUR_MS
        self.visits: list[str] = []

    def work(self, work: Callable[[Any], Any]) -> Any:
        return work(self)

    def claim(self, digest: bytes) -> bytes:
        if digest not in self.objects:
            return b""
        ends_ms = time.time_ns() // 1_000_000 + self.lasts_ms
        size = len(self.objects[digest])
        return claims.sign(SECRET, Verb.HAVE, "", Claim(digest, size, ends_ms))

    def put(self, sources: Iterable[Source], _on_progress: object) -> list[bytes]:
        self.visits.append("put")
        found = list(sources)
        for source in found:
            content = source.content
            blob = content.read_bytes() if isinstance(content, Path) else bytes(content)
            assert source.digest == hashlib.sha256(blob).digest()
            self.objects[source.digest] = blob
        return [self.claim(source.digest) for source in found]

    def check(self, digests: Sequence[bytes], _proofs: Sequence[bytes]) -> list[bytes]:
        self.visits.append("check")
        return [self.claim(digest) for digest in digests]


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def depot(store: FakeStore) -> Depot:
    class Link:
        """Nobody is asked where the store is."""

    link: Any = Link()
    made = Depot(link)
    made._movers = store  # type: ignore[assignment]
    return made


def source(blob: bytes) -> Source:
    return Source(blob, hashlib.sha256(blob).digest(), len(blob))


def digests_in(blob: bytes) -> list[bytes]:
    return [claims.read(each).digest for each in claims.split(blob)]


def submission(*specs: dict[str, Any], count: int = 1) -> m.Submit:
    return m.Submit(b"k" * 16, b"", list(specs), [0] * count, [b""] * count)


def test_what_was_put_is_not_put_again_while_its_claim_is_good(
    depot: Depot, store: FakeStore
) -> None:
    for _ in range(3):
        depot.put([source(b"a"), source(b"b")])
    assert ["put"] == store.visits
    assert [source(b"a").digest] == digests_in(depot.claims_of([source(b"a").digest]))


def test_a_claim_that_ends_soon_is_renewed(depot: Depot, store: FakeStore) -> None:
    store.lasts_ms = depots.CLAIM_LEFT_MS_MIN - 1000
    depot.put([source(b"a")])
    store.lasts_ms = 6 * HOUR_MS
    message = submission({"kind": "command", "argv": ["x"]})
    name_objects(message, depot, [[source(b"a").digest]])
    assert ["put", "check"] == store.visits
    store.lasts_ms = 7 * HOUR_MS
    before = list(message.objects)
    depot._claims.clear()
    renew_claims(message, depot)
    assert digests_in(before[0]) == digests_in(message.objects[0])
    assert before != message.objects


def test_what_is_gone_from_the_store_is_said(depot: Depot, store: FakeStore) -> None:
    depot.put([source(b"a")])
    store.objects.clear()
    depot._claims.clear()
    with pytest.raises(NotFound, match="submit again"):
        depot.claims_of([source(b"a").digest])


def test_a_call_carries_the_claims_of_its_files_and_large_values(
    depot: Depot, store: FakeStore, tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("hello")
    with Shipment(depot) as shipment:
        call = shipment.call({}, (File(tmp_path / "in.txt"), "x" * 70_000), {})
        plain = shipment.call({}, (1,), {})
        shipment.send()
    message = submission({"kind": "function", "target": "m:f"}, count=2)
    name_objects(message, depot, [call.digests, plain.digests])
    assert [2, 0] == [len(digests_in(blob)) for blob in message.objects]
    assert hashlib.sha256(b"hello").digest() in digests_in(message.objects[0])
    assert [] == message.spec_objects


def test_large_values_wait_in_files_that_go_whatever_happens(
    depot: Depot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    waiting = []

    def interrupt(_sources: object) -> None:
        waiting.extend(tmp_path.iterdir())
        raise KeyboardInterrupt

    depot.put = interrupt  # type: ignore[method-assign]
    with Shipment(depot) as shipment:
        shipment.call({}, (b"x" * (2 << 20),), {})
        with pytest.raises(KeyboardInterrupt):
            shipment.send()
    assert 1 == len(waiting)
    assert [] == list(tmp_path.iterdir())


def test_a_call_that_names_too_many_objects_is_refused(depot: Depot, tmp_path: Path) -> None:
    files, most = [], claims.OBJECTS_PER_TASK_MAX
    for number in range(most + 1):
        (tmp_path / str(number)).write_text(str(number))
        files.append(File(tmp_path / str(number)))
    with Shipment(depot) as shipment, pytest.raises(ValueTooLarge, match=f"name {most + 1} files"):
        shipment.call({}, (files,), {})


@pytest.mark.parametrize("name", ["nowhere", ".", "/dev/null"])
def test_what_is_no_file_is_refused_before_anything_is_sent(
    depot: Depot, store: FakeStore, tmp_path: Path, name: str
) -> None:
    (tmp_path / "x").mkdir()
    with Shipment(depot) as shipment, pytest.raises((Invalid, NotFound, Conflict), match="File: "):
        shipment.call({}, (File(tmp_path / "x" / name, name="in"),), {})
    assert [] == store.visits


def test_options_that_bring_something_along_become_objects_that_the_spec_names(
    depot: Depot, store: FakeStore, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a").write_text("a")
    (tmp_path / "tool").write_text("#!/bin/sh")
    (tmp_path / "tool").chmod(0o755)
    given = {
        "files": {"d": tmp_path / "data", "bin/tool": tmp_path / "tool"},
        "stdin": b"x" * 70_000,
        "outputs": "*.png",
    }
    made = to_spec("command", ready(given, depot), argv=["x"])
    assert ["tree", "exec"] == [made.files["d"].kind, made.files["bin/tool"].kind]
    assert ["a"] == [entry.name for entry in unpack_tree(store.objects[made.files["d"].digest])]
    assert (b"", b"x" * 70_000) == (made.stdin, store.objects[made.stdin_object])
    message = submission(to_document(made))
    name_objects(message, depot, [[]])
    assert set(made.digests()) == set(digests_in(message.spec_objects[0]))


@pytest.mark.parametrize(
    "given",
    [
        {"files": ["a/in.png", "b/in.png"]},
        {"files": {"../x": "a"}},
        {"files": [f"f{number}" for number in range(FILES_MAX + 1)]},
        {"files": 7},
        {"outputs": ["/etc/passwd"]},
        {"outputs": ["../x"]},
        {"project": 7},
        {"keep_log": "yes"},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused_with_their_name(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(Invalid, match=f"^{name}: "):
        to_spec("command", given, argv=["x"])
