"""Does the scheduler tell its metrics process how it is, whatever becomes of that process?"""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from remuda.protocol.measures import GpuMeasure
from remuda.scheduler import metrics
from remuda.scheduler.loop import Loop
from remuda.scheduler.metrics import CARDS_PER_FRAME, COMMAND, TELL_EVERY_NS, Metrics
from remuda.scheduler.metrics_process import READERS_MAX
from remuda.scheduler.metrics_rows import fleet_rows
from remuda.scheduler.mirror_frames import FRAME_BYTES_MAX, pack
from remuda.scheduler.mirror_pipe import MirrorPipe

from ...fakes.viewed import SilentLog, view_of
from ...fakes.world import SECOND_NS, World, gpu

DEADLINE_S = 30.0


class ServedWorld(World):
    """A world that a real process serves; `tend` lets time pass for it."""

    def __init__(self, folder: Path, listen: str = "127.0.0.1:0") -> None:
        super().__init__(folder)
        self.view = view_of(self, folder, {"REMUDA_METRICS__LISTEN": listen})
        self.stuck = ""
        self.pipe = MirrorPipe(COMMAND)
        self.metrics = Metrics(
            self.view, self.view.loaded.settings.metrics, self.pipe, SilentLog(),
            journal_file=folder / "journal.db", withheld=lambda _now: self.stuck,
        )  # fmt: skip
        # The process reads the real clock: the world's goes on from there.
        self.mono_ns = self.seen_ns = time.monotonic_ns()

    def tend(self) -> None:
        seen_ns, self.seen_ns = self.seen_ns, time.monotonic_ns()
        self.mono_ns += self.seen_ns - seen_ns
        self.metrics.tend(self.now)

    def wait(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < until, f"not in {DEADLINE_S:g} s: {self.view.metrics}"
            self.tend()
            time.sleep(0.01)

    def wait_up(self) -> None:
        self.wait(lambda: self.view.metrics["state"] == "ok")

    @property
    def port(self) -> int:
        return int(self.view.metrics["address"].rpartition(":")[2])

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Read the samples of a metric as Prometheus does."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return [
            (each.labels, each.value)
            for family in families
            for each in family.samples
            if each.name == name
        ]

    def close(self) -> None:
        self.metrics.close()
        super().close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedWorld]:
    world = ServedWorld(tmp_path / "state")
    yield world
    world.close()


def test_metrics_and_health_are_served_over_http(served: ServedWorld) -> None:
    served.node("n1", gpus=[gpu(1)])
    served.submit(3)
    served.wait_up()
    served.wait(lambda: 'remuda_node_up{node="n1"} 1.0' in served.get("/metrics")[1])
    found = served.samples("remuda_gpu_memory_bytes")
    assert ({"gpu": "GPU-1", "node": "n1", "part": "total"}, 24 << 30) in found
    assert [({"cluster": "test", "version": "0"}, 1)] == served.samples("remuda_info")
    assert 3 == sum(value for _, value in served.samples("remuda_tasks"))
    assert (200, "ok\n") == served.get("/livez")
    assert (200, "ok\n") == served.get("/readyz")
    assert (200, "") == served.get("/metrics", "HEAD")
    assert 404 == served.get("/")[0]
    assert 501 == served.get("/metrics", "POST")[0]


def test_a_loop_that_has_nothing_else_to_do_wakes_when_metrics_are_due(served: ServedWorld) -> None:
    served.wait_up()
    served.tend()
    now_ns, far_ns = served.now.mono_ns, 1 << 62
    idle: Any = SimpleNamespace(
        _metrics=served.metrics, _mirror=None, _beacon_due_ns=far_ns, _due_ns=None, _slow=False,
        _idle_more=False, _intake=SimpleNamespace(has_waiting=False),
        _view=SimpleNamespace(
            watches=SimpleNamespace(next_deadline_ns=far_ns), feed=SimpleNamespace(due_ns=far_ns)
        ),
    )  # fmt: skip
    assert now_ns < served.metrics.due_ns <= now_ns + TELL_EVERY_NS
    assert -(-(served.metrics.due_ns - now_ns) // 10**6) == Loop._timeout_ms(idle, now_ns)


def test_what_holds_the_scheduler_up_is_told_by_readyz_alone(served: ServedWorld) -> None:
    served.wait_up()
    served.core.hold("restored from a backup")
    served.wait(lambda: served.get("/readyz")[0] == 503)
    assert "nothing is granted: restored from a backup\n" == served.get("/readyz")[1]
    assert (200, "ok\n") == served.get("/livez")
    served.stuck = "a commit: not for 12.0 s"
    served.wait(lambda: served.get("/livez") == (503, "a commit: not for 12.0 s\n"))


def test_a_node_that_is_forgotten_leaves_the_page(
    served: ServedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "NODES_PER_LOOK", 2)
    for number in range(4):
        served.node(f"n{number}")
    served.wait_up()
    served.wait(lambda: served.get("/metrics")[1].count("\nremuda_node_up{") == len(served.nodes))
    served.later(1_000)
    served.forget("n1")
    served.wait(lambda: 'node="n1"' not in served.get("/metrics")[1])
    served.wait(lambda: 'remuda_node_up{node="n2"} 0.0' in served.get("/metrics")[1])


def test_a_process_that_is_killed_is_started_again(served: ServedWorld) -> None:
    served.wait_up()
    first = served.pipe.pid
    os.kill(first, signal.SIGKILL)
    served.wait(lambda: served.view.metrics["state"] == "down")
    assert "metrics are not served" in served.view.problems["metrics"]
    served.wait_up()
    assert first != served.pipe.pid
    assert "metrics" not in served.view.problems


def test_a_port_that_is_taken_is_a_problem_until_it_is_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        world = ServedWorld(tmp_path / "state", f"127.0.0.1:{taken.getsockname()[1]}")
        world.wait(lambda: world.view.metrics["state"] == "down")
        assert "Address already in use" in world.view.problems["metrics"]
    world.wait_up()
    assert (200, "ok\n") == world.get("/livez")
    world.close()


def test_a_process_that_stands_still_holds_nobody_up_and_is_replaced(served: ServedWorld) -> None:
    served.wait_up()
    stopped = served.pipe.pid
    os.kill(stopped, signal.SIGSTOP)
    for number in range(60):
        served.node(f"n{number}", gpus=[gpu(8 * number + card) for card in range(8)])
    for _ in range(2_000):  # far more than the pipe holds
        served.mono_ns += SECOND_NS
        served.metrics.tend(served.now)
        if served.view.metrics["state"] == "down":
            break
    assert "its process reads nothing" in served.view.metrics["why"]
    served.wait_up()
    assert stopped != served.pipe.pid


def test_readers_that_are_slow_or_many_keep_nobody_else_out_for_long(served: ServedWorld) -> None:
    served.wait_up()
    held = [
        socket.create_connection(("127.0.0.1", served.port), DEADLINE_S)
        for _ in range(READERS_MAX + 4)
    ]
    held[-1].settimeout(DEADLINE_S)
    assert b"" == held[-1].recv(1)  # hung up on at once: no place is left
    for each in held:
        each.close()

    def is_served() -> bool:
        try:
            return served.get("/livez")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    served.wait(is_served)


def test_a_frame_of_the_fleet_fits_whatever_nodes_have(served: ServedWorld) -> None:
    for name, cards in (("a", 64), ("b", CARDS_PER_FRAME - 65), ("c", 64)):
        known = [gpu(n, name="x" * 100) for n in range(100, 100 + cards)]
        served.node(name * 63, gpus=known)
    assert {64, 35} == {len(node.cards) for node in served.core.fleet.nodes.values()}
    rows = fleet_rows(served.core.fleet.nodes.values(), served.now, 6.0)
    assert FRAME_BYTES_MAX > len(pack("fleet", True, True, rows))


def test_a_lost_node_has_no_gpus_on_the_page(served: ServedWorld) -> None:
    served.node("n1", gpus=[gpu(1)])
    served.later(1_000)
    rows = fleet_rows(served.core.fleet.nodes.values(), served.now, 6.0)
    assert {"nodes": [[["lost"], 1]], "node_up": [[["n1"], 0]]} == rows


def test_a_node_and_a_card_have_as_many_series_as_the_documentation_says(
    served: ServedWorld,
) -> None:
    served.node("n1", gpus=[gpu(1), gpu(2)])
    node = served.core.fleet.nodes["n1"]
    for uuid in node.cards:  # all that can be known of a card
        node.measures[uuid] = GpuMeasure(1, 1, 1, 1, 0, 60, 50, 200)
    rows = fleet_rows([node], served.now, 6.0)
    on_cards = sum(len(found) for name, found in rows.items() if name.startswith("gpu_"))
    on_node = sum(len(found) for name, found in rows.items() if name.startswith("node_"))
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    said = re.search(r"A node has (\d+) series and a card (\d+) at most", page)
    assert said is not None
    assert (on_node, on_cards / 2) == tuple(map(int, said.groups()))
