"""Where does `remuda` start: load what the command needs, run it, turn errors into one line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .interrupts import INTERRUPTED, end_on_interrupt

# Which module declares a command; `remuda --help` loads them all, a command only its own.
MODULES = {
    "up": "up_down",
    "down": "up_down",
    "status": "status",
    "run": "work",
    "submit": "work",
    "call": "work",
    "task": "tasks",
    "batch": "batches",
    "ps": "tasks",
    "logs": "tasks",
    "cancel": "tasks",
    "why": "tasks",
    "node": "nodes",
    "gpu": "gpus",
    "handler": "handlers",
    "stats": "stats",
    "events": "events",
    "config": "configs",
    "key": "keys",
    "audit": "audits",
    "store": "stores",
    "login": "logins",
    "cluster": "logins",
    "doctor": "doctor",
    "version": "version_command",
    "install": "installs",
    "completion": "completion_command",
    "recovery": "recoveries",
    "backup": "data",
    "restore": "data",
    "migrate": "data",
}
GROUPS = {
    "task": "Work with tasks.",
    "batch": "Work with batches.",
    "node": "Look at nodes, take them out of work and back.",
    "gpu": "Look at GPUs, give them no new work and work again.",
    "handler": "Look at named handlers, load them anew, disable and enable them.",
    "config": "Look at the configuration, change it, and go back.",
    "key": "Say who may do what.",
    "store": "Look at the store of files and large values.",
    "recovery": "Decide what becomes of tasks after a restore.",
    "cluster": "Choose among the clusters that you logged in to.",
}
SUMMARY = "Schedule work onto a fleet of GPU hosts."
CODE_IS_THE_COMMANDS = (["run"], ["call"], ["task", "exec"])  # there every failure of ours is 125
TAKE_TASK_OPTIONS = frozenset({"run", "submit", "call"})
TRACEBACK_VARIABLE = "REMUDA_TRACEBACK"
FAILED, USAGE, OURS, BROKEN_PIPE = 1, 2, 125, 141


def main() -> None:
    """Run the command line of this process and exit."""
    end_on_interrupt()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; an error is one line on stderr."""
    if list(arguments) in (["--version"], ["-V"]):
        from .versions import show

        show()
        return 0
    from ..protocol.errors import RemudaError

    try:
        return _dispatch(list(arguments))
    except RemudaError as error:
        _complain(_text_of(error, arguments))
        return OURS if _owns_no_code(arguments) else error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:  # a file that was named, or a system that is out of something
        _complain(f"{error.filename or 'system'}: {error.strerror or error}")
        return OURS if _owns_no_code(arguments) else FAILED
    except Exception as error:  # the last line of defence: never a traceback
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        _complain(
            f"a bug of ours: {type(error).__name__}: {error}; {TRACEBACK_VARIABLE}=1 shows where"
        )
        return OURS if _owns_no_code(arguments) else FAILED


def _dispatch(arguments: list[str]) -> int:
    import typer

    from .commands import ReaderGone

    usage: Any = typer.BadParameter.__mro__[2]  # ClickException, of whichever click typer brings
    try:
        code = app(arguments)(args=arguments, prog_name="remuda", standalone_mode=False)
        sys.stdout.flush()
    except (ReaderGone, BrokenPipeError):
        _close_stdout()
        return BROKEN_PIPE
    except SystemExit as error:  # typer's own answer: to the shell that completes a word, or 1
        return 0 if not error.code else BROKEN_PIPE  # when the reader of a help text has gone
    except usage as error:
        return _usage(error, arguments)
    except typer.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def app(arguments: Sequence[str] = ()) -> Any:
    """Build the app, with only the commands that these arguments can mean, if that is clear."""
    import typer

    from . import commands, versions
    from .help import Command, Group

    words = [word for word in arguments if not word.startswith("-")]
    wanted = MODULES.get(words[0]) if words else None
    for module in dict.fromkeys([wanted] if wanted else MODULES.values()):
        import_module(f".{module}", __package__)
    shape: dict[str, Any] = {"rich_markup_mode": None, "no_args_is_help": True, "cls": Group}
    root = typer.Typer(
        pretty_exceptions_enable=False,
        epilog=commands.CONNECTION_PANEL,
        context_settings={"help_option_names": ["--help", "-h"]},
        **shape,
    )
    root.callback(help=SUMMARY)(commands.root_options(versions.show))
    groups: dict[str, typer.Typer] = {}
    for each in commands.declared():
        parent = root
        if len(each.words) > 1:
            name = each.words[0]
            if name not in groups:
                groups[name] = typer.Typer(help=GROUPS[name], **shape)
                root.add_typer(groups[name], name=name)
            parent = groups[name]
        parent.command(
            each.words[-1],
            cls=Command,
            help=each.summary,
            epilog=each.epilog,
            context_settings=each.settings,
            hidden=each.hidden,
        )(each.function)
    return root


def _usage(error: Any, arguments: Sequence[str]) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{error.ctx.get_help()}\n")
        return USAGE
    path = error.ctx.command_path if getattr(error, "ctx", None) else "remuda"
    said = error.format_message().rstrip(".").replace("Value error, ", "")  # pydantic's words
    _complain(f"{_advised(said)} (see `{path} --help`)")
    return OURS if _owns_no_code(arguments) else USAGE


def _advised(said: str) -> str:
    """Name the commands of groups that end in the word that was taken for a command.

    They come before a guess by likeness, which typer makes by itself.
    """
    from . import commands

    unknown = re.fullmatch(r"(No such command '(.*?)')(\. Did you mean .*)?", said)
    if unknown is None:
        return said
    found = [
        f"`remuda {' '.join(each.words)}`"
        for each in commands.declared()
        if len(each.words) > 1 and each.words[-1] == unknown[2] and not each.hidden
    ]
    return f"{unknown[1]}: did you mean {' or '.join(found)}?" if found else said


def _text_of(error: Any, arguments: Sequence[str]) -> str:
    """Write an error, with the names of options where a task was described by them."""
    from .spelling import as_typed

    words = [word for word in arguments if not word.startswith("-")]
    return as_typed(error) if words and words[0] in TAKE_TASK_OPTIONS else str(error)


def _owns_no_code(arguments: Sequence[str]) -> bool:
    """Tell whether the exit code belongs to the command that was to run."""
    words = [word for word in arguments if not word.startswith("-")]
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if words[:1] == ["submit"]:
        return "--wait" in own
    return any(words[: len(known)] == known for known in CODE_IS_THE_COMMANDS)


def _complain(text: str) -> None:
    """Write one line on stderr."""
    sys.stderr.write(f"remuda: {' '.join(text.split())}\n")


def _close_stdout() -> None:
    """Let nobody flush into a pipe whose reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
