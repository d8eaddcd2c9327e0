"""Does a command learn which member of a batch it is?"""

from pathlib import Path

import pytest

from remuda.config.settings import Settings
from remuda.node.executors.command import CommandExecutor, TooLong
from remuda.node.executors.surroundings import Surroundings
from remuda.node.slots import Charge
from remuda.node.task import Attempt, plan_of
from remuda.protocol import ids
from remuda.protocol.spec import TaskSpec

BATCH = ids.new_id(1_700_000_000_000, 7)


def order(tmp_path: Path, args: bytes, **fields: object):
    spec = TaskSpec("command", **fields)
    task = ids.to_bytes(ids.member(BATCH, 4))
    attempt = Attempt(
        task, 1, b"", plan_of(spec, "ann"), Charge(0, 0), batch=ids.to_bytes(BATCH), args=args
    )
    return CommandExecutor(Surroundings("gpu-1", Settings(), tmp_path)).order(attempt)


def test_an_entry_is_put_into_the_words_and_the_environment(tmp_path):
    run = order(tmp_path, "a \u00e9".encode(), argv=["cp", "{}", "x/{}"], each=True)
    assert ["cp", "a \u00e9", "x/a \u00e9"] == run.argv
    assert "a \u00e9" == run.env["REMUDA_ENTRY"]
    assert f"{ids.format_id(BATCH)}.4" == run.env["REMUDA_TASK_ID"]


def test_braces_are_left_alone_where_no_entry_was_given(tmp_path):
    run = order(tmp_path, b"3", argv=["echo", "{}"], array=True)
    assert (["echo", "{}"], "3") == (run.argv, run.env["REMUDA_ARRAY_INDEX"])
    assert "REMUDA_ENTRY" not in run.env


def test_a_command_that_grows_too_long_by_its_entry_is_refused(tmp_path):
    with pytest.raises(TooLong, match="use a file"):
        order(tmp_path, b"x" * 60_000, argv=["echo", *["{}"] * 20], each=True)
