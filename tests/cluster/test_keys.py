"""What can a key do, and no more? Keys made and admitted by `remuda key`, used by real programs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.client.client import Client
from remuda.client.outcome import TaskFailed
from remuda.protocol.errors import RemudaError

from .command_line import CommandLine, admit, stop, wait_until
from .harness import Cluster

pytestmark = pytest.mark.cluster

FINISH_S = 60.0
SECRET = "canary-7d1f"


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """Run a cluster; the one who started it is its admin."""
    made = CommandLine(tmp_path_factory.mktemp("keys"))
    process = made.cluster(1)
    yield made
    stop(process)
    made("down")
    assert [] == made.leftovers()


@pytest.fixture(scope="module")
def viewer(owner: CommandLine) -> CommandLine:
    return admit(owner, "vera", "viewer")


@pytest.fixture(scope="module")
def secret(owner: CommandLine) -> str:
    """Run a task with a secret in its environment, its input and its output."""
    (owner.folder / "stdin").write_text(SECRET)
    given = ("--env", f"TOKEN={SECRET}", "--stdin", str(owner.folder / "stdin"))
    task = owner.submit(*given, "--name", "job", "sh", "-c", "cat; echo $TOKEN; echo $TOKEN >&2")
    owner.wait_state(task, "succeeded")
    assert 2 == owner("logs", task).stdout.count(SECRET), "its owner sees it"
    return task


def test_a_viewer_sees_lists_and_how_tasks_went(
    owner: CommandLine, viewer: CommandLine, secret: str
) -> None:
    row = next(row for row in viewer.json("task", "list") if row["id"] == secret)
    assert ("job", "succeeded", "node-1") == (row["name"], row["state"], row["node"])
    assert ["node-1"] == [row["name"] for row in viewer.json("node", "list")]
    assert 0 == viewer("status").returncode
    assert "succeeded" == viewer.json("task", "show", secret)["state"]


@pytest.mark.parametrize(
    "words",
    [("task", "show"), ("task", "logs"), ("why",), ("task", "wait"), ("task", "list")],
)
def test_a_viewer_sees_neither_environment_nor_input_nor_output(
    viewer: CommandLine, secret: str, words: tuple[str, ...]
) -> None:
    for more in ((), ("--json",)):
        target = () if words == ("task", "list") else (secret,)
        done = viewer(*words, *target, *more)
        assert SECRET not in done.stdout + done.stderr


def test_a_viewer_reads_no_log_and_changes_nothing(viewer: CommandLine, secret: str) -> None:
    verbs = (("logs", secret), ("submit", "true"), ("task", "retry", secret), ("cancel", secret))
    assert [4, 4, 4, 4] == [viewer(*words).returncode for words in verbs]


def test_a_viewer_gets_no_value_of_a_call(owner: CommandLine, viewer: CommandLine) -> None:
    with Client(owner.home.root) as hers:
        task = hers.submit("builtins:str", SECRET)
        bad = hers.submit("builtins:int", SECRET)
        assert SECRET == task.result(FINISH_S)
        with pytest.raises(TaskFailed, match=SECRET):
            bad.result(FINISH_S)
    with Client(viewer.home.root) as seen:
        for known in (seen.task(task.id), seen.task(bad.id)):
            try:
                told = repr(known.result(FINISH_S))
            except (RemudaError, TaskFailed) as error:
                told = f"{error} {vars(error)}"
            assert SECRET not in told


def test_who_may_submit_sees_and_cancels_only_what_is_theirs(
    owner: CommandLine, secret: str
) -> None:
    anna, ben = admit(owner, "anna", "submit"), admit(owner, "ben", "submit")
    task = anna.submit("--", "sleep", "300")
    assert [task] == [row["id"] for row in anna.json("task", "list")]
    assert [] == ben.json("task", "list")
    verbs = (("task", "show"), ("logs",), ("why",), ("cancel",), ("task", "retry"))
    assert [3] * 5 == [ben(*words, task).returncode for words in verbs]
    assert 3 == anna("logs", secret).returncode
    assert 0 == anna("cancel", task).returncode
    anna.wait_state(task, "cancelled")


def test_a_revocation_is_felt_by_the_next_message_of_a_connection(owner: CommandLine) -> None:
    carl = admit(owner, "carl", "submit")
    with Client(carl.home.root) as live:
        task = live.submit_command(["true"])
        task.result(FINISH_S)
        assert 0 == owner("key", "revoke", "carl").returncode
        with pytest.raises(RemudaError, match="key") as refusal:
            live.submit_command(["true"])
    assert "not_allowed" == refusal.value.code
    rows = {row["name"]: row["state"] for row in owner.json("key", "list")}
    assert "revoked" == rows["carl"]


def test_only_an_admin_changes_keys(owner: CommandLine) -> None:
    olga = admit(owner, "olga", "operator")
    assert 0 == olga("key", "list").returncode
    assert 4 == olga("key", "revoke", "olga").returncode
    assert 4 == olga("key", "allow", "mallory", "x" * 40, "--role", "admin").returncode


def test_the_work_of_a_node_whose_key_is_revoked_moves(
    cluster: Cluster, tmp_path: Path, common: Path
) -> None:
    remuda = CommandLine(tmp_path)
    truth = common / "runs"
    script = f'echo "$REMUDA_NODE" >> {truth}; while ! test -e {common}/go; do sleep 0.05; done'
    task = cluster.client.submit_command(["sh", "-c", script])
    cluster.note([task])
    first = str(remuda.wait_state(task.id, "running")["node"])
    wait_until(truth.exists, "it does not begin")
    other = ({"node-1", "node-2"} - {first}).pop()
    assert 0 == remuda("key", "revoke", first).returncode
    wait_until(lambda: other in truth.read_text(), "its work did not move")
    (common / "go").touch()
    task.result(FINISH_S)
    shown = remuda.json("task", "show", task.id)
    assert {first, other} == set(truth.read_text().split())
    assert (other, 2, ["lost", "succeeded"]) == (
        shown["node"],
        shown["attempt"],
        [each["outcome"] for each in shown["attempts"]],
    )
    assert "revoked" in shown["attempts"][0]["message"]
    states = {row["name"]: row["state"] for row in remuda.json("node", "list")}
    assert ("lost", "ready") == (states[first], states[other])
