"""Does a real agent pass limits on, keep its fences, and name the kind of a failure?"""

from __future__ import annotations

import time

import pytest

from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome

from ..fakes.node_driver import call_args, document, new_task, node
from ..fakes.runner_driver import living_with, wait_until

pytestmark = pytest.mark.cluster
FENCE_MS = 4_000  # a busy host starts the task within it

CODE = """
import errno, os, time

def wedged():
    time.sleep(1000)

def fill_the_disk():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

def too_much():
    return bytearray(1 << 62)
"""
BROKEN = "from os import no_such_name\n\ndef f():\n    pass\n"


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits")
    (folder / "lib").mkdir()
    (folder / "lib" / "project.py").write_text(CODE)
    (folder / "lib" / "broken.py").write_text(BROKEN)
    with node(folder, f'python_path = ["{folder / "lib"}"]\n') as (scheduler, _):
        yield scheduler


def ended(scheduler, **fields):
    task = new_task()
    args = [call_args()] if fields["kind"] == "function" else None
    scheduler.offer(document(**fields), task, args=args)
    return scheduler.result(task)


def shell(scheduler, line, **fields):
    return ended(scheduler, kind="command", argv=["sh", "-c", line], **fields)


def function(scheduler, target, **fields):
    return ended(scheduler, kind="function", target=target, **fields)


def test_a_silent_command_fails_with_its_code(scene):
    result = shell(scene, "echo begun; sleep 60", silence_ms=300, grace_ms=1000)
    assert (Outcome.FAILED, "silence", b"begun\n") == (
        result["outcome"], result["code"], result["out"],
    )  # fmt: skip
    assert "printed nothing and said no progress for 0.3 s" == result["message"]


@pytest.mark.parametrize(("limit", "code"), [("silence_ms", "silence"), ("timeout_ms", "timeout")])
def test_a_function_over_its_limit_shows_where_it_was(scene, limit, code):
    result = function(scene, "project:wedged", **{limit: 300})
    assert (Outcome.FAILED, code) == (result["outcome"], result["code"])
    assert "in wedged" in result["traceback"]


def test_words_on_standard_error_tell_what_a_command_lacked(scene):
    result = shell(scene, "echo 'RuntimeError: CUDA out of memory.' >&2; exit 3")
    assert ("gpu_out_of_memory", 3) == (result["code"], result["exit_code"])
    assert 'exit code 3: its standard error ends with "CUDA out of memory"' == result["message"]


def test_a_command_that_succeeds_may_say_what_it_likes(scene):
    result = shell(scene, "echo 'CUDA out of memory' >&2")
    assert (Outcome.SUCCEEDED, None) == (result["outcome"], result.get("code"))


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("project:fill_the_disk", "disk_full"),
        ("project:too_much", "out_of_memory"),
        ("broken:f", "code_missing"),
    ],
)
def test_an_exception_tells_what_a_function_lacked(scene, target, code):
    result = function(scene, target)
    assert (Outcome.FAILED, code) == (result["outcome"], result["code"])


def fenced(scheduler):
    """Offer a fenced task, and return it once it runs."""
    task = new_task()
    scheduler.desires = [(task, 1)]
    scheduler.offer(
        document(kind="command", argv=["sleep", "1000"], if_node_lost="fence", grace_ms=500), task
    )
    scheduler.wait_for(m.Started, task)
    return task


def test_a_fenced_task_lives_while_its_scheduler_is_heard_and_no_longer(tmp_path):
    with node(tmp_path, wait=False) as (scheduler, under_test):
        scheduler.fence_ms = FENCE_MS
        under_test.wait_until_in()
        task = fenced(scheduler)
        until = time.monotonic() + 2 * FENCE_MS / 1_000
        scheduler.wait(lambda: time.monotonic() > until)
        assert 1 == len(living_with(f"REMUDA_ATTEMPT={task.hex()}.1"))
        scheduler.desires = None
        result = scheduler.result(task)
    assert (Outcome.RETURNED, "fenced") == (result["outcome"], result["code"])


def test_a_fenced_task_ends_although_its_agent_was_killed_and_the_next_one_says_so(tmp_path):
    with node(tmp_path, wait=False) as (scheduler, under_test):
        scheduler.fence_ms = FENCE_MS
        under_test.wait_until_in()
        task = fenced(scheduler)
        under_test.kill()
        wait_until(lambda: not living_with(f"REMUDA_ATTEMPT={task.hex()}.1"), "the end of the task")
        scheduler.living = [(task, 1)]
        under_test.start()
        result = scheduler.result(task)
    assert (Outcome.RETURNED, "fenced") == (result["outcome"], result["code"])
