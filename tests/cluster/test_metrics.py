"""Does a real scheduler serve its metrics, and does /readyz say when it takes no work?"""

import http.client
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from remuda import TaskFailed
from remuda.scheduler.metrics import COMMAND

from .command_line import wait_until
from .harness import Cluster, real_cluster

pytestmark = pytest.mark.cluster

END_S = 60.0
SETTINGS = """
[metrics]
listen = "127.0.0.1:0"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with real_cluster(tmp_path_factory.mktemp("metrics"), settings=SETTINGS) as running:
        wait_until(lambda: address_of(running) != "", "metrics are not served")
        yield running


def address_of(cluster: Cluster) -> str:
    known = cluster.client.status()["metrics"]
    return str(known["address"]) if known["state"] == "ok" else ""


def get(cluster: Cluster, path: str) -> tuple[int, str]:
    host, _, port = address_of(cluster).rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=END_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def values(cluster: Cluster) -> dict[str, float]:
    """Sum the samples of each name, labels aside; read as Prometheus reads them."""
    code, text = get(cluster, "/metrics")
    assert 200 == code
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            found[each.name] = found.get(each.name, 0.0) + each.value
    return found


def test_work_is_counted_and_nodes_are_there(cluster: Cluster) -> None:
    assert [1.0, 2.0, 3.0] == list(cluster.client.map("math:sqrt", [1, 4, 9]).results(END_S))
    with pytest.raises(TaskFailed):
        cluster.client.submit("math:sqrt", -1).result(END_S)
    wait_until(
        lambda: values(cluster).get("remuda_tasks_finished_total", 0) == 4, "4 ends are not counted"
    )
    wait_until(lambda: values(cluster).get("remuda_node_up", 0) == 2, "2 nodes are not there")
    found = values(cluster)
    assert (4, 4, 4) == tuple(
        found[f"remuda_{name}"]
        for name in ("tasks_submitted_total", "task_wait_seconds_count", "task_run_seconds_count")
    )
    assert (1, 1) == (found["remuda_live"], found["remuda_ready"])
    assert all(
        found[f"remuda_{name}"] > 0
        for name in (
            "commit_seconds_count", "turn_seconds_count", "step_seconds_count", "journal_bytes",
            "journal_disk_free_bytes", "scheduler_process_resident_memory_bytes", "epoch",
        )
    )  # fmt: skip
    text = get(cluster, "/metrics")[1]
    assert 'remuda_tasks_submitted_total{kind="function math:sqrt"} 4.0' in text
    assert 'remuda_tasks_finished_total{code="exception",state="failed"} 1.0' in text


def test_health_is_said_and_the_process_ends_with_its_scheduler(cluster: Cluster) -> None:
    assert [(200, "ok\n")] * 2 == [get(cluster, path) for path in ("/livez", "/readyz")]
    before = address_of(cluster)
    old = cluster.kill("scheduler")
    cluster.wait_restarted("scheduler", old)
    host, _, port = before.rpartition(":")

    def is_gone() -> bool:
        connection = http.client.HTTPConnection(host, int(port), timeout=END_S)
        try:
            connection.connect()
        except ConnectionRefusedError:
            return True
        finally:
            connection.close()
        return False

    wait_until(is_gone, "the process of the killed scheduler still serves")
    wait_until(lambda: address_of(cluster) != "", "metrics are not served again")
    assert 200 == get(cluster, "/metrics")[0]


def test_without_an_address_nothing_is_served_and_no_process_is_there_for_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    assert 1 == len(servers_of(cluster))
    with real_cluster(tmp_path, nodes=1) as other:
        assert {"state": "off"} == other.client.status()["metrics"]
        assert [] == servers_of(other)


def servers_of(cluster: Cluster) -> list[psutil.Process]:
    children = psutil.Process(cluster.pid("scheduler")).children()
    return [each for each in children if COMMAND[-1] in each.cmdline()]
