"""Do tasks run in the environment that they name, not the agent's, and in a fresh worker?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from remuda.client.client import Client
from remuda.client.task import Task
from remuda.protocol.errors import Infeasible, TaskFailed

from ..fakes import pythons
from ..fakes.wheels import wheel
from .command_line import CommandLine, wait_until
from .far import far
from .harness import Cluster, real_cluster

pytestmark = pytest.mark.cluster

CODE = """
import importlib.util, os, sys

OURS = ("zmq", "pydantic", "apsw", "msgpack")

def place():
    there = [name for name in OURS if importlib.util.find_spec(name)]
    return sys.prefix, there, os.environ.get("VIRTUAL_ENV"), sys.version_info[:2]

def task():
    from remuda import current
    return current.attempt, os.getpid()

def secret(name):
    return os.environ.get(name), os.getpid()

def greet():
    import greeting
    return greeting.WORD, sys.prefix

class Handler:
    def load(self):
        self.at_load = place()[0], os.environ.get("LOADED_WITH")

    def __call__(self):
        return self.at_load
"""
WAIT_S = 60.0


@dataclass
class Scene:
    """A cluster of one node, its other environments and its secret."""

    cluster: Cluster
    bare: Path
    oldest: Path | None
    secret: Path
    requirements: str

    @property
    def client(self) -> Client:
        return self.cluster.client

    def call(self, function: str, *args: object, **options: object) -> object:
        task = self.client.options(**options).submit(f"project:{function}", *args)
        self.cluster.note([task])
        return task.result(WAIT_S)

    def start(self, argv: list[str], **options: object) -> Task:
        task = self.client.submit_command(argv, **options)
        self.cluster.note([task])
        return task


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = far().common_folder("environments")
    (folder / "lib").mkdir()
    (folder / "lib" / "project.py").write_text(CODE)
    bare = pythons.with_msgpack_alone(folder / "bare")
    found = pythons.find("3.9")
    oldest = pythons.with_msgpack_alone(folder / "oldest", found) if found else None
    greeting = wheel(folder, "greeting", "WORD = 'hello'")
    secret = folder / "hf"
    secret.write_text("first\n")
    secret.chmod(0o600)
    settings = f"""
[node]
python_path = ["{folder / "lib"}"]
[pythons]
bare.path = "{bare}"
gone.path = "{folder / "gone"}"
{f'oldest.path = "{oldest}"' if oldest else ""}
[secrets]
hf.file = "{secret}"
gone.file = "{folder / "gone"}"
[handlers.placed]
target = "project:Handler"
python = "bare"
secrets = ["hf=LOADED_WITH"]
[handlers.lost]
target = "project:Handler"
python = "nope"
"""
    with real_cluster(tmp_path_factory.mktemp("environments"), 1, settings=settings) as cluster:
        yield Scene(cluster, bare, oldest, secret, f"--no-index\ngreeting @ file://{greeting}\n")


def handler(scene: Scene, name: str) -> dict[str, Any]:
    (node,) = scene.client.nodes()
    return next(each for each in node["handlers"] if each["name"] == name)


def test_a_function_runs_in_the_environment_that_it_names(scene: Scene) -> None:
    prefix = str(scene.bare.parents[1])
    version = sys.version_info[:2]
    assert (prefix, ["msgpack"], prefix, version) == scene.call("place", python="bare")
    assert str(far().environment("node-1")) == scene.call("place")[0]  # type: ignore[index]


def test_a_function_runs_in_the_oldest_python_that_is_promised(scene: Scene) -> None:
    if scene.oldest is None:
        pytest.skip("no Python 3.9 on this host")
    prefix = str(scene.oldest.parents[1])
    assert (prefix, ["msgpack"], prefix, (3, 9)) == scene.call("place", python="oldest")
    assert 1 == scene.call("task", python="oldest")[0]  # type: ignore[index]


def test_a_handler_is_loaded_in_its_environment_with_its_secrets(scene: Scene) -> None:
    wait_until(lambda: handler(scene, "placed")["state"] == "ready", "it is not loaded")
    task = scene.client.submit("placed")
    assert (str(scene.bare.parents[1]), "first") == task.result(WAIT_S)


def test_a_handler_whose_interpreter_is_not_there_says_so(scene: Scene) -> None:
    def lost() -> dict[str, Any]:
        row = next(each for each in scene.client.handlers() if each["name"] == "lost")
        return dict(row["nodes"][0])

    wait_until(lambda: lost()["why"], "nothing is said of it")
    assert lost()["state"] in ("unavailable", "failed")
    assert "no python 'nope' (known: bare" in lost()["why"]


def test_a_command_finds_the_environment_that_it_names_first(scene: Scene) -> None:
    line = 'import os, sys; print(sys.prefix, os.environ["VIRTUAL_ENV"])'
    done = scene.client.run(["python", "-c", line], python="bare")
    prefix = scene.bare.parents[1]
    assert f"{prefix} {prefix}\n" == done.stdout


def test_what_is_not_offered_is_said_by_the_node_and_refused_with_what_is(scene: Scene) -> None:
    (node,) = scene.client.nodes()
    notes = "\n".join(node["notes"])
    assert "python 'gone' is not offered: " in notes
    assert "secret 'gone' is not offered: " in notes
    assert "bare" in node["pythons"]
    assert ["hf"] == node["secrets"]
    with pytest.raises(Infeasible, match="no node has python 'gone'; known: bare"):
        scene.start(["true"], python="gone")
    with pytest.raises(Infeasible, match="no node has secret 'nope'; known: hf"):
        scene.start(["true"], secrets=["nope"])


def test_calls_with_the_same_secret_share_a_worker_until_its_file_changes(scene: Scene) -> None:
    first, again = (scene.call("secret", "HF", secrets=["hf=HF"]) for _ in range(2))
    assert first == again
    assert (None, False) == (
        scene.call("secret", "HF")[0],  # type: ignore[index]
        scene.call("secret", "HF")[1] == first[1],  # type: ignore[index]
    )
    scene.secret.write_text("second\n")
    value, pid = scene.call("secret", "HF", secrets=["hf=HF"])  # type: ignore[misc]
    assert ("second", True) == (value, pid != first[1])  # type: ignore[index]
    scene.secret.write_text("first\n")


def test_a_command_beside_a_task_does_not_see_its_secrets(scene: Scene) -> None:
    task = scene.start(["sh", "-c", "test $HF = first && echo ready; sleep 60"], secrets=["hf=HF"])
    wait_until(lambda: "ready" in "".join(task.logs()), "it does not begin")
    shown = task.exec(["env"]).stdout
    task.cancel(0.1)
    assert ("REMUDA_ATTEMPT" in shown, "HF=" in shown) == (True, False)


def test_an_environment_is_made_from_requirements_once_and_kept(scene: Scene) -> None:
    word, prefix = scene.call("greet", requirements=scene.requirements)  # type: ignore[misc]
    assert ("hello", True) == (word, prefix != str(far().environment("node-1")))
    made = Path(prefix) / "complete.json"
    stamp = made.stat().st_ino
    line = "import greeting, sys; print(greeting.WORD, sys.prefix)"
    done = scene.client.run(["python", "-c", line], requirements=scene.requirements)
    assert (f"hello {prefix}\n", stamp) == (done.stdout, made.stat().st_ino)


def test_requirements_that_cannot_be_met_fail_the_task_with_the_installers_words(
    scene: Scene,
) -> None:
    task = scene.start(["true"], requirements="--no-index\nno-such-package\n")
    failure = task.exception(WAIT_S)
    assert isinstance(failure, TaskFailed)
    assert ("requirements_unmet", 1) == (failure.task_code, failure.attempt)
    assert "No matching distribution found for no-such-package" in str(failure)
    typed = CommandLine(scene.cluster.folder)
    assert "no-such-package" in typed("task", "show", task.id).stdout


def test_a_fresh_worker_is_new_and_ends_with_its_call(scene: Scene) -> None:
    warm = scene.call("task")[1]  # type: ignore[index]
    fresh = [scene.call("task", fresh=True)[1] for _ in range(2)]  # type: ignore[index]
    assert 3 == len({warm, *fresh})
    wait_until(lambda: not any(map(psutil.pid_exists, fresh)), "fresh workers stay")
    assert warm == scene.call("task")[1]  # type: ignore[index]


def test_the_command_line_names_them_and_warns_of_a_secret_in_the_environment(scene: Scene) -> None:
    typed = CommandLine(scene.cluster.folder)
    done = typed("run", "--python", "bare", "--secret", "hf=HF", "--env", "MY_TOKEN=x", "--",
                 "sh", "-c", "echo $VIRTUAL_ENV $HF $MY_TOKEN")  # fmt: skip
    assert (0, f"{scene.bare.parents[1]} first x\n") == (done.returncode, done.stdout)
    warning = next(line for line in done.stderr.splitlines() if line.startswith("warning:"))
    assert "MY_TOKEN" in warning
    assert "--secret MY_TOKEN" in warning
    done = typed("call", "project:task", "--fresh", "--python", "bare")
    assert 0 == done.returncode, done.stderr
