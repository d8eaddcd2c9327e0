"""Does each policy choose the place that it promises?"""

from __future__ import annotations

import pytest

from remuda.config.settings import Settings
from remuda.config.settings_placement import Score
from remuda.protocol.resources import Request
from remuda.scheduler import scores
from remuda.scheduler.assembly import core_settings
from remuda.scheduler.fleet import Node
from remuda.scheduler.placement import Candidates
from remuda.scheduler.scores import FASTEST, NAMES, PACK, POLICIES, SPREAD, Rating

from ...fakes.world import GIB, gpu
from .ledgers import H100, lend, make_node

SHARE = Request(vram_bytes=4 * GIB)


def rating(policy: str, **speeds: float) -> Rating:
    return Rating(policy, POLICIES[policy], speeds)


def choose(nodes: list[Node], request: Request, by: Rating) -> tuple[str, tuple[str, ...]]:
    choice = Candidates(nodes, request, by).pick()
    assert choice is not None
    return choice.node.name, choice.gpus


def lab() -> list[Node]:
    """An 80 GiB card, a free 24 GiB one, and one of 24 GiB that is half lent."""
    big = make_node("big", gpu(1, 80, H100))
    small = make_node("small", gpu(2, 24, "NVIDIA L4"), gpu(3, 24, "NVIDIA L4"))
    lend(small, Request(vram_bytes=16 * GIB))
    return [big, small]


def test_pack_leaves_large_and_empty_cards_whole() -> None:
    assert ("small", ("GPU-2",)) == choose(lab(), SHARE, rating(PACK))


def test_a_whole_card_is_the_smallest_that_will_do() -> None:
    assert ("small", ("GPU-3",)) == choose(lab(), Request(gpus=1), rating(PACK))
    wanted = Request(gpus=1, vram_bytes=40 * GIB)
    assert ("big", ("GPU-1",)) == choose(lab(), wanted, rating(PACK))


def test_spread_takes_the_emptiest_card() -> None:
    nodes = lab()
    lend(nodes[0], Request(vram_bytes=8 * GIB), 2)
    assert ("small", ("GPU-3",)) == choose(nodes, SHARE, rating(SPREAD))


def test_fastest_takes_the_quickest_model_and_packs_among_equals() -> None:
    by = Rating(FASTEST, POLICIES[FASTEST], {H100: 3.0, "NVIDIA L4": 1.0})
    assert ("big", ("GPU-1",)) == choose(lab(), SHARE, by)
    assert ("small", ("GPU-2",)) == choose(lab(), SHARE, rating(FASTEST))


def test_a_single_card_is_taken_where_fewest_are_together() -> None:
    many = make_node("many", *(gpu(number, 24) for number in range(4)))
    few = make_node("few", gpu(8, 24), gpu(9, 24))
    assert "few" == choose([many, few], Request(gpus=1), rating(PACK))[0]


def test_a_task_without_gpu_keeps_away_from_idle_cards_then_from_load() -> None:
    with_card, busy, idle = make_node("a", gpu(1, 24)), make_node("b"), make_node("c")
    lend(busy, Request(cpus_milli=2_000))
    for policy in POLICIES:
        assert "c" == choose([with_card, busy, idle], Request(), rating(policy))[0]


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_score_is_between_0_and_1_and_known(policy: str) -> None:
    for node in lab():
        for request in (SHARE, Request(), Request(gpus=1), Request(gpu_milli=500)):
            found = scores.scores(node, request, rating(policy))
            assert found.keys() <= NAMES
            assert not [name for name, (score, _) in found.items() if not 0 <= score <= 1]


def test_what_the_configuration_says_is_what_the_core_goes_by() -> None:
    said = {"policy": "spread", "weights": {"fit": 2.0}, "speeds": {"NVIDIA L4": 0.5}}
    found = core_settings(Settings.model_validate({"placement": said})).rating
    assert Rating("spread", {**POLICIES[SPREAD], "fit": 2.0}, {"NVIDIA L4": 0.5}) == found


def test_the_configuration_knows_each_score() -> None:
    assert set(Score.__args__) == NAMES  # type: ignore[attr-defined]  # of a Literal
