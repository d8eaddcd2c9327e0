"""Does every verb do, print and exit as the interface says, on real daemons?"""

import json
import os
import pty
import re
import signal
import subprocess

import pytest

from .command_line import DEADLINE_S, CommandLine, stop, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def remuda(tmp_path_factory):
    made = CommandLine(tmp_path_factory.mktemp("cli"))
    (made.common / "jobs.py").write_text(
        "def add(a, b=0):\n    print('adding')\n    return {'sum': a + b, 'both': (a, b)}\n"
        "def fail():\n    raise ValueError('no such picture')\n"
        "def nap():\n    import time\n    time.sleep(300)\n"
    )
    process = made.cluster(2)
    yield made
    assert 0 == stop(process)
    assert [] == made.leftovers()


def outcome(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def test_run_streams_both_outputs_and_exits_with_the_commands_code(remuda) -> None:
    done = remuda("run", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (3, "out\n", "err\n") == outcome(done)


@pytest.mark.parametrize(
    ("options", "script", "code", "said"),
    [
        ((), "kill -9 $$", 137, ""),
        (("--timeout", "300ms"), "sleep 100", 124, "timeout"),
        (("--gpus", "40"), "true", 125, "no node could ever run this"),
        (("--vram", "lots"), "true", 125, "is not a size"),
        (("--gpus", "0.5", "--vram", "1GiB"), "true", 125, "ambiguous"),
    ],
)
def test_run_has_an_exit_code_for_each_end(remuda, options, script, code, said) -> None:
    done = remuda("run", *options, "--", "sh", "-c", script)
    assert (code, "") == (done.returncode, done.stdout)
    assert said in done.stderr
    assert done.stderr.count("\n") <= 1


def test_a_command_that_is_not_there_is_named(remuda) -> None:
    done = remuda("run", "no-such-command")
    assert (127, True) == (done.returncode, "not found: no-such-command" in done.stderr)


def test_run_loses_no_byte_on_its_way_through_pipes(remuda) -> None:
    done = remuda("run", "--", "seq", "1", "300000")
    assert "".join(f"{number}\n" for number in range(1, 300001)) == done.stdout


def test_run_feeds_its_own_standard_input_to_the_task(remuda) -> None:
    assert (0, "hello", "") == outcome(remuda("run", "--stdin", "-", "cat", text="hello"))


def test_run_passes_environment_directory_and_words_as_they_are(remuda) -> None:
    words, script = ["a b", "", "$HOME", "--json", "*"], 'printf "%s|" "$V" "$PWD" "$@"'
    for cwd in ("/", str(remuda.common)):
        done = remuda("run", "--env", "V=1", "--cwd", cwd, "sh", "-c", script, "sh", *words)
        assert "|".join(["1", cwd, *words]) + "|" == done.stdout


def test_run_ends_with_the_reader_of_its_output(remuda) -> None:
    process = remuda.start("run", "--name", "endless", "yes")
    assert process.stdout is not None
    assert process.stdout.readline() == "y\n"
    process.stdout.close()
    assert 141 == process.wait(DEADLINE_S)
    assert process.stderr is not None
    assert "" == process.stderr.read()
    process.stderr.close()
    remuda.wait_state("last", "cancelled")


def test_ctrl_c_at_run_cancels_and_waits(remuda) -> None:
    process = remuda.start("run", "--", "sh", "-c", "echo started; sleep 300")
    assert process.stdout is not None
    assert "started\n" == process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert 130 == process.returncode
    assert "cancelling" in said
    assert "cancelled" == remuda.json("task", "show", "last")["state"]


def test_a_second_ctrl_c_at_run_does_not_wait_and_prints_its_id(remuda) -> None:
    script = "trap '' TERM; echo started; while true; do sleep 1; done"
    process = remuda.start("run", "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stderr is not None
    assert "started\n" == process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert "\n" == process.stderr.readline()
    assert "cancelling" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert 130 == process.returncode
    task = remuda.json("task", "show", "last")
    assert f"not waiting: {task['id']} is told to stop" in said
    remuda("task", "cancel", task["id"], "--grace", "0s")
    remuda.wait_state(task["id"], "cancelled")


def test_submit_prints_the_id_last_and_wait_tells_the_end(remuda) -> None:
    done = remuda("submit", "--name", "x", "--tag", "team=a", "--", "true")
    task = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"[0-9A-Z]{26}", task)
    assert "submitted to local as task" in done.stderr
    assert (0, "1 task: 1 succeeded\n", "") == outcome(remuda("task", "wait", task))
    shown = remuda.json("task", "show", task)
    assert ("x", {"team": "a"}, "succeeded", 0) == (
        shown["name"],
        shown["tags"],
        shown["state"],
        shown["exit_code"],
    )


@pytest.mark.parametrize(
    ("options", "script", "code"),
    [
        ((), "exit 4", 4),
        ((), "true", 0),
        ((), "kill -15 $$", 143),
        (("--timeout", "0.2"), "sleep 9", 124),
    ],
)
def test_submit_wait_exits_as_the_command(remuda, options, script, code) -> None:
    assert code == remuda("submit", "--wait", *options, "--", "sh", "-c", script).returncode


def test_once_submits_only_once(remuda) -> None:
    first = remuda.submit("--once", "the-key", "true")
    assert first == remuda.submit("--once", "the-key", "true")


def test_ctrl_c_at_wait_only_stops_looking(remuda) -> None:
    task = remuda.submit("sleep", "300")
    process = remuda.start("task", "wait", task)
    remuda.wait_state(task, "running")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert 130 == process.returncode
    assert "running" == remuda.json("task", "show", task)["state"]
    assert 0 == remuda("cancel", task).returncode


def test_wait_gives_up_after_its_timeout(remuda) -> None:
    task = remuda.submit("sleep", "300")
    assert 124 == remuda("task", "wait", task, "--timeout", "200ms").returncode
    assert 0 == remuda("task", "cancel", task).returncode
    done = remuda("task", "wait", task)
    assert (1, "1 task: 1 cancelled\n") == (done.returncode, done.stdout)


def test_a_batch_has_one_id_members_and_counts(remuda) -> None:
    script = "echo $REMUDA_ARRAY_INDEX; test $REMUDA_ARRAY_INDEX != 7"
    batch = remuda.submit("--array", "0-9", "--", "sh", "-c", script)
    done = remuda("task", "wait", batch)
    assert (1, "10 tasks: 9 succeeded, 1 failed\n") == (
        done.returncode,
        "10 tasks: 9 succeeded, 1 failed\n" if "9 succeeded" in done.stdout else done.stdout,
    )
    shown = remuda.json("batch", "show", batch)
    assert {"succeeded": 9, "failed": 1} == {k: v for k, v in shown["counts"].items() if v}
    assert [f"{batch}.7"] == [row["id"] for row in shown["failures"]]
    assert "7\n" == remuda("logs", f"{batch}.7").stdout
    assert "3\n" == remuda("logs", "last.3").stdout
    rows = remuda.json("task", "list", "--batch", batch)
    assert [f"{batch}.{index}" for index in range(9, -1, -1)] == [row["id"] for row in rows]
    again = remuda("task", "retry", batch)
    assert (1, True) == (len(again.stdout.split()), "1 copy (of 10 tasks)" in again.stderr)


def test_call_prints_the_result_alone_on_stdout(remuda) -> None:
    done = remuda("call", "jobs:add", "--arg", ":=3", "--arg", "b:=4")
    assert (0, '{"sum": 7, "both": [3, 4]}\n', "adding\n") == outcome(done)
    told = remuda.json("call", "jobs:add", "--arg", "x", "--arg", 'b:="y"')
    assert ({"sum": "xy", "both": ["x", "y"]}, "adding\n") == (told["result"], told["stdout"])


def test_call_tells_why_a_function_failed(remuda) -> None:
    done = remuda("call", "jobs:fail")
    assert (1, "") == (done.returncode, done.stdout)
    assert "ValueError: no such picture" in done.stderr


def test_ctrl_c_at_call_cancels(remuda) -> None:
    process = remuda.start("call", "--name", "nap", "jobs:nap")
    remuda.wait_state("last", "running")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert 130 == process.returncode
    remuda.wait_state("last", "cancelled")


def test_lists_are_paged_and_say_how_much_is_shown(remuda) -> None:
    batch = remuda.submit("--array", "0-4", "--name", "paged", "true")
    remuda("task", "wait", batch)
    first = remuda("task", "list", "--name", "paged", "--limit", "2", "--json")
    cursor = re.search(r"2 of 5 shown; more: --cursor (\S+)", first.stderr)
    assert cursor is not None, first.stderr
    rest = remuda("task", "list", "--name", "paged", "--cursor", cursor[1], "-q")
    assert [f"{batch}.{index}" for index in (2, 1, 0)] == rest.stdout.split()


def test_a_list_for_programs_has_stable_keys_and_plain_values(remuda) -> None:
    remuda("run", "--name", "row", "true")
    (row,) = remuda.json("task", "list", "--name", "row", "--limit", "1")
    assert {"number", "id", "state", "owner", "node", "attempt", "created_at"} <= set(row)
    assert "succeeded" == row["state"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["ended_at"])


def test_verbs_take_ranges_of_numbers_and_ask_above_ten(remuda) -> None:
    batch = remuda.submit("--array", "0-11", "--allow-infeasible", "--gpus", "40", "true")
    numbers = sorted(row["number"] for row in remuda.json("task", "list", "--batch", batch))
    few = remuda("task", "cancel", f"{numbers[0]}-{numbers[2]}")
    assert (0, 3) == (few.returncode, len(few.stdout.splitlines()))
    assert "3 cancelled before it ran" in few.stderr
    asked = remuda("task", "cancel", batch)
    assert (4, True) == (asked.returncode, "12 tasks: add --yes" in asked.stderr)
    assert 0 == remuda("task", "cancel", batch, "--yes").returncode
    assert [] == remuda.json("task", "list", "--batch", batch, "--active")


def test_verbs_take_the_filters_of_the_list(remuda) -> None:
    options = ("--tag", "kind=filtered", "--allow-infeasible", "--gpus", "40")
    tasks = [remuda.submit(*options, "true") for _ in range(2)]
    done = remuda("cancel", "--active", "--tag", "kind=filtered", "-q")
    assert (0, sorted(tasks)) == (done.returncode, sorted(done.stdout.split()))


def test_a_retry_is_a_copy_that_names_its_original(remuda) -> None:
    task = remuda.submit("--name", "flaky", "false")
    remuda("task", "wait", task)
    copy = remuda("task", "retry", task).stdout.split()[-1]
    remuda("task", "wait", copy)
    shown = remuda.json("task", "show", copy)
    assert (task, "flaky", "failed") == (shown["retry_of"], shown["name"], shown["state"])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("task", "show", "999999"), 3),
        (("task", "cancel", "01ARZ3NDEKTSV4RRFFQ69G5FAV"), 3),
        (("node", "show", "nowhere"), 3),
        (("config", "get", "no.such.key"), 3),
        (("task", "list", "--state", "bogus"), 4),
        (("task", "cancel"), 4),
        (("submit", "--array", "0-9%2", "true"), 4),
        (("submit", "--retries", "many", "true"), 4),
        (("submit", "--gpus", "40", "true"), 4),
        (("key", "allow", "x", "not-a-key"), 4),
        (("key", "new", "x", "--role", "king"), 4),
    ],
)
def test_what_cannot_be_is_one_line_with_its_exit_code(remuda, words, code) -> None:
    done = remuda(*words)
    assert (code, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("remuda: ")
    assert 1 == done.stderr.count("\n")


def test_why_names_what_a_task_waits_for_and_who_refused_it(remuda) -> None:
    task = remuda.submit("--allow-infeasible", "--gpus", "40", "true")
    done = remuda("why", task)
    assert 0 == done.returncode
    assert "no known node could ever run it" in done.stdout
    assert {"node-1", "node-2"} <= set(done.stdout.split())
    remuda("cancel", task)
    assert "ended" in remuda("why", task).stdout


def test_logs_of_a_running_task_follow_it_to_its_end(remuda) -> None:
    script = "echo one; while ! test -e go; do sleep 0.05; done; echo two; echo bad >&2"
    task = remuda.submit("--cwd", str(remuda.common), "--", "sh", "-c", script)
    process = remuda.start("logs", "--follow", task)
    assert process.stdout is not None
    assert "one\n" == process.stdout.readline()
    (remuda.common / "go").touch()
    rest, errors = process.communicate(timeout=DEADLINE_S)
    assert (0, "two\n", "bad\n") == (process.returncode, rest, errors)
    assert "two\n" == remuda("task", "logs", task, "-n", "1").stdout
    assert ("bad\n", "") == outcome(remuda("task", "logs", task, "--stderr"))[1:]


def test_nodes_are_listed_with_what_they_have(remuda) -> None:
    rows = remuda.json("node", "list")
    assert [("node-1", "ready"), ("node-2", "ready")] == [(r["name"], r["state"]) for r in rows]
    assert "node-2" in remuda("node", "show", "node-2").stdout
    assert "node-1\n" == remuda("node", "list", "-q", "--limit", "1").stdout


def test_status_names_the_cluster_and_grades_it(remuda) -> None:
    assert re.match(rf"local  tcp://{remuda.host}:\d+  ", remuda("status").stdout)
    assert (0, "OK: 2 nodes ready\n", "") == outcome(remuda("status", "--check"))
    body = remuda.json("status")
    assert ("local", []) == (body["cluster"], body["problems"])


def test_the_configuration_names_where_a_value_was_set(remuda) -> None:
    rows = {row["key"]: row for row in remuda.json("config", "show")}
    assert ("defaults", "file") == (
        rows["scheduler.lease"]["layer"],
        rows["scheduler.port"]["layer"],
    )
    assert "scheduler.toml:" in rows["scheduler.port"]["origin"]
    assert "local\n" == remuda("config", "get", "cluster.name").stdout


def test_a_new_key_works_once_it_is_allowed_and_not_after_its_revocation(remuda, tmp_path) -> None:
    key = tmp_path / "anna.key"
    made = remuda("key", "new", "anna", "--role", "submit", "--out", str(key))
    assert 0 == made.returncode
    assert 0o600 == key.stat().st_mode & 0o777
    assert "remuda key allow anna" in made.stdout
    assert 4 == remuda("key", "new", "anna", "--out", str(key)).returncode
    assert 0 == remuda("key", "allow", "anna", str(key), "--role", "submit").returncode
    states = {row["name"]: (row["role"], row["state"]) for row in remuda.json("key", "list")}
    assert ("submit", "allowed") == states["anna"]
    anna = CommandLine(tmp_path)
    anna.home.create()
    (anna.home.keys_dir / "client.key").write_bytes(key.read_bytes())
    (anna.home.keys_dir / "client.key").chmod(0o600)
    anna.home.endpoints_file.write_bytes(remuda.home.endpoints_file.read_bytes())
    assert (0, "hers\n", "") == outcome(anna("run", "echo", "hers"))
    assert 4 == anna("key", "list").returncode
    assert 0 == remuda("key", "revoke", "anna").returncode
    refused = anna("task", "list")
    assert (5, 1) == (refused.returncode, refused.stderr.count("\n"))


def test_on_a_terminal_states_have_colours_and_waits_a_bar(remuda) -> None:
    batch = remuda.submit("--array", "0-3", "--", "sleep", "0.3")
    ours, theirs = pty.openpty()
    process = remuda.start("task", "wait", batch, stdout=theirs, stderr=theirs)
    process.wait(DEADLINE_S)
    process = remuda.start("task", "list", "--limit", "1", stdout=theirs, stderr=theirs)
    process.wait(DEADLINE_S)
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 65536):
            said += chunk
    except OSError:
        pass  # how a terminal ends whose other side is closed
    os.close(ours)
    assert "/4" in said.decode()
    assert "\x1b[32msucceeded" in said.decode()


def test_a_killed_scheduler_does_not_disturb_a_run(remuda) -> None:
    script = "echo one; while ! test -e on; do sleep 0.05; done; echo two; exit 5"
    process = remuda.start("run", "--cwd", str(remuda.common), "--", "sh", "-c", script)
    assert process.stdout is not None
    assert "one\n" == process.stdout.readline()
    first = remuda.pid("scheduler")
    remuda.kill("scheduler")
    wait_until(lambda: remuda.pid("scheduler") not in (0, first), "it did not start again")
    (remuda.common / "on").touch()
    rest, _ = process.communicate(timeout=DEADLINE_S)
    assert (5, "two\n") == (process.returncode, rest)


def test_json_is_one_document_for_each_verb(remuda) -> None:
    task = remuda.submit("true")
    remuda("task", "wait", task)
    for words in (
        ("task", "list"),
        ("task", "show", task),
        ("task", "explain", task),
        ("task", "wait", task),
        ("task", "cancel", task),
        ("ps",),
        ("node", "list"),
        ("node", "show", "node-1"),
        ("status",),
        ("config", "show"),
        ("key", "list"),
        ("version",),
    ):
        assert json.loads(remuda(*words, "--json").stdout) is not None, words
