"""Does each `remuda ...` that a message, a document or a help text names exist, options too?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from remuda.cli.main import app

from .test_cli import commands

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    *(path for path in ROOT.glob("*/**/*.py") if path.relative_to(ROOT).parts[0] not in
      ("tests", "benchmarks", ".venv", "build", "src")),
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
]  # fmt: skip
NAMED = re.compile(r"`(remuda [^`]+)`")
TYPED = re.compile(r"^ *\$? ?(?:sudo )?(remuda .+)$", re.MULTILINE)
CONCATENATED = re.compile(r'"\s+f?"')  # of two pieces of one Python text
EXAMPLE = re.compile(r"^  (remuda .+)$", re.MULTILINE)
ALONE = re.compile(r"`(--[a-z][a-z-]*)[^`]*`")
OF_OTHERS = {
    "--config": "the daemons",
    "--hosts": "bin/quickstart and bin/deploy",
    "--image": "nobody: it is reserved",
    "--only": "bin/deploy",
    "--ssh": "bin/deploy",
}
FENCED = re.compile(r"^```(?:sh|bash|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def named() -> Iterator[tuple[str, str]]:
    """Yield the files, and the command lines that they name."""
    for path in SOURCES:
        text = CONCATENATED.sub("", path.read_text(encoding="utf-8"))
        found = NAMED.findall(text)
        if path.suffix == ".md":
            for block in FENCED.findall(text):
                found += TYPED.findall(block)
        for line in dict.fromkeys(found):
            yield str(path.relative_to(ROOT)), " ".join(line.split())
    for words, text in commands():
        for line in EXAMPLE.findall(text):
            yield f"{words} --help", line


def what_is_wrong(line: str) -> str:
    """Say what of a command line does not exist; empty when all of it does."""
    try:
        words = shlex.split(line, comments=True)[1:]
    except ValueError:
        return ""  # the quote goes on in the next line
    command: Any = ROOT_COMMAND
    known = options_of(command)
    while words and hasattr(command, "commands"):
        word = words.pop(0)
        if word.startswith("-"):
            if word.split("=")[0] not in known:
                return f"no option {word}"
            if "=" not in word and takes_value(command, word):
                words.pop(0)
            continue
        if re.fullmatch(r"[A-Z.…]+|\{.*|<.*|%s", word):
            return ""  # a stand-in for any command
        if word not in command.commands:
            return f"no command {word}"
        command = command.commands[word]
        known |= options_of(command)
    while words and words[0] not in ("--", "|", ">", "&&", ";"):
        word = words.pop(0)
        if not word.startswith("-") and is_anothers(command):
            break
        if word.startswith("--") and word.split("=")[0] not in known:
            return f"no option {word}"
        if word.startswith("-") and "=" not in word and takes_value(command, word):
            words = words[1:]
    return ""


def takes_value(command: Any, option: str) -> bool:
    of_it = [each for each in command.params if option in (*each.opts, *each.secondary_opts)]
    return any(not each.is_flag for each in of_it)


def is_anothers(command: Any) -> bool:
    """Tell whether what follows the first argument is the command line of something else."""
    return not command.context_settings.get("allow_interspersed_args", True)


def options_of(command: Any) -> set[str]:
    said = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    return said | {"--help", "-h"}


ROOT_COMMAND: Any = typer.main.get_command(app())
LINES = list(named())


def test_command_lines_are_found() -> None:
    assert len(LINES) > 200
    assert "no command nosuch" == what_is_wrong("remuda nosuch")
    assert "no option --nosuch" == what_is_wrong("remuda task list --nosuch")


@pytest.mark.parametrize("path", sorted({path for path, _ in LINES}))
def test_what_is_named_can_be_typed(path: str) -> None:
    found = {line: what_is_wrong(line) for at, line in LINES if at == path}
    assert {} == {line: wrong for line, wrong in found.items() if wrong}


def every_option() -> set[str]:
    found: set[str] = set()
    commands_left = [ROOT_COMMAND]
    while commands_left:
        command = commands_left.pop()
        found |= options_of(command)
        commands_left += getattr(command, "commands", {}).values()
    return found


def test_an_option_that_a_page_names_by_itself_is_one_of_a_command() -> None:
    known = every_option() | OF_OTHERS.keys()
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    named_alone = {(page.name, word) for page in pages for word in ALONE.findall(page.read_text())}
    assert len(named_alone) > 50
    assert [] == sorted((page, word) for page, word in named_alone if word not in known)
