"""How the store daemon starts and stops: `remuda-store`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import apsw
import zmq

from ..config import daemon
from ..config.applying import STORE
from ..config.credentials import scheduler_key
from ..config.endpoints import tcp_url
from ..config.giving_way import give_way
from ..config.home import Home
from ..config.keys import ensure_key_pair
from ..config.load import Loaded
from ..config.logs import configure_logs
from ..config.notify import Notifier
from ..config.service import Service
from ..config.sources import Sources
from ..config.state_dir import claim
from ..config.store_home import keys_file, objects_dir, port_file, read_store_port, write_store_port
from ..config.strangers import check_strangers_are_refused
from ..config.tuning import Tuning
from ..protocol.errors import Conflict, Invalid
from .arenas import bound_arenas
from .assembly import INDEX_FILE, Ground, make_store
from .backend import Backend
from .bucket import open_bucket
from .checking import check
from .desk import Log
from .following import Following
from .index import open_index
from .keys import LiveKeys
from .local import LocalFolder
from .reconcile import reconcile
from .wire import Wire

# Every object of a large folder is compared with the index.
RECONCILE_S = 600.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the store until SIGTERM or SIGINT; return the exit code."""
    parser = daemon.parser_of("store", example="remuda-store --home /var/lib/remuda")
    parser.add_argument(
        "--port", type=int, help="the port (default: four above the scheduler's); 0: a free one"
    )
    options = parser.parse_args(argv)
    failures = (apsw.Error, OSError)

    def serve(home: Home, loaded: Loaded, log: Log) -> None:
        sources = daemon.sources_of(home, options, {})
        root = loaded.settings.store.state_dir or objects_dir(home)
        lock = claim(root, STORE)
        try:
            _serve(home, root, sources, options.port, log)
        finally:
            os.close(lock)

    return daemon.run(STORE, options, serve, check, settings={}, disk_errors=failures)


def _serve(home: Home, root: Path, sources: Sources, port: int | None, log: Log) -> None:
    """Put the folder right, open the port, prove that it is closed to strangers, and serve."""
    service = Service(Notifier.taken_from(os.environ), log)
    give_way()
    bound_arenas()
    service.starting("putting the folder right", RECONCILE_S)
    tuning = Tuning.begin(STORE, sources, root)  # from here on with what operators changed
    following = Following(tuning, home, service, log)
    signal.signal(signal.SIGHUP, lambda *_: following.ask())
    following.begin()
    settings, scheduler = tuning.running.store, tuning.running.scheduler
    configure_logs(tuning.running.logging, daemon=STORE)
    connection = open_index(root / INDEX_FILE)
    backend: Backend = open_bucket(settings.url) if settings.url else LocalFolder(root)
    found = reconcile(connection, backend)
    if found.lost:
        log.warning("objects were lost with the disk", objects=found.lost)
    pair = ensure_key_pair(scheduler_key(home))
    keys = LiveKeys(keys_file(home))
    wire = Wire(scheduler.listen, pair, keys, lambda what, about: log.warning(what, about=about))
    if port is None:
        port = scheduler.store_port
    try:
        bound = listen(wire, port, _last_port(home))
        door = {"its port": (zmq.DEALER, tcp_url(scheduler.listen, bound))}
        check_strangers_are_refused(wire.context, door, pair.public, wire.answer_handshakes)
        store = make_store(
            Ground(home, root, tuning, following, connection, backend, wire, keys, log, service)
        )
        try:
            daemon.stop_on_signals(store.loop.stop, wire.watch)
            write_store_port(port_file(home), bound)
            log.info("listening", address=scheduler.listen, port=bound, keys=len(keys),
                     removed=found.unnamed)  # fmt: skip
            store.loop.run()
        finally:
            port_file(home).unlink(missing_ok=True)
            store.close()
    finally:
        wire.close()


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


if __name__ == "__main__":
    sys.exit(main())
