"""How the scheduler chooses among nodes and cards that have room."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .fields import HOUR_S, Seconds, Section, setting

PlacementPolicy = Literal["pack", "spread", "fastest"]
Score = Literal["warm", "another", "fit", "hosts", "room", "speed", "apart", "idle"]
_Weight = Annotated[float, Field(ge=0.0, le=1_000.0)]
_Speed = Annotated[float, Field(gt=0.0, le=1_000.0)]
_Model = Annotated[str, Field(min_length=1, max_length=256)]


class PlacementSettings(Section):
    """Which of the places that a task could have it gets."""

    READERS = ("scheduler",)

    policy: PlacementPolicy = setting(
        "pack",
        "pack: full cards first; spread: empty ones; fastest: the quickest model, as measured",
        live=True,
    )
    order_window_s: Seconds = setting(
        60.0,
        "tasks of one priority submitted within so long go by what they want of a card, largest "
        "first, then by their run time, longest first; 0: by age alone",
        0.0,
        HOUR_S,
        live=True,
    )
    reserve_after_s: Seconds = setting(
        60.0,
        "a task that waited so long at the head of the queue has a place kept for it; 0: never",
        0.0,
        HOUR_S,
        live=True,
    )
    reservations_max: int = setting(4, "places that are kept at a time", 1, 64, live=True)
    weights: Annotated[dict[Score, _Weight], Field(max_length=16)] = setting(
        {}, "how much a score counts, instead of what the policy says", live=True
    )
    speeds: Annotated[dict[_Model, _Speed], Field(max_length=64)] = setting(
        {}, "relative speed of models of cards, instead of what was measured", live=True
    )
