"""Does an agent run the commands of mapped owners as their users, files and all, and no others?"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.config.keys import ensure_key_pair
from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome
from remuda.protocol.spec import FileRow

from ..fakes import other_users
from ..fakes.node_driver import FakeScheduler, NodeUnderTest, document, ended, new_task
from ..fakes.other_users import Helper
from ..fakes.raw import wait_for
from ..fakes.store_daemon import source_of, store_daemon
from .far import far

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not other_users.may_add_users(), reason=other_users.WHY_NOT),
]


class Scene:
    """A store, a helper, and an agent for which the owner `ann` is another user of the host."""

    def __init__(self, folder: Path, store: Any, helper: Helper, user: str) -> None:
        self.user, self.store = user, store
        self.place = folder
        keys = ensure_key_pair(store.home.key_file("scheduler"))
        self.scheduler = FakeScheduler(keys=keys)
        self.scheduler.store_port = store.port
        self.state_dir = folder / "state"
        config = (
            f'state_dir = "{self.state_dir}"\nrun_as_socket = "{helper.socket}"\n'
            f'run_as = {{ann = "{user}", eve = "root"}}\n[tasks]\nkeep_dirs = "0s"\n'
        )
        self.node = NodeUnderTest(folder, self.scheduler, config, keys=store.keys["n1"])

    def offer(self, claim: bytes = b"", owner: str = "ann", **fields: Any) -> bytes:
        task = new_task()
        body = document(**{"kind": "command", **fields})
        self.scheduler.offer(body, task, spec_inputs=[claim], owner=owner)
        return task

    def run(self, line: str, claim: bytes = b"", **fields: Any) -> dict[str, Any]:
        task = self.offer(claim, argv=["sh", "-c", line], **fields)
        return {**self.scheduler.result(task), "task": task}

    def directory(self, task: bytes) -> Path:
        return self.state_dir / "tasks" / f"{task.hex()}.1"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with (
        store_daemon(tmp_path_factory.mktemp("store"), listen=far().address) as store,
        other_users.users(0) as (user,),
        other_users.open_folder() as folder,
        other_users.helper(folder, json.dumps([user])) as helper,
    ):
        made = Scene(folder, store, helper, user)
        with ended(made.node):
            yield made


def test_a_command_runs_as_its_owners_user_and_says_so(scene: Scene) -> None:
    result = scene.run("id -un")
    assert (Outcome.SUCCEEDED, f"{scene.user}\n".encode(), scene.user) == (
        result["outcome"], result["out"], result["user"],
    )  # fmt: skip


def test_its_files_come_along_its_outputs_come_home_and_its_directory_goes(scene: Scene) -> None:
    source = source_of(b"hello")
    scene.store.mover("alice").put([source])
    claim = scene.store.read_claim("n1", source.digest, source.size)
    result = scene.run(
        "id -un; cat in.txt; echo more >> in.txt; mkdir -m 700 o; cp in.txt o/out; chmod 0 o",
        claim, files={"in.txt": FileRow(source.digest, source.size, "file")}, outputs=["o"],
    )  # fmt: skip
    assert f"{scene.user}\nhello".encode() == result["out"]
    ((name, digest, size, _),) = result["outputs"]
    read = scene.store.read_claim("bob", digest, size)
    assert ("o/out", b"hellomore\n") == (
        name,
        scene.store.mover("bob").get_bytes(digest, read, size),
    )
    wait_for(lambda: not scene.directory(result["task"]).exists(), "its directory to go")


def test_it_reads_nothing_of_the_agents(scene: Scene) -> None:
    scene.run("true")
    tries = f"ls {scene.state_dir}; ls {scene.state_dir}/tasks; ls {scene.state_dir}/runners/*"
    keys = f"cat {scene.node.home.root}/keys/node-n1.key; cat {scene.state_dir}/runners/*/a/*/out"
    result = scene.run(f"{tries}; {keys}")
    assert b"" == result.get("out", b"")
    assert 5 == result["err"].count(b"Permission denied")


@pytest.mark.parametrize("kind", ["command", "function"])
def test_what_it_cannot_run_as_its_user_is_refused_with_a_reason(scene: Scene, kind: str) -> None:
    spec = {"argv": ["id"]} if kind == "command" else {"target": "os:getuid"}
    owners = {"command": "bob", "function": "ann"}
    task = scene.offer(owner=owners[kind], kind=kind, **spec)
    result = scene.scheduler.result(task)
    assert (Outcome.FAILED, "owner_refused") == (result["outcome"], result["code"])
    assert repr(owners[kind]) in result["message"]


def test_a_user_that_roots_file_does_not_allow_runs_nothing(scene: Scene) -> None:
    task = scene.offer(owner="eve", argv=["id"])
    result = scene.scheduler.result(task)
    assert (Outcome.FAILED, "owner_refused") == (result["outcome"], result["code"])
    assert "user 'root' is not among the `users`" in result["message"]


def test_a_killed_agent_adopts_what_runs_as_another_user(scene: Scene) -> None:
    go = scene.place / "go"
    task = scene.offer(argv=["sh", "-c", f"until [ -e {go} ]; do sleep 0.05; done; id -un"])
    scene.scheduler.wait_for(m.Started, task)
    scene.node.kill()
    scene.scheduler.living = [(task, 1)]
    scene.node.start()
    go.touch()
    result = scene.scheduler.result(task)
    assert (Outcome.SUCCEEDED, f"{scene.user}\n".encode()) == (result["outcome"], result["out"])
    work = scene.directory(task) / "work"
    assert (os.geteuid(), 0o700) == (work.stat().st_uid, work.stat().st_mode & 0o777)
