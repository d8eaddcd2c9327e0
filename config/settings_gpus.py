"""How a node tells a GPU that is not well, and when it tries it again."""

from __future__ import annotations

from .fields import DAY_S, HOUR_S, MINUTE_S, Seconds, Section, setting


class GpuSettings(Section):
    """The health of a node's GPUs: what counts as slow, and the trial after a fault."""

    READERS = ("node",)

    slowed_for_s: Seconds = setting(
        30.0,
        "a GPU slowed down by heat or the power brake for so long gets no work",
        0.0,
        DAY_S,
        live=True,
    )
    recovered_for_s: Seconds = setting(
        MINUTE_S, "until it was not slowed down for so long", 0.0, DAY_S, live=True
    )
    trial_after_s: Seconds = setting(
        MINUTE_S,
        "quiet time after a fault before the GPU is tried; doubles each time",
        0.1,
        DAY_S,
        live=True,
    )
    trial_after_s_max: Seconds = setting(HOUR_S, "and at most", 0.1, 30 * DAY_S, live=True)
    trial: str | None = setting(
        None, "a shell command that must succeed on that GPU alone; unset: readings decide"
    )
    trial_timeout_s: Seconds = setting(5 * MINUTE_S, "time that command has", 0.1, DAY_S)
