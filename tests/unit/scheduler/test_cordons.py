"""Does a cordoned GPU get no work, for as long as it should, while its neighbours go on?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from remuda.protocol import messages as m
from remuda.protocol.capabilities import Gpu, Handler, to_document
from remuda.scheduler.cordons import alarms
from remuda.scheduler.explain import explain
from remuda.scheduler.happenings import happenings

from ...fakes.world import SimNode, World, gpu

XID = "XID 79: it has fallen off the bus"


def two_cards(world: World) -> SimNode:
    return world.node("n1", gpus=[gpu(1, 24), gpu(2, 24)])


def cards_of(world: World, *tasks: int) -> list[tuple[str, ...]]:
    found = [world.core.tasks[task].live for task in tasks]
    return [live.gpus if live else () for live in found]


def states(world: World, node: SimNode, **faults: list[str]) -> list[str]:
    """Have a node state faults by UUID (GPU_1 for GPU-1); return the kinds of what happened."""
    gpus = [
        replace(each, faults=faults.get(each.uuid.replace("-", "_"), []))
        for each in node.capabilities.gpus
    ]
    return says_cards(world, node, gpus)


def says_cards(world: World, node: SimNode, gpus: list[Gpu]) -> list[str]:
    node.capabilities = replace(node.capabilities, gpus=gpus)
    beat = node.heartbeat()
    beat.capabilities = to_document(node.capabilities)
    return [each.kind for each in happenings(world.says(node, beat))]


def told_to_forget(effects) -> list[list[str]]:  # type: ignore[no-untyped-def]  # Effects
    sent = [item.message for item in effects.to_nodes if hasattr(item, "message")]
    return [message.gpus for message in sent if isinstance(message, m.ForgetFaults)]


def test_a_cordoned_gpu_gets_no_new_work_and_its_neighbour_does(world: World) -> None:
    two_cards(world)
    reply = world.cordon("n1:1", "smells burnt")
    assert m.Done("GPU GPU-1 of n1 gets no new work") == reply
    tasks = world.submit(2, gpus=1)
    assert [("GPU-2",), ()] == cards_of(world, *tasks)
    world.uncordon("GPU-1")
    assert [("GPU-2",), ("GPU-1",)] == cards_of(world, *tasks)


def test_what_runs_on_a_gpu_goes_on_when_it_is_cordoned(world: World) -> None:
    node = two_cards(world)
    (task,) = world.submit(gpus=1)
    reply = world.cordon("GPU-1", "")
    assert m.Done("GPU GPU-1 of n1 gets no new work; 1 task goes on there") == reply
    world.end(node, task)
    assert "succeeded" == world.state(task)


def test_who_waits_is_told_of_the_cordon_and_not_refused(world: World) -> None:
    two_cards(world)
    world.cordon("GPU-1", "smells burnt")
    (task,) = world.submit(gpus=2)
    assert (
        "no node has room now: n1 1 GPU of that kind wholly free, wanted 2 "
        "(GPU 1 is cordoned: smells burnt)"
    ) == explain(world.core, task, world.now)["reason"]


def test_a_cordon_survives_restarts_of_scheduler_and_node(world: World) -> None:
    node = two_cards(world)
    world.cordon("GPU-1", "smells burnt")
    before = dict(world.core.cordons)
    world.restart()
    world.join(node)
    world.reboot(node)
    assert before == world.core.cordons
    tasks = world.submit(2, gpus=1)
    assert [("GPU-2",), ()] == cards_of(world, *tasks)


def test_a_fault_cordons_its_card_and_leaves_the_others(world: World) -> None:
    node = two_cards(world)
    assert ["gpu.cordoned"] == states(world, node, GPU_1=[XID])
    assert [f"GPU GPU-1 of n1 is cordoned: {XID}"] == alarms(world.core)
    tasks = world.submit(2, gpus=1)
    assert [("GPU-2",), ()] == cards_of(world, *tasks)


def test_a_card_that_its_node_finds_well_is_lent_again(world: World) -> None:
    node = two_cards(world)
    states(world, node, GPU_1=[XID])
    (task,) = world.submit(gpus=2)
    assert ["gpu.uncordoned"] == states(world, node)
    assert [("GPU-1", "GPU-2")] == cards_of(world, task)
    world.restart()
    assert {} == world.core.cordons


def test_a_fault_outlives_a_restart_of_the_scheduler_until_the_node_is_heard(world: World) -> None:
    node = two_cards(world)
    states(world, node, GPU_1=[XID])
    world.restart()
    assert XID == world.core.cordons["GPU-1"].reason
    node.capabilities = replace(
        node.capabilities, gpus=[replace(each, faults=[]) for each in node.capabilities.gpus]
    )
    world.join(node)
    assert {} == world.core.cordons


def test_what_a_person_cordoned_no_health_gives_back(world: World) -> None:
    node = two_cards(world)
    world.cordon("GPU-1", "mine")
    states(world, node, GPU_1=[XID])
    states(world, node)
    assert "mine" == world.core.cordons["GPU-1"].reason


def test_a_person_lifts_a_faults_cordon_once_the_node_has_forgotten_it(world: World) -> None:
    node = two_cards(world)
    states(world, node, GPU_1=[XID])
    reply = world.uncordon("GPU-1")
    assert m.Done("GPU GPU-1 of n1 gets work again as soon as n1 has forgotten its faults") == reply
    world.restart()
    world.join(node)
    again = [told_to_forget(world.heartbeat(node)) for _ in range(2)]
    assert [[["GPU-1"]], [["GPU-1"]]] == again
    assert ["gpu.uncordoned"] == states(world, node)
    assert [] == told_to_forget(world.heartbeat(node))
    assert {} == world.core.cordons


def test_a_new_fault_is_not_forgotten_with_the_old_one(world: World) -> None:
    node = two_cards(world)
    states(world, node, GPU_1=[XID])
    world.uncordon("GPU-1")
    states(world, node, GPU_1=["XID 48: double-bit ECC error"])
    row = world.core.cordons["GPU-1"]
    assert ("XID 48: double-bit ECC error", "") == (row.reason, row.lifting)
    assert [] == told_to_forget(world.heartbeat(node))


def test_a_cordoned_card_stays_so_on_another_node(world: World) -> None:
    node = two_cards(world)
    world.cordon("GPU-1", "smells burnt")
    says_cards(world, node, [gpu(2, 24)])
    other = world.node("n2", gpus=[gpu(1, 24)])
    (task,) = world.submit(gpus=1, nodes=["n2"])
    assert "queued" == world.state(task)
    assert "n2" == world.core.cordons["GPU-1"].node
    assert other.held == {}


def test_a_gpu_that_two_nodes_claim_is_named_with_both(world: World) -> None:
    two_cards(world)
    world.node("n2", gpus=[gpu(2, 24)])
    assert [
        "GPU GPU-2 is claimed by n1 and by n2: give each node its own with `[node] gpus`"
    ] == alarms(world.core)


def test_a_lost_card_that_came_up_on_another_node_is_named_and_freed_by_a_person(
    world: World,
) -> None:
    node = two_cards(world)
    states(world, node, GPU_1=["the driver lists it no more"])
    world.node("n2", gpus=[gpu(1, 24)])
    assert "n1" == world.core.cordons["GPU-1"].node
    assert "GPU GPU-1 is claimed by n1 and by n2" in alarms(world.core)[1]
    reply = world.uncordon("GPU-1")
    assert isinstance(reply, m.Done)
    assert "as soon as n1 has forgotten" in reply.message
    assert ["gpu.uncordoned"] == says_cards(world, node, [gpu(2, 24)])
    (task,) = world.submit(gpus=1, nodes=["n2"])
    assert [("GPU-1",)] == cards_of(world, task)


def test_a_handler_whose_gpu_is_cordoned_gets_no_calls(world: World) -> None:
    handlers = [
        Handler("repair", workers=2, vram_bytes=1, gpu_uuids=["GPU-1", "GPU-2"]),
    ]
    world.node("n1", cpus=8, gpus=[gpu(1, 24), gpu(2, 24)], handlers=handlers)
    world.cordon("GPU-1", "smells burnt")
    call = {"kind": "handler", "target": "repair", "argv": []}
    assert ["assigned", "queued"] == world.states(world.submit(2, **call))
    world.cordon("GPU-2", "as well")
    (task,) = world.submit(**call)
    assert (
        "the GPU of handler repair gets no work: smells burnt"
        in (explain(world.core, task, world.now)["reason"])
    )


def test_the_cordon_of_a_whole_card_covers_its_mig_devices(world: World) -> None:
    parts = [replace(gpu(n, 10), index=0, mig=True, parent="GPU-whole") for n in (1, 2)]
    world.node("n1", gpus=parts)
    world.cordon("n1:0", "smells burnt")
    (task,) = world.submit(gpus=1)
    assert "queued" == world.state(task)
    reply = world.uncordon("GPU-1")
    assert isinstance(reply, m.Failure)
    assert "the whole card GPU-whole is cordoned" in reply.message
    world.uncordon("GPU-whole")
    assert "assigned" == world.state(task)


def test_a_forgotten_nodes_cordons_are_forgotten_with_it(world: World) -> None:
    two_cards(world)
    world.cordon("GPU-1", "smells burnt")
    world.later(600)
    world.forget("n1")
    assert {} == world.core.cordons
    world.restart()
    assert {} == world.core.cordons


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("n1:7", "there is no GPU n1:7: see `remuda gpu list`"),
        ("GPU-", "GPU- means 2 GPUs (GPU-1, GPU-2): give a UUID"),
        ("", "there is no GPU without a name: see `remuda gpu list`"),
    ],
)
def test_a_gpu_that_is_not_meant_clearly_is_refused(world: World, wanted: str, said: str) -> None:
    two_cards(world)
    reply = world.cordon(wanted, "")
    assert isinstance(reply, m.Failure)
    assert said == reply.message
