"""Do the pages about a task's life say what the code and the configuration do?"""

import re
from collections.abc import Iterator
from typing import Any

import typer

from remuda.cli.main import app
from remuda.config.settings_policies import PolicySettings, default_policies
from remuda.protocol.failures import CLASS_OF, FINAL

from . import house

FAILURES = house.ROOT / "docs" / "failures.md"
LIFECYCLE = house.ROOT / "docs" / "lifecycle.md"


def rows(page: str, head: str) -> Iterator[list[str]]:
    """Yield the cells of the table that begins with a head."""
    _, found, rest = page.partition(f"\n{head} |")
    assert found, f"there is no table {head!r}"
    for line in rest.splitlines()[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_about_failures_has_each_code_once_with_its_class() -> None:
    listed = [cells[:2] for cells in rows(FAILURES.read_text(), "| code")]
    known = {**{code: f"`{kind.value}`" for code, kind in CLASS_OF.items()},
             **dict.fromkeys(FINAL, "final")}  # fmt: skip
    assert sorted([f"`{code}`", kind] for code, kind in known.items()) == sorted(listed)


def test_the_page_about_a_tasks_life_has_the_policies_of_the_configuration() -> None:
    listed = list(rows(LIFECYCLE.read_text(), "| class"))
    assert [described(name, row) for name, row in default_policies().items()] == listed


def described(name: str, row: PolicySettings) -> list[str]:
    retries = "`--retries`" if row.retries is None else str(row.retries)
    if row.backoff_s_min is None or row.backoff_s_max is None:
        pause = "`--backoff`"
    elif not row.backoff_s_max:
        pause = "none"
    else:
        pause = f"{duration(row.backoff_s_min)}..{duration(row.backoff_s_max)}"
    return [f"`{name}`", retries, pause, row.placement]


def duration(seconds: float) -> str:
    return f"{seconds / 60:g}m" if seconds >= 60 else f"{seconds:g}s"


def options_of(command: Any) -> set[str]:
    found = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    return found.union(*map(options_of, getattr(command, "commands", {}).values()))


def test_the_pages_name_only_options_that_there_are() -> None:
    known = options_of(typer.main.get_command(app()))
    named = set(re.findall(r"--[a-z][a-z-]*", FAILURES.read_text() + LIFECYCLE.read_text()))
    assert set() == named - known
