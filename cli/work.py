"""The verbs that bring work: run, submit, call."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import ends, many, screen
from .commands import Session, command
from .interrupts import INTERRUPTED, raising_interrupts
from .moving import UNSUBMITTED, moving
from .task_options import TaskOptions, arguments

if TYPE_CHECKING:
    from ..client.client import Client
    from ..client.task import Task

Command = Annotated[
    list[str],
    typer.Argument(metavar="COMMAND [ARG]...", help="A command; `--` may stand before it."),
]
AnyCommand = Annotated[
    list[str] | None,
    typer.Argument(metavar="COMMAND [ARG]...", help="A command; `--` may stand before it."),
]
EachNode = Annotated[bool, typer.Option("--each-node", help="Once on every ready node.")]


@command(
    "run",
    example="remuda run -- nvidia-smi -L\n"
    "remuda run --gpus 1 --timeout 2h --cwd . python train.py --epochs 3\n"
    "remuda run --python sd --secret HF_TOKEN -- python download.py\n"
    "remuda run --requirements requirements.txt -- python train.py\n"
    "remuda run --each-node -- df -h /data\n"
    "remuda run --file in.mov --output '*.mp4' -- ffmpeg -i in.mov out.mp4",
    tail=True,
)
def run(
    session: Session,
    options: TaskOptions,
    command: Command,
    each_node: EachNode = False,
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where its --output goes (default: here)."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let its --output overwrite files that differ.")
    ] = False,
) -> int:
    """Run a command on the cluster and stay with it.

    It runs in a directory of its own (REMUDA_TASK_DIR), with what --file brings, unless --cwd is
    given. Its output comes here, its exit code is ours; files that --output names come home in the
    end. Ctrl-C cancels it, a second Ctrl-C does not wait.
    With --json one object tells in the end how it ended, with what was kept of its output.
    Exit codes: its own, 128+N for a signal, 124 when it timed out, 125 when remuda failed.

    With --each-node it runs once on every ready node that --node and --node-label do not leave
    out, and books no CPU there unless --cpus says so. Lines come with the node's name before them;
    the exit code is the largest one. What --output names comes into a folder NODE for each.
    """
    from . import each_node as on_each
    from . import task_get
    from .foreground import attend

    given = _given(session, options)
    home = task_get.checked_folder(options.output, to, force=force)
    with _client(session) as client:
        if each_node:
            with moving(session, client.link.depot, UNSUBMITTED):
                batch, code = on_each.run(session, client, command, given)
            if options.output and code != INTERRUPTED:
                return task_get.bring_nodes_at_end(session, client, batch, home, code, force=force)
            return code
        with moving(session, client.link.depot, UNSUBMITTED):
            task = client.submit_command(command, **given)
        if is_known(options, task):
            _say(session, f"known under this key already: following {task.id}")
        if session.json:
            return _run_for_programs(session, client, task, home if options.output else None, force)
        code = attend(session, client.link, task.key, task.id)
        if options.output and code == 0:
            return task_get.bring_at_end(session, client.link, task, home, force=force)
        return code


@command(
    "submit",
    example="remuda submit --retries 3 --cwd . -- python train.py\n"
    "remuda submit --array 0-99 -- sh -c 'render $REMUDA_ARRAY_INDEX'\n"
    "remuda submit --each-line urls.txt --retries 2 -- curl -fsSO {}\n"
    "remuda submit --gpus 1 --gpu-type A100 --or 'gpus=2,gpu-type=L4' --or gpus=0 -- python e.py\n"
    "remuda submit --resource licence=1 --exclusive -- simulate case.dat\n"
    'remuda submit --from tasks.jsonl   (a line: {"command": ["echo", "hi"], "retries": 3})',
    tail=True,
)
def submit(
    session: Session,
    options: TaskOptions,
    command: AnyCommand = None,
    indices: Annotated[
        str, typer.Option("--array", metavar="0-9", help="A batch: one task for each index.")
    ] = "",
    each_line: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="A batch: one task for each line of FILE (- is ours), which stands for {}.",
        ),
    ] = "",
    from_: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A batch: one task for each JSON line of FILE (- is ours).",
        ),
    ] = "",
    each_node: EachNode = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; its exit code is ours.")
    ] = False,
) -> int:
    """Submit a command and print its id, or a batch of many and the id of that.

    It runs in a directory of its own (REMUDA_TASK_DIR), with what --file brings; with --cwd in DIR,
    a path on the node that runs it. `task get` brings home what --output names. The members of a
    batch are ID.0, ID.1 and so on; REMUDA_ARRAY_INDEX or REMUDA_ENTRY tells each which it is.
    Blank lines are skipped.

    A line of --from is like {"command": ["echo", "hi"], "retries": 3}: `command` is a list of
    words, or text for the shell, the other keys are the names of these options. What is given here
    holds for all lines that do not say otherwise. Every line is checked before one is submitted; up
    to 10,000 tasks are stored all or nothing, of more what was stored before a refusal is
    cancelled.
    """
    from . import each_node as on_each

    sources = {"array": indices, "each-line": each_line, "from": from_, "each-node": each_node}
    many.check_one_source(options, sources)
    words = many.checked_command(command, from_)
    given = _given(session, options)
    with _client(session) as client:
        if indices:
            key = many.submit_array(session, client, words, indices, given)
        elif each_line:
            key = many.submit_each_line(session, client, words, each_line, given)
        elif from_:
            key = many.submit_from(session, client, from_, given)
        elif each_node:
            key = on_each.submit(session, client, words, given).key
        else:
            with moving(session, client.link.depot, UNSUBMITTED):
                task = client.submit_command(words, **given)
            if not (wait and session.json):  # one document: with the outcome
                _print_task(session, client, task, is_new=not is_known(options, task))
            return _wait_for_task(session, client, task) if wait else 0
        return _wait_for_batch(session, client, key) if wait else 0


@command(
    "call",
    example="remuda call math:hypot --arg :=3 --arg :=4\n"
    "remuda call photos.repair:inpaint --vram 6GiB --file in.png --arg in.png --arg radius:=3\n"
    "remuda call --vram '2GiB + 24B*width*height' m:paint --arg width:=2048 --arg height:=1536\n"
    "remuda call --project . jobs:train --arg epochs:=3",
)
def call(
    session: Session,
    options: TaskOptions,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="MODULE:FUNCTION, or the name of a handler.")
    ],
    arg: Annotated[
        list[str] | None,
        typer.Option(metavar="V", help="An argument: text, or NAME:=JSON, or :=JSON; repeatable."),
    ] = None,
) -> int:
    """Call a function or a handler on the cluster, print its result.

    What it prints goes to stderr, its result to stdout; with --json one object has both, and how
    it ended. Ctrl-C cancels it. Exit codes: 1 when it raised, 124 when it timed out, 125 when
    remuda failed.
    """
    from ..client.outcome import exit_code, value_of
    from ..client.received import Far
    from .foreground import LeftRunning, await_end, explain_end, leave

    positional, keywords = arguments(arg or [])
    given = _given(session, options)
    with _client(session) as client:
        with moving(session, client.link.depot, UNSUBMITTED):
            task = client.options(**given).submit(target, *positional, **keywords)
        try:
            standing, is_interrupted = await_end(session, client.link, task.key)
        except LeftRunning:
            return leave(task.id)
        if not session.json:
            _show_prints(standing.detail)
        if is_interrupted or standing.state != "succeeded":
            if session.json:
                screen.document(ends.ended(task, standing, result=None))
            if is_interrupted:
                return INTERRUPTED
            explain_end(standing, task.id)
            return exit_code(standing)
        with moving(
            session, client.link.depot, f"interrupted: {task.id} has ended, its result is kept"
        ):
            value = value_of(standing, task.id, Far(client.link, task.key))
        if session.json:
            screen.document(ends.ended(task, standing, result=value))
        else:
            _print_result(value)
    return 0


def _run_for_programs(
    session: Session, client: Client, task: Task, home: Path | None, force: bool
) -> int:
    """Stay with a command and print one object in the end; return its exit code."""
    from ..client.outcome import exit_code
    from . import task_get
    from .foreground import LeftRunning, await_end, explain_end, leave

    try:
        standing, is_interrupted = await_end(session, client.link, task.key)
    except LeftRunning:
        return leave(task.id)
    code = INTERRUPTED if is_interrupted else exit_code(standing)
    if home is not None and code == 0:
        code = task_get.bring_at_end(session, client.link, task, home, force=force)
    screen.document(ends.ended(task, standing))
    if code not in (0, INTERRUPTED):
        explain_end(standing, task.id)
    return code


def _given(session: Session, options: TaskOptions) -> dict[str, Any]:
    """Return the options for the client, with a word about variables that look like secrets."""
    import warnings

    from ..client.environment_options import SecretInEnv, telling, text_about

    given = options.given()
    for variable in telling(given.get("env")):
        _say(session, f"warning: {text_about(variable)}")
    warnings.simplefilter("ignore", SecretInEnv)  # said already, and as a command line says it
    return given


def _client(session: Session) -> Client:
    from ..client.client import Client

    return Client(session.home, cluster=session.cluster, endpoint=session.endpoint)


def is_known(options: TaskOptions, task: Task) -> bool:
    """Tell whether --once found a task of that key; a new one comes with its number."""
    return bool(options.once) and not task.number


def _print_task(session: Session, client: Client, task: Task, *, is_new: bool) -> None:
    if session.json:
        screen.document({"id": task.id, "number": task.number or None})
    else:
        number = f" as task {task.number}" if task.number else ""
        said = f"submitted to {client.name}{number}"
        _say(session, said if is_new else f"known to {client.name} under this key already")
        screen.line(task.id)
    sys.stdout.flush()


def _wait_for_task(session: Session, client: Client, task: Task) -> int:
    from ..client import control
    from ..client.outcome import exit_code
    from .foreground import explain_end
    from .waiting import Waiting

    try:
        with Waiting(session, task.key), raising_interrupts():
            (standing,) = control.wait_ended(client.link, [task.key])
    except KeyboardInterrupt:
        if session.json:
            _print_task(session, client, task, is_new=True)
        screen.remark("stopped looking; the task goes on")
        return INTERRUPTED
    if session.json:
        ended = {"state": standing.state, "code": standing.code or None}
        known = {"id": task.id, "number": task.number or None}
        screen.document({**known, **ended, "exit_code": exit_code(standing)})
    if standing.state != "succeeded":
        explain_end(standing, task.id)
    return exit_code(standing)


def _wait_for_batch(session: Session, client: Client, batch: bytes) -> int:
    from . import following

    silent = Session(quiet=True) if session.json else session
    return following.wait(silent, client.link, [batch])


def _print_result(value: object) -> None:
    """Print a value: text as it is, None as nothing, other values as JSON where they can be."""
    if isinstance(value, str):
        screen.line(value)
    elif value is not None:
        screen.line(_as_text(value))


def _as_text(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)


def _show_prints(detail: dict[str, Any]) -> None:
    """Show on stderr what a function printed."""
    from ..client.outcome import kept_output

    for stream in ("out", "err"):
        text = kept_output(detail, stream)
        if text:
            sys.stderr.write(text if text.endswith("\n") else f"{text}\n")


def _say(session: Session, text: str) -> None:
    if not session.quiet:
        screen.remark(text)
