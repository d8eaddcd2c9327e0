"""What did the agent before this one leave: runners that live are taken over, dead ones settled."""

from __future__ import annotations

import select
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..protocol.messages import Outcome
from ..protocol.spec import IfNodeLost, TaskSpec
from ..worker.frames import PROTOCOL, Cancel, Hello
from . import endings, grants, link, loading, recovery
from .crew import Order, Seat
from .grants import Grant, Granted
from .hearing import LOST, Hearing
from .interpreters import NotOffered
from .lanes import Lane, LaneState
from .stage import worker_name
from .task import Attempt, Key, Plan, ending

HELLO_WAIT_S = 5.0
UNKNOWN_POOL = "unknown"


@dataclass(slots=True)
class Adoption:
    """Take over what is in the directory of runners, before anything is registered.

    `late` are runners that live and did not answer in time: they are greeted when they do.
    """

    hearing: Hearing
    runners_dir: Path
    adopted: int = 0
    settled: int = 0
    late: set[Path] = field(default_factory=set)

    def run(self) -> None:
        """Find runners, settle the dead ones, wait for the word of the living ones."""
        found = link.scan(self.runners_dir)
        for directory in found.dead:
            self.settle(directory)
        crew = self.hearing.crew
        self.late = set(found.alive)
        for directory in found.alive:
            crew.take_over(directory)
        waiting = select.poll()
        waiting.register(crew.fileno(), select.POLLIN)
        until = time.monotonic() + HELLO_WAIT_S
        while self.late and time.monotonic() < until:
            crew.attach_due(time.monotonic_ns())
            waiting.poll(10)
            self.listen(time.monotonic_ns())

    def listen(self, now: int) -> None:
        """Hear runners, taking over those that speak for the first time."""
        crew = self.hearing.crew
        for seat, messages in crew.hear():
            if seat.directory in self.late and isinstance(messages[0], Hello):
                self.late.discard(seat.directory)
                self.take_over(seat, messages[0], now)
            self.hearing.on_messages(seat, messages, now)
        while crew.gone:
            seat = crew.gone.pop()
            if seat.directory in self.late:
                self.late.discard(seat.directory)
                self.settle(seat.directory)
            else:
                self.hearing.on_gone(seat, now)
        for seat in self.hearing.haunted.due(now):
            self.hearing.on_gone(seat, now)

    def take_over(self, seat: Seat, hello: Hello, now: int) -> None:
        """Bring what a living runner holds into our tables."""
        granted = grants.read(seat.directory)
        lane = self._lane(seat, hello, granted, now) if hello.occupant == "worker" else None
        for row in [*hello.held, *hello.unacked]:
            key = (bytes.fromhex(str(row[0])), int(str(row[1])))
            grant = granted.attempts.get(key)
            seat.open[key] = None
            if grant is None:  # without its token nobody would believe its result
                self.hearing.crew.tell(seat, Order(Cancel(*key, 0.0)))
                continue
            attempt = _attempt(grant)
            in_lane = lane is not None and grant.kind != "command"
            self.hearing.core.adopt(attempt, lane.id if lane is not None and in_lane else 0)
            self.hearing.stage.seat_of[key] = seat
            if grant.kind == "command":
                seat.command, seat.cards = key, grant.gpus
            self.adopted += 1
        if lane is not None and lane.single and not lane.open:
            endings.close(self.hearing.core.state, lane)

    def _lane(self, seat: Seat, hello: Hello, granted: Granted, now: int) -> Lane:
        """Count a warm worker as ours; only residents outlive the calls that they have."""
        state = self.hearing.core.state
        worker = granted.workers.get(hello.worker)
        lane_id = 0
        if worker is None:
            worker = grants.WorkerGrant(hello.worker, UNKNOWN_POOL, "", ())
        card = worker.gpus[0] if worker.gpus else ""
        if worker.resident and self._is_wanted(worker, hello):
            lane_id = loading.adopt(state, worker.resident, card, now)
        if lane_id:
            lane = state.lanes.by_id[lane_id]
        elif worker.resident:
            lane = loading.adopt_unwanted(
                state, worker.resident, worker.pool, card, worker.vram_bytes, now
            )
        else:
            lane = state.lanes.add(worker.pool, now, gpus=worker.gpus, single=True)
            lane.state = LaneState.READY
        seat.lane, seat.worker, seat.cards = lane.id, worker, worker.gpus
        if worker.project:
            self.hearing.stage.moving.projects[lane.id] = worker.project
        self.hearing.stage.lane_seats[lane.id] = seat
        return lane

    def _is_wanted(self, worker: grants.WorkerGrant, hello: Hello) -> bool:
        """Tell whether this resident is the one that we would start.

        One with an older runner is not: that would drop the limits of calls that it does not know.
        """
        card = worker.gpus[0] if worker.gpus else ""
        resident = loading.adoptable(self.hearing.core.state, worker.resident, card)
        if resident is None or hello.newest < PROTOCOL:
            return False
        executor = self.hearing.stage.executors["handler"]
        try:
            host = executor.host(worker.resident, None, worker.gpus)
            stamp = executor.stamp(worker.resident, None)
        except NotOffered:  # its interpreter or a secret of it is gone
            return False
        ours = Lane(0, worker.pool, worker.gpus, worker.resident, stamp=stamp)
        return worker_name(ours, host) == worker.worker

    def settle(self, directory: Path) -> None:
        """Read what a dead runner left, and report it as far as its tokens are known."""
        found = recovery.recover(directory)
        granted = grants.read(directory)
        now = time.monotonic_ns()
        core = self.hearing.core
        answered = {(done.task, done.attempt) for done in found.finished}
        answered |= {(out.task, out.attempt) for rec in found.results for out in rec.outcomes}
        lost: list[Key] = [key for key in found.lost if key not in answered]
        for key in sorted(answered | set(lost)):
            grant = granted.attempts.get(key)
            if grant is not None and core.find(key) is None:
                core.adopt(_attempt(grant))
                self.settled += 1
        seat = Seat(directory, grants.GrantsFile(directory))
        if found.stuck:  # they stay held until it is dead
            for key in filter(core.find, [*answered, *lost]):
                seat.open[key] = None
                self.hearing.stage.seat_of[key] = seat
            self.hearing.haunted.add(seat, found.stuck, now)
            return
        for finished in found.finished:
            self.hearing.on_finished(seat, finished, now)
        for results in found.results:
            self.hearing.on_results(seat, results, now)
        text = "the runner of the task was killed"
        if found.rebooted:
            text = "the host was restarted"
        answers = [
            ending(attempt, Outcome.FAILED, LOST, text)
            for key in lost
            if (attempt := core.find(key)) is not None
        ]
        endings.on_endings(core.state, answers, now)
        seat.grants.close()
        needed = {key for key in answered if core.find(key) is not None}
        for key in lost:
            if core.find(key) is not None:
                needed.add(key)
                self.hearing.stage.seat_of[key] = seat
        self.hearing.stage.archive.bury(directory, needed)


def _attempt(grant: Grant) -> Attempt:
    """Make the attempt as far as it is known: it runs, so its request does not matter any more."""
    kind = grant.kind if grant.kind in ("function", "handler") else "command"
    fate: IfNodeLost = "fence" if grant.is_fenced else "rerun"
    spec = TaskSpec(
        kind=kind,  # type: ignore[arg-type]  # narrowed above
        grace_ms=grant.grace_ms,
        if_node_lost=fate,
        outputs=list(grant.outputs),
        keep_log=grant.keep_log,
    )
    pool = "" if kind == "command" else UNKNOWN_POOL
    plan = Plan(
        spec, grant.owner, pool, spec.request, is_stored=bool(spec.outputs or spec.keep_log)
    )
    return Attempt(
        *grant.key,
        grant.token,
        plan,
        grant.charge,
        gpus=grant.gpus,
        batch=grant.batch,
        returned=1_000,
    )
