"""The real scheduler core with a simulated fleet in virtual time: no sockets, no disk, no GPUs."""

from __future__ import annotations

import dataclasses
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
from remuda.scheduler.records import Effects, Granted, Offering
from remuda.scheduler.task import policy_of

from .cards import Cards, Outcomes
from .workloads import GIB, Host, Workload

FRAME = 1_000
FAR_NS = 1 << 60
START_NS = 1_700_000_000 * 1_000_000_000
RETRIES = 50


@dataclass(frozen=True)
class Held:
    """A granted attempt and the node that has it."""

    node: str
    grant: Granted


def run(workload: Workload, settings: CoreSettings) -> Outcomes:
    """Run a workload to its end and tell how it went."""
    recovered = Recovered({}, [], [], [], 1, 1, lambda _batch: EndedMembers({}, []))
    core = Core(
        recovered, epoch=1, secret=b"s" * 32, seed=1, settings=settings, now=_now(0.0)
    )  # fmt: skip
    first = ids.new_id(START_NS // 1_000_000, 1)
    cards = Cards.of(workload)
    for host in workload.hosts:
        core.step([_join(host)], _now(0.0))
    core.hold("until all is queued")
    for frame in _frames(workload, first):
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
            [NodeSays(end.tag.node, _result(end.tag.grant, end.is_oom)) for end in ends],
            _now(cards.now_s),
        )


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


def _frames(workload: Workload, first: int) -> Iterator[SubmitTasks]:
    for start in range(0, len(workload.tasks), FRAME):
        part = workload.tasks[start : start + FRAME]
        sizes = sorted({work.vram_bytes for work in part})
        specs = [_spec(size) for size in sizes]
        tasks = [
            NewTask(first + start + at, sizes.index(work.vram_bytes), b"")
            for at, work in enumerate(part)
        ]
        key = start.to_bytes(16, "big")
        yield SubmitTasks(1, "me", b"", key, specs, tasks)


def _spec(vram_bytes: int) -> NewSpec:
    spec = TaskSpec(
        kind="function", target="work:run", cpus_milli=0, vram_bytes=vram_bytes, retries=RETRIES
    )
    body = pack_document(to_document(spec))
    return NewSpec(body, spec.request, policy_of(spec), kind_of(spec), spec.label)


def _offered(effects: Effects) -> Iterator[Held]:
    for item in effects.to_nodes:
        if isinstance(item, Offering):
            for grant in item.grants:
                yield Held(item.node, grant)


def _result(grant: Granted, is_oom: bool) -> Results:
    details = pack_document({"code": "gpu_out_of_memory", "message": "CUDA out of memory"})
    return Results(
        [ids.to_bytes(grant.task)], [grant.attempt], [grant.token],
        [int(Outcome.FAILED if is_oom else Outcome.SUCCEEDED)], [b""],
        [details if is_oom else b""], [1],
    )  # fmt: skip
