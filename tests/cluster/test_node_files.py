"""Does a real agent run tasks with their files and code, and bring home what they leave?"""

import os
import signal
from contextlib import contextmanager

import psutil
import pytest

from remuda.config.keys import ensure_key_pair
from remuda.protocol import claims
from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome
from remuda.protocol.spec import FileRow
from remuda.protocol.trees import Entry, pack_tree

from ..fakes.node_driver import FakeScheduler, NodeUnderTest, call_args, document, ended, new_task
from ..fakes.raw import wait_for
from ..fakes.store_daemon import source_of, store_daemon
from .far import far

pytestmark = pytest.mark.cluster
MIB = 1 << 20
RUN = b"#!/bin/sh\necho ran in $(pwd)\ncat in.txt > out.txt\nmkdir o && echo 1 > o/1\n"


class Scene:
    """A store, and an agent whose scheduler the test plays."""

    def __init__(self, folder, store, config=""):
        self.store = store
        keys = ensure_key_pair(store.home.key_file("scheduler"))
        self.scheduler = FakeScheduler(keys=keys)
        self.scheduler.store_port = store.port
        self.node = NodeUnderTest(folder, self.scheduler, config, keys=store.keys["n1"])

    def put(self, blob, *, tree=False):
        """Put an object as a user; return digest and size, and what the node may read it by."""
        source = source_of(blob, tree=tree)
        self.store.mover("alice").put([source])
        claim = self.store.read_claim("n1", source.digest, source.size)
        return (source.digest, source.size), claim

    def project(self, files):
        entries = [Entry(name, *self.put(blob)[0], "exec") for name, blob in files.items()]
        return self.put(pack_tree(entries), tree=True)

    def offer(self, blob, claim=b"", *, args=b"", inputs=b""):
        task = new_task()
        self.scheduler.offer(
            blob, task, spec_inputs=[claim], args=[args], inputs=[inputs] if inputs else []
        )
        return task

    def fetched(self, row):
        """Read an object that a result names, as whoever it entitles."""
        *_, digest, size = row[:3] if isinstance(row[0], str) else row
        claim = self.store.read_claim("bob", digest, size)
        return self.store.mover("bob").get_bytes(digest, claim, size)

    def claimed(self, task):
        message = self.scheduler.wait_for(m.Results, task)
        blob = message.objects[message.tasks.index(task)]
        return {self.store.have("n1", each).digest for each in claims.split(blob)}

    def movers(self):
        """Return the movers of this agent."""
        children = psutil.Process(self.node.process.pid).children()
        return [child for child in children if "remuda.node.mover" in child.cmdline()]

    def tasks_dir(self, task):
        return self.node.home.node_dir("n1") / "tasks" / f"{task.hex()}.1"


@contextmanager
def scene_of(folder, store, config=""):
    made = Scene(folder, store, config)
    with ended(made.node):
        yield made


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with store_daemon(tmp_path_factory.mktemp("store"), listen=far().address) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def scene(store, tmp_path_factory):
    with scene_of(tmp_path_factory.mktemp("node"), store) as made:
        yield made


def test_a_task_without_needs_starts_no_mover(scene):
    scene.scheduler.result(scene.offer(document(kind="command", argv=["true"])))
    assert [] == scene.movers()


def test_a_command_runs_with_its_code_and_files_and_its_outputs_come_home(scene):
    text, text_claim = scene.put(b"hello")
    project, project_claim = scene.project({"run.sh": RUN})
    spec = document(
        kind="command", argv=["./run.sh"], files={"in.txt": FileRow(*text, "file")},
        project=project[0], outputs=["out.txt", "o"], keep_log=True,
    )  # fmt: skip
    task = scene.offer(spec, text_claim + project_claim)
    result = scene.scheduler.result(task)
    assert Outcome.SUCCEEDED == result["outcome"]
    assert {"o/1": b"1\n", "out.txt": b"hello"} == {
        row[0]: scene.fetched(row) for row in result["outputs"]
    }
    place = scene.tasks_dir(task) / "work"
    assert f"ran in {place}\n".encode() == scene.fetched(result["logs"]["out"])
    named = {row[1] for row in result["outputs"]} | {row[0] for row in result["logs"].values()}
    assert named == scene.claimed(task)


def test_a_command_reads_a_large_standard_input(scene):
    blob = os.urandom(MIB)
    stdin, claim = scene.put(blob)
    spec = document(kind="command", argv=["sha256sum"], stdin_object=stdin[0])
    result = scene.scheduler.result(scene.offer(spec, claim))
    assert stdin[0].hex() == result["out"].decode().split()[0]


def test_an_output_that_is_missing_fails_the_task_and_names_what_is_there(scene):
    spec = document(kind="command", argv=["touch", "a.jpg"], outputs=["*.png"])
    result = scene.scheduler.result(scene.offer(spec))
    assert (Outcome.FAILED, "output_missing", 0) == (
        result["outcome"],
        result["code"],
        result["exit_code"],
    )
    assert "output '*.png' matches nothing; there are a.jpg" == result["message"]


def test_the_whole_log_of_a_failure_is_stored_when_the_result_cannot_hold_it(scene):
    printer = "i=0; while [ $i -lt 40000 ]; do echo line $i; i=$((i+1)); done; exit 3"
    result = scene.scheduler.result(
        scene.offer(document(kind="command", argv=["sh", "-c", printer]))
    )
    assert 3 == result["exit_code"]
    lines = scene.fetched(result["logs"]["out"]).decode().splitlines()
    assert (40_000, "line 39999") == (len(lines), lines[-1])


def test_functions_find_their_project_and_code_that_changed_gets_a_new_worker(scene):
    seen = []
    for number in (1, 1, 2):
        code = f"import os\ndef f():\n    return {number}, os.getpid()\n".encode()
        project, claim = scene.project({"shipped.py": code})
        spec = document(kind="function", target="shipped:f", project=project[0])
        task = scene.offer(spec, claim, args=call_args())
        seen.append(scene.scheduler.result(task)["value"])
    assert [1, 1, 2] == [number for number, _ in seen]
    assert (True, False) == (seen[0][1] == seen[1][1], seen[1][1] == seen[2][1])


def test_a_mover_that_is_killed_is_replaced_and_what_it_was_at_is_done(scene):
    (process,) = scene.movers()
    process.send_signal(signal.SIGSTOP)
    text, claim = scene.put(os.urandom(MIB))
    spec = document(kind="command", argv=["cat", "in"], files={"in": FileRow(*text, "file")})
    task = scene.offer(spec, claim)
    scene.scheduler.wait_for(m.Accept, task)
    process.kill()
    assert MIB == scene.scheduler.result(task)["out_bytes"]


def test_work_survives_an_agent_that_is_killed_while_it_stores_and_while_it_stages(tmp_path):
    with (
        store_daemon(tmp_path / "store", listen=far().address) as store,
        scene_of(tmp_path / "node", store) as scene,
    ):
        text, claim = scene.put(b"hello")
        store.stop(signal.SIGKILL)
        writes = document(kind="command", argv=["touch", "a.png"], outputs=["*.png"])
        stored = scene.offer(writes)
        wait_for(lambda: _phase_of(scene, stored) == m.Phase.RUNNING, "the end of the command")
        wait_for((scene.tasks_dir(stored) / "work/a.png").exists, "its output")
        reads = document(kind="command", argv=["cat", "in"], files={"in": FileRow(*text, "file")})
        staged = scene.offer(reads, claim)
        scene.scheduler.wait_for(m.Accept, staged)
        (mover,) = scene.movers()
        scene.scheduler.living = [(stored, 1)]
        scene.node.kill()
        wait_for(lambda: not psutil.pid_exists(mover.pid), "the end of its mover")
        scene.node.start()
        assert [stored] == scene.scheduler.registers[-1].tasks
        store.start()
        result = scene.scheduler.result(stored)
        assert (Outcome.SUCCEEDED, "a.png") == (result["outcome"], result["outputs"][0][0])


def test_a_task_that_waits_for_the_store_can_be_cancelled(tmp_path):
    with (
        store_daemon(tmp_path / "store", listen=far().address) as store,
        scene_of(tmp_path / "node", store, "[tasks]\nkeep_dirs = 0\n") as scene,
    ):
        text, claim = scene.put(b"hello")
        store.stop(signal.SIGKILL)
        reads = document(kind="command", argv=["cat", "in"], files={"in": FileRow(*text, "file")})
        writes = document(kind="command", argv=["touch", "a.png"], outputs=["*.png"])
        staged, stored = scene.offer(reads, claim), scene.offer(writes)
        wait_for((scene.tasks_dir(stored) / "work/a.png").exists, "its output")
        wait_for(lambda: _phase_of(scene, stored) == m.Phase.RUNNING, "the end of the command")
        for task in (staged, stored):
            scene.scheduler.say(m.Kill(scene.scheduler.incarnation, [task], [1], [-1], [""]))
            assert Outcome.KILLED == scene.scheduler.result(task)["outcome"]
        wait_for(lambda: not scene.tasks_dir(stored).exists(), "the end of its directory")


def _phase_of(scene, task):
    """Return what the last heartbeat says of a task."""
    scene.scheduler.turn()
    for beat in reversed(scene.scheduler.all_of(m.Heartbeat)):
        if task in beat.tasks:
            return beat.phases[beat.tasks.index(task)]
    return None
