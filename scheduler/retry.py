"""What a failed try leads to: another one after a backoff, or the end."""

from __future__ import annotations

from random import Random

from .task import Policy

BACKOFF_FACTOR = 2
_EXPONENT_MAX = 40

NEVER_RETRIED = frozenset({"code_missing", "result_not_encodable", "value_too_large"})
"""A second try of the same code on the same argument would end the same way."""


def may_retry(policy: Policy, charged: int, code: str) -> bool:
    """Tell whether a task that has used `charged` tries may try again after `code`."""
    return code not in NEVER_RETRIED and charged <= policy.retries


def backoff_ns(policy: Policy, charged: int, chance: Random) -> int:
    """Draw the wait before the next try: full jitter below an exponential bound.

    Source: M. Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015).
    """
    exponent = min(max(charged - 1, 0), _EXPONENT_MAX)
    bound_ms = min(policy.backoff_longest_ms, policy.backoff_first_ms * BACKOFF_FACTOR**exponent)
    return int(chance.random() * bound_ms * 1_000_000)
