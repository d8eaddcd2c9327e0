"""What does `remuda` say to slips: a wrong place, a stale key, a value that cannot be?"""

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from .command_line import COMMAND, DEADLINE_S, CommandLine, stop, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def remuda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    made = CommandLine(tmp_path_factory.mktemp("slips"))
    (made.common / "jobs.py").write_text("def fail():\n    raise ValueError('no such picture')\n")
    process = made.cluster(1)
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


def test_submit_that_waits_tells_programs_the_outcome_in_one_document(remuda: CommandLine) -> None:
    done = remuda("submit", "--wait", "--json", "--", "sh", "-c", "exit 3")
    told = json.loads(done.stdout)
    assert (3, "failed", "exit_code", 3) == (
        done.returncode,
        told["state"],
        told["code"],
        told["exit_code"],
    )


def test_a_file_that_is_there_but_not_executable_ends_as_in_a_shell(remuda: CommandLine) -> None:
    script = remuda.common / "script"
    script.write_text("#!/bin/sh\n")
    done = remuda("run", str(script))
    assert (126, True) == (done.returncode, "chmod +x" in done.stderr)


def test_the_values_of_the_configuration_are_shown_with_their_units(remuda: CommandLine) -> None:
    said = [remuda("config", "get", f"scheduler.{key}").stdout for key in ("lease", "frame_max")]
    assert ["30s\n", "4MiB\n"] == said
    assert 30.0 == remuda.json("config", "get", "scheduler.lease")


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


def test_programs_get_one_object_of_a_run_and_one_of_each_line(remuda: CommandLine) -> None:
    done = remuda("run", "--json", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    told = json.loads(done.stdout)
    assert (7, "failed", "exit_code", 7) == (
        done.returncode, told["state"], told["code"], told["exit_code"]
    )  # fmt: skip
    assert ("out\n", "err\n", 1) == (told["stdout"], told["stderr"], told["attempt"])
    rows = [json.loads(line) for line in remuda("logs", told["id"], "--json").stdout.splitlines()]
    assert [("stderr", 1, "err"), ("stdout", 1, "out")] == sorted(
        (row["stream"], row["attempt"], row["text"]) for row in rows
    )


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
    assert (4, True) == (done.returncode, "nofile: is neither" in done.stderr)


def test_a_member_of_a_batch_is_named_as_such_when_it_is_cancelled(remuda: CommandLine) -> None:
    batch = remuda.submit("--array", "0-1", "--cpus", "0", "--", "sleep", "300")
    number = next(r["number"] for r in remuda.json("ps") if r["id"] == f"{batch}.1")
    assert f"{batch}.1" == remuda("cancel", "-q", str(number)).stdout.strip()
    assert 0 == remuda("cancel", f"{batch}.0").returncode


def test_waiting_for_no_task_says_so(remuda: CommandLine) -> None:
    done = remuda("task", "wait", "--name", "nothing is called this")
    assert (0, "", True) == (done.returncode, done.stdout, "nothing to wait for" in done.stderr)


def test_why_and_show_say_what_each_failure_was_charged_to(remuda: CommandLine) -> None:
    task = remuda.submit("--retries", "2", "--backoff", "1h..1h", "--", "sh", "-c", "exit 3")
    remuda.wait_state(task, "waiting")
    told = remuda.json("why", task)
    assert told["reason"].startswith("try 1 failed (exit_code); the next one starts in ")
    assert told["reason"].endswith(", retry 1 of 2 after its own errors")
    assert [("own", 1, 2)] == budgets(remuda, task)
    remuda("cancel", task)
    again = remuda.submit("--retries", "1", "--backoff", "1ms", "--", "sh", "-c", "exit 3")
    remuda.wait_state(again, "failed")
    assert [("own", 2, 1)] == budgets(remuda, again)


def budgets(remuda: CommandLine, task: str) -> list[tuple[str, int, int]]:
    rows = remuda.json("task", "show", task)["budgets"]
    return [(row["budget"], row["failures"], row["retries"]) for row in rows]


def test_a_task_that_ran_out_of_memory_shows_what_it_asks_for_since(remuda: CommandLine) -> None:
    script = "test -e tried || { touch tried; echo Cannot allocate memory >&2; exit 1; }; sleep 300"
    options = ("--memory", "100MiB", "--cwd", str(remuda.common))
    task = remuda.submit(*options, "--", "sh", "-c", script)
    wait_until(lambda: remuda.json("task", "show", task)["attempt"] == 2, "it was not tried again")
    told = remuda.json("why", task)
    assert ("cpus=1 memory=1GiB", "cpus=1 memory=100MiB") == (told["request"], told["submitted"])
    assert [("memory", 1, 2)] == budgets(remuda, task)
    page = remuda("task", "show", task).stdout
    assert "memory=1GiB" in page
    assert "2 after running out of memory (1 failure so far)" in page
    remuda("cancel", task)


def test_the_state_of_the_cluster_names_what_holds_the_scheduler_up(remuda: CommandLine) -> None:
    body = remuda.json("status")
    assert ([], [], 0) == (body["holds"], body["fuse"], body["reconciling_ms"])
