"""Do files, folders, code and values of any size reach tasks and come home, whatever is killed?"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remuda import AsyncClient, File
from remuda.client.client import Client
from remuda.client.depot import READ
from remuda.client.submitter import Submitter
from remuda.protocol.errors import Conflict, NotFound, TaskFailed

from .command_line import CommandLine, wait_until
from .harness import Cluster

pytestmark = pytest.mark.cluster

END_S = 60.0
MIB = 1 << 20
CODE = """
import pathlib
from remuda import File

def upper(file, suffix=""):
    text = open(file).read().upper() + suffix
    pathlib.Path("upper.txt").write_text(text)
    return {"file": File("upper.txt"), "size": file.size}

def double(value):
    return value * 2

def absent():
    return File("absent.txt")

def each_upper(files):
    made = []
    for file in files:
        path = pathlib.Path("made", file.name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(open(file).read().upper())
        made.append(File(path))
    return made
"""


class Typed(CommandLine):
    """The command line of somebody who uses a cluster from a folder of his own."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        super().__init__(folder)
        self.env["REMUDA_HOME"] = str(cluster.home.root)
        self.home = cluster.home


@pytest.fixture
def client(shared: Cluster) -> Client:
    return shared.client


@pytest.fixture
def code(client: Client, tmp_path: Path) -> Submitter:
    """Return a submitter that brings a module `jobs` along."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "jobs.py").write_text(CODE)
    return client.options(project=folder)


@pytest.fixture
def typed(shared: Cluster, tmp_path: Path) -> Typed:
    folder = tmp_path / "typed"
    folder.mkdir()
    return Typed(folder, shared)


@pytest.fixture
def fresh(shared: Cluster) -> Iterator[Client]:
    """Return a client that has sent nothing yet."""
    with Client(shared.home.root) as made:
        yield made


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def noise(path: Path, size: int) -> str:
    """Write bytes that nobody has seen; return their SHA-256."""
    blob = os.urandom(size)
    path.write_bytes(blob)
    return hashlib.sha256(blob).hexdigest()


def moved(client: Client) -> list[tuple[str, int, int]]:
    """Note what a client moves from now on."""
    seen: list[tuple[str, int, int]] = []

    def on_moved(way: str, done: int, total: int) -> None:
        if way != READ:
            seen.append((way, done, total))

    client.link.depot.on_moved = on_moved
    return seen


def test_a_file_goes_in_and_another_comes_out(code: Submitter, tmp_path: Path) -> None:
    task = code.submit("jobs:upper", File(written(tmp_path / "in.txt", "hello")), suffix="!")
    told = task.result(END_S)
    assert (b"HELLO!", 5) == (told["file"].read_bytes(), told["size"])
    assert ["upper.txt"] == list(task.files)
    assert b"HELLO!" == task.files["upper.txt"].save(tmp_path / "saved").read_bytes()


def test_a_file_that_came_home_goes_on_to_the_next_task(code: Submitter, tmp_path: Path) -> None:
    first = code.submit("jobs:upper", File(written(tmp_path / "in.txt", "hand")))
    second = code.submit("jobs:upper", first.result(END_S)["file"], suffix=" over")
    assert b"HAND over" == second.result(END_S)["file"].read_bytes()


def test_a_map_takes_files(code: Submitter, tmp_path: Path) -> None:
    files = [File(written(tmp_path / f"{n}/in.txt", f"n{n % 5}")) for n in range(30)]
    sizes = [told["file"].read_bytes() for told in code.map("jobs:upper", files).results(END_S)]
    assert [b"N%d" % (n % 5) for n in range(30)] == sizes


def test_one_call_takes_and_returns_hundreds_of_files(
    client: Client, code: Submitter, tmp_path: Path
) -> None:
    files = [File(written(tmp_path / f"{number}.txt", f"n{number}")) for number in range(400)]
    task = code.submit("jobs:each_upper", files)
    made = task.result(END_S)
    client.get(task, to=tmp_path / "home")
    assert [f"{number}.txt" for number in range(400)] == [file.name for file in made]
    assert [f"N{number}" for number in range(400)] == [
        (tmp_path / "home" / f"{number}.txt").read_text() for number in range(400)
    ]


def test_values_of_any_size_travel_both_ways(code: Submitter) -> None:
    array = np.arange(500_000.0).reshape(2, -1)
    doubled = code.submit("jobs:double", array).result(END_S)
    assert np.array_equal(2 * array, doubled)
    blob = os.urandom(300_000)
    assert [blob, blob] == code.submit("jobs:double", [blob]).result(END_S)
    batch = code.map("jobs:double", [b"x" * (70_000 + n) for n in range(20)])
    assert [140_000 + 2 * n for n in range(20)] == [len(each) for each in batch.results(END_S)]


def test_a_folder_goes_in_and_what_patterns_name_comes_home(client: Client, tmp_path: Path) -> None:
    written(tmp_path / "data/sub/a.txt", "a")
    tool = written(tmp_path / "tool.sh", "#!/bin/sh\necho tooled > made.txt\n")
    tool.chmod(0o755)
    task = client.submit_command(
        ["sh", "-c", "./tool && cat data/sub/a.txt - > all.txt && cp tool x && echo said"],
        files={"data": tmp_path / "data", "tool": tool},
        stdin=b"b" * 100_000,
        outputs=["*.txt", "x"],
    )
    assert "said\n" == task.result(END_S).stdout
    home = tmp_path / "home"
    assert {"all.txt", "made.txt", "x"} == {path.name for path in client.get(task, to=home)}
    assert "a" + "b" * 100_000 == (home / "all.txt").read_text()
    assert os.access(home / "x", os.X_OK)
    (home / "made.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"made\.txt"):
        client.get(task, to=home)
    assert "mine" == (home / "made.txt").read_text()


def test_many_outputs_come_home_by_name(client: Client) -> None:
    script = "mkdir d; for i in $(seq 50); do echo $i > d/$i.txt; done"
    task = client.submit_command(["sh", "-c", script], outputs=["d/*"])
    task.result(END_S)
    assert {f"d/{n}.txt" for n in range(1, 51)} == set(task.files)
    assert b"7\n" == task.files["d/7.txt"].read_bytes()


@pytest.mark.parametrize("function", ["jobs:absent", ""])
def test_what_does_not_come_home_is_no_success(
    client: Client, code: Submitter, function: str
) -> None:
    task = code.submit(function) if function else client.submit_command(["true"], outputs=["*.png"])
    error = task.exception(END_S)
    assert isinstance(error, TaskFailed)
    assert "output_missing" == error.task_code


def test_what_was_sent_once_is_not_sent_again(
    fresh: Client, client: Client, tmp_path: Path
) -> None:
    noise(tmp_path / "in.bin", MIB)
    with fresh.link.depot._movers._take() as mover:
        client.submit("builtins:repr", File(tmp_path / "in.bin")).result(END_S)
        before = mover.state()
        seen = moved(fresh)
        fresh.submit("builtins:repr", File(tmp_path / "in.bin")).result(END_S)
        after = mover.state()
    assert (before["objects"], before["bytes"]) == (after["objects"], after["bytes"])
    assert [] == [what for what in seen if what[1] not in (0, what[2])]


def test_nothing_is_submitted_when_a_file_is_missing(client: Client, tmp_path: Path) -> None:
    before = client.tasks(limit=1)[0].id
    with pytest.raises(NotFound, match=r"there is no file .*nowhere"):
        client.submit("builtins:repr", File(tmp_path / "nowhere"))
    with pytest.raises(NotFound, match="files: there is no file"):
        client.submit_command(["true"], files=[tmp_path / "nowhere"])
    assert before == client.tasks(limit=1)[0].id


def kill_store_when_moving(cluster: Cluster, client: Client, direction: str) -> list[int]:
    """Kill the store once, in the middle of the next transfer of a client."""
    killed: list[int] = []

    def on_moved(way: str, done: int, total: int) -> None:
        if way == direction and 0 < done < total and not killed:
            killed.append(cluster.kill("store"))

    client.link.depot.on_moved = on_moved
    return killed


def test_a_killed_store_costs_an_upload_and_a_download_only_time(
    shared: Cluster, fresh: Client, tmp_path: Path
) -> None:
    digest = noise(tmp_path / "in.bin", 32 * MIB)
    killed = kill_store_when_moving(shared, fresh, "up")
    task = fresh.submit_command(
        ["cp", "in.bin", "out.bin"], files=[tmp_path / "in.bin"], outputs=["out.bin"]
    )
    assert 1 == len(killed)
    task.result(END_S)
    killed = kill_store_when_moving(shared, fresh, "down")
    (path,) = fresh.get(task, to=tmp_path / "home")
    assert 1 == len(killed)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [path] == list((tmp_path / "home").iterdir())


def test_an_interrupted_upload_leaves_no_task_and_can_be_repeated(
    typed: Typed, client: Client
) -> None:
    noise(typed.folder / "in.bin", 96 * MIB)
    before = client.tasks(limit=1)[0].id
    words = ("submit", "-q", "--file", "in.bin", "--", "wc", "-c", "in.bin")
    store_bytes = _partial_bytes(client)
    job = typed.start(*words)
    wait_until(lambda: _partial_bytes(client) > store_bytes, "nothing was sent")
    job.send_signal(signal.SIGINT)
    said, complained = job.communicate(timeout=END_S)
    assert (130, "") == (job.returncode, said), complained
    assert before == client.tasks(limit=1)[0].id
    done = typed(*words)
    assert 0 == done.returncode, done.stderr
    task = client.task(done.stdout.strip())
    assert f"{96 * MIB} in.bin\n" == task.result(END_S).stdout


def _partial_bytes(client: Client) -> int:
    depot = client.link.depot
    state: dict[str, Any] = depot._movers.work(lambda mover: mover.state())
    return int(state["partial"]["bytes"]) + int(state["puts"]["active"])


def test_the_command_line_brings_files_both_ways(typed: Typed) -> None:
    written(typed.folder / "in.txt", "hello")
    words = ("run", "--file", "in.txt:data/x", "--output", "*.txt", "--to", "home", "--")
    done = typed(*words, "sh", "-c", "cat data/x > y.txt; echo ran")
    assert (0, "ran\n") == (done.returncode, done.stdout), done.stderr
    assert "hello" == (typed.folder / "home/y.txt").read_text()
    (row,) = json.loads(typed("task", "get", "last", "--json").stdout)
    assert ("y.txt", 5, "file") == (row["name"], row["size"], row["kind"])
    (typed.folder / "home/y.txt").write_text("mine")
    refused = typed("task", "get", "last", "--to", "home")
    assert (1, "mine") == (refused.returncode, (typed.folder / "home/y.txt").read_text())
    assert "--force" in refused.stderr
    forced = typed("task", "get", "last", "y.txt", "--to", "home", "--force")
    assert (0, "home/y.txt\n") == (forced.returncode, forced.stdout), forced.stderr
    assert "hello" == (typed.folder / "home/y.txt").read_text()
    shown = typed("task", "show", "last").stdout
    assert "data/x (5B)" in shown
    assert "y.txt (5B)" in shown


def test_files_of_a_batch_and_of_each_node_have_folders_of_their_own(
    typed: Typed, client: Client
) -> None:
    words = ("sh", "-c", 'echo "$REMUDA_ARRAY_INDEX" > x.txt')
    done = typed("submit", "-q", "--wait", "--array", "0-2", "--output", "x.txt", "--", *words)
    assert 0 == done.returncode, done.stderr
    batch = done.stdout.split()[0]
    got = typed("task", "get", batch, "--to", "home")
    assert (0, [f"home/{i}/x.txt" for i in range(3)]) == (got.returncode, got.stdout.split())
    assert "2\n" == (typed.folder / "home/2/x.txt").read_text()
    some = typed("task", "get", f"{batch}.1-2", "--to", "some")
    assert ["some/1/x.txt", "some/2/x.txt"] == some.stdout.split(), some.stderr
    rows = json.loads(typed("task", "get", batch, "--json").stdout)
    assert [("0", "x.txt"), ("1", "x.txt"), ("2", "x.txt")] == [
        (row["folder"], row["files"][0]["name"]) for row in rows
    ]
    assert 3 == len(client.get(client.batch(batch), ["x.*"], to=typed.folder / "python"))
    nodes = typed("run", "--each-node", "--output", "x.txt", "--to", "nodes", "--", *words)
    assert 0 == nodes.returncode, nodes.stderr
    names = {row["name"] for row in client.nodes()}
    assert {f"{name}/x.txt" for name in names} == {
        str(path.relative_to(typed.folder / "nodes"))
        for path in (typed.folder / "nodes").glob("*/*")
    }


def test_a_task_that_has_not_succeeded_says_why_it_has_no_files(typed: Typed) -> None:
    task = typed("submit", "-q", "--output", "x.txt", "--", "sleep", "600").stdout.strip()
    early = typed("task", "get", task)
    assert 1 == early.returncode
    assert "has not ended yet" in early.stderr
    typed("cancel", task)
    typed("task", "wait", task)
    late = typed("task", "get", task)
    assert 1 == late.returncode
    assert "it was cancelled" in late.stderr


def test_a_whole_log_is_kept_on_request(typed: Typed) -> None:
    done = typed("submit", "-q", "--wait", "--keep-log", "--", "seq", "100000")
    assert 0 == done.returncode, done.stderr
    log = typed("logs", "--full", "last")
    assert ["1", "100000", "100000"] == [
        log.stdout.split()[0],
        log.stdout.split()[-1],
        str(len(log.stdout.split())),
    ]
    assert "" == log.stderr


def test_code_that_is_only_here_is_missing_there_and_says_what_to_do(
    typed: Typed,
) -> None:
    written(typed.folder / "here.py", "def f():\n    return 'ran'\n")
    missing = typed("call", "--start-timeout", "1s", "--expires", "2s", "here:f")
    assert 0 != missing.returncode
    sent = typed("call", "--project", ".", "here:f")
    assert (0, "ran\n") == (sent.returncode, sent.stdout), sent.stderr


def test_an_event_loop_is_not_held_up_by_a_large_value(shared: Cluster, tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with AsyncClient(shared.home.root) as cluster:
            task = await cluster.submit("builtins:bytes", 5 * MIB)
            assert 5 * MIB == len(await task)
            made = await cluster.submit_command(["touch", "x"], outputs=["x"])
            await made
            await cluster.get(made, to=tmp_path)
            return list(await made.files())

    assert ["x"] == asyncio.run(main())
    assert (tmp_path / "x").is_file()
    assert not [each for each in threading.enumerate() if each.name.startswith("remuda-async")]
