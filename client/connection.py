"""How does one ask the scheduler something and wait for the answer?"""

from __future__ import annotations

import os
import weakref
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from ..config import cluster as clusters
from ..config.client_table import read_client_table
from ..protocol import codec
from ..protocol.errors import RemudaError
from ..protocol.messages import Message
from .courier import RESEND_S, Courier
from .depot import Depot
from .exchange import Reply

Answer = TypeVar("Answer", bound=Message)


class Connection:
    """A pipelined connection to one scheduler, safe to use from many threads.

    Dials at the first request. After a fork the child must open its own. `table` is what the
    configuration says of clients: without `request_timeout_s` it says that too.
    """

    def __init__(self, ref: clusters.ClusterRef, *, request_timeout_s: float | None = None) -> None:
        self.ref = ref
        self.table = read_client_table(ref.home.root if ref.home else None)
        dialled = clusters.connection(ref)
        self.cluster = dialled.cluster
        self.name = dialled.name
        self.scheduler_public = dialled.scheduler_public
        self.request_timeout_s = (
            self.table.request_timeout_s if request_timeout_s is None else request_timeout_s
        )
        self.depot = Depot(self)
        self._pid = os.getpid()
        self.courier = Courier(
            lambda: clusters.connection(ref), connect_s=self.table.connect_timeout_s
        )
        self._finalizer = weakref.finalize(self, _close, self.courier, self._pid)

    @property
    def endpoint(self) -> str:
        """Return the address that is dialled now."""
        return self.courier.endpoint

    def request(
        self,
        message: Message,
        kind: type[Answer],
        *,
        timeout_s: float | None = None,
        answer_s: float = RESEND_S,
    ) -> Answer:
        """Ask and wait; raises what the scheduler refuses with, or Unreachable.

        `timeout_s` 0: as long as it takes. The question is sent again after `answer_s`.
        """
        return self.ask(message, kind, timeout_s=timeout_s, answer_s=answer_s).result()

    def ask(
        self,
        message: Message,
        kind: type[Answer],
        *,
        timeout_s: float | None = None,
        answer_s: float = RESEND_S,
    ) -> Future[Answer]:
        """Ask and go on; the future gives the answer, or what `request` would raise."""
        self.check_usable()
        answered: Future[Answer] = Future()

        def receive(outcome: Reply | RemudaError) -> None:
            try:
                if isinstance(outcome, RemudaError):
                    raise outcome
                answered.set_result(expect(outcome, kind))
            except RemudaError as error:
                answered.set_exception(error)

        patience_s = self.request_timeout_s if timeout_s is None else timeout_s
        frame = codec.encode(message, 0)
        self.courier.post(frame, receive, patience_s=patience_s, answer_s=answer_s)
        return answered

    def check_usable(self) -> None:
        """Raise when the caller could wait here for ever: after a fork, or on our own thread."""
        if os.getpid() != self._pid:
            raise RemudaError(
                "this client was made before a fork: open a new Client in the child process"
            )
        if self.courier.is_current_thread:
            raise RuntimeError("a request from the client's own thread would never be answered")

    def close(self) -> None:
        """Hang up; whoever still waits gets an error. Safe to call twice."""
        if os.getpid() == self._pid:
            self.depot.close()
        self._finalizer()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_connection(
    *,
    home: Path | None = None,
    cluster: str | None = None,
    endpoint: str | None = None,
    request_timeout_s: float | None = None,
) -> Connection:
    """Find the cluster that arguments, environment or files name, and prepare to dial it.

    Raises NotFound, or ConfigError where the configuration is wrong of clients.
    """
    ref = clusters.find_cluster(home=home, cluster=cluster, endpoint=endpoint)
    return Connection(ref, request_timeout_s=request_timeout_s)


def expect(reply: Reply, kind: type[Answer]) -> Answer:
    """Return the message of a reply; raises when the scheduler answered something else."""
    if not isinstance(reply.message, kind):
        raise RemudaError(
            f"the scheduler answered {type(reply.message).__name__} instead of {kind.__name__}: "
            "are both of the same version?"
        )
    return reply.message


def _close(courier: Courier, pid: int) -> None:
    if os.getpid() == pid:  # a forked child must not touch the sockets of its parent
        courier.close()
