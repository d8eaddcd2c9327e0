"""Has a daemon earned to live on? Proofs that grow old; a ping needs them all to be fresh.

A thread that pings by a timer would keep a daemon alive whose loop hangs. So the loop itself pings,
at the end of a turn, and only while what it is there for was done lately.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

NS_PER_S = 1_000_000_000


class Proof(NamedTuple):
    """Something that must be done again and again: what, when it was last, how old it may be."""

    what: str
    at_ns: int
    within_ns: int


def withheld(proofs: Iterable[Proof], now_ns: int) -> str:
    """Say why no ping is earned now; nothing where it is."""
    for proof in proofs:
        age_ns = now_ns - proof.at_ns
        if age_ns > proof.within_ns:
            return (
                f"{proof.what}: not for {age_ns / NS_PER_S:.1f} s, "
                f"at most {proof.within_ns / NS_PER_S:g} s are allowed"
            )
    return ""


def earned(proofs: Iterable[Proof], now_ns: int) -> bool:
    """Tell whether all proofs are fresh."""
    return not withheld(proofs, now_ns)
