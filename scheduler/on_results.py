"""What the end of an attempt means: accepted once, recorded always, acknowledged after commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..protocol import ids
from ..protocol.capabilities import BATCH_MAX
from ..protocol.codec import unpack_document
from ..protocol.errors import MalformedFrame
from ..protocol.messages import Outcome, ResultAck, Results
from ..protocol.resources import learning_key
from . import black_holes, life, needs, recovery, reservations
from .events import Now
from .fleet import Node
from .records import AttemptEnded, Effects, Note, ToNode
from .task import Attempt, Fact, State, StopReason, Task
from .tokens import same_token

if TYPE_CHECKING:
    from .core import Core

CODE_CHARS_MAX = 64
MESSAGE_CHARS_MAX = 500


def on_results(core: Core, node: Node, message: Results, now: Now, effects: Effects) -> None:
    """Settle a batch of ended attempts; stale ones are recorded and acknowledged as well.

    A result under a wrong token is no result: it is neither accepted nor acknowledged.
    """
    acked_tasks, acked_attempts = [], []
    count = len(message.tasks)
    objects = message.objects if len(message.objects) == count else [b""] * count
    peaks = message.vram_peaks if len(message.vram_peaks) == count else [-1] * count
    sizes = message.batch_calls if len(message.batch_calls) == count else [0] * count
    columns = zip(
        message.outcomes,
        message.values,
        message.details,
        message.run_us,
        objects,
        peaks,
        sizes,
        strict=True,
    )
    saids = map(_Said._make, columns)
    rows = zip(message.tasks, message.attempts, message.tokens, saids, strict=True)
    for blob, number, token, said in rows:
        task = core.tasks.get(int.from_bytes(blob, "big"))
        live = task.live if task else None
        if task and live and live.number == number and live.node == node.name:
            if not same_token(live.token, token):
                effects.notes.append(
                    Note("error", "result with a wrong token", {"node": node.name})
                )
                continue
            live.see_vram(said.vram_peak_bytes)
            live.batch_calls = min(max(said.batch_calls, 0), BATCH_MAX)
            recovery.settle(core, task, effects)
            _settle(core, task, said, now, effects)
        elif recovery.keeps(core, node, blob, number):
            continue  # unacknowledged, it waits on its node
        elif len(blob) != ids.ID_BYTES:
            effects.notes.append(Note("error", "result without a task", {"node": node.name}))
            continue
        else:
            effects.commit.ended.append(
                AttemptEnded(
                    ids.from_bytes(blob),
                    number,
                    node.name,
                    "superseded",
                    "",
                    "",
                    now.wall_ms,
                    said.run_us,
                    said.vram_peak_bytes,
                )
            )
        acked_tasks.append(blob)
        acked_attempts.append(number)
    effects.to_nodes.append(
        ToNode(node.name, ResultAck(node.incarnation, acked_tasks, acked_attempts))
    )


class _Said(NamedTuple):
    """What a node says of one end; `objects` were claimed and checked."""

    outcome: int
    value: bytes
    details: bytes
    run_us: int
    objects: bytes
    vram_peak_bytes: int
    batch_calls: int


def _settle(core: Core, task: Task, said: _Said, now: Now, effects: Effects) -> None:
    assert task.live is not None
    outcome, value, details, run_us, objects, _, _ = said
    wanted = task.state is not State.STOPPING or task.stop is not StopReason.CANCELLED
    if outcome == Outcome.SUCCEEDED and wanted:
        if core.runtimes.add(task.spec.kind, run_us * 1_000):
            reservations.on_known(core)
        if task.spec.size_class:
            alike = learning_key(task.spec.kind, task.spec.size_class)
            core.runtimes.add(alike, run_us * 1_000)
        if task.live.gpus:
            _note_pace(core, task, task.live, run_us)
        black_holes.on_success(core, task, task.live, now, effects)
        attempt = life.close_attempt(core, task, "succeeded", now, effects, run_us=run_us)
        needs.note_run(core, task, attempt, run_us, now, effects.commit.learned)
        life.finish(
            core,
            task,
            Fact.SUCCEED,
            now,
            effects,
            value=value,
            details=details,
            node=attempt.node,
            objects=objects,
        )
    elif task.state is State.STOPPING and not _failed_by_itself(task, outcome):
        life.gone(core, task, now, effects, details=details, run_us=run_us)
    elif outcome == Outcome.FAILED:
        code, text = _read_error(details)
        if black_holes.on_failure(core, task, task.live, code, run_us, now, effects):
            life.excuse(core, task, now, effects, code=code, message=text, run_us=run_us)
            return
        life.settle_failure(
            core, task, now, effects, code=code, message=text, details=details, run_us=run_us,
            objects=objects,
        )  # fmt: skip
    else:
        if not task.live.recalled:
            holder = core.fleet.nodes[task.live.node]
            holder.shunned[task.live.request] = now.mono_ns + core.settings.shun_ns
        life.requeue(core, task, now, effects, "returned", _why_returned(details))


def _note_pace(core: Core, task: Task, attempt: Attempt, run_us: int) -> None:
    """Remember how quick the cards of an attempt were, where they are all of one model."""
    cards = core.fleet.nodes[attempt.node].cards
    models = {cards[uuid].gpu.name for uuid in attempt.gpus if uuid in cards}
    if len(models) == 1:
        core.paces.add(task.spec.kind, models.pop(), run_us * 1_000)


def _failed_by_itself(task: Task, outcome: int) -> bool:
    """Tell whether a task that was to move on, or had not started, failed before it was stopped."""
    return outcome == Outcome.FAILED and task.stop in (StopReason.DRAIN, StopReason.START_TIMEOUT)


def _why_returned(details: bytes) -> str:
    code, text = _read_error(details) if details else ("", "")
    return f"the node handed it back ({code}: {text})" if code else "the node handed it back"


def _read_error(details: bytes) -> tuple[str, str]:
    """Return code and message of a failure's document; a broken document is the node's fault."""
    try:
        document = unpack_document(details)
    except MalformedFrame:
        return "exception", "the node sent no readable error"
    return (
        str(document.get("code", "exception"))[:CODE_CHARS_MAX],
        str(document.get("message", ""))[:MESSAGE_CHARS_MAX],
    )
