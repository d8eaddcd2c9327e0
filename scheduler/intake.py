"""What becomes of a control message: an event for the core, an answer at once, or one later."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

from ..protocol import ids
from ..protocol import messages as m
from ..protocol.codec import decode, encode
from ..protocol.errors import (
    Invalid,
    MalformedFrame,
    NotAllowed,
    NotFound,
    QueueFull,
    RemudaError,
    UnknownMessage,
)
from . import key_verbs
from .access import Principal, Role, check_control
from .edge import Edge, Later, check_session
from .events import CancelTasks, Event, JoinNode, NodeRevoked, Now
from .outputs import Outputs, ToFetch
from .queries import answer
from .view import View, may_see, owner_of, read_id
from .watch import SESSION_BYTES, Waiting, wait_until
from .wire import Request, Wire
from .zap import Keys

ANSWERS_WAITING_MAX = 16_384
DEFERRED_MAX = 4_096
CANCELLED_MAX = 20_000
CANCEL_IDS_MAX = 2_000_000
INCARNATION_BYTES_MAX = 64
BOOT_ID_CHARS_MAX = 128


class Intake:
    """Serves the control channel; `take` returns what the core must hear."""

    def __init__(
        self,
        view: View,
        edge: Edge,
        keys: Keys,
        wire: Wire,
        outputs: Outputs,
        on_trouble: Callable[[str, str], None],
    ) -> None:
        self._view = view
        self._edge = edge
        self._keys = keys
        self._wire = wire
        self._outputs = outputs
        self._on_trouble = on_trouble
        self._epoch = view.core.epoch
        self._waiting: OrderedDict[int, list[bytes]] = OrderedDict()
        self._deferred: deque[Request] = deque()
        self._last_handle = 0
        self._refused: list[int] = []
        self._handlers: dict[type[m.Message], Callable[[Any, Principal, int, Now], Any]] = {
            m.Submit: self._submit,
            m.Retry: self._retry,
            m.Cancel: self._cancel,
            m.Watch: self._watch,
            m.Logs: self._logs,
            m.AllowKey: self._allow_key,
            m.RevokeKey: self._revoke_key,
            m.Register: self._register,
        }

    @property
    def has_deferred(self) -> bool:
        """Tell whether frames wait for the next turn."""
        return bool(self._deferred)

    def take(self, requests: list[Request], now: Now) -> list[Event]:
        """Serve what waited since the last turn, then the new requests."""
        if self._deferred:
            requests = [*self._deferred, *requests]
            self._deferred.clear()
        events: list[Event] = []
        for request in requests:
            try:
                event = self._one(request, now)
            except RemudaError as error:
                self._fail(request, error)
                continue
            events += event
        return events

    def reply(self, handle: int, message: m.Message) -> None:
        """Answer a request that was taken in before."""
        envelope = self._waiting.pop(handle, None)
        if isinstance(message, m.Failure):
            self._refused.append(handle)
        if envelope is not None:
            self._send(envelope, message)

    def end_turn(self) -> None:
        """Let the edge forget what the commit has settled."""
        self._edge.end_turn(self._refused)
        self._refused.clear()

    def _one(self, request: Request, now: Now) -> Sequence[Event]:
        principal = request.principal
        if principal is None:
            raise NotAllowed("this key was revoked: ask an admin for a new one")
        try:
            message = decode(request.payload).message
        except (MalformedFrame, UnknownMessage) as error:
            self._on_trouble("malformed", f"{principal.name}: {error}")
            raise
        check_control(type(message), principal)
        handler = self._handlers.get(type(message))
        if handler is None:
            self._send(request.envelope, self._answered(message, principal, now))
            return ()
        handle = self._remember(request.envelope)
        try:
            outcome = handler(message, principal, handle, now)
        except RemudaError:
            self._waiting.pop(handle, None)
            raise
        if outcome is Later.NEXT_TURN:
            self._waiting.pop(handle, None)
            self._defer(request)
            return ()
        if isinstance(outcome, m.Message):
            self.reply(handle, outcome)
            return ()
        if outcome is None:
            return ()
        return outcome if isinstance(outcome, list) else (outcome,)

    def _answered(self, message: m.Message, principal: Principal, now: Now) -> m.Message:
        found = answer(self._view, message, principal, now)
        assert found is not None, f"{type(message).__name__} is allowed but nobody serves it"
        return found

    def _defer(self, request: Request) -> None:
        if len(self._deferred) >= DEFERRED_MAX:
            raise QueueFull("too many repeated frames at once: try again", retry_after_s=1.0)
        self._deferred.append(request)

    def _remember(self, envelope: list[bytes]) -> int:
        self._last_handle += 1
        self._waiting[self._last_handle] = envelope
        if len(self._waiting) > ANSWERS_WAITING_MAX:
            self._waiting.popitem(last=False)  # its asker has long asked again
        return self._last_handle

    def _fail(self, request: Request, error: RemudaError) -> None:
        failure = m.Failure(
            error.code, error.message, error.field, round(error.retry_after_s * 1000)
        )
        self._send(request.envelope, failure)

    def _send(self, envelope: list[bytes], message: m.Message) -> None:
        try:
            frame = encode(message, self._epoch)
        except ValueError:
            too_large = m.Failure("too_large", "the answer exceeds one frame: ask for less")
            frame = encode(too_large, self._epoch)
        self._wire.reply(envelope, frame)

    # --- requests that are more than a question ------------------------------------------------

    def _submit(self, message: m.Submit, principal: Principal, handle: int, now: Now) -> Any:
        self._open_session(message.session, principal, now)
        return self._edge.submit(message, principal, handle, now.wall_ms)

    def _retry(self, message: m.Retry, principal: Principal, handle: int, now: Now) -> Any:
        self._open_session(message.session, principal, now)
        active = self._view.core.tasks
        return self._edge.retry(message, principal, handle, now.wall_ms, active)

    def _open_session(self, session: bytes, principal: Principal, now: Now) -> None:
        check_session(session)
        if session and not self._view.watches.open(session, principal.name, now.mono_ns):
            raise NotAllowed("this session belongs to another key", field="session")

    def _cancel(
        self, message: m.Cancel, principal: Principal, handle: int, _now: Now
    ) -> list[Event]:
        """Make events that each fit one answer; only the first one's verdicts are told."""
        wanted = [read_id(blob, "tasks") for blob in message.tasks]
        for blob in message.batches:
            wanted += self._members(read_id(blob, "batches"), principal)
        wanted = list(dict.fromkeys(wanted))
        live = self._view.core.tasks
        missing = [task for task in wanted if task not in live][:CANCELLED_MAX]
        briefs = self._view.history.briefs(missing) if missing else {}
        ended = frozenset(task for task in missing if task in briefs
                          and may_see(briefs[task].owner, principal))  # fmt: skip
        mine = [
            task for task in wanted if task not in live or may_see(owner_of(live[task]), principal)
        ]
        if message.batches:
            mine.sort(key=lambda task: task not in live)
        if not mine:
            raise NotFound("there are no such tasks", field="tasks")
        return [
            CancelTasks(
                0 if start else handle,
                principal.name,
                principal.owner_filter,
                mine[start : start + CANCELLED_MAX],
                max(message.grace_ms, -1),
                ended,
            )
            for start in range(0, len(mine), CANCELLED_MAX)
        ]

    def _members(self, batch: int, principal: Principal) -> list[int]:
        rows = self._view.history.batch_rows(batch)
        if not rows or not may_see(rows[0].principal, principal):
            raise NotFound(f"there is no batch {ids.format_id(batch)}", field="batches")
        if sum(row.members for row in rows) > CANCEL_IDS_MAX:
            raise Invalid("batches: cancel this batch in parts, by ranges", field="batches")
        first = [(ids.member(batch, row.offset), row.members) for row in rows]
        return [task for start, count in first for task in range(start, start + count)]

    def _watch(self, message: m.Watch, principal: Principal, handle: int, now: Now) -> None:
        if len(message.session) != SESSION_BYTES:
            raise Invalid(f"session: it has {SESSION_BYTES} bytes", field="session")
        watches = self._view.watches
        if not watches.open(
            message.session, principal.name, now.mono_ns, payloads=principal.sees_payloads
        ):
            raise NotAllowed("this session belongs to another key", field="session")
        wait = Waiting(handle, wait_until(now.mono_ns, message.wait_ms))
        for each in watches.ask(message.session, message.epoch, message.seq, wait, now.mono_ns):
            self.reply(each.handle, each.message)

    def _logs(
        self, message: m.Logs, principal: Principal, handle: int, now: Now
    ) -> m.Message | None:
        asked = self._outputs.ask(self._view, message, principal, handle, now)
        if not isinstance(asked, ToFetch):
            return asked
        frame = encode(asked.message, self._epoch)
        self._wire.pipes.send(asked.node, frame, now.mono_ns)
        return None

    def _allow_key(self, message: m.AllowKey, principal: Principal, _: int, now: Now) -> m.Done:
        return key_verbs.allow(self._view.registry, self._keys, message, principal, now.wall_ms)

    def _revoke_key(
        self, message: m.RevokeKey, principal: Principal, handle: int, now: Now
    ) -> Event | None:
        done, role = key_verbs.revoke(
            self._view.registry, self._keys, message, principal, now.wall_ms
        )
        self.reply(handle, done)
        self._view.watches.forget(message.name)
        if role is not Role.NODE:
            return None
        self._wire.forget_pipe(message.name, bind=False)
        return NodeRevoked(message.name)

    def _register(
        self, message: m.Register, principal: Principal, handle: int, _now: Now
    ) -> JoinNode:
        if not 0 < len(message.incarnation) <= INCARNATION_BYTES_MAX:
            raise Invalid("incarnation: 1 to 64 random bytes", field="incarnation")
        if len(message.boot_id) > BOOT_ID_CHARS_MAX:
            raise Invalid("boot_id: at most 128 characters", field="boot_id")
        return JoinNode(handle, principal.name, message)
