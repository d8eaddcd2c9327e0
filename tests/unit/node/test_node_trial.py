"""Is a GPU tried by a command in its time, and is what an agent kept of its GPUs read with care?"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from remuda.node.capabilities import HostFacts, Limits
from remuda.node.checkups import Checkups, cards_to_plain
from remuda.node.gpu import Gpu
from remuda.node.health import Card
from remuda.node.report import Report
from remuda.node.trial import Trial

from .core_driver import CoreDriver

FINISH_S = 30.0
ENV = {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "GPU-a"}
LOST = {"lost": "it has fallen off the bus (at noon)"}


def outcome(trial: Trial) -> str:
    """Start a trial and return what came of it."""
    assert trial.start("GPU-a", ENV, time.monotonic_ns()) == ""
    assert trial.is_running
    until = time.monotonic() + FINISH_S
    while (result := trial.result(time.monotonic_ns())) is None:
        assert time.monotonic() < until, "it does not end"
        time.sleep(0.01)
    assert not trial.is_running
    return result


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ('test "$CUDA_VISIBLE_DEVICES" = GPU-a', ""),
        ("echo no kernel image; echo for this card >&2; exit 3",
         "the trial ended with 3: no kernel image for this card"),
        ("sleep 60", "the trial timed out"),
    ],
)  # fmt: skip
def test_a_trial_passes_or_says_what_it_saw(command: str, expected: str) -> None:
    assert expected == outcome(Trial(command, 0.5 if "sleep" in command else FINISH_S))


def test_a_trial_that_runs_when_its_agent_leaves_is_ended(tmp_path: Path) -> None:
    trial = Trial(f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 60", FINISH_S)
    trial.start("GPU-a", ENV, time.monotonic_ns())
    until = time.monotonic() + FINISH_S
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    pid = int((tmp_path / "pid").read_text())
    trial.close()
    while Path(f"/proc/{pid}").exists() and is_alive(pid):
        assert time.monotonic() < until, "it outlives its agent"
        time.sleep(0.01)
    assert trial.result(time.monotonic_ns()) is None


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def checkups(folder: Path, granted: tuple[str, ...] | None = None) -> Checkups:
    stage: Any = SimpleNamespace(state=CoreDriver().state)
    facts = HostFacts("h", "boot", "6.1", "3.11", 1000, 1 << 30)
    report = Report(facts, Limits(gpu_uuids=granted), {}, "1", {})
    return Checkups(stage, report, folder / "gpu-health.json", None, {})


def test_what_an_agent_kept_is_taken_up_by_the_next_one(tmp_path: Path) -> None:
    gpu = Gpu("GPU-a", 0, "card", 1 << 30, 1 << 30, 86, "550")
    before = checkups(tmp_path)
    before.health.cards["GPU-a"] = Card(gpu, faults=dict(LOST), failures=2)
    before._save()
    after = checkups(tmp_path)
    after.begin(0)
    kept = after.health.cards["GPU-a"]
    assert (LOST, 2, gpu) == (kept.faults, kept.failures, kept.gpu)


def test_a_card_that_is_no_more_granted_to_this_node_is_not_missed(tmp_path: Path) -> None:
    gpu = Gpu("GPU-a", 0, "card", 1 << 30, 1 << 30, 86, "550")
    before = checkups(tmp_path)
    before.health.cards["GPU-a"] = Card(gpu)
    before._save()
    after = checkups(tmp_path, granted=("GPU-b",))
    after.begin(0)
    assert {} == after.health.cards


@pytest.mark.parametrize("text", ["", "[]", "{", '{"GPU-a": 3}', '{"GPU-a": {"gpu": {}}}'])
def test_a_file_that_cannot_be_read_leaves_an_agent_without_memories(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "gpu-health.json").write_text(text)
    found = checkups(tmp_path)
    found.begin(0)
    assert {} == found.health.cards
    assert {} == cards_to_plain(found.health.cards)
