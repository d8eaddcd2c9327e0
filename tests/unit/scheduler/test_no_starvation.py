"""Whatever small work streams in, does what needs much begin within a bound? Drawn by chance."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remuda.scheduler.core import SECOND_NS, CoreSettings

from ...fakes.streams import StrangeStream, Stream
from ...fakes.world import GIB, World, gpu
from ...fakes.worlds import worlds

AFTER_S = CoreSettings().reserve_after_ns // SECOND_NS
LOOK_S = AFTER_S // 4
WARM_UP_S = 30
SLACK_S = 5

fleets = st.lists(st.lists(st.sampled_from([16, 24, 80]), min_size=1, max_size=3), max_size=2)
runs = st.lists(st.integers(1, 60), min_size=1, max_size=5)
smalls = st.sampled_from(
    [
        {"vram_bytes": 4 * GIB},
        {"vram_bytes": 11 * GIB, "cpus_milli": 1_000},
        {"gpu_milli": 300, "vram_bytes": 0},
        {"vram_bytes": 0, "cpus_milli": 1_500},
        {"vram_bytes": 6 * GIB, "resources": {"licence": 1}},
    ]
)
limits = st.sampled_from([{}, {"timeout_ms": 60_000, "grace_ms": 0}, {"timeout_ms": 7_200_000}])
bigs = st.sampled_from(
    [
        {"gpus": 1},
        {"gpus": 2},
        {"gpus": 1, "cpus_milli": 3_000, "resources": {"licence": 2}},
        {"exclusive": True},
        {"exclusive": True, "gpus": 1},
        {"vram_bytes": 60 * GIB},
        {"gpus": 2, "alternatives": [{"gpus": 1, "gpu_type": "H100"}, {"cpus_milli": 4_000}]},
    ]
)


def begin(world: World, fleet: list[list[int]]) -> None:
    number = 0
    for at, sizes in enumerate([*fleet, [24, 80]]):  # one node at least has what is asked for
        cards = []
        for size in sizes:
            number += 1
            cards.append(gpu(number, size))
        world.node(f"n{at}", cpus=4, gpus=cards, resources={"licence": 2})


@given(
    fleet=fleets, run_s=runs, small=smalls, limit=limits, big=bigs,
    kind=st.sampled_from([Stream, StrangeStream]),
)  # fmt: skip
@settings(
    max_examples=12, derandomize=True, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
def test_what_needs_much_begins_within_a_bound(
    fleet: list[list[int]],
    run_s: list[int],
    small: dict[str, Any],
    limit: dict[str, Any],
    big: dict[str, Any],
    kind: type[Stream],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for world in worlds(Path(folder) / "state"):
            begin(world, fleet)
            stream = kind(world, run_s, **small, **limit)
            stream.seconds(WARM_UP_S)
            (task,) = world.submit(**{"cpus_milli": 500, "argv": ["big"], **big})
            # It waits, what runs there ends, and what was let in because that was not known.
            bound_s = AFTER_S + 2 * LOOK_S + max(run_s) + AFTER_S + SLACK_S
            found = stream.until_begun(task, bound_s + 1)
            assert found is not None
            assert found <= bound_s
