"""What holds for the handlers of a node: terms of each, and what the scheduler wants of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Terms:
    """How the workers of a handler are kept and loaded.

    An idle one leaves after `keep_ns` (0: when its room is needed). A load fails after `load_ns`
    (0: never). `is_verified_at_start`: each model is loaded once to show that it can be.
    """

    keep_ns: int = 0
    load_ns: int = 0
    is_verified_at_start: bool = False


@dataclass(slots=True)
class Orders:
    """What the scheduler wants of our handlers: `disabled` says by name why one takes no calls.

    `reloading` numbers what is being loaded anew, `reloaded` what was; `digest` names the orders,
    `is_news`: something of that is not written down yet.
    """

    digest: bytes = b""
    disabled: dict[str, str] = field(default_factory=dict)
    reloading: dict[str, int] = field(default_factory=dict)
    reloaded: dict[str, int] = field(default_factory=dict)
    is_news: bool = False
