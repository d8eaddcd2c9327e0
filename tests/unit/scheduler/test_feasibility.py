"""Is what can never be refused, and nothing else?"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.protocol import messages as m
from remuda.protocol.capabilities import Handler
from remuda.protocol.resources import Request, check_request
from remuda.scheduler.fleet import Fleet
from remuda.scheduler.placement import Candidates, Choice, Feasibility, refusals_now

from ...fakes.world import GIB, World, gpu, mig
from .ledgers import H100, lend, make_node


def test_an_impossible_request_is_refused_with_every_nodes_reason_the_nearest_fit_first(
    world: World,
) -> None:
    world.node("n1")
    world.node("n2", gpus=[gpu(1, 24)])
    refused = world.submit(vram_bytes=40 * GIB)
    reply = world.replies[-1]
    assert isinstance(reply, m.Failure)
    assert "infeasible" == reply.code
    assert "n2 largest GPU has 24GiB of VRAM, wanted 40GiB; n1 has no GPU" in reply.message
    assert ["unknown"] == world.states(refused)


def test_each_of_the_alternatives_is_refused_with_reasons_of_its_own(world: World) -> None:
    world.node("n1", gpus=[gpu(1, 24)])
    world.submit(vram_bytes=40 * GIB, alternatives=[{"gpus": 2}, {"cpus_milli": 8_000}])
    reply = world.replies[-1]
    assert isinstance(reply, m.Failure)
    assert (
        "(cpus=1 vram=40GiB): n1 largest GPU has 24GiB of VRAM, wanted 40GiB; "
        "or (cpus=1 gpus=2): n1 has 1 GPU like that, wanted 2; "
        "or (cpus=8): n1 has 2 CPUs, wanted 8;"
    ) in reply.message
    (task,) = world.submit(vram_bytes=40 * GIB, alternatives=[{}])
    assert "assigned" == world.state(task)


def test_an_impossible_request_may_wait_for_a_new_node(world: World) -> None:
    world.node("n1")
    (task,) = world.submit(vram_bytes=40 * GIB, allow_infeasible=True)
    assert "queued" == world.state(task)
    world.node("n2", gpus=[gpu(1, 80)])
    assert "assigned" == world.state(task)


def test_nothing_is_impossible_while_no_node_is_known(world: World) -> None:
    (task,) = world.submit(gpus=8)
    assert "queued" == world.state(task)


def test_a_busy_node_makes_nothing_impossible(world: World) -> None:
    world.node("n1")
    world.submit(2)
    (task,) = world.submit(cpus_milli=2_000)
    assert "queued" == world.state(task)


sizes_gib = st.sampled_from([0, 4, 8, 24, 80])
gpus = st.builds(
    lambda number, gib, name, cc: replace(gpu(number, gib, name), cc=cc),
    st.integers(1, 9),
    sizes_gib,
    st.sampled_from(["NVIDIA L4", H100]),
    st.sampled_from([75, 89, 90]),
) | st.builds(
    mig, st.integers(1, 9), st.sampled_from([10, 20]), st.sampled_from(["GPU-1", "GPU-2"])
)
handlers = st.builds(
    Handler,
    name=st.sampled_from(["repair", "segment"]),
    workers=st.integers(1, 2),
    vram_bytes=st.sampled_from([0, GIB, 30 * GIB]),
    gpu_uuids=st.lists(st.sampled_from([f"GPU-{i}" for i in range(1, 10)]), max_size=1),
)


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    fleet = Fleet()
    for i in range(draw(st.integers(1, 3))):
        cards = draw(st.lists(gpus, max_size=3, unique_by=lambda card: card.uuid))
        declared = draw(st.lists(handlers, max_size=2, unique_by=lambda handler: handler.name))
        fleet.nodes[f"n{i}"] = make_node(
            f"n{i}", *cards, cpus=draw(st.sampled_from([0.5, 2, 8])),
            memory_gib=draw(st.sampled_from([1, 16])), handlers=declared,
            labels=draw(st.dictionaries(st.just("zone"), st.sampled_from("ab"), max_size=1)),
            resources=draw(st.dictionaries(st.just("licence"), st.integers(1, 2), max_size=1)),
        )  # fmt: skip
    return fleet


def is_sound(request: Request) -> bool:
    try:
        check_request(request)
    except ValueError:
        return False
    return True


plain_requests = st.builds(
    Request,
    cpus_milli=st.sampled_from([0, 500, 1_000, 2_000, 4_000]),
    memory_bytes=st.sampled_from([0, GIB, 8 * GIB]),
    gpus=st.sampled_from([0, 0, 1, 2, 3]),
    gpu_milli=st.sampled_from([0, 0, 1, 500, 999]),
    vram_bytes=st.sampled_from([0, GIB, 8 * GIB, 30 * GIB]),
    gpu_type=st.sampled_from(["", "L4", "h100"]),
    labels=st.sampled_from([(), (("zone", "a"),)]),
    nodes=st.sampled_from([(), (), ("n0", "n1")]),
    handler=st.sampled_from(["", "", "repair"]),
    gpu_cc=st.sampled_from([0, 80, 90]),
    not_nodes=st.sampled_from([(), (), ("n1",)]),
    exclusive=st.sampled_from([False, False, True]),
    resources=st.sampled_from([(), (), (("licence", 1),), (("licence", 2),)]),
).filter(is_sound)
requests = st.builds(
    lambda first, others: replace(first, others=tuple(others)),
    plain_requests,
    st.lists(plain_requests, max_size=2),
)


def options(request: Request) -> tuple[Request, ...]:
    """List what will do, in its order."""
    return replace(request, others=()), *request.others


def pick(fleet: Fleet, request: Request) -> Choice | None:
    """Choose as a turn does: the first of what will do for which there is a place."""
    places = (Candidates(fleet.nodes.values(), each).pick() for each in options(request))
    return next(filter(None, places), None)


@given(fleets(), requests)
@settings(max_examples=400, derandomize=True, deadline=None)
def test_a_request_is_refused_exactly_when_an_empty_fleet_has_no_place_for_it(
    fleet: Fleet, request: Request
) -> None:
    for node in fleet.nodes.values():
        node.take_residents([], 0)
    refused = bool(Feasibility(fleet).refusals(request))
    assert refused == (pick(fleet, request) is None)


@given(fleets(), requests, st.lists(requests, max_size=6))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_what_is_refused_has_no_place_whatever_is_given_back(
    fleet: Fleet, request: Request, others: list[Request]
) -> None:
    refused = bool(Feasibility(fleet).refusals(request))
    lent = []
    for number, other in enumerate(others):
        choice = pick(fleet, other)
        if choice is not None:
            lent.append((choice.node, lend(choice.node, choice.request, number)))
    places = [pick(fleet, request)]
    for node, (task, attempt) in lent:
        node.remove(task, attempt)
        places.append(pick(fleet, request))
    assert not refused or [None] * len(places) == places


@given(fleets(), requests, st.lists(requests, max_size=6))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_a_node_is_chosen_exactly_when_it_gives_no_reason_against_it(
    fleet: Fleet, request: Request, others: list[Request]
) -> None:
    for number, other in enumerate(others):
        if choice := pick(fleet, other):
            lend(choice.node, choice.request, number)
    willing = {name for name, why in refusals_now(fleet, options(request)) if not why}
    choice = pick(fleet, request)
    assert bool(willing) == (choice is not None)
    if choice is not None:
        assert choice.node.name in willing
        assert choice.request.cards == len(set(choice.gpus))


def test_refusals_are_asked_anew_when_the_fleet_changes_its_shape() -> None:
    fleet = Fleet()
    feasibility = Feasibility(fleet)
    assert {} == feasibility.refusals(Request(gpus=1))
    fleet.nodes["n1"] = make_node("n1")
    fleet.changed_shape()
    assert {"n1": "has no GPU"} == feasibility.refusals(Request(gpus=1))
    fleet.nodes["n2"] = make_node("n2", gpu(1))
    fleet.changed_shape()
    assert {} == feasibility.refusals(Request(gpus=1))
