"""Does the worker's side know its task, and is its runtime complete and unmoved?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from remuda.node import runtime
from remuda.worker.current import Current
from remuda.worker.page import CALLS_WINDOW, PAGE_BYTES, Page
from remuda.worker.targets import CodeMissing, Targets


@pytest.fixture
def no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("REMUDA_"):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_task")
def test_outside_a_cluster_there_is_no_task_and_progress_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    current = Current()
    found = (current.task_id, current.attempt, current.gpus, current.cancelled)
    assert (None, 0, [], False) == found
    current.progress(0.5, "half")
    assert " 50% half\n" == capsys.readouterr().out


@pytest.mark.usefixtures("no_task")
def test_in_a_command_the_environment_tells_and_progress_is_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REMUDA_TASK_ID", "01ABC")
    monkeypatch.setenv("REMUDA_ATTEMPT", "00ff.3")
    monkeypatch.setenv("REMUDA_GPU_UUIDS", "GPU-1")
    monkeypatch.setenv("REMUDA_PROGRESS", str(tmp_path / "progress"))
    current = Current()
    assert ("01ABC", 3, ["GPU-1"]) == (current.task_id, current.attempt, current.gpus)
    current.progress(2, "over\nthe top")
    assert "1.0000 over the top\n" == (tmp_path / "progress").read_text()


def test_progress_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="no fraction"):
        Current().progress(float("nan"))


def test_both_sides_of_the_page_see_the_same() -> None:
    fd = os.memfd_create("page")
    os.ftruncate(fd, PAGE_BYTES)
    runner, worker = Page(fd), Page(fd)
    os.close(fd)
    worker.begin(CALLS_WINDOW + 7, 123)
    runner.mark(CALLS_WINDOW + 7, cancelled=True)
    assert (CALLS_WINDOW + 7, CALLS_WINDOW + 7, 123) == runner.running()
    assert (True, False) == (worker.is_cancelled(CALLS_WINDOW + 7), worker.is_cancelled(8))


def test_a_name_that_is_no_function_is_code_missing() -> None:
    targets = Targets(None, None, None)
    for target in ("os:no_such", "os:sep", ":f", "os:", "__main__:f"):
        with pytest.raises(CodeMissing):
            targets.find(target)


def test_a_runtime_is_installed_once_and_named_by_its_content(tmp_path: Path) -> None:
    first = runtime.install(tmp_path)
    stamp = first.stat().st_mtime_ns
    assert (first, stamp) == (runtime.install(tmp_path), first.stat().st_mtime_ns)
    assert [first] == list(tmp_path.iterdir())


def test_a_half_made_runtime_is_never_used(tmp_path: Path) -> None:
    name = runtime.install(tmp_path / "a").name
    half = tmp_path / "b" / f".{name}.0000"
    half.mkdir(parents=True)
    target = runtime.install(tmp_path / "b")
    assert (target / "start" / "worker.py").exists()
    assert half != target


def test_the_runtime_alone_gives_current_and_names_what_is_missing(tmp_path: Path) -> None:
    root = runtime.install(tmp_path)
    script = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from remuda import current, register_type\n"
        "print(current)\n"
        "try:\n    from remuda import Client\n"
        "except ImportError as error:\n    print('no Client')\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(root)],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    assert ["<current task none>", "no Client"] == done.stdout.splitlines()


def test_the_runner_needs_only_the_standard_library(tmp_path: Path) -> None:
    root = runtime.install(tmp_path)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import remuda.node.runner.main\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] == 'msgpack'))\n"
        "print([n for n in sys.modules if n.startswith('remuda') and 'runner' not in n"
        " and 'worker' not in n and n not in ('remuda', 'remuda.node')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(root)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ["[]", "[]"] == done.stdout.splitlines()
