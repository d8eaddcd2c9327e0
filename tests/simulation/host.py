"""What lives on a host whatever its agent does: runners, processes, cards, files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import Any

from remuda.config.tuning import Told
from remuda.node.grants import Grant, WorkerGrant
from remuda.node.task import Ending, Key
from remuda.protocol.capabilities import Capabilities
from remuda.protocol.codec import pack_document
from remuda.protocol.messages import Outcome

from ..invariants import History, Run
from .agenda import MS, Agenda, Clock
from .behaviour import OUT_OF_MEMORY, Behaviour
from .limits import OUTCOMES, watch_timeout
from .nvml import Model, Nvml
from .things import Part

START_NS = (1 * MS, 20 * MS)
LOAD_NS = (20 * MS, 200 * MS)
TERM_NS = 30 * MS
STARTED_NS = 100 * MS
HOLE_NS = (1 * MS, 5 * MS)
UNLOAD_NS = (5 * MS, 60 * MS)


@dataclass(slots=True, eq=False)
class Work:
    """One attempt in the hands of a runner: it waits until `run` is there.

    `fence_ns` is when it must end unless that is put off, `how` why it is being ended.
    """

    key: Key
    behaviour: Behaviour
    cards: tuple[tuple[str, int, int], ...]
    is_call: bool
    grace_ns: int = 0
    timeout_ns: int = 0
    fence_ns: int = 0
    has_outputs: bool = False
    how: str = "cancelled"
    run: Run | None = None


@dataclass(slots=True, eq=False)
class Runner:
    """A process that outlives the agent, with its directory.

    `works` are without an answer, `answers` without an acknowledgement, `grants` what was written
    down before an order was sent. `tell` reaches the agent that is attached, if one is.
    """

    number: int
    alive: bool = True
    works: dict[Key, Work] = field(default_factory=dict)
    answers: dict[Key, Ending] = field(default_factory=dict)
    grants: dict[Key, Grant] = field(default_factory=dict)
    worker: WorkerGrant | None = None
    is_loaded: bool = False
    ends_when_idle: bool = False
    queue: deque[Work] = field(default_factory=deque)
    tell: Callable[[str, object], None] | None = None
    models: list[Model] = field(default_factory=list)

    @property
    def is_free(self) -> bool:
        return self.alive and not self.works and self.worker is None

    def say(self, word: str, what: object) -> None:
        """Tell the agent, if one listens."""
        if self.tell is not None:
            self.tell(word, what)

    def forget(self, key: Key) -> None:
        """Drop an acknowledged answer."""
        self.answers.pop(key, None)
        self.grants.pop(key, None)

    def leave_cards(self, now_ns: int, *, keeps_worker: bool = False) -> None:
        """Have the process of a worker be gone; its file may be left."""
        for model in self.models:
            model.end_ns = min(model.end_ns, now_ns)
        self.models = []
        if not keeps_worker:
            self.worker = None

    def kill(self) -> None:
        """Die at once; the tree goes when somebody looks, the files stay."""
        self.alive = False
        self.say("gone", None)


@dataclass(slots=True)
class Host:
    """One machine, whatever its agent does."""

    name: str
    agenda: Agenda
    history: History
    clock: Clock
    capabilities: Capabilities
    boot: int = 1
    hole_until_ns: int = 0
    health_kept: dict[str, Any] = field(default_factory=dict)
    told: Told = field(default_factory=Told)
    runners: list[Runner] = field(default_factory=list)
    nvml: Nvml = field(init=False)
    _pids: int = 100
    _numbers: int = 0

    def __post_init__(self) -> None:
        self.nvml = Nvml(self.capabilities)

    # --- runners ----------------------------------------------------------------------------

    def free_runner(self, taken: Container[int]) -> Runner:
        """Return an idle runner that is not one of those taken, or start one."""
        for runner in self.runners:
            if runner.is_free and runner.tell is not None and runner.number not in taken:
                return runner
        self._numbers += 1
        self.runners.append(Runner(self._numbers))
        return self.runners[-1]

    def begin(self, runner: Runner, work: Work) -> None:
        """Take an order: a command begins soon, a call when its worker comes to it."""
        runner.works[work.key] = work
        if work.is_call:
            runner.queue.append(work)
            self._next_call(runner)
        else:
            self.after(runner, START_NS, lambda: self._start(runner, work))

    def host_worker(self, runner: Runner, worker: WorkerGrant, cards: Iterable[Part] = ()) -> None:
        """Start a worker; it can be fed at once and begins once it is loaded.

        `cards` is what its model takes.
        """
        runner.worker, runner.is_loaded, runner.ends_when_idle = worker, False, False
        self._pids += 1
        runner.models = [
            Model(self._pids, worker.resident, part, self.agenda.now_ns) for part in cards
        ]
        self.nvml.models += runner.models
        self.after(runner, LOAD_NS, lambda: self._loaded(runner, worker))

    def _loaded(self, runner: Runner, worker: WorkerGrant) -> None:
        if runner.worker is not worker:
            return
        runner.is_loaded = True
        runner.say("loaded", None)
        self._next_call(runner)

    def _next_call(self, runner: Runner) -> None:
        if not runner.is_loaded or any(work.run for work in runner.queue):
            return
        if runner.queue:
            work = runner.queue[0]
            self._start(runner, work)
        elif runner.ends_when_idle:
            self.end_worker(runner)

    def _start(self, runner: Runner, work: Work) -> None:
        if runner.works.get(work.key) is not work or work.run is not None:
            return
        now_ns = self.agenda.now_ns
        task, attempt = work.key
        work.run = Run(task, attempt, self.name, now_ns, cards=work.cards)
        work.run.has_outputs = work.has_outputs
        self.history.runs.append(work.run)
        self._pids += 1
        self.nvml.see(self._pids, work.run)
        self.agenda.trace.note(now_ns, f"{self.name} runs attempt {attempt}", (task,))
        if now_ns < self.hole_until_ns:
            self.after(runner, HOLE_NS, lambda: _swallow(self, runner, work))
            return
        run_ns = work.behaviour.run_ms * MS
        self.after(runner, (run_ns, run_ns + MS), lambda: self._finish(runner, work))
        watch_timeout(self, runner, work)
        if run_ns > STARTED_NS:
            span = (STARTED_NS, STARTED_NS + MS)
            self.after(
                runner, span, lambda: work.key in runner.works and runner.say("started", work.key)
            )

    def _finish(self, runner: Runner, work: Work) -> None:
        if runner.works.get(work.key) is not work:
            return
        code = work.behaviour.failure(work.key[1], work.cards)
        if work.run is not None:
            work.run.is_starved = code == OUT_OF_MEMORY and work.behaviour.ends == "hungry"
        self.answer(runner, work, Outcome.FAILED if code else Outcome.SUCCEEDED, code)

    def answer(self, runner: Runner, work: Work, outcome: Outcome, code: str) -> None:
        """End one work: its process is gone, its result is on disk, the agent is told."""
        run_us = 0
        if work.run is not None and work.run.is_alive:
            work.run.end_ns = self.agenda.now_ns
            work.run.succeeded = outcome is Outcome.SUCCEEDED
            run_us = (work.run.end_ns - work.run.start_ns) // 1_000
            text = f"{self.name} ended attempt {work.key[1]}: {outcome.name.lower()} {code}"
            self.agenda.trace.note(self.agenda.now_ns, text, (work.key[0],))
        del runner.works[work.key]
        if work in runner.queue:
            runner.queue.remove(work)
        details = pack_document({"code": code}) if code else b""
        value = b"value" if outcome is Outcome.SUCCEEDED else b""
        said = Ending(*work.key, outcome, value, details, run_us, code)
        runner.answers[work.key] = said
        runner.say("answer", said)
        if runner.worker is not None:
            self._next_call(runner)

    def stop(self, runner: Runner, key: Key, grace_ns: int | None) -> None:
        """Cancel: what waits never begins; what runs is ended, at the latest by KILL.

        Without a grace it is only asked back: what runs is left alone.
        """
        work = runner.works.get(key)
        if work is None:
            return
        if work.run is None:
            code, outcome = "cancelled", Outcome.RETURNED if work.is_call else Outcome.KILLED
            self.answer(runner, work, outcome, code)
            return
        if grace_ns is None:
            return
        delay_ns = grace_ns if work.behaviour.stubborn else min(grace_ns, TERM_NS)
        self.after(runner, (delay_ns, delay_ns + MS), lambda: self._killed(runner, work))

    def _killed(self, runner: Runner, work: Work) -> None:
        if runner.works.get(work.key) is not work:
            return
        if work.is_call:
            self.end_worker(runner, culprit=work)
        else:
            self.answer(runner, work, OUTCOMES[work.how], work.how)

    def end_worker(self, runner: Runner, culprit: Work | None = None) -> None:
        """End a worker with its tree: what had begun fails, what waits comes back."""
        was_loaded, runner.is_loaded = runner.is_loaded, False
        runner.leave_cards(self.agenda.now_ns)
        for work in list(runner.queue):
            if work.run is None:
                self.answer(runner, work, Outcome.RETURNED, "worker_ended")
            elif work is culprit:
                self.answer(runner, work, OUTCOMES[work.how], work.how)
            else:
                self.answer(runner, work, Outcome.FAILED, "worker_died")
        runner.say("worker_ended", was_loaded)

    # --- faults -----------------------------------------------------------------------------

    def bury(self, runner: Runner) -> list[Key]:
        """Kill what a dead runner left and return the attempts that have no answer."""
        lost = [key for key, work in runner.works.items() if work.run or not work.is_call]
        for work in runner.works.values():
            if work.run is not None and work.run.is_alive:
                work.run.end_ns = self.agenda.now_ns
        runner.works.clear()
        runner.queue.clear()
        runner.leave_cards(self.agenda.now_ns)
        return lost

    def reboot(self, *, keeps_disk: bool) -> None:
        """Lose every process at once; `keeps_disk` leaves the runners' directories."""
        self.boot += 1
        for runner in self.runners:
            runner.alive, runner.tell = False, None
            runner.leave_cards(self.agenda.now_ns, keeps_worker=True)
            for work in runner.works.values():
                if work.run is not None and work.run.is_alive:
                    work.run.end_ns = self.agenda.now_ns
        self.nvml.reboot()
        if not keeps_disk:
            self.runners.clear()

    def after(self, runner: Runner, span: tuple[int, int], act: Callable[[], object]) -> None:
        """Have a runner's process do something, unless it was killed or the host fell."""
        boot = self.boot
        delay_ns = self.agenda.chance.randrange(*span)

        def do() -> None:
            if self.boot == boot and runner.alive:
                act()

        self.agenda.after(delay_ns, do)


def unload(host: Host, runner: Runner) -> None:
    """Let an idle worker end, which takes a while."""
    worker = runner.worker

    def end() -> None:
        if runner.worker is worker:
            host.end_worker(runner)

    host.after(runner, UNLOAD_NS, end)


def _swallow(host: Host, runner: Runner, work: Work) -> None:
    """Fail as all does on this host for now."""
    if runner.works.get(work.key) is work:
        host.answer(runner, work, Outcome.FAILED, "exit_code")


def leave_unguarded(host: Host) -> None:
    """Write down what runs without its runner while no agent looks after it."""
    for runner in host.runners:
        if not runner.alive:
            host.history.unguarded.update(runner.works)
