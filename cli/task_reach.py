"""The verbs that reach into a task that runs: stack, signal, exec."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from ..protocol.resources import format_bytes
from . import screen
from .commands import Session, command
from .refs import select_one
from .task_options import duration_s
from .writing import row_id

if TYPE_CHECKING:
    from ..client.connection import Connection
    from ..protocol.messages import TaskAnswer

TIMED_OUT, SIGNALLED = 124, 128
Ref = Annotated[str, typer.Argument(metavar="TASK", help="An id, a number or `last`.")]


@command("task stack", example="remuda task stack last\nremuda task stack 12 --json")
def task_stack(session: Session, task: Ref) -> None:
    """Show where a running function or handler is: its Python stack.

    Of a command there is none to take; run a tool beside it: `remuda task exec TASK py-spy dump
    --pid PID`.
    """
    from ..client import reach

    with session.connect() as link:
        key = select_one(link, task)
        answer = reach.stack(link, key)
        if session.json:
            screen.document(_where(link, key, answer) | {"stack": answer.body["stack"]})
        else:
            sys.stdout.write(answer.body["stack"])


@command("task signal", example="remuda task signal last USR1\nremuda task signal 12 STOP")
def task_signal(
    session: Session,
    task: Ref,
    name: Annotated[
        str,
        typer.Argument(
            metavar="SIGNAL",
            help="TERM, INT, HUP, QUIT, USR1, USR2, ALRM, WINCH, STOP, TSTP or CONT.",
        ),
    ],
) -> None:
    """Send a signal to a running task.

    A command's process group gets it, as from a terminal; STOP and CONT go to all its processes.
    Of a function or handler the worker process gets it. To end a task, `remuda cancel` it: that
    proves that nothing is left.
    """
    from ..client import reach

    wanted = reach.signal_name(int(name) if name.isdecimal() else name)
    with session.connect() as link:
        key = select_one(link, task)
        answer = reach.send_signal(link, key, wanted)
        where = _where(link, key, answer)
        if session.json:
            screen.document(where | {"signal": wanted})
        elif session.quiet:
            screen.line(where["id"])
        else:
            said = f"sent {wanted} to task {where['id']}, try {answer.attempt}"
            screen.line(f"{said}, on {answer.node} of {link.cluster}")


@command(
    "task exec",
    example="remuda task exec last -- nvidia-smi\n"
    "remuda task exec --timeout 1m 12 -- sh -c 'ls -l; env | grep REMUDA'",
    tail=True,
)
def task_exec(
    session: Session,
    task: Ref,
    command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND [ARG]...", help="A command; `--` may stand before it."),
    ],
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="Kill it after this long (at most 10m).")
    ] = "10s",
) -> int:
    """Run a command beside a running task.

    It has the task's environment, directory and devices, no input and no terminal, and ends with
    the task. The first 64 KiB of stdout and of stderr are shown when it has ended.
    Exit codes: its own, 128+N for a signal, 124 when it timed out, 125 when remuda failed.
    """
    from ..client import reach

    words = command[1:] if command[:1] == ["--"] else command
    if not words:
        raise typer.BadParameter("a command is missing")
    if words[0].startswith("-"):
        raise typer.BadParameter(
            f"{words[0]} is taken for the command: options stand before the task, as in "
            "`remuda task exec --timeout 1m TASK -- COMMAND`"
        )
    timeout_s = duration_s("timeout", timeout) or reach.EXEC_TIMEOUT_S
    with session.connect() as link:
        key = select_one(link, task)
        answer = reach.run_beside(link, key, words, timeout_s)
        result = reach.exec_result(answer)
        if session.json:
            told = {field: getattr(result, field) for field in result.__dataclass_fields__}
            screen.document(_where(link, key, answer) | told)
        else:
            _print(answer)
    if answer.code == "timeout":
        return TIMED_OUT
    return result.returncode if result.returncode >= 0 else SIGNALLED - result.returncode


def _where(link: Connection, key: bytes, answer: TaskAnswer) -> dict[str, Any]:
    """Say what was reached; a member of a batch is named as `ID.7`."""
    from ..client import control

    name = row_id(control.show_task(link, key))
    return {"id": name, "node": answer.node, "attempt": answer.attempt}


def _print(answer: TaskAnswer) -> None:
    """Write what a command printed as it is, and say what was cut and why it was killed."""
    body = answer.body
    for stream, target in (("out", sys.stdout.buffer), ("err", sys.stderr.buffer)):
        _write(target, body[stream])
        cut = body[f"{stream}_bytes"] - len(body[stream])
        if cut > 0:
            screen.remark(f"[{format_bytes(cut)} more of std{stream} were not kept]")
    if answer.message:
        screen.remark(f"remuda: {answer.message}")


def _write(target: BinaryIO, data: bytes) -> None:
    target.write(data)
    target.flush()
