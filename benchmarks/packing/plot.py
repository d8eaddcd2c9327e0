"""Draw what the packing benchmark measured: makespans, stranded VRAM and tasks out of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

from .cards import Outcomes

mpl.use("svg")
import matplotlib.pyplot as plt

COLOURS = ("#1b6ca8", "#6fa8d6", "#c8c8c8", "#a0a0a0", "#787878")
Measured = Mapping[str, Mapping[str, tuple[Outcomes, float]]]
"""By workload and who: how it went, and the makespan as a multiple of the bound."""


def draw(measured: Measured, path: Path) -> None:
    """Write one picture with a panel for each measure and a group of bars for each workload."""
    figure, panels = plt.subplots(3, 1, figsize=(10, 11), layout="constrained")
    whos = list(next(iter(measured.values())))
    shown = {
        "makespan / lower bound": lambda found, ratio: ratio,
        "VRAM that nobody had while tasks waited, %": lambda found, ratio: found.stranded * 100,
        "tries out of memory": lambda found, ratio: found.ooms,
    }
    for panel, (title, value) in zip(panels, shown.items(), strict=True):
        for place, (who, colour) in enumerate(zip(whos, COLOURS, strict=True)):
            heights = [value(*measured[workload][who]) for workload in measured]
            _bars(panel, heights, place, len(whos), colour, who)
        panel.set_title(title, loc="left")
        panel.set_xticks(range(len(measured)), _wrapped(list(measured)), fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].axhline(1.0, color="black", linewidth=0.8)
    panels[0].set_yscale("log")
    panels[2].set_yscale("symlog")
    panels[0].legend(frameon=False, ncols=len(whos))
    figure.savefig(path)
    plt.close(figure)


def _bars(
    panel: plt.Axes, heights: Sequence[float], place: int, count: int, colour: str, who: str
) -> None:
    width = 0.8 / count
    offsets = [group - 0.4 + (place + 0.5) * width for group in range(len(heights))]
    panel.bar(offsets, heights, width, color=colour, label=who)


def _wrapped(names: list[str]) -> list[str]:
    return [name.replace(": ", ":\n") for name in names]
