"""What of a submission is let in: known frames answered again, the rest checked and given ids."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import repeat
from typing import Any, Protocol

from ..protocol import ids, spec
from ..protocol.codec import unpack_document
from ..protocol.errors import Conflict, Invalid, NotFound, ResultExpired, ValueTooLarge
from ..protocol.messages import BATCH_MAX, Retry, Submit, Submitted
from .access import Principal
from .adopted import check_copied
from .claimed import Signatures, check_covered, check_submission, marked
from .events import NewSpec, NewTask, SubmitTasks
from .records import Payload, SpecRow, SubmissionRow
from .sizing import Sized, carried_over, sizes
from .spec_check import SpecCheck, check_spec
from .task import TERMINAL, State
from .watch import SESSION_BYTES

KEY_BYTES = 16
ONCE_CHARS_MAX = 256
BATCHES_KNOWN_MAX = 1_024
# Room between the ids of one frame that are no batch: `ID.n` of one never names another.
ID_STRIDE = ids.BATCH_MEMBERS_MAX << 1


class Later(Enum):
    """The verdict on a frame that repeats one of the same turn: look again after the commit."""

    NEXT_TURN = 1


class Memory(Protocol):
    """The part of the journal that the edge asks."""

    def find_submission(self, principal: str, submit_key: bytes) -> SubmissionRow | None: ...
    def find_batch(self, principal: str, batch_key: bytes) -> int | None: ...
    def find_once(self, principal: str, once: str) -> int | None: ...
    def task_ids(self, first_number: int, members: int) -> list[int]: ...
    def batch_rows(self, batch: int) -> list[SubmissionRow]: ...
    def specs(self, spec_ids: Sequence[int]) -> dict[int, SpecRow]: ...
    def payloads(self, task_ids: Sequence[int]) -> dict[int, Payload]: ...
    def briefs(self, task_ids: Sequence[int]) -> dict[int, Any]: ...


@dataclass(slots=True)
class _Batch:
    """An open batch: which stretches of members were sent."""

    id: int
    frames: list[tuple[int, int]]


class Edge:
    """Turns submissions into events; remembers of a turn only what its commit will settle."""

    def __init__(
        self,
        memory: Memory,
        *,
        value_bytes_max: int,
        random_bits: Callable[[int], int],
        signatures: Signatures,
        spec_defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self._memory = memory
        self._value_bytes_max = value_bytes_max
        self._random_bits = random_bits
        self._signatures = signatures
        self._specs = SpecCheck(spec_defaults)
        self._batches: OrderedDict[tuple[str, bytes], _Batch] = OrderedDict()
        self._turn_keys: set[tuple[str, object]] = set()
        self._turn_batches: dict[int, tuple[str, bytes]] = {}

    def go_by(self, value_bytes_max: int, spec_defaults: Mapping[str, Any]) -> None:
        """Judge what is still to come by other bounds and defaults."""
        self._value_bytes_max = value_bytes_max
        self._specs = SpecCheck(spec_defaults)

    def end_turn(self, refused: Sequence[int]) -> None:
        """Forget what the journal knows by now; `refused` are requests that were not stored."""
        for request in refused:
            key = self._turn_batches.get(request)
            if key is not None:
                self._batches.pop(key, None)
        self._turn_keys.clear()
        self._turn_batches.clear()

    def submit(
        self, message: Submit, principal: Principal, request: int, wall_ms: int
    ) -> SubmitTasks | Submitted | Later:
        """Judge one Submit; raises Invalid and its kin."""
        self._check_shape(message)
        owner = principal.name
        if message.once:
            known = [self._memory.find_once(owner, once) for once in message.once]
            if all(known):
                tasks = [ids.to_bytes(task) for task in known if task]
                return Submitted(tasks, count=len(tasks))
        if known_frame := self._answer_known(owner, message.submit_key):
            return known_frame
        keys: list[object] = [message.submit_key, *message.once]
        if not self._turn_keys.isdisjoint((owner, key) for key in keys):
            return Later.NEXT_TURN
        if message.once and any(known):
            raise Conflict(
                "once: some of these keys were used before and some were not: "
                "submit the new ones in a frame of their own",
                field="once",
            )
        specs = [
            self._specs.check(document, f"specs[{index}].")
            for index, document in enumerate(marked(message))
        ]
        _check_entries(message)
        objects, spec_objects = check_submission(
            self._signatures, message, specs, principal.key, wall_ms
        )
        sized = sizes(message, specs)
        batch = self._batch_of(owner, message, request, wall_ms)
        self._turn_keys.update((owner, key) for key in keys)
        return SubmitTasks(
            request=request,
            principal=owner,
            session=message.session,
            submit_key=message.submit_key,
            specs=specs,
            tasks=self._new_tasks(message, objects, sized, batch, wall_ms),
            batch=batch,
            batch_key=message.batch_key,
            offset=message.offset,
            allow_infeasible=message.allow_infeasible,
            spec_objects=spec_objects,
        )

    def retry(
        self, message: Retry, principal: Principal, request: int, wall_ms: int, active: Any
    ) -> SubmitTasks | Submitted | Later:
        """Judge one Retry: copies of ended tasks; `active` holds the ids that have not ended."""
        _check_key(message.submit_key, "submit_key")
        check_session(message.session)
        owner = principal.name
        if known_frame := self._answer_known(owner, message.submit_key):
            return known_frame
        if (owner, message.submit_key) in self._turn_keys:
            return Later.NEXT_TURN
        originals = self._originals(message, principal, active)
        specs, spec_objects, index_of = self._changed_specs(originals, message.changes)
        payloads = self._memory.payloads([brief.id for brief in originals])
        first = self._mint(wall_ms)
        tasks = [
            NewTask(
                first + ID_STRIDE * position,
                index_of[brief.spec_id],
                payload.args,
                "",
                brief.id,
                payload.objects,
                *carried_over(payload, specs[index_of[brief.spec_id]], message.changes),
            )
            for position, brief in enumerate(originals)
            for payload in [payloads.get(brief.id, Payload())]
        ]
        self._turn_keys.add((owner, message.submit_key))
        return SubmitTasks(
            request, owner, message.session, message.submit_key, specs, tasks,
            spec_objects=spec_objects,
        )  # fmt: skip

    def _check_shape(self, message: Submit) -> None:
        _check_key(message.submit_key, "submit_key")
        check_session(message.session)
        count = len(message.args)
        if not 1 <= count <= BATCH_MAX:
            raise Invalid(f"args: found {count} tasks, allowed are 1 to {BATCH_MAX}", field="args")
        indices = message.spec_index
        if not message.specs or min(indices) < 0 or max(indices) >= len(message.specs):
            raise Invalid("spec_index: names a spec that is not there", field="spec_index")
        if len(message.specs) > count:
            raise Invalid("specs: more specs than tasks", field="specs")
        longest = max(map(len, message.args))
        if longest > self._value_bytes_max:
            index = next(i for i, blob in enumerate(message.args) if len(blob) == longest)
            raise ValueTooLarge(
                f"args[{index}]: found {longest} bytes, allowed are {self._value_bytes_max}: "
                "pass a path, or less",
                field=f"args[{index}]",
            )
        if message.batch_key:
            _check_key(message.batch_key, "batch_key")
            if not 0 <= message.offset <= ids.BATCH_MEMBERS_MAX - count:
                raise Invalid(f"offset: {message.offset} is out of range", field="offset")
        elif message.offset:
            raise Invalid("offset: only members of a batch have one", field="offset")
        if message.once:
            _check_once(message, count)

    def _answer_known(self, owner: str, submit_key: bytes) -> Submitted | None:
        row = self._memory.find_submission(owner, submit_key)
        if row is None:
            return None
        if row.batch:
            return Submitted([], ids.to_bytes(row.batch), row.offset, row.members, row.first_number)
        tasks = self._memory.task_ids(row.first_number, row.members)
        if len(tasks) < row.members:
            raise ResultExpired(
                "these tasks were submitted before; they have ended, and what is known of them "
                "was removed",
                field="submit_key",
            )
        return Submitted(
            [ids.to_bytes(task) for task in tasks],
            count=row.members,
            first_number=row.first_number,
        )

    def _mint(self, wall_ms: int) -> int:
        """Make an id with room above it for members or for the other ids of its frame."""
        return ids.new_id(wall_ms, self._random_bits(79))

    def _new_tasks(
        self,
        message: Submit,
        objects: list[bytes],
        sized: list[Sized],
        batch: int,
        wall_ms: int,
    ) -> list[NewTask]:
        if batch:
            first, stride = ids.member(batch, message.offset), 1
        else:
            first, stride = self._mint(wall_ms), ID_STRIDE
        once = message.once or [""] * len(message.args)
        named = objects or repeat(b"", len(message.args))
        rows = zip(message.spec_index, message.args, once, named, sized, strict=True)
        return [
            NewTask(first + stride * position, index, args, key, 0, each, *size)
            for position, (index, args, key, each, size) in enumerate(rows)
        ]

    def _batch_of(self, owner: str, message: Submit, request: int, wall_ms: int) -> int:
        """Find or make the batch of a frame and claim its stretch; raises Conflict on overlap."""
        if not message.batch_key:
            return 0
        key = (owner, message.batch_key)
        batch = self._batches.get(key)
        if batch is None:
            known = self._memory.find_batch(owner, message.batch_key)
            rows = self._memory.batch_rows(known) if known else []
            batch = _Batch(
                known or self._mint(wall_ms), [(row.offset, row.members) for row in rows]
            )
        start, end = message.offset, message.offset + len(message.args)
        for offset, members in batch.frames:
            if start < offset + members and offset < end:
                raise Conflict(
                    f"offset: members {start} to {end - 1} overlap a frame that was stored",
                    field="offset",
                )
        if batch.frames and sum(batch.frames[-1]) == start:  # an endless batch takes no room
            start = batch.frames.pop()[0]
        batch.frames.append((start, end - start))
        self._batches[key] = batch
        self._batches.move_to_end(key)
        self._turn_batches[request] = key
        while len(self._batches) > BATCHES_KNOWN_MAX:
            oldest = next(iter(self._batches))
            if oldest in self._turn_batches.values():
                break  # its frame is not in the journal yet
            del self._batches[oldest]
        return batch.id

    def _originals(self, message: Retry, principal: Principal, active: Any) -> list[Any]:
        wanted = [_id_of(blob) for blob in message.tasks]
        for blob in message.batches:
            rows = self._memory.batch_rows(_id_of(blob))
            if not rows:
                raise NotFound("there is no such batch", field="batches")
            for row in rows:
                wanted += [ids.member(row.batch, row.offset + i) for i in range(row.members)]
            if len(wanted) > BATCH_MAX * 10:
                break
        wanted = list(dict.fromkeys(wanted))
        briefs = self._memory.briefs(wanted)
        found = []
        for task in wanted:
            brief = briefs.get(task)
            if brief is None or (principal.owner_filter and brief.owner != principal.owner_filter):
                raise NotFound(f"there is no task {ids.format_id(task)}", field="tasks")
            if task in active or State(brief.state) not in TERMINAL:
                if message.batches or message.failed_only:
                    continue
                raise Conflict(f"task {brief.number} has not ended: cancel it first", field="tasks")
            if not message.failed_only or brief.state != State.SUCCEEDED:
                found.append(brief)
        if not found:
            raise Conflict("nothing to retry: none of these tasks ended that way", field="tasks")
        if len(found) > BATCH_MAX:
            raise Invalid(
                f"tasks: found {len(found)}, allowed are {BATCH_MAX}: retry them in parts",
                field="tasks",
            )
        return found

    def _changed_specs(
        self, originals: list[Any], changes: dict[str, Any]
    ) -> tuple[list[NewSpec], list[bytes], dict[int, int]]:
        """Return the specs of copies, the objects that they name, and where each spec went."""
        if unknown := sorted(changes.keys() - _SPEC_FIELDS):
            raise Invalid(f"changes.{unknown[0]}: there is no such field", field="changes")
        spec_ids = list(dict.fromkeys(brief.spec_id for brief in originals))
        stored = self._memory.specs(spec_ids)
        documents = {spec_id: unpack_document(stored[spec_id].body) for spec_id in spec_ids}
        for brief in originals:
            check_copied(documents[brief.spec_id], brief.number)
        specs = [check_spec({**documents[spec_id], **changes}, "changes.") for spec_id in spec_ids]
        objects = [stored[spec_id].objects for spec_id in spec_ids]
        for new, known in zip(specs, objects, strict=True):
            check_covered(new, known, "changes")
        return specs, objects, {spec_id: index for index, spec_id in enumerate(spec_ids)}


_SPEC_FIELDS = frozenset(spec.TaskSpec.__slots__)


def _check_key(key: bytes, field: str) -> None:
    if len(key) != KEY_BYTES:
        raise Invalid(f"{field}: found {len(key)} bytes, it has {KEY_BYTES}", field=field)


def check_session(session: bytes) -> None:
    """Raise Invalid unless a session is empty or an id of its own length."""
    if len(session) not in (0, SESSION_BYTES):
        raise Invalid(
            f"session: found {len(session)} bytes, it has {SESSION_BYTES}", field="session"
        )


def _check_entries(message: Submit) -> None:
    """Raise Invalid for an entry that cannot stand in a command; the specs were checked."""
    with_entries = {index for index, each in enumerate(message.specs) if each.get("each")}
    if not with_entries:
        return
    for position, index in enumerate(message.spec_index):
        if index in with_entries:
            try:
                spec.check_entry(message.args[position])
            except ValueError as error:
                field = f"args[{position}]"
                raise Invalid(f"{field}: {error}", field=field) from error


def _check_once(message: Submit, count: int) -> None:
    if message.batch_key:
        raise Invalid("once: not for members of a batch", field="once")
    if len(message.once) != count:
        raise Invalid(f"once: found {len(message.once)} keys for {count} tasks", field="once")
    if not any(message.once):
        message.once = []
        return
    if not all(0 < len(once) <= ONCE_CHARS_MAX for once in message.once):
        raise Invalid(
            f"once: each task of a frame has a key of 1 to {ONCE_CHARS_MAX} characters, or none",
            field="once",
        )
    if len(set(message.once)) != count:
        raise Invalid("once: a key is there twice", field="once")


def _id_of(blob: bytes) -> int:
    try:
        return ids.from_bytes(blob)
    except ValueError as error:
        raise Invalid(f"tasks: {error}", field="tasks") from error
