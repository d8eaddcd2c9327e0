"""How does an agent have files moved without ever waiting for it: a mover with a deadline.

The mover is a process of its own, started when it is first needed, started anew when it dies or
falls silent, and gone when the agent is. Whoever told it something that has no answer yet tells it
again: `lives` counts how often it was started.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from ..config.logs import get_logger
from .mover import words
from .mover.words import Setup, Word, WordError

READ_BYTES = 1 << 18
BACKLOG_BYTES_MAX = 64 << 20
PING_NS = 5_000_000_000
SILENCE_NS = 60_000_000_000
AGAIN_NS = 1_000_000_000
CLOSE_WAIT_S = 1.0
ARGV = [sys.executable, "-P", "-m", "remuda.node.mover"]


@dataclass(slots=True)
class Porter:
    """Keep one mover; nothing here ever blocks on it."""

    setup: Callable[[], Setup]
    argv: list[str] = field(default_factory=lambda: list(ARGV))
    lives: int = 0
    silence_ns: int = SILENCE_NS
    _child: subprocess.Popen[bytes] | None = None
    _dead: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _sock: socket.socket | None = None
    _parser: words.Parser = field(default_factory=words.Parser)
    _out: bytearray = field(default_factory=bytearray)
    _epoll: select.epoll = field(default_factory=select.epoll)
    _heard_at: int = 0
    _ping_at: int = 0
    _start_at: int = 0

    def fileno(self) -> int:
        return self._epoll.fileno()

    @property
    def pid(self) -> int:
        """Return the mover's process, 0 when there is none."""
        return self._child.pid if self._child is not None else 0

    @property
    def is_up(self) -> bool:
        """Tell whether there is a mover to talk to."""
        return self._sock is not None

    @property
    def is_full(self) -> bool:
        """Tell whether enough waits for it to read."""
        return len(self._out) >= BACKLOG_BYTES_MAX

    def start(self, now: int) -> bool:
        """Have a mover; False while the last one's end is too recent, or none can be started."""
        if self._sock is not None:
            return True
        if now < self._start_at:
            return False
        self._start_at = now + AGAIN_NS
        ours, theirs = socket.socketpair()
        try:
            self._child = subprocess.Popen(
                self.argv, stdin=theirs.fileno(), start_new_session=True, cwd="/"
            )
        except OSError as error:
            ours.close()
            get_logger().warning("the mover cannot be started", why=error.strerror)
            return False
        finally:
            theirs.close()
        ours.setblocking(False)  # noqa: FBT003 - positional only
        self._sock = ours
        self._epoll.register(ours.fileno(), select.EPOLLIN)
        self._heard_at, self._ping_at = now, now + PING_NS
        self.lives += 1
        self.tell(self.setup())
        return True

    def tell(self, word: Word) -> None:
        """Say something to the mover that runs."""
        if self._sock is None:
            return
        self._out += words.encode(word)
        self._flush()

    def hear(self, now: int) -> list[Word]:
        """Return what the mover said, without blocking."""
        found: list[Word] = []
        if self._sock is None:
            return found
        for _, events in self._epoll.poll(0, 1):
            if events & select.EPOLLOUT:
                self._flush()
            if events & ~select.EPOLLOUT:
                found += self._read(now)
        return found

    def on_time(self, now: int) -> None:
        """Ask for a sign of life, and end a mover that gives none."""
        if self._sock is None:
            return
        if now - self._heard_at >= self.silence_ns:
            get_logger().warning("the mover is silent: it is started anew")
            self.drop()
        elif now >= self._ping_at:
            self._ping_at = now + PING_NS
            self.tell(words.Ping())

    def deadline(self) -> int | None:
        """Say when there is something to do without an event."""
        return self._ping_at if self._sock is not None else None

    def drop(self) -> None:
        """Kill the mover."""
        sock, self._sock = self._sock, None
        child, self._child = self._child, None
        self._dead = [dead for dead in self._dead if dead.poll() is None]
        self._out.clear()
        self._parser = words.Parser()
        if sock is not None:
            self._epoll.unregister(sock.fileno())
            sock.close()
        if child is not None:
            child.kill()
            self._dead.append(child)

    def close(self) -> None:
        """End the mover and give the descriptors back."""
        self.drop()
        self._epoll.close()
        for child in self._dead:
            try:
                child.wait(CLOSE_WAIT_S)
            except subprocess.TimeoutExpired:
                continue  # it hangs in the kernel, and ends when that lets it go

    def _read(self, now: int) -> list[Word]:
        assert self._sock is not None
        try:
            data = self._sock.recv(READ_BYTES)
            found = self._parser.feed(data)
        except BlockingIOError:
            return []
        except (OSError, WordError) as error:
            data, found = b"", []
            get_logger().warning("the mover cannot be understood", why=str(error))
        if not data:
            get_logger().warning("the mover ended")
            self.drop()
        self._heard_at = now
        return found

    def _flush(self) -> None:
        assert self._sock is not None
        try:
            while self._out:
                del self._out[: self._sock.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:  # it is gone: the next read says so
            self._out.clear()
        wanted = select.EPOLLIN | (select.EPOLLOUT if self._out else 0)
        self._epoll.modify(self._sock.fileno(), wanted)
