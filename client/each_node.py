"""How does a command run once on every node: which nodes are meant, and what came of it on each?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..protocol.errors import Invalid, NotFound, Refused, RemudaError
from ..protocol.spec import to_document
from .batch import Batch
from .calls import words_of
from .completed import with_whole_output
from .freight import ready
from .options import said_of, to_spec
from .outcome import TaskCancelled, exit_code
from .stream import Row

if TYPE_CHECKING:
    from .batch_verbs import Argv
    from .depot import Depot
    from .session import Session
    from .stream import Watched
    from .task import Task

READY = "ready"
UNHEARD = {
    "suspect": "it was not heard for a while",
    "unheard": "it was not heard since the scheduler started",
    "lost": "it is off",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The nodes on which a command runs, and those that were meant too, each with why not."""

    nodes: tuple[str, ...]
    skipped: dict[str, str]


@dataclass(frozen=True, slots=True)
class NodeRun:
    """What came of the command on one node; `exit_code` is what `remuda run` would exit with."""

    node: str
    task_id: str
    state: str
    code: str
    exit_code: int
    stdout: str
    stderr: str
    error: RemudaError | None


class NodeBatch(Batch):
    """The tasks of a command that runs once on each of `nodes`, in their order."""

    def __init__(self, session: Session, carrier: Watched, chosen: Chosen) -> None:
        super().__init__(session, carrier.batch, carrier.tasks)
        self.nodes = chosen.nodes
        self.skipped = chosen.skipped

    @property
    def folders(self) -> Sequence[str]:
        """Name the folder of each member after its node."""
        return self.nodes

    def runs(self, timeout: float | None = None) -> Iterator[NodeRun]:
        """Yield what came of each, in order, waiting for it; raises TimeoutError."""
        until = None if timeout is None else time.monotonic() + timeout
        for node, task in zip(self.nodes, self, strict=True):
            left_s = None if until is None else max(0.0, until - time.monotonic())
            yield _run(node, task, left_s)

    def gather(self, *, check: bool = False) -> list[NodeRun]:
        """Wait for all; with `check` raises the first error that there was."""
        found = list(self.runs())
        for run in found if check else ():
            if run.error is not None:
                raise run.error
        return found


def choose(rows: Iterable[Mapping[str, Any]], options: Mapping[str, object]) -> Chosen:
    """Choose the ready nodes that the options `node`, `not_node` and `labels` do not leave out.

    Raises NotFound for a node that there is not, Refused where no node is left, Invalid where an
    alternative would let a task run on another node than its own.
    """
    asked = to_spec("command", options, argv=["true"])
    if any("nodes" in each for each in asked.alternatives):
        raise Invalid(
            "or: an alternative names nodes, but this runs once on each: leave node= out of it, or "
            "choose the nodes by --node and --not-node",
            field="or",
        )
    known = {row["name"]: row for row in rows}
    for name in asked.nodes:
        if name not in known:
            raise NotFound(f"there is no node {name}: `remuda node list` shows them", field="node")
    meant = [
        row
        for name, row in sorted(known.items())
        if (not asked.nodes or name in asked.nodes)
        and name not in asked.not_nodes
        and asked.labels.items() <= row["labels"].items()
    ]
    free = tuple(row["name"] for row in meant if row["state"] == READY)
    skipped = {row["name"]: _why_not(row) for row in meant if row["state"] != READY}
    if not free:
        said = "; ".join(f"{name} is {why}" for name, why in skipped.items())
        raise Refused(f"no node is ready for this: {said or 'none is like that'}", field="node")
    return Chosen(free, skipped)


def node_rows(
    argv: Argv, chosen: Chosen, options: Mapping[str, object], depot: Depot
) -> Iterator[Row]:
    """Make a task of a command for each node; it books no CPU unless that was asked for."""
    asked = {name: value for name, value in options.items() if name not in ("nodes", "node")}
    words = words_of(argv)
    to_spec("command", asked, argv=words)
    brought = ready(asked, depot)
    for node in chosen.nodes:
        made = to_spec("command", {"cpus": 0, **brought, "node": [node]}, argv=words)
        yield Row(to_document(made, said_of(options)), b"")


def _why_not(row: Mapping[str, Any]) -> str:
    state = str(row["state"])
    reason = (row.get("drain") or {}).get("reason") or UNHEARD.get(state, "")
    return f"{state}: {reason}" if reason else state


def _run(node: str, task: Task, timeout: float | None) -> NodeRun:
    try:
        error = task.exception(timeout)
    except TaskCancelled as cancelled:
        error = cancelled
    done = with_whole_output(task)
    return NodeRun(
        node,
        task.id,
        task.standing.state,
        task.standing.code,
        exit_code(task.standing),
        done.stdout,
        done.stderr,
        error if isinstance(error, RemudaError) else None,
    )


def worst(runs: Sequence[NodeRun]) -> int:
    """Return 0 if all succeeded, else the largest exit code."""
    return max((run.exit_code for run in runs if run.state != "succeeded"), default=0)
