"""Are models loaded on first use, kept, found warm, and let go for others? Real agents, scripted
cards, a handler that writes down what it loads."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda import TaskFailed

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

[handlers.draw]
target = "warm_handler:Draw"
models = ["a", "b", "c", "d"]
load = "first_use"
workers = 4
vram = "10GiB"
"""


class Site:
    """A cluster of one node with one card, and what its handler wrote down."""

    def __init__(self, cluster: Cluster, home: Path, folder: Path) -> None:
        self.cluster = cluster
        self.remuda = CommandLine(home)
        self.folder = folder

    def call(self, model: str, *args: object) -> Any:
        return self.cluster.client.options(model=model).submit("draw", *args)

    def ask(self, model: str) -> dict[str, Any]:
        found = self.call(model).result(FINISH_S)
        assert isinstance(found, dict)
        return found

    @property
    def loads(self) -> list[str]:
        return (self.folder / "loads").read_text().split()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("warm")
    folder = far().common_folder("warm")
    scene = scenario.write(folder / "scene.json", [CARD])
    said = SETTINGS.format(fakes=Path(warm_handler.__file__).parent, folder=folder)
    with real_cluster(home, 1, scenario.environment(scene), said) as cluster:
        yield Site(cluster, home, folder)


def test_a_call_of_a_busy_model_waits_for_its_worker_as_long_as_a_load_takes(site: Site) -> None:
    (site.folder / "slow-c").touch()
    site.ask("c")
    gate = site.call("c", "go-on")
    site.remuda.wait_state(gate.id, "running")
    second = site.call("c")
    said = second.explain()["reason"]
    (site.folder / "go-on").touch()
    assert second.result(FINISH_S) == gate.result(FINISH_S)
    assert "node-1" in said  # it waits for the warm worker there, be it in the queue of the node
    assert ["c"] == site.loads
    (site.folder / "slow-c").unlink()


def test_models_load_on_first_use_stay_through_a_killed_agent_and_leave_when_room_is_needed(
    site: Site,
) -> None:
    (site.folder / "loads").unlink()
    first, again = site.ask("a"), site.ask("a")
    assert first == again == {**first, "model": "a", "variable": "a", "card": CARD["uuid"]}
    site.ask("b")
    assert ["a", "b"] == site.loads

    old = site.cluster.kill("node-1")
    site.cluster.wait_restarted("node-1", old)
    assert first == site.ask("a")
    assert ["a", "b"] == site.loads

    site.ask("c")  # there is room for two: b was called least recently
    assert first == site.ask("a")
    assert ["a", "b", "c"] == site.loads

    whole = site.cluster.client.submit_command(["true"], gpus=1)
    assert 0 == whole.result(FINISH_S).returncode
    (handler,) = site.remuda.json("node", "show", "node-1")["handlers"]
    assert "cold" == handler["state"]
    assert first["pid"] != site.ask("a")["pid"]
    assert ["a", "b", "c", "a"] == site.loads


def test_a_model_that_does_not_load_fails_its_calls_with_the_reason(site: Site) -> None:
    (site.folder / "broken-d").touch()
    options = site.cluster.client.options(model="d", never_on=["model_unavailable"])
    with pytest.raises(TaskFailed) as failed:
        options.submit("draw").result(FINISH_S)
    assert "model_unavailable" == failed.value.task_code
    assert "the weights of d are not there" in str(failed.value)


def test_a_worker_that_was_killed_is_loaded_again(site: Site) -> None:
    pid = site.ask("a")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: site.ask("a")["pid"] != pid, "the killed worker answers")


def test_a_model_that_does_not_load_on_one_node_is_loaded_on_another(
    tmp_path: Path, common: Path
) -> None:
    said = SETTINGS.format(fakes=Path(warm_handler.__file__).parent, folder=common)
    (common / "broken-a-on-node-1").touch()
    with real_cluster(tmp_path, 2, settings=said.replace('vram = "10GiB"\n', "")) as cluster:
        site = Site(cluster, tmp_path, common)
        cluster.client.drain("node-2")  # so that the first try is on the broken one
        task = site.call("a")
        cluster.note([task])

        def tries() -> list[tuple[str, str]]:
            rows = site.remuda.json("task", "show", task.id)["attempts"]
            return [(row["node"], row["code"]) for row in rows if row["outcome"]]

        wait_until(lambda: bool(tries()), "the model was not tried")
        cluster.client.undrain("node-2")
        assert "node-2" == task.result(FINISH_S)["node"]
        *failed, last = tries()
        assert ({("node-1", "model_unavailable")}, ("node-2", "")) == (set(failed), last)
        assert "node-2" == site.ask("a")["node"]  # where it is warm
