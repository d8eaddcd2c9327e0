"""Does the command line refuse paths that cannot be meant, and say so when a transfer is left?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from remuda.cli import task_get
from remuda.cli.task_options import TaskOptions
from remuda.client.options import to_spec
from remuda.protocol.errors import Invalid

LEFT = """
import os, signal
from remuda.cli import moving, interrupts
from remuda.cli.commands import Session

class Depot:
    on_moved = on_said = None

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
interrupts.end_on_interrupt()
depot = Depot()
with moving.moving(Session(), depot, moving.UNSUBMITTED):
    depot.on_moved("up", {done}, 2)
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
"""


@pytest.mark.parametrize("text", ["", ":data/x"])
def test_an_empty_path_of_a_file_is_no_folder(text: str) -> None:
    with pytest.raises(Invalid, match=r"--file .*the path is empty"):
        TaskOptions(file=[text]).given()


def test_an_empty_path_of_a_project_is_refused() -> None:
    with pytest.raises(Invalid, match=r"--project '': the path is empty"):
        TaskOptions(project="").given()


@pytest.mark.parametrize("options", [{"files": [""]}, {"files": {"a": ""}}, {"project": ""}])
def test_python_refuses_an_empty_path_too(options: dict[str, object]) -> None:
    with pytest.raises(Invalid, match=r"^(files|project): found an empty path"):
        to_spec("command", options, argv=["true"])


def test_a_folder_for_outputs_needs_outputs(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="--to: nothing comes home without --output"):
        task_get.checked_folder(None, tmp_path, force=False)
    assert tmp_path == task_get.checked_folder(["*"], tmp_path, force=False)
    assert Path() == task_get.checked_folder(None, None, force=False)


@pytest.mark.parametrize(("done", "said"), [(1, "nothing was submitted"), (2, "")])
def test_who_interrupts_a_transfer_hears_what_goes_on(done: int, said: str) -> None:
    command = [sys.executable, "-c", LEFT.format(done=done)]
    left = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (130, said) == (left.returncode, left.stderr.partition(":")[0])
