"""What requests do that are more than questions: events for the core, keys, waits, output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..protocol import ids
from ..protocol import messages as m
from ..protocol.codec import encode
from ..protocol.errors import Invalid, NotAllowed, NotFound
from . import config_verbs, enrolling, key_verbs
from .access import Principal, Role
from .edge import Edge, Later, check_session
from .events import CancelTasks, Event, JoinNode, NodeRevoked, Now, SubmitTasks
from .feed_rows import read_wanted
from .node_verbs import HandlerVerb, NodeVerb, handler_event, node_event
from .outputs import Outputs, ToFetch
from .prune_verb import prune
from .reach import Reach
from .recovery_verbs import decide
from .view import View, may_see, owner_of, read_id
from .watch import SESSION_BYTES, Waiting, wait_until
from .wire import Wire
from .zap import Keys

CANCELLED_MAX = 20_000
CANCEL_IDS_MAX = 2_000_000
INCARNATION_BYTES_MAX = 64
BOOT_ID_CHARS_MAX = 128


class Outcome(NamedTuple):
    """What a verb led to: answers by handle, and what the core must hear."""

    answers: Sequence[tuple[int, m.Message]] = ()
    events: Sequence[Event] = ()


class Verbs:
    """One method for each request that changes something, waits, or asks a node."""

    def __init__(
        self,
        view: View,
        edge: Edge,
        keys: Keys,
        wire: Wire,
        outputs: Outputs,
        reach: Reach,
    ) -> None:
        self._view = view
        self._edge = edge
        self._keys = keys
        self._wire = wire
        self._outputs = outputs
        self._reach = reach
        self._verbs: dict[
            type[m.Message], Callable[[Any, Principal, int, Now], Outcome | Later]
        ] = {
            m.Submit: self._submit,
            m.Retry: self._retry,
            m.Cancel: self._cancel,
            m.Watch: self._watch,
            m.Events: self._events,
            m.Logs: self._logs,
            m.Prune: lambda message, principal, handle, now: Outcome(
                [(handle, prune(view, message, principal, now))]
            ),
            m.AskTask: self._ask_task,
            m.AllowKey: self._allow_key,
            m.RevokeKey: self._revoke_key,
            m.Invite: lambda message, principal, handle, now: Outcome(
                [(handle, enrolling.invite(view, keys, message, principal, now.wall_ms))]
            ),
            m.Enrol: lambda message, principal, handle, now: Outcome(
                [(handle, enrolling.enrol(view, keys, wire, message, principal, now.wall_ms))]
            ),
            m.ChangeConfig: lambda message, principal, handle, now: _change_config(
                view, message, principal, handle, now
            ),
            m.Register: self._register,
            m.DecideRecovery: lambda message, principal, handle, _now: Outcome(
                events=[decide(view, message, principal, handle)]
            ),
            m.Drain: _node_verb,
            m.Undrain: _node_verb,
            m.DeclareLost: _node_verb,
            m.ForgetNode: _node_verb,
            m.CordonGpu: _node_verb,
            m.UncordonGpu: _node_verb,
            m.SwitchHandler: _handler_verb,
            m.ReloadHandler: _handler_verb,
        }

    def serves(self, kind: type[m.Message]) -> bool:
        return kind in self._verbs

    def serve(
        self, message: m.Message, principal: Principal, handle: int, now: Now
    ) -> Outcome | Later:
        """Serve a request whose answer goes to `handle`; raises RemudaError."""
        return self._verbs[type(message)](message, principal, handle, now)

    def _submit(
        self, message: m.Submit, principal: Principal, handle: int, now: Now
    ) -> Outcome | Later:
        self._open_session(message.session, principal, now)
        return _judged(handle, self._edge.submit(message, principal, handle, now.wall_ms))

    def _retry(
        self, message: m.Retry, principal: Principal, handle: int, now: Now
    ) -> Outcome | Later:
        self._open_session(message.session, principal, now)
        active = self._view.core.tasks
        return _judged(handle, self._edge.retry(message, principal, handle, now.wall_ms, active))

    def _open_session(self, session: bytes, principal: Principal, now: Now) -> None:
        check_session(session)
        if session and not self._view.watches.open(session, principal.name, now.mono_ns):
            raise NotAllowed("this session belongs to another key", field="session")

    def _cancel(self, message: m.Cancel, principal: Principal, handle: int, _now: Now) -> Outcome:
        """Make events that each fit one answer; only the first one's verdicts are told."""
        wanted = [read_id(blob, "tasks") for blob in message.tasks]
        for blob in message.batches:
            wanted += self._members(read_id(blob, "batches"), principal)
        wanted = list(dict.fromkeys(wanted))
        live = self._view.core.tasks
        missing = [task for task in wanted if task not in live][:CANCELLED_MAX]
        briefs = self._view.history.briefs(missing) if missing else {}
        unknown = frozenset(task for task in missing if task not in briefs
                            or not may_see(briefs[task].owner, principal))  # fmt: skip
        mine = [
            task for task in wanted if task not in live or may_see(owner_of(live[task]), principal)
        ]
        if message.batches:
            mine.sort(key=lambda task: task not in live)
        if not mine:
            raise NotFound("there are no such tasks", field="tasks")
        events = [
            CancelTasks(
                0 if start else handle,
                principal.name,
                principal.owner_filter,
                mine[start : start + CANCELLED_MAX],
                max(message.grace_ms, -1),
                unknown,
            )
            for start in range(0, len(mine), CANCELLED_MAX)
        ]
        return Outcome(events=events)

    def _members(self, batch: int, principal: Principal) -> list[int]:
        rows = self._view.history.batch_rows(batch)
        if not rows or not may_see(rows[0].principal, principal):
            raise NotFound(f"there is no batch {ids.format_id(batch)}", field="batches")
        if sum(row.members for row in rows) > CANCEL_IDS_MAX:
            raise Invalid("batches: cancel this batch in parts, by ranges", field="batches")
        first = [(ids.member(batch, row.offset), row.members) for row in rows]
        return [task for start, count in first for task in range(start, start + count)]

    def _watch(self, message: m.Watch, principal: Principal, handle: int, now: Now) -> Outcome:
        if len(message.session) != SESSION_BYTES:
            raise Invalid(f"session: it has {SESSION_BYTES} bytes", field="session")
        watches = self._view.watches
        if not watches.open(
            message.session, principal.name, now.mono_ns, payloads=principal.sees_payloads
        ):
            raise NotAllowed("this session belongs to another key", field="session")
        wait = Waiting(handle, wait_until(now.mono_ns, message.wait_ms))
        told = watches.ask(message.session, message.epoch, message.seq, wait, now.mono_ns)
        return Outcome([(each.handle, each.message) for each in told])

    def _events(self, message: m.Events, principal: Principal, handle: int, now: Now) -> Outcome:
        wanted = read_wanted(message.filters, principal.owner_filter)
        told = self._view.feed.ask(handle, message, principal.name, wanted, now)
        return Outcome([(each.handle, each.message) for each in told])

    def _logs(self, message: m.Logs, principal: Principal, handle: int, now: Now) -> Outcome:
        asked = self._outputs.ask(self._view, message, principal, handle, now)
        if not isinstance(asked, ToFetch):
            return Outcome([(handle, asked)])
        core = self._view.core
        frame = encode(asked.message, core.epoch, core.fleet.nodes[asked.node].protocol)
        self._wire.pipes.send(asked.node, frame, now.mono_ns)
        return Outcome()

    def _ask_task(self, message: m.AskTask, principal: Principal, handle: int, now: Now) -> Outcome:
        asked = self._reach.ask(self._view, message, principal, handle, now)
        return Outcome(events=[] if asked is None else [asked])

    def _allow_key(
        self, message: m.AllowKey, principal: Principal, handle: int, now: Now
    ) -> Outcome:
        done = key_verbs.allow(self._view.registry, self._keys, message, principal, now.wall_ms)
        return Outcome([(handle, done)])

    def _revoke_key(
        self, message: m.RevokeKey, principal: Principal, handle: int, now: Now
    ) -> Outcome:
        done, role = key_verbs.revoke(
            self._view.registry, self._keys, message, principal, now.wall_ms
        )
        self._view.watches.forget(message.name)
        self._view.feed.forget(message.name)
        if role is not Role.NODE:
            return Outcome([(handle, done)])
        self._wire.close_pipes([message.name], used_only=False)
        return Outcome([(handle, done)], [NodeRevoked(message.name)])

    def _register(
        self, message: m.Register, principal: Principal, handle: int, _now: Now
    ) -> Outcome:
        if not 0 < len(message.incarnation) <= INCARNATION_BYTES_MAX:
            raise Invalid("incarnation: 1 to 64 random bytes", field="incarnation")
        if len(message.boot_id) > BOOT_ID_CHARS_MAX:
            raise Invalid("boot_id: at most 128 characters", field="boot_id")
        return Outcome(events=[JoinNode(handle, principal.name, message)])


def _change_config(
    view: View, message: m.ChangeConfig, principal: Principal, handle: int, now: Now
) -> Outcome | Later:
    if view.configuration is not None and view.configuration.has_news:
        return Later.NEXT_TURN  # what is accepted in this turn is not on disk yet
    made = config_verbs.change(view, message, principal, handle, now)
    if isinstance(made, dict):
        return Outcome([(handle, m.Document(made))])
    return Outcome(events=[made])


def _node_verb(message: NodeVerb, principal: Principal, handle: int, _now: Now) -> Outcome:
    return Outcome(events=[node_event(message, handle, principal.name)])


def _handler_verb(message: HandlerVerb, principal: Principal, handle: int, _now: Now) -> Outcome:
    return Outcome(events=[handler_event(message, handle, principal.name)])


def _judged(handle: int, verdict: SubmitTasks | m.Submitted | Later) -> Outcome | Later:
    if isinstance(verdict, SubmitTasks):
        return Outcome(events=[verdict])
    if isinstance(verdict, m.Submitted):
        return Outcome([(handle, verdict)])
    return verdict
