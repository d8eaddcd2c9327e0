"""Which GPUs get no work, since when and why: by a person's word, or because a fault lasts.

A cordon is of a UUID, wherever that card is; one of a whole card covers its MIG devices. What a
person cordoned only a person gives back. What health cordoned comes back once its node states no
fault of it any more: the node tries the card itself (see its `health.py`). A person may lift such a
cordon as well; then the node is told to forget the faults, again and again until it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.errors import Conflict, Invalid, NotFound, RemudaError
from ..protocol.messages import Done, Failure, ForgetFaults
from .events import CordonGpu, Now, UncordonGpu
from .fleet import Node
from .records import AuditRow, CordonRow, Effects, Note, ToNode

if TYPE_CHECKING:
    from .core import Core

BY_HEALTH = ""
BY_BLACK_HOLE = "black hole"
"""No key has such a name: those have no spaces."""
REASON_CHARS_MAX = 500
_ASKED_FOR = "no reason was given"


def recover(core: Core, rows: list[CordonRow]) -> None:
    """Take the cordons of the journal up; nodes are known by then."""
    core.cordons = {row.uuid: row for row in rows}
    for node in core.fleet.nodes.values():
        apply(core, node)


def apply(core: Core, node: Node) -> None:
    """Have the cards of a node show which of them are cordoned, and which suspected."""
    for uuid, card in node.cards.items():
        row = core.cordons.get(uuid) or core.cordons.get(card.gpu.parent)
        card.cordoned = _shown(row) if row is not None else ""
        card.suspected = core.black_holes.suspects(node.name, uuid)


def _shown(row: CordonRow) -> str:
    if row.lifting:
        return f"{row.reason} ({row.lifting} lifted that; {row.node} is being told)"
    return row.reason


def see(core: Core, node: Node, now: Now, effects: Effects) -> None:
    """Take in what a node states of its cards' health: cordon what is faulty, lift what is well."""
    for gpu in node.capabilities.gpus:
        row = core.cordons.get(gpu.uuid)
        if row is not None and row.node != node.name:
            if _is_there(core, row):  # two claim it: `alarms` names both
                continue
            _moved(core, row, node, effects)
            row = core.cordons[gpu.uuid]
        reason = "; ".join(gpu.faults)[:REASON_CHARS_MAX]
        if row is None and gpu.faults:
            _put(core, CordonRow(gpu.uuid, node.name, reason, BY_HEALTH, now.wall_ms), effects)
        elif row is None or row.principal != BY_HEALTH:
            continue
        elif not gpu.faults:
            why = f"by {row.lifting}" if row.lifting else "its node found it well"
            lift(core, row, effects, why)
        elif row.lifting and not all(fault in row.reason for fault in gpu.faults):
            _put(core, CordonRow(gpu.uuid, node.name, reason, BY_HEALTH, now.wall_ms), effects)
    known = {gpu.uuid for gpu in node.capabilities.gpus}
    for row in [row for row in core.cordons.values() if row.lifting and row.node == node.name]:
        if row.uuid not in known:  # it was told to forget a card that is gone
            lift(core, row, effects, f"by {row.lifting}")
    apply(core, node)


def _is_there(core: Core, row: CordonRow) -> bool:
    """Tell whether the node that had a card still claims it."""
    node = core.fleet.nodes.get(row.node)
    claims = node is not None and any(row.uuid == gpu.uuid for gpu in node.capabilities.gpus)
    return claims and node is not None and not node.lost


def _moved(core: Core, row: CordonRow, node: Node, effects: Effects) -> None:
    """Follow a cordoned card to another node."""
    facts: dict[str, object] = {"node": node.name, "gpu": row.uuid, "was_on": row.node}
    core.cordons[row.uuid] = moved = row._replace(node=node.name)
    effects.commit.cordons[row.uuid] = moved
    effects.notes.append(Note("warning", "a cordoned GPU moved", facts))


def put(core: Core, row: CordonRow, effects: Effects) -> None:
    """Cordon a GPU and have its node's cards show it."""
    _put(core, row, effects)
    _changed(core)


def _put(core: Core, row: CordonRow, effects: Effects) -> None:
    core.cordons[row.uuid] = effects.commit.cordons[row.uuid] = row
    core.fleet.changed_all()
    facts: dict[str, object] = {"node": row.node, "gpu": row.uuid, "why": row.reason}
    by = {"by": row.principal} if row.principal else {}
    effects.notes.append(Note("info" if by else "error", "gpu cordoned", facts | by))


def lift(core: Core, row: CordonRow, effects: Effects, why: str) -> None:
    """Give a GPU work again."""
    del core.cordons[row.uuid]
    effects.commit.cordons[row.uuid] = row._replace(since_ms=0)
    facts: dict[str, object] = {"node": row.node, "gpu": row.uuid, "why": why}
    effects.notes.append(Note("info", "gpu uncordoned", facts))
    _changed(core)


def _changed(core: Core) -> None:
    core.fleet.changed_all()
    for node in core.fleet.nodes.values():
        apply(core, node)


def forget(core: Core, node: Node, effects: Effects) -> None:
    """Forget the cordons of a node that is struck from the list."""
    for row in [row for row in core.cordons.values() if row.node == node.name]:
        del core.cordons[row.uuid]
        effects.commit.cordons[row.uuid] = row._replace(since_ms=0)


def remind(core: Core, node: Node, effects: Effects) -> None:
    """Tell a node which faults a person wants forgotten, for as long as it states them."""
    uuids = [
        gpu.uuid
        for gpu in node.capabilities.gpus
        if gpu.faults and gpu.uuid in core.cordons and core.cordons[gpu.uuid].lifting
    ]
    if uuids:
        effects.to_nodes.append(ToNode(node.name, ForgetFaults(node.incarnation, uuids)))


def on_cordon(core: Core, event: CordonGpu, now: Now, effects: Effects) -> None:
    """Give a GPU no new work; what runs there goes on."""
    try:
        uuid, node = find(core, event.gpu)
    except RemudaError as error:
        effects.replies.append((event.request, Failure(error.code, error.message, error.field)))
        return
    known = core.cordons.get(uuid)
    reason = event.reason or (known.reason if known else _ASKED_FOR)
    since_ms = known.since_ms if known else now.wall_ms
    put(core, CordonRow(uuid, node.name, reason, event.principal, since_ms), effects)
    _audit(effects, now, event.principal, "gpu cordon", f"{uuid} of {node.name}: {reason}")
    left = sum(uuid in held.live.gpus for held in node.held.values() if held.live)
    going_on = f"; {left} tasks go on there" if left > 1 else "; 1 task goes on there" * left
    said = f"GPU {uuid} of {node.name} gets no new work{going_on}"
    effects.replies.append((event.request, Done(said)))


def on_uncordon(core: Core, event: UncordonGpu, now: Now, effects: Effects) -> None:
    """Give a GPU work again, whoever cordoned it."""
    try:
        uuid, node = find(core, event.gpu)
    except RemudaError as error:
        effects.replies.append((event.request, Failure(error.code, error.message, error.field)))
        return
    row = core.cordons.get(uuid)
    node = core.fleet.nodes.get(row.node, node) if row is not None else node
    core.black_holes.forgive(node.name, uuid)
    if row is None:
        effects.replies.append((event.request, _not_cordoned(core, uuid, node)))
        return
    _audit(effects, now, event.principal, "gpu uncordon", f"{uuid} of {node.name}")
    said = f"GPU {uuid} of {node.name} gets work again"
    card = node.cards.get(uuid)
    if card is not None and card.gpu.faults:
        reason = "; ".join(card.gpu.faults)[:REASON_CHARS_MAX]
        lifting = row._replace(principal=BY_HEALTH, reason=reason, lifting=event.principal)
        core.cordons[uuid] = effects.commit.cordons[uuid] = lifting
        _changed(core)
        remind(core, node, effects)
        said += f" as soon as {node.name} has forgotten its faults"
    else:
        lift(core, row, effects, f"by {event.principal}")
    effects.replies.append((event.request, Done(said)))


def _not_cordoned(core: Core, uuid: str, node: Node) -> Done | Failure:
    card = node.cards.get(uuid)
    parent = card.gpu.parent if card is not None else ""
    if parent in core.cordons:
        text = f"the whole card {parent} is cordoned, not this part of it alone: uncordon that one"
        return Failure(Conflict.code, text, "gpu")
    return Done(f"GPU {uuid} of {node.name} was not cordoned")


def find(core: Core, wanted: str) -> tuple[str, Node]:
    """Find the GPU meant by a UUID, the beginning of one, or NODE:INDEX (then the whole card)."""
    name, _, index = wanted.rpartition(":")
    found: dict[str, Node] = {}
    for node in core.fleet.nodes.values():
        for uuid, card in node.cards.items():
            gpu = card.gpu
            if name and (name, index) == (node.name, str(gpu.index)):
                found[gpu.parent or uuid] = node
            elif wanted and wanted in (uuid, gpu.parent):
                return wanted, node
            elif wanted and not name and uuid.startswith(wanted):
                found[uuid] = node
    if wanted in core.cordons and core.cordons[wanted].node in core.fleet.nodes:
        return wanted, core.fleet.nodes[core.cordons[wanted].node]
    if not found:
        raise NotFound(
            f"there is no GPU {wanted or 'without a name'}: see `remuda gpu list`", field="gpu"
        )
    if len(found) > 1:
        some = ", ".join(list(found)[:3])
        raise Invalid(f"{wanted} means {len(found)} GPUs ({some}): give a UUID", field="gpu")
    return next(iter(found.items()))


def alarms(core: Core) -> list[str]:
    """Say for `status` which GPUs are cordoned, and which are claimed by two nodes."""
    found = []
    for row in core.cordons.values():
        by = f" by {row.principal}" if row.principal not in (BY_HEALTH, BY_BLACK_HOLE) else ""
        found.append(f"GPU {row.uuid} of {row.node} is cordoned{by}: {_shown(row)}")
    return found + _claimed_twice(core)


def _claimed_twice(core: Core) -> list[str]:
    """Name the GPUs that several agents would lend: one card is on one host, under one agent."""
    seen: dict[str, str] = {}
    found = []
    for node in core.fleet.nodes.values():
        if not node.connected or node.lost:
            continue
        for gpu in node.capabilities.gpus:
            if gpu.withheld and not gpu.faults:
                continue
            other = seen.setdefault(gpu.uuid, node.name)
            if other != node.name:
                found.append(
                    f"GPU {gpu.uuid} is claimed by {other} and by {node.name}: give each node its "
                    "own with `[node] gpus`"
                )
    return found


def _audit(effects: Effects, now: Now, principal: str, verb: str, subject: str) -> None:
    effects.commit.audit.append(AuditRow(now.wall_ms, principal, verb, subject))
