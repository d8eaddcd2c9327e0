"""Which metrics are there: names, labels and meanings, for both ends of the pipe and the page."""

from __future__ import annotations

from typing import Any, NamedTuple

PREFIX = "remuda_"
Rows = list[list[Any]]
"""What is sent of a family: [label values, number] each, of a histogram [label values, counts of
each bucket, sum]."""
LONG_S = (
    0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0,
    14_400.0, 86_400.0,
)  # fmt: skip
SHORT_S = (
    0.0001, 0.0003, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0,
)  # fmt: skip


class Family(NamedTuple):
    """One metric; its name on the page has the prefix before it."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


OF_SCHEDULER = (
    Family("info", "gauge", "1, with what runs here.", ("cluster", "version")),
    Family("epoch", "gauge", "How often the scheduler was started."),
    Family("start_time_seconds", "gauge", "When it was started, in Unix time."),
    Family("live", "gauge", "1 while its loop turns (as /livez says)."),
    Family("ready", "gauge", "1 while it takes tasks and grants them (as /readyz says)."),
    Family(
        "problem", "gauge", "1 for each thing that is wrong with it (`remuda status`).", ("about",)
    ),
    Family(
        "tasks",
        "gauge",
        "Tasks by state: open ones, and ended ones that are still kept.",
        ("state",),
    ),
    Family("tasks_submitted_total", "counter", "Tasks that were taken in.", ("kind",)),
    Family("tasks_finished_total", "counter", "Tasks that came to their end.", ("state", "code")),
    Family(
        "attempts_finished_total", "counter", "Tries that came to their end.", ("outcome", "code")
    ),
    Family(
        "task_retries_total", "counter", "Failed tries after which another one follows.", ("code",)
    ),
    Family(
        "task_wait_seconds",
        "histogram",
        "From the submission to the first node.",
        ("kind",),
        LONG_S,
    ),
    Family(
        "task_run_seconds",
        "histogram",
        "How long tries ran, as nodes measured it.",
        ("kind",),
        LONG_S,
    ),
    Family(
        "dispatch_seconds", "histogram", "From the grant to the news that it runs.", (), SHORT_S
    ),
    Family("step_seconds", "histogram", "What one turn decides, placement included.", (), SHORT_S),
    Family("commit_seconds", "histogram", "One commit of the journal, synced.", (), SHORT_S),
    Family("turn_seconds", "histogram", "One turn of the loop, without its wait.", (), SHORT_S),
    Family("journal_bytes", "gauge", "The journal on its disk, its log included."),
    Family("journal_disk_free_bytes", "gauge", "What may still be written to that disk."),
    Family(
        "wire_events_total",
        "counter",
        "What came in vain (garbage, handshakes, strangers), and connections that ended.",
        ("what",),
    ),
    Family("redis_mirror_up", "gauge", "1 while the Redis mirror follows; absent without one."),
    Family("reservations", "gauge", "Places that are kept for waiting tasks."),
)
OF_FLEET = (
    Family("nodes", "gauge", "Nodes by state.", ("state",)),
    Family("node_up", "gauge", "1 while a node is heard.", ("node",)),
    Family(
        "node_tasks",
        "gauge",
        "Tasks on a node: they run, or wait in its own queue.",
        ("node", "where"),
    ),
    Family("node_cpus", "gauge", "CPUs of a node.", ("node", "part")),
    Family("node_memory_bytes", "gauge", "Memory of a node.", ("node", "part")),
    Family("node_heartbeat_age_seconds", "gauge", "Since a node was heard.", ("node",)),
    Family("node_probe_age_seconds", "gauge", "Since a node's GPUs answered.", ("node",)),
    Family("gpu_info", "gauge", "1, with what a card is.", ("node", "gpu", "model", "index")),
    Family(
        "gpu_health",
        "gauge",
        "1 for what it is: healthy, faulty, cordoned or withheld.",
        ("node", "gpu", "health"),
    ),
    Family(
        "gpu_memory_bytes",
        "gauge",
        "total; lent, by the ledger; as measured ours, foreign, free.",
        ("node", "gpu", "part"),
    ),
    Family("gpu_temperature_celsius", "gauge", "As measured.", ("node", "gpu")),
    Family("gpu_utilisation_ratio", "gauge", "As measured, from 0 to 1.", ("node", "gpu")),
    Family("gpu_power_watts", "gauge", "As measured.", ("node", "gpu")),
)
BY_NAME = {family.name: family for family in (*OF_SCHEDULER, *OF_FLEET)}
