"""Does nothing stay of the hosts of a session that was killed, and all of those that live?"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from . import far
from .command_line import DEADLINE_S, wait_until
from .far import ROOT, hosts

# Makes a host, starts something on it, tells its own mark, and waits to be killed.
MAKER = """
import subprocess, sys
from pathlib import Path
import hosts

with hosts.site(Path(sys.argv[1]), ["a"], []) as made:
    running = made.hosts[0].start(["sleep", "1000"], stdout=subprocess.DEVNULL)
    print(hosts.mark(), made.hosts[0].namespace, running.pid, flush=True)
    sys.stdin.read()
"""

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def _allowed() -> None:
    reason = far.why_near()
    if reason:
        pytest.skip(f"no hosts of their own here: {reason}")


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def bridges() -> set[str]:
    return {line.split(": ")[1] for line in ip("-o", "link", "show", "type", "bridge").splitlines()}


def killed_session(folder: Path) -> tuple[str, str, int]:
    """Kill a session that had a host; return its mark, its namespace, and what runs there."""
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKER, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "examples" / "photos")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert maker.stdout is not None
    mark, namespace, pid = maker.stdout.readline().split()
    maker.kill()
    maker.communicate(timeout=DEADLINE_S)
    return mark, namespace, int(pid)


def test_the_next_session_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    with hosts.site(tmp_path / "ours", ["b"], []) as ours:
        mark, namespace, pid = killed_session(tmp_path / "theirs")
        left = Path(tempfile.mkdtemp(prefix=f"{far.FOLDER}{mark}-"))
        assert namespace in ip("netns", "list")
        hosts.sweep()
        far.sweep()
        assert namespace not in ip("netns", "list")
        assert namespace.rpartition("-")[0] not in bridges()
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "what ran there still runs")
        assert ours.hosts[0].namespace in ip("netns", "list")
    assert (False, True) == (left.exists(), far.far().folder.exists())


def test_a_number_that_is_used_again_does_not_protect_what_its_first_process_left() -> None:
    pid, born, numbering = hosts.mark().split("-")
    names = {
        f"rm{pid}x90001": f"{pid}-{int(born) - 1}-{numbering}",  # of whoever had our number
        f"rm{pid}x90002": hosts.mark(),
        f"rm{pid}x90003": f"{pid}-{born}-1",
    }  # of a container whose processes we cannot see
    for name, mark in names.items():
        ip("link", "add", name, "type", "bridge")
        ip("link", "set", name, "alias", mark)
    try:
        hosts.sweep()
        assert [False, True, True] == [name in bridges() for name in names]
    finally:
        for name in bridges().intersection(names):
            ip("link", "del", name)


def test_only_the_mark_of_an_ended_process_is_gone() -> None:
    assert not hosts.is_gone(hosts.mark())
    assert not hosts.is_gone("no mark at all")
    with subprocess.Popen(["sleep", "1000"]) as other:
        mark = f"{other.pid}-1-{hosts.mark().rpartition('-')[2]}"
        other.send_signal(signal.SIGKILL)
    assert hosts.is_gone(mark)
