"""How the scheduler daemon starts and stops: `remuda-scheduler`."""

from __future__ import annotations

import argparse
import importlib.metadata
import ipaddress
import os
import resource
import secrets
import signal
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import zmq

from ..config.endpoints import Endpoints, write_endpoints
from ..config.home import HOME_VARIABLE, Home, default_home
from ..config.keys import AuthorizedKey, ensure_key_pair, load_authorized
from ..config.load import Loaded, load
from ..config.log_once import LogOnce
from ..config.logs import configure_logs, get_logger
from ..config.settings_scheduler import SchedulerSettings
from ..protocol.errors import NotFound, Refused, RemudaError
from .access import Role
from .core import Core, CoreSettings
from .edge import Edge
from .intake import Intake
from .journal import Journal
from .key_verbs import bootstrap, live_keys
from .loop import IO_FAILURE_EXIT, Log, Loop, read_clock
from .outputs import Outputs
from .self_test import check_strangers_are_refused
from .sockets import Door
from .view import View
from .watch import Watches
from .wire import Wire
from .zap import Keys

SOCKETS_BESIDE_NODES = 128
FILES_PER_NODE = 8
SELDOM_S = 3_600.0
_NS = 1_000_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the scheduler until SIGTERM or SIGINT; return the exit code."""
    options = _parse(argv)
    home = Home(options.home or Path(os.environ.get(HOME_VARIABLE) or default_home()))
    try:
        loaded = load(
            home.root,
            options={"scheduler.port": options.port, "logging.level": options.log_level},
            files=options.config,
        )
    except RemudaError as error:
        sys.stderr.write(f"remuda-scheduler: {error}\n")
        return error.exit_code
    configure_logs(loaded.settings.logging, daemon="scheduler")
    log = get_logger()
    try:
        home.create()
        _serve(home, loaded, log)
    except RemudaError as error:
        log.critical("cannot serve", error=str(error), code=error.code)
        return error.exit_code
    except apsw.Error as error:
        log.critical("journal failed", error=f"{type(error).__name__}: {error}")
        return IO_FAILURE_EXIT
    log.info("stopped")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="remuda-scheduler",
        description="The scheduler of a remuda cluster, in the foreground.",
        epilog="Example: remuda-scheduler --home /var/lib/remuda --port 7700",
    )
    parser.add_argument("--home", type=Path, help="directory of the cluster (REMUDA_HOME)")
    parser.add_argument(
        "--config", type=Path, action="append", default=[], help="a configuration file more"
    )
    parser.add_argument("--port", type=int, help="the control port; 0 takes free ones")
    parser.add_argument("--log-level", help="debug, info, warning or error")
    return parser.parse_args(argv)


def _serve(home: Home, loaded: Loaded, log: Log) -> None:
    settings = loaded.settings.scheduler
    state_dir = settings.state_dir or home.scheduler_dir
    journal = Journal.open(state_dir)
    try:
        epoch = journal.next_epoch()  # durable before a socket is bound
        for name in bootstrap(journal.registry, _authorized(home), read_clock().wall_ms):
            log.warning("key not taken from the authorized file", why=name)
        keys = live_keys(journal.registry)
        host = _address(settings.listen, keys)
        context = _context(settings)
        door = Door(
            context,
            host,
            ensure_key_pair(home.key_file("scheduler")),
            settings.handshake_s,
            settings.frame_bytes_max,
        )
        on_trouble = _Trouble(log)
        wire = Wire(door, settings.ports(), keys, on_trouble)
        try:
            _run(home, loaded, journal, wire, door, keys, epoch, log, on_trouble)
        finally:
            wire.close()
            context.destroy(linger=0)
    finally:
        journal.close()


def _run(
    home: Home,
    loaded: Loaded,
    journal: Journal,
    wire: Wire,
    door: Door,
    keys: Keys,
    epoch: int,
    log: Log,
    on_trouble: _Trouble,
) -> None:
    now = read_clock()
    core = Core(
        journal.recover(),
        epoch=epoch,
        secret=journal.secret(),
        seed=secrets.randbits(63),
        settings=core_settings(loaded.settings.scheduler),
        now=now,
    )
    dispatch_ports = _dispatch_ports(journal, keys)
    wire.pipes.reserve(dispatch_ports)
    wire.listen()
    check_strangers_are_refused(door.context, wire, door.host, door.key.public)
    wire.watch_connections()
    ports = wire.ports()
    view = View(
        core=core,
        history=journal.history,
        registry=journal.registry,
        watches=Watches(epoch, changes_max=loaded.settings.scheduler.watch_events_max),
        loaded=loaded,
        cluster=loaded.settings.cluster.name,
        version=importlib.metadata.version("remuda"),
        started_ms=now.wall_ms,
        listen=f"{door.host}:{ports.control}",
        ended=Counter(journal.history.ended_counts()),
    )
    edge = Edge(
        journal.history,
        value_bytes_max=loaded.settings.scheduler.inline_bytes_max,
        random_bits=secrets.randbits,
    )
    outputs = Outputs()
    intake = Intake(view, edge, keys, wire, outputs, on_trouble)
    loop = Loop(
        core=core,
        journal=journal,
        wire=wire,
        view=view,
        intake=intake,
        outputs=outputs,
        log=log,
        on_trouble=on_trouble,
    )
    loop.dispatch_ports.update(dispatch_ports)
    _stop_on_signals(loop, wire)
    write_endpoints(
        home.endpoints_file,
        Endpoints(
            cluster=view.cluster,
            host=door.host,
            control=ports.control,
            uplink=ports.uplink,
            heartbeat=ports.heartbeat,
            beacon=ports.beacon,
            scheduler_public=door.key.public,
            epoch=epoch,
            pid=os.getpid(),
        ),
    )
    log.info("listening", control=view.listen, epoch=epoch, tasks=len(core.tasks),
             keys=len(keys.live))  # fmt: skip
    loop.run()


class _Trouble:
    """Logs each kind of trouble once per cause; what strangers send never floods the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._once = LogOnce()
        self._seldom = LogOnce(again_s=SELDOM_S)

    def __call__(self, what: str, about: str) -> None:
        if what == "connection_ended":  # mostly clients that leave
            if self._seldom.should_log(what) is not None:
                self._log.info(what, about=about)
            return
        silenced = self._once.should_log((what, about[:200]))
        if silenced is not None:
            self._log.warning(what, about=about[:500], silenced=silenced)


def core_settings(settings: SchedulerSettings) -> CoreSettings:
    """Translate the configuration into the core's numbers."""
    return CoreSettings(
        lost_after_ns=int(settings.lost_after_s * _NS),
        offer_resend_ns=int(settings.offer_resend_s * _NS),
        offer_tries=settings.offer_tries,
        heartbeat_ms=int(settings.heartbeat_s * 1000),
        lease_ms=int(settings.lease_s * 1000),
        queued_max=settings.queued_tasks_max,
        queued_per_owner_max=settings.user_tasks_max,
    )


def _authorized(home: Home) -> list[AuthorizedKey]:
    try:
        return load_authorized(home.authorized_file)
    except NotFound:
        return []  # keys may be in the journal already, or come later


def _address(listen: str, keys: Keys) -> str:
    """Turn `listen` into an address; raise Refused where nobody could be told from anybody."""
    name = {"*": "0.0.0.0"}.get(listen, listen)  # noqa: S104 - what the user asked for
    try:
        address = ipaddress.ip_address(
            name if ":" in name else socket.getaddrinfo(name, None, socket.AF_INET)[0][4][0]
        )
    except (ValueError, OSError) as error:
        raise Refused(f"[scheduler] listen: {listen!r} is no address of this host") from error
    if not address.is_loopback and not keys.live:
        raise Refused(
            f"will not listen on {address} without keys: write some into the home's authorized "
            "file (`remuda key new`), or listen on 127.0.0.1"
        )
    return str(address)


def _context(settings: SchedulerSettings) -> zmq.Context[Any]:
    """Make room for a socket and some descriptors per node."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.nodes_max * FILES_PER_NODE + 1_024
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    context: zmq.Context[Any] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, settings.nodes_max + SOCKETS_BESIDE_NODES)
    return context


def _dispatch_ports(journal: Journal, keys: Keys) -> dict[str, int]:
    nodes = [who.name for who in keys.live.values() if who.role is Role.NODE]
    found = {node: journal.registry.dispatch_port(node) for node in nodes}
    return {node: port for node, port in found.items() if port}


def _stop_on_signals(loop: Loop, wire: Wire) -> None:
    """Let SIGTERM and SIGINT end the loop, also while it waits in poll."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)  # noqa: FBT003 - the socket's own interface
    writer.setblocking(False)  # noqa: FBT003 - the socket's own interface
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    wire.watch_descriptor(reader.fileno())
    _KEPT.extend((reader, writer))


_KEPT: list[socket.socket] = []  # open until the process ends: signals write there


if __name__ == "__main__":
    sys.exit(main())
