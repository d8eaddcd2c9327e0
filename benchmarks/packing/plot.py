"""Draw what the packing benchmark measured: makespans, VRAM that nobody had, out of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl

from .cards import Outcomes

mpl.use("agg")
import matplotlib.pyplot as plt

COLOURS = ("#1b6ca8", "#6fa8d6", "#c8c8c8", "#a0a0a0", "#787878")
GOAL = 1.05
TICKS = (1, 1.5, 2, 3, 5, 10)
GROUP_WIDTH = 0.85
Measured = Mapping[str, Mapping[str, tuple[Outcomes, float]]]
"""By workload and who: how it went, and the makespan as a multiple of the bound."""
Value = Callable[[Outcomes, float], float]
_PANELS: dict[str, tuple[Value, str]] = {
    "makespan, as a multiple of the lower bound": (lambda _, ratio: ratio, "{:.3f}"),
    "VRAM-time lent to nobody while tasks waited, %": (
        lambda found, _: found.stranded * 100, "{:.1f}",
    ),
    "tries that ran out of GPU memory": (lambda found, _: found.ooms, "{:,.0f}"),
}  # fmt: skip
"""By title: what is shown of a run, and how the mean of it is written above a bar."""


def draw(measured: Measured, path: Path) -> None:
    """Write one picture with a panel for each measure and a group of bars for each fleet and mix.

    A bar is the mean of the seeds that were run, its whisker goes from the least to the most.
    """
    groups: dict[str, list[str]] = {}
    for workload in measured:
        groups.setdefault(workload.rpartition(" #")[0], []).append(workload)
    whos = list(next(iter(measured.values())))
    figure, panels = plt.subplots(
        3, 1, figsize=(max(9, 1.6 * len(groups)), 12), layout="constrained"
    )
    for panel, (title, (value, write)) in zip(panels, _PANELS.items(), strict=True):
        for place, (who, colour) in enumerate(zip(whos, COLOURS, strict=True)):
            seeds = [[value(*measured[each][who]) for each in of] for of in groups.values()]
            base = 1.0 if panel is panels[0] else 0.0
            _bars(panel, seeds, base, (place + 0.5) / len(whos) - 0.5, colour, who, write)
        panel.set_title(title, loc="left", fontsize=11)
        panel.set_xticks(range(len(groups)), [each.replace(": ", ":\n") for each in groups])
        panel.tick_params(axis="x", length=0, labelsize=9)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xlim(-0.6, len(groups) - 0.4)
    _as_multiples(panels[0])
    panels[1].set_ylim(0, 110)
    panels[2].set_yscale("symlog", linthresh=1)
    panels[2].set_ylim(0, panels[2].get_ylim()[1] * 5)
    panels[2].yaxis.set_major_formatter("{x:,.0f}")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside upper left",
        ncols=len(whos) + 1,
        frameon=False,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bars(
    panel: plt.Axes,
    seeds: list[list[float]],
    base: float,
    at: float,
    colour: str,
    who: str,
    write: str,
) -> None:
    """Draw for each group the mean of its seeds, and from the least to the most of them."""
    places = [group + at * GROUP_WIDTH for group in range(len(seeds))]
    means = [sum(each) / len(each) for each in seeds]
    whiskers = [
        [mean - min(each) for mean, each in zip(means, seeds, strict=True)],
        [max(each) - mean for mean, each in zip(means, seeds, strict=True)],
    ]
    bars = panel.bar(
        places,
        [mean - base for mean in means],
        GROUP_WIDTH / len(COLOURS),
        bottom=base,
        yerr=whiskers,
        error_kw={"elinewidth": 0.8},
        color=colour,
        label=who,
    )
    texts = [write.format(mean) for mean in means]
    panel.bar_label(bars, texts, padding=2, fontsize=7, rotation=90)


def _as_multiples(panel: plt.Axes) -> None:
    panel.set_yscale("log")
    panel.set_yticks(TICKS, [f"{each:g}" for each in TICKS])
    panel.minorticks_off()
    panel.set_ylim(panel.get_ylim()[0] * 0.85, panel.get_ylim()[1] * 1.5)
    panel.axhline(1.0, color="black", linewidth=0.8)
    panel.axhline(GOAL, color="black", linewidth=0.8, linestyle="--", label=f"goal: {GOAL:g}")
