"""Does everything come back when all daemons die in one moment, and is no work done twice?"""

import os
from collections import Counter
from pathlib import Path

import pytest

from ..fakes import counted
from .command_line import wait_until
from .harness import Cluster, kill_all, real_cluster

pytestmark = pytest.mark.cluster

ROUNDS = 3
COMMANDS = 120
CALLS = 1_500
FINISH_S = 150.0
SCRIPT = (
    'echo done >> "$0/$REMUDA_ARRAY_INDEX"; sleep 0.2; echo "said $REMUDA_ARRAY_INDEX"; exit $1'
)


def done(folder: Path) -> dict[str, int]:
    return {path.name: len(path.read_text().splitlines()) for path in folder.iterdir()}


def test_commands_and_calls_outlive_the_death_of_all_daemons_and_none_is_done_twice(
    tmp_path: Path, common: Path
) -> None:
    commands_dir, calls_dir = common / "commands", common / "calls"
    commands_dir.mkdir()
    calls_dir.mkdir()
    settings = f'[node]\npython_path = ["{Path(counted.__file__).parent}"]\n'
    with real_cluster(tmp_path, 2, settings=settings) as cluster:
        argv = ["sh", "-c", SCRIPT, str(commands_dir), "0"]
        commands = cluster.client.submit_array(argv, range(COMMANDS), cpus=0.2)
        where, pause = [str(calls_dir)] * CALLS, [0.01] * CALLS
        calls = cluster.client.options(cpus=0.2).map("counted:work", where, range(CALLS), pause)
        cluster.note([*commands, *calls])
        for killed in range(1, ROUNDS + 1):
            part = killed / (ROUNDS + 1)
            wait_until(
                lambda part=part: (
                    len(done(commands_dir)) >= COMMANDS * part
                    or len(done(calls_dir)) >= CALLS * part
                ),
                "nothing goes on",
            )
            before = kill_all(cluster)
            assert len(done(commands_dir)) < COMMANDS or len(done(calls_dir)) < CALLS
            for name, pid in before.items():
                cluster.wait_restarted(name, pid)
        assert list(range(CALLS)) == list(calls.results(FINISH_S))
        _, left = cluster.client.wait(commands, FINISH_S)
        assert set() == left
        assert ({"succeeded": COMMANDS}, {"succeeded": CALLS}) == (commands.counts, calls.counts)
        assert [f"said {number}\n" for number in range(COMMANDS)] == [
            "".join(task.logs()) for task in commands
        ]
        runs = {task.key: done(commands_dir)[str(number)] for number, task in enumerate(commands)}
        by_number = done(calls_dir)
        runs |= {task.key: by_number[str(number)] for number, task in enumerate(calls)}
        assert Counter({1: COMMANDS + CALLS}) == Counter(runs.values())
        assert [] == cluster.violations(runs)


def test_a_cancel_during_the_death_of_all_daemons_still_kills(cluster: Cluster) -> None:
    mark = f"300.{os.getpid()}"
    task = cluster.client.submit_command(["sh", "-c", f"echo $$; exec sleep {mark}"])
    cluster.note([task])
    wait_until(lambda: "".join(task.logs()).strip().isdigit(), "it did not start")
    pid = int("".join(task.logs()))
    before = kill_all(cluster)
    for name, old in before.items():
        cluster.wait_restarted(name, old)
    os.kill(pid, 0)  # it outlives them all
    assert task.cancel()
    with pytest.raises(Exception, match="cancel"):
        task.result(FINISH_S)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
