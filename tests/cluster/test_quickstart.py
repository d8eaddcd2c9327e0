"""The main job from end to end: photographs restored on a real cluster, and nothing left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"
END_S = 120.0
POLL_S = 0.02

pytestmark = pytest.mark.cluster


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("chelsea.png", "rocket.jpg"):
        shutil.copy(PHOTOS / name, folder)
    (tmp_path / "tmp").mkdir()
    return folder


def start(album: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """Start the job with a folder for temporary files of its own, which names its processes."""
    command = [sys.executable, str(PHOTOS / "quickstart.py"), "--photos", str(album)]
    return subprocess.Popen(
        [*command, "--out", str(out), *options],
        env=os.environ | {"TMPDIR": str(out.parent / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(folder: Path) -> list[str]:
    """List the processes that name this folder or work in it."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        words = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
        if process.info["pid"] != os.getpid() and any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


def wait_gone(folder: Path) -> None:
    """Wait until no process names the folder: some still are on their way out."""
    end = time.monotonic() + END_S
    while time.monotonic() < end and processes_of(folder):
        time.sleep(POLL_S)
    assert processes_of(folder) == []


def test_photographs_are_restored_on_two_nodes_and_nothing_is_left(
    album: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    job = start(album, out)
    said, _ = job.communicate(timeout=END_S)
    assert job.returncode == 0, said
    rows = json.loads((out / "tasks.json").read_text())
    assert {"node-1", "node-2"} == {row["node"] for row in rows}
    assert len(rows) == len({row["task"] for row in rows}) > 30
    names = {f"{stem}.{way}.png" for stem in ("chelsea", "rocket") for way in ("telea", "mask")}
    assert {"contact-sheet.png", *names} <= {path.name for path in out.iterdir()}
    assert list((tmp_path / "tmp").iterdir()) == []
    wait_gone(tmp_path / "tmp")


def is_starting(folder: Path) -> bool:
    return any("node-2" in process for process in processes_of(folder / "tmp"))


def is_restoring(folder: Path) -> bool:
    return any((folder / "out").glob(".tiles/*.png"))


@pytest.mark.parametrize("moment", [is_starting, is_restoring])
def test_an_interrupted_job_stops_its_cluster(
    album: Path, tmp_path: Path, moment: Callable[[Path], bool]
) -> None:
    job = start(album, tmp_path / "out")
    end = time.monotonic() + END_S
    while time.monotonic() < end and not moment(tmp_path):
        time.sleep(POLL_S)
    job.send_signal(signal.SIGINT)
    said, _ = job.communicate(timeout=END_S)
    assert 130 == job.returncode, said
    wait_gone(tmp_path / "tmp")


def test_a_folder_without_pictures_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "tmp").mkdir()
    job = start(tmp_path / "empty", tmp_path / "out")
    said, _ = job.communicate(timeout=END_S)
    assert (job.returncode, "holds no pictures" in said) == (2, True)


def test_photographs_are_restored_on_hosts_that_share_nothing(album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = start(album, out, "--hosts")
    said, _ = job.communicate(timeout=END_S)
    if "no hosts can be made" in said:
        pytest.skip(f"no hosts of their own here: {said.strip().splitlines()[-1]}")
    assert job.returncode == 0, said
    rows = json.loads((out / "tasks.json").read_text())
    assert {"host-1", "host-2"} == {row["node"] for row in rows}
    assert list((tmp_path / "tmp").iterdir()) == []
    wait_gone(tmp_path / "tmp")
