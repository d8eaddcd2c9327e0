"""How are a host's CPUs, memory and GPUs dealt out among the nodes of one `remuda up`?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ..protocol.errors import RemudaError

PROBE_TIMEOUT_S = 60.0  # a busy host takes long to start a Python
MILLI = 1000
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Share:
    """What one node offers."""

    cpus: int
    memory_bytes: int
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Host:
    """What the whole host offers; GPUs by UUID."""

    cpus: int
    memory_bytes: int
    gpus: tuple[str, ...]


def deal(host: Host, nodes: int) -> list[Share]:
    """Deal a host out, as evenly as whole CPUs and cards allow.

    With more nodes than CPUs each still gets one: a node without a CPU could run nothing.
    """
    return [
        Share(
            cpus=max(1, (host.cpus + nodes - 1 - index) // nodes),
            memory_bytes=max(MIB, host.memory_bytes // nodes),
            gpus=host.gpus[index::nodes],
        )
        for index in range(nodes)
    ]


def probe_host(argv: Sequence[str] = (sys.executable, "-P", "-m", "remuda.node")) -> Host:
    """Ask a node agent's probe what this host has; raises RemudaError when it cannot tell."""
    command = [*argv, "--probe", "--json"]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=PROBE_TIMEOUT_S, check=True, text=True
        )
        plain = json.loads(done.stdout)
        return Host(
            cpus=max(1, int(plain["cpus_milli"]) // MILLI),
            memory_bytes=int(plain["memory_bytes"]),
            gpus=tuple(str(gpu["uuid"]) for gpu in plain["gpus"]),
        )
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise RemudaError(
            f"this host could not be probed ({error}): run `remuda-node --probe` to see why"
        ) from error
