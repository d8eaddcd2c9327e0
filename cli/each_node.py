"""What does `run --each-node` show: the lines of every node with its name, then how each ended?"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import screen
from .commands import Session
from .foreground import LeftRunning, interruptible, leave
from .interrupts import INTERRUPTED
from .streams import Prefixed
from .writing import counted

if TYPE_CHECKING:
    from ..client.client import Client
    from ..client.each_node import NodeBatch, NodeRun
    from ..client.task import Task

FOLLOWED_MAX = 32  # nodes whose output comes live at a time; that of others comes after
NAMED_MAX = 20


def run(
    session: Session, client: Client, command: list[str], given: dict[str, Any]
) -> tuple[NodeBatch, int]:
    """Run a command once on every ready node; return its tasks and the largest exit code."""
    from ..client.each_node import worst

    batch = client.submit_each_node(command, **given)
    tell_skipped(session, batch)
    try:
        with interruptible(session, [task.key for task in batch]) as interrupts:
            if not session.json:
                _stream(batch)
            runs = batch.gather()
    except LeftRunning:
        return batch, leave(batch.id)
    if session.json:
        screen.document(_document(batch, runs))
    elif not session.quiet:
        _summary(runs)
    return batch, INTERRUPTED if interrupts.count else worst(runs)


def tell_skipped(session: Session, batch: NodeBatch) -> None:
    """Say which nodes the command does not run on, and why."""
    if not session.quiet and not session.json:
        for node, why in batch.skipped.items():
            screen.remark(f"skipped {node}: {why}")


def skipped_rows(batch: NodeBatch) -> list[dict[str, str]]:
    """Return the nodes that were left out, for programs."""
    return [{"node": node, "reason": why} for node, why in batch.skipped.items()]


def _stream(batch: NodeBatch) -> None:
    """Write what the tasks print, as it comes, until all have ended."""
    printer = Prefixed()
    left: queue.SimpleQueue[tuple[str, Task] | None] = queue.SimpleQueue()
    for pair in zip(batch.nodes, batch, strict=True):
        left.put(pair)
    count = min(FOLLOWED_MAX, len(batch))
    ended = threading.Semaphore(0)
    for _ in range(count):
        left.put(None)
        # Daemons: a second Ctrl-C waits for none of them.
        threading.Thread(target=_follow, args=(printer, left, ended), daemon=True).start()
    for _ in range(count):
        ended.acquire()
    if printer.is_broken:
        batch.cancel()  # as a command ends whose reader has gone
        raise BrokenPipeError


def _follow(
    printer: Prefixed,
    left: queue.SimpleQueue[tuple[str, Task] | None],
    ended: threading.Semaphore,
) -> None:
    from ..client import output
    from ..protocol.errors import RemudaError

    while (pair := left.get()) is not None and not printer.is_broken:
        node, task = pair
        try:
            for piece in output.follow(task.connection, task.key):
                if not printer.write(node, piece):
                    break
        except RemudaError as error:
            screen.remark(f"{node}: {error}")
        printer.end(node)
    ended.release()


def _summary(runs: Sequence[NodeRun]) -> None:
    """Say how many succeeded, and of the others what became of each."""
    bad = [run for run in runs if run.state != "succeeded"]
    good = [run.node for run in runs if run.state == "succeeded"]
    for run in bad:
        screen.remark(f"{run.node}: {_ending(run)}")
    if good:
        more = f" and {len(good) - NAMED_MAX:,} more" if len(good) > NAMED_MAX else ""
        screen.remark(f"succeeded on {', '.join(good[:NAMED_MAX])}{more}")
    ended = f"{len(good):,} succeeded" + (f", {len(bad):,} did not" if bad else "")
    screen.remark(f"{counted(len(runs), 'node')}: {ended}")


def _ending(run: NodeRun) -> str:
    if run.code == "exit_code":
        return f"exit code {run.exit_code}"
    said = " ".join(str(run.error or "").split())
    return said or run.state


def _document(batch: NodeBatch, runs: Sequence[NodeRun]) -> dict[str, Any]:
    return {
        "batch": batch.id,
        "nodes": [
            {
                "node": run.node,
                "task": run.task_id,
                "state": run.state,
                "code": run.code or None,
                "exit_code": run.exit_code,
                "stdout": run.stdout,
                "stderr": run.stderr,
            }
            for run in runs
        ],
        "skipped": skipped_rows(batch),
    }


def submit(
    session: Session, client: Client, command: list[str], given: dict[str, Any]
) -> NodeBatch:
    """Submit a command for every ready node and print the id of the batch."""
    batch = client.submit_each_node(command, **given)
    tell_skipped(session, batch)
    if session.json:
        screen.document(
            {"batch": batch.id, "tasks": len(batch), "nodes": list(batch.nodes)}
            | {"skipped": skipped_rows(batch)}
        )
    else:
        if not session.quiet:
            named = counted(len(batch), "node")
            screen.remark(f"submitted a batch for {named} to {client.name}")
        screen.line(batch.id)
    sys.stdout.flush()
    return batch
