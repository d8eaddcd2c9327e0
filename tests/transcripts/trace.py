"""How the effects of a turn read: one line for each thing that was journaled, sent or told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.codec import unpack_document
from remuda.scheduler.records import Commit, Effects, Granted, Offering, ToNode
from remuda.scheduler.task import State, StopReason


def lines_of(effects: Effects, wall_ms: int, deaf: Callable[[str], bool]) -> Iterator[str]:
    """Write a turn in the order in which the shell acts on it."""
    for text in _journaled(effects.commit, wall_ms):
        yield f"journal  {text}"
    for _, message in effects.replies:
        yield f"reply    {_REPLIES[type(message)](message)}"
    for item in effects.to_nodes:
        text = (
            _offered(item)
            if isinstance(item, Offering)
            else _SENT[type(item.message)](item.message)
        )
        yield f"to {item.node:<5} {text}" + (" (lost on the way)" if deaf(item.node) else "")
    for change in effects.changes:
        text = f"task {change.task} {State(change.state).word}"
        text += f" ({change.code})" if change.code else ""
        text += f" on {change.node}" if change.node else ""
        text += f" value={change.value.decode()}" if change.value else ""
        shown = unpack_document(change.details) if change.details else {}
        text += f" {shown['progress'] / 10:g}% {shown['text']}" if "progress" in shown else ""
        yield f"watch    {text}"
    for note in effects.notes:
        facts = ", ".join(f"{key}={value}" for key, value in note.facts.items())
        yield f"log      {note.level}: {note.event} ({facts})"


def _journaled(commit: Commit, wall_ms: int) -> Iterator[str]:
    if commit.tasks:
        yield f"stored {_names(row.number for row in commit.tasks)}"
    for node in commit.nodes:
        yield f"node {node}"
    for node in commit.forgotten:
        yield f"node {node} forgotten"
    for ended in commit.ended:
        why = f" ({ended.code})" if ended.code else ""
        yield f"task {ended.task} try {ended.number} {ended.outcome}{why} on {ended.node}"
    for moved in commit.moved.values():
        due = f", next try in {moved.due_ms - wall_ms} ms" if moved.due_ms else ""
        why = f" ({StopReason(moved.stop).word})" if moved.stop else ""
        spent = f", spent {moved.spent}" if moved.spent else ""
        yield (
            f"task {moved.id} {State(moved.state).word}{why}, "
            f"{moved.charged} tries charged{spent}{due}"
        )
    for row in commit.cordons.values():
        by = f", by {row.principal}" if row.principal else ""
        yield (
            f"{row.uuid} of {row.node} cordoned{by}: {row.reason}"
            if row.since_ms
            else (f"{row.uuid} of {row.node} no more cordoned")
        )
    for granted in commit.granted:
        cards = f" with {' '.join(granted.gpus)}" if granted.gpus else ""
        yield f"task {granted.task} try {granted.number} granted to {granted.node}{cards}"
    for result in commit.results:
        yield f"task {result.id} {State(result.state).word}"


def _names(tasks: Iterable[int]) -> str:
    numbers = list(tasks)
    return f"task {numbers[0]}" if len(numbers) == 1 else f"tasks {', '.join(map(str, numbers))}"


def _sent(item: Offering | ToNode) -> str:
    if isinstance(item, Offering):
        return _offered(item)
    return _SENT[type(item.message)](item.message)


def _offered(offering: Offering) -> str:
    return f"offer, revision {_revision(offering.rev)}: " + ", ".join(
        map(_granted, offering.grants)
    )


def _granted(grant: Granted) -> str:
    cards = f" with {' '.join(grant.gpus)}" if grant.gpus else ""
    return f"{grant.task} try {grant.attempt}{cards}" + (" ahead" if grant.prefetched else "")


def _tries(message: Any) -> str:
    pairs = zip(message.tasks, message.attempts, strict=True)
    return ", ".join(f"{ids.from_bytes(task)} try {number}" for task, number in pairs) or "nothing"


def _registered(message: m.Registered) -> str:
    return (
        f"registered {message.name}, revision {_revision(message.rev)}, may keep {_tries(message)}"
    )


def _submitted(message: m.Submitted) -> str:
    return f"submitted {_names(map(ids.from_bytes, message.tasks))}"


def _cancelled(message: m.Cancelled) -> str:
    pairs = zip(message.tasks, message.verdicts, strict=True)
    return "cancel: " + ", ".join(f"{ids.from_bytes(task)} {verdict}" for task, verdict in pairs)


def _failure(message: m.Failure) -> str:
    return f"refused, {message.code}: {message.message}"


def _desired(message: m.Desired) -> str:
    return f"desired, revision {_revision(message.rev)}: {_tries(message)}"


def _kill(message: m.Kill) -> str:
    return f"kill {_tries(message)} ({message.reasons[0]})"


def _acknowledged(message: m.ResultAck) -> str:
    return f"acknowledged {_tries(message)}"


_REPLIES: dict[type[m.Message], Callable[[Any], str]] = {
    m.Registered: _registered,
    m.Submitted: _submitted,
    m.Cancelled: _cancelled,
    m.Failure: _failure,
    m.Done: lambda message: message.message,
}
_SENT: dict[type[m.Message], Callable[[Any], str]] = {
    m.Desired: _desired,
    m.ForgetFaults: lambda message: f"forget the faults of {' '.join(message.gpus)}",
    m.Kill: _kill,
    m.ResultAck: _acknowledged,
}


def _revision(rev: int) -> str:
    """Write a revision as the epoch that it belongs to and its number there."""
    return f"{rev >> 32}.{rev & 0xFFFFFFFF}"
