"""Are environments made once, whole or not at all, a few at a time, and removed when unused?"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remuda.config.settings import EnvironmentSettings
from remuda.node import environment_build, environments, runtime
from remuda.node.environment_build import COMPLETE
from remuda.node.environments import Environments, Failure, installer_env, name_of
from remuda.node.interpreters import Interpreter, NotOffered

from ...fakes.runner_driver import wait_until

# An installer for which a requirements file is a shell script.
UV = """#!/bin/sh
if [ "$1" = venv ]; then exec "$3" -m venv --without-pip "$4"; fi
for last; do :; done
exec sh "$last"
"""
BASE = Interpreter(Path(sys.executable), "3", sys.prefix, is_venv=True, has_msgpack=True)
ONE, TWO = (b"1" * 16, 1), (b"2" * 16, 1)


class Bench:
    """Environments of one node, and what came of those that were wanted."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder / "environments"
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / "uv").write_text(UV)
        (folder / "bin" / "uv").chmod(0o755)
        start = runtime.install(folder / "runtime") / "start" / "worker.py"
        env = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
        known = EnvironmentSettings(**settings)  # type: ignore[arg-type]
        self.made = Environments(self.folder, known, start, env)
        self.now = 1

    def want(self, key: environments.Key, requirements: str) -> environments.Made | None:
        return self.made.want(key, BASE, requirements, self.now)

    def look(self) -> list[environments.Made]:
        return list(self.made.look(self.now))

    def outcome(self, requirements: str, key: environments.Key = ONE) -> Failure | None:
        """Have one made and say what came of it."""
        found = self.want(key, requirements)
        if found is None:
            (found,) = wait_until(self.look, "the environment")
        return found.failure

    def children(self) -> list[int]:
        return [each.child.pid for each in self.made.builds.values() if each.child is not None]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.made.close()


@pytest.fixture
def made_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    found: list[Bench] = []

    def make(**settings: object) -> Bench:
        found.append(Bench(tmp_path, **settings))
        return found[-1]

    yield make
    for each in found:
        each.made.close()


def test_an_environment_is_made_and_found_and_not_made_again(bench: Bench, tmp_path: Path) -> None:
    text = f"echo x >> {tmp_path}/installed"
    with pytest.raises(NotOffered):
        bench.made.find(BASE, text)
    assert bench.outcome(text) is None
    found = bench.made.find(BASE, text)
    assert bench.folder / name_of(BASE, text) / "bin" / "python" == found.path
    line = "import sys; print(sys.prefix)"
    done = subprocess.run([found.path, "-c", line], capture_output=True, text=True, check=True)
    assert f"{found.prefix}\n" == done.stdout
    assert ([TWO], None) == bench.want(TWO, text)
    assert "x\n" == (tmp_path / "installed").read_text()


def test_those_that_wait_for_the_same_environment_wait_for_one(bench: Bench) -> None:
    assert (None, None) == (bench.want(ONE, ":"), bench.want(TWO, ":"))
    (found,) = wait_until(bench.look, "the environment")
    assert ([ONE, TWO], None) == found


def test_only_so_many_are_made_at_a_time(made_bench: Callable[..., Bench]) -> None:
    bench = made_bench(builds_max=1)
    bench.want(ONE, "sleep 60")
    bench.want(TWO, "sleep 61")
    bench.look()
    bench.look()
    assert 1 == len(bench.children())
    bench.made.let_go(ONE)
    bench.look()
    assert [list(build.waiting) for build in bench.made.builds.values()] == [[TWO]]
    assert 1 == len(bench.children())


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("echo hello; echo 'error: no six==99'; exit 1", "environment_failed", "error: no six==99"),
        ("echo out of luck; exit 1", "environment_failed", "out of luck"),
        ("exit 1", "environment_failed", "the installer said nothing"),
        ("echo 'ERROR: No matching distribution found for sixx'; exit 1",
         "requirements_unmet", "ERROR: No matching distribution found for sixx"),
        ("echo '  x No solution found when resolving dependencies:'; echo 'error: nothing'; exit 1",
         "requirements_unmet", "error: nothing"),
        ("echo 'ERROR: Ignored the following versions that require a different python version: 2'; "
         "echo 'ERROR: No matching distribution found for six==2'; exit 1",
         "environment_failed", "No matching distribution found for six==2"),
        ("echo 'WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by X'; "
         "echo 'ERROR: No matching distribution found for six'; exit 1",
         "network", "ERROR: No matching distribution found for six"),
        ("echo 'cause: error sending request for url (http://x)'; exit 1", "network",
         "cause: error sending request for url (http://x)"),
        ("echo 'ERROR: [Errno 28] No space left on device'; exit 1", "disk_full",
         "ERROR: [Errno 28] No space left on device"),
        ("rm bin/python*", "environment_failed", "cannot be started: No such file or directory"),
        ("d=$(echo lib/python3*/site-packages)/msgpack; mkdir $d; "
         "echo 'raise ImportError(\"too old\")' > $d/__init__.py",
         "environment_failed", "ImportError: too old"),
    ],
)  # fmt: skip
def test_a_failure_is_told_in_the_installers_words(
    bench: Bench, text: str, code: str, message: str
) -> None:
    failure = bench.outcome(text)
    assert failure is not None
    assert (code, True) == (failure.code, message in failure.message), failure
    assert [] == list(bench.folder.glob(f"{name_of(BASE, text)}*"))


def test_what_failed_is_not_tried_again_for_a_while_unless_it_was_the_network(
    bench: Bench, tmp_path: Path
) -> None:
    broken = f"echo x >> {tmp_path}/tried; exit 1"
    failure = bench.outcome(broken)
    assert bench.outcome(broken) == failure
    assert "x\n" == (tmp_path / "tried").read_text()
    bench.now += environments.FAILED_KEEP_NS
    bench.outcome(broken)
    assert "x\nx\n" == (tmp_path / "tried").read_text()
    cut = f"echo x >> {tmp_path}/cut; echo ReadTimeoutError; exit 1"
    bench.outcome(cut)
    bench.outcome(cut)
    assert "x\nx\n" == (tmp_path / "cut").read_text()


def test_one_that_takes_too_long_is_given_up_with_all_that_it_started(
    made_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    bench = made_bench(build_timeout_s=2.0)
    failure = bench.outcome(f"sleep 60 & echo $! > {tmp_path}/pid; wait")
    assert failure is not None
    assert ("environment_failed", "it took longer than 2 s") == failure[:2]
    begun = _pid(tmp_path / "pid")  # on a busy host the time may be over before
    wait_until(lambda: not begun or not _lives(tmp_path / "pid"), "the end of what it started")


def test_what_an_installer_leaves_running_is_not_waited_for(bench: Bench, tmp_path: Path) -> None:
    assert bench.outcome(f"sleep 60 & echo $! > {tmp_path}/pid") is None
    wait_until(lambda: not _lives(tmp_path / "pid"), "the end of what it left")


def test_one_that_nobody_waits_for_any_more_is_not_made(bench: Bench, tmp_path: Path) -> None:
    bench.want(ONE, f"echo $$ > {tmp_path}/pid; sleep 60")
    bench.look()
    wait_until(lambda: _pid(tmp_path / "pid"), "its begin")
    bench.made.let_go(ONE)
    wait_until(lambda: not _lives(tmp_path / "pid"), "the end of the installer")
    assert {} == bench.made.builds


def test_it_ends_with_its_agent_and_half_of_it_is_never_used(bench: Bench, tmp_path: Path) -> None:
    text = f"test -e {tmp_path}/pid && exit 0; echo $$ > {tmp_path}/pid; sleep 60"
    bench.want(ONE, text)
    bench.look()
    wait_until(lambda: _pid(tmp_path / "pid"), "its begin")
    (build,) = bench.made.builds.values()
    os.close(build.lifeline)  # as the kernel does when an agent is killed
    wait_until(lambda: not _lives(tmp_path / "pid"), "the end of the installer")
    assert build.child is not None
    assert build.child.wait() < 0
    assert (bench.folder / name_of(BASE, text)).is_dir()
    with pytest.raises(NotOffered):
        bench.made.find(BASE, text)
    bench.made.builds.clear()
    build.child.stdout.close()  # type: ignore[union-attr]
    assert Bench(tmp_path).outcome(text) is None


def test_one_that_was_removed_as_soon_as_it_was_made_is_a_failure(bench: Bench) -> None:
    bench.want(ONE, ":")
    bench.look()
    (build,) = bench.made.builds.values()
    assert build.child is not None
    build.child.wait()
    shutil.rmtree(bench.folder / name_of(BASE, ":"))
    ((waiting, failure),) = bench.look()
    assert ([ONE], "it was made, and somebody removed it") == (waiting, failure and failure.message)


def test_where_none_can_be_made_it_is_said_and_nothing_stays_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(environments.subprocess, "Popen", refuse)
    open_before = sorted(Path("/proc/self/fd").iterdir())
    failure = bench.outcome(":")
    assert failure is not None
    assert "no environment can be made: Resource temporarily unavailable" == failure.message
    assert open_before == sorted(Path("/proc/self/fd").iterdir())


def test_a_long_output_is_kept_to_its_end(bench: Bench) -> None:
    line = "i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done"
    failure = bench.outcome(f"{line}; echo error: at last; exit 1")
    assert failure is not None
    assert "error: at last" == failure.message
    assert environment_build.TAIL_BYTES_MAX == len(failure.tail)


def complete(folder: Path, name: str, size: int, age_s: float) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / COMPLETE).write_text(json.dumps({"size_bytes": size}))
    used = time.time() - age_s
    os.utime(path / COMPLETE, (used, used))
    return path


def test_the_least_recently_used_go_first_and_none_that_is_in_use(tmp_path: Path) -> None:
    paths = [complete(tmp_path, f"{n}" * 8, 10, 1000 - n) for n in range(5)]
    late = complete(tmp_path, "9" * 8, 10, 1)
    half = tmp_path / ("a" * 8)
    half.mkdir()
    env = {"VIRTUAL_ENV": str(paths[0])}
    with subprocess.Popen(["sleep", "60"], env=env) as user:
        wait_until(lambda: environment_build.is_in_use(paths[0]), "its process")
        environment_build.make_room(tmp_path, 35, paths[1])
        user.kill()
    left = [paths[0], paths[1], late]
    assert sorted(left) == sorted(path for path in tmp_path.iterdir() if path.is_dir())


def test_one_that_somebody_makes_is_left_alone(tmp_path: Path) -> None:
    half = tmp_path / ("a" * 8)
    half.mkdir()
    lock = environment_build._try_lock(half)
    environment_build.make_room(tmp_path, 0, tmp_path / "keep")
    assert half.is_dir()
    os.close(lock)
    environment_build.make_room(tmp_path, 0, tmp_path / "keep")
    assert not half.exists()


def test_an_environment_is_named_by_interpreter_version_and_text() -> None:
    other = Interpreter(BASE.path, "4", BASE.prefix, is_venv=True, has_msgpack=True)
    assert 3 == len({name_of(BASE, "a"), name_of(BASE, "b"), name_of(other, "a")})


def test_an_installer_gets_mirrors_and_proxies_and_nothing_else_of_the_agents() -> None:
    agents = {"PIP_INDEX_URL": "i", "UV_INDEX_URL": "u", "https_proxy": "p", "HF_TOKEN": "secret"}
    found = installer_env({"PATH": "/bin"}, agents)
    assert {"PATH", "PIP_INDEX_URL", "UV_INDEX_URL", "https_proxy", "PIP_NO_INPUT",
            "PIP_DISABLE_PIP_VERSION_CHECK"} == set(found)  # fmt: skip


def _pid(path: Path) -> str:
    """Return what a script wrote of itself, nothing while it has not."""
    return path.read_text().strip() if path.exists() else ""


def _lives(pid_file: Path) -> bool:
    pid = _pid(pid_file)
    if not pid:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"
