"""When is a silent node suspect, when is it lost, and when is it the scheduler that is cut off?

A suspect node gets no new work. The tasks of a lost one run elsewhere; fenced ones only once the
node has surely stopped them itself. Nobody is lost by silence while known nodes may still come
back after a start (the reconcile window), or while so many fell silent together that the fault
is more likely ours (the fuse), nor for a lease after that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import life
from .events import Now
from .fleet import Node
from .records import Effects, Note

if TYPE_CHECKING:
    from .core import Core

FAR_NS = 1 << 62
FENCING_PROTOCOL = 2
"""From this version on a node stops its fenced tasks itself."""
FUSE_SILENT_MIN = 3
FUSE_SHARE = 3
"""The fuse blows when more than one in so many nodes fell silent within one lease."""


def judge(core: Core, now: Now, effects: Effects) -> None:
    """Judge every node by how long it has been silent."""
    if now.mono_ns < core.silence_due_ns:
        return
    silent = []
    for node in core.fleet.nodes.values():
        silent_ns = now.mono_ns - node.heard_ns
        if silent_ns < core.settings.suspect_after_ns or node.lost:
            continue
        if not node.suspect:
            node.suspect = True
            core.fleet.changed(node)
            effects.notes.append(Note("warning", "node is silent", {"node": node.name}))
        silent.append(node)
    _judge_fuse(core, silent, now, effects)
    if core.recovery is None and not core.fuse_names and not is_reconciling(core, now):
        for node in silent:
            if now.mono_ns - node.heard_ns >= core.settings.lost_after_ns:
                lose(core, node, now, effects, "the node fell silent")
    if core.recovery is None:
        _replace_fenced(core, now, effects)
    core.silence_due_ns = _next_look(core, now)


def _next_look(core: Core, now: Now) -> int:
    """Return when the next node may be judged otherwise if nobody speaks until then."""
    settings = core.settings
    due = [FAR_NS]
    for node in core.fleet.nodes.values():
        after = [settings.replace_after_ns] if node.held else []
        if not node.lost:
            after += (settings.suspect_after_ns, settings.lost_after_ns)
        due += (at for ns in after if (at := node.heard_ns + ns) > now.mono_ns)
        if not node.lost and now.mono_ns < core.reconcile_until_ns:
            due.append(core.reconcile_until_ns)
    return min(due)


def on_joined(core: Core, now: Now) -> None:
    """Have a node judged in time that has just registered; it may have been the last we missed."""
    is_reconciling(core, now)
    core.silence_due_ns = min(core.silence_due_ns, now.mono_ns + core.settings.suspect_after_ns)


def is_reconciling(core: Core, now: Now) -> bool:
    """Tell whether known nodes still have time to come back, after the start or a blown fuse."""
    if now.mono_ns >= core.reconcile_until_ns:
        return False
    if not reconcile_left_ns(core, now):
        core.reconcile_until_ns = now.mono_ns
        return False
    return True


def reconcile_left_ns(core: Core, now: Now) -> int:
    """Return how much longer missing nodes may come back before any is lost; 0: none is missing."""
    nodes = (node for node in core.fleet.nodes.values() if not node.lost)
    is_missing = any(node.suspect or not node.connected for node in nodes)
    return max(core.reconcile_until_ns - now.mono_ns, 0) if is_missing else 0


def _judge_fuse(core: Core, silent: list[Node], now: Now, effects: Effects) -> None:
    """Blow the fuse, or mend it once enough of the nodes are heard again."""
    fallen = _fell_together(core, silent)
    if fallen and not core.fuse_names:
        effects.notes.append(
            Note(
                "error",
                "many nodes fell silent at once: nobody is given up",
                {"nodes": len(fallen), "of": len(core.fleet.nodes)},
            )
        )
    elif core.fuse_names and not fallen:
        effects.notes.append(Note("info", "nodes are heard again", {"silent": len(silent)}))
        core.reconcile_until_ns = now.mono_ns + core.settings.lease_ms * 1_000_000
    core.fuse_names = fallen


def _fell_together(core: Core, silent: list[Node]) -> tuple[str, ...]:
    """Return the nodes whose silence began within one lease, if they are too many to be true."""
    total = sum(1 for node in core.fleet.nodes.values() if not node.lost)
    if total < core.settings.fuse_nodes_min:
        return ()
    order = sorted((node.heard_ns, node.name) for node in silent)
    lease_ns = core.settings.lease_ms * 1_000_000
    best: list[tuple[int, str]] = []
    first = 0
    for last, (heard_ns, _) in enumerate(order):
        while heard_ns - order[first][0] > lease_ns:
            first += 1
        if last - first + 1 > len(best):
            best = order[first : last + 1]
    if len(best) < FUSE_SILENT_MIN or len(best) * FUSE_SHARE <= total:
        return ()
    return tuple(name for _, name in best)


def lose(
    core: Core, node: Node, now: Now, effects: Effects, reason: str, *, is_sure: bool = False
) -> int:
    """Give a node up and move its tasks; return how many moved.

    `is_sure`: nothing runs there any more, so fenced tasks move and cancelled ones are gone.
    """
    node.lost = True
    core.fleet.changed(node)
    held = list(node.held.values())
    moved = sum(
        life.lose(core, task, now, effects, f"{node.name}: {reason}", is_sure=is_sure)
        for task in held
    )
    node.seen_ms = now.wall_ms
    core.write_node(node, effects)
    core.upkeep_soon(now)
    effects.notes.append(
        Note(
            "warning",
            "node lost",
            {"node": node.name, "why": reason, "tasks_moved": moved, "left": len(held) - moved},
        )
    )
    return moved


def _replace_fenced(core: Core, now: Now, effects: Effects) -> None:
    """Move what a lost node has surely stopped itself by now."""
    for node in core.fleet.nodes.values():
        if node.protocol < FENCING_PROTOCOL:  # it stops nothing itself: a person has to look
            continue
        if not node.lost or now.mono_ns - node.heard_ns < core.settings.replace_after_ns:
            continue
        reason = f"{node.name}: silent for so long that it has stopped its fenced tasks"
        for task in list(node.held.values()):
            if life.waits_for_fence(task):
                life.lose(core, task, now, effects, reason, is_sure=True)


def on_heard(core: Core, node: Node, now: Now, effects: Effects) -> None:
    """Take in any sign of life of a node."""
    node.heard_ns = now.mono_ns
    if node.suspect:
        node.suspect = False
        core.fleet.changed(node)
        core.silence_due_ns = now.mono_ns
    if node.lost:
        node.lost = False
        core.fleet.changed(node)
        core.write_node(node, effects)
        effects.notes.append(Note("info", "lost node is back", {"node": node.name}))
