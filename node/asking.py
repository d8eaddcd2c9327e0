"""How is something asked of a task that runs here, and how does its answer find who asked?

Everyone who asks is answered exactly once: by the runner, or here when no runner can.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from ..protocol.messages import Phase
from ..worker.asks import EXEC_TIMEOUT_S, Answer, Exec, Signal, Stack
from .crew import Crew, Order, Seat
from .state import State
from .task import Key

ASKS_MAX = 64
"""Most that wait for an answer at a time."""
ANSWER_WAIT_NS = 5_000_000_000
"""How long a runner has beyond what it was asked to do."""
REQUEST_BITS = 48
ASKS_PROTOCOL = 2

Reply = Callable[[Answer], None]


@dataclass(slots=True)
class _Waiting:
    seat: Seat
    reply: Reply
    until_ns: int


@dataclass(slots=True)
class Asks:
    """Send what is asked to the runner that has the task; `reply` gets the answer.

    Requests are numbered from a random start, so that an answer to an agent before this one is
    never taken for ours.
    """

    state: State
    crew: Crew
    seat_of: dict[Key, Seat]
    _waiting: dict[int, _Waiting] = field(default_factory=dict)
    _request: int = field(default_factory=lambda: secrets.randbits(REQUEST_BITS))

    def signal(self, key: Key, number: int, reply: Reply, now: int) -> None:
        """Send a signal to what runs."""
        self._ask(key, Signal(self._next(), *key, number), 0.0, reply, now)

    def stack(self, key: Key, reply: Reply, now: int) -> None:
        """Take the Python stack of a running call; it comes in `Answer.out`."""
        self._ask(key, Stack(self._next(), *key), 0.0, reply, now)

    def exec(
        self,
        key: Key,
        argv: list[str],
        reply: Reply,
        now: int,
        *,
        cwd: str | None = None,
        timeout_s: float = EXEC_TIMEOUT_S,
    ) -> None:
        """Run a command beside a task, in its environment and directory, with its devices."""
        order = Exec(self._next(), *key, argv, cwd, timeout_s)
        self._ask(key, order, timeout_s, reply, now)

    def on_answer(self, answer: Answer) -> None:
        """Hand an answer on; one that nobody waits for any more is dropped."""
        waiting = self._waiting.pop(answer.request, None)
        if waiting is None:
            self.state.counters.add("late_answer")
        else:
            waiting.reply(answer)

    def on_gone(self, seat: Seat) -> None:
        """Answer for a runner that is no more."""
        self._give_up("ended", "its runner ended", lambda waiting: waiting.seat is seat)

    def on_time(self, now: int) -> None:
        """Answer for runners that did not."""
        text = "its runner did not answer in time: it may or may not have happened"
        self._give_up("no_answer", text, lambda waiting: waiting.until_ns <= now)

    def deadline(self) -> int | None:
        """Say when the next answer is overdue."""
        return min((waiting.until_ns for waiting in self._waiting.values()), default=None)

    def _ask(
        self, key: Key, order: Signal | Stack | Exec, extra_s: float, reply: Reply, now: int
    ) -> None:
        refusal = self._refusal(key)
        if refusal is not None:
            code, text = refusal
            reply(Answer(order.request, code, text))
            return
        seat = self.seat_of[key]
        until_ns = now + ANSWER_WAIT_NS + int(extra_s * 1e9)
        self._waiting[order.request] = _Waiting(seat, reply, until_ns)
        self.crew.tell(seat, Order(order))

    def _refusal(self, key: Key) -> tuple[str, str] | None:
        attempt = self.state.attempts.get(key)
        if attempt is None or attempt.phase == Phase.ENDED:
            return "not_running", "it has ended, or was never on this node"
        seat = self.seat_of.get(key)
        if not attempt.handed or seat is None:
            return "not_running", "it waits on its node and has not begun"
        if seat.is_ready and seat.protocol < ASKS_PROTOCOL:
            text = "its runner was started by an older remuda: this works for tasks started since"
            return "not_allowed", text
        if len(self._waiting) >= ASKS_MAX:
            return "busy", f"{ASKS_MAX} requests wait on this node: try again"
        return None

    def _give_up(self, code: str, message: str, whose: Callable[[_Waiting], bool]) -> None:
        for request in [each for each, waiting in self._waiting.items() if whose(waiting)]:
            self._waiting.pop(request).reply(Answer(request, code, message))

    def _next(self) -> int:
        self._request += 1
        return self._request
