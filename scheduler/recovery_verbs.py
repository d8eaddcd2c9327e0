"""What does an operator see of a restored journal, and what becomes of his decisions?"""

from __future__ import annotations

from typing import Any

from ..protocol import ids
from ..protocol import messages as m
from ..protocol.errors import Conflict, Invalid, NotFound
from ..protocol.messages import Phase
from . import adopted, recovery
from .access import Principal
from .core import Core
from .events import Adopt, Key, NewSpec, Now, RecoveryDecided
from .recovery import Recovery, Stranger
from .view import View, read_id

ROWS_MAX = 1_000
DECIDED_MAX = 5_000
"""Of one turn; with `everything` the rest is decided by asking again."""
VERBS = ("adopt", "kill", "rerun", "fail", "release")
WORDS = {Phase.QUEUED: "queued", Phase.RUNNING: "running", Phase.ENDED: "ended"}


def show_recovery(
    view: View, message: m.ShowRecovery, principal: Principal, _now: Now
) -> m.Document:
    """Answer how the hold stands, with a page of what is undecided; raises Invalid."""
    held = view.core.recovery
    if held is None:
        return m.Document({"held": False, "rows": [], "cursor": ""})
    if not 1 <= message.limit <= ROWS_MAX:
        raise Invalid(f"limit: found {message.limit}, allowed are 1 to {ROWS_MAX}", field="limit")
    rows: list[dict[str, Any]] = []
    cursor = ""
    if message.what == "strangers":
        rows, cursor = _strangers(view, held, message)
    elif message.what == "doubts":
        rows, cursor = _doubts(view, held, message)
    elif message.what:
        raise Invalid("what: allowed are strangers and doubts", field="what")
    return m.Document(
        {
            "held": True,
            "since_ms": held.row.since_ms,
            "backup_ms": held.row.backup_ms,
            "principal": held.row.principal,
            "strangers": len(held.strangers),
            "doubts": len(held.doubts),
            "killed": len(held.outcasts),
            "missing": recovery.missing(view.core, held)[:ROWS_MAX],
            "rows": rows,
            "cursor": cursor,
        }
    )


def summary(core: Core) -> dict[str, Any]:
    """Say in a status how a hold stands; nothing where there is none."""
    held = core.recovery
    if held is None:
        return {}
    return {
        "since_ms": held.row.since_ms,
        "backup_ms": held.row.backup_ms,
        "strangers": len(held.strangers),
        "doubts": len(held.doubts),
        "missing": len(recovery.missing(core, held)),
    }


def _strangers(
    view: View, held: Recovery, message: m.ShowRecovery
) -> tuple[list[dict[str, Any]], str]:
    order = sorted(held.strangers.values(), key=lambda each: _cursor_of(each.key))
    left = [each for each in order if _cursor_of(each.key) > message.cursor]
    shown = left[: message.limit]
    stored = view.history.briefs([each.key.task for each in shown])
    rows = [_stranger_row(view, each, stored) for each in shown]
    return rows, _cursor_of(shown[-1].key) if len(left) > len(shown) else ""


def _stranger_row(view: View, each: Stranger, stored: dict[int, Any]) -> dict[str, Any]:
    document = each.document
    spec = document.get("spec") if type(document.get("spec")) is dict else {}
    what = (spec or {}).get("name") or " ".join(map(str, (spec or {}).get("argv") or ()))
    if each.key.task in view.core.tasks:
        why = "granted since the backup"
    elif each.key.task in stored:
        why = "its task has ended in the journal"
    else:
        why = "submitted since the backup"
    if each.token and not each.epoch:
        why = "not of this cluster"
    batch = document.get("batch")
    return {
        "task": ids.to_bytes(each.key.task),
        "batch": batch if type(batch) is bytes else b"",
        "attempt": each.key.number,
        "node": each.key.node,
        "phase": WORDS.get(Phase(each.phase), "held") if 0 <= each.phase <= 2 else "held",
        "owner": str(document.get("owner", ""))[:64],
        "what": str(what or (spec or {}).get("target", ""))[:200],
        "why": why,
        "is_described": bool(document),
        "seen_ms": each.seen_ms,
    }


def _cursor_of(key: Key) -> str:
    return f"{ids.to_bytes(key.task).hex()}.{key.number:010}.{key.node}"


def _doubts(
    view: View, held: Recovery, message: m.ShowRecovery
) -> tuple[list[dict[str, Any]], str]:
    after = int(message.cursor) if message.cursor.isdecimal() else -1
    left = (task for task in held.doubts if task > after)
    order = sorted(left)[: message.limit + 1]
    shown = order[: message.limit]
    stored = view.history.task_rows(shown)
    rows = []
    for task_id in shown:
        task = view.core.tasks[task_id]
        rows.append(
            {
                "task": ids.to_bytes(task_id),
                "batch": ids.to_bytes(task.batch) if task.batch else b"",
                "number": task.number,
                "state": task.state.word,
                "attempt": task.attempt,
                "node": task.live.node if task.live else "",
                "owner": task.spec.owner,
                "name": stored[task_id]["name"] if task_id in stored else "",
            }
        )
    return rows, str(shown[-1]) if len(order) > len(shown) else ""


def decide(
    view: View, message: m.DecideRecovery, principal: Principal, handle: int
) -> RecoveryDecided:
    """Turn what was asked into an event for the core; raises RemudaError."""
    held = view.core.recovery
    if message.verb not in VERBS:
        raise Invalid(f"verb: allowed are {', '.join(VERBS)}", field="verb")
    if held is None:
        raise Conflict("this scheduler is not held: nothing is to be decided")
    event = RecoveryDecided(
        handle, principal.name, message.verb, everything=message.everything, force=message.force
    )
    if message.verb == "release":
        return event
    if len(message.tasks) > DECIDED_MAX or len(message.attempts) not in (0, len(message.tasks)):
        raise Invalid(f"tasks: at most {DECIDED_MAX}, each with its attempt", field="tasks")
    if message.verb in ("rerun", "fail"):
        event.tasks = _meant_doubts(held, message)
    else:
        event.keys = _meant_strangers(held, message)
    if not (event.tasks or event.keys):
        raise NotFound("there is none left to decide on", field="tasks")
    if message.verb == "adopt":
        event.adopted = _described(view, held, event.keys, principal)
    return event


def _meant_doubts(held: Recovery, message: m.DecideRecovery) -> list[int]:
    if not message.everything:
        return list(dict.fromkeys(read_id(blob, "tasks") for blob in message.tasks))
    with_strangers = {key.task for key in held.strangers}
    left = [task for task in held.doubts if task not in with_strangers]
    return left[:DECIDED_MAX]


def _meant_strangers(held: Recovery, message: m.DecideRecovery) -> list[Key]:
    if message.everything:
        return list(held.strangers)[:DECIDED_MAX]
    found = []
    numbers = message.attempts or [0] * len(message.tasks)
    for blob, number in zip(message.tasks, numbers, strict=True):
        task = read_id(blob, "tasks")
        of_task = [each.key for each in held.of_task(task)]
        fits = [key for key in of_task if number in (0, key.number)]
        if not fits:
            raise NotFound(f"no node holds a stranger of {ids.format_id(task)}", field="tasks")
        if len(fits) > 1:
            which = ", ".join(f"{key.number} on {key.node}" for key in fits)
            raise Invalid(
                f"{ids.format_id(task)} has several attempts ({which}): name one as TASK@ATTEMPT",
                field="tasks",
            )
        found += fits
    return list(dict.fromkeys(found))


def _described(view: View, held: Recovery, keys: list[Key], principal: Principal) -> list[Adopt]:
    """Read what nodes say of strangers; whether each can be adopted the core says."""
    stored = view.history.briefs([key.task for key in keys])
    return [_adopt_of(view, held.strangers[key], key.task in stored, principal) for key in keys]


def _adopt_of(view: View, stranger: Stranger, is_stored: bool, principal: Principal) -> Adopt:
    document, task = stranger.document, stranger.key.task
    owner = document.get("owner")
    said, batch, gpus = document.get("args"), document.get("batch"), document.get("gpus")
    args = said if type(said) is bytes else b""
    is_sound = type(gpus) is list and all(type(uuid) is str for uuid in gpus)
    batch_id = int.from_bytes(batch, "big") if type(batch) is bytes and len(batch) == 16 else 0
    is_member = bool(batch_id) and 0 < task - batch_id <= ids.BATCH_MEMBERS_MAX
    return Adopt(
        stranger.key,
        is_stored and task not in view.core.tasks,
        owner if type(owner) is str and owner else principal.name,
        _spec_of(document, has_arguments=bool(args)),
        args,
        batch_id if is_member else 0,
        tuple(gpus) if is_sound and gpus else (),
    )


def _spec_of(document: dict[str, Any], *, has_arguments: bool) -> NewSpec | None:
    """Read the specification; None where what its node says is no sound one."""
    spec = document.get("spec")
    if type(spec) is not dict:
        return None
    is_whole = document.get("is_whole") is True
    try:
        return adopted.read(spec, is_whole=is_whole, has_arguments=has_arguments)
    except Invalid:
        return None
