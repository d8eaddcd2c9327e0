"""What the core hears: requests that passed the edge, and what authenticated nodes say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..protocol.messages import Ask, Message, Register
from ..protocol.resources import Request
from .batches import EndedMembers
from .records import (
    ConfigRow,
    CordonRow,
    Floors,
    HandlerRow,
    LearnedRow,
    NodeRow,
    OutcastRow,
    RecoveryRow,
)
from .task import Policy

if TYPE_CHECKING:
    from .configured import Wanted
    from .core import CoreSettings


class Now(NamedTuple):
    """A reading of both clocks in nanoseconds: durations run on `mono_ns`."""

    mono_ns: int
    wall_ns: int

    @property
    def wall_ms(self) -> int:
        return self.wall_ns // 1_000_000


class Key(NamedTuple):
    """An attempt on a node."""

    task: int
    number: int
    node: str


class NewSpec(NamedTuple):
    """A validated spec: its encoded document, what the core needs of it, the objects it names.

    `vram` and `size` are expressions over the arguments of its tasks.
    """

    body: bytes
    request: Request
    policy: Policy
    kind: str
    name: str
    digests: tuple[bytes, ...] = ()
    vram: str = ""
    size: str = ""


class NewTask(NamedTuple):
    """A task to store: its id was made by the edge.

    `sized_bytes` of VRAM and `size_class` are what its arguments make of its spec's expressions.
    """

    id: int
    spec_index: int
    args: bytes
    once: str = ""
    retry_of: int = 0
    objects: bytes = b""
    sized_bytes: int = 0
    size_class: int = 0


@dataclass(slots=True)
class SubmitTasks:
    """A submission frame that is new (the edge has answered known keys from the journal).

    `request` is the edge's handle for the reply. `spec_objects` is empty or holds, for each spec,
    the objects that it names (see `claims.join_objects`).
    """

    request: int
    principal: str
    session: bytes
    submit_key: bytes
    specs: list[NewSpec]
    tasks: list[NewTask]
    batch: int = 0
    batch_key: bytes = b""
    offset: int = 0
    allow_infeasible: bool = False
    spec_objects: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class CancelTasks:
    """Cancel by id, member ids of batches included; `owner` limits to one's own tasks ("": all).

    Ids that are not in memory have ended, perhaps in this turn, unless `unknown` has them.
    """

    request: int
    principal: str
    owner: str
    ids: list[int]
    grace_ms: int
    unknown: frozenset[int] = field(default_factory=frozenset)


@dataclass(slots=True)
class JoinNode:
    """A node registers; its name comes from its key. `port` of the reply is filled by the shell."""

    request: int
    node: str
    message: Register


@dataclass(slots=True)
class NodeSays:
    """Any other message of an authenticated node."""

    node: str
    message: Message


@dataclass(slots=True)
class NodeRevoked:
    """The node's key was withdrawn: nothing of it is believed, its tasks move on."""

    node: str


@dataclass(slots=True)
class DrainNode:
    """Give a node no new work; what is left after `deadline_ms` (0: never) moves on."""

    request: int
    principal: str
    node: str
    reason: str
    deadline_ms: int


@dataclass(slots=True)
class UndrainNode:
    request: int
    principal: str
    node: str


@dataclass(slots=True)
class NodeDeclaredLost:
    """A person saw that a node is off."""

    request: int
    principal: str
    node: str


@dataclass(slots=True)
class NodeForgotten:
    """Strike a node from the list."""

    request: int
    principal: str
    node: str


@dataclass(slots=True)
class CordonGpu:
    """Give a GPU (see `cordons.find`) no new work."""

    request: int
    principal: str
    gpu: str
    reason: str


@dataclass(slots=True)
class UncordonGpu:
    request: int
    principal: str
    gpu: str


class Adopt(NamedTuple):
    """An attempt to adopt after a restore, with what its node said of it as far as that is sound.

    `has_ended`: the journal has the end of its task. `spec` is None where there is none to read.
    """

    key: Key
    has_ended: bool
    owner: str
    spec: NewSpec | None
    args: bytes
    batch: int
    gpus: tuple[str, ...]


@dataclass(slots=True)
class RecoveryDecided:
    """An operator decided what a restored journal cannot know (see `DecideRecovery`).

    `everything`: of what is to be adopted, what cannot be is left.
    """

    request: int
    principal: str
    verb: str
    adopted: list[Adopt] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    everything: bool = False
    force: bool = False


@dataclass(slots=True)
class RequestRefused:
    """Somebody may not do `what`; `untold` counts how often that was so since the last word."""

    principal: str
    what: str
    untold: int = 0


@dataclass(slots=True)
class SwitchHandler:
    """Give a handler no new calls on a node ("": on any), or, with `on`, lift that."""

    request: int
    principal: str
    handler: str
    node: str
    on: bool
    reason: str


@dataclass(slots=True)
class ReloadHandler:
    """Have a handler loaded anew on a node ("": on all that have it)."""

    request: int
    principal: str
    handler: str
    node: str


@dataclass(slots=True)
class TaskAsked:
    """Somebody reaches into a task; `did` is what the audit says of it ("": nothing changes)."""

    principal: str
    node: str
    message: Ask
    did: str


@dataclass(slots=True)
class ConfigChanged:
    """A version of the configuration was accepted: `settings` hold from now on, `wanted` for nodes.

    `request` 0 asks for no reply. `subject` is what the audit says of it.
    """

    request: int
    principal: str
    row: ConfigRow
    settings: CoreSettings
    wanted: Wanted
    subject: str
    reply: Message


Event = (
    SubmitTasks
    | CancelTasks
    | JoinNode
    | NodeSays
    | NodeRevoked
    | DrainNode
    | UndrainNode
    | NodeDeclaredLost
    | NodeForgotten
    | CordonGpu
    | UncordonGpu
    | SwitchHandler
    | ReloadHandler
    | TaskAsked
    | ConfigChanged
    | RequestRefused
    | RecoveryDecided
)


class RecoveredTask(NamedTuple):
    """A task of the journal that has not ended."""

    id: int
    number: int
    batch: int
    spec_id: int
    owner: str
    session: bytes
    state: int
    charged: int
    due_ms: int
    grace_ms: int
    avoid: str
    stop: int
    spent: str
    memory_bytes: int
    vram_bytes: int
    created_ms: int
    sized_bytes: int
    size_class: int
    attempts: int


class RecoveredAttempt(NamedTuple):
    """An attempt of the journal that was granted and has not ended."""

    task: int
    number: int
    node: str
    epoch: int
    gpus: tuple[str, ...]
    asked: bytes = b""


@dataclass(slots=True)
class Recovered:
    """All that the journal hands to a starting core.

    `specs` maps the ids that `tasks` name to (request, policy, kind), `ended_of` tells of a batch
    what of it has ended.
    """

    specs: dict[int, tuple[Request, Policy, str]]
    tasks: Iterable[RecoveredTask]
    attempts: Iterable[RecoveredAttempt]
    nodes: list[NodeRow]
    next_number: int
    next_spec_id: int
    ended_of: Callable[[int], EndedMembers]
    learned: list[LearnedRow] = field(default_factory=list)
    cordons: list[CordonRow] = field(default_factory=list)
    handlers: list[HandlerRow] = field(default_factory=list)
    recovery: RecoveryRow | None = None
    doubts: list[int] = field(default_factory=list)
    outcasts: list[OutcastRow] = field(default_factory=list)
    floors: Floors = Floors()  # noqa: RUF009 - a tuple, which nobody changes
