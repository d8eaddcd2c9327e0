"""How the helper keeps the processes of one runner: started as a user, signalled, proven gone.

It is their parent and their subreaper, and nobody but root can kill it: so ECHILD, seen here, is
the proof that nothing of a task is left, as it is in a runner.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...worker import frames
from ..runner import tree
from ..runner.ending import Ending
from . import becoming, giving, orders
from .allowed import Allowed, Denied, User
from .giving import Ids
from .orders import Kill, Malformed, Order, Signal, Start, Sweep
from .signalling import UsersHands

RECV_BYTES = 256 << 10
SEND_WAIT_S = 30.0
_CREDENTIALS = struct.Struct("3i")
DESCRIPTORS_MAX = orders.FDS_MAX + len(orders.GIFTS)


@dataclass(slots=True)
class Keeping:
    """The one connection of this process, and what was started through it.

    All of it is of one `user`. `gifts` are what is to become the agent's again, `locks` what is
    held, until nothing is left. `mains` are the processes that were started themselves.
    """

    sock: socket.socket
    peer: Ids
    read_allowed: Callable[[], Allowed]
    user: User | None = None
    mains: set[int] = field(default_factory=set)
    gifts: list[int] = field(default_factory=list)
    locks: list[int] = field(default_factory=list)
    ending: Ending | None = None
    is_closing: bool = False
    _fds: list[int] = field(default_factory=list)
    _parser: frames.Parser = field(default_factory=frames.Parser)
    _has_started: bool = False

    def run(self) -> None:
        """Serve until the runner hangs up or a signal asks for an end, and nothing is left then."""
        tree.become_subreaper()
        self.sock.settimeout(SEND_WAIT_S)
        wake = _watch_signals(self._on_term)
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(self.sock, select.POLLIN)
        while not self.is_closing or self._has_started:
            wait_s = max(0.0, self.ending.next_at - time.monotonic()) if self.ending else None
            ready = dict(poll.poll(None if wait_s is None else wait_s * 1_000))
            if wake in ready:
                os.read(wake, 512)
            self._reap()
            if self.sock.fileno() in ready and not self._hear():
                poll.unregister(self.sock)
                self._on_term()
            if self.ending is not None:
                self.ending.on_time(time.monotonic())
                self._reap()

    def _on_term(self) -> None:
        self.is_closing = True
        self._kill()

    def _kill(self) -> None:
        if self._has_started and self.ending is None:
            self.ending = Ending("kill", grace_s=0.0, now=time.monotonic(), hands=self._hands)

    @property
    def _hands(self) -> UsersHands:
        assert self.user is not None
        return UsersHands(self.user.uid)

    def _hear(self) -> bool:
        """Take what the runner says; return False when it hung up, or says nonsense."""
        try:
            data, fds, _, _ = socket.recv_fds(self.sock, RECV_BYTES, DESCRIPTORS_MAX)
        except OSError:
            return False
        self._fds += fds
        try:
            for kind, body in self._parser.feed(data):
                self._on_order(orders.read(kind, body))
        except (Malformed, frames.FrameError) as error:
            say(self.sock, refused="malformed", why=str(error))
            return False
        return bool(data)

    def _on_order(self, order: Order) -> None:
        if isinstance(order, Start):
            self._on_start(order)
        elif isinstance(order, Sweep):
            self._on_sweep(order)
        elif isinstance(order, Kill):
            self._kill()
        else:
            self._on_signal(order)

    def _on_start(self, order: Start) -> None:
        if len(self._fds) < order.descriptors:
            raise Malformed("descriptors are missing")
        taken = [self._fds.pop(0) for _ in range(order.descriptors)]
        answer: dict[str, Any]
        try:
            pid = self._start(order, taken)
        except Denied as error:
            answer = {"refused": "user_refused", "why": str(error)}
        except becoming.NotStarted as error:
            answer = {"refused": error.how, "why": error.message}
        else:
            self.mains.add(pid)
            self._has_started = True
            answer = {"started": pid, "helper": os.getpid()}
        finally:
            for fd in taken:
                if fd not in self.gifts and fd not in self.locks:
                    os.close(fd)
            if not self._has_started:
                self._give_back()
        say(self.sock, **answer)  # only now: who hears a refusal finds its directory its own again

    def _start(self, order: Start, fds: list[int]) -> int:
        if self.is_closing or self.ending is not None:
            raise Denied("what was started here is being ended")
        user = self.read_allowed().user(order.user)
        if self.user is not None and user.uid != self.user.uid and self._has_started:
            raise Denied("this helper keeps what is of another user")
        self.user = user
        ids = Ids(user.uid, user.gid)
        for what, fd in zip(order.gifts, fds[len(order.fds) :], strict=True):
            if what == "lock":
                self.locks.append(fd)
            elif what == "said":
                giving.give_said(fd, self.peer, ids)
            else:
                giving.check_folder(fd, self.peer)
                self.gifts.append(fd)  # from here on it is taken back, however far it comes
                giving.give(fd, self.peer, ids)
        own = dict(zip(order.fds, fds, strict=False))
        for number in own.keys() & {1, 2}:
            giving.give_pipe(own[number], self.peer, ids)
        return becoming.start(user, order, own)

    def _on_signal(self, order: Signal) -> None:
        """Signal what was started here: whoever is not below us is never meant."""
        if not self._has_started:
            return
        numbers = [signal.Signals(each) for each in order.numbers]
        if order.group and order.group in self.mains:  # not reaped, so its number is nobody else's
            with contextlib.suppress(ProcessLookupError):
                for number in numbers:
                    self._hands.signal_group(order.group, number)
        elif order.below in self.mains:
            self._hands.kill_below(order.below)
        elif not (order.group or order.below):
            self._hands.signal_all(*numbers)

    def _on_sweep(self, order: Sweep) -> None:
        """Kill what is left of a runner, with the rights of its user alone."""
        try:
            user = self.read_allowed().user(order.user)
            killed, stuck = becoming.sweep(user, order.runner)
        except (Denied, becoming.NotStarted) as error:
            say(self.sock, refused="user_refused", why=str(error))
        else:
            say(self.sock, swept=killed, stuck=stuck)

    def _reap(self) -> None:
        has_main = False
        while self._has_started:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:  # ECHILD: the tree is gone
                self._on_gone()
                return
            if pid == 0:
                if has_main:
                    say(self.sock, left=True)
                return
            if pid in self.mains:
                self.mains.discard(pid)
                has_main = True
                say(self.sock, reaped=[pid, status, list(usage)])

    def _on_gone(self) -> None:
        self._has_started = False
        self.ending = None
        self.mains.clear()
        self._give_back()
        say(self.sock, gone=True)

    def _give_back(self) -> None:
        """Make the agent's what was the user's; nothing of the user's runs in it any more."""
        for folder in self.gifts:
            assert self.user is not None
            try:
                giving.take(folder, Ids(self.user.uid, self.user.gid), self.peer)
            except (Denied, OSError) as error:
                note(f"a directory of {self.user.name} stays as it is: {error}")
        for fd in [*self.gifts, *self.locks]:
            os.close(fd)
        self.gifts.clear()
        self.locks.clear()


def serve(sock: socket.socket, read_allowed: Callable[[], Allowed]) -> None:
    """Serve one connection, if it is the agent's."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(raw)
    try:
        is_agent = read_allowed().may_ask(uid)
        why = "" if is_agent else f"user {uid} is not the agent that the helper's file names"
    except Denied as error:
        why = str(error)
    if why:
        note(why)
        say(sock, refused="user_refused", why=why)
        return
    Keeping(sock, Ids(uid, gid), read_allowed).run()


def say(sock: socket.socket, **words: Any) -> None:
    """Tell the runner; one that is gone does not hear it."""
    with contextlib.suppress(OSError):
        sock.sendall(frames.raw_frame(orders.KIND, json.dumps(words).encode()))


def note(text: str) -> None:
    """Write to the service's log."""
    print(f"remuda-run-as: {text}", file=sys.stderr, flush=True)  # noqa: T201 - it has no other


def _watch_signals(on_term: Callable[[], None]) -> int:
    """Make SIGCHLD and SIGTERM readable on a descriptor, which is returned."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.signal(signal.SIGTERM, lambda _number, _frame: on_term())
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader
