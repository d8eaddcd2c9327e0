"""Does a worker give each call a directory of its own, its files, and its results to the store?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.worker import frames, values
from remuda.worker.files import File, Row
from remuda.worker.frames import Call, Outcome

from ..fakes.runner_driver import Driver, driven

CODE = """
import os, pathlib
from remuda import File

def place():
    return os.getcwd(), os.environ["REMUDA_TASK_DIR"], sorted(os.listdir())

def write(name, text):
    pathlib.Path(name).parent.mkdir(exist_ok=True)
    pathlib.Path(name).write_text(text)
    return File(name)

def litter():
    pathlib.Path("litter").write_text("x")
    os.chdir("/")

def outside():
    return File("/etc/hostname", name="x")

def absent():
    return File("absent.png")

def upper(file, other=None):
    with open(file) as reader:
        text = reader.read().upper()
    pathlib.Path(file).write_text(text)
    return [file.name, os.fspath(file), other and os.fspath(other), File(file), File(file)]

def total(array):
    array += 1
    return float(array.sum())

def zeros(n):
    return {"it": b"0" * n}
"""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Driver]:
    (tmp_path / "tasks").mkdir()
    with driven(tmp_path) as driver:
        driver.host(CODE, tasks_dir=str(tmp_path / "tasks"))
        driver.wait(frames.Loaded)
        yield driver


class Prepared:
    """Lays objects out for one call, as the agent does, and reads what the worker left."""

    def __init__(self, runner: Driver, call: Call) -> None:
        self.runner = runner
        self.folder = runner.tmp_path / "tasks" / frames.attempt_key(call.task, call.attempt)
        self.call = call

    def with_args(self, *args: Any, **kwargs: Any) -> Prepared:
        (self.folder / "work").mkdir(parents=True)
        (self.folder / "objects").mkdir()
        parcel = values.pack_call(args, kwargs, self.put)
        for stored in parcel.stored:
            self.object(b"".join(stored.pieces))
        self.call = self.call._replace(args=parcel.body)
        return self

    def put(self, file: File) -> Row:
        blob = Path(file).read_bytes()
        return Row(file.name, self.object(blob), len(blob), "file")

    def object(self, blob: bytes) -> bytes:
        digest = hashlib.sha256(blob).digest()
        path = self.folder / "objects" / digest.hex()
        path.write_bytes(blob)
        path.chmod(0o400)
        return digest

    def run(self) -> Outcome:
        self.runner.send_calls(self.call)
        return self.runner.outcomes(self.call)[0]

    def rows(self) -> list[list[str]]:
        """Read what is to be stored; each file must be what is said of it."""
        rows: list[list[str]] = json.loads((self.folder / "returned.json").read_text())
        for _, path, _, digest in rows:
            assert digest == hashlib.sha256((self.folder / path).read_bytes()).hexdigest()
        return rows

    def value(self, digest: bytes, size: int) -> memoryview:
        blob = (self.folder / "value").read_bytes()
        assert (hashlib.sha256(blob).digest(), len(blob)) == (digest, size)
        return memoryview(blob)

    def file(self, row: Row) -> File:
        return File.received(row)


def prepared(runner: Driver, name: str, *args: Any) -> Prepared:
    return Prepared(runner, runner.call(name, *args))


def test_a_call_runs_in_an_empty_directory_that_it_knows(runner: Driver) -> None:
    cwd, told, inside = runner.value("place")
    assert (cwd, []) == (told, inside)
    assert str(runner.directory / "work") == cwd


def test_what_a_call_leaves_is_gone_for_the_next(runner: Driver) -> None:
    runner.value("litter")
    cwd, told, inside = runner.value("place")
    assert (cwd, []) == (told, inside)


def test_a_returned_file_waits_in_the_folder_of_the_attempt(runner: Driver) -> None:
    asked = prepared(runner, "write", "out/a.txt", "hello")
    outcome = asked.run()
    assert frames.STORED == outcome.status
    assert [["a.txt", f"{asked.folder}/work/out/a.txt", "file"]] == [
        row[:3] for row in asked.rows()
    ]
    found = values.decode(outcome.body, asked)
    assert ("a.txt", 5, hashlib.sha256(b"hello").hexdigest()) == (
        found.name,
        found.size,
        found.sha256,
    )
    assert [] == runner.value("place")[2]


@pytest.mark.parametrize(
    ("name", "said"), [("absent", "No such file"), ("outside", "not in the directory of its task")]
)
def test_a_file_that_cannot_come_home_fails_the_call(runner: Driver, name: str, said: str) -> None:
    call = runner.call(name)
    runner.send_calls(call)
    status, failure = runner.failure(call)
    assert (frames.FAILED, "output_missing") == (status, failure.code)
    assert said in failure.message


def test_a_file_of_the_arguments_is_the_tasks_own_copy(runner: Driver, tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "in.txt").write_text(place)
    asked = prepared(runner, "upper").with_args(
        File(tmp_path / "one/in.txt"), other=File(tmp_path / "two/in.txt")
    )
    outcome = asked.run()
    assert frames.STORED == outcome.status, outcome.body
    name, path, other, first, second = values.decode(outcome.body, asked)
    work = str(asked.folder / "work")
    assert ("in.txt", f"{work}/in.txt", f"{work}/2/in.txt") == (name, path, other)
    assert first.sha256 == second.sha256 == hashlib.sha256(b"ONE").hexdigest()
    assert [["in.txt", f"{work}/in.txt", "file"]] == [row[:3] for row in asked.rows()]


def test_a_large_array_is_mapped_and_may_be_written_to(runner: Driver) -> None:
    import numpy as np

    asked = prepared(runner, "total").with_args(np.zeros(200_000))
    (object_,) = (asked.folder / "objects").iterdir()
    before = object_.read_bytes()
    assert 200_000.0 == values.decode(asked.run().body)
    assert before == object_.read_bytes()


def test_a_large_result_waits_as_an_object(runner: Driver) -> None:
    asked = prepared(runner, "zeros", 70_000)
    outcome = asked.run()
    assert frames.STORED == outcome.status
    assert [["", f"{asked.folder}/value", "file"]] == [row[:3] for row in asked.rows()]
    assert {"it": b"0" * 70_000} == values.decode(outcome.body, asked)


def test_an_argument_that_was_not_brought_fails_its_call_alone(runner: Driver) -> None:
    asked = prepared(runner, "total").with_args(b"x" * 70_000)
    for path in (asked.folder / "objects").iterdir():
        path.unlink()
    assert b"args_not_decodable" in asked.run().body
    assert [] == runner.value("place")[2]
