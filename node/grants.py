"""What was handed to a runner, written down beside it for the agent that comes after this one.

A runner knows attempts and results; it knows neither tokens nor what its occupant takes of the
node. One file per runner holds both: msgpack records, appended before the order is sent.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from .fencing import is_fenced
from .slots import CardCharge, Charge
from .task import Attempt, Key

FILE = "grants"
FILE_BYTES_MAX = 1 << 20  # at which a file without living attempts is begun anew
READ_BYTES_MAX = 64 << 20
_ATTEMPT, _WORKER = 1, 2


@dataclass(frozen=True, slots=True)
class Grant:
    """An attempt as it was handed over."""

    key: Key
    token: bytes
    kind: str
    grace_ms: int
    batch: bytes
    charge: Charge
    gpus: tuple[str, ...]
    is_fenced: bool = False
    outputs: tuple[str, ...] = ()
    keep_log: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True)
class WorkerGrant:
    """A worker as it was ordered: its pool, its cards, its resident's name or its project.

    `vram_bytes` is what its resident takes of its card.
    """

    worker: str
    pool: str
    resident: str
    gpus: tuple[str, ...]
    project: bytes = b""
    vram_bytes: int = 0


@dataclass(slots=True)
class Granted:
    """All that a file tells: attempts by key, workers by name."""

    attempts: dict[Key, Grant] = field(default_factory=dict)
    workers: dict[str, WorkerGrant] = field(default_factory=dict)


class GrantsFile:
    """Append to the file of one runner."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        self.size_bytes = os.fstat(self._descriptor).st_size
        self._packer = msgpack.Packer()

    def add_attempts(self, attempts: Iterable[Attempt]) -> None:
        """Write down attempts that are about to be handed over; raises OSError."""
        pack = self._packer.pack
        self._write(b"".join([pack(_attempt_row(attempt)) for attempt in attempts]))

    def add_worker(self, grant: WorkerGrant) -> None:
        """Write down a worker that is about to be started; raises OSError."""
        row = (_WORKER, grant.worker, grant.pool, grant.resident, grant.gpus)
        more: tuple[Any, ...] = (grant.project, grant.vram_bytes) if grant.vram_bytes else ()
        if grant.project and not more:  # as below: agents of versions before read so many
            more = (grant.project,)
        self._write(self._packer.pack((*row, *more)))

    def renew(self, worker: WorkerGrant | None) -> None:
        """Begin anew once the file is long and no attempt in it lives."""
        if self.size_bytes < FILE_BYTES_MAX:
            return
        os.ftruncate(self._descriptor, 0)
        self.size_bytes = 0
        # Without its worker written down, the agent after this one ends it instead of adopting it.
        with contextlib.suppress(OSError):
            if worker is not None:
                self.add_worker(worker)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, data: bytes) -> None:
        """Write all of it or nothing: what follows a torn record cannot be read."""
        written = os.write(self._descriptor, data)
        if written < len(data):
            os.ftruncate(self._descriptor, self.size_bytes)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size_bytes += written


def _attempt_row(attempt: Attempt) -> tuple[Any, ...]:
    spec = attempt.plan.spec
    row = (
        _ATTEMPT,
        attempt.task,
        attempt.number,
        attempt.token,
        spec.kind,
        spec.grace_ms,
        attempt.batch,
        _charge_row(attempt.charge),
        attempt.gpus,
    )
    return (*row, is_fenced(spec), spec.outputs, spec.keep_log, attempt.plan.owner)


def _charge_row(charge: Charge) -> tuple[Any, ...]:
    # As above: before there were resources a charge had exactly three parts.
    return charge if charge.resources or charge.exclusive else charge[:3]


def read(directory: Path) -> Granted:
    """Read what was handed to a runner; a torn end is ignored, a missing file is empty."""
    granted = Granted()
    try:
        with (directory / FILE).open("rb") as file:
            unpacker = msgpack.Unpacker(file, use_list=False, max_buffer_size=READ_BYTES_MAX)
            # A torn or foreign record ends the reading: what came before it still counts.
            with contextlib.suppress(ValueError, TypeError, IndexError, msgpack.UnpackException):
                for row in unpacker:
                    _take(granted, row)
    except FileNotFoundError:
        pass
    return granted


def _take(granted: Granted, row: Any) -> None:
    if row[0] == _WORKER:
        _, worker, pool, resident, gpus, *more = row
        granted.workers[worker] = WorkerGrant(worker, pool, resident, gpus, *more[:2])
        return
    _, task, number, token, kind, grace_ms, batch, charged, gpus, *more = row
    cpus, memory, cards, *rest = charged
    charge = Charge(cpus, memory, tuple(CardCharge(*card) for card in cards), *rest[:2])
    key = (task, number)
    granted.attempts[key] = Grant(key, token, kind, grace_ms, batch, charge, gpus, *more[:4])
