"""Do the operator's verbs of the Python client say what they mean?"""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from remuda.client.client import Client
from remuda.protocol import messages as m
from remuda.protocol.errors import Conflict, Invalid

from ...fakes.toy_scheduler import ToyScheduler, home_of


@pytest.fixture
def toy(toy: ToyScheduler) -> ToyScheduler:
    for kind in (m.Drain, m.Undrain, m.DeclareLost, m.ForgetNode):
        toy.on[kind] = lambda message: m.Done(f"{type(message).__name__} {message.node}")
    return toy


@pytest.fixture
def cluster(toy: ToyScheduler) -> Iterator[Client]:
    with Client(home_of(toy)) as client:
        yield client


def test_each_verb_returns_what_was_done(cluster: Client) -> None:
    assert ["Drain n", "Undrain n", "DeclareLost n", "ForgetNode n"] == [
        cluster.drain("n"),
        cluster.undrain("n"),
        cluster.declare_lost("n"),
        cluster.forget_node("n"),
    ]


def test_gpus_are_listed_and_taken_out_of_work_and_back(toy: ToyScheduler, cluster: Client) -> None:
    toy.on[m.ListGpus] = lambda message: m.Page([{"uuid": "GPU-1", "node": message.node}], 1)
    for kind in (m.CordonGpu, m.UncordonGpu):
        toy.on[kind] = lambda message: m.Done(f"{type(message).__name__} {message.gpu}")
    assert [{"uuid": "GPU-1", "node": "n"}] == cluster.gpus("n")
    assert ["CordonGpu n:0", "UncordonGpu n:0"] == [
        cluster.cordon_gpu("n:0", reason="fans"),
        cluster.uncordon_gpu("n:0"),
    ]
    assert [m.CordonGpu("n:0", "fans")] == toy.heard_of(m.CordonGpu)


@pytest.mark.parametrize(
    ("deadline", "ms"), [(None, 0), ("30m", 1_800_000), (90, 90_000), (0, 1),
                         (dt.timedelta(hours=1), 3_600_000)]
)  # fmt: skip
def test_a_drain_may_have_a_deadline(toy: ToyScheduler, cluster: Client, deadline, ms) -> None:
    cluster.drain("n", reason="disk", deadline=deadline)
    assert [m.Drain("n", "disk", ms)] == toy.heard_of(m.Drain)


@pytest.mark.parametrize("deadline", ["soon", -1, True])
def test_a_deadline_that_is_none_is_refused(toy: ToyScheduler, cluster: Client, deadline) -> None:
    with pytest.raises(Invalid, match="deadline"):
        cluster.drain("n", deadline=deadline)
    assert [] == toy.heard_of(m.Drain)


def looks(toy: ToyScheduler, monkeypatch: Any, *rows: list[dict[str, Any]]) -> None:
    """Let each look at the nodes see the next of these."""
    monkeypatch.setattr("remuda.client.draining.LOOK_S", 0.0)
    seen = iter(rows)
    toy.on[m.ListNodes] = lambda _: m.Page(next(seen), 1)


def node(running: int, *, backlog: int = 0, drain: str = "disk") -> list[dict[str, Any]]:
    drained = {"drain": {"reason": drain}} if drain else {"drain": {}}
    return [{"name": "n", "running": running, "backlog": backlog, **drained}]


def test_a_drain_may_be_waited_for(toy: ToyScheduler, cluster: Client, monkeypatch) -> None:
    looks(toy, monkeypatch, node(2), node(0, backlog=1), node(0))
    cluster.drain("n", wait=True)
    assert 3 == len(toy.heard_of(m.ListNodes))


def test_a_node_that_is_forgotten_has_nothing_left(
    toy: ToyScheduler, cluster: Client, monkeypatch
) -> None:
    looks(toy, monkeypatch, node(2), [])
    cluster.drain("n", wait=True)
    assert 2 == len(toy.heard_of(m.ListNodes))


def test_the_wait_for_a_drain_that_was_taken_back_raises(
    toy: ToyScheduler, cluster: Client, monkeypatch
) -> None:
    looks(toy, monkeypatch, node(2), node(2, drain=""))
    with pytest.raises(Conflict, match="n was undrained"):
        cluster.drain("n", wait=True)
