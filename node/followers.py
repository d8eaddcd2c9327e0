"""What of a running agent follows its settings when they change?

What is not named here is taken at the start: a change of it waits for a restart (`live` in the
settings says which is which).
"""

from __future__ import annotations

from ..config.logs import configure_logs
from ..config.settings import NodeSettings, Settings
from .executors.surroundings import Surroundings
from .health import Limits as HealthLimits
from .loop import Loop, Pace
from .usage import ForeignPolicy

NS_PER_S = 1_000_000_000
MISSED_READINGS = 3  # after which a node lends no GPU: nothing is known of them


def follow(loop: Loop, surroundings: Surroundings, name: str, settings: Settings) -> None:
    """Have all parts go by these settings from now on; what runs already goes on as it began."""
    node, stage = settings.node, loop.stage
    configure_logs(settings.logging, daemon=f"node {name}")
    surroundings.settings = settings
    loop.pace = pace_of(node)
    loop.wellbeing.probe_every_ns = loop.pace.probe_every_ns
    loop.probe.deadline_ns = int(node.probe_deadline_s * NS_PER_S)
    loop.membership.report.labels = node.labels
    loop.membership.handling.labels = node.labels
    loop.membership.handling.set_own(settings.handlers)
    loop.membership.session.delay_ns_min = int(node.reconnect_s_min * NS_PER_S)
    loop.membership.session.delay_ns_max = int(node.reconnect_s_max * NS_PER_S)
    stage.crew.idle_s, stage.crew.runners_max = node.runner_idle_s, node.runners_max
    stage.crew.unkillable_after_s = node.unkillable_after_s
    stage.archive.keep_ns = int(settings.tasks.output_keep_s * NS_PER_S)
    stage.archive.bytes_max = node.output_bytes_max
    stage.state.foreign = ForeignPolicy(node.foreign_processes)
    stage.state.health.limits = health_limits_of(settings)
    stage.has_news = True


def pace_of(node: NodeSettings) -> Pace:
    """Say how often the GPUs are read."""
    return Pace(
        int(node.probe_every_s * NS_PER_S),
        int(min(node.gpu_sample_s, node.probe_every_s) * NS_PER_S),
        int(MISSED_READINGS * (node.probe_every_s + node.probe_deadline_s) * NS_PER_S),
    )


def health_limits_of(settings: Settings) -> HealthLimits:
    """Say by which times faults of GPUs go."""
    gpus = settings.gpus
    times = (gpus.slowed_for_s, gpus.recovered_for_s, gpus.trial_after_s, gpus.trial_after_s_max)
    return HealthLimits(*(int(each * NS_PER_S) for each in times))
