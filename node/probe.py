"""How does an agent read NVML without ever waiting for it: a child process with a deadline.

probe = Probe()
probe.start(mono_ns)           # once; then poll probe.fileno() for reading
probe.request(mono_ns)         # on a period: asks, and replaces a child that hangs
reading = probe.on_readable()  # when the descriptor is readable; None: nothing whole yet
probe.age_s(mono_ns)           # how old the last good reading is
"""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from .gpu import Reading, ReadingError, reading_from_plain

CHILD = Path(__file__).with_name("nvml_child.py")
SCRIPTED_VARIABLE = "REMUDA_NVML"  # a Python file that plays the part of pynvml

DEADLINE_S = 10.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024
READ_BYTES = 64 * 1024
# A child in the D state cannot be killed. So many may be left behind before no new one is tried.
STUCK_CHILDREN_MAX = 3
CLOSE_WAIT_S = 1.0

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Probe:
    """Keep one child that reads NVML; nothing here ever blocks on it."""

    def __init__(
        self,
        scripted: Path | None = None,
        deadline_s: float = DEADLINE_S,
        python: str = sys.executable,
    ) -> None:
        chosen = scripted or os.environ.get(SCRIPTED_VARIABLE) or None
        self._argv = [python, "-I", str(CHILD), *([str(chosen)] if chosen else [])]
        self.deadline_ns = int(deadline_s * NS_PER_S)
        self._child: subprocess.Popen[bytes] | None = None
        self._stuck: list[subprocess.Popen[bytes]] = []
        self._epoll = select.epoll()  # one descriptor for callers, whichever child is current
        self._buffer = bytearray()
        self._asked_ns: int | None = None
        self._answered_ns: int | None = None
        self.last: Reading | None = None
        self.failures = 0
        self.last_failure = ""

    def start(self, mono_ns: int) -> None:
        """Start the child and ask for the first reading."""
        self.request(mono_ns)

    def fileno(self) -> int:
        """Return the one descriptor to poll for reading, the same over the probe's life."""
        return self._epoll.fileno()

    def request(self, mono_ns: int) -> bool:
        """Ask for a reading unless one is still expected; say whether it was asked.

        A child that did not answer within its deadline is killed and replaced here.
        """
        self._reap_stuck()
        if self._asked_ns is not None:
            if mono_ns - self._asked_ns < self.deadline_ns:
                return False
            self._fail(f"no answer within {self.deadline_ns / NS_PER_S:g} s")
        if self._child is None and not self._spawn():
            return False
        return self._ask(mono_ns)

    def on_readable(self) -> Reading | None:
        """Take in what the child wrote; return a whole good reading or None."""
        child = self._child
        if child is None or child.stdout is None:
            return None
        try:
            chunk = os.read(child.stdout.fileno(), READ_BYTES)
        except BlockingIOError:
            return None
        if not chunk:
            self._fail("the probe's child ended")
            return None
        self._buffer += chunk
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline and len(self._buffer) <= ANSWER_BYTES_MAX:
            return None
        if not newline or rest or self._asked_ns is None:
            self._fail("the probe's child wrote more than one answer")
            return None
        return self._take(bytes(line))

    @property
    def asked_ns(self) -> int:
        """Return when the last good reading was asked for; 0 before any."""
        return self._answered_ns or 0

    def age_s(self, mono_ns: int) -> float:
        """Return the seconds since the last good reading was asked for; infinite before any."""
        if self._answered_ns is None:
            return math.inf
        return (mono_ns - self._answered_ns) / NS_PER_S

    def overdue_ns(self, mono_ns: int) -> int:
        """Say until when a child that was asked may answer; now, where none is."""
        return mono_ns if self._asked_ns is None else self._asked_ns + self.deadline_ns

    def close(self) -> None:
        """Kill the child and give the descriptors back."""
        self._drop()
        self._epoll.close()
        for child in self._stuck:
            try:
                child.wait(CLOSE_WAIT_S)
            except subprocess.TimeoutExpired:
                continue  # it hangs in the driver: only a reboot ends it

    def _spawn(self) -> bool:
        if len(self._stuck) >= STUCK_CHILDREN_MAX:
            self.last_failure = f"{len(self._stuck)} probes hang in the driver; none is started"
            return False
        try:
            child = subprocess.Popen(
                self._argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the agent's terminal is not for the child
                bufsize=0,
            )
        except OSError as error:
            self.failures += 1
            self.last_failure = f"the probe's child could not be started: {error}"
            return False
        assert child.stdin is not None
        assert child.stdout is not None
        os.set_blocking(child.stdin.fileno(), False)
        os.set_blocking(child.stdout.fileno(), False)
        self._epoll.register(child.stdout.fileno(), select.EPOLLIN)
        self._child = child
        return True

    def _ask(self, mono_ns: int) -> bool:
        assert self._child is not None
        assert self._child.stdin is not None
        self._asked_ns = mono_ns
        try:
            self._child.stdin.write(b"read\n")
        except (BrokenPipeError, BlockingIOError) as error:
            self._fail(f"the probe's child could not be asked: {error}")
            return False
        return True

    def _take(self, line: bytes) -> Reading | None:
        try:
            reading = reading_from_plain(json.loads(line))
        except (ReadingError, ValueError, RecursionError) as error:
            self._fail(f"the probe's child wrote no reading: {error}")
            return None
        self._answered_ns, self._asked_ns = self._asked_ns, None
        self._buffer.clear()
        self.last = reading
        return reading

    def _fail(self, why: str) -> None:
        self.failures += 1
        self.last_failure = why
        self._drop()

    def _drop(self) -> None:
        """Kill the child and forget it, without waiting for its death."""
        child, self._child = self._child, None
        self._buffer.clear()
        self._asked_ns = None
        if child is None:
            return
        assert child.stdin is not None
        assert child.stdout is not None
        self._epoll.unregister(child.stdout.fileno())
        child.kill()
        child.stdin.close()
        child.stdout.close()
        self._stuck.append(child)
        self._reap_stuck()

    def _reap_stuck(self) -> None:
        self._stuck = [child for child in self._stuck if child.poll() is None]


def read_once(scripted: Path | None = None, deadline_s: float = DEADLINE_S) -> Reading:
    """Return one reading, waiting at most the deadline: for `--probe` and an agent's start."""
    probe = Probe(scripted, deadline_s)
    waiting = select.poll()
    waiting.register(probe.fileno(), select.POLLIN)
    end_ns = time.monotonic_ns() + int(deadline_s * NS_PER_S)
    try:
        probe.start(time.monotonic_ns())
        while probe.failures == 0 and (left_ns := end_ns - time.monotonic_ns()) > 0:
            waiting.poll(left_ns / NS_PER_MS)
            if (reading := probe.on_readable()) is not None:
                return reading
        return Reading(reason=probe.last_failure or f"NVML did not answer within {deadline_s:g} s")
    finally:
        probe.close()
