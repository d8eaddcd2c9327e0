"""The real scheduler core with a simulated fleet in virtual time: no sockets, no disk, no GPUs."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from remuda.protocol import capabilities, ids
from remuda.protocol.codec import VERSION, pack_document
from remuda.protocol.messages import Outcome, Register, Results
from remuda.protocol.spec import TaskSpec, kind_of, to_document
from remuda.scheduler.batches import EndedMembers
from remuda.scheduler.core import Core, CoreSettings
from remuda.scheduler.events import (
    JoinNode,
    NewSpec,
    NewTask,
    NodeSays,
    Now,
    Recovered,
    SubmitTasks,
)
from remuda.scheduler.learned import Known
from remuda.scheduler.records import Effects, Granted, LearnedRow, Offering
from remuda.scheduler.task import policy_of

from .cards import Cards, Outcomes
from .workloads import GIB, Host, Work, Workload

FRAME = 1_000
TARGET = "work:run"
FAR_NS = 1 << 60
START_NS = 1_700_000_000 * 1_000_000_000
RETRIES = 50
KINDS_PER_OCTAVE = 2
"""Where run times are known: tasks of a kind take about as long, to a factor of 1.4."""
KNOWN_RUNS = 8


@dataclass(frozen=True)
class Held:
    """A granted attempt and the node that has it."""

    node: str
    grant: Granted


def run(workload: Workload, settings: CoreSettings, *, kinds_known: bool = False) -> Outcomes:
    """Run a workload to its end and tell how it went.

    With `kinds_known` tasks that take about as long are one function, and the journal has some
    earlier runs of each; else all are one function of which nothing is known.
    """
    recovered = Recovered({}, [], [], [], 1, 1, lambda _batch: EndedMembers({}, []))
    if kinds_known:
        recovered.learned = _earlier_runs(workload)
    core = Core(
        recovered, epoch=1, secret=b"s" * 32, seed=1, settings=settings, now=_now(0.0)
    )  # fmt: skip
    first = ids.new_id(START_NS // 1_000_000, 1)
    cards = Cards.of(workload)
    for host in workload.hosts:
        core.step([_join(host)], _now(0.0))
    core.hold("until all is queued")
    for frame in _frames(workload, first, kinds_known=kinds_known):
        core.step([frame], _now(0.0))
    core.resume("until all is queued")
    effects = core.step([], _now(0.0))
    while True:
        for held in _offered(effects):
            (card,) = held.grant.gpus
            cards.start(card, workload.tasks[held.grant.task - first], held)
        if core.unplaced:
            effects = core.step([], _now(cards.now_s))
            continue
        ends = cards.next_ends()
        if not ends:
            assert not core.tasks, f"{len(core.tasks)} tasks are left"
            return cards.outcomes()
        effects = core.step(
            [
                NodeSays(
                    end.tag.node,
                    _result(end.tag.grant, workload.tasks[end.tag.grant.task - first], end.is_oom),
                )
                for end in ends
            ],
            _now(cards.now_s),
        )
        for end in ends:
            if end.is_oom and end.tag.grant.task not in core.tasks:
                cards.give_up()


def patient(settings: CoreSettings) -> CoreSettings:
    """Return settings under which nodes need not say that they live."""
    return dataclasses.replace(
        settings, suspect_after_ns=FAR_NS, lost_after_ns=FAR_NS, replace_after_ns=FAR_NS,
        reconcile_ns=0, offer_resend_ns=FAR_NS, upkeep_ns=FAR_NS,
    )  # fmt: skip


def _now(seconds: float) -> Now:
    return Now(int(seconds * 1e9), START_NS + int(seconds * 1e9))


def _join(host: Host) -> JoinNode:
    gpus = [
        capabilities.Gpu(f"GPU-{host.name}-{number}", host.gpu, int(host.vram_gib * GIB))
        for number in range(host.gpus)
    ]
    known = capabilities.Capabilities(10_000_000, 1 << 50, gpus)
    document = capabilities.to_document(known)
    register = Register(host.name, b"i" * 16, "boot", 1, VERSION, document, [], [], [], [])
    return JoinNode(1, host.name, register)


def _frames(workload: Workload, first: int, *, kinds_known: bool) -> Iterator[SubmitTasks]:
    for start in range(0, len(workload.tasks), FRAME):
        part = workload.tasks[start : start + FRAME]
        wanted = [(work.vram_bytes, _target(work) if kinds_known else TARGET) for work in part]
        known = {each: number for number, each in enumerate(dict.fromkeys(wanted))}
        specs = [_spec(*each) for each in known]
        tasks = [NewTask(first + start + at, known[each], b"") for at, each in enumerate(wanted)]
        key = start.to_bytes(16, "big")
        yield SubmitTasks(1, "me", b"", key, specs, tasks)


def _target(work: Work) -> str:
    return f"{TARGET}_{math.floor(math.log2(work.seconds) * KINDS_PER_OCTAVE)}"


def _earlier_runs(workload: Workload) -> list[LearnedRow]:
    """Return what the journal has of each kind: runs that took as long as any of it, by chance."""
    chance, rows = random.Random(workload.name), []
    for target in sorted({_target(work) for work in workload.tasks}):
        least = int(target.rpartition("_")[2])
        kind = kind_of(TaskSpec(kind="function", target=target))
        run_ms = [
            round(1_000 * 2 ** ((least + chance.random()) / KINDS_PER_OCTAVE))
            for _ in range(KNOWN_RUNS)
        ]
        body = pack_document(Known(run_ms=run_ms, runs=KNOWN_RUNS).document())
        rows.append(LearnedRow(kind, body, START_NS // 1_000_000))
    return rows


def _spec(vram_bytes: int, target: str) -> NewSpec:
    spec = TaskSpec(
        kind="function", target=target, cpus_milli=0, vram_bytes=vram_bytes, retries=RETRIES
    )
    body = pack_document(to_document(spec))
    return NewSpec(body, spec.request, policy_of(spec), kind_of(spec), spec.label)


def _offered(effects: Effects) -> Iterator[Held]:
    for item in effects.to_nodes:
        if isinstance(item, Offering):
            for grant in item.grants:
                yield Held(item.node, grant)


def _result(grant: Granted, work: Work, is_oom: bool) -> Results:
    run_us = round((work.load_s if is_oom else work.seconds) * 1e6)
    details = pack_document({"code": "gpu_out_of_memory", "message": "CUDA out of memory"})
    return Results(
        [ids.to_bytes(grant.task)], [grant.attempt], [grant.token],
        [int(Outcome.FAILED if is_oom else Outcome.SUCCEEDED)], [b""],
        [details if is_oom else b""], [run_us],
    )  # fmt: skip
