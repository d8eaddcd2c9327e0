"""How the store daemon starts and stops: `remuda-store`."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import apsw

from ..config.giving_way import give_way
from ..config.home import HOME_VARIABLE, Home, default_home
from ..config.keys import ensure_key_pair
from ..config.load import Loaded, load
from ..config.logs import configure_logs, get_logger
from ..config.store_home import keys_file, objects_dir, port_file, read_store_port, write_store_port
from ..protocol.errors import Conflict, Invalid, RemudaError
from .arenas import bound_arenas
from .assembly import INDEX_FILE, Ground, Store, make_store
from .backend import Backend
from .bucket import open_bucket
from .desk import Log
from .index import open_index
from .keys import LiveKeys
from .local import LocalFolder
from .reconcile import reconcile
from .self_test import check_stranger_is_refused
from .statedir import claim
from .wire import Wire

IO_FAILURE_EXIT = 70


def main(argv: Sequence[str] | None = None) -> int:
    """Run the store until SIGTERM or SIGINT; return the exit code."""
    options = _parse(argv)
    home = Home(options.home or Path(os.environ.get(HOME_VARIABLE) or default_home()))
    try:
        loaded = load(home.root, options={"logging.level": options.log_level}, files=options.config)
    except RemudaError as error:
        sys.stderr.write(f"remuda-store: {error}\n")
        return error.exit_code
    configure_logs(loaded.settings.logging, daemon="store")
    log = get_logger()
    try:
        home.create()
        _serve(home, loaded, options.port, log)
    except RemudaError as error:
        log.critical("cannot serve", error=str(error), code=error.code)
        return error.exit_code
    except (apsw.Error, OSError) as error:
        log.critical("the disk failed", error=f"{type(error).__name__}: {error}")
        return IO_FAILURE_EXIT
    log.info("stopped")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="remuda-store",
        description="The store of a remuda cluster, in the foreground.",
        epilog="Example: remuda-store --home /var/lib/remuda",
    )
    parser.add_argument("--home", type=Path, help="directory of the cluster (REMUDA_HOME)")
    parser.add_argument(
        "--config", type=Path, action="append", default=[], help="a configuration file more"
    )
    parser.add_argument(
        "--port", type=int, help="the port (default: four above the scheduler's); 0: a free one"
    )
    parser.add_argument("--log-level", help="debug, info, warning or error")
    return parser.parse_args(argv)


def _serve(home: Home, loaded: Loaded, port: int | None, log: Log) -> None:
    """Put the folder right, open the port, prove that it is closed to strangers, and serve."""
    give_way()
    bound_arenas()
    settings, scheduler = loaded.settings.store, loaded.settings.scheduler
    root = settings.state_dir or objects_dir(home)
    lock = claim(root)
    connection = open_index(root / INDEX_FILE)
    backend: Backend = open_bucket(settings.url) if settings.url else LocalFolder(root)
    found = reconcile(connection, backend)
    if found.lost:
        log.warning("objects were lost with the disk", objects=found.lost)
    pair = ensure_key_pair(home.key_file("scheduler"))
    keys = LiveKeys(keys_file(home))
    wire = Wire(scheduler.listen, pair, keys, lambda what, about: log.warning(what, about=about))
    if port is None:
        port = scheduler.store_port
    try:
        bound = listen(wire, port, _last_port(home))
        check_stranger_is_refused(wire, scheduler.listen, bound, pair.public)
        store = make_store(Ground(home, root, settings, connection, backend, wire, keys, log))
        try:
            _stop_on_signals(store, wire)
            write_store_port(port_file(home), bound)
            log.info("listening", address=scheduler.listen, port=bound, keys=len(keys),
                     removed=found.unnamed)  # fmt: skip
            store.loop.run()
        finally:
            port_file(home).unlink(missing_ok=True)
            store.close()
    finally:
        wire.close()
        os.close(lock)


def _last_port(home: Home) -> int:
    """Return the port of a store that was killed; a file that cannot be read names none."""
    try:
        return read_store_port(port_file(home))
    except Invalid:
        return 0


def listen(wire: Wire, port: int, last: int) -> int:
    """Bind the port, where any will do the last one: nodes know it until they register again."""
    if port or not last:
        return wire.listen(port)
    try:
        return wire.listen(last)
    except Conflict:
        return wire.listen(0)


def _stop_on_signals(store: Store, wire: Wire) -> None:
    """Let SIGTERM and SIGINT end the loop, also while it waits in poll."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)  # noqa: FBT003 - the socket's own interface
    writer.setblocking(False)  # noqa: FBT003 - the socket's own interface
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: store.loop.stop())
    wire.watch(reader.fileno())
    _KEPT.extend((reader, writer))


_KEPT: list[socket.socket] = []  # open until the process ends: signals write there


if __name__ == "__main__":
    sys.exit(main())
