"""A scheduler of a world whose journal is put back to an earlier moment."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from remuda.config import sqlite
from remuda.protocol import codec, ids
from remuda.protocol import messages as m
from remuda.protocol.errors import RemudaError
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.backup import snapshot
from remuda.scheduler.core import CoreSettings
from remuda.scheduler.highest_epoch import HighestEpoch
from remuda.scheduler.recovery_verbs import decide, show_recovery
from remuda.scheduler.restored import prepare
from remuda.scheduler.schema import SCHEMA_VERSION, opened_since

from .world import SimNode, World

OLGA = Principal("olga", Role.OPERATOR)
QUICK = replace(CoreSettings(), reconcile_ns=0)


class Restorable(World):
    """A scheduler whose journal is put back to an earlier moment."""

    def __init__(self, folder: Path, settings: CoreSettings = QUICK) -> None:
        super().__init__(folder, settings)
        self.kept = folder.parent / "kept.db"
        self.describes: list[tuple[str, m.Describe]] = []

    def backup(self) -> None:
        snapshot(self.folder / "journal.db", self.kept, lambda *_: None)
        self.chronicle_then = copy.deepcopy(self.chronicle)

    def restore(self) -> None:
        """Lose the scheduler and its journal; start a new one on the backup."""
        self.close()
        for path in self.folder.glob("journal.db*"):
            path.unlink()
        self.kept.rename(self.folder / "journal.db")
        database = sqlite.connect(self.folder / "journal.db", autocheckpoint=False)
        prepare(
            database, backup_ms=1, principal="olga", now_ms=self.now.wall_ms,
            highest=HighestEpoch(self.folder).epoch,
        )  # fmt: skip
        assert SCHEMA_VERSION == opened_since(database)
        database.close()
        self.chronicle = self.chronicle_then
        self._open()

    def _deliver(self, node: str, message: m.Message) -> None:
        super()._deliver(node, message)
        if isinstance(message, m.Describe):
            self.describes.append((node, message))

    def describe(self, **changed: Any) -> None:
        """Let nodes say what they were asked about."""
        asked, self.describes = self.describes, []
        for name, message in asked:
            node = self.nodes[name]
            known: list[dict[str, Any]] = []
            told: list[bytes] = []
            numbers: list[int] = []
            for blob, number in zip(message.tasks, message.attempts, strict=True):
                task = ids.from_bytes(blob)
                if (task, number) not in node.held or task not in node.specs:
                    continue
                spec = codec.unpack_document(node.specs[task])
                token = node.held[task, number][0]
                told.append(blob)
                numbers.append(number)
                known.append({
                    "owner": "ana", "spec": spec, "is_whole": True, "args": b"in", "batch": b"",
                    "gpus": list(node.gpus[task]), "token": token, **changed,
                })  # fmt: skip
            said = m.Described(told, numbers, known)
            self.says(node, said)

    def come(self, *nodes: SimNode) -> None:
        """Have nodes come back to the restored scheduler, with all that they hold."""
        for node in nodes:
            self.join(node)
            self.heartbeat(node)
        self.describe()

    @property
    def view(self) -> Any:
        return SimpleNamespace(core=self.core, history=self.journal.history)

    def decide(self, verb: str, *tasks: int, **more: Any) -> m.Message:
        message = m.DecideRecovery(verb, [ids.to_bytes(task) for task in tasks], **more)
        try:
            event = decide(self.view, message, OLGA, next(self._handles))
        except RemudaError as error:
            return m.Failure(error.code, error.message, error.field)
        self.step(event)
        return self.replies[-1]

    def shown(self, what: str) -> list[dict[str, Any]]:
        body = show_recovery(self.view, m.ShowRecovery(what), OLGA, self.now).body
        rows: list[dict[str, Any]] = body["rows"]
        return rows


def running(world: Restorable, node: SimNode, **fields: object) -> int:
    (task,) = world.submit(**fields)  # type: ignore[arg-type]  # fields by name
    world.start(node, task)
    return task
