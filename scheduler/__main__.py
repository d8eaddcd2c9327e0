"""How the scheduler daemon starts and stops: `remuda-scheduler`."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import apsw

from ..config.cluster import CLIENT
from ..config.endpoints import tcp_url, write_endpoints
from ..config.first_keys import Trusted
from ..config.home import HOME_VARIABLE, Home, default_home
from ..config.keys import KeyPair, ensure_key_pair, fingerprint
from ..config.load import Loaded, load
from ..config.logs import configure_logs, get_logger
from ..config.store_home import ensure_store_secret
from ..protocol.errors import RemudaError
from .assembly import Parts, authorized, endpoints, make_door, make_loop
from .claimed import Signatures
from .journal import Journal
from .key_verbs import bootstrap, bootstrap_admin, bootstrap_store, live_keys
from .loop import IO_FAILURE_EXIT, Log, Loop, read_clock
from .registry import Registry
from .store_side import StoreSide
from .trouble import Trouble
from .wire import Wire


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
    """Open the journal, make the sockets, prove that they are closed to strangers, and serve."""
    settings = loaded.settings.scheduler
    journal = Journal.open(
        settings.state_dir or home.scheduler_dir,
        ballast_bytes=settings.ballast_bytes,
        disk_free_bytes_min=settings.disk_free_bytes_min,
    )
    try:
        epoch = journal.next_epoch()  # durable before a socket is bound
        journal.room.look()  # makes the ballast
        pair = ensure_key_pair(home.key_file("scheduler"))
        _admit_first_keys(journal.registry, home, loaded, pair, log)
        keys = live_keys(journal.registry)
        door = make_door(settings, pair, keys)
        trouble = Trouble(log)
        wire = Wire(door, settings.ports(), keys, trouble)
        try:
            signatures = Signatures(ensure_store_secret(home))
            store = StoreSide(home, keys, signatures, journal.objects, trouble, settings.store_port)
            parts = Parts(journal, wire, door, keys, loaded, log, trouble, store)
            loop = make_loop(parts, epoch)
            _stop_on_signals(loop, wire)
            write_endpoints(home.endpoints_file, endpoints(parts, epoch))
            log.info("listening", address=door.host, port=wire.ports().control, epoch=epoch,
                     keys=len(keys.live))  # fmt: skip
            loop.run()
        finally:
            wire.close()
            door.context.destroy(linger=0)
    finally:
        journal.close()


def _admit_first_keys(
    registry: Registry, home: Home, loaded: Loaded, pair: KeyPair, log: Log
) -> None:
    """Take keys from the home's list; without list and keys, make the first admin."""
    now_ms = read_clock().wall_ms
    for why in bootstrap(registry, authorized(home), now_ms):
        log.warning("key not taken from the authorized file", why=why)
    settings = loaded.settings
    endpoint = tcp_url(settings.scheduler.listen, settings.scheduler.port)
    scheduler = Trusted(pair.public, endpoint, settings.cluster.name)
    admin = bootstrap_admin(registry, home, scheduler, now_ms)
    bootstrap_store(registry, home, scheduler, now_ms)
    if admin is not None:
        log.info("made the first admin key", name=admin.name, file=str(home.key_file(CLIENT)),
                 fingerprint=fingerprint(admin.key.public))  # fmt: skip


def _stop_on_signals(loop: Loop, wire: Wire) -> None:
    """Let SIGTERM and SIGINT end the loop, also while it waits in poll; SIGUSR2 ends granting."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)  # noqa: FBT003 - the socket's own interface
    writer.setblocking(False)  # noqa: FBT003 - the socket's own interface
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    signal.signal(signal.SIGUSR2, lambda *_: loop.hold())
    wire.watch_descriptor(reader.fileno())
    _KEPT.extend((reader, writer))


_KEPT: list[socket.socket] = []  # open until the process ends: signals write there


if __name__ == "__main__":
    sys.exit(main())
