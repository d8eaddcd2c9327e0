"""What the scheduler daemon can be told: where it listens, its timers and its limits."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import (
    DAY_S,
    GIB,
    HOUR_S,
    KIB,
    MIB,
    MINUTE_S,
    Bytes,
    FilePath,
    Seconds,
    Section,
    Text,
    setting,
)

PORT_MAX = 65_535
STORE_PORT_OFFSET = 4
DISPATCH_PORT_OFFSET = 10  # 7700 control .. 7704 store, 7710 and up: one per node


@dataclass(frozen=True, slots=True)
class PortPlan:
    """Which ports the scheduler binds; 0 means that the kernel chooses."""

    control: int
    uplink: int
    heartbeat: int
    beacon: int
    dispatch_first: int


class SchedulerSettings(Section):
    """The scheduler daemon: where it listens, its timers and its limits."""

    READERS = ("scheduler",)

    listen: Text = setting(
        "127.0.0.1", "address to bind; beyond loopback only with keys", of="scheduler store"
    )
    port: int = setting(
        7700,
        "the control port; the others follow it; 0 takes free ports",
        0,
        PORT_MAX,
        of="scheduler store",
    )
    state_dir: FilePath | None = setting(
        None, "directory of the journal; unset: in the home", fixed=True
    )
    ballast_bytes: Bytes = setting(
        64 * MIB, "room kept back on the disk of the journal; 0: none", 0, GIB
    )
    disk_free_bytes_min: Bytes = setting(
        256 * MIB,
        "free space there below which no task is taken in; 0: until it is full",
        live=True,
    )
    nodes_max: int = setting(1_000, "registered nodes; sizes sockets and descriptors", 1, 10_000)
    heartbeat_s: Seconds = setting(2.0, "how often a node says what it holds", 0.05, MINUTE_S)
    suspect_after_s: Seconds = setting(
        6.0, "silence after which a node gets no new work", 0.1, HOUR_S, live=True
    )
    lost_after_s: Seconds = setting(
        60.0, "silence after which a node's tasks run elsewhere", 0.5, DAY_S, live=True
    )
    lease_s: Seconds = setting(
        30.0, "how long a grant lives unless renewed", 0.2, HOUR_S, live=True
    )
    offer_resend_s: Seconds = setting(
        5.0, "when an unanswered offer is sent again", 0.05, MINUTE_S, live=True
    )
    offer_tries: int = setting(
        3, "offers to one node before the task is placed anew", 1, 100, live=True
    )
    warm_wait_s: Seconds = setting(
        60.0,
        "how long at most a call waits for a loaded model, and others for one that is called for",
        0.0,
        HOUR_S,
        live=True,
    )
    handshake_s: Seconds = setting(
        3.0, "time a new connection has for its handshake", 0.1, MINUTE_S
    )
    fence_after_s: Seconds = setting(
        45.0, "silence of the scheduler after which a node stops fenced tasks itself", 0.5, DAY_S
    )
    replace_after_s: Seconds = setting(
        90.0, "silence of a node after which its fenced tasks run elsewhere", 0.5, DAY_S
    )
    reconcile_s: Seconds = setting(
        60.0, "after a start: wait for known nodes at most so long before any is lost", 0.0, HOUR_S
    )
    fuse_nodes_min: int = setting(
        5, "fleet from which on many nodes silent at once make nobody lost", 2, 10_000, live=True
    )
    forget_after_s: Seconds = setting(
        7 * DAY_S, "when a lost node is struck from the list", MINUTE_S, live=True
    )
    black_hole_after: int = setting(
        3,
        "different tasks that fail fast in a row on a node or GPU, and not elsewhere, after which "
        "it gets no more; 0: never",
        0,
        1_000,
        live=True,
    )
    black_hole_run_s: Seconds = setting(
        10.0, "a failure within this time is fast", 0.0, HOUR_S, live=True
    )
    black_hole_hold_s: Seconds = setting(
        5 * MINUTE_S, "after so long it is tried again; doubles each time", 1.0, DAY_S, live=True
    )
    black_hole_hold_s_max: Seconds = setting(HOUR_S, "and at most", 1.0, 30 * DAY_S, live=True)
    queued_tasks_max: int = setting(
        2_000_000, "queued tasks of the whole cluster", 1, 100_000_000, live=True
    )
    user_tasks_max: int = setting(1_000_000, "queued tasks of one user", 1, 100_000_000, live=True)
    frame_bytes_max: Bytes = setting(4 * MIB, "one message on the control port", 64 * KIB, 64 * MIB)
    inline_bytes_max: Bytes = setting(
        64 * KIB, "an argument or a result that travels in a message", KIB, MIB, live=True
    )
    watch_events_max: int = setting(
        100_000, "changes kept in memory for clients that watch", 1_000, 10_000_000, live=True
    )
    retention_age_s: Seconds = setting(7 * DAY_S, "how long finished tasks are kept", MINUTE_S)
    retention_succeeded_s: Seconds | None = setting(
        None, "and those that succeeded; unset: as retention_age says", MINUTE_S
    )
    retention_failed_s: Seconds | None = setting(
        None, "and those that failed; unset: as retention_age says", MINUTE_S
    )
    retention_cancelled_s: Seconds | None = setting(
        None, "and those that were cancelled; unset: as retention_age says", MINUTE_S
    )
    retention_audit_s: Seconds = setting(
        400 * DAY_S, "how long rows of the audit are kept; the chain still verifies", DAY_S
    )
    retention_size_bytes: Bytes = setting(
        10 * GIB, "size of the journal at which the oldest finished tasks go", 16 * MIB
    )

    @property
    def store_port(self) -> int:
        """Return where the store listens unless told otherwise; 0 where it takes a free port."""
        return self.port + STORE_PORT_OFFSET if self.port else 0

    def ports(self) -> PortPlan:
        """Lay the channels out from the control port."""
        if self.port == 0:
            return PortPlan(0, 0, 0, 0, 0)
        first = self.port
        return PortPlan(first, first + 1, first + 2, first + 3, first + DISPATCH_PORT_OFFSET)
