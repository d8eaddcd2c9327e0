"""How each kind of fault is done to a fleet, and how all of it is undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from remuda.node.gpu import Xid
from remuda.protocol import codec

from . import asking, configuring
from .agenda import MS, SECOND
from .doom import Doom, Point
from .host import leave_unguarded
from .network import Weather
from .nvml import STRANGER_PID, Stranger
from .plan import NETWORK, Fault, Kind
from .restoring import Restoring
from .storage import DiskFault

if TYPE_CHECKING:
    from .world import World

REACH_NS = 3 * SECOND
TRIES = 60
AGAIN_NS = 250 * MS
XID = 48
_WEATHER = {
    Kind.LOSS: "loss",
    Kind.DUPLICATION: "duplication",
    Kind.DELAY: "delay",
    Kind.REORDER: "reorder",
    Kind.PARTITION: "cut",
    Kind.ONE_WAY: "cut",
}
_DOOMS = {
    Kind.CRASH_BEFORE_COMMIT: (Point.BEFORE_COMMIT, None),
    Kind.CRASH_AFTER_COMMIT: (Point.AFTER_COMMIT, None),
    Kind.CRASH_BETWEEN_SENDS: (Point.BETWEEN_SENDS, None),
    Kind.COMMIT_ROLLED_BACK: (Point.DISK, DiskFault.ROLLED_BACK),
    Kind.COMMIT_DURABLE: (Point.DISK, DiskFault.DURABLE),
}


class Harm:
    """Strike a world; a fault counts once it did something."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stopped = False

    def strike(self, fault: Fault) -> None:
        """Do one fault."""
        struck = self._once(fault)
        if fault.kind in NETWORK:
            self._weather(fault, struck)
        elif fault.kind in _DOOMS:
            point, disk = _DOOMS[fault.kind]
            doom = Doom(point, fault.amount, disk, fault.span_ms * MS, struck)
            self._world.scheduler.dooms.append(doom)
        else:
            self._try(fault, struck, TRIES)

    def _try(self, fault: Fault, struck: Callable[[], None], tries: int) -> None:
        """Do a fault once there is something to do it to; in the end let it be."""
        if _STRIKE[fault.kind](self._world, fault):
            struck()
        elif tries and not self._stopped:
            self._world.agenda.after(AGAIN_NS, lambda: self._try(fault, struck, tries - 1))

    def stop(self) -> None:
        """Undo what lasts: from here on the world is kind."""
        self._stopped = True
        world = self._world
        world.network.weather.clear()
        world.scheduler.dooms.clear()
        world.scheduler.slow_turns.clear()
        world.scheduler.disk.reserve.is_disk_full = False
        for agent in world.agents.values():
            agent.crash_in = -1
        for host in world.hosts.values():
            host.hole_until_ns = 0
            host.nvml.mend()

    def _once(self, fault: Fault) -> Callable[[], None]:
        is_done = False

        def struck() -> None:
            nonlocal is_done
            if not is_done:
                is_done = True
                self._world.struck[fault.kind] += 1
                text = f"FAULT {fault.kind.value} ({fault.target or 'all'})"
                self._world.trace.note(self._world.agenda.now_ns, text)

        return struck

    def _weather(self, fault: Fault, struck: Callable[[], None]) -> None:
        is_cut = fault.kind in (Kind.PARTITION, Kind.ONE_WAY)
        a, b = "scheduler", fault.target
        if fault.kind is Kind.ONE_WAY and fault.amount:
            a, b = b, a
        self._world.network.weather.append(
            Weather(
                _WEATHER[fault.kind], a, b, self._world.agenda.now_ns + fault.span_ms * MS,
                100 if is_cut else fault.amount, REACH_NS, fault.kind is Kind.ONE_WAY, struck,
            )
        )  # fmt: skip


def _crash_at_rest(world: World, fault: Fault) -> bool:
    if world.scheduler.process is None:
        return False
    world.scheduler.crash(fault.span_ms * MS)
    return True


def _slow_disk(world: World, fault: Fault) -> bool:
    world.scheduler.slow_turns += [fault.span_ms * MS] * fault.amount
    return True


def _full_disk(world: World, fault: Fault) -> bool:
    reserve = world.scheduler.disk.reserve
    reserve.is_disk_full = True

    def freed() -> None:
        reserve.is_disk_full = False

    world.agenda.after(fault.span_ms * MS, freed)
    return True


def _old_agent(world: World, fault: Fault) -> bool:
    name = fault.target
    agent = world.agents.get(name)
    if agent is not None and agent.alive:
        agent.crash()
    world.speaks[name] = codec.VERSION_OLDEST
    world.start_agent(name)
    world.speaks[name] = codec.VERSION
    life = world.lives[name]

    def upgrade() -> None:
        """Have the host upgraded; what only a node of this version may run waits for that."""
        if world.lives[name] == life and world.agents[name].alive:
            world.agents[name].crash()
            world.start_agent(name)

    world.agenda.after(fault.span_ms * MS, upgrade)
    return True


def _scheduler_skew(world: World, fault: Fault) -> bool:
    world.scheduler.clock.skew(world.agenda.now_ns, fault.amount)
    return True


def _wall_jump(world: World, fault: Fault) -> bool:
    world.scheduler.clock.jump(fault.amount * SECOND)
    return True


def _agent_crash(world: World, fault: Fault) -> bool:
    agent = world.agents.get(fault.target)
    if agent is None or not agent.alive:
        return False
    agent.crash()
    world.agenda.after(fault.span_ms * MS, lambda: world.start_agent(fault.target))
    return True


def _agent_crash_mid_turn(world: World, fault: Fault) -> bool:
    agent = world.agents.get(fault.target)
    if agent is None or not agent.alive:
        return False
    agent.crash_in = fault.amount

    def back() -> None:
        if agent.alive:  # it did so little that it never came to the point
            agent.crash_in = -1
        world.start_agent(fault.target)

    world.agenda.after(fault.span_ms * MS, back)
    return True


def _agent_freeze(world: World, fault: Fault) -> bool:
    agent = world.agents.get(fault.target)
    if agent is None or not agent.alive:
        return False
    agent.freeze(world.agenda.now_ns + fault.span_ms * MS)
    return True


def _node_skew(world: World, fault: Fault) -> bool:
    world.hosts[fault.target].clock.skew(world.agenda.now_ns, fault.amount)
    return True


def _host_reboot(world: World, fault: Fault) -> bool:
    agent = world.agents.get(fault.target)
    if agent is not None and agent.alive:
        agent.crash()
    world.hosts[fault.target].reboot(keeps_disk=fault.amount % 2 == 0)
    world.agenda.after(fault.span_ms * MS, lambda: world.start_agent(fault.target))
    return True


def _runner_kill(world: World, fault: Fault) -> bool:
    host = world.hosts[fault.target]
    busy = [runner for runner in host.runners if runner.alive and (runner.works or runner.worker)]
    if not busy:
        return False
    busy[fault.amount % len(busy)].kill()
    agent = world.agents[fault.target]
    if not agent.alive or agent.frozen_until_ns > world.agenda.now_ns:
        leave_unguarded(host)
    return True


def _byzantine(world: World, fault: Fault) -> bool:
    world.mallory.lie(fault.amount)
    return True


def _stale_word(world: World, fault: Fault) -> bool:
    return _replay(world, fault.target, "scheduler", fault.amount)


def _stale_order(world: World, fault: Fault) -> bool:
    return _replay(world, "scheduler", fault.target, fault.amount)


def _replay(world: World, source: str, target: str, count: int) -> bool:
    """Let some of the frames that were sent before arrive again, at once."""
    old = world.network.old_frames.get((source, target), ())
    for _ in range(min(count, len(old))):
        channel, payload = old[world.agenda.chance.randrange(len(old))]
        world.network.stations[target].receive(source, channel, payload, 0)
    return bool(old)


def _client_storm(world: World, fault: Fault) -> bool:
    return sum(world.clients[fault.target].storm() for _ in range(fault.amount)) > 0


def _node_storm(world: World, fault: Fault) -> bool:
    agent = world.agents.get(fault.target)
    if agent is None or not agent.alive:
        return False
    for at in range(fault.amount):
        world.agenda.after(at * 10 * MS, lambda: _say_again(world, fault.target))
    return True


def _gpu_fault(world: World, fault: Fault) -> bool:
    """Break a card: an error that is told once, memory to repair, or a card that is not there."""
    nvml = world.hosts[fault.target].nvml
    card = nvml.capabilities.gpus[fault.amount % len(nvml.capabilities.gpus)]
    until_ns = world.agenda.now_ns + fault.span_ms * MS
    what = fault.amount // 4
    if what == 0:
        nvml.xids.append(Xid(card.index, XID))
    elif what == 1:
        nvml.ecc_errors[card.uuid] += 1
    elif what == 2:
        nvml.unrepaired[card.uuid] = until_ns
    else:
        nvml.lost[card.uuid] = until_ns
    return True


def _stranger(world: World, fault: Fault) -> bool:
    nvml, now_ns = world.hosts[fault.target].nvml, world.agenda.now_ns
    card = nvml.capabilities.gpus[fault.amount % len(nvml.capabilities.gpus)]
    takes = card.memory_bytes * (4 + fault.amount // 2) // 12
    pid = STRANGER_PID + world.struck[Kind.STRANGER]
    nvml.strangers.append(Stranger(pid, card.uuid, takes, now_ns, now_ns + fault.span_ms * MS))
    return True


def _black_hole(world: World, fault: Fault) -> bool:
    world.hosts[fault.target].hole_until_ns = world.agenda.now_ns + fault.span_ms * MS
    return True


def _pressure(world: World, fault: Fault) -> bool:
    asking.press(world, fault.target, fault.amount)
    return True


def _reconfigure(world: World, fault: Fault) -> bool:
    world.operator.request(configuring.request(world, fault.target, fault.amount))
    return True


def _restore(world: World, fault: Fault) -> bool:
    down_ns = (fault.amount % 3) * 2 * SECOND + SECOND // 10
    Restoring(world, fault.amount).begin(fault.span_ms * MS, down_ns)
    return True


def _say_again(world: World, name: str) -> None:
    agent = world.agents[name]
    if agent.alive:
        agent.core.state.outbox.resend_all()
        agent.wake()


_STRIKE: dict[Kind, Callable[[World, Fault], bool]] = {
    Kind.CRASH_AT_REST: _crash_at_rest,
    Kind.FULL_DISK: _full_disk,
    Kind.SLOW_DISK: _slow_disk,
    Kind.SCHEDULER_SKEW: _scheduler_skew,
    Kind.WALL_JUMP: _wall_jump,
    Kind.AGENT_CRASH: _agent_crash,
    Kind.AGENT_CRASH_MID_TURN: _agent_crash_mid_turn,
    Kind.AGENT_FREEZE: _agent_freeze,
    Kind.NODE_SKEW: _node_skew,
    Kind.HOST_REBOOT: _host_reboot,
    Kind.OLD_AGENT: _old_agent,
    Kind.RUNNER_KILL: _runner_kill,
    Kind.BYZANTINE: _byzantine,
    Kind.STALE_WORD: _stale_word,
    Kind.STALE_ORDER: _stale_order,
    Kind.CLIENT_STORM: _client_storm,
    Kind.NODE_STORM: _node_storm,
    Kind.GPU_FAULT: _gpu_fault,
    Kind.STRANGER: _stranger,
    Kind.BLACK_HOLE: _black_hole,
    Kind.PRESSURE: _pressure,
    Kind.RESTORE: _restore,
    Kind.RECONFIGURE: _reconfigure,
}
