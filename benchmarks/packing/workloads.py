"""The work and the hosts of the packing benchmark: published, seeded, older than any policy.

A task needs VRAM on one card for some seconds. Sizes are those of common inference and training
work, durations are lognormal and cut. There are so many tasks that the longest takes at most 2 % of
the makespan, and at least 50 for each card; all are queued at the start, in random order.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

GIB = 1 << 30
UNITS_PER_GIB = 8
"""Sizes are in eighths of a GiB, as people write them."""
TASKS_PER_GPU_MIN = 50
LONGEST_SHARE_MAX = 0.02
MEDIAN_S = 60.0
SPREAD = 0.6
LONGEST_S = 3 * MEDIAN_S
SEEDS = tuple(range(5))


@dataclass(frozen=True)
class Host:
    """One host: its cards are alike."""

    name: str
    gpu: str
    vram_gib: float
    gpus: int


@dataclass(frozen=True)
class Work:
    """One task: what it declares, what it really takes at its peak, how long it runs."""

    vram_bytes: int
    peak_bytes: int
    seconds: float
    load_s: float


@dataclass(frozen=True)
class Workload:
    """A fleet with its tasks, in the order of their submission."""

    name: str
    hosts: tuple[Host, ...]
    tasks: tuple[Work, ...]


# What the driver shows of cards sold as 80, 48, 40, 24 and 16 GB.
_A100 = ("NVIDIA A100-SXM4-80GB", 79.3)
_H100 = ("NVIDIA H100 80GB HBM3", 79.6)
_L40S = ("NVIDIA L40S", 44.7)
_A100_40 = ("NVIDIA A100-SXM4-40GB", 39.4)
_RTX_4090 = ("NVIDIA GeForce RTX 4090", 23.6)
_L4 = ("NVIDIA L4", 22.5)
_T4 = ("Tesla T4", 14.6)

FLEETS: dict[str, tuple[tuple[tuple[str, float], int, int], ...]] = {
    # name: (card, cards of a host, hosts)
    "eight big cards": ((_A100, 8, 1),),
    "a lab": ((_A100, 4, 1), (_RTX_4090, 2, 4), (_L4, 1, 4)),
    "a team": ((_H100, 8, 1), (_L40S, 4, 2), (_A100_40, 4, 1), (_L4, 2, 6), (_T4, 1, 4)),
}

MIXES: dict[str, tuple[tuple[float, float, float], ...]] = {
    # name: (weight, least GiB, most GiB), drawn log-uniformly
    "images and speech": ((0.45, 2, 6), (0.35, 6, 12), (0.20, 12, 20)),
    "language models": ((0.35, 4, 10), (0.35, 14, 22), (0.20, 26, 42), (0.10, 60, 79)),
    "everything": ((1.0, 2, 79),),
}


def make(fleet: str, mix: str, seed: int) -> Workload:
    """Draw the tasks of one workload; what no card of the fleet holds is drawn again."""
    chance = random.Random(f"{fleet}/{mix}/{seed}")
    hosts = tuple(
        Host(f"{gpu.split()[-1].lower()}-{number}", gpu, vram, gpus)
        for (gpu, vram), gpus, count in FLEETS[fleet]
        for number in range(count)
    )
    largest = max(host.vram_gib for host in hosts)
    cards = sum(host.gpus for host in hosts)
    vram_gib_s = sum(host.gpus * host.vram_gib for host in hosts) * LONGEST_S / LONGEST_SHARE_MAX
    tasks: list[Work] = []
    volume_gib_s = 0.0
    while volume_gib_s < vram_gib_s or len(tasks) < TASKS_PER_GPU_MIN * cards:
        size = _size_gib(chance, MIXES[mix], largest)
        seconds = min(MEDIAN_S * math.exp(chance.gauss(0, SPREAD)), LONGEST_S)
        tasks.append(_work(chance, size, seconds))
        volume_gib_s += size * seconds
    return Workload(f"{fleet}: {mix} #{seed}", hosts, tuple(tasks))


def _size_gib(chance: random.Random, mix: tuple[tuple[float, float, float], ...],
              largest: float) -> float:  # fmt: skip
    while True:
        _, low, high = chance.choices(mix, [weight for weight, *_ in mix])[0]
        size = math.exp(chance.uniform(math.log(low), math.log(high)))
        if size <= largest:
            return round(size * UNITS_PER_GIB) / UNITS_PER_GIB


def _work(chance: random.Random, size_gib: float, seconds: float) -> Work:
    """People declare what they saw with a margin: the peak is mostly below, seldom above it."""
    declared = int(size_gib * GIB)
    peak = int(declared * min(1.04, chance.gauss(0.88, 0.06)))
    return Work(declared, peak, seconds, min(seconds / 4, chance.uniform(3, 12)))


def everything() -> list[Workload]:
    """Return all workloads."""
    return [make(fleet, mix, seed) for fleet in FLEETS for mix in MIXES for seed in SEEDS]
