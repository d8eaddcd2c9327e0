"""What follows from a failed try, by the class of its failure: one row of a table each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .fields import DAY_S, HOUR_S, MINUTE_S, Seconds, Section, setting

PolicyClass = Literal[
    "task",
    "timeout",
    "memory",
    "gpu_memory",
    "disk",
    "network",
    "model",
    "node_lost",
    "code_missing",
]
Placement = Literal["any", "elsewhere", "only_elsewhere", "larger"]


class PolicySettings(Section):
    """One class of failures: how often it is tried again, after which pauses, and where."""

    READERS = ("scheduler",)

    retries: int | None = setting(
        None,
        "more tries after failures of this class; unset: the task's own --retries",
        0,
        1000,
        live=True,
    )
    backoff_s_min: Seconds | None = setting(
        None, "first pause; unset: the task's own --backoff", 0.0, HOUR_S, live=True
    )
    backoff_s_max: Seconds | None = setting(
        None, "longest pause (doubling, full jitter); unset: the task's own", 0.0, DAY_S, live=True
    )
    placement: Placement = setting(
        "elsewhere",
        "where the next try goes: any node; elsewhere if another may; only_elsewhere; or larger: "
        "with more memory than it had",
        live=True,
    )


def _row(retries: int, first_s: float, longest_s: float, placement: Placement) -> PolicySettings:
    return PolicySettings(
        retries=retries, backoff_s_min=first_s, backoff_s_max=longest_s, placement=placement
    )


def default_policies() -> dict[PolicyClass, PolicySettings]:
    """Return the table as it is packaged."""
    return {
        "task": PolicySettings(),
        "timeout": PolicySettings(),
        "memory": _row(2, 1.0, MINUTE_S, "larger"),
        "gpu_memory": _row(2, 1.0, MINUTE_S, "larger"),
        "disk": _row(3, 5.0, 5 * MINUTE_S, "elsewhere"),
        "network": _row(5, 1.0, 5 * MINUTE_S, "any"),
        "model": _row(3, 1.0, MINUTE_S, "elsewhere"),
        "node_lost": _row(2, 0.0, 0.0, "elsewhere"),
        "code_missing": _row(8, 0.0, 0.0, "only_elsewhere"),
    }


Policies = Annotated[dict[PolicyClass, PolicySettings], Field(max_length=16)]
