"""What can be configured: one frozen model per table, with units in names, defaults and bounds.

The defaults stand a second time, with comments for operators, in `defaults.toml`; a test keeps the
two alike. Rules that bind several keys are in `contradictions.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .fields import HOUR_S, KIB, MIB, MINUTE_S, Bytes, Name, Seconds, Section, setting
from .settings_environments import (
    PYTHONS_MAX,
    SECRETS_MAX,
    EnvironmentSettings,
    PythonSettings,
    SecretSettings,
)
from .settings_gpus import GpuSettings
from .settings_metrics import MetricsSettings
from .settings_node import HandlerSettings, NodeSettings, TaskSettings
from .settings_placement import PlacementSettings
from .settings_policies import Policies, PolicySettings, default_policies
from .settings_redis import RedisSettings
from .settings_scheduler import PortPlan, SchedulerSettings
from .settings_store import StoreSettings

__all__ = [
    "ClientSettings",
    "ClusterSettings",
    "EnvironmentSettings",
    "GpuSettings",
    "HandlerSettings",
    "LoggingSettings",
    "MetricsSettings",
    "NodeSettings",
    "PolicySettings",
    "PortPlan",
    "PythonSettings",
    "RedisSettings",
    "SchedulerSettings",
    "SecretSettings",
    "Settings",
    "StoreSettings",
    "TaskSettings",
]

HANDLERS_MAX = 256


class ClusterSettings(Section):
    """Which cluster this is."""

    READERS = ("scheduler",)

    name: Name = setting("local", "the name that status and changes print")


class LoggingSettings(Section):
    """What the daemons log, and how."""

    READERS = ("scheduler", "node", "store")

    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "the least important line to log", live=True
    )
    format: Literal["auto", "human", "json"] = setting(
        "auto", "auto: human on a terminal, else JSON", live=True
    )
    value_bytes_max: Bytes = setting(
        2 * KIB, "longest value in a line; longer ones are cut", 64, MIB, live=True
    )


class ClientSettings(Section):
    """The Python client and the command line."""

    READERS = ("client",)

    connect_timeout_s: Seconds = setting(5.0, "time to reach the scheduler at first", 0.1, HOUR_S)
    request_timeout_s: Seconds = setting(
        30.0, "time for one request, resends included", 0.1, HOUR_S
    )
    poll_s: Seconds = setting(20.0, "length of a long poll for changes", 0.1, 10 * MINUTE_S)
    map_frame_tasks: int = setting(1_000, "tasks in one frame of map", 1, 10_000)
    map_window_tasks: int = setting(
        10_000, "tasks of map not yet stored, of imap not yet taken, at a time", 1, 10_000_000
    )


class Settings(Section):
    """The whole configuration."""

    cluster: ClusterSettings = Field(default_factory=ClusterSettings)
    scheduler: SchedulerSettings = Field(default_factory=SchedulerSettings)
    node: NodeSettings = Field(default_factory=NodeSettings)
    gpus: GpuSettings = Field(default_factory=GpuSettings)
    tasks: TaskSettings = Field(default_factory=TaskSettings)
    policies: Policies = Field(default_factory=default_policies)
    placement: PlacementSettings = Field(default_factory=PlacementSettings)
    handlers: Annotated[dict[Name, HandlerSettings], Field(max_length=HANDLERS_MAX)] = Field(
        default_factory=dict
    )
    pythons: Annotated[dict[Name, PythonSettings], Field(max_length=PYTHONS_MAX)] = Field(
        default_factory=dict
    )
    environments: EnvironmentSettings = Field(default_factory=EnvironmentSettings)
    secrets: Annotated[dict[Name, SecretSettings], Field(max_length=SECRETS_MAX)] = Field(
        default_factory=dict
    )
    logging: LoggingSettings = Field(default_factory=LoggingSettings)
    client: ClientSettings = Field(default_factory=ClientSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
