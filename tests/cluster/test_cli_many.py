"""Does a command line bring many tasks, tell how far they are, and reach every node?"""

import json
import signal

import psutil
import pytest

from .command_line import DEADLINE_S, CommandLine, stop, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def remuda(tmp_path_factory):
    made = CommandLine(tmp_path_factory.mktemp("many"))
    process = made.cluster(2)
    yield made
    assert 0 == stop(process)
    assert [] == made.leftovers()


def write(remuda, name, *rows):
    path = remuda.folder / name
    path.write_text(
        "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    )
    return name


def test_each_line_of_a_file_is_a_task(remuda) -> None:
    lines = write(remuda, "lines.txt", "a b", "", "$HOME 'q'")
    script = 'printf "%s|%s" "$REMUDA_ENTRY" "$1"'
    done = remuda("submit", "--each-line", lines, "--wait", "--", "sh", "-c", script, "sh", "<{}>")
    assert 0 == done.returncode, done.stderr
    batch = done.stdout.splitlines()[0]
    assert ["a b|<a b>", "$HOME 'q'|<$HOME 'q'>"] == [
        remuda("logs", f"{batch}.{index}").stdout for index in range(2)
    ]
    assert "skipped 1 blank line" in done.stderr
    assert "$HOME 'q'" == remuda.json("task", "show", f"{batch}.1")["entry"]


def test_the_last_batch_stays_the_last_one_when_a_single_task_comes_after_it(remuda) -> None:
    batch = remuda("submit", "--array", "0-1", "--", "true").stdout.strip()
    task = remuda("submit", "--", "true").stdout.strip()
    assert f"{batch}\n" == remuda("batch", "show", "last", "-q").stdout
    assert task == remuda.json("task", "show", "last")["id"]


def test_lines_of_a_pipe_are_taken_back_where_one_is_none(remuda) -> None:
    text = "x\n" * 2_500 + "\0\n"
    done = remuda(
        "submit", "--each-line", "-", "--name", "piped", "--allow-infeasible", "--gpus", "40",
        "echo", "{}", text=text,
    )  # fmt: skip
    assert (4, "") == (done.returncode, done.stdout)
    assert "stdin, line 2501: a NUL byte" in done.stderr
    assert [] == remuda.json("task", "list", "--active", "--name", "piped")


def test_a_file_of_tasks_is_submitted_once_all_of_it_is_right(remuda) -> None:
    rows = [
        {"command": ["sh", "-c", "exit 3"], "retries": 1, "backoff": "10ms..10ms"},
        {"cmd": "echo $V > out; cat out", "env": {"V": "v"}, "tag": {"k": "own"}},
    ]
    good = write(remuda, "good.jsonl", *rows)
    done = remuda("submit", "--from", good, "--tag", "k=all", "--wait")
    assert 1 == done.returncode, done.stderr
    batch = done.stdout.splitlines()[0]
    shown = [remuda.json("task", "show", f"{batch}.{index}") for index in range(2)]
    assert [("failed", 2, {"k": "all"}), ("succeeded", 1, {"k": "own"})] == [
        (each["state"], len(each["attempts"]), each["tags"]) for each in shown
    ]
    assert "v\n" == remuda("logs", f"{batch}.1").stdout

    wrong = write(remuda, "wrong.jsonl", *rows, {"command": ["x"], "retrys": 1}, "{")
    newest = remuda("task", "list", "-q", "--limit", "1").stdout
    done = remuda("submit", "--from", wrong)
    assert (4, "") == (done.returncode, done.stdout)
    assert "wrong.jsonl, line 3: retrys: is not an option" in done.stderr
    assert "wrong.jsonl: 2 lines are wrong: nothing was submitted" in done.stderr
    assert newest == remuda("task", "list", "-q", "--limit", "1").stdout


def test_what_the_scheduler_refuses_is_told_with_its_line(remuda) -> None:
    text = '{"command": ["x"]}\n\n{"command": ["x"], "gpus": 40}\n'
    done = remuda("submit", "--from", "-", text=text)
    assert (4, "") == (done.returncode, done.stdout)
    assert "stdin, line 3: no node could ever run this" in done.stderr
    assert "nothing was submitted" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--array", "0-1", "--each-line", "x", "true"), 4, "--array and --each-line"),
        (("--each-line", "-", "--stdin", "-", "true"), 4, "serves one of them"),
        (("--from", "x.jsonl", "true"), 4, "a command of its own"),
        (("--each-line", "nowhere.txt", "true"), 3, "no file nowhere.txt"),
        ((), 2, "a command is missing"),
    ],
)
def test_what_makes_no_batch_is_refused_in_one_line(remuda, words, code, said) -> None:
    done = remuda("submit", *words)
    assert (code, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n")), done.stderr
    assert said in done.stderr


def test_batches_tell_how_far_they_are_and_what_failed(remuda) -> None:
    script = "case $REMUDA_ARRAY_INDEX in 2) echo it broke >&2; exit 7;; esac"
    batch = remuda.submit("--array", "0-5", "--name", "counted", "--", "sh", "-c", script)
    done = remuda("batch", "show", batch, "--follow")
    assert 1 == done.returncode
    assert "6 of 6 tasks ended" in done.stdout
    shown = remuda.json("batch", "show", batch)
    assert ({"succeeded": 5, "failed": 1}, 6, 0, None) == tuple(
        shown[key] for key in ("counts", "total", "open", "eta_s")
    )
    (failure,) = shown["failures"]
    assert (f"{batch}.2", "exit_code", True) == (
        failure["id"], failure["code"], "exit code 7" in failure["message"],
    )  # fmt: skip
    newest = remuda.json("batch", "list")[0]
    assert (batch, "counted", shown["counts"]) == (
        newest["id"], newest["name"], newest["counts"],
    )  # fmt: skip
    assert [] == remuda.json("batch", "list", "--active")


def test_ctrl_c_only_stops_looking_at_a_batch(remuda) -> None:
    batch = remuda.submit("--array", "0-3", "--name", "slow", "--", "sleep", "300")
    process = remuda.start("batch", "show", batch, "--follow")
    wait_until(lambda: remuda.json("batch", "show", batch)["counts"].get("running"), "none runs")
    looking = psutil.Process(process.pid)
    wait_until(looking.net_connections, "it does not ask the scheduler")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert (130, True) == (process.returncode, "stopped looking" in said)
    assert 4 == remuda.json("batch", "show", batch)["open"]
    assert 124 == remuda("task", "wait", batch, "--timeout", "100ms").returncode
    assert 0 == remuda("task", "cancel", batch, "--yes").returncode
    done = remuda("task", "wait", batch)
    assert (1, "4 tasks: 4 cancelled\n") == (done.returncode, done.stdout)


def test_a_command_runs_on_every_ready_node(remuda) -> None:
    script = "echo $REMUDA_NODE; echo said >&2; test $REMUDA_NODE != node-2"
    done = remuda("run", "--each-node", "--", "sh", "-c", script)
    assert (1, {"node-1: node-1", "node-2: node-2"}) == (
        done.returncode, set(done.stdout.splitlines()),
    )  # fmt: skip
    assert {"node-1: said", "node-2: said", "node-2: exit code 1", "succeeded on node-1"} < set(
        done.stderr.splitlines()
    )


def test_a_drained_node_is_skipped_and_said(remuda) -> None:
    assert 0 == remuda("node", "drain", "node-2", "--reason", "bad fan").returncode
    try:
        found = json.loads(remuda("run", "--each-node", "--json", "--", "echo", "here").stdout)
        assert [("node-1", "succeeded", 0, "here\n")] == [
            tuple(each[key] for key in ("node", "state", "exit_code", "stdout"))
            for each in found["nodes"]
        ]
        (skipped,) = found["skipped"]
        # What an earlier test left there may be on its way out.
        assert skipped["reason"] in ("drained: bad fan", "draining: bad fan")
        assert "node-2" == skipped["node"]
        refused = remuda("run", "--each-node", "--node", "node-2", "true")
        assert (125, True) == (refused.returncode, ": bad fan" in refused.stderr)
    finally:
        assert 0 == remuda("node", "undrain", "node-2").returncode


def test_a_batch_for_every_node_can_be_submitted(remuda) -> None:
    done = remuda("submit", "--each-node", "--wait", "--", "true")
    assert (0, "2 tasks: 2 succeeded") == (done.returncode, done.stdout.splitlines()[-1])
