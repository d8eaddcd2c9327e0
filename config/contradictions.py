"""Which settings contradict each other: the rules that bind several keys, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from .fields import KIB
from .settings import Settings
from .settings_scheduler import DISPATCH_PORT_OFFSET, PORT_MAX
from .toml_lines import KeyPath

LOST_PER_SUSPECT = 3  # lost_after is more than this many times suspect_after
HEARTBEATS_PER_LEASE = 2
HEARTBEATS_PER_SUSPECT = 2
CLOCK_DRIFT_S = 10  # what two hosts may differ by until a fenced task is surely stopped
ENVELOPE_BYTES = 16 * KIB  # room in a frame for what surrounds an inline value


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: what is allowed, in words; the attributes that it binds; whether it holds."""

    words: str
    keys: tuple[KeyPath, ...]
    holds: Callable[[Settings], bool]


def _rule(words: str, keys: str, holds: Callable[[Settings], bool]) -> Rule:
    return Rule(words, tuple(tuple(key.split(".")) for key in keys.split()), holds)


_RULES = (
    _rule(
        f"lost_after must be more than {LOST_PER_SUSPECT} x suspect_after",
        "scheduler.lost_after_s scheduler.suspect_after_s",
        lambda s: s.scheduler.lost_after_s > LOST_PER_SUSPECT * s.scheduler.suspect_after_s,
    ),
    _rule(
        f"suspect_after must be at least {HEARTBEATS_PER_SUSPECT} x heartbeat",
        "scheduler.suspect_after_s scheduler.heartbeat_s",
        lambda s: s.scheduler.suspect_after_s >= HEARTBEATS_PER_SUSPECT * s.scheduler.heartbeat_s,
    ),
    _rule(
        f"lease must be at least {HEARTBEATS_PER_LEASE} x heartbeat",
        "scheduler.lease_s scheduler.heartbeat_s",
        lambda s: s.scheduler.lease_s >= HEARTBEATS_PER_LEASE * s.scheduler.heartbeat_s,
    ),
    _rule(
        f"fence_after, tasks.grace and {CLOCK_DRIFT_S} s must fit into replace_after",
        "scheduler.fence_after_s scheduler.replace_after_s tasks.grace_s",
        lambda s: (
            s.scheduler.fence_after_s + s.tasks.grace_s + CLOCK_DRIFT_S
            < s.scheduler.replace_after_s
        ),
    ),
    _rule(
        "fence_after must be more than suspect_after",
        "scheduler.fence_after_s scheduler.suspect_after_s",
        lambda s: s.scheduler.fence_after_s > s.scheduler.suspect_after_s,
    ),
    _rule(
        "replace_after must be at least lost_after",
        "scheduler.replace_after_s scheduler.lost_after_s",
        lambda s: s.scheduler.replace_after_s >= s.scheduler.lost_after_s,
    ),
    _rule(
        "offer_resend x offer_tries must fit into lease",
        "scheduler.offer_resend_s scheduler.offer_tries scheduler.lease_s",
        lambda s: s.scheduler.offer_resend_s * s.scheduler.offer_tries <= s.scheduler.lease_s,
    ),
    _rule(
        "user_tasks_max must be at most queued_tasks_max",
        "scheduler.user_tasks_max scheduler.queued_tasks_max",
        lambda s: s.scheduler.user_tasks_max <= s.scheduler.queued_tasks_max,
    ),
    _rule(
        f"inline_max and {ENVELOPE_BYTES // KIB}KiB must fit into frame_max",
        "scheduler.inline_bytes_max scheduler.frame_bytes_max",
        lambda s: s.scheduler.inline_bytes_max + ENVELOPE_BYTES <= s.scheduler.frame_bytes_max,
    ),
    _rule(
        f"port + {DISPATCH_PORT_OFFSET} + nodes_max must be at most {PORT_MAX + 1}, or port 0",
        "scheduler.port scheduler.nodes_max",
        lambda s: (
            not s.scheduler.port
            or s.scheduler.port + DISPATCH_PORT_OFFSET + s.scheduler.nodes_max <= PORT_MAX + 1
        ),
    ),
    _rule(
        "reconnect_min must be at most reconnect_max",
        "node.reconnect_s_min node.reconnect_s_max",
        lambda s: s.node.reconnect_s_min <= s.node.reconnect_s_max,
    ),
    _rule(
        "backoff_min must be at most backoff_max",
        "tasks.backoff_s_min tasks.backoff_s_max",
        lambda s: s.tasks.backoff_s_min <= s.tasks.backoff_s_max,
    ),
    _rule(
        "twice output_edge must fit into tasks.output_max",
        "tasks.output_edge_bytes tasks.output_bytes_max",
        lambda s: 2 * s.tasks.output_edge_bytes <= s.tasks.output_bytes_max,
    ),
    _rule(
        "tasks.output_max must be at most node.output_max",
        "tasks.output_bytes_max node.output_bytes_max",
        lambda s: s.tasks.output_bytes_max <= s.node.output_bytes_max,
    ),
    _rule(
        "map_frame_tasks must be at most map_window_tasks",
        "client.map_frame_tasks client.map_window_tasks",
        lambda s: s.client.map_frame_tasks <= s.client.map_window_tasks,
    ),
    _rule(
        "password_file takes a url, and a url that has no password of its own",
        "redis.url redis.password_file",
        lambda s: (
            s.redis.password_file is None
            or (s.redis.url is not None and urlsplit(s.redis.url).password is None)
        ),
    ),
)


def contradictions(settings: Settings) -> Iterator[Rule]:
    """List every rule that these settings break."""
    return (rule for rule in _RULES if not rule.holds(settings))


def rules() -> list[str]:
    """List what must hold, in words that name the keys."""
    return [rule.words for rule in _RULES]
