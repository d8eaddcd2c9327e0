"""What became of a command that ended, with all that it printed?"""

from __future__ import annotations

from ..protocol.errors import TaskFailed
from . import output
from .outcome import CompletedTask, completed, output_cut
from .task import Task

RUN_OUTPUT_BYTES_MAX = 64 * 1024 * 1024
ITS_OWN_CODES = frozenset(
    {"exit_code", "signal", "network", "disk_full", "out_of_memory", "gpu_out_of_memory"}
)


def completed_run(task: Task, *, check: bool) -> CompletedTask:
    """Wait for a command and return what became of it; raises as `Submitter.run` does."""
    error = task.exception()
    own = isinstance(error, TaskFailed) and error.task_code in ITS_OWN_CODES
    if error is not None and (check or not own):
        raise error
    return with_whole_output(task)


def with_whole_output(task: Task) -> CompletedTask:
    """Describe the end of a command, and fetch what did not travel with it."""
    done = completed(task.standing, task.id)
    detail = task.standing.detail
    texts = {"out": done.stdout, "err": done.stderr}
    for stream in texts:
        cut = output_cut(detail, stream)
        if cut and int(detail[f"{stream}_bytes"]) <= RUN_OUTPUT_BYTES_MAX:
            pieces = output.follow(task.connection, task.key, streams=(stream,))
            texts[stream] = "".join(output.as_text(pieces))
    return CompletedTask(task.id, done.returncode, texts["out"], texts["err"])
