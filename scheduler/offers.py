"""What offers carry besides the grant: specs and arguments, kept near or read from the journal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Protocol

from ..protocol.codec import pack_document, unpack_document
from ..protocol.ids import to_bytes
from ..protocol.messages import Offer
from .records import Commit, Granted, Offering
from .task import NOT_RAISED

ARGS_BYTES_MAX = 16 * 1024 * 1024
SPECS_BYTES_MAX = 8 * 1024 * 1024
ENTRY_OVERHEAD_BYTES = 150
OFFER_BYTES_MAX = 3_000_000
OFFER_GRANTS_MAX = 5_000
GRANT_OVERHEAD_BYTES = 200


class Stored(Protocol):
    """Where specs and arguments are read that are not near."""

    def spec_bodies(self, spec_ids: Sequence[int], /) -> dict[int, bytes]: ...
    def args(self, task_ids: Sequence[int], /) -> dict[int, bytes]: ...


class Payloads:
    """Bounded memories of arguments and specs.

    Arguments of new tasks are kept while there is room, not instead of older ones: the oldest are
    the next to be offered. They leave when offered or ended.
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._args: dict[int, bytes] = {}
        self._args_bytes = 0
        self._specs: OrderedDict[int, bytes] = OrderedDict()
        self._specs_bytes = 0

    def keep(self, commit: Commit) -> None:
        """Take over what was stored in a turn, and let go of tasks that ended."""
        for spec_id, body in commit.specs:
            self._keep_spec(spec_id, body)
        if self._args_bytes < ARGS_BYTES_MAX:
            for row in commit.tasks:
                self._args[row.id] = row.args
                self._args_bytes += len(row.args) + ENTRY_OVERHEAD_BYTES
                if self._args_bytes >= ARGS_BYTES_MAX:
                    break
        for result in commit.results:
            self._take(result.id)

    def offers(self, offering: Offering) -> Iterator[Offer]:
        """Make the frames of one offering; all but the last carry the revision before it."""
        grants = offering.grants
        args = self._args_of(grants)
        specs = self._specs_of(grants)
        parts = list(_split(grants, args, specs))
        for number, part in enumerate(parts, start=1):
            rev = offering.rev if number == len(parts) else offering.rev - 1
            yield _offer(offering, rev, part, args, specs)

    def _args_of(self, grants: list[Granted]) -> dict[int, bytes]:
        near = {grant.task: self._take(grant.task) for grant in grants}
        missing = [task for task, blob in near.items() if blob is None]
        stored = self._stored.args(missing) if missing else {}
        return {
            task: stored.get(task, b"") if blob is None else blob for task, blob in near.items()
        }

    def _take(self, task: int) -> bytes | None:
        blob = self._args.pop(task, None)
        if blob is not None:
            self._args_bytes -= len(blob) + ENTRY_OVERHEAD_BYTES
        return blob

    def _specs_of(self, grants: list[Granted]) -> dict[int, bytes]:
        wanted = dict.fromkeys(grant.spec_id for grant in grants)
        missing = [spec_id for spec_id in wanted if spec_id not in self._specs]
        loaded = self._stored.spec_bodies(missing) if missing else {}
        bodies = {
            spec_id: loaded[spec_id] if spec_id in loaded else self._specs[spec_id]
            for spec_id in wanted
        }
        for spec_id, body in loaded.items():
            self._keep_spec(spec_id, body)
        return bodies

    def _keep_spec(self, spec_id: int, body: bytes) -> None:
        self._specs[spec_id] = body
        self._specs_bytes += len(body) + ENTRY_OVERHEAD_BYTES
        while self._specs_bytes > SPECS_BYTES_MAX:
            _, oldest = self._specs.popitem(last=False)
            self._specs_bytes -= len(oldest) + ENTRY_OVERHEAD_BYTES


def _split(
    grants: list[Granted], args: dict[int, bytes], specs: dict[int, bytes]
) -> Iterator[list[Granted]]:
    """Cut grants into frames by their size; a spec counts in each frame that names it."""
    part: list[Granted] = []
    named: set[int] = set()
    size = 0
    for grant in grants:
        more = len(args[grant.task]) + GRANT_OVERHEAD_BYTES
        if grant.spec_id not in named or grant.raised != NOT_RAISED:
            more += len(specs[grant.spec_id])
        if part and (size + more > OFFER_BYTES_MAX or len(part) >= OFFER_GRANTS_MAX):
            yield part
            part, named, size = [], set(), 0
            more = len(args[grant.task]) + GRANT_OVERHEAD_BYTES + len(specs[grant.spec_id])
        part.append(grant)
        named.add(grant.spec_id)
        size += more
    if part:
        yield part


def _offer(
    offering: Offering,
    rev: int,
    grants: list[Granted],
    args: dict[int, bytes],
    specs: dict[int, bytes],
) -> Offer:
    index_of: dict[tuple[int, tuple[int, int]], int] = {}
    owners: list[str] = []
    for grant in grants:
        asked = grant.spec_id, grant.raised
        if asked not in index_of:
            index_of[asked] = len(index_of)
            owners.append(grant.owner)
    return Offer(
        incarnation=offering.incarnation,
        rev=rev,
        specs=[_asking(specs[spec_id], raised) for spec_id, raised in index_of],
        owners=owners,
        spec_index=[index_of[grant.spec_id, grant.raised] for grant in grants],
        tasks=[to_bytes(grant.task) for grant in grants],
        attempts=[grant.attempt for grant in grants],
        tokens=[grant.token for grant in grants],
        args=[args[grant.task] for grant in grants],
        gpus=[list(grant.gpus) for grant in grants],
        batches=[to_bytes(grant.batch) if grant.batch else b"" for grant in grants],
        prefetched=[grant.prefetched for grant in grants],
    )


def _asking(body: bytes, raised: tuple[int, int]) -> bytes:
    """Write a spec that asks for so much (memory, VRAM) after its task ran out of it."""
    memory_bytes, vram_bytes = raised
    if not (memory_bytes or vram_bytes):
        return body
    document = unpack_document(body)
    if memory_bytes:
        document["memory_bytes"] = memory_bytes
    if vram_bytes:
        document["vram_bytes"] = vram_bytes
        document.pop("gpu_milli", None)
    return pack_document(document)
