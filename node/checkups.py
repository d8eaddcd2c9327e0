"""How does the agent look after its cards: readings judged, faults kept in a file, trials run?"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..config.logs import get_logger
from . import blaming, health
from .capabilities import limited_gpus
from .gpu import Reading, ReadingError, gpu_from_plain, gpu_to_plain, pinning_env
from .gpu_locks import Conflict
from .report import Report
from .stage import Stage
from .trial import Trial
from .xids import Blame

FILE_BYTES_MAX = 16 << 20


@dataclass(slots=True)
class Checkups:
    """Keep the health of the cards up to date; `trial` is None where readings alone decide."""

    stage: Stage
    report: Report
    path: Path
    trial: Trial | None
    env: Mapping[str, str]
    gpu_ids: Literal["uuid", "index"] = "uuid"
    _saved: int = 0

    @property
    def health(self) -> health.Health:
        return self.stage.state.health

    def begin(self, now: int) -> None:
        """Take up what an earlier agent knew of the cards."""
        try:
            text = self.path.read_text() if self.path.stat().st_size < FILE_BYTES_MAX else "{}"
            known = cards_from_plain(json.loads(text), now)
            granted = limited_gpus(tuple(card.gpu for card in known.values()), self.report.limits)
            self.health.cards.update((gpu.uuid, known[gpu.uuid]) for gpu in granted)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            get_logger().warning("health of GPUs not read", file=str(self.path), error=str(error))

    def on_reading(self, reading: Reading, now: int) -> None:
        """Judge a reading; a card that it does not show stays listed, and is not lent."""
        gpus = limited_gpus(reading.gpus, self.report.limits)
        told = health.see(self.health, reading, gpus, self._free(), now, _time_of_day())
        if not reading.reason:
            unseen = [replace(g, memory_free_bytes=0, processes=()) for g in self.health.unseen()]
            listed = sorted((*gpus, *unseen), key=lambda gpu: (gpu.index, gpu.uuid))
            self.report.facts = replace(self.report.facts, gpus=tuple(listed))
        for each in told:
            how = get_logger().error if each.blame is Blame.GPU else get_logger().warning
            how("the driver reports an error", gpus=each.uuids, error=each.text)
        blaming.note(self.stage.state, told)
        self._close()

    def on_time(self, now: int) -> None:
        """Try what is due, and keep what has changed."""
        self._end_trial(now)
        for uuid in health.trials_due(self.health, self._free(), now):
            card = self.health.cards[uuid]
            failure = health.obstacle(card)
            if not failure and self.trial is not None:
                if self.trial.is_running:
                    continue
                failure = self._start_trial(uuid, now)
                if not failure:
                    card.is_tried = True
                    continue
            self._tried(uuid, failure, now)
        if self._saved != self.health.changes:
            self._saved = self.health.changes
            self.stage.has_news = True
            self._close()
            self._save()

    def deadline(self) -> int | None:
        """Say when there is something to do without an event."""
        due = [health.deadline(self.health, self._free())]
        if self.trial is not None and self.trial.is_running:
            return time.monotonic_ns() + 100_000_000  # it is looked at, as nothing tells its end
        return min((at for at in due if at is not None), default=None)

    def close(self) -> None:
        if self.trial is not None:
            self.trial.close()

    def _free(self) -> frozenset[str]:
        slots = self.stage.state.slots
        return frozenset(uuid for uuid in self.health.cards if slots.is_card_free(uuid))

    def _close(self) -> None:
        self.stage.state.slots.closed = self.health.withheld()

    def _start_trial(self, uuid: str, now: int) -> str:
        assert self.trial is not None
        held = self.stage.locks.acquire(uuid)
        if isinstance(held, Conflict):
            return str(held)
        pinned = pinning_env([uuid], self.gpu_ids, self.report.facts.gpus)
        failure = self.trial.start(uuid, {**self.env, **pinned}, now)
        if failure:
            self.stage.locks.release(uuid)
        return failure

    def _end_trial(self, now: int) -> None:
        if self.trial is None:
            return
        failure = self.trial.result(now)
        if failure is not None:
            self.stage.locks.release(self.trial.uuid)
            self._tried(self.trial.uuid, failure, now)

    def _tried(self, uuid: str, failure: str, now: int) -> None:
        health.on_tried(self.health, uuid, failure, now)
        if failure:
            get_logger().warning("a GPU is still not well", gpu=uuid, why=failure)
        else:
            get_logger().info("a GPU is well again", gpu=uuid)

    def _save(self) -> None:
        """Replace the file whole: a reader sees the old one or the new one."""
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps(cards_to_plain(self.health.cards)) + "\n")
            temporary.replace(self.path)
        except OSError as error:  # what was seen still counts for this agent
            get_logger().warning("health of GPUs not kept", error=error.strerror)


def cards_to_plain(cards: Mapping[str, health.Card]) -> dict[str, Any]:
    """Return what is to be kept of cards: how they were, their faults and error counts."""
    return {
        uuid: {
            "gpu": gpu_to_plain(card.gpu),
            "faults": card.faults,
            "ecc_errors": card.ecc_errors,
            "failures": card.failures,
        }
        for uuid, card in cards.items()
    }


def cards_from_plain(plain: dict[str, Any], now: int) -> dict[str, health.Card]:
    """Return what `cards_to_plain` wrote; a card of another release is left out.

    Until a reading shows a card it is taken for unseen.
    """
    found = {}
    for uuid, row in plain.items():
        try:
            gpu = gpu_from_plain(row["gpu"])
        except ReadingError:
            continue
        found[uuid] = health.Card(
            gpu,
            faults={str(kind): str(text) for kind, text in row["faults"].items()},
            ecc_errors=row["ecc_errors"],
            failures=int(row["failures"]),
            quiet_ns=now,
            unseen=1,
        )
    return found


def _time_of_day() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
