"""The scheduler's core with its real journal, a clock set by hand and obedient nodes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from remuda.protocol import capabilities as wire
from remuda.protocol import codec, ids, measures
from remuda.protocol import messages as m
from remuda.protocol.spec import TaskSpec, to_document
from remuda.scheduler import invariants
from remuda.scheduler.core import Core, CoreSettings
from remuda.scheduler.events import (
    CancelTasks,
    CordonGpu,
    DrainNode,
    Event,
    JoinNode,
    NewSpec,
    NewTask,
    NodeDeclaredLost,
    NodeForgotten,
    NodeSays,
    Now,
    SubmitTasks,
    UncordonGpu,
    UndrainNode,
)
from remuda.scheduler.journal import Journal
from remuda.scheduler.node_rows import node_row
from remuda.scheduler.offers import Payloads
from remuda.scheduler.records import Change, Effects, Offering
from remuda.scheduler.seats import declared
from remuda.scheduler.task import State, policy_of

from ..invariants import Commits
from . import models

SECOND_NS = 1_000_000_000
GIB = 1 << 30


class SimNode:
    """A node's side of the wire: it takes offers in and reports what the test says happened."""

    def __init__(self, name: str, capabilities: wire.Capabilities) -> None:
        self.name = name
        self.capabilities = capabilities
        self.protocol = codec.VERSION
        self.residents = declared(capabilities)
        self.incarnation = name.encode().ljust(16, b"-")
        self.boot_id = "boot"
        self.rev = 0
        self.seq = 0
        self.held: dict[tuple[int, int], tuple[bytes, m.Phase]] = {}
        self.gpus: dict[int, tuple[str, ...]] = {}
        self.specs: dict[int, bytes] = {}
        self.killed: list[int] = []
        self.acked: list[tuple[int, int]] = []
        self.deaf = False
        self.orders = m.HandlerOrders(b"", b"", {}, {}, {})

    def take(self, message: m.Message) -> None:
        """Take in a message from the scheduler as the real agent would."""
        if self.deaf or getattr(message, "incarnation", self.incarnation) != self.incarnation:
            return
        pairs = list(
            zip(getattr(message, "tasks", []), getattr(message, "attempts", []), strict=True)
        )
        keys = [(ids.from_bytes(task), attempt) for task, attempt in pairs]
        if isinstance(message, m.Offer):
            self.rev = max(self.rev, message.rev)
            rows = zip(keys, message.tokens, message.gpus, message.spec_index, strict=True)
            for key, token, gpus, index in rows:
                self.held.setdefault(key, (token, m.Phase.QUEUED))
                self.gpus[key[0]] = tuple(gpus)
                self.specs[key[0]] = message.specs[index]
        elif isinstance(message, m.Evict):
            self.rev = max(self.rev, message.rev)
            self.let_go(message)
        elif isinstance(message, m.HandlerOrders):
            self.orders = message
        elif isinstance(message, m.Desired):
            self.rev = max(self.rev, message.rev)
            self.keep_only(set(keys))
        elif isinstance(message, m.Kill):
            self.killed += [task for task, _ in keys]
        elif isinstance(message, m.ResultAck):
            self.acked += keys
            for key in keys:
                self.held.pop(key, None)

    def let_go(self, message: m.Evict) -> None:
        models.evict(self, message)

    def begin(self, welcome: m.Registered) -> None:
        """Begin with the scheduler that let us in."""
        self.rev = welcome.rev
        tasks = map(ids.from_bytes, welcome.tasks)
        self.keep_only(set(zip(tasks, welcome.attempts, strict=True)))

    def keep_only(self, living: set[tuple[int, int]]) -> None:
        """End what the scheduler does not want, except results that it must still hear."""
        for key, (_, phase) in list(self.held.items()):
            if key not in living and phase is not m.Phase.ENDED:
                del self.held[key]
                self.killed.append(key[0])

    def heartbeat(self) -> m.Heartbeat:
        self.seq += 1
        return m.Heartbeat(
            self.incarnation, self.seq, self.rev, *self._columns(), {}, 0, 0, {},
            residents=measures.to_documents(self.residents),
            handler_orders=self.orders.digest,
        )  # fmt: skip

    def register(self) -> m.Register:
        tokens = [token for token, _ in self.held.values()]
        tasks, attempts, phases = self._columns()
        loaded = {"residents": measures.to_documents(self.residents)}
        document = wire.to_document(self.capabilities) | loaded
        return m.Register(
            self.name, self.incarnation, self.boot_id, codec.VERSION_OLDEST, self.protocol,
            document, tasks, attempts, tokens, phases,
        )  # fmt: skip

    def _columns(self) -> tuple[list[bytes], list[int], list[int]]:
        return (
            [ids.to_bytes(task) for task, _ in self.held],
            [attempt for _, attempt in self.held],
            [int(phase) for _, phase in self.held.values()],
        )

    def attempt_of(self, task: int) -> int:
        return max(attempt for held, attempt in self.held if held == task)


class Kernel:
    """The core under test; every step is committed for real and checked against the invariants."""

    def __init__(self, folder: Path, settings: CoreSettings | None = None, seed: int = 7) -> None:
        self.folder = folder
        self.settings = settings or CoreSettings()
        self.seed = seed
        self.mono_ns = 1_000 * SECOND_NS
        self.wall_set_ns = 0
        self.nodes: dict[str, SimNode] = {}
        self.changes: list[Change] = []
        self.replies: list[m.Message] = []
        self.chronicle = Commits()
        self._handles = itertools.count(1)
        self._names = itertools.count(1)
        self.epochs = 0
        self._open()

    def _open(self) -> None:
        self.journal = Journal.open(self.folder)
        self.payloads = Payloads(self.journal.history, lambda _node, _objects: b"")
        self.epochs = self.journal.next_epoch()
        self.core = Core(
            self.journal.recover(),
            epoch=self.epochs,
            secret=self.journal.secret(),
            seed=self.seed,
            settings=self.settings,
            now=self.now,
        )
        assert invariants.violations(self.core) == []

    @property
    def now(self) -> Now:
        return Now(self.mono_ns, 1_700_000_000 * SECOND_NS + self.mono_ns + self.wall_set_ns)

    def close(self) -> None:
        self.journal.close()

    def restart(self) -> None:
        """Lose all memory and every message under way, as a SIGKILL does, and start again."""
        self.close()
        self._open()

    # --- what happens -----------------------------------------------------------------------

    def step(self, *events: Event) -> Effects:
        """Run one turn: step, commit, then deliver every effect through the codec."""
        effects = self.core.step(list(events), self.now)
        assert invariants.violations(self.core) == []
        if effects.commit:
            self.journal.commit(effects.commit)
        assert [] == self.chronicle.take(effects.commit, self.mono_ns)
        assert [] == self.chronicle.tell(effects.changes)
        for _, message in effects.replies:
            self.replies.append(message)
            if isinstance(message, m.Registered):
                self.nodes[message.name].begin(message)
        self.changes += effects.changes
        self.payloads.keep(effects.commit)
        for item in effects.to_nodes:
            if isinstance(item, Offering):
                for offer in self.payloads.offers(item):
                    self._deliver(item.node, offer)
            else:
                self._deliver(item.node, item.message)
        return effects

    def _deliver(self, node: str, message: m.Message) -> None:
        again = codec.decode(codec.encode(message, self.epochs)).message
        assert again == message
        if node in self.nodes:
            self.nodes[node].take(again)


class Operated(Kernel):
    """What operators do to nodes and cards."""

    def drain(self, name: str, *, reason: str = "", deadline_s: float = 0) -> m.Message:
        return self._do(DrainNode, name, reason, round(deadline_s * 1000))

    def undrain(self, name: str) -> m.Message:
        return self._do(UndrainNode, name)

    def declare_lost(self, name: str) -> m.Message:
        return self._do(NodeDeclaredLost, name)

    def forget(self, name: str) -> m.Message:
        return self._do(NodeForgotten, name)

    def cordon(self, gpu: str, reason: str = "") -> m.Message:
        return self._do(CordonGpu, gpu, reason)

    def uncordon(self, gpu: str) -> m.Message:
        return self._do(UncordonGpu, gpu)

    def _do(self, kind: Callable[..., Event], *fields: object) -> m.Message:
        self.step(kind(next(self._handles), "olga", *fields))
        return self.replies[-1]


class World(Operated):
    """What happens to a scheduler, in the words of tests."""

    def later(self, seconds: float) -> Effects:
        """Let time pass and give the core a turn."""
        self.mono_ns += round(seconds * SECOND_NS)
        return self.step()

    def node(
        self,
        name: str,
        *,
        cpus: float = 2,
        gpus: list[wire.Gpu] | None = None,
        memory_gib: int = 64,
        labels: dict[str, str] | None = None,
        handlers: list[wire.Handler] | None = None,
        pythons: dict[str, str] | None = None,
        secrets: list[str] | None = None,
        resources: dict[str, int] | None = None,
        protocol: int = codec.VERSION,
    ) -> SimNode:
        """Register a new node."""
        known = wire.Capabilities(
            round(cpus * 1000), memory_gib * GIB, gpus or [], handlers or [], labels or {},
            pythons=pythons or {}, secrets=secrets or [], resources=resources or {},
        )  # fmt: skip
        node = self.nodes[name] = SimNode(name, known)
        node.protocol = protocol
        self.join(node)
        return node

    def join(self, node: SimNode) -> m.Message:
        """Register a node with what it holds; it ends what the answer does not list."""
        self.step(JoinNode(next(self._handles), node.name, node.register()))
        return self.replies[-1]

    def submit(
        self,
        count: int = 1,
        *,
        owner: str = "ana",
        session: bytes = b"s" * 16,
        allow_infeasible: bool = False,
        batch: int = 0,
        offset: int = 0,
        **fields: object,
    ) -> list[int]:
        """Submit `count` equal tasks and return their ids; refusals are the last reply."""
        spec = TaskSpec(**{"kind": "command", "argv": ["true"], **fields})  # type: ignore[arg-type]
        new = NewSpec(
            codec.pack_document(to_document(spec)), spec.request, policy_of(spec), spec.learns,
            spec.label,
        )  # fmt: skip
        first = ids.member(batch, offset)
        names = range(first, first + count) if batch else islice(self._names, count)
        tasks = [NewTask(name, 0, b"") for name in names]
        key = tasks[0].id.to_bytes(16, "big")
        self.step(
            SubmitTasks(
                next(self._handles), owner, session, key, [new], tasks, batch,
                b"k" * 16 if batch else b"", offset, allow_infeasible=allow_infeasible,
            )
        )  # fmt: skip
        return [task.id for task in tasks]

    def cancel(self, *tasks: int, owner: str = "", grace_ms: int = -1) -> list[str]:
        """Cancel tasks and return the verdicts."""
        self.step(CancelTasks(next(self._handles), owner or "admin", owner, list(tasks), grace_ms))
        reply = self.replies[-1]
        assert isinstance(reply, m.Cancelled)
        return reply.verdicts

    def reboot(self, node: SimNode) -> None:
        """Have a node's host start again: nothing of it is left, as its first heartbeat shows."""
        node.held.clear()
        node.boot_id += "'"
        node.incarnation = (node.name + node.boot_id).encode().ljust(16, b"-")[:16]
        node.rev = node.seq = 0
        self.join(node)
        self.heartbeat(node)

    def keep_alive(self, seconds: float, *nodes: SimNode) -> None:
        """Let time pass while these nodes are heard."""
        for _ in range(round(seconds)):
            self.mono_ns += SECOND_NS
            for node in nodes:
                self.heartbeat(node)

    def heartbeat(self, node: SimNode) -> Effects:
        return self.says(node, node.heartbeat())

    def says(self, node: SimNode, message: m.Message) -> Effects:
        """Deliver a node's message through the codec."""
        return self.step(NodeSays(node.name, codec.decode(codec.encode(message, 1)).message))

    def start(self, node: SimNode, task: int) -> None:
        attempt = node.attempt_of(task)
        node.held[task, attempt] = (node.held[task, attempt][0], m.Phase.RUNNING)
        self.says(node, m.Started([ids.to_bytes(task)], [attempt]))

    def end(
        self,
        node: SimNode,
        task: int,
        outcome: m.Outcome = m.Outcome.SUCCEEDED,
        *,
        code: str = "exit_code",
        value: bytes = b"",
        token: bytes = b"",
        run_us: int = 1_000_000,
        vram_peak: int = -1,
        batch_calls: int = 0,
    ) -> m.Results:
        """Have a node report the end of the attempt that it holds; returns what it said."""
        attempt = node.attempt_of(task)
        known, _ = node.held[task, attempt]
        details = codec.pack_document({"code": code, "message": "it broke"})
        message = m.Results(
            [ids.to_bytes(task)], [attempt], [token or known], [int(outcome)], [value],
            [details if outcome is m.Outcome.FAILED else b""], [run_us],
            vram_peaks=[vram_peak], batch_calls=[batch_calls],
        )  # fmt: skip
        node.held[task, attempt] = (known, m.Phase.ENDED)
        self.says(node, message)
        return message

    # --- what stands -------------------------------------------------------------------------

    def state(self, task: int) -> str:
        """Return a task's state from memory, or from the journal when it has ended."""
        if (found := self.core.tasks.get(task)) is not None:
            return found.state.word
        ended = self.journal.history.ended([task])
        return State(ended[task].state).word if task in ended else "unknown"

    def states(self, tasks: list[int]) -> list[str]:
        return [self.state(task) for task in tasks]

    def node_state(self, name: str) -> str:
        """Return a node's state as operators see it."""
        after_s = self.settings.suspect_after_ns / SECOND_NS
        return str(node_row(self.core.fleet.nodes[name], self.now, after_s)["state"])

    def attempts(self, task: int) -> list[str]:
        """Return the outcome of each attempt that the journal knows."""
        shown = self.journal.history.show_task(task) or {}
        return [attempt["outcome"] for attempt in shown["attempts"]]


def gpu(number: int, gib: int = 24, name: str = "NVIDIA L4") -> wire.Gpu:
    """Describe a card `GPU-<number>`."""
    return wire.Gpu(f"GPU-{number}", name, gib * GIB, gib * GIB, 89, number)


def mig(number: int, gib: int, parent: str = "GPU-9") -> wire.Gpu:
    """Describe a MIG device `MIG-<number>` of a card."""
    name, size = f"NVIDIA A100 MIG {gib}gb", gib * GIB
    return wire.Gpu(f"MIG-{number}", name, size, size, 80, number, mig=True, parent=parent)
