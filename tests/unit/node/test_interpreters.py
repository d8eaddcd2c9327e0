"""Is an interpreter offered only when a worker runs in it, and is it said what is wrong else?"""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import pytest

from remuda.node import interpreters, runtime
from remuda.node.interpreters import Interpreter, Interpreters, NotOffered

from ...fakes.runner_driver import wait_until

ENV = {"PATH": "/usr/bin:/bin"}


def checked(tmp_path: Path, **paths: Path) -> Interpreters:
    code = runtime.install(tmp_path / "runtime")
    found = Interpreters(paths, code / "start" / "worker.py", ENV)
    found.check_all()
    return found


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Make a virtual environment with nothing in it."""
    venv.create(tmp_path / "bare", with_pip=False)
    return tmp_path / "bare" / "bin" / "python"


def test_a_virtual_environment_with_nothing_in_it_is_offered(tmp_path: Path, bare: Path) -> None:
    found = checked(tmp_path, sd=bare)
    version = ".".join(map(str, sys.version_info[:3]))
    assert {"sd": f"{version} {bare}"} == {n: each.text for n, each in found.working.items()}
    assert ["python 'sd' has no msgpack of its own: a slower one stands in for it"] == found.notes


def test_our_own_interpreter_has_msgpack(tmp_path: Path) -> None:
    found = checked(tmp_path, own=Path(sys.executable))
    assert (["own"], [], ()) == (list(found.working), found.notes, found.problems)


def test_what_is_wrong_with_an_interpreter_is_said_in_words(tmp_path: Path) -> None:
    old = 'echo "it is Python 3.8.18, and a worker needs 3.9 or newer" >&2; exit 1'
    found = checked(
        tmp_path,
        gone=tmp_path / "gone",
        text=program(tmp_path / "true", "exit 0"),
        old=program(tmp_path / "old", old),
        dead=program(tmp_path / "dead", "kill -9 $$"),
        folder=tmp_path,
    )
    assert {} == found.working
    assert [
        f"python 'dead' is not offered: {tmp_path}/dead: it ended with code -9",
        f"python 'folder' is not offered: {tmp_path}: it cannot be executed",
        f"python 'gone' is not offered: {tmp_path}/gone: there is no such program",
        f"python 'old' is not offered: {tmp_path}/old: "
        "it is Python 3.8.18, and a worker needs 3.9 or newer",
        f"python 'text' is not offered: {tmp_path}/true: "
        "it is no Python: it printed nothing of what was asked for",
    ] == sorted(found.problems)


def test_an_interpreter_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreters, "DEADLINE_NS", 200_000_000)
    found = checked(tmp_path, slow=program(tmp_path / "slow", "sleep 60"))
    assert "did not answer within" in found.broken["slow"]
    wait_until(lambda: found.look_if_due(0) or not found._dying, "its end")


def test_a_broken_interpreter_is_looked_at_again_and_a_good_one_is_not(
    tmp_path: Path, bare: Path
) -> None:
    found = checked(tmp_path, sd=tmp_path / "link", own=Path(sys.executable))
    (tmp_path / "link").symlink_to(sys.executable)
    found._due_ns = 0
    found.check_all()
    assert ({"sd", "own"}, {}) == (set(found.working), found.broken)


def test_an_unknown_name_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    found = checked(tmp_path, own=Path(sys.executable), gone=tmp_path / "gone")
    with pytest.raises(NotOffered, match=r"no python 'sd' \(known: own\)"):
        found.find("sd")
    with pytest.raises(NotOffered, match="python 'gone' is not offered"):
        found.find("gone")


def test_its_folder_comes_first_on_the_path_and_a_virtual_environment_is_named() -> None:
    own = Interpreter(
        Path("/opt/sd/bin/python"), "3.9.1", "/opt/sd", is_venv=True, has_msgpack=True
    )
    assert {
        "PATH": "/opt/sd/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": "/opt/sd",
    } == own.env(ENV)
