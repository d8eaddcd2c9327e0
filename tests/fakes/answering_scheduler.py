"""The scheduler as the store sees it: a control socket that says which objects tasks refer to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from remuda.config.endpoints import Endpoints, write_endpoints
from remuda.config.home import Home
from remuda.config.keys import ensure_key_pair
from remuda.protocol.codec import decode, encode
from remuda.protocol.messages import Referenced, References


class AnsweringScheduler:
    """Answers References from `held`; `asked` has every digest that was asked about.

    While `silent` it lets questions wait, and answers when it no longer is.
    """

    def __init__(self, home: Home) -> None:
        self.held: set[bytes] = set()
        self.asked: list[bytes] = []
        self.silent = threading.Event()
        self._ends = threading.Event()
        self._context = zmq.Context()
        self._socket: zmq.Socket[Any] = self._context.socket(zmq.ROUTER)
        pair = ensure_key_pair(home.key_file("scheduler"))
        ensure_key_pair(home.key_file("store"))
        self._socket.curve_server = True
        self._socket.curve_publickey = pair.public.encode()
        self._socket.curve_secretkey = pair.secret.encode()
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        write_endpoints(
            home.endpoints_file,
            Endpoints("test", "127.0.0.1", port, 0, 0, 0, pair.public, 1, 1),
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        waiting: list[list[bytes]] = []
        while not self._ends.is_set():
            if self._socket.poll(10):
                waiting.append(self._socket.recv_multipart())
                message = decode(waiting[-1][-1]).message
                assert isinstance(message, References)
                self.asked += message.digests
            while waiting and not self.silent.is_set():
                *envelope, frame = waiting.pop(0)
                message = decode(frame).message
                assert isinstance(message, References)
                held = [digest in self.held for digest in message.digests]
                self._socket.send_multipart([*envelope, encode(Referenced(held), 0)])

    def close(self) -> None:
        self._ends.set()
        self._thread.join()
        self._socket.close(linger=0)
        self._context.term()


@contextmanager
def answering_scheduler(home: Home) -> Iterator[AnsweringScheduler]:
    """Run one for a home."""
    made = AnsweringScheduler(home)
    try:
        yield made
    finally:
        made.close()
