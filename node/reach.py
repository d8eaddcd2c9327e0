"""How does the scheduler reach into what runs here: questions taken in once, answers sent?"""

from __future__ import annotations

import signal
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..protocol.messages import Answered, Ask
from ..worker.asks import Answer
from .asking import Asks
from .session import Session
from .wire import Wire

KNOWN_MAX = 128
"""How many questions are remembered with their answers, so that none is done twice."""
UNSENT_MAX = 256


@dataclass(slots=True)
class Reach:
    """Ask runners, and tell the scheduler what they say as fast as the connection takes it.

    Answers are as large as output and travel beside it, so that no result waits for them.
    """

    asks: Asks
    wire: Wire
    unsent: deque[Answered] = field(default_factory=lambda: deque(maxlen=UNSENT_MAX))
    _known: OrderedDict[int, Answered | None] = field(default_factory=OrderedDict)

    def on_ask(self, ask: Ask, now: int) -> None:
        """Take in a question; one that is known is answered again and done once."""
        state = self.asks.state
        if ask.incarnation != state.incarnation:
            state.counters.add("other_incarnation")
            return
        if ask.request in self._known:
            answered = self._known[ask.request]
            if answered is not None:
                self.unsent.append(answered)
            return
        self._known[ask.request] = None
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        self._do(ask, now)

    def answer(self, session: Session) -> None:
        """Send what can be sent."""
        while self.unsent:
            if not self.wire.send("output", session.frame(self.unsent[0])):
                return
            self.unsent.popleft()

    def _do(self, ask: Ask, now: int) -> None:
        key = (ask.task, ask.attempt)
        if ask.verb == "stack":
            self.asks.stack(key, self._reply(ask, _stack_of), now)
        elif ask.verb == "signal":
            name = str(ask.body.get("signal"))
            number = getattr(signal, f"SIG{name}", None)
            if isinstance(number, signal.Signals):
                self.asks.signal(key, number, self._reply(ask, _nothing), now)
            else:
                self._say(ask, "not_allowed", f"this node knows no signal {name!r}")
        elif ask.verb == "exec":
            argv, timeout_ms = ask.body["argv"], ask.body["timeout_ms"]
            reply = self._reply(ask, _ran)
            self.asks.exec(key, argv, reply, now, timeout_s=timeout_ms / 1000)
        else:
            self._say(ask, "not_allowed", f"this node cannot {ask.verb!r}: upgrade its agent")

    def _reply(self, ask: Ask, body_of: Callable[[Answer], dict[str, Any]]) -> Callable[..., None]:
        def reply(answer: Answer) -> None:
            self._say(ask, answer.code, answer.message, body_of(answer))

        return reply

    def _say(self, ask: Ask, code: str, message: str, body: dict[str, Any] | None = None) -> None:
        answered = Answered(ask.request, code, message, body or {})
        if ask.request in self._known:
            self._known[ask.request] = answered
        self.unsent.append(answered)


def _stack_of(answer: Answer) -> dict[str, Any]:
    return {"stack": answer.out.decode(errors="replace")}


def _nothing(_: Answer) -> dict[str, Any]:
    return {}


def _ran(answer: Answer) -> dict[str, Any]:
    return {
        "returncode": answer.returncode,
        "out": answer.out,
        "err": answer.err,
        "out_bytes": answer.out_bytes,
        "err_bytes": answer.err_bytes,
    }
