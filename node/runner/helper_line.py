"""How a runner speaks with a helper of root's: one stream, orders out, words in."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...worker import frames
from .poller import Poller

KIND = 1
RECV_BYTES = 64 << 10
ANSWER_WAIT_S = 30.0
"""How long a helper may take to start, and to start a program; after it, it counts as gone."""
SWEEP_WAIT_S = 10.0
"""How long for it to sweep: an agent, whose watchdog waits, may be who asks."""

Words = dict[str, Any]


class Line:
    """A connection, made by the first order; `on_words` is told what comes, `on_lost` the end."""

    def __init__(
        self,
        poller: Poller,
        path: str,
        on_words: Callable[[Words], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.path = path
        self._poller = poller
        self._on_words = on_words
        self._on_lost = on_lost
        self._sock: socket.socket | None = None
        self._parser = frames.Parser()
        self._heard: deque[Words] = deque()

    @property
    def is_open(self) -> bool:
        return self._sock is not None

    @property
    def has_words(self) -> bool:
        """Tell whether something came that nobody was told yet."""
        return bool(self._heard)

    def ask(self, order: Mapping[str, object], fds: Sequence[int]) -> Words:
        """Say something and wait for its answer; raise OSError or FrameError.

        What else comes meanwhile is kept for `hand_on`.
        """
        if self._sock is None:
            self._sock = connected(self.path)
            self._parser = frames.Parser()
            self._poller.add(self._sock.fileno(), self._on_readable)
        _send(self._sock, order, fds)
        until = time.monotonic() + ANSWER_WAIT_S
        while time.monotonic() < until:
            select.select([self._sock], [], [], max(0.0, until - time.monotonic()))
            if not self._read():
                raise ConnectionResetError("it hung up")
            for each in list(self._heard):
                if "started" in each or "refused" in each:
                    self._heard.remove(each)
                    return each
        raise TimeoutError(f"no answer for {ANSWER_WAIT_S:.0f} s")

    def tell(self, order: Mapping[str, object]) -> None:
        """Say something that has no answer; a helper that is gone is noticed where it is heard."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                _send(self._sock, order, ())

    def hand_on(self) -> None:
        """Tell what came."""
        while self._heard:
            self._on_words(self._heard.popleft())

    def close(self) -> None:
        """Hang up."""
        if self._sock is not None:
            self._poller.remove(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def _on_readable(self) -> None:
        try:
            is_there = self._read()
        except (frames.FrameError, ValueError):
            is_there = False
        self.hand_on()
        if not is_there:
            self._on_lost()

    def _read(self) -> bool:
        """Take what is there; return False once nothing more will come."""
        assert self._sock is not None
        try:
            data = self._sock.recv(RECV_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for _, body in self._parser.feed(data):
            self._heard.append(json.loads(body))
        return bool(data)


def connected(path: str, wait_s: float = ANSWER_WAIT_S) -> socket.socket:
    """Connect to the helper; raise OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(wait_s)
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def sweep(path: str, user: str, runner: str) -> int | None:
    """Have killed what is left of a runner; return how much lives on, None if nobody can tell."""
    try:
        with connected(path, SWEEP_WAIT_S) as sock:
            _send(sock, {"do": "sweep", "user": user, "runner": runner}, ())
            parser = frames.Parser()
            while data := sock.recv(RECV_BYTES):
                for _, body in parser.feed(data):
                    found = json.loads(body).get("stuck")
                    return None if found is None else int(found)
    except (OSError, ValueError, frames.FrameError):
        return None
    return None


def _send(sock: socket.socket, order: Mapping[str, object], fds: Sequence[int]) -> None:
    data = frames.raw_frame(KIND, json.dumps(order).encode())
    sent = socket.send_fds(sock, [data], list(fds)) if fds else 0
    sock.sendall(data[sent:])
