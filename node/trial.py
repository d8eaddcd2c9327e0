"""How is a GPU tried with a command of the operator's: alone on it, within a time?"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

OUTPUT_SHOWN_BYTES = 300
KILL_AFTER_S = 5
CLOSE_WAIT_S = 1.0


@dataclass(slots=True)
class Trial:
    """At most one command at a time; nothing here waits for it."""

    command: str
    timeout_s: float
    uuid: str = ""
    _process: subprocess.Popen[bytes] | None = None
    _output: IO[bytes] | None = None
    _until_ns: int = 0
    _env: dict[str, str] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def deadline(self) -> int | None:
        """Say until when the command may run."""
        return self._until_ns if self.is_running else None

    def start(self, uuid: str, env: Mapping[str, str], now: int) -> str:
        """Start the command for one GPU; return why it could not be started, or nothing.

        `timeout` ends it also where this agent is killed meanwhile.
        """
        limit = ["timeout", f"--kill-after={KILL_AFTER_S}", str(self.timeout_s)]
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - read when it has ended
        try:
            self._process = subprocess.Popen(
                [*limit, "/bin/sh", "-c", self.command],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._output.close()
            return f"the trial could not be started: {error.strerror}"
        self.uuid = uuid
        self._until_ns = now + int((self.timeout_s + 2 * KILL_AFTER_S) * 1e9)
        return ""

    def result(self, now: int) -> str | None:
        """Return what came of the command: nothing when the GPU passed; None while it runs."""
        process, output = self._process, self._output
        if process is None or output is None:
            return None
        code = process.poll()
        if code is None:
            if now < self._until_ns:
                return None
            self.close()
            return "the trial did not end, and could not be ended"
        output.seek(max(0, output.seek(0, os.SEEK_END) - OUTPUT_SHOWN_BYTES))
        said = " ".join(output.read().decode(errors="replace").split())
        output.close()
        self._process = self._output = None
        if code == 0:
            return ""
        how = "timed out" if code == 124 else f"ended with {code}"  # what `timeout` says
        return f"the trial {how}" + (f": {said}" if said else "")

    def close(self) -> None:
        """End the command that runs, if one does."""
        process, output = self._process, self._output
        self._process = self._output = None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the driver
                process.wait(CLOSE_WAIT_S)
        if output is not None:
            output.close()
