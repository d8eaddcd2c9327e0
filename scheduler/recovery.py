"""What does a scheduler do whose journal was restored from a backup, until somebody has decided?

The cluster went on after the backup, and this journal does not know how. So nothing is started and
nothing is stopped: `strangers` are attempts that nodes hold and the journal does not know as
living, `doubts` are tasks that were open in the backup and that no node has shown since. Strangers
may live on, and their results wait on their nodes; doubts stay where they are. An operator adopts
or kills the ones and has the others run again or fail (`on_recovery.py`), then releases the hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..protocol import codec, ids
from ..protocol.messages import Describe, Described, Phase
from .events import Key, Now, Recovered
from .records import Effects, RecoveryRow, ToNode
from .tokens import make_token, same_token

if TYPE_CHECKING:
    from .core import Core
    from .fleet import Node
    from .task import Task

HOLD = "restored from a backup: see `remuda recovery list`"
DESCRIBE_AGAIN_NS = 5_000_000_000
DESCRIBED_AT_ONCE = 500
DESCRIBED_BYTES_MAX = 256 << 20
EPOCHS_TRIED_MAX = 2_000
"""So many starts of the scheduler between the backup and its end are looked through."""


@dataclass(slots=True)
class Stranger:
    """What is known of an attempt that the journal does not know as living.

    `epoch` is when it was granted, as its token proves (0: it does not, or not yet). `document` is
    what its node says of it (see `Described`), `asked_ns` when that was asked.
    """

    key: Key
    phase: int
    seen_ms: int
    token: bytes = b""
    epoch: int = 0
    document: dict[str, Any] = field(default_factory=dict)
    document_bytes: int = 0
    asked_ns: int = 0


@dataclass(slots=True)
class Recovery:
    """A hold: since when, what is still to be decided, what was."""

    row: RecoveryRow
    doubts: dict[int, None]
    outcasts: dict[Key, None]
    strangers: dict[Key, Stranger] = field(default_factory=dict)
    heard: dict[str, None] = field(default_factory=dict)
    described_bytes: int = 0
    _on: dict[str, dict[Key, Stranger]] = field(default_factory=dict)
    _of: dict[int, dict[Key, Stranger]] = field(default_factory=dict)

    def of_node(self, node: str) -> list[Stranger]:
        return list(self._on.get(node, {}).values())

    def of_task(self, task: int) -> list[Stranger]:
        return list(self._of.get(task, {}).values())

    def meet(self, key: Key, phase: int, seen_ms: int) -> Stranger:
        """Return a stranger as it stands by now, who may be a new one."""
        known = self.strangers.get(key)
        if known is None:
            known = self.strangers[key] = Stranger(key, phase, seen_ms)
            self._on.setdefault(key.node, {})[key] = known
            self._of.setdefault(key.task, {})[key] = known
        known.phase, known.seen_ms = phase, seen_ms
        return known

    def drop(self, key: Key) -> None:
        gone = self.strangers.pop(key, None)
        if gone is not None:
            self.described_bytes -= gone.document_bytes
            del self._on[key.node][key], self._of[key.task][key]


def missing(core: Core, recovery: Recovery) -> list[str]:
    """Name the nodes of the journal that have not come since."""
    return [
        node.name
        for node in core.fleet.nodes.values()
        if not node.lost and node.name not in recovery.heard
    ]


def is_doubtful(core: Core, task: Task) -> bool:
    """Tell whether nobody knows what became of a task: then nothing is concluded of it."""
    return core.recovery is not None and task.id in core.recovery.doubts


def settle(core: Core, task: Task, effects: Effects) -> None:
    """A doubt is over: its task was shown by a node, has ended, or was decided on."""
    recovery = core.recovery
    if recovery is not None and task.id in recovery.doubts:
        del recovery.doubts[task.id]
        effects.commit.settled.append(task.id)


def see(
    core: Core,
    node: Node,
    rows: Iterable[tuple[bytes, int, bytes, int]],
    now: Now,
    effects: Effects,
    *,
    is_joining: bool = False,
) -> None:
    """Compare what a node holds (task, number, token, phase) with the journal.

    Raises nothing: what is unknown becomes a stranger, and is asked about. Only a node's own word
    at joining has tokens, and is complete.
    """
    recovery = core.recovery
    if recovery is None:
        return
    if is_joining:
        recovery.heard[node.name] = None
    held: dict[Key, None] = {}
    for blob, number, token, phase in rows:
        if len(blob) != ids.ID_BYTES:
            continue
        task = core.tasks.get(ids.from_bytes(blob))
        if task is not None and _is_live(task, number, node, token if is_joining else None):
            settle(core, task, effects)
            continue
        key = Key(ids.from_bytes(blob), number, node.name)
        held[key] = None
        if key in recovery.outcasts:
            continue
        known = recovery.meet(key, phase, now.wall_ms)
        if token and not known.token:
            _prove(core, known, token)
    for known in recovery.of_node(node.name):
        if known.key not in held:
            recovery.drop(known.key)  # its node let it go: fenced, or ended and told before
    _ask(recovery, node, now, effects)


def _is_live(task: Task, number: int, node: Node, token: bytes | None) -> bool:
    """Tell whether the journal knows an attempt as the living one of its task."""
    live = task.live
    if live is None or (live.number, live.node) != (number, node.name):
        return False
    return token is None or same_token(live.token, token)


def _prove(core: Core, stranger: Stranger, token: bytes) -> None:
    """Find the epoch in which an attempt was granted: its token proves that it was."""
    stranger.token = token
    recovery = core.recovery
    assert recovery is not None
    first = recovery.row.epoch_before
    last, oldest = first + EPOCHS_TRIED_MAX, max(first - EPOCHS_TRIED_MAX, 1)
    for epoch in (*range(first, last), *range(first - 1, oldest - 1, -1)):
        made = make_token(core.secret, stranger.key.task, stranger.key.number, epoch)
        if same_token(made, token):
            stranger.epoch = epoch
            return


def _ask(recovery: Recovery, node: Node, now: Now, effects: Effects) -> None:
    """Ask a node what its strangers are, until it has said."""
    if not codec.is_spoken(Describe, node.protocol) or not node.connected:
        return
    if recovery.described_bytes >= DESCRIBED_BYTES_MAX:
        return
    unknown = [
        each
        for each in recovery.of_node(node.name)
        if not each.document and not 0 < now.mono_ns - each.asked_ns < DESCRIBE_AGAIN_NS
    ][:DESCRIBED_AT_ONCE]
    if not unknown:
        return
    for each in unknown:
        each.asked_ns = now.mono_ns
    tasks = [ids.to_bytes(each.key.task) for each in unknown]
    numbers = [each.key.number for each in unknown]
    effects.to_nodes.append(ToNode(node.name, Describe(node.incarnation, tasks, numbers)))


def on_described(core: Core, node: Node, message: Described, _now: Now, _effects: Effects) -> None:
    """Keep what a node says of its strangers; whether it makes sense is looked at later."""
    recovery = core.recovery
    if recovery is None:
        return
    rows = zip(message.tasks, message.attempts, message.documents, strict=True)
    for blob, number, document in rows:
        if len(blob) != ids.ID_BYTES:
            continue
        known = recovery.strangers.get(Key(ids.from_bytes(blob), number, node.name))
        if known is None or known.document:
            continue
        known.document = document
        known.document_bytes = len(codec.pack_document(document))
        recovery.described_bytes += known.document_bytes
        token = document.get("token")
        if type(token) is bytes and not known.token:
            _prove(core, known, token)


def keeps(core: Core, node: Node, blob: bytes, number: int) -> bool:
    """Tell whether the result of an attempt waits on its node until somebody has decided."""
    recovery = core.recovery
    if recovery is None or len(blob) != ids.ID_BYTES:
        return False
    key = Key(ids.from_bytes(blob), number, node.name)
    if key in recovery.outcasts:
        return False
    if (known := recovery.strangers.get(key)) is not None:
        known.phase = Phase.ENDED
    return True


def living(core: Core, node: Node) -> tuple[list[bytes], list[int]]:
    """Return the strangers of a node, which may live as what the journal knows."""
    if core.recovery is None:
        return [], []
    found = core.recovery.of_node(node.name)
    return [ids.to_bytes(each.key.task) for each in found], [each.key.number for each in found]


def outcasts_held(core: Core, node: Node, rows: Iterable[tuple[bytes, int]]) -> list[Key]:
    """Return what a node still holds of what is to be killed."""
    if core.recovery is None or not core.recovery.outcasts:
        return []
    keys = [Key(ids.from_bytes(blob), number, node.name) for blob, number in rows]
    return [key for key in keys if key in core.recovery.outcasts]


def recover(core: Core, recovered: Recovered) -> None:
    """Begin held, or go on so after a restart."""
    if recovered.recovery is None:
        return
    outcasts = {Key(each.task, each.attempt, each.node): None for each in recovered.outcasts}
    core.recovery = Recovery(recovered.recovery, dict.fromkeys(recovered.doubts), outcasts)
    core.hold(HOLD)
