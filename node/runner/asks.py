"""What may be done to a task that runs here: signal it, take its stack, run a command beside it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from ...worker import frames
from ...worker.asks import Answer, Exec, Signal, Stack
from ...worker.frames import Message
from .outbox import Outbox
from .slot import Slot
from .warm import Warm

SIGNALS = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGTERM,
        signal.SIGCONT,
        signal.SIGSTOP,
        signal.SIGTSTP,
        signal.SIGWINCH,
    }
)
"""Those that mean something to a task. KILL is `cancel`'s, which proves what it did."""
OF_THE_TREE = frozenset({signal.SIGCONT, signal.SIGSTOP, signal.SIGTSTP})
PYTHON_ONLY = (
    "a command has no Python stack that its runner could take: "
    "run a tool beside it with `task exec`, as `py-spy dump --pid N` or `gdb -p N`"
)


class Asks:
    """Does what is asked of the occupant, and answers."""

    def __init__(self, slot: Slot, outbox: Outbox) -> None:
        self._slot = slot
        self._outbox = outbox
        self.handlers: dict[type, Callable[[Message], None]] = {
            Signal: self._on_signal,
            Stack: self._on_stack,
            Exec: self._on_exec,
        }

    def on_results(self, body: bytes, keys: list[bytes]) -> None:
        """Answer calls; what ran beside them ends with them."""
        if self._slot.execs:
            self._slot.execs.end(keys)
        self._outbox.results(body, keys)

    def _on_signal(self, message: Message) -> None:
        assert isinstance(message, Signal)
        if self._refused(message):
            return
        if message.number not in SIGNALS:
            names = ", ".join(sorted(number.name[3:] for number in SIGNALS))
            text = f"signal {message.number} cannot be sent to a task, only {names}"
            self._outbox.say(Answer(message.request, "not_allowed", text))
            return
        occupant = self._slot.occupant
        assert occupant is not None
        number = signal.Signals(message.number)
        try:
            if isinstance(occupant, Warm):
                os.kill(occupant.pid, number)
            elif number in OF_THE_TREE:
                occupant.hands.signal_all(number)
            else:  # it leads a session, so its own pid is its group's
                occupant.hands.signal_group(occupant.pid, number)
        except ProcessLookupError:
            self._outbox.say(Answer(message.request, "not_running", "it has just ended"))
            return
        except PermissionError:
            text = "it runs as another user, whom this node's agent may not signal"
            self._outbox.say(Answer(message.request, "not_allowed", text))
            return
        self._outbox.say(Answer(message.request))

    def _on_stack(self, message: Message) -> None:
        assert isinstance(message, Stack)
        if self._refused(message):
            return
        worker = self._slot.worker
        if worker is None:
            self._outbox.say(Answer(message.request, "not_python", PYTHON_ONLY))
            return

        def then(text: str) -> None:
            answer = Answer(message.request, out=text.encode(), out_bytes=len(text.encode()))
            if not text:
                why = "its worker did not write its stack: it is stopped, or stuck in the kernel"
                answer = Answer(message.request, "no_stack", why)
            self._outbox.say(answer)

        worker.stack.take(worker.pid, time.monotonic(), then)

    def _on_exec(self, message: Message) -> None:
        assert isinstance(message, Exec)
        if self._refused(message):
            return
        if not (message.argv and all(isinstance(word, str) for word in message.argv)):
            self._outbox.say(Answer(message.request, "malformed", "the command has no words"))
            return
        occupant = self._slot.occupant
        assert occupant is not None
        env, cwd = occupant.surroundings
        key = frames.join_key(message.task, message.attempt)
        self._slot.execs.start(message, key, env, Path(cwd), occupant.hands)

    def _refused(self, message: Signal | Stack | Exec) -> bool:
        """Answer, and say so, when the attempt does not run here now."""
        occupant = self._slot.occupant
        key = frames.join_key(message.task, message.attempt)
        if occupant is not None and occupant.is_running(key):
            return False
        text = "it does not run: it has not begun, is being ended, or has ended"
        self._outbox.say(Answer(message.request, "not_running", text))
        return True
