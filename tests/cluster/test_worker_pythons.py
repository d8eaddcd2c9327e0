"""Does the worker's side run in every Python that it promises: on each that this host has?"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.worker import frames

from ..fakes import pythons
from ..fakes.runner_driver import Driver, driven

CODE = """
import dataclasses, pathlib, sys, time
from remuda import File, current, register_type

@register_type
@dataclasses.dataclass
class Point:
    x: int
    y: int

def version():
    return sys.version_info[:2], sys.modules["msgpack"].__file__

def echo(value):
    return value

def point(x, y):
    return Point(x, y)

def who():
    current.progress(0.5, "half")
    return current.attempt, current.cancelled

def talk():
    print("out")
    print("err", file=sys.stderr)

def fail():
    raise ValueError("broken")

async def later():
    return "later"

def write(text):
    pathlib.Path("out.txt").write_text(text)
    return File("out.txt"), b"0" * 70_000

def nap():
    time.sleep(60)

class Handler:
    def load(self):
        self.word = "loaded"

    def __call__(self, text):
        return self.word + " " + text
"""
VALUES = [
    None, True, 2**80, -1.5, "text", b"bytes", (1, (2,)), {1, 2}, frozenset([3]), {1: {"a": []}},
    dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC), dt.date(2026, 1, 2), dt.timedelta(1, 2),
    Path("/a/b"), complex(1, 2),
]  # fmt: skip


@pytest.fixture(scope="module", params=pythons.OTHERS)
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = pythons.find(request.param)
    if found is None:
        pytest.skip(f"no Python {request.param} on this host")
    return pythons.with_msgpack_alone(tmp_path_factory.mktemp("venv"), found)


@pytest.fixture
def runner(tmp_path: Path, python: Path) -> Iterator[Driver]:
    with driven(tmp_path) as driver:
        driver.host(CODE, python=str(python))
        driver.wait(frames.Loaded)
        yield driver


def test_a_function_runs_there_with_all_that_belongs_to_it(runner: Driver, python: Path) -> None:
    version, msgpack = runner.value("version")
    assert Path(msgpack).is_relative_to(python.parents[1])
    assert version != sys.version_info[:2]
    assert [runner.value("echo", value) for value in VALUES] == VALUES
    point = runner.value("point", 1, 2)
    assert (1, 2) == (point.x, point.y)
    assert (1, False) == runner.value("who")
    assert "later" == runner.value("later")


def test_failures_output_and_timeouts_are_told_from_there(runner: Driver) -> None:
    call = runner.call("fail")
    runner.send_calls(call)
    status, failure = runner.failure(call)
    assert (frames.FAILED, "exception", "ValueError", "broken") == (status, *failure[:3])
    assert "in fail" in failure.traceback
    call = runner.call("talk")
    runner.send_calls(call)
    (outcome,) = runner.outcomes(call)
    assert (4, 4) == (outcome.out_bytes, outcome.err_bytes)
    call = runner.call("nap", timeout_ms=200)
    runner.send_calls(call)
    status, failure = runner.failure(call)
    assert (frames.FAILED, "timeout") == (status, failure.code)
    assert "in nap" in failure.traceback


def test_files_and_large_results_wait_there_for_the_store(tmp_path: Path, python: Path) -> None:
    (tmp_path / "tasks").mkdir()
    with driven(tmp_path) as driver:
        driver.host(CODE, python=str(python), tasks_dir=str(tmp_path / "tasks"))
        driver.wait(frames.Loaded)
        call = driver.call("write", "hello")
        driver.send_calls(call)
        (outcome,) = driver.outcomes(call)
        assert frames.STORED == outcome.status, outcome.body
        folder = tmp_path / "tasks" / frames.attempt_key(call.task, call.attempt)
        rows = json.loads((folder / "returned.json").read_text())
        assert ["out.txt", ""] == sorted((row[0] for row in rows), reverse=True)
        assert "hello" == (folder / "work" / "out.txt").read_text()
        assert 70_000 < (folder / "value").stat().st_size


def test_a_handler_is_loaded_there(tmp_path: Path, python: Path) -> None:
    with driven(tmp_path) as driver:
        driver.host(CODE, python=str(python), handler="code_under_test:Handler")
        driver.wait(frames.Loaded)
        assert "loaded photo" == driver.value("", "photo")
