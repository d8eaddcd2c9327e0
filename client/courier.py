"""How do threads share one socket? One thread owns it; the others hand work over and wake it."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable

import zmq

from ..config.cluster import Connection as Dial
from ..protocol.errors import RemudaError
from .exchange import Exchange, Receiver, Reply, Request

REQUESTS_MAX = 64
RESEND_S = 4.0
WAKE_BYTES = 4096


class ClientClosed(RemudaError):  # noqa: N818 - reads as an outcome, like its siblings
    """The client was closed while somebody waited."""

    code = "client_closed"


class Courier:
    """The thread that owns the socket.

    Receivers and work run on that thread: they must not block, nor wait for another request.
    """

    def __init__(self, dial: Callable[[], Dial], *, connect_s: float) -> None:
        self._exchange = Exchange(dial, connect_s)
        self._inbox: deque[Callable[[], None]] = deque()
        self._slots = threading.BoundedSemaphore(REQUESTS_MAX)
        self._numbers = itertools.count(1)
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._closing = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.settimeout(0)
        self._wake_out.settimeout(0)
        self._thread = threading.Thread(target=self._run, name="remuda-client", daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Return the address that is dialled now."""
        return self._exchange.dialled.endpoint

    @property
    def is_current_thread(self) -> bool:
        """Tell whether the caller is the courier's own thread."""
        return threading.current_thread() is self._thread

    def call_soon(self, work: Callable[[], None]) -> None:
        """Run `work` on the courier's thread; after the end, here."""
        self._inbox.append(work)
        try:
            self._wake_out.send(b"\0")
        except BlockingIOError:
            pass  # so many wake-ups wait already that it will look
        except OSError:
            self._abandon()

    def call_later(self, delay_s: float, work: Callable[[], None]) -> None:
        """Run `work` on the courier's thread after a delay; only from that thread."""
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._numbers), work))

    def post(
        self, payload: bytes, receiver: Receiver, *, patience_s: float, answer_s: float = RESEND_S
    ) -> None:
        """Send a request; `receiver` hears the reply, or why there is none, exactly once.

        An answer is expected within `answer_s` of each try, and at all within `patience_s` (0: as
        long as it takes). Waits while too many are open, except on the courier's own thread.
        """
        if not self.is_current_thread:
            self._slots.acquire()
            receiver = self._releasing(receiver)
        number = struct.pack(">Q", next(self._numbers))
        asked_at = time.monotonic()
        request = Request(number, payload, receiver, answer_s, patience_s, asked_at)
        self.call_soon(lambda: self._exchange.accept(request))

    def close(self) -> None:
        """Stop the thread; whoever still waits hears that the client was closed."""
        self._closing = True
        self.call_soon(lambda: None)
        if not self.is_current_thread:
            self._thread.join()

    def _releasing(self, receiver: Receiver) -> Receiver:
        def receive(outcome: Reply | RemudaError) -> None:
            self._slots.release()
            receiver(outcome)

        return receive

    def _run(self) -> None:
        context = zmq.Context[zmq.Socket[bytes]]()
        try:
            while not self._closing:
                self._poll()
                self._work()
                self._exchange.turn(context)
        finally:
            self._closing = True
            self._wake_out.close()
            self._wake_in.close()
            self._abandon()
            context.destroy(linger=0)

    def _poll(self) -> None:
        poller = zmq.Poller()
        poller.register(self._wake_in.fileno(), zmq.POLLIN)
        channel = self._exchange.channel
        if channel is not None:
            sending = zmq.POLLOUT if self._exchange.unsent else 0
            poller.register(channel.socket, zmq.POLLIN | sending)
            poller.register(channel.monitor, zmq.POLLIN)
        due_at = self._timers[0][0] if self._timers else float("inf")
        delay_s = 0.0 if self._inbox else min(due_at, self._exchange.next_at()) - time.monotonic()
        poller.poll(int(delay_s * 1000) + 1 if delay_s > 0 else 0)
        with contextlib.suppress(BlockingIOError):
            self._wake_in.recv(WAKE_BYTES)

    def _work(self) -> None:
        for _ in range(len(self._inbox)):
            self._inbox.popleft()()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def _abandon(self) -> None:
        """Answer everyone who came too late; any thread may do it, each for its own."""
        with contextlib.suppress(IndexError):
            while True:
                self._inbox.popleft()()
        self._exchange.close(ClientClosed("the client was closed: open a new one"))
