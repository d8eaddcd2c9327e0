"""What does one task look like on a terminal: its page, and the answer to `why`?"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from typing import Any

from ..protocol import spec as specs
from ..protocol.resources import describe_request, format_bytes
from . import screen, task_end, views
from .task_life import life_facts
from .writing import age, ahead, counted, one_line, rfc3339, row_id, span

Document = Mapping[str, Any]
TAIL_LINES = 12
RESULT_CHARS_MAX = 400
FILES_SHOWN_MAX = 8
DIGEST_CHARS = 12
NODES_SHOWN_MAX = 20
STACK_CODES = ("timeout", "start_timeout", "silence", "deadline")
ATTEMPT_COLUMNS = (
    screen.Column("TRY", right=True),
    screen.Column("NODE"),
    screen.Column("ENDED AS"),
    screen.Column("STARTED"),
    screen.Column("TOOK", right=True),
    screen.Column("VRAM", right=True),
    screen.Column("WHY", wide=True),
)


def show_task(body: Document, reason: str = "", value: object = None) -> None:
    """Print the page of a task.

    `reason` says why one that goes on is where it is, `value` is what a function returned.
    """
    screen.trimmed(_headline(body))
    if reason:
        screen.line(reason)
    details = body.get("detail") or {}
    result = "" if value is None else one_line(repr(value), RESULT_CHARS_MAX)
    screen.facts([*_facts(body, details), ("result", result)])
    if body.get("attempts"):
        screen.line()
        _show_attempts(body)
    _tail("stderr", details, "err")
    _tail("stdout", details, "out")
    if details.get("traceback"):
        was_stopped = details.get("code") in STACK_CODES
        title = "stack, as it stood when it was stopped" if was_stopped else "traceback"
        _block(title, str(details["traceback"]))


def _show_attempts(body: Document) -> None:
    """Print the tries, with what each was granted where that is not all that was asked for."""
    attempts = body["attempts"]
    spec = specs.from_document({"kind": "command", **(body.get("spec") or {})})
    asked = describe_request(spec.request)
    if all(each.get("asked") in (None, asked) for each in attempts):
        screen.table(ATTEMPT_COLUMNS, [_attempt(each) for each in attempts])
        return
    columns = (*ATTEMPT_COLUMNS[:2], screen.Column("GRANTED"), *ATTEMPT_COLUMNS[2:])
    rows = [_attempt(each) for each in attempts]
    granted = [str(each.get("asked") or "-") for each in attempts]
    screen.table(
        columns, [[*row[:2], got, *row[2:]] for row, got in zip(rows, granted, strict=True)]
    )


def show_explanation(body: Document) -> None:
    """Print why a task is where it is."""
    screen.trimmed(_headline(body))
    screen.line(str(body.get("reason", "")))
    _explain_facts(body)
    options = list(body.get("options") or [])
    if options:
        screen.line()
        columns = (screen.Column("WILL DO"), screen.Column("SAYS", wide=True))
        screen.table(columns, [_verdict(each, "request") for each in options])
    nodes = list(body.get("nodes") or [])
    if nodes:
        screen.line()
        rows = [_verdict(each) for each in nodes[:NODES_SHOWN_MAX]]
        screen.table((screen.Column("NODE"), screen.Column("SAYS", wide=True)), rows)
    if len(nodes) > NODES_SHOWN_MAX:
        screen.line(f"and {counted(len(nodes) - NODES_SHOWN_MAX, 'node')} more (--json: all)")


def show_failure(body: Document) -> None:
    """Print why a task failed, and what to do about it."""
    screen.trimmed(_headline(body))
    screen.line(task_end.failure_reason(body))
    screen.facts([("retries", task_end.why_no_more(body))])
    if len(body.get("attempts") or []) > 1:
        screen.line()
        screen.table(ATTEMPT_COLUMNS, [_attempt(each) for each in body["attempts"]])
    details = body.get("detail") or {}
    _tail("stderr", details, "err")
    _tail("stdout", details, "out")
    if details.get("traceback"):
        _block("traceback", str(details["traceback"]))
    screen.line()
    screen.line(task_end.next_steps(body))


def _explain_facts(body: Document) -> None:
    position = body.get("position", -1)
    screen.facts(
        [
            ("waits for", str(body.get("waits_for") or "").replace("_", " ")),
            ("asks for", _asks_for(body)),
            ("which is", str(body.get("sized") or "")),
            ("ahead of it", counted(position, "queued task") if position > 0 else ""),
            ("next try", _moment(body.get("next_try_ms"), with_age=False)),
            ("deadline", _to_come(body.get("deadline_ms"))),
            ("expires", _to_come(body.get("expiry_ms"))),
        ]
    )


def _asks_for(body: Document) -> str:
    asked = str(body.get("request") or "")
    submitted = body.get("submitted")
    return f"{asked} (submitted with {submitted}, which was too little)" if submitted else asked


def _to_come(wall_ms: int | None) -> str:
    return ahead(wall_ms, time.time() * 1000) if wall_ms else ""


def _headline(body: Document) -> Any:
    from rich.text import Text

    line = Text(f"task {body['number']} ", "bold")
    line.append_text(screen.state(body["state"]))
    code = body.get("code")
    if code and body["state"] == "failed":
        line.append(f" ({code})", "red")
    if body.get("name"):
        line.append(f"  {one_line(body['name'], 80)}")
    return line


def _facts(body: Document, details: Document) -> list[tuple[str, str]]:
    spec = specs.from_document({"kind": "command", **(body.get("spec") or {})})
    command = " ".join(spec.argv) if spec.argv else spec.target
    return [
        ("id", row_id(body)),
        ("runs", command if command != body.get("name") else ""),
        ("entry", one_line(views.entry(body) or "")),
        ("array index", views.told(body, "array") or ""),
        ("files", _named([[name, *row] for name, row in spec.files.items()])),
        ("project", spec.project.hex()[:DIGEST_CHARS]),
        ("asks for", _asked(spec, body.get("sized") or {})),
        ("raised to", _raised(body.get("raised") or {})),
        ("owner", str(body.get("owner", ""))),
        ("node", str(body.get("node") or "")),
        ("priority", str(body.get("priority", "")) if body.get("priority") != 50 else ""),
        ("tags", " ".join(f"{k}={v}" for k, v in (body.get("tags") or {}).items())),
        ("retry of", row_id(body, "retry_of")),
        ("once", str(body.get("once") or "")),
        *life_facts(spec, body),
        ("created", _moment(body.get("created_ms"))),
        ("started", _moment(views.last_start_ms(body))),
        ("ended", _moment(body.get("ended_ms"))),
        ("progress", _progress(body)),
        ("exit code", str(details["exit_code"]) if details.get("exit_code") is not None else ""),
        ("signal", _signal(details.get("signal"))),
        ("message", _message(details)),
        ("ran as", str(details.get("user") or "")),
        ("leftovers", _leftovers(details)),
        ("outputs", _named(details.get("outputs")) or ", ".join(spec.outputs)),
    ]


def _asked(spec: specs.TaskSpec, sized: Document) -> str:
    """Write what a task asks for, with what its arguments make of the expressions."""
    parts = [describe_request(spec.request)]
    if spec.vram_need:
        parts.append(
            f"vram={spec.vram_need!r}, which is {format_bytes(sized.get('vram_bytes', 0))}"
        )
    if spec.size:
        parts.append(f"size={spec.size!r}, which is class {sized.get('class', 0)}")
    if spec.learn_as:
        parts.append(f"kind={spec.learn_as}")
    return "; ".join(parts)


def _named(rows: Any) -> str:
    """Write names and sizes of files, the first of them; of a folder only that it is one."""
    found = [row for row in rows or [] if len(row) == 4]
    texts = [
        f"{row[0]}/" if row[3] == "tree" else f"{row[0]} ({format_bytes(row[2])})" for row in found
    ]
    more = [f"and {len(texts) - FILES_SHOWN_MAX} more"] if len(texts) > FILES_SHOWN_MAX else []
    return one_line(", ".join(texts[:FILES_SHOWN_MAX] + more), RESULT_CHARS_MAX)


def _raised(raised: Document) -> str:
    """Say what a task asks for since it ran out of it."""
    found = {"memory": raised.get("memory_bytes"), "vram": raised.get("vram_bytes")}
    return " ".join(f"{name}={format_bytes(size)}" for name, size in found.items() if size)


def _message(details: Document) -> str:
    text = str(details.get("message") or "")
    return "" if text == f"exit code {details.get('exit_code')}" else text


def _leftovers(details: Document) -> str:
    number = details.get("leftovers")
    return f"{counted(number, 'process', 'processes')} left behind, killed" if number else ""


def _signal(number: int | None) -> str:
    if not number:
        return ""
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def _progress(body: Document) -> str:
    milli = body.get("progress_milli", -1)
    if milli is None or milli < 0 or body.get("ended_ms"):
        return ""
    return f"{milli / 10:.0f}% {body.get('progress_text') or ''}".rstrip()


def _attempt(each: Document) -> list[Any]:
    granted, ended = each.get("granted_ms") or 0, each.get("ended_ms") or 0
    lasted_s = (ended or time.time() * 1000) - granted
    outcome = str(each.get("outcome") or "on its node")
    why = ": ".join(part for part in (each.get("code"), each.get("message")) if part)
    together = each.get("batch_calls") or 0
    if together > 1:
        why = f"in a batch of {together} calls" + (f"; {why}" if why else "")
    return [
        str(each["number"]),
        str(each.get("node") or "-"),
        screen.state(outcome),
        _moment(granted, with_age=False),
        span(lasted_s / 1000) if granted else "-",
        _vram(each),
        one_line(why, 120) or "-",
    ]


def _vram(each: Document) -> str:
    """Say the most that a try was seen to use on one GPU, of what it was granted there."""
    had, peak = each.get("vram_bytes") or 0, each.get("vram_peak_bytes", -1)
    used = format_bytes(peak) if peak is not None and peak >= 0 else ""
    if not had:
        return used or "-"
    return f"{used or '?'} of {format_bytes(had)}"


def _verdict(each: Document, of: str = "node") -> list[Any]:
    says = "it fits" if each.get("fits") else one_line(str(each.get("reason") or "no"), 160)
    return [str(each.get(of, "")), screen.styled(says, "green" if each.get("fits") else "")]


def _moment(wall_ms: int | None, *, with_age: bool = True) -> str:
    text = rfc3339(wall_ms)
    if text is None or not wall_ms:
        return ""
    ago = age(time.time() - wall_ms / 1000)
    return f"{text} ({ago} ago)".replace("now ago", "now") if with_age else text


def _tail(title: str, details: Document, stream: str) -> None:
    """Print the end of what was kept of a stream."""
    head = _text(details.get(stream))
    tail = _text(details.get(f"{stream}_tail"))
    kept = tail or head
    if not kept.strip():
        return
    lines = kept.rstrip("\n").split("\n")
    cut = len(lines) > TAIL_LINES or bool(tail)
    heading = f"{title} (its end; `remuda logs` has more)" if cut else title
    _block(heading, "\n".join(lines[-TAIL_LINES:]))


def _block(title: str, text: str) -> None:
    screen.line()
    screen.trimmed(screen.styled(title, "dim"))
    for each in text.rstrip("\n").split("\n"):
        screen.line(f"  {_harmless(each)}")


def _harmless(text: str) -> str:
    """Keep what a task printed from steering the terminal."""
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
