"""What does `remuda` say to slips: a wrong place, a stale key, a value that cannot be?"""

import os
import subprocess
from collections.abc import Iterator

import pytest

from .command_line import COMMAND, DEADLINE_S, CommandLine, stop

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def remuda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    made = CommandLine(tmp_path_factory.mktemp("slips"))
    (made.folder / "jobs.py").write_text("def fail():\n    raise ValueError('no such picture')\n")
    process, _ = made.up("--nodes", "1")
    yield made
    assert 0 == stop(process)
    assert [] == made.leftovers()


@pytest.mark.parametrize("verb", ["up", "down"])
@pytest.mark.parametrize("which", [("--cluster", "lab"), ("--endpoint", "tcp://10.0.0.9:7700")])
def test_the_cluster_of_this_host_is_not_touched_when_another_one_is_named(
    remuda: CommandLine, verb: str, which: tuple[str, str]
) -> None:
    done = remuda(verb, *which)
    assert (4, True) == (done.returncode, "are for this host" in done.stderr)
    assert 0 == remuda("status", "--check").returncode


def test_a_key_that_was_used_before_is_told(remuda: CommandLine) -> None:
    first = remuda.submit("--once", "nightly", "--", "true")
    remuda.wait_state(first, "succeeded")
    again = remuda("submit", "--once", "nightly", "--", "false")
    assert (first, True) == (again.stdout.strip(), "under this key already" in again.stderr)
    attended = remuda("run", "--once", "nightly", "--", "false")
    assert f"under this key already: following {first}" in attended.stderr


def test_why_names_the_task_as_lists_do_and_its_page_the_priority(remuda: CommandLine) -> None:
    task = remuda.submit("--priority", "80", "--", "true")
    assert task == remuda.json("why", task)["id"]
    assert 80 == remuda.json("task", "show", task)["priority"]


def test_ps_lists_a_state_that_was_asked_for(remuda: CommandLine) -> None:
    task = remuda.submit("--", "false")
    remuda.wait_state(task, "failed")
    states = {row["state"] for row in remuda.json("ps", "--state", "failed")}
    assert {"failed"} == states


def test_the_output_of_a_try_that_never_was_is_not_found(remuda: CommandLine) -> None:
    task = remuda.submit("--", "true")
    remuda.wait_state(task, "succeeded")
    done = remuda("logs", task, "--attempt", "9")
    assert (3, True) == (done.returncode, "there is no try 9" in done.stderr)


def test_a_function_that_raises_ends_like_an_interpreter(remuda: CommandLine) -> None:
    assert 1 == remuda("call", "jobs:fail").returncode


@pytest.mark.parametrize(
    "words",
    [
        ("--cpus", "inf", "true"),
        ("--gpus", "nan", "true"),
        ("echo", b"\xff\xfe"),
        ("--name", b"bad\xff", "true"),
        ("--env", b"A=\xff", "true"),
    ],
)
def test_a_value_that_cannot_travel_is_no_bug_of_ours(
    remuda: CommandLine, words: tuple[str | bytes, ...]
) -> None:
    argv = [os.fsencode(word) for word in (*COMMAND, "submit", *words)]
    done = subprocess.run(
        argv, env=remuda.env, capture_output=True, timeout=DEADLINE_S, check=False
    )
    assert (4, False) == (done.returncode, b"bug of ours" in done.stderr)


@pytest.mark.parametrize("name", ["../x", "a b", ""])
def test_a_key_is_not_made_under_a_name_that_is_none(remuda: CommandLine, name: str) -> None:
    done = remuda("key", "new", name)
    assert (4, []) == (done.returncode, list(remuda.folder.parent.glob("x.key")))


def test_a_key_file_that_is_not_there_is_named(remuda: CommandLine) -> None:
    done = remuda("key", "allow", "bob", "nofile")
    assert (3, True) == (done.returncode, "nofile: is neither" in done.stderr)
