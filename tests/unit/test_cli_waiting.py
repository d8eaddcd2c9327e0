"""Is it said what a task waits for, once in a pipe, and only where nothing else tells it?"""

import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from remuda.cli import screen, work
from remuda.cli.commands import Session
from remuda.cli.moving import moving
from remuda.cli.waiting import Waiting
from remuda.client import control
from remuda.client.depot import READ
from remuda.client.outcome import Standing

WAIT_S = 30.0

STAGING = {"state": "assigned", "waits_for": "its start", "doing": "files: 1GiB of 4GiB",
           "reason": "node-1 has taken it and prepares it: files: 1GiB of 4GiB"}  # fmt: skip
STORING = {"state": "running", "waits_for": "the store", "doing": "1MiB of 2MiB",
           "reason": "it ended on node-1, and its outputs are being stored: 1MiB"}  # fmt: skip


def told(capsys: Any, *found: dict[str, Any]) -> list[str]:
    waiting = Waiting(Session(), b"")
    for each in found:
        waiting.tell(each)
    captured = capsys.readouterr()
    assert "" == captured.out
    return str(captured.err).splitlines()


def test_moving_files_of_a_task_is_told_in_one_line_each_way(capsys) -> None:
    lines = told(capsys, STAGING, STAGING, {"state": "running", "reason": "it runs"}, STORING)
    assert [STAGING["reason"], STORING["reason"]] == lines


@pytest.mark.parametrize("state", ["queued", "running"])
def test_what_waits_or_runs_is_not_told_into_a_pipe(capsys, state: str) -> None:
    assert [] == told(capsys, {"state": state, "reason": "no room", "doing": ""})


def test_nothing_is_told_once_it_has_ended(capsys) -> None:
    waiting = Waiting(Session(quiet=True), b"")
    with waiting:
        pass
    waiting.tell(STAGING)
    assert "" == capsys.readouterr().err


def test_submit_that_waits_tells_that_files_of_its_task_are_moved(monkeypatch) -> None:
    said, told = list[str](), threading.Event()

    def remark(text: str) -> None:
        said.append(text)
        told.set()

    def wait_ended(*_: Any) -> list[Standing]:
        assert told.wait(WAIT_S), "nothing was told"
        return [Standing(b"", "succeeded")]

    monkeypatch.setattr("remuda.cli.waiting.HINT_AFTER_S", 0.0)
    monkeypatch.setattr(Session, "connect", lambda _self: nullcontext())
    monkeypatch.setattr(control, "explain", lambda *_: STAGING)
    monkeypatch.setattr(control, "wait_ended", wait_ended)
    monkeypatch.setattr(screen, "remark", remark)
    task: Any = SimpleNamespace(key=b"", id="T", number=1)
    assert 0 == work._wait_for_task(Session(), SimpleNamespace(link=None), task)  # type: ignore[arg-type]  # of the client the link alone
    assert [STAGING["reason"]] == said


@pytest.mark.parametrize("quiet", [False, True])
def test_hashing_that_takes_long_is_told_in_one_line(capsys, monkeypatch, quiet: bool) -> None:
    monkeypatch.setattr("remuda.cli.moving.LINE_AFTER_S", 0.0)
    depot: Any = SimpleNamespace(on_moved=None, on_said=None)
    with moving(Session(quiet=quiet), depot):
        for done in (1 << 30, 2 << 30, 4 << 30):
            depot.on_moved(READ, done, 4 << 30)
    expected = "" if quiet else "1GiB of 4GiB hashed so far\n"
    assert expected == capsys.readouterr().err
