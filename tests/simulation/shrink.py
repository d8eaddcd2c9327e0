"""What is the smallest plan that still fails the same way?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from .plan import Ask, Fault, Plan

RUNS_MAX = 400

Part = TypeVar("Part", Ask, Fault)


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Leave out faults, then requests, for as long as the plan fails without them.

    Delta debugging: ever smaller stretches are dropped; bounded by RUNS_MAX runs.
    Source: A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002).
    """
    left = [RUNS_MAX]

    def still_fails(candidate: Plan) -> bool:
        left[0] -= 1
        return left[0] >= 0 and fails(candidate)

    before = None
    while before != plan:
        before = plan
        plan = _fewer_asks(_fewer_faults(plan, still_fails), still_fails)
    return plan


def _fewer_faults(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    faults = _fewest(plan.faults, lambda kept: fails(replace(plan, faults=kept)))
    return replace(plan, faults=faults)


def _fewer_asks(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    asks = _fewest(plan.asks, lambda kept: fails(replace(plan, asks=kept)))
    return replace(plan, asks=asks)


def _fewest(
    parts: tuple[Part, ...], still_fails: Callable[[tuple[Part, ...]], bool]
) -> tuple[Part, ...]:
    size = max(len(parts) // 2, 1)
    while parts:
        at = 0
        while at < len(parts):
            kept = parts[:at] + parts[at + size :]
            if still_fails(kept):
                parts = kept
            else:
                at += size
        if size == 1:
            return parts
        size //= 2
    return parts


def rules_of(violations: Sequence[str]) -> frozenset[str]:
    """Return which rules were broken: what a smaller plan must break as well."""
    return frozenset(text.split(" ", 1)[0] for text in violations)
