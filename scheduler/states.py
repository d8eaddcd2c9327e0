"""Where tasks stand, with results where they ended, and what to hear of them from now on."""

from __future__ import annotations

from ..protocol.errors import NotAllowed, RemudaError
from ..protocol.ids import to_bytes
from ..protocol.messages import Changes, States
from .access import Principal
from .events import Now
from .records import Change
from .view import View, may_see, read_id
from .watch import ANSWER_BYTES_MAX, CHANGE_OVERHEAD_BYTES, SESSION_BYTES, to_changes

STORED_PER_ANSWER_MAX = 2_000
NOT_FOUND = "not_found"
AGAIN_S = 2.0


class StillHeldError(RemudaError):
    """Ask again later: a restored scheduler does not know yet what it will know."""

    code = "held"

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_s=AGAIN_S)


def states(view: View, message: States, principal: Principal, now: Now) -> Changes:
    """Answer where tasks stand; with a session, those that have not ended are watched by it.

    What does not fit is left out, to be asked again.
    """
    wanted = list(dict.fromkeys(read_id(blob, "tasks") for blob in message.tasks))
    live = view.core.tasks
    session = message.session if len(message.session) == SESSION_BYTES else b""
    if session and not view.watches.open(
        session, principal.name, now.mono_ns, payloads=principal.sees_payloads
    ):
        raise NotAllowed("this session belongs to another key", field="session")
    stored_ids = [task for task in wanted if task not in live][:STORED_PER_ANSWER_MAX]
    briefs = view.history.briefs(stored_ids) if stored_ids else {}
    ended = view.history.ended(stored_ids) if stored_ids else {}
    found: list[Change] = []
    missing: list[int] = []
    follow: list[int] = []
    size = 0
    for task_id in wanted:
        task = live.get(task_id)
        if task is not None and may_see(task.spec.owner, principal):
            node = task.live.node if task.live else ""
            found.append(Change(b"", task_id, task.state, "", task.attempt, node, b"", b""))
            if task.session != session:
                follow.append(task_id)
            size += CHANGE_OVERHEAD_BYTES
            continue
        brief, result = briefs.get(task_id), ended.get(task_id)
        if brief is None or result is None or not may_see(brief.owner, principal):
            if task is not None or task_id in stored_ids:
                missing.append(task_id)
            continue
        size += len(result.value) + len(result.details) + CHANGE_OVERHEAD_BYTES
        if found and size > ANSWER_BYTES_MAX:
            break
        found.append(
            Change(b"", task_id, result.state, result.code, brief.attempt, brief.node,
                   result.value, result.details)
        )  # fmt: skip
    if missing and view.core.recovery is not None:
        # Restored, and not decided yet: nobody is told that a task is gone which may be adopted.
        if not found:
            raise StillHeldError(
                "the scheduler was restored from a backup and waits for its operator's word"
            )
        missing = []
    if session:
        view.watches.follow(session, follow)
    answer = to_changes(
        found,
        epoch=view.core.epoch,
        seq=view.watches.position(session),
        payloads=principal.sees_payloads,
        rev=view.watches.rev,
    )
    _add_missing(answer, missing)
    return answer


def _add_missing(answer: Changes, missing: list[int]) -> None:
    answer.tasks += [to_bytes(task) for task in missing]
    answer.states += [NOT_FOUND] * len(missing)
    answer.codes += [""] * len(missing)
    answer.attempts += [0] * len(missing)
    answer.nodes += [""] * len(missing)
    answer.values += [b""] * len(missing)
    answer.details += [b""] * len(missing)
