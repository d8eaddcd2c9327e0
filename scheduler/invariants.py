"""What must hold of the core at any time, whatever happened: checked after each step in tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..protocol.resources import MILLI
from .fills import step
from .fleet import Node, is_part
from .task import ON_NODE, TERMINAL, State, StopReason, Task
from .vacancy import refusal_now

if TYPE_CHECKING:
    from .core import Core


def violations(core: Core) -> list[str]:
    """Return every broken invariant in words; an empty list is a healthy core."""
    found = [words for task in core.tasks.values() for words in _of_task(core, task)]
    for node in core.fleet.nodes.values():
        found += _of_node(core, node)
    held = (task.live for node in core.fleet.nodes.values() for task in node.held.values())
    parts = Counter(step(one.request.vram_bytes) for one in held if one and is_part(one.request))
    if parts != +core.fleet.parts:
        found.append(f"parts of cards drifted: {core.fleet.parts} instead of {parts}")
    counts = Counter(task.state for task in core.tasks.values())
    if counts != +core.counts:
        found.append(f"counts drifted: {core.counts} instead of {counts}")
    found += _of_batches(core)
    found += _of_queue(core)
    owners = Counter(task.spec.owner for task in core.tasks.values())
    if owners != +core.open_by_owner:
        found.append(f"owners drifted: {core.open_by_owner} instead of {owners}")
    return found


def _of_batches(core: Core) -> Iterator[str]:
    """Yield each batch whose open members are not those in memory."""
    members: dict[int, Counter[State]] = {batch: Counter() for batch in core.batches.open()}
    for task in core.tasks.values():
        if task.batch:
            members.setdefault(task.batch, Counter())[task.state] += 1
    for batch, counts in members.items():
        tally = core.batches.get(batch)
        known = {state: tally.counts[state] for state in State if tally and state not in TERMINAL}
        if counts != +Counter(known) or not counts:
            yield f"batch {batch} drifted: {known} instead of {counts}"


def _of_queue(core: Core) -> Iterator[str]:
    """Yield each task that was passed over though a node has room for it."""
    for bucket in core.buckets.blocked(core.fleet.revision):
        task = bucket.head()
        if task is None or bucket.key.avoid or bucket.key.request.handler:
            continue  # those may wait for another node than the one that has room
        for name, node in core.fleet.nodes.items():
            if name in core.reservations.on:
                continue  # room is kept there
            if not all(refusal_now(node, each) for each in core.options.of(bucket.key.request)):
                yield f"task {task.number} was passed over, and {name} has room for it"


def _of_task(core: Core, task: Task) -> list[str]:
    found = []
    if task.state in TERMINAL:
        found.append(f"task {task.number} has ended and is still in memory")
    if (task.live is not None) != (task.state in ON_NODE):
        found.append(f"task {task.number} is {task.state.word} with attempt {task.live}")
    if task.live is not None:
        if task.live.number != task.attempt:
            found.append(f"task {task.number}: attempt {task.live.number} of {task.attempt} lives")
        node = core.fleet.nodes.get(task.live.node)
        if node is None or task.id not in node.held:
            found.append(f"task {task.number} is not in the ledger of {task.live.node}")
    if (task.stop is not StopReason.NONE) != (task.state is State.STOPPING):
        found.append(f"task {task.number} is {task.state.word}, to be stopped: {task.stop.word}")
    found += _overspent(core, task)
    if task.charged > max(task.attempt, 0):
        found.append(f"task {task.number}: {task.charged} charged of {task.attempt} attempts")
    if task.state is State.WAITING and task.charged > task.spec.policy.retries:
        found.append(f"task {task.number} waits beyond its {task.spec.policy.retries} retries")
    return found


def _overspent(core: Core, task: Task) -> Iterator[str]:
    """Yield each budget of which a task that goes on has used more than there is."""
    for kind, count in (task.spent or {}).items():
        row = core.settings.policies.get(kind)
        most = task.spec.policy.retries if row is None or row.retries is None else row.retries
        if not 0 <= count <= most:
            yield f"task {task.number} goes on after {count} failures of {kind.value}, not {most}"


def _of_node(core: Core, node: Node) -> list[str]:
    found = []
    share: Counter[str] = Counter()
    vram: Counter[str] = Counter()
    named: Counter[str] = Counter()
    cpus = memory = exclusives = 0
    for task in node.held.values():
        attempt = task.live
        stays = task.state is State.STOPPING or task.spec.policy.if_node_lost == "fence"
        if node.lost and not stays:
            found.append(f"{node.name} is lost and still holds task {task.number}")
        if attempt is None or attempt.node != node.name or core.tasks.get(task.id) is not task:
            found.append(f"{node.name} is charged for task {task.number}, which is not there")
            continue
        if attempt.prefetched != (task.id in node.backlog):
            found.append(f"{node.name}: backlog and task {task.number} disagree")
        if attempt.prefetched:
            if not attempt.request.may_go_ahead:
                found.append(f"{node.name}: what is no plain task was sent ahead")
            continue
        if attempt.rides:
            continue
        cpus += attempt.request.cpus_milli
        memory += attempt.request.memory_bytes
        exclusives += attempt.request.exclusive
        named.update(dict(attempt.request.resources))
        for uuid, share_milli, vram_bytes in attempt.charges:
            share[uuid] += share_milli
            vram[uuid] += vram_bytes
    if (cpus, memory) != (node.cpus_used_milli, node.memory_used_bytes):
        found.append(f"{node.name}: CPUs or memory drifted")
    if (exclusives, named) != (node.exclusives, +node.resources_used):
        found.append(f"{node.name}: named resources or who has it alone drifted")
    if core.recovery is not None:
        return found  # what was adopted may have what others have that are in doubt
    if exclusives and len(node.held) > 1:
        found.append(f"{node.name} is lent to one task alone and has {len(node.held)}")
    for uuid, card in node.cards.items():
        if (share[uuid], vram[uuid]) != (card.share_milli, card.vram_bytes):
            found.append(f"{node.name}: the ledger of {uuid} drifted")
        if card.gpu.memory_bytes and (
            card.share_milli > MILLI or card.vram_bytes > card.gpu.memory_bytes
        ):
            found.append(f"{node.name}: {uuid} is lent beyond what it has")
    return found
