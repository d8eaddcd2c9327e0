"""What the runner was given and has answered: every attempt once, repeated until acknowledged."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path

from ...worker import batches, frames
from ...worker.frames import Finished
from .note import note
from .spool import Spool

KNOWN_MAX = 4096
"""How many acknowledged attempts are remembered, so that a repeated order is not run again."""
UNACKED_MAX = 65536
"""Most answered calls that wait for an acknowledgement; above it a batch is refused."""
FINISHED_MAX = 256
"""Most unacknowledged commands; above it a command is refused."""


class Answers:
    """Finished commands and results of calls, in files before they are said."""

    def __init__(self, directory: Path) -> None:
        self.spool = Spool(directory)
        self.finished: dict[bytes, Finished] = {}
        self._directory = directory
        self._keys_of: dict[int, list[bytes]] = {}
        self._record_of: dict[bytes, int] = {}
        self._acked: dict[bytes, None] = {}
        self._acked_order: deque[bytes] = deque()
        self._returned: set[bytes] = set()

    def finish(self, message: Finished) -> None:
        """Write the end of a command; the file's presence is the end."""
        folder = self._directory / "a" / frames.attempt_key(message.task, message.attempt)
        body = frames.encode(message)[frames.HEADER.size :]
        new = folder / "result.json.new"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            new.write_bytes(body)
            new.replace(folder / "result.json")
        except OSError as error:  # a full disk: lost only if this runner is killed as well
            note(f"result: {error}; it stays in memory")
        self.finished[frames.join_key(message.task, message.attempt)] = message

    def results(self, body: bytes, keys: list[bytes]) -> int:
        """Write outcomes of calls; return the record's number."""
        record = self.spool.append(body)
        self._keys_of[record] = keys
        for key in keys:
            self._record_of[key] = record
        statuses = batches.results_statuses(body)
        if batches.RETURNED in statuses:
            self._returned.update(
                key
                for key, status in zip(keys, statuses, strict=True)
                if status == batches.RETURNED
            )
        return record

    def answered(self, key: bytes) -> bool:
        """Say whether an attempt was answered, acknowledged or not."""
        return key in self.finished or key in self._record_of or key in self._acked

    def record_of(self, key: bytes) -> int | None:
        """Return the waiting record that answers a call."""
        return self._record_of.get(key)

    def unacked(self) -> list[list[object]]:
        """List the answered attempts that are not acknowledged, as Hello carries them."""
        keys = [*self.finished, *self._record_of]
        return [[key[:16].hex(), frames.split_key(key)[1], True] for key in keys]

    def __len__(self) -> int:
        return len(self.finished) + len(self._record_of)

    def empty(self) -> bool:
        """Say whether every answer is acknowledged."""
        return not self.finished and not self._record_of

    def ack(self, message: frames.Ack) -> None:
        """Forget what was acknowledged; unknown names are ignored."""
        for record in message.records:
            if self.spool.forget(record):
                for key in self._keys_of.pop(record):
                    self._record_of.pop(key, None)
                    if key in self._returned:  # it never started: it may be ordered again
                        self._returned.discard(key)
                    else:
                        self._remember(key)
        for task, attempt in message.attempts:
            key = frames.join_key(bytes.fromhex(str(task)), int(str(attempt)))
            if self.finished.pop(key, None) is not None:
                folder = self._directory / "a" / frames.attempt_key(*frames.split_key(key))
                # First the intent: a crash in between must not look like a lost attempt.
                (folder / "run.json").unlink(missing_ok=True)
                (folder / "result.json").unlink(missing_ok=True)
                self._remember(key)

    def _remember(self, key: bytes) -> None:
        self._acked[key] = None
        self._acked_order.append(key)
        if len(self._acked_order) > KNOWN_MAX:
            self._acked.pop(self._acked_order.popleft(), None)


def read_result(path: Path) -> Finished | None:
    """Read a `result.json`; None when it is absent or torn."""
    try:
        message = frames.decode(67, path.read_bytes())
    except (OSError, frames.FrameError):
        return None
    return message if isinstance(message, Finished) else None


def write_intent(folder: Path, task: bytes, attempt: int) -> None:
    """Say, before the start, that an attempt may have started: a killed runner leaves it."""
    text = json.dumps({"task": task.hex(), "attempt": attempt})
    (folder / "run.json").write_text(text)
