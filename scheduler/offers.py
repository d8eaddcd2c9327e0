"""What offers carry besides the grant: specs and arguments, kept near or read from the journal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ..protocol import asks
from ..protocol.claims import CLAIM_BYTES, OBJECT_BYTES
from ..protocol.ids import to_bytes
from ..protocol.messages import Offer
from .records import Commit, Granted, Offering, Payload, SpecRow

ARGS_BYTES_MAX = 16 * 1024 * 1024
SPECS_BYTES_MAX = 8 * 1024 * 1024
ENTRY_OVERHEAD_BYTES = 150
OFFER_BYTES_MAX = 3_000_000
OFFER_GRANTS_MAX = 5_000
GRANT_OVERHEAD_BYTES = 200


class Stored(Protocol):
    """Where specs and arguments are read that are not near."""

    def specs(self, spec_ids: Sequence[int], /) -> dict[int, SpecRow]: ...
    def payloads(self, task_ids: Sequence[int], /) -> dict[int, Payload]: ...


Entitle = Callable[[str, bytes], bytes]
"""Signs for a node, by name, the right to read objects (see `claims.join_objects`)."""


class Payloads:
    """Bounded memories of arguments and specs.

    Arguments of new tasks are kept while there is room, not instead of older ones: the oldest are
    the next to be offered. They leave when offered or ended.
    """

    def __init__(self, stored: Stored, entitle: Entitle) -> None:
        self._stored = stored
        self._entitle = entitle
        self._args: dict[int, Payload] = {}
        self._args_bytes = 0
        self._specs: OrderedDict[int, SpecRow] = OrderedDict()
        self._specs_bytes = 0

    def keep(self, commit: Commit) -> None:
        """Take over what was stored in a turn, and let go of tasks that ended."""
        for spec in commit.specs:
            self._keep_spec(spec)
        if self._args_bytes < ARGS_BYTES_MAX:
            for row in commit.tasks:
                payload = self._args[row.id] = Payload(row.args, row.objects)
                self._args_bytes += _size(payload)
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
            offer = _offer(offering, rev, part, args, specs)
            self._add_inputs(offer, offering.node, part, args, specs)
            yield offer

    def _add_inputs(
        self,
        offer: Offer,
        node: str,
        grants: list[Granted],
        args: dict[int, Payload],
        specs: dict[int, SpecRow],
    ) -> None:
        """Let the node read what the offered tasks need."""
        of_tasks = [args[grant.task].objects for grant in grants]
        if any(of_tasks):
            offer.inputs = [self._entitle(node, each) if each else b"" for each in of_tasks]
        of_specs = [specs[spec_id].objects for spec_id, _ in _asked(grants)]
        if any(of_specs):
            offer.spec_inputs = [self._entitle(node, each) if each else b"" for each in of_specs]

    def _args_of(self, grants: list[Granted]) -> dict[int, Payload]:
        near = {grant.task: self._take(grant.task) for grant in grants}
        missing = [task for task, payload in near.items() if payload is None]
        stored = self._stored.payloads(missing) if missing else {}
        return {
            task: stored.get(task, _NOTHING) if payload is None else payload
            for task, payload in near.items()
        }

    def _take(self, task: int) -> Payload | None:
        payload = self._args.pop(task, None)
        if payload is not None:
            self._args_bytes -= _size(payload)
        return payload

    def _specs_of(self, grants: list[Granted]) -> dict[int, SpecRow]:
        wanted = dict.fromkeys(grant.spec_id for grant in grants)
        missing = [spec_id for spec_id in wanted if spec_id not in self._specs]
        loaded = self._stored.specs(missing) if missing else {}
        found = {
            spec_id: loaded[spec_id] if spec_id in loaded else self._specs[spec_id]
            for spec_id in wanted
        }
        for spec in loaded.values():
            self._keep_spec(spec)
        return found

    def _keep_spec(self, spec: SpecRow) -> None:
        self._specs[spec.spec_id] = spec
        self._specs_bytes += _spec_size(spec)
        while self._specs_bytes > SPECS_BYTES_MAX:
            _, oldest = self._specs.popitem(last=False)
            self._specs_bytes -= _spec_size(oldest)


_NOTHING = Payload()


def _size(payload: Payload) -> int:
    return len(payload.args) + len(payload.objects) + ENTRY_OVERHEAD_BYTES


def _spec_size(spec: SpecRow) -> int:
    return len(spec.body) + len(spec.objects) + ENTRY_OVERHEAD_BYTES


def _asked(grants: list[Granted]) -> dict[tuple[int, bytes], int]:
    """Number the specs of an offer: one for each that asks for other resources."""
    index_of: dict[tuple[int, bytes], int] = {}
    for grant in grants:
        index_of.setdefault((grant.spec_id, grant.asked), len(index_of))
    return index_of


def _claims_bytes(objects: bytes) -> int:
    return len(objects) // OBJECT_BYTES * CLAIM_BYTES


def _split(
    grants: list[Granted], args: dict[int, Payload], specs: dict[int, SpecRow]
) -> Iterator[list[Granted]]:
    """Cut grants into frames by their size; a spec counts in each frame that names it."""
    part: list[Granted] = []
    named: set[int] = set()
    size = 0
    for grant in grants:
        payload, spec = args[grant.task], specs[grant.spec_id]
        own = len(payload.args) + _claims_bytes(payload.objects) + GRANT_OVERHEAD_BYTES
        shared = len(spec.body) + _claims_bytes(spec.objects)
        is_new = grant.spec_id not in named or grant.asked != asks.AS_ASKED
        more = own + shared if is_new else own
        if part and (size + more > OFFER_BYTES_MAX or len(part) >= OFFER_GRANTS_MAX):
            yield part
            part, named, size = [], set(), 0
            more = own + shared
        part.append(grant)
        named.add(grant.spec_id)
        size += more
    if part:
        yield part


def _offer(
    offering: Offering,
    rev: int,
    grants: list[Granted],
    args: dict[int, Payload],
    specs: dict[int, SpecRow],
) -> Offer:
    index_of = _asked(grants)
    owner_of = {grant.spec_id: grant.owner for grant in grants}
    return Offer(
        incarnation=offering.incarnation,
        rev=rev,
        specs=[asks.apply(specs[spec_id].body, asked) for spec_id, asked in index_of],
        owners=[owner_of[spec_id] for spec_id, _ in index_of],
        spec_index=[index_of[grant.spec_id, grant.asked] for grant in grants],
        tasks=[to_bytes(grant.task) for grant in grants],
        attempts=[grant.attempt for grant in grants],
        tokens=[grant.token for grant in grants],
        args=[args[grant.task].args for grant in grants],
        gpus=[list(grant.gpus) for grant in grants],
        batches=[to_bytes(grant.batch) if grant.batch else b"" for grant in grants],
        prefetched=[grant.prefetched for grant in grants],
    )
