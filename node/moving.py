"""What has the mover been asked for, what came of it, and what does that mean for the core?

Orders without an answer are kept and said again to the next mover when one dies; both kinds can be
repeated. What kills mover after mover is given up, and so is what no mover can be started for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..config.logs import get_logger
from ..protocol import claims
from ..protocol.resources import format_bytes
from ..worker.batches import attempt_key
from . import endings, staging, storing
from .mover.words import (
    Cancel,
    Deliver,
    Delivered,
    End,
    Failed,
    InUse,
    Moved,
    Prepare,
    Prepared,
    Reach,
    Silent,
    Trouble,
    Word,
)
from .mover_orders import Orders
from .porter import Porter
from .state import State
from .task import Attempt, Ending, Key

CODE = "network"
NOWHERE = Reach("", 0, "")


@dataclass(slots=True)
class Moving:
    """The orders of one agent to its mover.

    `known` names what has a directory or objects pinned. `projects` are those that each lane has
    on its path, `said` the ones that the mover was told. `is_silent` tells of the store.
    """

    state: State
    porter: Porter
    tasks_dir: Path
    patience_ns: int
    orders: Orders = field(default_factory=Orders)
    known: set[Key] = field(default_factory=set)
    projects: dict[int, bytes] = field(default_factory=dict)
    said: set[bytes] = field(default_factory=set)
    reach: Reach = NOWHERE
    is_silent: bool = False
    _lives: int = 0
    _down_since: int = 0

    def begin(self, now: int) -> None:
        """Find what earlier agents left; a mover is started only for that."""
        for key in self.state.attempts:
            if (self.tasks_dir / attempt_key(*key)).is_dir():
                self.known.add(key)
        if any(self.tasks_dir.iterdir()):
            self.porter.start(now)

    def prepare(self, attempt: Attempt) -> None:
        """Have made what an attempt needs."""
        spec = attempt.plan.spec
        name = attempt_key(*attempt.key)
        claimed = [claims.read(each).digest for each in _split(attempt.claims)]
        wanted = [digest for digest in claimed if digest != spec.project]
        objects = [spec.stdin_object] if spec.stdin_object else []
        if not attempt.plan.is_command:
            objects = wanted
        order = Prepare(
            name,
            attempt.plan.is_command or bool(spec.files or spec.outputs or objects),
            [(file, *row) for file, row in spec.files.items()],
            list(dict.fromkeys(objects)),
            spec.project,
            attempt.plan.is_command,
            attempt.claims,
        )
        self._order(attempt.key, order)

    def deliver(self, attempt: Attempt, answer: Ending, runner_dir: Path | None) -> None:
        """Have stored what an attempt left; its output lies with its runner."""
        name = attempt_key(*attempt.key)
        logs_dir = ""
        if runner_dir is not None and storing.stores_log(attempt, answer):
            logs_dir = str(runner_dir / "a" / name)
        patterns = attempt.plan.spec.outputs if storing.stores_files(answer) else []
        order = Deliver(name, list(patterns), answer.returns_objects, logs_dir)
        self._order(attempt.key, order)

    def give_up(self, key: Key) -> None:
        """Stop what is under way for an attempt."""
        name = attempt_key(*key)
        if self.orders.settle(name):
            self.porter.tell(Cancel(name))

    def forget(self, key: Key) -> None:
        """Let what an attempt has on disk go after a while: it is over and acknowledged."""
        if key not in self.known:
            return
        self.known.discard(key)
        name = attempt_key(*key)
        self.orders.settle(name)
        self.porter.tell(End(name))

    def move(self, reach: Reach) -> None:
        """Take in where the store is."""
        self.reach = reach
        self.porter.tell(reach)

    def hear(self, now: int) -> None:
        """Take in what the mover says."""
        for word in self.porter.hear(now):
            _on_word(self, word)

    def speak(self, now: int) -> None:
        """Tell the mover what waits, and start it if need be."""
        self.porter.on_time(now)
        if self.orders.open:
            self._have_mover(now)
        if self.porter.is_up:
            self._tell_projects()
            self._tell_orders()

    def deadline(self, now: int) -> int | None:
        """Say when there is something to do without an event."""
        if self.orders.open and not self.porter.is_up:
            return now + 100_000_000
        return self.porter.deadline()

    def fail(self, name: str, code: str, message: str) -> None:
        """End an attempt for which something could not be prepared or stored."""
        key = self.orders.answer(name)
        if key is None:
            return
        endings.on_stage_failed(self.state, key, code, message)
        over = storing.on_failed(self.state, key, code, message)
        endings.on_storing_over(self.state, over)

    def _order(self, key: Key, order: Prepare | Deliver) -> None:
        self.known.add(key)
        self.orders.add(key, order)
        if self.is_silent:
            _say_silent(self.state, key, order)

    def _have_mover(self, now: int) -> None:
        is_up = self.porter.start(now)
        if self.porter.lives != self._lives:  # a new one knows nothing
            self._lives = self.porter.lives
            self.orders.on_new_mover()
            self.said = set()
            self.is_silent = False
            self.porter.tell(self.reach)
            self._fail_all(self.orders.deadly(), "died of it again and again")
        if is_up:
            self._down_since = 0
        elif not self._down_since:
            self._down_since = now
        elif now - self._down_since > self.patience_ns:
            self._fail_all(list(self.orders.open), "cannot be started")

    def _fail_all(self, names: list[str], why: str) -> None:
        for name in names:
            self.fail(name, CODE, f"the process that moves files here {why}")

    def _tell_orders(self) -> None:
        while not self.porter.is_full and (order := self.orders.next()) is not None:
            self.porter.tell(order)

    def _tell_projects(self) -> None:
        lanes = self.state.lanes.by_id
        self.projects = {lane: each for lane, each in self.projects.items() if lane in lanes}
        in_use = set(self.projects.values())
        if in_use != self.said:
            self.said = in_use
            self.porter.tell(InUse(sorted(in_use)))


def alarms(moving: Moving) -> list[str]:
    """Say that the store does not answer those who wait for it."""
    count = len(moving.orders.open)
    if not moving.is_silent or not count:
        return []
    host, port = moving.reach.host, moving.reach.port
    where = f"{f'[{host}]' if ':' in host else host}:{port}"
    what = f"the store at {where} does not answer" if port else "the scheduler knows no store"
    return [f"{what}: {count} task{' waits' if count == 1 else 's wait'} for it"]


def _on_word(moving: Moving, word: Word) -> None:
    state = moving.state
    match word:
        case Prepared():
            if (key := moving.orders.answer(word.name)) is not None:
                staging.on_staged(state, key)
        case Delivered():
            if (key := moving.orders.answer(word.name)) is not None:
                over = storing.on_stored(state, key, _details(word), word.claims)
                endings.on_storing_over(state, over)
        case Failed():
            moving.fail(word.name, word.code, word.message)
        case Moved():
            _on_moved(moving, word)
        case Silent():
            moving.is_silent = word.is_so
            if word.is_so:
                for key, order in moving.orders.open.values():
                    _say_silent(state, key, order)
        case Trouble():
            get_logger().warning("trouble of the mover", what=word.text)


def _details(word: Delivered) -> dict[str, object]:
    found: dict[str, object] = {"outputs": word.outputs, "logs": word.logs}
    return {name: value for name, value in found.items() if value}


def _on_moved(moving: Moving, word: Moved) -> None:
    found = moving.orders.open.get(word.name)
    if found is None:
        return
    key, order = found
    percent = word.done * 100 // max(1, word.total)
    _say(moving.state, key, order, f"{percent} % of {format_bytes(word.total)}")


def _say_silent(state: State, key: Key, order: Prepare | Deliver) -> None:
    _say(state, key, order, "the store does not answer")


def _say(state: State, key: Key, order: Prepare | Deliver, text: str) -> None:
    is_first = isinstance(order, Prepare)
    what = "stage" if is_first else "store"
    endings.on_progress(state, key, 0 if is_first else 1_000, f"{what}: {text}")


def _split(blob: bytes) -> list[bytes]:
    return claims.split(blob, most=len(blob) // claims.CLAIM_BYTES)
