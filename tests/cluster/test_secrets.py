"""Does the value of a secret stay with the processes of its task, wherever one looks?"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ..fakes.redis_server import RedisServer, redis_server
from .command_line import CommandLine, wait_until
from .far import far
from .harness import Cluster, real_cluster

pytestmark = pytest.mark.cluster

CODE = """
import hashlib, os, time

def keep(seconds):
    print("ready", flush=True)
    time.sleep(seconds)
    return os.getpid(), hashlib.sha256(os.environ["HF"].encode()).hexdigest()

def burst():
    raise RuntimeError("no luck")
"""
COMMAND = "test ${#HF} -gt 20 && echo ready; exec sleep 60"
WAIT_S = 60.0


class Canary:
    """A value that is nowhere else, and where it was found."""

    def __init__(self) -> None:
        self.value = f"canary-{secrets.token_hex(16)}"
        raw = self.value.encode()
        self.forms = [raw, base64.b64encode(raw)[:-4], raw.hex().encode(), raw[:16]]

    def is_in(self, data: bytes) -> bool:
        return any(form in data for form in self.forms)

    def files(self, folder: Path) -> list[str]:
        """Name the files below a folder that hold it."""
        paths = (path for path in folder.rglob("*") if path.is_file())
        return [str(path) for path in paths if self.is_in(path.read_bytes())]

    def processes(self, read: Callable[[psutil.Process], object]) -> dict[int, list[str]]:
        """Return the processes of which `read` shows it, with their command lines."""
        found = {}
        for process in psutil.process_iter():
            try:
                if self.is_in(json.dumps(read(process)).encode()):
                    found[process.pid] = process.cmdline()
            except psutil.Error:
                continue  # it ended meanwhile
        return found


@pytest.fixture
def canary() -> Canary:
    return Canary()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server(folder) as server:
        yield server


@pytest.fixture
def vault(common: Path, canary: Canary) -> Path:
    """Return the folder in which the node keeps the secret."""
    folder = common / "vault"
    folder.mkdir()
    (folder / "hf").write_text(canary.value)
    (folder / "hf").chmod(0o600)
    return folder


@pytest.fixture
def cluster(tmp_path: Path, common: Path, vault: Path, redis: RedisServer) -> Iterator[Cluster]:
    (common / "lib").mkdir()
    (common / "lib" / "project.py").write_text(CODE)
    settings = f"""
[node]
python_path = ["{common / "lib"}"]
[secrets]
hf.file = "{vault / "hf"}"
[redis]
url = "{redis.url}"
[logging]
level = "debug"
"""
    with real_cluster(tmp_path, 1, settings=settings) as made:
        yield made


def dump(server: RedisServer) -> bytes:
    """Return all that a Redis holds."""
    parts = []
    for key in server.client.scan_iter("*"):
        parts += [key, server.client.dump(key) or b""]
    return b"\0".join(parts)


def test_a_secret_is_seen_by_the_processes_of_its_tasks_and_by_nothing_else(
    cluster: Cluster, vault: Path, canary: Canary, redis: RedisServer
) -> None:
    """Look at logs, databases, Redis, the node's files, command lines and environments."""
    client = cluster.client
    wanted: dict[str, Any] = {"secrets": ["hf=HF"]}
    command = client.submit_command(["sh", "-c", COMMAND], cpus=0.1, **wanted)
    bystander = client.submit_command(["sh", "-c", "echo ready; exec sleep 60"], cpus=0.1)
    call = client.options(cpus=0.1, **wanted).submit("project:keep", 2)
    failed = client.options(cpus=0.1, **wanted).submit("project:burst")
    missing = client.submit_command(["no-such-program"], cpus=0.1, **wanted)
    cluster.note([command, bystander, call, failed, missing])
    for task in (command, bystander):
        wait_until(lambda task=task: "ready" in "".join(task.logs()), "it does not begin")
    worker_pid, digest = call.result(WAIT_S)
    for task in (failed, missing):
        assert task.exception(WAIT_S) is not None

    holders = canary.processes(lambda process: process.environ())
    assert worker_pid in holders
    others = [words for pid, words in holders.items() if pid != worker_pid]
    assert all(words[:2] == ["sleep", "60"] or "worker.py" in words[1] for words in others), others
    assert sum(words[:2] == ["sleep", "60"] for words in others) == 1
    assert {} == canary.processes(lambda process: process.cmdline())

    typed = CommandLine(cluster.folder)
    for task in (command, call, failed, missing):
        shown = typed("task", "show", "--json", task.id)
        assert 0 == shown.returncode
        assert not canary.is_in(shown.stdout.encode())
        assert not canary.is_in(typed("why", "--json", task.id).stdout.encode())
    assert not canary.is_in(command.exec(["env"]).output.encode())
    assert not canary.is_in(repr(list(client.events())).encode())
    assert not canary.is_in(repr(client.nodes()).encode())
    wait_until(lambda: call.id.encode() in dump(redis) or redis.keys(), "the mirror is empty")
    assert not canary.is_in(dump(redis))
    assert [] == canary.files(cluster.home.root)
    command.cancel(0.1)
    bystander.cancel(0.1)
    client.wait([command, bystander], WAIT_S)
    assert [] == canary.files(cluster.home.root)
    assert [] == canary.files(cluster.folder)
    assert [str(vault / "hf")] == canary.files(far().folder)
    assert 64 == len(digest)
