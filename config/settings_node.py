"""What a node and its tasks can be told: what the node offers, how tasks run, its handlers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ..protocol.capabilities import BATCH_MAX, Handler
from ..protocol.selecting import Selector, selector_of
from .fields import (
    DAY_S,
    GIB,
    HOUR_S,
    KIB,
    MIB,
    MINUTE_S,
    Bytes,
    CountTable,
    FilePath,
    Name,
    OptionTable,
    Paths,
    Seconds,
    Section,
    Selection,
    Target,
    Texts,
    TextTable,
    setting,
)

BATCH_WAIT_S_MAX = 10.0


class NodeSettings(Section):
    """A node agent: what it offers and how it keeps its runners."""

    READERS = ("node",)

    name: Name | None = setting(None, "the node's name; unset: the host's", fixed=True)
    cpus: int | None = setting(None, "CPUs to offer; unset: all that it may use", 1, 100_000)
    memory_bytes: Bytes | None = setting(None, "memory to offer; unset: all that it may use", MIB)
    gpus: Texts | None = setting(
        None, "UUIDs of the GPUs to offer; unset: all; an empty list: none"
    )
    labels: TextTable = setting({}, "labels that tasks can ask for with --node-label", live=True)
    resources: CountTable = setting(
        {}, "countable things by name, like licences, for which tasks can ask with --resource"
    )
    python_path: Paths = setting(
        (), "directories put on sys.path of functions and handlers", live=True
    )
    gpu_ids: Literal["uuid", "index"] = setting("uuid", "how CUDA_VISIBLE_DEVICES names GPUs")
    nvml: FilePath | None = setting(None, "a scripted NVML to use instead of the driver's (tests)")
    probe_every_s: Seconds = setting(10.0, "how often the GPUs are probed", 0.1, HOUR_S, live=True)
    gpu_sample_s: Seconds = setting(
        1.0,
        "how often they are while a task holds one: peaks of VRAM are seen so",
        0.1,
        HOUR_S,
        live=True,
    )
    foreign_processes: Literal["avoid", "share", "ignore"] = setting(
        "share",
        "a GPU that processes of others use: gets no task, what is free, or all of it",
        live=True,
    )
    probe_deadline_s: Seconds = setting(
        10.0, "time a probe has before it counts as hung", 0.1, 10 * MINUTE_S, live=True
    )
    state_dir: FilePath | None = setting(
        None, "directory of runners and their output; unset: in the home", fixed=True
    )
    run_as: TextTable = setting(
        {}, "as which user of this host commands of an owner run: owner = user; empty: the agent's"
    )
    run_as_others: Literal["refuse", "agent"] = setting(
        "refuse", "what becomes of work of owners that run_as does not name; without any: the agent"
    )
    run_as_socket: FilePath = setting(
        Path("/run/remuda-run-as.sock"), "where the helper listens that starts tasks as others"
    )
    lock_dir: FilePath = setting(
        Path("/run/lock/remuda"), "locks by which agents of one host share no GPU"
    )
    runners_max: int = setting(256, "runner processes at a time", 1, 10_000, live=True)
    runner_idle_s: Seconds = setting(
        60.0, "when a runner without work exits", 0.1, DAY_S, live=True
    )
    unkillable_after_s: Seconds = setting(
        60.0, "when a task that does not die of KILL is reported", 0.1, DAY_S, live=True
    )
    attach_backlog_bytes_max: Bytes = setting(
        8 * MIB, "what a runner holds for a slow agent before it hangs up", 64 * KIB, GIB
    )
    prefetch_s: Seconds = setting(0.05, "work of tiny tasks to hold ahead", 0.0, MINUTE_S)
    prefetch_tasks_max: int = setting(64, "tiny tasks to hold ahead", 0, 10_000)
    output_bytes_max: Bytes = setting(
        GIB, "output of finished tasks kept on the node", MIB, live=True
    )
    cache_bytes: Bytes = setting(
        20 * GIB, "files and code that are kept on the node for tasks to come", MIB
    )
    cache_disk_free_bytes_min: Bytes = setting(
        512 * MIB, "free space on that disk below which no file is fetched", 0
    )
    dirs_bytes_max: Bytes = setting(10 * GIB, "directories of ended tasks kept on the node", MIB)
    transfers: int = setting(4, "files and folders on their way at a time", 1, 64)
    store_patience_s: Seconds = setting(
        10 * MINUTE_S, "how long to try to reach the store before a task fails of it", 1.0, DAY_S
    )
    reconnect_s_min: Seconds = setting(
        0.5, "first delay before the scheduler is dialled again", 0.01, MINUTE_S, live=True
    )
    reconnect_s_max: Seconds = setting(
        30.0, "longest delay before the scheduler is dialled again", 0.01, HOUR_S, live=True
    )


class TaskSettings(Section):
    """What holds for every task unless it says otherwise."""

    READERS = ("node",)

    env: TextTable = setting({}, "variables in the environment of every task", live=True)
    grace_s: Seconds = setting(
        5.0, "time between TERM and KILL at a cancel", 0.0, HOUR_S, live=True, of="scheduler node"
    )
    keep_dirs_s: Seconds = setting(10 * MINUTE_S, "how long a task's own directory outlives it")
    outputs_bytes_max: Bytes = setting(100 * GIB, "output files of one task, together", MIB)
    output_edge_bytes: Bytes = setting(
        64 * KIB, "first and last output kept with the result, each", 0, MIB, live=True
    )
    output_bytes_max: Bytes = setting(
        64 * MIB, "output of one task kept on its node", 64 * KIB, live=True
    )
    output_keep_s: Seconds = setting(
        10 * MINUTE_S, "how long its output stays there after the result", live=True
    )
    backoff_s_min: Seconds = setting(
        1.0, "first delay before a retry", 0.001, HOUR_S, live=True, of="scheduler"
    )
    backoff_s_max: Seconds = setting(
        5 * MINUTE_S, "longest delay before a retry", 0.001, DAY_S, live=True, of="scheduler"
    )


class HandlerSettings(Section):
    """A named handler: a class that a worker loads once and calls per task."""

    READERS = ("scheduler", "node")
    LIVE_IN = ("scheduler",)  # which tells nodes; a node's own wait for its restart

    target: Target = Field(description="the class, as package.module:Class")
    nodes: Selection = setting(
        "", "which nodes have it: their names, or labels like gpu=a100 that they have; unset: all"
    )
    models: Texts = setting((), "models it serves, as advertised to tasks")
    verify: Literal["start", "first_use"] = setting(
        "first_use", "when it is shown that each model loads: at the start already, or by a call"
    )
    load_timeout_s: Seconds = setting(
        30 * MINUTE_S, "how long a load may take before it counts as failed", 1.0, DAY_S
    )
    load: Literal["start", "first_use"] = setting(
        "start", "when it is loaded: all of it with the agent, or each model by its first call"
    )
    keep_s: Seconds = setting(
        0.0, "how long a worker without calls is kept; 0: until its room is needed"
    )
    workers: int = setting(1, "worker processes, at most", 1, 1024)
    vram_bytes: Bytes | None = setting(None, "GPU memory of one worker; unset: no GPU", MIB)
    cpus: float = setting(1.0, "CPUs of one worker", 0.001, 100_000)
    python: Name | None = setting(None, "its interpreter, one of [pythons]; unset: the agent's")
    secrets: Texts = setting((), "secrets of its node for it, as NAME or NAME=VARIABLE")
    max_batch: int = setting(
        1, "calls that a worker takes at a time, as lists; 1: one, as it comes", 1, BATCH_MAX
    )
    max_wait_s: Seconds = setting(
        0.0, "how long the first call of a batch waits for more; 0: for none", 0.0, BATCH_WAIT_S_MAX
    )
    options: OptionTable = setting({}, "what its class is made with: keyword arguments, by name")

    @model_validator(mode="after")
    def _waits_only_for_batches(self) -> HandlerSettings:
        if self.max_wait_s and self.max_batch == 1:
            raise ValueError("max_wait waits for more calls, so it needs max_batch of 2 or more")
        return self

    def stated(self, name: str) -> Handler:
        """Say what a handler of this name is."""
        return Handler(
            name,
            list(self.models),
            self.workers,
            self.vram_bytes or 0,
            on_demand=self.load == "first_use",
            target=self.target,
            max_batch=self.max_batch,
        )

    @property
    def load_timeout_ns(self) -> int:
        return int(self.load_timeout_s * 1_000_000_000)

    @property
    def selector(self) -> Selector:
        """Return which nodes have it."""
        return selector_of(self.nodes)

    @property
    def keep_ns(self) -> int:
        return int(self.keep_s * 1_000_000_000)
