"""A node with a guard of its own, that remembers what it has not got rid of yet."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from remuda.node import grants
from remuda.node.slots import Card, CardCharge, Charge, Slots
from remuda.node.task import Attempt, plan_of
from remuda.protocol import capabilities as wire
from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.codec import pack_document, unpack_document
from remuda.protocol.measures import Resident
from remuda.protocol.spec import TaskSpec, from_document

from . import models
from .world import SimNode, World

Key = tuple[int, int]


class GuardedNode(SimNode):
    """A node with the second guard: it refuses what it has not got back yet.

    What may wait in its own queue does so without a charge until there is room. Which of these runs
    a scheduler that was restarted can only guess: so it may take a CPU for free that is not.
    """

    def __init__(self, name: str, capabilities: wire.Capabilities, world: World) -> None:
        super().__init__(name, capabilities)
        self.world = world
        self.offered: dict[Key, tuple[TaskSpec, tuple[str, ...]]] = {}
        self.life = 0
        self.refused: list[tuple[Key, bytes]] = []
        self.said: list[m.Results] = []
        self.unacked: dict[Key, m.Results] = {}
        self.slots = self._empty()
        self._holder: dict[Key, int] = {}
        self._holders = 0

    def take(self, message: m.Message) -> None:
        before = set(self.held)
        super().take(message)
        self._take_back()
        for key in [key for key in self.held if key not in before]:
            spec = from_document(unpack_document(self.specs[key[0]]))
            self.offered[key] = spec, self.gpus[key[0]]
            if not self._load(key[0]):
                assert self._is_behind(), f"{self.name} has no room for the model of {key}"
                self.refused.append((key, self.held.pop(key)[0]))
                continue
            if not self._lend(key) and not spec.request.may_go_ahead:
                why = self.slots.refusal(self._charge(key))
                is_guess = "CPUs asked" in why or "of memory asked" in why
                assert self._is_behind() or is_guess, f"{self.name} was lent twice: {why}"
                self.refused.append((key, self.held.pop(key)[0]))
        self.settle()
        for key in self.acked:
            self.unacked.pop(key, None)

    def settle(self) -> None:
        """Take back what ended, start what waited for that, and look whether it adds up."""
        self._take_back()
        self._count_models()
        for key in [key for key in self.held if self._lives(key) and key not in self._holder]:
            self._lend(key)
        self.slots.check()

    def lent(self) -> list[tuple[TaskSpec, tuple[str, ...]]]:
        """List what runs here, as it was offered, with its cards."""
        return [self.offered[key] for key in self._holder if self._lives(key)]

    def end(self, key: Key, outcome: m.Outcome, code: str) -> m.Results:
        """End a held attempt; what is said stays due until it is acknowledged."""
        token, _ = self.held[key]
        failed = pack_document({"code": code}) if outcome is m.Outcome.FAILED else b""
        said = m.Results(
            [ids.to_bytes(key[0])], [key[1]], [token], [int(outcome)], [b"v"], [failed], [900]
        )
        self.held[key] = token, m.Phase.ENDED
        self.unacked[key] = said
        self.said.append(said)
        return said

    def lose_memory(self) -> None:
        """Come up anew with nothing, as after a power cut."""
        self.held.clear()
        self.gpus.clear()
        self.refused.clear()
        self.unacked.clear()
        self.acked.clear()
        self.residents.clear()
        self.begin_life()

    def begin_life(self) -> None:
        """Start as the next agent, which finds what runs in the file of grants."""
        self.life += 1
        self.incarnation = f"{self.name}-{self.life}".encode().ljust(16, b"-")
        self.rev = self.seq = 0
        self.settle()
        before, self.slots = self.slots, self._empty()
        for key, charge in _written_down(self._holder, before).items():
            self.slots.take(self._holder[key], charge, adopt=True)
        self.settle()

    def _is_behind(self) -> bool:
        """Tell whether it holds something that the scheduler took away from it."""
        tasks = self.world.core.tasks
        return any(
            task not in tasks or (live := tasks[task].live) is None
            or (live.node, live.number) != (self.name, number)
            for task, number in self.held
        )  # fmt: skip

    def _charge(self, key: Key) -> Charge:
        spec, gpus = self.offered[key]
        return self.slots.charge(spec.request, gpus)

    def _take_back(self) -> None:
        for key in [key for key in self._holder if not self._lives(key)]:
            self.slots.release(self._holder.pop(key))

    def _lives(self, key: Key) -> bool:
        return key in self.held and self.held[key][1] is not m.Phase.ENDED

    def _lend(self, key: Key) -> bool:
        charge = self._charge(key)
        if rides(self, key):
            return True
        if self.slots.refusal(charge):
            return False
        self._holders += 1
        self._holder[key] = self._holders
        self.slots.take(self._holders, charge)
        return True

    def _empty(self) -> Slots:
        has = self.capabilities
        cards = {gpu.uuid: Card(gpu.memory_bytes) for gpu in has.gpus}
        slots = Slots(has.cpus_milli, has.memory_bytes, cards, resources=dict(has.resources))
        return slots

    def _load(self, task: int) -> bool:
        """Load the model of a call, if that is not loaded; tell whether there is room for it."""
        self._count_models()
        found = models.wanted(self, task)
        if found is None:
            return True
        if self.slots.refusal(_charge_of(found)):
            return False
        self.residents.append(found)
        self._count_models()
        return True

    def _count_models(self) -> None:
        """Have the guard hold what is loaded, all of which fits."""
        for holder in [each for each in self.slots.holders if isinstance(each, str)]:
            self.slots.release(holder)
        for number, each in enumerate(self.residents):
            self.slots.take(f"model:{number}", _charge_of(each))


def rides(node: GuardedNode, key: Key) -> bool:
    """Tell whether a call joins others in a worker that has its slot already."""
    spec, _ = node.offered[key]
    handlers = {each.name: each for each in node.capabilities.handlers}
    if spec.kind != "handler" or handlers[spec.target].max_batch == 1:
        return False
    kind = (spec.target, spec.cpus_milli, spec.memory_bytes)
    beside = 0
    for other in filter(node._lives, node._holder):
        its, _ = node.offered[other]
        beside += kind == (its.target, its.cpus_milli, its.memory_bytes)
    workers = sum(each.handler == spec.target for each in node.residents)
    is_full = beside > 0 and node.slots.refusal(node._charge(key)) != ""
    return is_full or beside >= max(workers, 1)


def _charge_of(resident: Resident) -> Charge:
    uuid, size = resident.gpu_uuid, resident.vram_bytes
    return Charge(cards=(CardCharge(uuid, 0, size),) if uuid else ())


def _written_down(holders: dict[Key, int], slots: Slots) -> dict[Key, Charge]:
    """Return the charges of attempts as the next agent reads them from the disk."""
    spec = TaskSpec("command", argv=["true"])
    with tempfile.TemporaryDirectory() as folder:
        file = grants.GrantsFile(Path(folder))
        file.add_attempts(
            Attempt(ids.to_bytes(task), number, b"", plan_of(spec, "ana"), slots.holders[holder])
            for (task, number), holder in holders.items()
        )
        file.close()
        found = grants.read(Path(folder)).attempts
    return {(ids.from_bytes(task), number): each.charge for (task, number), each in found.items()}


def over_lent(node: GuardedNode) -> list[str]:
    """Judge by hand, from what was offered alone, what a node has lent too much of."""
    has, found = node.capabilities, []
    cpus = memory = 0
    named: Counter[str] = Counter()
    users: dict[str, list[TaskSpec]] = {}
    lent = node.lent()
    for spec, gpus in lent:
        cpus += spec.cpus_milli
        memory += spec.memory_bytes
        named.update(spec.resources)
        if spec.kind != "handler":
            for uuid in gpus:
                users.setdefault(uuid, []).append(spec)
        if sum(uuid.startswith("MIG-") for uuid in gpus) and len(gpus) > 1:
            found.append("a task has several MIG devices")
    if cpus > has.cpus_milli or memory > has.memory_bytes:
        found.append("CPUs or memory")
    found += [name for name, count in named.items() if count > has.resources.get(name, 0)]
    if any(spec.exclusive for spec, _ in lent) and len(lent) > 1:
        found.append("a task is not alone")
    for gpu in has.gpus:
        found += _over_lent_card(gpu, users.get(gpu.uuid, []), node.residents)
    return found


def _over_lent_card(gpu: wire.Gpu, users: list[TaskSpec], residents: list[Resident]) -> list[str]:
    resident = sum(each.vram_bytes for each in residents if each.gpu_uuid == gpu.uuid)
    shares = sum(1_000 if spec.gpus else spec.gpu_milli for spec in users)
    used = resident + sum(
        gpu.memory_bytes * spec.gpu_milli // 1_000 if spec.gpu_milli else spec.vram_bytes
        for spec in users
        if not spec.gpus
    )
    whole = any(spec.gpus for spec in users)
    if whole and (len(users) > 1 or resident):
        return [f"{gpu.uuid} is lent whole and to another"]
    return [gpu.uuid] if shares > 1_000 or used > gpu.memory_bytes else []
