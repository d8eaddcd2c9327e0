"""How are the parts of the daemon put together from its configuration?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import apsw

from ..config.applying import STORE
from ..config.home import Home
from ..config.logs import configure_logs
from ..config.pacing import Pace
from ..config.service import Service
from ..config.settings import Settings
from ..config.settings_store import StoreSettings
from ..config.store_home import ensure_store_secret
from ..config.tuning import Tuning
from .admission import Limits
from .asking import Asking
from .backend import Backend
from .checks import Checks
from .collector import Collector, Times
from .committer import Committer
from .desk import Desk, Log
from .following import Following
from .gets import Gets
from .index import Index, connect
from .keys import LiveKeys
from .landing import Landing
from .loop import Desks, Loop
from .partials import Partials
from .pool import Pool, Returns
from .promises import Promises
from .puts import Puts
from .rights import Rights
from .state import State
from .uploads import Uploads
from .usage import Ledger
from .wellbeing import Wellbeing
from .wire import Wire

INDEX_FILE = "index.db"
STORE_KEY = "store"
"""Whose key the scheduler makes for the store's questions."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What stands before anything is served."""

    home: Home
    root: Path
    tuning: Tuning
    following: Following
    connection: apsw.Connection
    backend: Backend
    wire: Wire
    keys: LiveKeys
    log: Log
    service: Service


@dataclass(frozen=True, slots=True)
class Store:
    """The loop and what has to be closed after it."""

    loop: Loop
    pool: Pool
    committer: Committer
    readers: list[Index]

    def close(self) -> None:
        """Finish what threads have begun, and close the index."""
        self.pool.close()
        for reader in self.readers:
            reader.close()
        self.committer.close()


def limits_of(settings: StoreSettings) -> Limits:
    """Translate the configuration into limits."""
    return Limits(
        object_bytes_max=settings.max_object_bytes,
        quota_bytes=settings.quota_bytes,
        user_quota_bytes=settings.user_quota_bytes,
        disk_free_bytes_min=settings.disk_free_bytes_min,
    )


def times_of(settings: StoreSettings) -> Times:
    """Translate the configuration into the times of the collector."""
    return Times(
        every_s=settings.collect_every_s,
        keep_ms=_keep_ms(settings),
        partial_keep_s=settings.partial_keep_s,
    )


def _keep_ms(settings: StoreSettings) -> int:
    return round(settings.unclaimed_keep_s * 1000)


def make_store(ground: Ground) -> Store:
    """Make all parts, with threads that wait for work."""
    settings, secret = ground.tuning.running.store, ensure_store_secret(ground.home)
    path = ground.root / INDEX_FILE
    index, tree_index = (Index(connect(path, read_only=True)) for _ in range(2))
    rights = Rights(index, secret)
    returns = Returns()
    pool = Pool(returns)
    committer = Committer(ground.connection, ground.backend, returns)
    promises = Promises(committer, rights, _keep_ms(settings))
    ledger = Ledger(ground.root, index.totals())
    partials = Partials(ground.root)
    partials.recover()
    limits = limits_of(settings)
    desk = Desk(ground.wire)
    landing = Landing(pool, committer, ground.backend, promises, ledger, Rights(tree_index, secret))
    pace = Pace()
    uploads = Uploads(desk, pool, partials, landing, ledger, pace)
    gets = Gets(desk, pool, rights, ground.backend, pace)
    home = ground.home
    collector = Collector(
        ground.wire,
        Asking(ground.wire.context, home.endpoints_file, home.key_file(STORE_KEY)),
        index,
        committer,
        ledger,
        partials,
        ground.log,
        times_of(settings),
    )
    state = State(
        desk, index, ledger, limits, partials, uploads, gets, collector, ground.keys,
        ground.following,
        settings.url or str(ground.root),
    )  # fmt: skip
    puts = Puts(desk, rights, promises, partials, ledger, limits, uploads)
    desks = Desks(desk, puts, gets, Checks(desk, rights, promises), state, collector, pace,
                  ground.following)  # fmt: skip
    wellbeing = Wellbeing(ground.service, committer, ledger, asks=not settings.url)
    loop = Loop(ground.wire, ground.keys, returns, desks, wellbeing)

    def follow(whole: Settings) -> None:
        """Take up what is live of a changed configuration."""
        puts.limits = state.limits = limits_of(whole.store)
        promises.keep_ms = _keep_ms(whole.store)
        collector.go_by(times_of(whole.store))
        configure_logs(whole.logging, daemon=STORE)

    ground.tuning.followers.append(follow)
    return Store(loop, pool, committer, [index, tree_index])
