"""Do hosts that share nothing with the client join by one line and do its work?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remuda import File
from remuda.client.task import Task

from .command_line import wait_until
from .site import ROOT, Site, real_site

END_S = 120.0
LARGE_BYTES = 64 << 20
CODE = """
from remuda import File

def reverse(file):
    with open(file, "rb") as source, open("reversed", "wb") as target:
        target.write(source.read()[::-1])
    return File("reversed")

def double(data):
    return data * 2
"""

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with real_site(tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_command_runs_on_a_host_of_its_own(site: Site, name: str) -> None:
    script = "ip -o -4 addr show eth0; echo $HOME"
    done = site.type("run", "--node", name, "--", "sh", "-c", script)
    assert (0, "") == (done.returncode, done.stderr)
    host = site.hosts[name]
    assert f"{host.address}/24" in done.stdout
    assert str(host.home) == done.stdout.splitlines()[-1]


@pytest.mark.parametrize("hidden", ["our code", "the client's files"])
def test_a_host_does_not_see_what_lies_with_the_client(site: Site, hidden: str) -> None:
    folder = {"our code": ROOT, "the client's files": site.files}[hidden]
    (site.files / "a.txt").write_text("not there")
    assert list(folder.iterdir())
    done = site.type("run", "--", "ls", "-A", str(folder))
    assert (0, "") == (done.returncode, done.stdout)


def test_a_function_runs_in_the_environment_of_the_host(site: Site) -> None:
    with site.client() as client:
        prefix = client.options(node="a").call("sysconfig:get_path", "purelib")
    assert prefix.startswith(str(site.hosts["a"].folder / "venv"))


@pytest.fixture
def project(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write code where only the client is."""
    folder = site.files / "code"
    folder.mkdir(exist_ok=True)
    (folder / "backwards.py").write_text(CODE)
    return folder


def test_a_file_and_code_go_to_a_host_and_a_file_comes_back(site: Site, project: Path) -> None:
    data = os.urandom(1 << 20)
    path = site.files / "in.bin"
    path.write_bytes(data)
    with site.client() as client:
        made = client.options(project=project).call("backwards:reverse", File(path))
        assert data[::-1] == made.read_bytes()


def test_values_of_any_size_go_to_a_host_and_back(site: Site, project: Path) -> None:
    data = os.urandom(300_000)
    with site.client() as client:
        assert data * 2 == client.options(project=project).call("backwards:double", data)


def test_code_that_a_host_lacks_is_named_with_the_remedy(site: Site) -> None:
    done = site.type("call", "backwards:double", "--arg", "x")
    assert 125 == done.returncode
    assert "code_missing" in done.stderr
    assert "--project" in done.stderr


def kill_store(site: Site, task: Task) -> None:
    site.kill("store")
    site.start("store")


def kill_scheduler(site: Site, task: Task) -> None:
    site.kill("scheduler")
    site.start("scheduler")


def kill_node(site: Site, task: Task) -> None:
    site.kill("a")
    site.start_node("a")


@pytest.mark.parametrize("kill", [kill_store, kill_scheduler, kill_node])
def test_a_kill_while_a_file_is_on_its_way_loses_nothing(
    site: Site, kill: Callable[[Site, Task], None]
) -> None:
    path = site.files / "large.bin"
    path.write_bytes(os.urandom(LARGE_BYTES))
    expected = hashlib.sha256(path.read_bytes() + b"x").hexdigest()
    with site.client() as client:
        task = client.submit_command(
            ["sh", "-c", "printf x >> large.bin"],
            files=[path], outputs=["large.bin"], node="a", retries=2,
        )  # fmt: skip
        wait_until(lambda: task.refresh().state != "queued", "it is not given to the node")
        kill(site, task)
        task.result(END_S)
        assert expected == hashlib.sha256(task.files["large.bin"].read_bytes()).hexdigest()
