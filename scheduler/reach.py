"""How does somebody reach into a task that runs: may they, which node is asked, what did it say?"""

from __future__ import annotations

import hashlib
from typing import Any

from ..protocol import codec, ids
from ..protocol import messages as m
from ..protocol.errors import Conflict, Invalid, RemudaError, ValueTooLarge
from .access import Principal
from .events import Now, TaskAsked
from .fleet import Node
from .questions import Question, Questions, Told
from .silence import is_reconciling
from .task import Task
from .view import View, owner_of
from .watch import WORDS

ASKS_MAX = 1_024
ANSWER_WAIT_NS = 10_000_000_000
"""Beyond what the command of an `exec` may take; the node itself gives up sooner."""
EXEC_TIMEOUT_MS_MAX = 600_000
SIGNAL_CHARS_MAX = 16
KEY_BYTES = 16
BACK_SOON_S = 0.5
NUMBER_BYTES = 7
AUDIT_CHARS_MAX = 200


class Reach:
    """Questions about running tasks that are on their way to nodes."""

    def __init__(self) -> None:
        self._questions: Questions[m.Ask] = Questions("about running tasks", ASKS_MAX)

    def ask(
        self, view: View, message: m.AskTask, principal: Principal, handle: int, now: Now
    ) -> TaskAsked | None:
        """Return what the core must hear, None when the same is under way; raises RemudaError.

        A client sends again what is not answered soon: the answer then goes to its last try.
        """
        timeout_ms = _check(message)
        number = _number(principal, message.key)
        if under_way := self._questions.find(number):
            under_way.handle = handle
            return None
        self._questions.check_room()
        task_id, task = view.task(message.task, principal)
        live = task.live if isinstance(task, Task) else None
        name = ids.format_id(task_id, task.batch)
        if live is None:
            raise Conflict(
                f"task {name} is {WORDS[task.state]}: only one that runs can be reached",
                field="task",
            )
        node = _reachable(view, live.node, now)
        asked = m.Ask(
            node.incarnation, number, message.task, live.number, message.verb, message.body
        )
        silent = f"{node.name} did not answer in time: what was asked may or may not have happened"
        fallback = m.TaskAnswer("no_answer", silent, node.name, live.number, {})
        deadline_ns = now.mono_ns + ANSWER_WAIT_NS + timeout_ms * 1_000_000
        self._questions.add(number, Question(handle, node.name, asked, deadline_ns, fallback))
        did = "" if message.verb == "stack" else f"{name} of {owner_of(task)}: {_shown(message)}"
        return TaskAsked(principal.name, node.name, asked, did)

    def told(self, node: str, answered: m.Answered) -> Told | None:
        """Match what a node sent with who asked; None when nobody of that node was asked."""
        question = self._questions.find(answered.request, node)
        if question is None:
            return None
        self._questions.drop(answered.request)
        attempt = question.asked.attempt
        answer = m.TaskAnswer(answered.code, answered.message, node, attempt, answered.body)
        return Told(question.handle, answer)

    def expire(self, now_ns: int) -> list[Told]:
        """Answer what no node answered in time."""
        return self._questions.expire(now_ns)


def _number(principal: Principal, key: bytes) -> int:
    """Number a question alike in every life of the scheduler: its node knows it again."""
    digest = hashlib.blake2b(
        principal.name.encode() + b"\0" + key, digest_size=NUMBER_BYTES
    ).digest()
    return int.from_bytes(digest, "big")


def _reachable(view: View, name: str, now: Now) -> Node:
    """Return the node if it can be asked; raises RemudaError with what to do."""
    node = view.core.fleet.nodes[name]
    if not node.connected or node.suspect or node.lost:
        silent_s = (now.mono_ns - node.heard_ns) / 1e9
        error = RemudaError(
            f"{name}, where the task runs, was not heard for {silent_s:.0f} s: try again when "
            "`remuda node list` shows it as ready",
            # After a start of ours it is on its way back, as it seems.
            retry_after_s=BACK_SOON_S if is_reconciling(view.core, now) else 0.0,
        )
        error.code = "node_silent"
        raise error
    if not codec.is_spoken(m.Ask, node.protocol):
        raise Conflict(
            f"{name}, where the task runs, speaks protocol {node.protocol}, which has no such "
            "thing: upgrade remuda on that node"
        )
    return node


def _check(message: m.AskTask) -> int:
    """Raise Invalid for what no node would take; return how long an `exec` may run."""
    if len(message.key) != KEY_BYTES:
        raise Invalid(f"key: found {len(message.key)} bytes, it has {KEY_BYTES}", field="key")
    size = len(codec.pack_document(message.body))
    if size > m.ASK_BYTES_MAX:
        raise ValueTooLarge(
            f"body: found {size} bytes, allowed are {m.ASK_BYTES_MAX}: put it into a file",
            field="body",
        )
    body = message.body
    if message.verb == "stack":
        return 0
    if message.verb == "signal":
        name = body.get("signal")
        if type(name) is not str or not 0 < len(name) <= SIGNAL_CHARS_MAX:
            raise Invalid("signal: a name as TERM or USR1 is needed", field="signal")
        return 0
    if message.verb == "exec":
        return _check_exec(body)
    raise Invalid(
        f"verb: found {message.verb[:64]!r}, allowed are stack, signal and exec", field="verb"
    )


def _check_exec(body: dict[str, Any]) -> int:
    argv, timeout_ms = body.get("argv"), body.get("timeout_ms")
    if type(argv) is not list or not all(type(word) is str for word in argv) or not any(argv[:1]):
        raise Invalid("argv: a command needs at least its program", field="argv")
    if type(timeout_ms) is not int or not 0 < timeout_ms <= EXEC_TIMEOUT_MS_MAX:
        raise Invalid(
            f"timeout: at most {EXEC_TIMEOUT_MS_MAX // 1000} s; longer work is a task of its own",
            field="timeout",
        )
    return timeout_ms


def _shown(message: m.AskTask) -> str:
    """Write what was asked for the audit."""
    if message.verb == "signal":
        return str(message.body["signal"])
    return " ".join(message.body["argv"])[:AUDIT_CHARS_MAX]
