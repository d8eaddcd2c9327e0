"""How does an attempt move on its node: QUEUED -> RUNNING -> ENDED, and gone once acknowledged.

Before it is queued for a slot it may be staged (QUEUED for the scheduler), after its process ended
its outputs may be stored (RUNNING for the scheduler): see `staging.py` and `storing.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

from ..protocol import codec
from ..protocol.messages import Outcome, Phase
from ..protocol.resources import Request
from ..protocol.spec import TaskSpec
from .slots import Charge

Key = tuple[bytes, int]
"""What names an attempt: the 16 bytes of its task and a number that only grows."""

HANDLER_POOL = "handler:"
FRESH_POOL = "fresh:"
FENCED = "fenced"
FENCED_TEXT = "stopped: this node had not heard its scheduler for too long"

TRANSITIONS: dict[Phase, tuple[Phase, ...]] = {
    # An attempt may end without having run (killed in the queue), and what came back from a
    # worker unstarted is queued again.
    Phase.QUEUED: (Phase.RUNNING, Phase.ENDED),
    Phase.RUNNING: (Phase.ENDED,),
    Phase.ENDED: (),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What attempts of one spec and owner share.

    `pool` names the warm workers that may run it: nothing for a command. `request` is what the spec
    asks for, kept because that is dear to work out for each attempt. `is_staged`: something is
    prepared for each of them, be it only a directory of its own; `is_stored`: something of each
    goes to the store. `user` is who it runs as, empty for the agent's own.
    """

    spec: TaskSpec
    owner: str
    pool: str
    request: Request
    is_staged: bool = False
    is_stored: bool = False
    user: str = ""

    @property
    def is_command(self) -> bool:
        return not self.pool


@dataclass(slots=True)
class Attempt:
    """One attempt that this node holds.

    `seq` orders arrivals; `handed` says that a runner has it (its lane is `lane`, 0 for a
    command's own runner); `reserved` that it holds its charge itself; `stop` is why it was asked
    to end, `recalled` that the scheduler wants it back if it has not begun, `alone` that it is to
    share no batch: its worker died in one. `batch_calls` counts the calls of the batch that it ran
    in (0: its worker takes one at a time). `rev` 0 stands for
    what an earlier agent left behind. `claims` open the objects that it needs. VRAM is what was
    measured of it on one card (-1: nothing).
    """

    task: bytes
    number: int
    token: bytes
    plan: Plan
    charge: Charge
    args: bytes = b""
    gpus: tuple[str, ...] = ()
    batch: bytes = b""
    rev: int = 0
    seq: int = 0
    prefetched: bool = False
    phase: int = Phase.QUEUED
    handed: bool = False
    lane: int = 0
    reserved: bool = False
    stop: str = ""
    recalled: bool = False
    returned: int = 0
    alone: bool = False
    batch_calls: int = 0
    claims: bytes = b""
    vram_used_bytes: int = -1
    vram_peak_bytes: int = -1

    @property
    def key(self) -> Key:
        return self.task, self.number


class Ending(NamedTuple):
    """How one attempt ended, as it goes into RESULT; `code` repeats the one in `details`.

    `returns_objects`: its value names objects that are still to be stored. `printed` counts bytes
    of output, `is_cut` tells that not all of them are in `details`. `objects` are the claims of
    what was stored.
    """

    task: bytes
    number: int
    outcome: int
    value: bytes = b""
    details: bytes = b""
    run_us: int = 0
    code: str = ""
    returns_objects: bool = False
    printed: int = 0
    is_cut: bool = False
    objects: bytes = b""
    vram_peak_bytes: int = -1
    batch_calls: int = 0


@dataclass(slots=True)
class Counters:
    """What was counted instead of logged, by name."""

    by_name: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, number: int = 1) -> None:
        self.by_name[name] = self.by_name.get(name, 0) + number


def ending(
    attempt: Attempt, outcome: Outcome, code: str, message: str, **details: object
) -> Ending:
    """Say how an attempt ended without a runner's word."""
    document = {"code": code, "message": message, **details}
    blob = codec.pack_document(document)
    return Ending(attempt.task, attempt.number, outcome, details=blob, code=code)


def plan_of(spec: TaskSpec, owner: str) -> Plan:
    """Name the workers that may run a spec: same owner, environment, directory and code.

    The environment is the interpreter, what is installed for it, and all variables.
    """
    if spec.kind == "command":
        pool = ""
    elif spec.kind == "handler":
        pool = HANDLER_POOL + spec.target
    else:
        key = [owner, sorted(spec.env.items()), spec.cwd, spec.source_name, spec.source]
        key += [spec.project, spec.python, spec.requirements, sorted(spec.secrets)]
        kind = FRESH_POOL if spec.fresh else "function:"
        pool = kind + hashlib.blake2b(repr(key).encode(), digest_size=12).hexdigest()
    is_staged = bool(spec.files or spec.outputs or spec.project or spec.stdin_object)
    is_stored = bool(spec.outputs or spec.keep_log)
    return Plan(spec, owner, pool, spec.request, is_staged, is_stored)
