"""What one task costs in the core and the journal alone: submitted, granted, ended; no sockets."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from remuda.protocol import capabilities, ids
from remuda.protocol.codec import pack_document
from remuda.protocol.messages import Outcome, Register, Results
from remuda.protocol.spec import TaskSpec, to_document
from remuda.scheduler.core import Core, CoreSettings
from remuda.scheduler.events import JoinNode, NewSpec, NewTask, NodeSays, Now, SubmitTasks
from remuda.scheduler.journal import Journal
from remuda.scheduler.records import Effects, Granted, Offering
from remuda.scheduler.task import policy_of

TASKS = 20_000
FRAME = 1_000


def main() -> dict[str, float]:
    """Return microseconds per task to submit, and to grant and end."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal.open(Path(folder) / "state")
        core = Core(
            journal.recover(), epoch=journal.next_epoch(), secret=journal.secret(), seed=1,
            settings=CoreSettings(), now=_now(),
        )  # fmt: skip
        known = capabilities.to_document(capabilities.Capabilities(2_000, 8 << 30))
        register = Register("n1", b"i" * 16, "boot", 1, 1, known, [], [], [], [])
        _turn(core, journal, JoinNode(1, "n1", register))
        start = time.perf_counter()
        effects = [_turn(core, journal, _frame()) for _ in range(TASKS // FRAME)]
        submit_us = (time.perf_counter() - start) / TASKS * 1e6
        grants = [grant for each in effects for grant in _granted(each)]
        start = time.perf_counter()
        while core.tasks:
            grants = _granted(_turn(core, journal, NodeSays("n1", _results(grants))))
        run_us = (time.perf_counter() - start) / TASKS * 1e6
        journal.close()
    return {"submit_us": submit_us, "grant_and_end_us": run_us}


def _now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


def _turn(core: Core, journal: Journal, event: JoinNode | SubmitTasks | NodeSays) -> Effects:
    effects = core.step([event], _now())
    journal.commit(effects.commit)
    return effects


def _frame() -> SubmitTasks:
    spec = TaskSpec(kind="function", target="module:function")
    new = NewSpec(
        pack_document(to_document(spec)), spec.request, policy_of(spec), spec.learns, spec.label
    )
    first = ids.new_id(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(9), "big"))
    tasks = [NewTask(first + index, 0, b"argument") for index in range(FRAME)]
    return SubmitTasks(1, "me", b"", os.urandom(16), [new], tasks)


def _granted(effects: Effects) -> list[Granted]:
    offers = [item for item in effects.to_nodes if isinstance(item, Offering)]
    return [grant for offer in offers for grant in offer.grants]


def _results(grants: list[Granted]) -> Results:
    count = len(grants)
    return Results(
        [ids.to_bytes(grant.task) for grant in grants], [grant.attempt for grant in grants],
        [grant.token for grant in grants], [int(Outcome.SUCCEEDED)] * count, [b"value"] * count,
        [b""] * count, [50] * count,
    )  # fmt: skip


if __name__ == "__main__":
    print(main())
