"""Are handlers declared once, disabled, loaded anew and shown to load? Real daemons and workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.client.task import Task
from remuda.protocol.errors import Unreachable

from ..fakes import scenario, warm_handler
from .command_line import CommandLine, wait_until
from .far import far
from .harness import Cluster, real_cluster

pytestmark = pytest.mark.cluster

GIB = 1024**3
FINISH_S = 60.0
CARD = scenario.card(1, 24 * GIB, name="Fake L4")
SETTINGS = """
[node]
probe_every_s = 0.5
python_path = ["{fakes}"]

[tasks.env]
WARM_FOLDER = "{folder}"
"""
DECLARED = """
[handlers.draw]
target = "warm_handler:Draw"
models = ["a"]
load = "first_use"
verify = "start"
vram = "10GiB"

[handlers.plain]
target = "warm_handler:Draw"
models = ["b"]
nodes = "node-2"

[handlers.late]
target = "warm_handler:Draw"
models = ["c"]
load = "first_use"
verify = "start"
load_timeout = "2s"
nodes = "node-1"

[handlers.absent]
target = "no_such_module:Nothing"
verify = "start"
"""


class Site:
    """A cluster whose scheduler alone declares handlers, for two nodes, of which one has a card."""

    def __init__(self, cluster: Cluster, home: Path, folder: Path) -> None:
        self.cluster = cluster
        self.remuda = CommandLine(home)
        self.folder = folder

    def call(self, name: str, *args: object) -> Task:
        return self.cluster.client.submit(name, *args)

    def on(self, name: str, node: str) -> dict[str, Any]:
        """Return how a handler is on a node, empty while it is not there."""
        try:
            rows = self.cluster.client.handlers()
        except Unreachable:  # its scheduler starts again
            return {}
        nodes = [each for row in rows if row["name"] == name for each in row["nodes"]]
        return next((each for each in nodes if each["node"] == node), {})

    def wait_on(self, name: str, node: str, *states: str) -> dict[str, Any]:
        wait_until(
            lambda: self.on(name, node).get("state") in states,
            f"{name} on {node} did not become {states}",
        )
        return self.on(name, node)

    @property
    def loads(self) -> list[str]:
        return (self.folder / "loads").read_text().split()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("handlers")
    folder = far().common_folder("handlers")
    scene = scenario.write(folder / "scene.json", [CARD])
    said = SETTINGS.format(fakes=Path(warm_handler.__file__).parent, folder=folder)
    with real_cluster(home, 2, scenario.environment(scene), said) as cluster:
        for name in ("broken-a", "slow-c"):
            (folder / name).touch()
        cluster.home.config_file.write_text(said + DECLARED)
        old = cluster.kill("scheduler")
        cluster.wait_restarted("scheduler", old)
        yield Site(cluster, home, folder)


def test_what_the_scheduler_declares_reaches_nodes_that_go_on_and_they_say_what_they_lack(
    site: Site,
) -> None:
    plain = site.wait_on("plain", "node-2", "idle")
    assert ("scheduler", False, 1) == (plain["declared"], plain["overrides"], plain["loaded"])
    assert {} == site.on("plain", "node-1")
    lacking = site.wait_on("draw", "node-2", "unavailable")
    assert "it wants 10GiB of VRAM, there is no GPU" == lacking["why"]
    assert "b" == site.call("plain").result(FINISH_S)["model"]


def test_a_module_that_is_not_there_is_said_before_anybody_calls(site: Site) -> None:
    found = site.wait_on("absent", "node-1", "failed")
    assert "no module no_such_module" in found["why"]


def test_a_model_is_shown_to_load_and_a_reload_tries_again_what_failed(site: Site) -> None:
    found = site.wait_on("draw", "node-1", "failed")
    assert "the weights of a are not there" in found["why"]
    task = site.call("draw")
    wait_until(lambda: "are not there" in task.explain()["reason"], "it does not say why it waits")
    (site.folder / "broken-a").unlink()
    done = site.remuda("handler", "reload", "draw", "--node", "node-1")
    assert 0 == done.returncode, done.stderr
    assert "a" == task.result(FINISH_S)["model"]
    assert site.on("draw", "node-1")["verified"]


def test_a_load_that_takes_too_long_counts_as_failed(site: Site) -> None:
    reload = lambda: site.remuda("handler", "reload", "late", "--node", "node-1")
    done = reload()
    assert (1, True) == (done.returncode, "longer than load_timeout = 2 s" in done.stdout), (
        done.stderr
    )
    (site.folder / "slow-c").unlink()
    # A host that is busy may take longer than that to start Python alone.
    wait_until(lambda: 0 == reload().returncode, "it was never in time")


def test_a_reload_waits_for_the_call_that_runs_and_gives_a_new_worker(site: Site) -> None:
    before = site.call("plain").result(FINISH_S)
    gate = site.call("plain", "go-on")
    site.remuda.wait_state(gate.id, "running")
    loads = len(site.loads)
    reloading = site.remuda.start("handler", "reload", "plain")
    wait_until(lambda: bool(site.on("plain", "node-2").get("reload")), "it was never asked for")
    assert loads == len(site.loads)
    (site.folder / "go-on").touch()
    said, complaint = reloading.communicate(timeout=FINISH_S)
    assert (0, True) == (reloading.returncode, "node-2 has loaded handler plain anew" in said), (
        complaint
    )
    assert (
        before["pid"] == gate.result(FINISH_S)["pid"] != site.call("plain").result(FINISH_S)["pid"]
    )
    assert ["b"] == site.loads[loads:]


def test_a_disabled_handler_lets_calls_wait_with_the_reason_also_after_a_restart(
    site: Site,
) -> None:
    done = site.remuda("handler", "disable", "plain", "--reason", "bad weights")
    assert (0, True) == (done.returncode, "gets no new calls on any node" in done.stdout), (
        done.stderr
    )
    task = site.call("plain")
    wait_until(lambda: 0 == site.on("plain", "node-2")["loaded"], "its worker does not leave")
    old = site.cluster.kill("scheduler")
    site.cluster.wait_restarted("scheduler", old)
    wait_until(lambda: site.on("plain", "node-2").get("state") == "disabled", "it is not disabled")
    assert "handler plain is disabled on every node that has it, by" in task.explain()["reason"]
    assert any(
        "plain is disabled everywhere" in each for each in site.cluster.client.status()["problems"]
    )
    old = site.cluster.kill("node-2")
    site.cluster.wait_restarted("node-2", old)
    site.wait_on("plain", "node-2", "disabled")
    assert 0 == site.on("plain", "node-2")["loaded"]
    assert 0 == site.remuda("handler", "enable", "plain").returncode
    assert "b" == task.result(FINISH_S)["model"]


def test_a_worker_of_a_handler_of_the_scheduler_lives_through_a_restart_of_its_agent(
    site: Site,
) -> None:
    before = site.call("plain").result(FINISH_S)
    old = site.cluster.kill("node-2")
    site.cluster.wait_restarted("node-2", old)
    assert before["pid"] == site.call("plain").result(FINISH_S)["pid"]
