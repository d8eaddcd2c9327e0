"""Is a run reproducible, and does the harness find, shrink and tell what is broken?"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from .__main__ import weaknesses
from .ablations import SAFEGUARDS, first_noticed, without
from .campaign import Tally, explain, run_campaign, run_seeds
from .draw import draw
from .plan import Kind
from .shrink import rules_of, shrink
from .world import simulate

ROOT = Path(__file__).resolve().parents[2]
REPLAYED = range(7_000, 7_025)
RESTORED = range(25)
SEEDS_MAX = 300
"""A missing safeguard is found within so many seeds."""
DIGESTS = (
    "from tests.simulation.draw import draw\n"
    "from tests.simulation.world import simulate\n"
    f"for seed in {REPLAYED!r}: print(simulate(draw(seed)).digest)"
)


def digests(hash_seed: str) -> list[str]:
    """Run some seeds in another process and return their hashes."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DIGESTS]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_a_seed_gives_the_same_trace_in_every_process() -> None:
    here = [simulate(draw(seed)).digest for seed in REPLAYED]
    assert len(here) == len(set(here))
    assert here == digests("1")
    assert here == digests("2")


def test_a_scheduler_that_is_restored_again_and_again_keeps_what_it_promises() -> None:
    outcomes = [simulate(draw(seed, [Kind.RESTORE])) for seed in RESTORED]
    assert {} == {each.seed: each.violations for each in outcomes if each.violations}
    assert sum(each.struck[Kind.RESTORE] for each in outcomes) > 2 * len(RESTORED)


def test_keeping_the_trace_changes_nothing() -> None:
    plan = draw(REPLAYED[0])
    assert simulate(plan).digest == simulate(plan, keep_trace=True).digest


@pytest.mark.parametrize("safeguard", list(SAFEGUARDS))
def test_a_missing_safeguard_is_found(safeguard: str) -> None:
    assert first_noticed(safeguard, range(SEEDS_MAX)) is not None


def test_a_failure_is_shrunk_and_told_as_a_story() -> None:
    with without("an agent adopts what the one before it left"):
        seed = next(iter(run_seeds(range(20)).failed))
        plan = draw(seed)
        broken = rules_of(simulate(plan).violations)
        smallest = shrink(plan, lambda each: bool(broken & rules_of(simulate(each).violations)))
        story = explain(seed)
    assert len(smallest.faults) < len(plan.faults)
    ends_an_agent = {Kind.AGENT_CRASH, Kind.AGENT_CRASH_MID_TURN, Kind.OLD_AGENT}
    assert ends_an_agent & {each.kind for each in smallest.faults}
    assert f"seed {seed}" in story
    assert "BROKEN" in story
    assert "agent dies" in story


def test_a_campaign_counts_the_same_on_one_process_and_on_two() -> None:
    seeds = range(7_100, 7_120)
    assert run_seeds(seeds) == run_campaign(seeds, 1) == run_campaign(seeds, 2)


def test_a_campaign_that_is_too_easy_is_called_so() -> None:
    hard = Tally(2_000, 2_000 * 400, Counter(dict.fromkeys(Kind, 400)))
    assert [] == weaknesses(hard)
    rare = hard.struck | Counter()
    rare[Kind.LOSS] = 49
    assert 1 == len(weaknesses(Tally(2_000, hard.events, rare)))
    assert 1 == len(weaknesses(Tally(2_000, 2_000 * 299, hard.struck)))
    assert 2 <= len(weaknesses(Tally(2_000, hard.events, Counter())))
