"""How is a command run: its argv in a runner of its own, in a clean environment."""

from __future__ import annotations

import os
from pathlib import Path

from ...protocol import codec, ids
from ...protocol.messages import Outcome as Result
from ...protocol.spec import TaskSpec, with_entry
from ...worker import frames
from ...worker.frames import Finished, Host, Run
from .. import as_whom, failures, outputs
from ..secret_files import Stamp
from ..task import FENCED, FENCED_TEXT, Attempt, Ending
from .surroundings import Surroundings

NOT_FOUND_CODE = 127
NOT_STARTED_CODE = 126
_NOT_STARTED = {
    "executable_not_found": NOT_FOUND_CODE,
    "not_executable": NOT_STARTED_CODE,
    "cwd_missing": NOT_STARTED_CODE,
    "stdin_missing": NOT_STARTED_CODE,
    "spawn_failed": NOT_STARTED_CODE,
}

ARGUMENTS_CHARS_MAX = 1 << 20  # the kernel takes 2 MiB, a frame to a runner must hold it escaped


class TooLong(ValueError):  # noqa: N818 - says what the command is
    """A command that no kernel would take."""


class CommandExecutor:
    """Run commands."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def host(self, worker: str, attempt: Attempt | None, gpus: tuple[str, ...]) -> Host:
        raise NotImplementedError("a command runs in no worker")

    def stamp(self, worker: str, attempt: Attempt | None) -> tuple[Stamp, ...]:
        raise NotImplementedError("a command runs in no worker")

    def order(self, attempt: Attempt) -> Run:
        """Describe the command to its runner, which adds what only it knows."""
        spec = attempt.plan.spec
        around = self._surroundings
        settings, settings_of_node = around.settings.tasks, around.settings.node
        python = around.premises.interpreter(spec.python, spec.requirements)
        own = {**spec.env, **_names(attempt)}
        place = around.task_dir(*attempt.key) if attempt.plan.is_staged else None
        if place is not None and spec.project:
            paths = [str(place / "work"), own.get("PYTHONPATH", "")]
            own["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        argv = with_entry(spec.argv, _entry(attempt)) if spec.each else spec.argv
        size = sum(map(len, argv)) + sum(len(key) + len(own[key]) for key in own)
        if size > ARGUMENTS_CHARS_MAX:
            raise TooLong(f"arguments and environment have {size} characters: use a file")
        return Run(
            attempt.task,
            attempt.number,
            argv=argv,
            env=around.env(own, attempt.gpus, python, user=attempt.plan.user),
            cwd=spec.cwd or None,
            stdin_path=_stdin_path(spec, place),
            stdin_blob=spec.stdin or None,
            timeout_s=spec.timeout_ms / 1000,
            grace_s=spec.grace_ms / 1000,
            output_bytes_max=settings.output_bytes_max,
            silence_s=spec.silence_ms / 1000,
            secrets=around.premises.secrets.variables(spec.secrets),
            task_dir=str(place / "work") if place is not None else None,
            user=attempt.plan.user,
            helper=str(settings_of_node.run_as_socket) if attempt.plan.user else "",
        )

    def ending(self, answer: Finished | frames.Outcome, directory: Path) -> Ending:
        """Read how a command ended: its exit code decides."""
        assert isinstance(answer, Finished)
        outcome, code, message, exit_code = _judge(answer)
        if code == "exit_code":
            found = failures.verdict(answer, _stderr(answer, directory))
            code = found.code or code
            message = f"{message}: {found.evidence}" if found.evidence else message
        details: dict[str, object] = {}
        if code:
            details |= {"code": code, "message": message}
        if exit_code is not None:
            details["exit_code"] = exit_code
        if answer.returncode is not None and answer.returncode < 0:
            details["signal"] = -answer.returncode
        if answer.leftovers:
            details["leftovers"] = answer.leftovers
        if answer.user:
            details["user"] = answer.user
        edge = self._surroundings.edge_bytes
        details |= _printed(answer, directory, edge)
        sizes = (answer.out_bytes, answer.err_bytes)
        return Ending(
            answer.task,
            answer.attempt,
            outcome,
            details=codec.pack_document(details),
            run_us=answer.run_ns // 1000,
            code=code,
            printed=sum(sizes),
            is_cut=max(sizes) > 2 * edge,
        )


def _stdin_path(spec: TaskSpec, place: Path | None) -> str | None:
    if place is None or not spec.stdin_object:
        return None
    return str(place / "objects" / spec.stdin_object.hex())


def _names(attempt: Attempt) -> dict[str, str]:
    """Name the task to itself."""
    batch = int.from_bytes(attempt.batch, "big")
    task_id = ids.format_id(ids.from_bytes(attempt.task), batch)
    names = {"REMUDA_TASK_ID": task_id}
    if batch:
        names["REMUDA_BATCH"] = ids.format_id(batch)
    if attempt.plan.spec.array:
        names["REMUDA_ARRAY_INDEX"] = attempt.args.decode("ascii", "replace")
    if attempt.plan.spec.each:
        names["REMUDA_ENTRY"] = _entry(attempt)
    return names


def _entry(attempt: Attempt) -> str:
    return attempt.args.decode(errors="replace")


def _judge(answer: Finished) -> tuple[Result, str, str, int | None]:
    """Return outcome, code, message and exit code."""
    code = answer.returncode
    if answer.how == "exit" and code is not None:
        if code == 0:
            return Result.SUCCEEDED, "", "", 0
        if code < 0:
            return Result.FAILED, "exit_code", f"killed by signal {-code}", 128 - code
        return Result.FAILED, "exit_code", f"exit code {code}", code
    if answer.how in _NOT_STARTED:
        return Result.FAILED, "exit_code", answer.message, _NOT_STARTED[answer.how]
    if answer.how == "user_refused":
        return Result.FAILED, as_whom.CODE, answer.message, None
    if answer.how == "disk_full":
        return Result.FAILED, "disk_full", answer.message, None
    if answer.how == "timeout":
        said = f"it ran into its timeout after {answer.run_ns / 1e9:.3g} s"
        return Result.FAILED, "timeout", answer.message or said, None
    if answer.how == "silence":
        return Result.FAILED, "silence", answer.message, None
    if answer.how == FENCED:
        return Result.RETURNED, FENCED, FENCED_TEXT, None
    if answer.how in ("cancelled", "stopped"):
        return Result.KILLED, "cancelled", answer.message or "it was stopped", None
    return Result.FAILED, "node_lost", answer.message or "its runner was killed", None


def _stderr(answer: Finished, directory: Path) -> bytes:
    """Return the end of what it said on standard error."""
    if len(answer.err_inline) == answer.err_bytes:
        return answer.err_inline
    side = failures.STDERR_BYTES_MAX
    found = outputs.summary(directory, answer.task, answer.attempt, "err", side_bytes_max=side)
    return found.head + found.tail


def _printed(answer: Finished, directory: Path, edge_bytes: int) -> dict[str, object]:
    """Return first and last of what was printed."""
    found: dict[str, object] = {}
    streams = (
        ("out", answer.out_bytes, answer.out_inline),
        ("err", answer.err_bytes, answer.err_inline),
    )
    for stream, total, inline in streams:
        if total and len(inline) == total <= edge_bytes:
            found |= {stream: inline, f"{stream}_tail": b"", f"{stream}_bytes": total}
        elif total:
            found |= printed(directory, answer.task, answer.attempt, stream, edge_bytes)
            if inline and found[f"{stream}_bytes"] != total:  # the disk took no more of it
                found |= {f"{stream}_tail": inline, f"{stream}_bytes": total}
    return found


def printed(
    directory: Path, task: bytes, number: int, stream: str, edge_bytes: int
) -> dict[str, object]:
    """Read first and last of one stream from the runner's files."""
    summary = outputs.summary(directory, task, number, stream, side_bytes_max=edge_bytes)
    return {
        stream: summary.head,
        f"{stream}_tail": summary.tail,
        f"{stream}_bytes": summary.total,
    }
