"""A real runner under a test: spawned, attached, spoken to, and proven gone at the end."""

from __future__ import annotations

import os
import secrets
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from remuda.node import link, recovery, runtime
from remuda.worker import frames, values

DEADLINE_S = 20.0
ENV = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
M = TypeVar("M")


def wait_until(condition: Callable[[], Any], what: str = "condition") -> Any:
    """Wait for a true value and return it."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"{what} did not come about in {DEADLINE_S} s")


class Driver:
    """One runner, seen from an agent."""

    def __init__(self, tmp_path: Path, *, idle_s: float = 60.0, **spawn: Any) -> None:
        self.tmp_path = tmp_path
        self.runners = tmp_path / "runners"
        self.runtime = runtime.install(tmp_path / "runtime")
        self.directory = link.spawn(self.runners, self.runtime, idle_s=idle_s, **spawn)
        self.seen: list[Any] = []
        self.seq = 0
        self.hello: frames.Hello
        self.link: link.Link
        self.attach()

    def attach(self) -> frames.Hello:
        """Connect, as a new agent would, and return the Hello."""
        self.seen.clear()
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                self.link = link.Link.attach(self.directory)
                break
            except link.LinkNotReady:
                assert time.monotonic() < deadline, log_of(self)
                time.sleep(0.002)
        self.hello = self.wait(frames.Hello)
        return self.hello

    def wait(self, kind: type[M], where: Callable[[M], bool] = lambda _: True) -> M:
        """Return the next message of a kind, and forget it."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            for at, message in enumerate(self.seen):
                if isinstance(message, kind) and where(message):
                    del self.seen[at]
                    return message
            assert not self.link.closed, f"{self.link.closed}; {log_of(self)}"
            select.select([self.link], [self.link] if self.link.want_write else [], [], 0.1)
            self.link.on_writable()
            self.seen += self.link.on_readable()
        raise AssertionError(f"no {kind.__name__}: {self.seen}; {log_of(self)}")

    def start(self, *argv: str, **order: Any) -> frames.Run:
        """Order a command; a shell line when it is one string."""
        words = list(argv) if len(argv) > 1 else ["sh", "-c", argv[0]]
        order.setdefault("env", ENV)
        run = frames.Run(secrets.token_bytes(16), 1, words, **order)
        self.link.send(run)
        return run

    def finished(self, run: frames.Run) -> frames.Finished:
        return self.wait(frames.Finished, lambda message: message.task == run.task)

    def run(self, *argv: str, **order: Any) -> frames.Finished:
        return self.finished(self.start(*argv, **order))

    def folder(self, task: bytes) -> Path:
        return self.directory / "a" / frames.attempt_key(task, 1)

    def host(self, code: str = "", **order: Any) -> None:
        """Host a worker whose module `code_under_test` holds `code`."""
        place = self.tmp_path / "code"
        place.mkdir(exist_ok=True)
        (place / "code_under_test.py").write_text(code)
        order.setdefault("python", sys.executable)
        order.setdefault("env", ENV)
        order.setdefault("grace_s", 1.0)
        self.link.send(frames.Host("worker-1", sys_path=[str(place)], **order))

    def call(self, name: str, *args: Any, timeout_ms: int = 0, **kwargs: Any) -> frames.Call:
        target = name if ":" in name or not name else f"code_under_test:{name}"
        blob = values.encode_call(args, kwargs)
        return frames.Call(secrets.token_bytes(16), 1, target, blob, timeout_ms)

    def send_calls(self, *calls: frames.Call) -> None:
        self.seq += 1
        self.link.send(frames.Calls(self.seq, list(calls)))

    def outcomes(self, *calls: frames.Call) -> list[frames.Outcome]:
        """Wait for the outcome of each call, in the order of the calls."""
        found: dict[bytes, frames.Outcome] = {}
        while not all(call.task in found for call in calls):
            for outcome in self.wait(frames.Results).outcomes:
                # An answer may be repeated, but never differ.
                assert outcome == found.setdefault(outcome.task, outcome)
        return [found[call.task] for call in calls]

    def value(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Run one call and return its decoded value."""
        call = self.call(name, *args, **kwargs)
        self.send_calls(call)
        (outcome,) = self.outcomes(call)
        assert frames.OK == outcome.status, outcome.body
        return values.decode(outcome.body)

    def failure(self, call: frames.Call) -> tuple[int, frames.Failure]:
        (outcome,) = self.outcomes(call)
        return outcome.status, frames.unpack_failure(outcome.body)

    def kill_runner(self) -> None:
        """Kill the runner alone, as the OOM killer would."""
        os.kill(self.hello.pid, signal.SIGKILL)
        wait_until(lambda: not link.is_alive(self.directory), "the runner's death")

    def processes(self) -> list[int]:
        """Return the living processes that carry this runner's mark."""
        return living_with(f"REMUDA_RUNNER={self.directory.name}")


def log_of(driver: Driver) -> str:
    """Return what the runner wrote on its standard error."""
    path = driver.directory / "runner.log"
    return path.read_text() if path.exists() else "no log"


def living_with(mark: str) -> list[int]:
    """Return the processes, zombies not counted, whose environment holds exactly this entry."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environ = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if mark.encode() in environ.split(b"\0"):
            found.append(int(entry.name))
    return found


@contextmanager
def driven(tmp_path: Path, **spawn: Any) -> Iterator[Driver]:
    """Run a test against a runner; afterwards nothing of it may live."""
    driver = Driver(tmp_path, **spawn)
    try:
        yield driver
    finally:
        driver.link.close()
        if link.is_alive(driver.directory):
            driver.kill_runner()
        recovery.recover(driver.directory)
        link.reap()
        assert [] == driver.processes()
