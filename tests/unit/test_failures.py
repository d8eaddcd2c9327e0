"""Is the kind of a failure told only where exception, text or kernel really show it?"""

from __future__ import annotations

import errno
import os
import socket
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from remuda.node import failures as of_commands
from remuda.node.runner.memory_kills import LOOK_EVERY_S, MemoryKills
from remuda.protocol.failures import CLASS_OF
from remuda.worker import failures
from remuda.worker.frames import Finished


def library_error(name: str, *bases: type, text: str = "") -> BaseException:
    """Make an exception as a library has it that is not installed here."""
    module, _, own = name.rpartition(".")
    kind = type(own, bases or (Exception,), {"__module__": module})
    error: BaseException = kind(text)
    return error


def raised_from(error: BaseException, cause: BaseException | None) -> BaseException:
    error.__cause__ = cause
    return error


OOM = library_error("torch.OutOfMemoryError", RuntimeError, text="tried to allocate 2 GiB")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (library_error("numpy.core._exceptions._ArrayMemoryError", MemoryError), "out_of_memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), "out_of_memory"),
        (OOM, "gpu_out_of_memory"),
        (library_error("torch.cuda.OutOfMemoryError", RuntimeError), "gpu_out_of_memory"),
        (library_error("cupy.cuda.memory.OutOfMemoryError"), "gpu_out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 1 GiB"), "gpu_out_of_memory"),
        (RuntimeError("cudaErrorMemoryAllocation: out of memory"), "gpu_out_of_memory"),
        (
            library_error("jaxlib.xla_extension.XlaRuntimeError",
                          text="RESOURCE_EXHAUSTED: Out of memory allocating 4 bytes"),
            "gpu_out_of_memory",
        ),
        (raised_from(ValueError("training failed"), OOM), "gpu_out_of_memory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk_full"),
        (RuntimeError("write: No space left on device"), "disk_full"),
        (ConnectionRefusedError(), "network"),
        (socket.gaierror(-3, "Temporary failure in name resolution"), "network"),
        (TimeoutError("timed out"), "network"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "network"),
        (urllib.error.URLError("unreachable"), "network"),
        (library_error("requests.exceptions.ConnectTimeout"), "network"),
        (library_error("httpx.ConnectError"), "network"),
        (library_error("urllib3.exceptions.MaxRetryError"), "network"),
    ],
)  # fmt: skip
def test_an_exception_that_shows_its_kind_is_told_by_it(error: BaseException, code: str) -> None:
    assert code == failures.code_of(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        TimeoutError("the job did not end in time"),
        TimeoutError(),
        BrokenPipeError(),
        FileNotFoundError(errno.ENOENT, "No such file"),
        urllib.error.HTTPError("http://x", 404, "Not Found", None, None),  # type: ignore[arg-type]
        library_error("mine.OutOfMemoryError"),
        library_error("requests.exceptions.SSLError",
                      type(library_error("requests.exceptions.ConnectionError"))),
        RuntimeError("ran out of memory of how it began"),
    ],
    ids=repr,
)  # fmt: skip
def test_an_exception_that_shows_no_kind_is_the_tasks_own(error: BaseException) -> None:
    assert "exception" == failures.code_of(error)


def test_what_was_handled_before_another_error_does_not_count() -> None:
    error = KeyError("unrelated")
    error.__context__ = MemoryError()
    assert "exception" == failures.code_of(error)


def test_an_exception_without_a_text_harms_nobody() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "exception" == failures.code_of(MuteError())


def test_a_circle_of_causes_comes_to_an_end() -> None:
    one, two = ValueError(), ValueError()
    one.__cause__, two.__cause__ = two, one
    assert "exception" == failures.code_of(one)


TRACE = 'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\n    run()\n'
CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("tensorflow: CUDA_ERROR_OUT_OF_MEMORY: out of memory\n", "gpu_out_of_memory"),
        (
            "OOM when allocating tensor on device:GPU:0 by allocator GPU_0_bfc\n",
            "gpu_out_of_memory",
        ),
        ("OOM when allocating tensor on device:CPU:0 by allocator cpu\n", ""),
        ("ggml: allocating 9866 MiB: cudaMalloc failed: out of memory\n", "gpu_out_of_memory"),
        ("onnxruntime::CudaCall CUDA failure 2: out of memory\n", "gpu_out_of_memory"),
        ("cudnn handle: CUDNN_STATUS_ALLOC_FAILED\n", "gpu_out_of_memory"),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n", "out_of_memory"),
        ("sh: fork: Cannot allocate memory\n", "out_of_memory"),
        ("cp: error writing 'x': No space left on device\n", "disk_full"),
        (TRACE + "MemoryError\n", "out_of_memory"),
        (TRACE + "torch.OutOfMemoryError: CUDA out of memory. Tried\n", "gpu_out_of_memory"),
        (TRACE + "RuntimeError: CUDA error: out of memory\n", "gpu_out_of_memory"),
        (TRACE + "requests.exceptions.ConnectionError: refused\n", "network"),
        (TRACE + "ConnectionResetError: [Errno 104]\nwrapper: it failed\n", "network"),
        (TRACE + "MemoryError\n" + CAUSE + TRACE + "ValueError: no\n", "out_of_memory"),
        ("CUDA out of memory\nretrying\n" + TRACE + "KeyError: 3\n", ""),
        (TRACE + "MemoryError\n" + CONTEXT + TRACE + "KeyError: 3\n", ""),
        ("disk: No space left on device\nCUDA out of memory\n", "gpu_out_of_memory"),
        ("usage: train [--memory N]\n", ""),
        ("", ""),
    ],
)
def test_the_last_thing_that_a_program_says_tells_its_kind(text: str, code: str) -> None:
    assert code == failures.code_in(text)[0]


def test_only_the_end_of_a_long_text_counts() -> None:
    text = "CUDA out of memory\n" + "x" * failures.TEXT_CHARS_MAX
    assert ("", "") == failures.code_in(text)


def test_every_code_has_a_class_of_its_own() -> None:
    codes = {*failures.TEXTS, failures.NETWORK}
    assert codes <= {code for code, kind in CLASS_OF.items() if kind.value != "task"}


def finished(returncode: int, **fields: Any) -> Finished:
    return Finished(b"t" * 16, 1, "exit", returncode, **fields)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (finished(-9, memory_evidence="cgroup"), "out_of_memory"),
        (finished(1, memory_evidence="cgroup"), "out_of_memory"),
        (finished(-9, memory_evidence="host"), "out_of_memory"),
        (finished(137, memory_evidence="host"), "out_of_memory"),
        (finished(1, memory_evidence="host"), ""),
        (finished(-9), ""),
        (finished(-11, memory_evidence="host"), ""),
    ],
)
def test_a_kill_for_memory_needs_the_kernels_word_and_a_fitting_exit(
    answer: Finished, code: str
) -> None:
    assert code == of_commands.verdict(answer, b"").code


def test_a_verdict_names_its_evidence() -> None:
    found = of_commands.verdict(finished(1), b"RuntimeError: CUDA out of memory.")
    assert 'its standard error ends with "CUDA out of memory"' == found.evidence


def counts(path: Path, number: int) -> Path:
    path.write_text(f"oom 9\noom_kill {number}\noom_kill_disable 0\n")
    return path


def test_a_kill_in_our_own_group_is_told_from_one_on_the_host(tmp_path: Path) -> None:
    own, host = counts(tmp_path / "memory.events", 2), counts(tmp_path / "vmstat", 5)
    kills = MemoryKills(str(tmp_path), host)
    assert "" == kills.evidence()
    counts(host, 6)
    assert "host" == kills.evidence()
    counts(own, 3)
    assert "cgroup" == kills.evidence()


def test_a_kill_on_the_host_long_ago_is_no_evidence(tmp_path: Path) -> None:
    host = counts(tmp_path / "vmstat", 5)
    kills = MemoryKills("", host)
    now = time.monotonic()
    kills.on_time(now)
    counts(host, 6)
    kills.on_time(now + LOOK_EVERY_S)
    assert "host" == kills.evidence()  # whoever was killed may still be on the way out
    kills.on_time(now + 2 * LOOK_EVERY_S)
    assert "" == kills.evidence()


def test_a_kernel_that_does_not_count_shows_nothing(tmp_path: Path) -> None:
    assert "" == MemoryKills(str(tmp_path), tmp_path / "none").evidence()
