"""What of a turn do operators want to read? Rows of a feed, derived from its effects.

Grants and starts are left out: there are too many of them, and who waits for a task watches it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .records import AttemptEnded, Change, Effects, Note, SubmissionRow
from .task import State

TEXT_CHARS_MAX = 300
NODE_JOINED = "node.joined"
# The kind of each note that has one of its own; the others are told as of a node or the scheduler.
NOTES = {
    "attempts adopted": "node.adopted",
    "capabilities refused": "node.refused",
    "a cordoned GPU moved": "gpu.moved",
    "black hole": "node.black_hole",
    "black hole is over": "node.black_hole_over",
    "black hole is tried again": "node.tried_again",
    "configuration changed": "scheduler.configured",
    "drain deadline: tasks move on": "node.drain_deadline",
    "gpu cordoned": "gpu.cordoned",
    "gpu uncordoned": "gpu.uncordoned",
    "handler disable": "handler.disabled",
    "handler enable": "handler.enabled",
    "handler loaded anew": "handler.reloaded",
    "lost node is back": "node.back",
    "many nodes fell silent at once: nobody is given up": "scheduler.fuse_blown",
    "node drain": "node.draining",
    "node forget": "node.forgotten",
    "node goes by the configuration": "node.configured",
    "node refuses the configuration": "node.configuration_refused",
    "node is silent": "node.silent",
    "node lost": "node.lost",
    "node undrain": "node.undrained",
    "node was restarted": "node.rebooted",
    "nodes are heard again": "scheduler.fuse_mended",
}
_POISON = "poison"
_GAVE_UP_WAITING = frozenset({"rejected", "returned", "drain"})


class Happening(NamedTuple):
    """One thing that happened; `owner` is "" for what everybody may read, ids are 0 for none."""

    kind: str
    level: str
    text: str
    node: str = ""
    task: int = 0
    batch: int = 0
    owner: str = ""
    attempt: int = 0
    code: str = ""


def happenings(effects: Effects) -> Iterator[Happening]:
    """Tell what a turn brought, in the order of causes: what came in, nodes, what became of it."""
    if effects.commit.submissions:
        first = {row.number: row.id for row in effects.commit.tasks}
        for frame in effects.commit.submissions:
            yield _submitted(frame, first[frame.first_number])
    for name in effects.rebind:
        yield Happening(NODE_JOINED, "info", "registered", node=name)
    for note in effects.notes:
        yield _noted(note)
    if effects.changes:
        tries = {each.task: each for each in effects.commit.ended}
        for change in effects.changes:
            told = _changed(change, tries.get(change.task))
            if told is not None:
                yield told


def _submitted(frame: SubmissionRow, first: int) -> Happening:
    what = "1 task" if frame.members == 1 else f"{frame.members:,} tasks"
    return Happening(
        "task.submitted",
        "info",
        f"{frame.principal} submitted {what} from number {frame.first_number}",
        task=first,
        batch=frame.batch,
        owner=frame.principal,
    )


def _noted(note: Note) -> Happening:
    node = str(note.facts.get("node", ""))
    facts = ", ".join(f"{key} {value}" for key, value in note.facts.items() if key != "node")
    text = f"{note.event} ({facts})" if facts else note.event
    kind = NOTES.get(note.event) or ("node.note" if node else "scheduler.note")
    return Happening(kind, note.level, text[:TEXT_CHARS_MAX], node=node)


def _changed(change: Change, ended: AttemptEnded | None) -> Happening | None:
    state, code = change.state, change.code
    why = ended.message if ended is not None and ended.outcome != "succeeded" else ""
    if state == State.SUCCEEDED:
        kind, level, text = "task.succeeded", "info", "succeeded"
    elif state == State.CANCELLED:
        kind, level, text = "task.cancelled", "info", "cancelled"
    elif state == State.FAILED:
        kind = "task.poisoned" if code == _POISON else "task.failed"
        level, text = "error", _said(f"failed: {code}", why)
    elif state in (State.WAITING, State.QUEUED) and code:
        taken_back = code in _GAVE_UP_WAITING
        kind = "task.requeued" if taken_back else "task.try_failed"
        level = "info" if taken_back else "warning"
        text = _said(f"requeued: {code}" if taken_back else f"a try failed: {code}", why)
    else:
        return None
    node = change.node or (ended.node if ended is not None else "")
    return Happening(
        kind, level, text, node, change.task, change.batch, change.owner, change.attempt, code
    )


def _said(what: str, why: str) -> str:
    return (f"{what}: {why}" if why else what)[:TEXT_CHARS_MAX]
