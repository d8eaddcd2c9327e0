"""What is told of a process beside its pid: its name, and which processes it descends from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from remuda.node import nvml_child


def test_a_process_is_told_with_its_name_and_all_that_is_above_it() -> None:
    told = nvml_child._standing(os.getpid())
    assert os.getppid() == told["above"][0]
    assert Path("/proc/self/comm").read_text().strip() == told["name"]


def test_of_a_process_that_has_ended_nothing_is_told() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert {"name": "", "above": []} == nvml_child._standing(ended.pid)


def test_one_that_may_not_be_looked_at_is_no_ended_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where /proc is mounted with hidepid."""

    def refuse(_path: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert {"name": nvml_child.HIDDEN, "above": []} == nvml_child._standing(os.getpid())
