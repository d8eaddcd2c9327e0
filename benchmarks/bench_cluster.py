"""A real cluster to measure on: `remuda up` in a home of its own, with CURVE and full commits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

REMUDA = [sys.executable, "-m", "remuda.cli.main"]
NOOP = "def noop(x):\n    return x\n"


@contextmanager
def running_cluster(nodes: int = 2, redis: str = "") -> Iterator[Path]:
    """Start a cluster whose tasks can import `noop_task`, yield its home, stop it.

    `redis` is the URL of its mirror, if it has one.
    """
    folder = Path(tempfile.mkdtemp(prefix="remuda-bench-"))
    (folder / "code").mkdir(mode=0o700)
    (folder / "code" / "noop_task.py").write_text(NOOP)
    home = folder / "home"
    up = [*REMUDA, "up", "--home", str(home), "--nodes", str(nodes), "--detach"]
    environment = {**os.environ, **({"REMUDA_REDIS__URL": redis} if redis else {})}
    subprocess.run(up, cwd=folder / "code", env=environment, check=True, stdout=subprocess.DEVNULL)
    try:
        yield home
    finally:
        subprocess.run(
            [*REMUDA, "down", "--home", str(home)], check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        shutil.rmtree(folder)


def scheduler_of(home: Path) -> psutil.Process:
    """Find the scheduler's process of a cluster."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "remuda.scheduler" in words and str(home) in words:
            return process
    raise LookupError(f"no scheduler runs in {home}")


def percentile(samples: list[float], share: float) -> float:
    """Return the sample below which `share` of all samples lie (nearest rank)."""
    ordered = sorted(samples)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
