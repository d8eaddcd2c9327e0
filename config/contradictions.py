"""Which settings contradict each other: the rules that bind several keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .fields import KIB
from .settings import Settings
from .settings_scheduler import DISPATCH_PORT_OFFSET, PORT_MAX
from .toml_lines import KeyPath

LOST_PER_SUSPECT = 3  # lost_after is more than this many times suspect_after
HEARTBEATS_PER_LEASE = 2
HEARTBEATS_PER_SUSPECT = 2
ENVELOPE_BYTES = 16 * KIB  # room in a frame for what surrounds an inline value


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A broken rule: the keys that it binds, by attribute names, and what is allowed."""

    keys: tuple[KeyPath, ...]
    rule: str


def contradictions(settings: Settings) -> Iterator[Contradiction]:
    """List every rule that these settings break."""
    yield from _timers(settings)
    yield from _limits(settings)
    yield from _nodes_and_tasks(settings)


def _timers(settings: Settings) -> Iterator[Contradiction]:
    timers = settings.scheduler

    def broken(rule: str, *names: str) -> Contradiction:
        return Contradiction(tuple(("scheduler", name) for name in names), rule)

    if timers.lost_after_s <= LOST_PER_SUSPECT * timers.suspect_after_s:
        yield broken(
            f"lost_after must be more than {LOST_PER_SUSPECT} x suspect_after",
            "lost_after_s",
            "suspect_after_s",
        )
    if timers.suspect_after_s < HEARTBEATS_PER_SUSPECT * timers.heartbeat_s:
        yield broken(
            f"suspect_after must be at least {HEARTBEATS_PER_SUSPECT} x heartbeat",
            "suspect_after_s",
            "heartbeat_s",
        )
    if timers.lease_s < HEARTBEATS_PER_LEASE * timers.heartbeat_s:
        yield broken(
            f"lease must be at least {HEARTBEATS_PER_LEASE} x heartbeat", "lease_s", "heartbeat_s"
        )
    if timers.offer_resend_s * timers.offer_tries > timers.lease_s:
        yield broken(
            "offer_resend x offer_tries must fit into lease",
            "offer_resend_s",
            "offer_tries",
            "lease_s",
        )


def _limits(settings: Settings) -> Iterator[Contradiction]:
    limits = settings.scheduler

    def broken(rule: str, *names: str) -> Contradiction:
        return Contradiction(tuple(("scheduler", name) for name in names), rule)

    if limits.user_tasks_max > limits.queued_tasks_max:
        yield broken(
            "user_tasks_max must be at most queued_tasks_max", "user_tasks_max", "queued_tasks_max"
        )
    if limits.batch_tasks_max > limits.user_tasks_max:
        yield broken(
            "batch_tasks_max must be at most user_tasks_max", "batch_tasks_max", "user_tasks_max"
        )
    if limits.batch_bytes_max > limits.frame_bytes_max:
        yield broken("batch_max must be at most frame_max", "batch_bytes_max", "frame_bytes_max")
    if limits.inline_bytes_max + ENVELOPE_BYTES > limits.frame_bytes_max:
        yield broken(
            f"inline_max and {ENVELOPE_BYTES // KIB}KiB must fit into frame_max",
            "inline_bytes_max",
            "frame_bytes_max",
        )
    if limits.port and limits.port + DISPATCH_PORT_OFFSET + limits.nodes_max - 1 > PORT_MAX:
        yield broken(
            f"port + {DISPATCH_PORT_OFFSET} + nodes_max must be at most {PORT_MAX + 1}",
            "port",
            "nodes_max",
        )


def _nodes_and_tasks(settings: Settings) -> Iterator[Contradiction]:
    node, tasks, client = settings.node, settings.tasks, settings.client
    if node.reconnect_s_min > node.reconnect_s_max:
        yield Contradiction(
            (("node", "reconnect_s_min"), ("node", "reconnect_s_max")),
            "reconnect_min must be at most reconnect_max",
        )
    if tasks.backoff_s_min > tasks.backoff_s_max:
        yield Contradiction(
            (("tasks", "backoff_s_min"), ("tasks", "backoff_s_max")),
            "backoff_min must be at most backoff_max",
        )
    if 2 * tasks.output_edge_bytes > tasks.output_bytes_max:
        yield Contradiction(
            (("tasks", "output_edge_bytes"), ("tasks", "output_bytes_max")),
            "twice output_edge must fit into tasks.output_max",
        )
    if tasks.output_bytes_max > node.output_bytes_max:
        yield Contradiction(
            (("tasks", "output_bytes_max"), ("node", "output_bytes_max")),
            "tasks.output_max must be at most node.output_max",
        )
    if client.map_frame_tasks > client.map_window_tasks:
        yield Contradiction(
            (("client", "map_frame_tasks"), ("client", "map_window_tasks")),
            "map_frame_tasks must be at most map_window_tasks",
        )
