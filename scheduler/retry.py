"""What a failed try leads to: another one, after which pause and where, or the end.

One row of a table for each class of failure (configured as `[policies.CLASS]`): its budget, its
backoff, and what it means for the next placement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random

from ..protocol.failures import FINAL, FailureClass, class_of
from .task import NOT_RAISED, Policy, Task

BACKOFF_FACTOR = 2
RAN = "ran=1"
CARDS = "cards="
_EXPONENT_MAX = 40


class Placement(Enum):
    """Where the next try goes."""

    ANY = "any"
    ELSEWHERE = "elsewhere"
    ONLY_ELSEWHERE = "only_elsewhere"
    LARGER = "larger"


@dataclass(frozen=True, slots=True)
class ClassPolicy:
    """One row: None stands for what the task itself says."""

    retries: int | None = None
    backoff_first_ms: int | None = None
    backoff_longest_ms: int | None = None
    placement: Placement = Placement.ELSEWHERE


Policies = Mapping[FailureClass, ClassPolicy]
OWN = frozenset({FailureClass.TASK, FailureClass.TIMEOUT})
"""What `Retry(on=...)` narrows: the others are not the task's errors."""

PACKAGED: Policies = {
    FailureClass.TASK: ClassPolicy(),
    FailureClass.TIMEOUT: ClassPolicy(),
    FailureClass.MEMORY: ClassPolicy(2, 1_000, 60_000, Placement.LARGER),
    FailureClass.GPU_MEMORY: ClassPolicy(2, 1_000, 60_000, Placement.LARGER),
    FailureClass.DISK: ClassPolicy(3, 5_000, 300_000),
    FailureClass.NETWORK: ClassPolicy(5, 1_000, 300_000, Placement.ANY),
    FailureClass.MODEL: ClassPolicy(3, 1_000, 60_000),
    FailureClass.NODE_LOST: ClassPolicy(2, 0, 0),
    FailureClass.CODE_MISSING: ClassPolicy(8, 0, 0, Placement.ONLY_ELSEWHERE),
}
"""The table of `config/defaults.toml`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a failure of class `kind`; without `again` the task has failed."""

    kind: FailureClass
    again: bool
    tries: int = 0
    row: ClassPolicy = ClassPolicy()


def judge(policies: Policies, task: Task, code: str, *, charge: bool = True) -> Verdict:
    """Charge one failure to its budget and say whether another try follows."""
    kind = class_of(code)
    row = policies.get(kind, ClassPolicy())
    policy = task.spec.policy
    if is_own(policies, kind):
        task.charged += charge
    elif charge:
        task.spent = Counter() if task.spent is None else task.spent
        task.spent[kind] += 1
    tries, most = used(policies, task, kind), budget(policies, policy, kind)
    if code in FINAL or _is_forbidden(policy, code, kind):
        return Verdict(kind, again=False)
    return Verdict(kind, tries <= most, tries, row)


def is_own(policies: Policies, kind: FailureClass) -> bool:
    """Tell whether failures of a class are charged to the retries that the task asked for."""
    return policies.get(kind, ClassPolicy()).retries is None


def used(policies: Policies, task: Task, kind: FailureClass) -> int:
    """Return how many failures were charged to the budget of a class."""
    if is_own(policies, kind):
        return task.charged
    return task.spent[kind] if task.spent else 0


def budget(policies: Policies, policy: Policy, kind: FailureClass) -> int:
    """Return how many retries a class has: its own, or those that the task asked for."""
    retries = policies.get(kind, ClassPolicy()).retries
    return policy.retries if retries is None else retries


def _is_forbidden(policy: Policy, code: str, kind: FailureClass) -> bool:
    names = {code, kind.value}
    if names & set(policy.never_on):
        return True
    if kind is FailureClass.NODE_LOST and policy.if_node_lost == "fail":
        return True
    return bool(policy.retry_on) and kind in OWN and not names & set(policy.retry_on)


def pause_ns(policy: Policy, verdict: Verdict, chance: Random) -> int:
    """Draw the wait before the next try."""
    row = verdict.row
    first_ms, longest_ms = row.backoff_first_ms, row.backoff_longest_ms
    return backoff_ns(
        policy.backoff_first_ms if first_ms is None else first_ms,
        policy.backoff_longest_ms if longest_ms is None else longest_ms,
        verdict.tries,
        chance,
    )


def waits_for_another(policies: Policies, task: Task) -> bool:
    """Tell whether a task waits for another node rather than go back to one that failed it."""
    rows = (policies.get(kind) for kind in task.spent or ())
    return any(row is not None and row.placement is Placement.ONLY_ELSEWHERE for row in rows)


def longest_pause_ms(policies: Policies, policy: Policy) -> int:
    """Return the longest wait that any failure of a task can lead to."""
    rows = (row.backoff_longest_ms for row in policies.values())
    return max(policy.backoff_longest_ms, *(longest_ms or 0 for longest_ms in rows), 0)


def backoff_ns(first_ms: int, longest_ms: int, tries: int, chance: Random) -> int:
    """Draw a wait: full jitter below an exponential bound.

    Source: M. Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015).
    """
    exponent = min(max(tries - 1, 0), _EXPONENT_MAX)
    bound_ms = min(longest_ms, first_ms * BACKOFF_FACTOR**exponent)
    return int(chance.random() * bound_ms * 1_000_000)


def spent_text(task: Task) -> str:
    """Write what a task used up, for the journal; that it ran, if it could expire else.

    And which alternatives ask for more since.
    """
    words = [f"{kind.value}={count}" for kind, count in (task.spent or {}).items()]
    if is_past_expiry(task):
        words.append(RAN)
    if task.spec.raised.cards != NOT_RAISED.cards:
        words.append(f"{CARDS}{task.spec.raised.cards}")
    return " ".join(words)


def is_past_expiry(task: Task) -> bool:
    """Tell whether it is for its run alone that a task can no longer expire."""
    return task.ran and bool(task.spec.policy.expires_ms)


def read_ran(text: str) -> bool:
    """Read from what `spent_text` wrote whether the task ran."""
    return RAN in text.split()


def read_cards(text: str) -> int:
    """Read from what `spent_text` wrote which alternatives ask for more, by their cards."""
    counts = (int(word.removeprefix(CARDS)) for word in text.split() if word.startswith(CARDS))
    return next(counts, NOT_RAISED.cards)


def read_spent(text: str) -> Counter[FailureClass] | None:
    """Read what `spent_text` wrote; a class that is unknown here is dropped."""
    pairs = (part.partition("=") for part in text.split())
    known = {kind.value: kind for kind in FailureClass}
    return Counter({known[kind]: int(n) for kind, _, n in pairs if kind in known}) or None
