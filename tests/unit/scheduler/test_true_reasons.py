"""Is what is refused truly not to be had, and is the reason that is given true? A judge of its own
counts by hand what nodes have and what was lent of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.protocol.capabilities import Gpu
from remuda.protocol.resources import MILLI, Request
from remuda.scheduler.feasible import may_ever
from remuda.scheduler.fleet import Fleet, Node
from remuda.scheduler.vacancy import refusal_now

from .ledgers import lend
from .test_feasibility import fleets, pick, plain_requests

GPU_FIELDS = ("gpus", "gpu_milli", "vram_bytes", "gpu_type", "gpu_cc")
OTHERS = ("cpus_milli", "memory_bytes", "resources", "exclusive", "labels", "handler")
NAMES = ("nodes", "not_nodes")


def _only(request: Request, fields: set[str]) -> Request:
    """Keep some of what is asked for: who asks for everything is refused for the first of it."""
    kept = {name: getattr(request, name) for name in fields - {"gpus"}}
    if "gpus" in fields:
        kept |= {name: getattr(request, name) for name in GPU_FIELDS}
    return Request(**{"cpus_milli": 0, **kept})


focused = st.builds(
    _only,
    plain_requests,
    st.sets(st.sampled_from(["gpus"] * 6 + [*OTHERS, *NAMES]), min_size=1, max_size=2),
)
Lent = list[tuple[Request, tuple[str, ...]]]


@dataclass(frozen=True)
class Judge:
    """What one node has, what was lent of it, and what is asked for."""

    node: Node
    lent: Lent
    asked: Request

    def gpus(self) -> list[Gpu]:
        """List what can be lent at all: a card that is cut is its parts."""
        found = self.node.capabilities.gpus
        cut = [gpu.parent for gpu in found if gpu.mig]
        return [gpu for gpu in found if gpu.memory_bytes and gpu.uuid not in cut]

    def typed(self) -> list[Gpu]:
        wanted = self.asked.gpu_type
        return [gpu for gpu in self.gpus() if re.search(wanted, gpu.name, re.IGNORECASE)]

    def able(self) -> list[Gpu]:
        return [gpu for gpu in self.typed() if gpu.cc >= self.asked.gpu_cc]

    def resident_bytes(self, gpu: Gpu) -> int:
        handlers = self.node.capabilities.handlers
        return sum(each.vram_bytes * each.gpu_uuids.count(gpu.uuid) for each in handlers)

    def bytes_lent(self, gpu: Gpu, lent: Lent) -> int:
        return sum(_bytes(request, gpu) for request, cards in lent if gpu.uuid in cards)

    def share_lent(self, gpu: Gpu, lent: Lent) -> int:
        return sum(
            MILLI if request.gpus else request.gpu_milli
            for request, cards in lent
            if gpu.uuid in cards
        )

    def carries(self, gpu: Gpu, lent: Lent) -> bool:
        """Tell whether a card has room for what is asked for."""
        asked, used = self.asked, self.bytes_lent(gpu, lent) + self.resident_bytes(gpu)
        if gpu.memory_bytes < asked.vram_bytes:
            return False
        if asked.gpus:
            return not used and not self.share_lent(gpu, lent)
        share = self.share_lent(gpu, lent) + asked.gpu_milli
        return share <= MILLI and used + _bytes(asked, gpu) <= gpu.memory_bytes

    def has_cards(self, lent: Lent) -> bool:
        """Try all sets of cards that there are."""
        count = self.asked.cards
        return any(
            all(self.carries(gpu, lent) for gpu in chosen)
            and not (count > 1 and any(gpu.mig for gpu in chosen))
            for chosen in combinations(self.able(), count)
        )

    def cpus(self, lent: Lent) -> int:
        return self.node.capabilities.cpus_milli - sum(r.cpus_milli for r, _ in lent)

    def memory(self, lent: Lent) -> int:
        return self.node.capabilities.memory_bytes - sum(r.memory_bytes for r, _ in lent)

    def named(self, name: str, lent: Lent) -> int:
        has = self.node.capabilities.resources.get(name, 0)
        return has - sum(dict(request.resources).get(name, 0) for request, _ in lent)

    def workers(self, lent: Lent) -> int:
        handler = next(
            each for each in self.node.capabilities.handlers if each.name == self.asked.handler
        )
        return handler.workers - sum(r.handler == self.asked.handler for r, _ in lent)

    def model_bytes(self) -> int:
        known = {each.name: each for each in self.node.capabilities.handlers}
        return known[self.asked.handler].vram_bytes

    def largest_bytes(self) -> int:
        return max((gpu.memory_bytes for gpu in self.node.capabilities.gpus), default=0)

    def lacks(self, lent: Lent) -> Iterator[str]:
        """Yield what of the request is not there, with so much lent."""
        asked, has = self.asked, self.node.capabilities
        if asked.nodes and self.node.name not in asked.nodes:
            yield "name"
        if self.node.name in asked.not_nodes:
            yield "ruled out"
        if any(has.labels.get(key) != value for key, value in asked.labels):
            yield "label"
        if asked.handler and asked.handler not in [each.name for each in has.handlers]:
            yield "handler"
        elif asked.handler and self.model_bytes() > self.largest_bytes():
            yield "model"
        elif asked.handler and self.workers(lent) <= 0:
            yield "workers"
        if asked.cpus_milli > self.cpus(lent):
            yield "cpus"
        if asked.memory_bytes > self.memory(lent):
            yield "memory"
        if any(count > self.named(name, lent) for name, count in asked.resources):
            yield "named"
        if asked.cards and not self.has_cards(lent):
            yield "cards"
        if any(request.exclusive for request, _ in lent) or (asked.exclusive and lent):
            yield "alone"


def _bytes(request: Request, gpu: Gpu) -> int:
    if request.gpus:
        return gpu.memory_bytes
    return request.vram_bytes or gpu.memory_bytes * request.gpu_milli // MILLI


def _fewer(judge: Judge, wanted: str, lent: Lent) -> bool:
    """Tell whether fewer whole cards can be had than `wanted`."""
    return sum(judge.carries(gpu, lent) for gpu in judge.able()) < int(wanted)


# What each reason claims; `.now` is what is lent at the moment, nothing for "could ever".
CLAIMS: dict[str, Callable[[Judge, Lent, re.Match[str]], bool]] = {
    r"is not among the nodes asked for .*": lambda j, _l, _m: j.node.name not in j.asked.nodes,
    r"is a node that was ruled out": lambda j, _l, _m: j.node.name in j.asked.not_nodes,
    r"label (\w+) is .*, wanted (\w+)": lambda j, _l, m: (
        j.node.capabilities.labels.get(m[1]) != m[2] and (m[1], m[2]) in j.asked.labels
    ),
    r"does not declare the handler (\w+) .*": lambda j, _l, m: (
        m[1] not in [each.name for each in j.node.capabilities.handlers]
    ),
    r"handler \w+ wants \S+ of VRAM, the largest GPU has \S+": lambda j, _l, _m: (
        j.model_bytes() > j.largest_bytes()
    ),
    r"has ([\d.]+) CPUs?, wanted ([\d.]+)": lambda j, _l, m: (
        float(m[1]) * MILLI == j.cpus([]) < j.asked.cpus_milli == float(m[2]) * MILLI
    ),
    r"has \S+ of memory, wanted .*": lambda j, _l, _m: j.memory([]) < j.asked.memory_bytes,
    r"has (\d+) licence, wanted (\d+)": lambda j, _l, m: (
        int(m[1]) == j.named("licence", []) < int(m[2])
    ),
    r"has no licence .*, wanted \d+": lambda j, _l, _m: j.named("licence", []) == 0,
    r"has no GPU": lambda j, _l, _m: not j.gpus(),
    r"has .*, wanted a GPU like .*": lambda j, _l, _m: not j.typed(),
    r"has .* of compute capability ([\d.]+), .*": lambda j, _l, m: (
        round(float(m[1]) * 10) == max(gpu.cc for gpu in j.typed()) < j.asked.gpu_cc
    ),
    r"has (\d+) GPUs? besides MIG devices.*": lambda j, _l, m: (
        sum(j.carries(gpu, []) for gpu in j.able() if not gpu.mig) == int(m[1]) < j.asked.gpus
    ),
    r"largest GPU has \S+ of VRAM, .*": lambda j, _l, _m: all(
        gpu.memory_bytes < j.asked.vram_bytes for gpu in j.able()
    ),
    r"has (\d+) GPUs? like that( without a loaded handler)?, wanted (\d+)": lambda j, _l, m: _fewer(
        j, m[3], []
    ),
    r"loaded handlers leave at most .*": lambda j, _l, _m: (
        any(j.resident_bytes(gpu) for gpu in j.able()) and not j.has_cards([])
    ),
    r"is lent to one task alone": lambda _j, lent, _m: any(r.exclusive for r, _ in lent),
    r"has (\d+) tasks?, wanted a node without any": lambda _j, lent, m: int(m[1]) == len(lent) > 0,
    r"all (\d+) workers of handler .* are busy": lambda j, lent, _m: j.workers(lent) <= 0,
    r"([\d.]+) CPUs? free, wanted .*": lambda j, lent, m: (
        float(m[1]) * MILLI == j.cpus(lent) < j.asked.cpus_milli
    ),
    r"\S+ of memory free, wanted .*": lambda j, lent, _m: j.memory(lent) < j.asked.memory_bytes,
    r"(\d+) licence free, wanted (\d+)": lambda j, lent, m: (
        int(m[1]) == j.named("licence", lent) < int(m[2])
    ),
    r"(\d+) GPUs? of that kind wholly free, wanted \d+": lambda j, lent, _m: not j.has_cards(lent),
    r"at most \S+ of VRAM free on one matching GPU": lambda j, lent, _m: not j.has_cards(lent),
}


def is_true(judge: Judge, lent: Lent, words: str) -> bool:
    """Tell whether a reason claims what the judge finds; one that is not known here is not."""
    for pattern, claim in CLAIMS.items():
        if match := re.fullmatch(pattern, words):
            return claim(judge, lent, match)
    return False


@st.composite
def old_fleets(draw: st.DrawFn) -> Fleet:
    """Draw nodes of the protocol before, on which what is loaded stays and nothing else is."""
    fleet = draw(fleets())
    for node in fleet.nodes.values():
        handlers = [
            replace(each, workers=1) if each.gpu_uuids else replace(each, vram_bytes=0)
            for each in node.capabilities.handlers
        ]
        node.protocol = 3
        node.take_capabilities(replace(node.capabilities, handlers=handlers))
        node.take_residents([], 0)
    return fleet


@given(old_fleets(), focused)
@settings(max_examples=600, derandomize=True, deadline=None)
def test_what_never_fits_is_refused_for_a_true_reason(fleet: Fleet, request: Request) -> None:
    for node in fleet.nodes.values():
        judge, words = Judge(node, [], request), may_ever(node, request)
        assert bool(list(judge.lacks([]))) == bool(words)
        assert not words or is_true(judge, [], words), words


@given(old_fleets(), focused, st.lists(focused, max_size=6))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_what_does_not_fit_now_is_refused_for_a_true_reason(
    fleet: Fleet, request: Request, others: list[Request]
) -> None:
    lent: dict[str, Lent] = {name: [] for name in fleet.nodes}
    for number, other in enumerate(others):
        if choice := pick(fleet, other):
            lend(choice.node, choice.request, number)
            lent[choice.node.name].append((choice.request, choice.gpus))
    for name, node in fleet.nodes.items():
        judge, words = Judge(node, lent[name], request), refusal_now(node, request)
        assert bool(list(judge.lacks(lent[name]))) == bool(words), words
        assert not words or is_true(judge, lent[name], words), words
