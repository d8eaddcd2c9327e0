"""Does an export of a real cluster hold what its tasks did, with all their tries?"""

import csv
import json
import subprocess

import pytest

from remuda import Retry, TaskFailed

from .command_line import COMMAND, DEADLINE_S
from .harness import Cluster

pytestmark = pytest.mark.cluster

END_S = 60.0


def typed(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--home", str(cluster.home.root), "task", "export", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )


def test_an_export_has_each_task_with_the_story_of_its_tries(shared: Cluster, tmp_path) -> None:
    mine = {"export": "yes"}
    client = shared.client.options(tags=mine, retry=Retry(retries=1, backoff="0s..0s"))
    batch = client.map("math:sqrt", [4, 9])
    assert [2.0, 3.0] == list(batch.results(END_S))
    failed = client.submit("math:sqrt", -1)
    with pytest.raises(TaskFailed):
        failed.result(END_S)
    waits = client.options(priority=90, cpus=0.1).submit("time:sleep", 300)
    file = tmp_path / "out.jsonl"
    done = typed(shared, str(file), "--tag", "export=yes")
    assert f"4 tasks written to {file}\n" == done.stderr
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [f"{batch.id}.0", f"{batch.id}.1", failed.id, waits.id] == [row["id"] for row in rows]
    first, _, twice, still_open = rows
    assert ("succeeded", "math:sqrt", batch.id, mine) == tuple(
        first[name] for name in ("state", "command", "batch", "tags")
    )
    assert ["failed", "failed"] == [each["outcome"] for each in twice["attempts"]]
    assert ["exception", "exception"] == [each["code"] for each in twice["attempts"]]
    assert all("math domain error" in each["message"] for each in twice["attempts"])
    assert all(each["run_s"] > 0 for each in twice["attempts"])
    assert (90, None) == (still_open["priority"], still_open["ended_at"])
    assert waits.cancel(grace_s=0)

    typed(shared, str(tmp_path / "out.csv"), "--tag", "export=yes", "--attempts", "-q")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as target:
        tries = list(csv.DictReader(target))
    assert [("1", "exception"), ("2", "exception")] == [
        (row["attempt"], row["attempt_code"]) for row in tries if row["id"] == failed.id
    ]
    ended = list(shared.client.export_tasks(tags=mine, states=["succeeded"], batch=batch))
    assert [0, 1] == [int(each["id"].rpartition(".")[2]) for each in ended]
