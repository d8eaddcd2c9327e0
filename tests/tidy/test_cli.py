"""Does the command start fast, and does each of its commands show an example?"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from remuda.cli.main import app

# What is slow to import, and of use to daemons only.
HEAVY = {"structlog", "redis", "pydantic_settings", "numpy"}
REPORT = """
import sys
from remuda.cli.main import main
try:
    main()
except SystemExit:
    pass
print(*sys.modules, sep="\\n", file=open({out!r}, "w"))
"""


def modules_loaded_by(tmp_path: Path, *args: str) -> set[str]:
    out = tmp_path / "modules"
    command = [sys.executable, "-c", REPORT.format(out=str(out)), *args]
    environment = os.environ | {"REMUDA_HOME": str(tmp_path)}
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    return set(out.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("args", ["--version", "--help", "task list --help", "task list"])
def test_a_quick_command_imports_nothing_heavy(tmp_path: Path, args: str) -> None:
    assert set() == HEAVY & modules_loaded_by(tmp_path, *args.split())


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command's words and its help text, groups left out."""
    root = typer.main.get_command(app())
    yield from leaves(root, typer.Context(root, info_name="remuda"))


def leaves(command: Any, context: typer.Context) -> Iterator[tuple[str, str]]:
    if not hasattr(command, "list_commands"):
        yield context.command_path, f"{command.help or ''}\n{command.epilog or ''}"
        return
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None, f"{context.command_path} lists {name} and has no such command"
        if not inner.hidden:
            yield from leaves(inner, typer.Context(inner, parent=context, info_name=name))


def test_the_help_of_every_command_has_an_example() -> None:
    found = dict(commands())
    assert found, "no command was found"
    assert [] == [words for words, text in found.items() if words not in text]


def test_the_first_help_names_every_command_and_group() -> None:
    root = typer.main.get_command(app())
    context = typer.Context(root, info_name="remuda")
    shown = {line.split()[0] for line in root.get_help(context).splitlines() if line.strip()}
    names = {name for name, each in root.commands.items() if not each.hidden}  # type: ignore[attr-defined]  # a group
    assert set() == names - shown
