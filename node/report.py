"""What does the node say about itself: capabilities, free memory, notes?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..config.findings import Finding, Level, of_level
from ..protocol import capabilities as wire
from . import releases, residents, usage, verifying
from .capabilities import HostFacts, Limits, capabilities, limited_gpus
from .core import Core
from .gpu import Reading
from .premises import Premises
from .probe import Probe

FULL_EVERY = 15
# PUB drops what leaves before the subscription has arrived: what is new is said in several beats.
SAY_NEW_TIMES = 4
AGE_UNKNOWN_MS = (1 << 31) - 1
NOTES_MAX = 64


@dataclass(slots=True)
class Report:
    """Keep the statement of a node; `capabilities_due` returns it when it is new or due.

    `found` is what the preflight of this start found.
    """

    facts: HostFacts
    limits: Limits
    labels: Mapping[str, str]
    version: str
    premises: Premises = field(default_factory=Premises)
    found: Sequence[Finding] = ()
    _last: dict[str, Any] = field(default_factory=dict)
    _since: int = 0
    _said: int = 0

    def see(self, reading: Reading, core: Core) -> None:
        """Take in a new reading: cards that vanished take no more work."""
        if reading.reason and self.facts.gpus:
            core.state.slots.vanished = frozenset(core.state.slots.cards)
            self.facts = replace(self.facts, gpus=(), gpus_reason=reading.reason)
            return
        gpus = limited_gpus(reading.gpus, self.limits)
        self.facts = replace(
            self.facts, gpus=gpus, driver=reading.driver, gpus_reason=reading.reason
        )
        core.state.slots.see({gpu.uuid: gpu.memory_bytes for gpu in gpus})

    def statement(
        self, core: Core, notes: Mapping[str, str], alarms: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Return the node's capabilities as they are now."""
        found = capabilities(self.facts, self._handlers(core), self.labels, self.version)
        held = releases.withheld(core.state)
        raised = list(alarms)
        extra = [*raised, *(notes[uuid] for uuid in sorted(notes))]
        extra += [f"GPU {uuid} is held back: {held[uuid]}" for uuid in sorted(held)]
        sick, faults = core.state.health.withheld(), core.state.health.faults()
        extra += [f"GPU {uuid} is not lent: {sick[uuid]}" for uuid in sorted(sick)]
        blind = dict.fromkeys(core.state.slots.cards, core.state.blind)
        # Cards that another agent holds are not to be had either.
        why = {**blind, **sick, **held, **notes}
        gpus = [
            replace(
                gpu,
                withheld=why.get(gpu.uuid, ""),
                faults=[
                    *faults.get(gpu.uuid, ()),
                    *([releases.NOT_RELEASED] if gpu.uuid in held else ()),
                ],
            )
            for gpu in found.gpus
        ]
        interpreters = self.premises.interpreters
        extra = [*self._warnings(), *extra]
        notes_all = [*found.notes, *interpreters.notes, *extra[:NOTES_MAX]]
        return wire.to_document(
            replace(
                found,
                gpus=gpus,
                notes=notes_all,
                alarms=raised[:NOTES_MAX],
                pythons={name: each.text for name, each in interpreters.working.items()},
                secrets=list(self.premises.secrets.offered),
                resources=dict(core.state.slots.resources),
            )
        )

    def capabilities_due(
        self, core: Core, notes: Mapping[str, str], alarms: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Return the capabilities for a heartbeat: empty unless rather new, or every 15th time."""
        statement = self.statement(core, notes, alarms)
        stable = _without_measures(statement)
        if stable != self._last:
            self._last, self._said = stable, 0
        self._since += 1
        if self._said >= SAY_NEW_TIMES and self._since < FULL_EVERY:
            return {}
        self._since = 0
        self._said = min(self._said + 1, SAY_NEW_TIMES)
        return statement

    def alarms(self) -> list[str]:
        """Return with what this host would not have been let in; cards that came back are none."""
        bad = of_level(self.found, Level.SERIOUS)
        return [str(each) for each in bad if each.topic != "gpus" or not self.facts.gpus]

    def _warnings(self) -> list[str]:
        worth = of_level(self.found, Level.WARNING)
        return [str(each) for each in worth if each.topic not in ("path", "gpus")]

    def forget(self) -> None:
        """Say everything again at the next heartbeat."""
        self._last = {}

    def gpu_free(self) -> dict[str, int]:
        """Return the measured free memory of each card."""
        return {gpu.uuid: gpu.memory_free_bytes for gpu in self.facts.gpus}

    def gpus(self, core: Core) -> dict[str, dict[str, Any]]:
        """Return what was measured of each card that is offered, by UUID."""
        found = ((gpu.uuid, usage.measure(core.state, gpu.uuid)) for gpu in self.facts.gpus)
        return {uuid: asdict(measure) for uuid, measure in found if measure is not None}

    def _handlers(self, core: Core) -> list[wire.Handler]:
        state, found = core.state, []
        for name, declared in state.handlers.items():
            handler = replace(
                declared,
                refused=state.unserved.get(name, ""),
                reloaded=state.orders.reloaded.get(name, 0),
                verified=verifying.is_verified(state, name),
            )
            workers = state.residents.get(name, [])
            if handler.on_demand:  # what is loaded is in each heartbeat
                found.append(replace(handler, state=residents.COLD))
                continue
            word, error = residents.summary(workers)
            cards = [one.gpu_uuid for one in workers if one.gpu_uuid]
            found.append(replace(handler, state=word, error=error, gpu_uuids=cards))
        return found


def _without_measures(statement: dict[str, Any]) -> dict[str, Any]:
    """Leave out what changes all the time and is in every heartbeat anyway."""
    gpus = [{**gpu, "free_bytes": 0} for gpu in statement["gpus"]]
    return {**statement, "gpus": gpus}


def probe_age_ms(probe: Probe, now: int) -> int:
    """Return how old the last good reading is."""
    age_s = probe.age_s(now)
    return AGE_UNKNOWN_MS if math.isinf(age_s) else min(AGE_UNKNOWN_MS, int(age_s * 1000))
