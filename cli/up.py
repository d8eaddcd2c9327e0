"""How does `remuda up` bring a cluster up on this host, keep it, and take it down?"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..config.home import Home
from ..config.load import load
from ..config.store_home import port_file
from ..protocol.errors import Refused, RemudaError, Unreachable
from . import daemons, ports
from .dealing import Host, Share, deal, probe_host
from .processes import Process, write_pid_file
from .setup_home import Plan, last_control_port, orphans, prepare
from .supervisor import Supervisor
from .writing import counted

NODES_MAX = 64
READY_TIMEOUT_S = 60.0
READY_POLL_S = 0.05
READY_REQUEST_S = 1.0
ENDS_BEFORE_READY_MAX = 3
PORT_CHOICES_MAX = 3
IDLE_TURN_S = 3600.0
LOCK_NAME = "up.lock"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked of `up`; None leaves the choice to it."""

    home: Home
    nodes: int | None
    port: int | None


class Stopped(Exception):  # noqa: N818 - not an error
    """A signal asks `up` to stop."""


def run(wish: Wish, tell: Tell, say_ready: Callable[[str], None]) -> int:
    """Run a cluster in the foreground until a signal; return the exit code."""
    wish.home.create()
    held = lock(wish.home)
    signals = Signals()
    write_pid_file(wish.home.pid_file(daemons.SUPERVISOR), os.getpid())
    supervisor = Supervisor(tell, signals.fileno())
    try:
        plan = _bring_up(wish, supervisor, signals, tell)
        say_ready(ready_line(plan))
        while True:
            supervisor.turn(IDLE_TURN_S)
            signals.check()
    except Stopped:
        return 0
    finally:
        supervisor.stop(orphans(wish.home))
        forget(wish.home)
        os.close(held)


def forget(home: Home) -> None:
    """Remove what says that something runs in a home."""
    home.endpoints_file.unlink(missing_ok=True)
    port_file(home).unlink(missing_ok=True)
    home.pid_file(daemons.SUPERVISOR).unlink(missing_ok=True)


def ready_line(plan: Plan) -> str:
    """Write the one line that says that tasks can be submitted."""
    nodes = counted(len(plan.shares), "node")
    return f"ready {plan.settings.cluster.name} {plan.endpoint} {nodes} home={plan.home.root}"


class Signals:
    """Turn SIGINT, SIGTERM and SIGHUP into a wake-up and an exception at a chosen place."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self.received = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def fileno(self) -> int:
        """Return the descriptor that is readable after a signal."""
        return self._reader.fileno()

    def check(self) -> None:
        """Raise Stopped when a signal has come."""
        with contextlib.suppress(BlockingIOError):  # nothing came: the usual case
            self._reader.recv(4096)
        if self.received:
            raise Stopped

    def _on_signal(self, number: int, _frame: object) -> None:
        self.received = number


def _bring_up(wish: Wish, supervisor: Supervisor, signals: Signals, tell: Tell) -> Plan:
    running = daemons.running(wish.home.run_dir)
    running.pop(daemons.SUPERVISOR, None)
    for choice in range(PORT_CHOICES_MAX):
        plan = _plan(wish, running, fresh_port=choice > 0)
        nodes = counted(len(plan.shares), "node")
        tell(f"starting {plan.settings.cluster.name} at {plan.endpoint} with {nodes}")
        wanted = prepare(plan)
        if daemons.SCHEDULER not in running:
            wish.home.endpoints_file.unlink(missing_ok=True)  # of a scheduler that has gone
        if daemons.STORE not in running:
            port_file(wish.home).unlink(missing_ok=True)
        supervisor.start(wanted, running)
        if _wait_ready(plan, supervisor, signals, last=choice + 1 == PORT_CHOICES_MAX):
            return plan
        supervisor.stop()  # another process was quicker at one of the ports
        supervisor.watched.clear()
        running = {}
    raise AssertionError("the last choice either is ready or raises")


def _plan(wish: Wish, running: dict[str, Process], *, fresh_port: bool) -> Plan:
    settings = load(wish.home.root).settings
    nodes = _node_count(wish, running)
    port = _control_port(wish, running, settings.scheduler.listen, nodes, fresh=fresh_port)
    shares: list[Share | None] = [None]
    if nodes > 1:
        node, host = settings.node, probe_host()
        offered = Host(
            cpus=min(host.cpus, node.cpus or host.cpus),
            memory_bytes=min(host.memory_bytes, node.memory_bytes or host.memory_bytes),
            gpus=host.gpus if node.gpus is None else node.gpus,
        )
        shares = list(deal(offered, nodes))
    return Plan(wish.home, settings, port, shares, Path.cwd())


def _node_count(wish: Wish, running: dict[str, Process]) -> int:
    serving = {daemons.SCHEDULER, daemons.STORE}
    old = len(running.keys() - serving)
    nodes = wish.nodes or old or 1
    wanted = {f"node-{number}" for number in range(1, nodes + 1)}
    extra = sorted(set(running) - wanted - serving)
    if extra:
        raise Refused(
            f"{', '.join(extra)} still run, and {counted(nodes, 'node')} were asked for: "
            f"stop them with `{down_command(wish.home)}`"
        )
    return nodes


def _control_port(
    wish: Wish, running: dict[str, Process], listen: str, nodes: int, *, fresh: bool
) -> int:
    """Choose the port: the one asked for, that of what still runs, the last one, or a free one."""
    last = last_control_port(wish.home)
    if running and last is not None:
        if wish.port not in (None, last):
            raise Refused(
                f"daemons of this home still run at port {last}: "
                f"stop them with `{down_command(wish.home)}`, or leave --port out"
            )
        return last
    if wish.port is not None:
        if not ports.are_free(listen, ports.needed_ports(wish.port, nodes)[:1]):
            raise Refused(f"port {wish.port} is in use: choose another, or leave --port out")
        return wish.port
    if last is not None and not fresh and ports.are_free(listen, ports.needed_ports(last, nodes)):
        return last
    return ports.free_control_port(listen, nodes, random.SystemRandom())


def _wait_ready(plan: Plan, supervisor: Supervisor, signals: Signals, *, last: bool) -> bool:
    """Wait until store and nodes are there; False when the daemons may need other ports."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not _is_ready(plan):
        supervisor.turn(READY_POLL_S)
        signals.check()
        failed = supervisor.hopeless(ENDS_BEFORE_READY_MAX)
        if failed is None and time.monotonic() < deadline:
            continue
        if failed is not None and not failed.daemon.is_node and not last:
            return False
        raise _not_ready(supervisor)
    return True


def _is_ready(plan: Plan) -> bool:
    from ..client import control
    from ..client.connection import open_connection

    if not plan.home.endpoints_file.exists() or not port_file(plan.home).exists():
        return False
    try:
        with open_connection(home=plan.home.root, request_timeout_s=READY_REQUEST_S) as link:
            rows = control.list_nodes(link)
    except Unreachable:
        return False
    ready = {row["name"] for row in rows if row["state"] == "ready"}
    return ready >= set(plan.node_names)


def _not_ready(supervisor: Supervisor) -> RemudaError:
    failed = supervisor.hopeless(1)
    if failed is None:
        return RemudaError(f"the nodes did not register within {READY_TIMEOUT_S:g} s: see the logs")
    log = failed.daemon.log_file
    why = daemons.last_line(log) or "it said nothing"
    return RemudaError(f"{failed.daemon.name} does not start: {why} (log: {log})")


def lock(home: Home) -> int:
    """Take the lock that one `up` of a home holds for life; raises Refused."""
    descriptor = os.open(home.run_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Refused(
            f"a cluster is already up in {home.root}: stop it with `{down_command(home)}`"
        ) from None
    return descriptor


def down_command(home: Home) -> str:
    """Write the command that stops what runs in a home."""
    from ..config.home import default_home

    return "remuda down" if home.root == default_home() else f"remuda down --home {home.root}"


def stderr_line(text: str) -> None:
    """Tell progress; a reader that has gone does not stop the cluster."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        return
