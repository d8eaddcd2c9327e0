"""How many loads does it take to serve 10 models on 8 GPUs, with affinity and without?

The real core of the scheduler places calls on simulated nodes in virtual time; nothing is measured
of this machine, so that every run prints the same. Run it: `.venv/bin/python
benchmarks/warm_models.py [SEED ...]`.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

from remuda.protocol import capabilities, ids, measures
from remuda.protocol.codec import VERSION, VERSION_OLDEST, pack_document
from remuda.protocol.messages import Evict, Heartbeat, Message, Outcome, Register, Results
from remuda.protocol.spec import TaskSpec, kind_of, to_document
from remuda.scheduler.core import Core, CoreSettings
from remuda.scheduler.events import (
    Event,
    JoinNode,
    NewSpec,
    NewTask,
    NodeSays,
    Now,
    Recovered,
    SubmitTasks,
)
from remuda.scheduler.records import Granted, Offering
from remuda.scheduler.seats import Seat, seat_of
from remuda.scheduler.task import policy_of

S = 1_000_000_000
GIB = 1 << 30
SEEDS = (1, 2, 3)
HOSTS, GPUS_PER_HOST, GPU_GIB, MODEL_GIB = 2, 4, 24, 18
MODELS = [f"m{number}" for number in range(10)]
LOAD_S = [20, 25, 30, 35, 40, 25, 45, 30, 60, 20]
"""Of each model: some GiB from a disk or a network, and the time to warm up."""
POPULARITY = [1 / rank for rank in range(1, 11)]
"""Zipf: the first model gets a third of the calls, the last one in thirty."""
CALLS, RUN_S_MEAN, LOAD_SHARE = 3_000, 3.0, 0.7
RELEASE_S = 0.5
WARM_WAIT_S = 60.0
GOAL = 5.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call: when it comes, of which model, and how long it runs once that is loaded."""

    at_ns: int
    model: str
    run_ns: int


@dataclass(slots=True)
class Outcomes:
    """What a way to place calls made of a workload; `waits_ns` and `latency_ns` by call."""

    loads: int = 0
    end_ns: int = 0
    latency_ns: list[int] = field(default_factory=list)
    waits_ns: dict[str, int] = field(default_factory=dict)

    def add(self, call: Call, begun_ns: int, ended_ns: int) -> None:
        """Take in one call: how long it waited for its model, loading included, and took."""
        self.latency_ns.append(ended_ns - call.at_ns)
        wait_ns = begun_ns - call.at_ns
        self.waits_ns[call.model] = max(self.waits_ns.get(call.model, 0), wait_ns)
        self.end_ns = max(self.end_ns, ended_ns)


def workload(seed: int) -> list[Call]:
    """Draw calls: Poisson arrivals that keep the GPUs busy for 70 % without any load."""
    chance = Random(seed)
    gpus = HOSTS * GPUS_PER_HOST
    rate = gpus * LOAD_SHARE / RUN_S_MEAN
    at_s, calls = 0.0, []
    for _ in range(CALLS):
        at_s += chance.expovariate(rate)
        model = chance.choices(MODELS, POPULARITY)[0]
        run_s = min(chance.lognormvariate(0.9, 0.6), 20.0)
        calls.append(Call(round(at_s * S), model, round(run_s * S)))
    return calls


def load_ns(model: str) -> int:
    return LOAD_S[MODELS.index(model)] * S


# --- without affinity: the next call goes to the GPU that has been idle for longest --------------


def without_affinity(calls: list[Call]) -> Outcomes:
    """Serve calls in order of arrival on whichever GPU is free first, loading what is not there."""
    found = Outcomes()
    gpus: list[tuple[int, int, str]] = [(0, number, "") for number in range(HOSTS * GPUS_PER_HOST)]
    for call in calls:
        free_ns, number, holds = heapq.heappop(gpus)
        begun_ns = max(free_ns, call.at_ns)
        if holds != call.model:
            found.loads += 1
            begun_ns += load_ns(call.model)
        found.add(call, begun_ns, begun_ns + call.run_ns)
        heapq.heappush(gpus, (begun_ns + call.run_ns, number, call.model))
    return found


# --- the real core -------------------------------------------------------------------------------


@dataclass(slots=True)
class Host:
    """A simulated node: it loads what a granted call needs, and lets go what it is asked to."""

    name: str
    known: capabilities.Capabilities
    residents: list[measures.Resident] = field(default_factory=list)
    calls: dict[tuple[int, int], Granted] = field(default_factory=dict)
    idle_since: dict[Seat, int] = field(default_factory=dict)
    rev: int = 0
    seq: int = 0

    @property
    def incarnation(self) -> bytes:
        return self.name.encode().ljust(16, b"-")

    def register(self) -> Register:
        document = {**capabilities.to_document(self.known), "residents": []}
        return Register(
            self.name, self.incarnation, "boot", VERSION_OLDEST, VERSION, document, [], [], [], []
        )

    def heartbeat(self, now_ns: int) -> Heartbeat:
        self.seq += 1
        held = list(self.calls)
        return Heartbeat(
            self.incarnation, self.seq, self.rev, [ids.to_bytes(task) for task, _ in held],
            [number for _, number in held], [1] * len(held), {}, 0, 0, {},
            residents=measures.to_documents(self._reported(now_ns)),
        )  # fmt: skip

    def _reported(self, now_ns: int) -> Iterator[measures.Resident]:
        for each in self.residents:
            since_ns = self.idle_since.get(seat_of(each), now_ns)
            idle_ms = (now_ns - since_ns) // 1_000_000
            yield measures.Resident(
                each.handler, each.model, each.gpu_uuid, each.vram_bytes, each.state,
                idle_ms=idle_ms, load_ms=each.load_ms,
            )  # fmt: skip

    def check(self) -> None:
        """Assert that no card holds more than it has."""
        for gpu in self.known.gpus:
            held = sum(each.vram_bytes for each in self.residents if each.gpu_uuid == gpu.uuid)
            assert held <= gpu.memory_bytes, f"{gpu.uuid} holds {held} bytes"


class Fleet:
    """The core among hosts, in virtual time."""

    def __init__(self, calls: list[Call], warm_wait_s: float) -> None:
        self.found = Outcomes()
        self.now_ns = S
        self._order = itertools.count()
        self._agenda: list[tuple[int, int, Callable[[], list[Event]]]] = []
        self._calls: dict[int, Call] = {}
        self._hosts = {host.name: host for host in map(_host, range(HOSTS))}
        empty = Recovered({}, [], [], [], 1, 1, lambda _batch: None)  # type: ignore[arg-type,return-value]  # there are no batches
        settings = CoreSettings(warm_wait_ns=round(warm_wait_s * S))
        self._core = Core(
            empty, epoch=1, secret=b"s" * 32, seed=1, settings=settings, now=self._now()
        )
        for host in self._hosts.values():
            self._step([JoinNode(1, host.name, host.register())])
            self._every_2_s(host)
        for number, call in enumerate(calls, start=1):
            self._calls[number] = call
            self._at(S + call.at_ns, lambda number=number: [self._submit(number)])  # type: ignore[misc]  # a default binds it now
        self._left = len(calls)

    def run(self) -> Outcomes:
        """Let time pass until every call has ended."""
        while self._left:
            due_ns = self._core.deadline()
            at_ns = self._agenda[0][0]
            if due_ns is not None and due_ns < at_ns:
                self.now_ns = max(self.now_ns, due_ns)
                self._step([])
                continue
            self.now_ns, _, act = heapq.heappop(self._agenda)
            self._step(act())
        return self.found

    def _now(self) -> Now:
        return Now(self.now_ns, self.now_ns + 1_700_000_000 * S)

    def _at(self, at_ns: int, act: Callable[[], list[Event]]) -> None:
        heapq.heappush(self._agenda, (at_ns, next(self._order), act))

    def _step(self, events: list[Event]) -> None:
        effects = self._core.step(events, self._now())
        for item in effects.to_nodes:
            host = self._hosts[item.node]
            if isinstance(item, Offering):
                host.rev = item.rev
                for grant in item.grants:
                    self._begin(host, grant)
            else:
                self._hear(host, item.message)

    def _submit(self, number: int) -> SubmitTasks:
        spec = TaskSpec("handler", target="draw", model=self._calls[number].model, cpus_milli=100)
        new = NewSpec(
            pack_document(to_document(spec)), spec.request, policy_of(spec), kind_of(spec), ""
        )
        key = number.to_bytes(16, "big")
        return SubmitTasks(1, "ana", b"", key, [new], [NewTask(number, 0, b"")])

    def _every_2_s(self, host: Host) -> None:
        def beat() -> list[Event]:
            self._every_2_s(host)
            return [NodeSays(host.name, host.heartbeat(self.now_ns))]

        self._at(self.now_ns + 2 * S, beat)

    def _begin(self, host: Host, grant: Granted) -> None:
        call = self._calls[grant.task]
        seat = Seat("draw", call.model, grant.gpus[0])
        host.calls[grant.task, grant.attempt] = grant
        host.idle_since.pop(seat, None)
        begun_ns = self.now_ns
        if not any(seat_of(each) == seat and each.state != "leaving" for each in host.residents):
            self.found.loads += 1
            took_ns = load_ns(call.model)
            begun_ns += took_ns
            loading = measures.Resident(*seat, MODEL_GIB * GIB, "loading")
            host.residents.append(loading)
            host.check()

            def loaded() -> list[Event]:
                host.residents.remove(loading)
                host.residents.append(
                    measures.Resident(*seat, MODEL_GIB * GIB, "ready", load_ms=took_ns // 1_000_000)
                )
                return [NodeSays(host.name, host.heartbeat(self.now_ns))]

            self._at(begun_ns, loaded)

        def ended() -> list[Event]:
            del host.calls[grant.task, grant.attempt]
            host.idle_since[seat] = self.now_ns
            self._left -= 1
            self.found.add(call, begun_ns - S, self.now_ns - S)
            return [
                NodeSays(
                    host.name,
                    Results(
                        [ids.to_bytes(grant.task)], [grant.attempt], [grant.token],
                        [int(Outcome.SUCCEEDED)], [b""], [b""], [call.run_ns // 1_000],
                    ),
                )
            ]  # fmt: skip

        self._at(begun_ns + call.run_ns, ended)

    def _hear(self, host: Host, message: Message) -> None:
        if not isinstance(message, Evict):
            host.rev = max(host.rev, getattr(message, "rev", 0))
            return
        host.rev = message.rev
        rows = zip(message.handlers, message.models, message.gpu_uuids, strict=True)
        leaving = [Seat(*row) for row in rows]
        assert not leaving or all(seat in host.idle_since for seat in leaving), "it has a call"

        host.residents = [
            replace(each, state="leaving") if seat_of(each) in leaving else each
            for each in host.residents
        ]

        def gone() -> list[Event]:
            host.residents = [
                each
                for each in host.residents
                if each.state != "leaving" or seat_of(each) not in leaving
            ]
            return [NodeSays(host.name, host.heartbeat(self.now_ns))]

        self._at(self.now_ns + round(RELEASE_S * S), gone)


def _host(number: int) -> Host:
    gpus = [
        capabilities.Gpu(f"GPU-{number}{index}", "L4", GPU_GIB * GIB, index=index)
        for index in range(GPUS_PER_HOST)
    ]
    draw = capabilities.Handler(
        "draw", MODELS, GPUS_PER_HOST, MODEL_GIB * GIB, "cold", on_demand=True
    )
    return Host(f"host-{number}", capabilities.Capabilities(64_000, 256 * GIB, gpus, [draw]))


# --- side by side --------------------------------------------------------------------------------


def percentile_s(values_ns: list[int], part: float) -> float:
    ordered = sorted(values_ns)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] / S


def main(seeds: tuple[int, ...] = SEEDS) -> int:
    """Print what each way makes of each workload; 1 when affinity saves too few loads."""
    print(f"{CALLS} calls of {len(MODELS)} models, {HOSTS * GPUS_PER_HOST} GPUs of one model each")
    print(
        f"{'seed':>4}  {'placed':<28}{'loads':>6}{'makespan':>10}{'p50':>8}{'p95':>8}{'longest':>9}"
    )
    worst = float("inf")
    for seed in seeds:
        calls = workload(seed)
        ways = {
            "anywhere (no affinity)": without_affinity(calls),
            "warm first, no waiting": Fleet(calls, 0.0).run(),
            f"affinity, waits <= {WARM_WAIT_S:g} s": Fleet(calls, WARM_WAIT_S).run(),
        }
        for name, found in ways.items():
            latency = found.latency_ns
            longest_s = max(found.waits_ns.values()) / S
            print(
                f"{seed:>4}  {name:<28}{found.loads:>6}{found.end_ns / S:>9.0f}s"
                f"{percentile_s(latency, 0.5):>7.1f}s{percentile_s(latency, 0.95):>7.1f}s"
                f"{longest_s:>8.0f}s"
            )
        first, *_, last = ways.values()
        worst = min(worst, first.loads / last.loads)
    print(f"fewer loads than without affinity: {worst:.1f}x at least (goal {GOAL:g}x)")
    return int(worst < GOAL)


if __name__ == "__main__":
    sys.exit(main(tuple(map(int, sys.argv[1:])) or SEEDS))
