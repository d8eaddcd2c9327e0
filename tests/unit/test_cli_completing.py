"""Does each place that takes a known word complete it, and is a failure quiet?"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from remuda.cli import completing, main
from remuda.cli.refs import STATES


def sources() -> dict[tuple[str, str], Any]:
    """Return what completes each parameter of each command, by command and parameter."""
    found = {}
    root = typer.main.get_command(main.app())
    groups = [((), root)]
    while groups:
        path, each = groups.pop()
        for name, inner in getattr(each, "commands", {}).items():
            groups.append(((*path, name), inner))
        for parameter in each.params:
            found[" ".join(path), parameter.name] = parameter._custom_shell_complete
    return found


@pytest.mark.parametrize(
    ("command", "parameter"),
    [
        ("node show", "name"),
        ("node drain", "nodes"),
        ("task show", "task"),
        ("task cancel", "tasks"),
        ("gpu cordon", "gpus"),
        ("config get", "key"),
        ("config set", "node"),
        ("config set", "pairs"),
        ("config show", "node"),
        ("task list", "owner"),
        ("call", "target"),
        ("status", "cluster"),
        ("stats", "kind"),
    ],
)
def test_what_takes_a_known_word_completes_it(command: str, parameter: str) -> None:
    found = sources()
    assert found.get((command, parameter)) is not None, sorted(
        name for path, name in found if path == command
    )


@pytest.mark.parametrize(
    ("typed", "is_key"), [(None, True), (["scheduler.lease"], False), (["a", "1"], True)]
)
def test_every_other_word_of_config_set_is_a_key(typed: list[str] | None, is_key: bool) -> None:
    found = completing.settings_to_set(context(pairs=typed))
    assert is_key == ("scheduler.lease" in dict(found))


def test_a_key_that_is_no_setting_completes_nothing() -> None:
    assert sources()["submit", "once"] is None


def context(**params: Any) -> Any:
    root = SimpleNamespace(params={})
    return SimpleNamespace(params=params, find_root=lambda: root)


def test_words_that_do_not_begin_so_are_left_out() -> None:
    complete = completing._completer(completing.states)
    assert [word for word in STATES if word.startswith("s")] == [
        word for word, _ in complete(context(), "s")
    ]


def test_a_cluster_that_is_not_there_completes_nothing(tmp_path: Path) -> None:
    complete = completing._completer(completing.nodes)
    assert [] == complete(context(home=str(tmp_path)), "")


def test_settings_are_known_without_a_cluster() -> None:
    words = dict(completing.settings(context()))
    assert "7700" == words["scheduler.port"]
