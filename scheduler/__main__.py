"""How the scheduler daemon starts and stops: `remuda-scheduler`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

import apsw

from ..config import daemon
from ..config.cluster import CLIENT
from ..config.credentials import scheduler_key
from ..config.endpoints import tcp_url, write_endpoints
from ..config.first_keys import Trusted
from ..config.home import Home
from ..config.keys import KeyPair, ensure_key_pair, fingerprint
from ..config.load import Loaded
from ..config.logs import configure_logs
from ..config.notify import Notifier
from ..config.service import Service
from ..config.sources import Sources
from ..config.store_home import ensure_store_secret
from .assembly import Parts, ages, authorized, core_settings, endpoints, make_door, make_loop
from .backup import Places, before_migration, places_of
from .checking import check
from .claimed import Signatures
from .configuration import Configuration, start
from .journal import Journal
from .key_verbs import bootstrap, bootstrap_admin, bootstrap_store, live_keys
from .loop import Log, read_clock
from .records import Commit
from .registry import Registry
from .store_side import StoreSide
from .store_tuning import StoreTuning
from .trouble import Trouble
from .wire import Wire

# A migration of the largest journal takes its time; after it, each row read earns some more.
OPENING_S = 300.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the scheduler until SIGTERM or SIGINT; return the exit code."""
    example = "remuda-scheduler --home /var/lib/remuda --port 7700"
    parser = daemon.parser_of("scheduler", example=example)
    parser.add_argument("--port", type=int, help="the control port; 0 takes free ones")
    parser.add_argument(
        "--drop-changes",
        action="store_true",
        help="start with what files say alone; `remuda config rollback` brings changes back",
    )
    options = parser.parse_args(argv)
    settings = {"scheduler.port": options.port}

    def serve(home: Home, loaded: Loaded, log: Log) -> None:
        sources = daemon.sources_of(home, options, settings)
        _serve(home, loaded, log, sources, drop_changes=options.drop_changes)

    return daemon.run(
        "scheduler", options, serve, check, settings=settings, disk_errors=(apsw.Error,)
    )


def _serve(
    home: Home, loaded: Loaded, log: Log, sources: Sources, *, drop_changes: bool = False
) -> None:
    """Open the journal, make the sockets, prove that they are closed to strangers, and serve."""
    settings = loaded.settings.scheduler
    service = Service(Notifier.taken_from(os.environ), log)
    service.starting("opening the journal", OPENING_S)
    journal = Journal.open(
        settings.state_dir or home.scheduler_dir,
        ballast_bytes=settings.ballast_bytes,
        disk_free_bytes_min=settings.disk_free_bytes_min,
        before_migration=partial(_keep_old_journal, places_of(home, loaded), log),
    )
    try:
        configuration = _configuration(journal, sources, log, drop_changes=drop_changes)
        loaded = configuration.loaded
        settings = loaded.settings.scheduler
        journal.retention.ages = ages(settings)
        epoch = journal.next_epoch()  # durable before a socket is bound
        journal.room.look()  # makes the ballast
        pair = ensure_key_pair(scheduler_key(home))
        _admit_first_keys(journal.registry, home, loaded, pair, log)
        keys = live_keys(journal.registry)
        door = make_door(settings, pair, keys)
        trouble = Trouble(log)
        wire = Wire(door, settings.ports(), keys, trouble)
        try:
            signatures = Signatures(ensure_store_secret(home))
            tuning = StoreTuning(home, trouble)
            tuning.want(configuration.newest)
            store = StoreSide(
                home, keys, signatures, journal.objects, trouble, tuning, settings.store_port
            )
            parts = Parts(
                journal, wire, door, keys, loaded, log, trouble, store, service, configuration
            )
            loop = make_loop(parts, epoch)
            daemon.stop_on_signals(loop.stop, wire.watch_descriptor)
            signal.signal(signal.SIGUSR2, lambda *_: loop.hold())  # which ends granting
            signal.signal(signal.SIGHUP, lambda *_: loop.following.ask())
            write_endpoints(home.endpoints_file, endpoints(parts, epoch))
            log.info("listening", address=door.host, port=wire.ports().control, epoch=epoch,
                     keys=len(keys.live))  # fmt: skip
            loop.run()
        finally:
            wire.close()
            door.context.destroy(linger=0)
    finally:
        journal.close()


def _configuration(
    journal: Journal, sources: Sources, log: Log, *, drop_changes: bool
) -> Configuration:
    """Lay what operators changed over the files; durable before anybody is told.

    Raises ConfigError.
    """
    now_ms = read_clock().wall_ms
    configuration, is_new = start(
        sources, journal.config.newest(), core_settings, now_ms, drop_changes=drop_changes
    )
    if is_new:
        journal.commit(Commit(config=[configuration.newest.to_row()]))
    settings = configuration.loaded.settings
    if configuration.loaded.unknown:
        keys = ", ".join(configuration.loaded.unknown)
        log.warning("changes of a newer release are left alone", keys=keys)
    journal.room.keep_free(settings.scheduler.disk_free_bytes_min)
    configure_logs(settings.logging, daemon="scheduler")
    return configuration


def _keep_old_journal(places: Places, log: Log, version: int) -> None:
    """Back the journal up before it is brought to a newer schema."""
    kept = before_migration(places, version, read_clock().wall_ms)
    log.info("journal backed up before its schema changes", schema=version, file=str(kept))


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


if __name__ == "__main__":
    sys.exit(main())
