"""Does a task go where it belongs, and is every refusal true?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from remuda.protocol import messages as m
from remuda.protocol.capabilities import Capabilities, Gpu, Handler, to_document
from remuda.protocol.resources import Request, parse_bytes
from remuda.protocol.spec import TaskSpec
from remuda.scheduler.feasible import may_ever
from remuda.scheduler.fleet import Node
from remuda.scheduler.node_rows import node_row
from remuda.scheduler.placement import explain_refusals
from remuda.scheduler.scores import pick_cards
from remuda.scheduler.vacancy import free_cards, refusal_now

from ...fakes.world import GIB, World, gpu, mig
from .ledgers import H100, lend, make_node


def rows(world: World) -> dict[str, Any]:
    return node_row(world.core.fleet.nodes["n1"], world.now, 6.0)


def cards_of(world: World, task: int) -> tuple[str, ...]:
    live = world.core.tasks[task].live
    return live.gpus if live else ()


# --- each refusal is true --------------------------------------------------------------------

REPAIR = Handler("repair", workers=1)
LOADING = Handler("segment", state="loading")
BROKEN = Handler("denoise", state="failed", error="no such file")
NODE = {
    "gpus": (gpu(1, 24), gpu(2, 80, H100)),
    "labels": {"zone": "a"},
    "handlers": [REPAIR, LOADING, BROKEN],
    "resources": {"licence": 2},
}
NEVER = [
    (Request(nodes=("n2", "n3")), "is not among the nodes asked for (n2, n3)"),
    (Request(labels=(("zone", "b"),)), "label zone is a, wanted b"),
    (Request(labels=(("rack", "7"),)), "label rack is not set, wanted 7"),
    (
        Request(handler="colour"),
        "does not declare the handler colour (declares: denoise, repair, segment)",
    ),
    (Request(cpus_milli=4_500), "has 4 CPUs, wanted 4.5"),
    (Request(memory_bytes=33 * GIB), "has 32GiB of memory, wanted 33GiB"),
    (Request(gpus=1, gpu_type="A100"), f"has {H100}, NVIDIA L4, wanted a GPU like 'A100'"),
    (Request(vram_bytes=96 * GIB), "largest GPU has 80GiB of VRAM, wanted 96GiB"),
    (
        Request(gpus=1, gpu_type="l4", vram_bytes=40 * GIB),
        "largest GPU has 24GiB of VRAM, wanted 40GiB",
    ),
    (Request(gpus=3), "has 2 GPUs like that, wanted 3"),
    (Request(gpus=2, vram_bytes=40 * GIB), "has 1 GPU like that, wanted 2"),
    (Request(not_nodes=("n1",)), "is a node that was ruled out"),
    (
        Request(gpus=1, gpu_cc=90, gpu_type="L4"),
        "has NVIDIA L4 of compute capability 8.9, wanted 9 or more",
    ),
    (Request(resources=(("licence", 3),)), "has 2 licence, wanted 3"),
    (Request(resources=(("seat", 1),)), "has no seat (countable there: licence), wanted 1"),
]


def full_node() -> Node:
    return make_node("n1", *NODE["gpus"], **{k: v for k, v in NODE.items() if k != "gpus"})  # type: ignore[arg-type]  # a dict of parts


@pytest.mark.parametrize(("request_", "words"), NEVER, ids=[words for _, words in NEVER])
def test_what_a_node_never_could_run_is_refused_with_the_reason(
    request_: Request, words: str
) -> None:
    assert words == may_ever(full_node(), request_)
    assert words == refusal_now(full_node(), request_)


def test_a_node_of_the_protocol_before_gets_nothing_that_it_would_not_limit() -> None:
    node = full_node()
    node.protocol = 1
    fenced = TaskSpec("command", argv=["true"], if_node_lost="fence").request
    words = (
        "speaks protocol 1, so it holds neither fences nor limits of silence: upgrade remuda there"
    )
    assert (words, words) == (may_ever(node, fenced), refusal_now(node, fenced))
    assert "" == may_ever(node, TaskSpec("command", argv=["true"], timeout_ms=1).request)


AS_SOLD = " (cards show less than they are sold as: ask for 24GiB)"
RESIDENT = Handler("repair", vram_bytes=4 * GIB, gpu_uuids=["GPU-1"])
BESIDE = [
    (Request(gpus=1), "has 0 GPUs like that without a loaded handler, wanted 1"),
    (Request(vram_bytes=21 * GIB), "loaded handlers leave at most 20GiB of VRAM on one GPU"),
    (Request(gpu_milli=900), "loaded handlers leave at most 20GiB of VRAM on one GPU"),
    (Request(vram_bytes=25 * GIB), "largest GPU has 24GiB of VRAM, wanted 25GiB" + AS_SOLD),
    (Request(vram_bytes=20 * GIB), ""),
    (Request(gpu_milli=833), ""),
]


@pytest.mark.parametrize(("request_", "words"), BESIDE)
def test_what_a_model_holds_on_a_node_that_evicts_none_is_never_to_be_had(
    request_: Request, words: str
) -> None:
    node = make_node("n1", gpu(1, 24), handlers=[RESIDENT], protocol=3)
    assert words == may_ever(node, request_)
    assert words == refusal_now(node, request_)


def test_a_retry_goes_back_rather_than_wait_for_a_card_that_a_resident_keeps(world: World) -> None:
    world.node("n1", protocol=3, gpus=[gpu(1, 24)], handlers=[RESIDENT])
    two = world.node("n2", gpus=[gpu(2, 24)])
    (task,) = world.submit(gpus=1, retries=1)
    world.end(two, task, m.Outcome.FAILED)
    world.later(1)
    assert [(task, 2)] == list(two.held)


SLICES = make_node("n1", mig(1, 10), mig(2, 20), gpu(9, 40), gpu(3, 40), cpus=8)


def test_a_card_that_is_cut_into_mig_devices_is_those_alone() -> None:
    words = "has 1 GPU besides MIG devices, of which a task gets one alone, wanted 2"
    assert words == may_ever(SLICES, Request(gpus=2))
    assert "" == may_ever(SLICES, Request(gpus=1, gpu_type="MIG"))
    assert ["MIG-1"] == [card.gpu.uuid for card in pick_cards(SLICES, Request(gpus=1))]
    assert ["GPU-3"] == [
        card.gpu.uuid for card in free_cards(SLICES, Request(gpus=1, vram_bytes=30 * GIB))
    ]


def test_alternatives_are_tried_in_their_order(world: World) -> None:
    world.node("n1", cpus=8, gpus=[gpu(1, 80, H100), gpu(2), gpu(3)])
    either = [{"gpus": 2, "gpu_type": "L4"}, {"cpus_milli": 4_000}]
    tasks = world.submit(4, gpus=1, gpu_type="H100", alternatives=either)
    assert [("GPU-1",), ("GPU-2", "GPU-3"), (), ()] == [cards_of(world, task) for task in tasks]
    assert ["assigned", "assigned", "assigned", "queued"] == world.states(tasks)


def test_what_was_granted_of_alternatives_is_given_back_after_a_restart(world: World) -> None:
    node = world.node("n1", cpus=4, gpus=[gpu(1, 80, H100)], resources={"licence": 2})
    fields = {"gpus": 1, "gpu_type": "H100", "alternatives": [{"resources": {"licence": 2}}]}
    tasks = world.submit(2, **fields)
    (alone,) = world.submit(exclusive=True)
    world.restart()
    world.join(node)
    ledger = world.core.fleet.nodes["n1"]
    assert [("GPU-1",), ()] == [cards_of(world, task) for task in tasks]
    assert [{"name": "licence", "count": 2, "used": 2}] == rows(world)["resources"]
    world.end(node, tasks[1])
    assert (0, "queued") == (ledger.resources_used["licence"], world.state(alone))
    world.end(node, tasks[0])
    assert (True, "assigned") == (rows(world)["exclusive"], world.state(alone))


def test_nothing_is_sent_ahead_to_a_node_that_one_task_has_alone(world: World) -> None:
    node = world.node("n1", cpus=1)
    (tiny,) = world.submit()
    world.end(node, tiny, run_us=1_000)
    (alone,) = world.submit(exclusive=True, cpus_milli=0)
    later = world.submit(2)
    assert ["assigned", "queued", "queued"] == world.states([alone, *later])


def test_a_card_that_is_sold_as_more_than_it_shows_is_named_with_what_to_ask_for() -> None:
    shows = Gpu("GPU-1", H100, 81_559 << 20)
    words = (
        "largest GPU has 79.6GiB of VRAM, wanted 80GiB "
        "(cards show less than they are sold as: ask for 79.6GiB)"
    )
    assert words == may_ever(make_node("n1", shows), Request(vram_bytes=80 * GIB))
    assert "" == may_ever(make_node("n1", shows), Request(vram_bytes=parse_bytes("79.6GiB")))


def test_a_node_without_a_gpu_says_so() -> None:
    assert "has no GPU" == may_ever(make_node(), Request(gpus=1))
    assert "has no GPU" == may_ever(make_node("n1", Gpu("GPU-1", "gone", 0)), Request(gpus=1))


NOW = [
    (Request(cpus_milli=3_000), Request(cpus_milli=1_500), "1 CPU free, wanted 1.5"),
    (
        Request(memory_bytes=30 * GIB),
        Request(memory_bytes=4 * GIB),
        "2GiB of memory free, wanted 4GiB",
    ),
    (
        Request(cpus_milli=0, vram_bytes=70 * GIB),
        Request(vram_bytes=30 * GIB),
        "at most 10GiB of VRAM free on one matching GPU",
    ),
    (
        Request(cpus_milli=0, vram_bytes=GIB),
        Request(gpus=2),
        "1 GPU of that kind wholly free, wanted 2",
    ),
    (
        Request(handler="repair"),
        Request(handler="repair"),
        "all 1 workers of handler repair are busy",
    ),
    (
        Request(resources=(("licence", 1),)),
        Request(resources=(("licence", 2),)),
        "1 licence free, wanted 2",
    ),
    (Request(), Request(exclusive=True), "has 1 task, wanted a node without any"),
    (Request(exclusive=True), Request(cpus_milli=0), "is lent to one task alone"),
]


@pytest.mark.parametrize(("lent", "asked", "words"), NOW, ids=[words for *_, words in NOW])
def test_what_is_lent_is_the_reason_while_it_is_lent(
    lent: Request, asked: Request, words: str
) -> None:
    node = full_node()
    assert "" == refusal_now(node, asked)
    task, attempt = lend(node, lent)
    assert words == refusal_now(node, asked)
    assert "" == may_ever(node, asked)
    node.remove(task, attempt)
    assert "" == refusal_now(node, asked)


def test_a_handler_that_is_not_ready_says_why() -> None:
    assert "handler segment is loading" == refusal_now(full_node(), Request(handler="segment"))
    expected = "handler denoise is failed: no such file"
    assert expected == refusal_now(full_node(), Request(handler="denoise"))


def test_a_node_that_is_lost_or_not_here_yet_says_so() -> None:
    node = make_node()
    node.lost = True
    assert "is lost" == refusal_now(node, Request())
    node.lost, node.connected = False, False
    assert "has not registered since the scheduler started" == refusal_now(node, Request())
    node.connected = True
    node.shunned[Request()] = 1
    assert "refused such a task a moment ago" == refusal_now(node, Request())
    assert "" == refusal_now(node, Request(cpus_milli=1))


def test_a_summary_names_the_first_nodes_and_counts_the_rest() -> None:
    refusals = {f"n{i}": "has no GPU" for i in range(5)}
    expected = "n0 has no GPU; n1 has no GPU; and 3 more nodes"
    assert expected == explain_refusals(refusals, most=2)


# --- where it goes -----------------------------------------------------------------------------


def test_four_gib_go_to_the_small_card_of_one_node(world: World) -> None:
    world.node("n1", gpus=[gpu(1, 80), gpu(2, 24)])
    (task,) = world.submit(vram_bytes=4 * GIB)
    assert ("GPU-2",) == cards_of(world, task)


def test_four_gib_go_to_the_node_with_the_small_card(world: World) -> None:
    world.node("a-large", gpus=[gpu(1, 80)])
    world.node("b-small", gpus=[gpu(2, 24)])
    (task,) = world.submit(vram_bytes=4 * GIB)
    assert ("GPU-2",) == cards_of(world, task)


def test_small_tasks_fill_one_card_before_they_touch_the_next(world: World) -> None:
    world.node("n1", cpus=8, gpus=[gpu(1, 24), gpu(2, 24)])
    tasks = world.submit(5, vram_bytes=6 * GIB)
    expected = [("GPU-1",), ("GPU-1",), ("GPU-1",), ("GPU-1",), ("GPU-2",)]
    assert expected == [cards_of(world, task) for task in tasks]


def test_a_task_without_a_gpu_keeps_away_from_idle_cards(world: World) -> None:
    world.node("a-gpu", gpus=[gpu(1)])
    plain = world.node("b-plain")
    (task,) = world.submit()
    assert [(task, 1)] == list(plain.held)


def test_equal_nodes_are_loaded_in_turn(world: World) -> None:
    one, two = world.node("n1", cpus=4), world.node("n2", cpus=4)
    world.submit(4)
    assert (2, 2) == (len(one.held), len(two.held))


def test_a_whole_gpu_is_never_shared(world: World) -> None:
    node = world.node("n1", cpus=8, gpus=[gpu(1), gpu(2)])
    (whole,) = world.submit(gpus=1)
    shared = world.submit(3, vram_bytes=GIB)
    (fraction,) = world.submit(gpu_milli=100)
    assert 5 == len(node.held)
    assert not set(cards_of(world, whole)) & {
        uuid for task in (*shared, fraction) for uuid in cards_of(world, task)
    }


def test_a_card_in_use_is_not_lent_whole(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1)])
    (small,) = world.submit(vram_bytes=GIB)
    (whole,) = world.submit(gpus=1)
    assert "queued" == world.state(whole)
    world.end(node, small)
    assert ("GPU-1",) == cards_of(world, whole)


def test_fractions_of_a_card_add_up_to_one(world: World) -> None:
    world.node("n1", cpus=8, gpus=[gpu(1)])
    tasks = world.submit(3, gpu_milli=400)
    assert ["assigned", "assigned", "queued"] == world.states(tasks)


def test_a_fraction_takes_its_part_of_the_memory(world: World) -> None:
    world.node("n1", cpus=8, gpus=[gpu(1, 24)])
    world.submit(gpu_milli=500)
    fits, over = *world.submit(vram_bytes=12 * GIB), *world.submit(vram_bytes=GIB)
    assert ["assigned", "queued"] == world.states([fits, over])


def test_several_gpus_are_distinct_cards_of_one_node(world: World) -> None:
    world.node("n1", gpus=[gpu(1)])
    world.node("n2", gpus=[gpu(2), gpu(3)])
    (task,) = world.submit(gpus=2)
    assert {"GPU-2", "GPU-3"} == set(cards_of(world, task))


def test_a_gpu_type_is_a_pattern_that_ignores_case(world: World) -> None:
    world.node("n1", gpus=[gpu(1, 24)])
    world.node("n2", gpus=[gpu(2, 80, H100)])
    (task,) = world.submit(vram_bytes=GIB, gpu_type="h[12]00")
    assert ("GPU-2",) == cards_of(world, task)


def test_labels_and_names_say_where_a_task_may_go(world: World) -> None:
    world.node("n1", labels={"zone": "a"})
    two = world.node("n2", labels={"zone": "b"})
    tasks = [*world.submit(labels={"zone": "b"}), *world.submit(nodes=["n2", "n9"])]
    assert tasks == [task for task, _ in two.held]


def test_a_handler_is_called_as_often_as_it_has_workers(world: World) -> None:
    node = world.node("n1", cpus=8, handlers=[Handler("repair", workers=2)])
    tasks = world.submit(3, kind="handler", target="repair", argv=[])
    assert ["assigned", "assigned", "queued"] == world.states(tasks)
    world.end(node, tasks[0])
    assert "assigned" == world.state(tasks[2])


def test_what_a_resident_holds_is_not_lent(world: World) -> None:
    resident = Handler("repair", workers=1, vram_bytes=20 * GIB, gpu_uuids=["GPU-1"])
    world.node("n1", cpus=8, gpus=[gpu(1, 24)], handlers=[resident])
    fits, over = *world.submit(vram_bytes=4 * GIB), *world.submit(vram_bytes=GIB)
    assert ["assigned", "queued"] == world.states([fits, over])


def test_a_card_with_a_resident_is_not_lent_whole(world: World) -> None:
    resident = Handler("repair", workers=1, vram_bytes=GIB, gpu_uuids=["GPU-1"])
    world.node("n1", gpus=[gpu(1), gpu(2)], handlers=[resident])
    first, second = world.submit(2, gpus=1)
    assert [("GPU-2",), ()] == [cards_of(world, first), cards_of(world, second)]


def test_a_card_that_vanished_is_lent_no_more_and_given_back_in_order(world: World) -> None:
    node = world.node("n1", cpus=8, gpus=[gpu(1)])
    (task,) = world.submit(vram_bytes=GIB)
    node.capabilities = Capabilities(8_000, 64 * GIB)
    world.join(node)
    (late,) = world.submit(vram_bytes=GIB, allow_infeasible=True)
    assert ["assigned", "queued"] == world.states([task, late])
    world.end(node, task)
    assert ["succeeded", "queued"] == world.states([task, late])


def test_a_card_that_its_node_holds_back_is_lent_when_it_is_free_again(world: World) -> None:
    held = replace(gpu(1), withheld="a process of somebody else is on it")
    node = world.node("n1", gpus=[held])
    (task,) = world.submit(vram_bytes=GIB)
    assert "queued" == world.state(task)
    why = refusal_now(world.core.fleet.nodes["n1"], world.core.tasks[task].spec.request)
    assert "held back" in why
    said = node.heartbeat()
    said.capabilities = to_document(Capabilities(2_000, 64 * GIB, [gpu(1)]))
    world.says(node, said)
    assert ("GPU-1",) == cards_of(world, task)


def test_a_node_is_told_what_it_was_granted(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1), gpu(2)])
    (task,) = world.submit(gpus=2)
    assert {"GPU-1", "GPU-2"} == set(node.gpus[task])
