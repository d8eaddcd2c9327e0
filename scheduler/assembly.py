"""How the parts of the daemon are put together from its configuration."""

from __future__ import annotations

import gc
import importlib.metadata
import ipaddress
import os
import resource
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import zmq

from ..config.contradictions import CLOCK_DRIFT_S
from ..config.endpoints import Endpoints
from ..config.home import Home
from ..config.keys import AuthorizedKey, KeyPair, load_authorized
from ..config.load import Loaded
from ..config.logs import configure_logs
from ..config.service import Service
from ..config.settings import Settings
from ..config.settings_node import TaskSettings
from ..config.settings_placement import PlacementSettings
from ..config.settings_policies import PolicySettings
from ..config.settings_scheduler import SchedulerSettings
from ..config.strangers import check_strangers_are_refused
from ..protocol.errors import NotFound, Refused
from ..protocol.failures import FailureClass
from . import scores
from .access import Role
from .black_holes import Rules
from .configuration import Configuration, wanted
from .core import Core, CoreSettings
from .declared import declared_of
from .edge import Edge
from .feed import EventFeed
from .following import Following
from .health import Commits, Files, Garbage, Health
from .intake import Intake
from .journal import Journal
from .loop import Log, Loop, read_clock
from .metrics import COMMAND as METRICS_COMMAND
from .metrics import Metrics
from .mirror import Mirror
from .mirror_pipe import MirrorPipe
from .outputs import Outputs
from .reach import Reach
from .retention import Ages
from .retry import ClassPolicy, Placement
from .scores import Rating
from .sockets import Door
from .store_side import StoreSide
from .store_watch import StoreWatch
from .verbs import Verbs
from .view import View
from .watch import Watches
from .wellbeing import Wellbeing
from .wire import Wire
from .zap import Keys

SOCKETS_BESIDE_NODES = 128
IO_THREADS = 2  # they encrypt: one alone falls behind when 1,000 nodes shake hands
FILES_PER_NODE = 8
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Parts:
    """What stands before the core does."""

    journal: Journal
    wire: Wire
    door: Door
    keys: Keys
    loaded: Loaded
    log: Log
    on_trouble: Callable[[str, str], None]
    store: StoreSide
    service: Service
    configuration: Configuration


def make_loop(parts: Parts, epoch: int) -> Loop:
    """Rebuild the core, open the ports, prove that strangers are refused; return the loop."""
    journal, wire = parts.journal, parts.wire
    core = _make_core(parts, epoch)
    dispatch_ports = _dispatch_ports(journal, parts.keys)
    wire.pipes.reserve(dispatch_ports)
    wire.listen()
    door = parts.door
    check_strangers_are_refused(door.context, wire.doors(), door.key.public, wire.gate.answer)
    wire.watch_connections()
    view = _make_view(parts, core)
    settings = parts.loaded.settings.scheduler
    edge = Edge(
        journal.history,
        value_bytes_max=settings.inline_bytes_max,
        random_bits=secrets.randbits,
        signatures=parts.store.signatures,
        spec_defaults=spec_defaults(parts.loaded.settings.tasks),
    )
    outputs, reach = Outputs(), Reach()
    commits, garbage = Commits(), Garbage()
    checks: dict[str, Callable[[int], str]] = {
        "disk": journal.room.problem,
        "files": Files().problem,
        "commits": commits.problem,
        "garbage": garbage.problem,
        "store": StoreWatch(parts.store.tuning).problem,
    }
    health = Health(parts.log, checks, view.problems)
    following = Following(view, parts.log, parts.service)
    checks["configuration"] = following.problem
    mirror = _make_mirror(parts, view)
    is_metered = parts.loaded.settings.metrics.listen is not None
    wellbeing = Wellbeing(parts.service, view, journal.probe.ask, is_asked=is_metered)
    metrics = _make_metrics(parts, view, wellbeing) if is_metered else None
    parts.configuration.followers += _followers(parts, view, edge)
    verbs = Verbs(view, edge, parts.keys, wire, outputs, reach)
    loop = Loop(
        core=core,
        journal=journal,
        wire=wire,
        view=view,
        intake=Intake(view, edge, verbs, wire, parts.on_trouble, journal.highest),
        outputs=outputs,
        reach=reach,
        health=health,
        commits=commits,
        garbage=garbage,
        wellbeing=wellbeing,
        mirror=mirror,
        metrics=metrics,
        following=following,
        log=parts.log,
        on_trouble=parts.on_trouble,
    )
    loop.dispatch_ports.update(dispatch_ports)
    return loop


def _make_core(parts: Parts, epoch: int) -> Core:
    """Rebuild the core; what it is made of then is no longer walked for garbage.

    There is none in it, and with 100,000 tasks each walk is a pause of a tenth of a second.
    """
    gc.disable()
    recovered = parts.journal.recover()
    tasks = parts.service.extending(recovered.tasks, time.monotonic_ns, "reading tasks")
    core = Core(
        replace(recovered, tasks=tasks),
        epoch=epoch,
        secret=parts.journal.secret(),
        seed=secrets.randbits(63),
        settings=core_settings(parts.loaded.settings),
        now=read_clock(),
    )
    core.wanted = wanted(parts.configuration.newest)
    gc.freeze()
    gc.enable()
    return core


def _make_view(parts: Parts, core: Core) -> View:
    settings = parts.loaded.settings
    started_ms = read_clock().wall_ms
    return View(
        core=core,
        history=parts.journal.history,
        catalogue=parts.journal.catalogue,
        batches=parts.journal.batches,
        registry=parts.journal.registry,
        audit=parts.journal.audit,
        pruning=parts.journal.pruning,
        watches=Watches(core.epoch, changes_max=settings.scheduler.watch_events_max),
        feed=EventFeed(core.epoch, started_ms),
        loaded=parts.loaded,
        cluster=settings.cluster.name,
        version=importlib.metadata.version("remuda"),
        started_ms=started_ms,
        store=parts.store,
        listen=f"{parts.door.host}:{parts.wire.ports().control}",
        ended=Counter(parts.journal.catalogue.ended_counts()),
        counters=parts.wire.counts,
        configuration=parts.configuration,
        config_versions=parts.journal.config,
    )


def _followers(parts: Parts, view: View, edge: Edge) -> list[Callable[[Settings], None]]:
    """Return what takes up, beside the core, what is live of a changed configuration."""

    def follow(settings: Settings) -> None:
        scheduler = settings.scheduler
        edge.go_by(scheduler.inline_bytes_max, spec_defaults(settings.tasks))
        view.watches.changes_max = scheduler.watch_events_max
        parts.journal.room.keep_free(scheduler.disk_free_bytes_min)
        configure_logs(settings.logging, daemon="scheduler")
        parts.store.tuning.want(parts.configuration.newest)

    return [follow]


def _make_mirror(parts: Parts, view: View) -> Mirror | None:
    settings = parts.loaded.settings.redis
    if settings.url is None:
        return None
    return Mirror(view, settings, parts.journal.cluster_id(), MirrorPipe(), parts.log)


def _make_metrics(parts: Parts, view: View, wellbeing: Wellbeing) -> Metrics:
    return Metrics(
        view,
        parts.loaded.settings.metrics,
        MirrorPipe(METRICS_COMMAND),
        parts.log,
        journal_file=Path(parts.journal.retention.file),
        withheld=wellbeing.withheld,
    )


def endpoints(parts: Parts, epoch: int) -> Endpoints:
    """Say where this run of the scheduler listens."""
    ports = parts.wire.ports()
    return Endpoints(
        cluster=parts.loaded.settings.cluster.name,
        host=parts.door.host,
        control=ports.control,
        uplink=ports.uplink,
        heartbeat=ports.heartbeat,
        beacon=ports.beacon,
        scheduler_public=parts.door.key.public,
        epoch=epoch,
        pid=os.getpid(),
    )


def make_door(settings: SchedulerSettings, pair: KeyPair, keys: Keys) -> Door:
    """Choose the address and make the context; raises Refused (see `_address`)."""
    host = _address(settings.listen, keys)
    return Door(_context(settings), host, pair, settings.handshake_s, settings.frame_bytes_max)


def core_settings(whole: Settings) -> CoreSettings:
    """Translate the configuration into the core's numbers."""
    settings = whole.scheduler
    return CoreSettings(
        suspect_after_ns=int(settings.suspect_after_s * _NS),
        lost_after_ns=int(settings.lost_after_s * _NS),
        replace_after_ns=int(settings.replace_after_s * _NS),
        fence_ms=int(settings.fence_after_s * 1000),
        clock_drift_ms=CLOCK_DRIFT_S * 1000,
        black_holes=black_hole_rules(settings),
        reconcile_ns=int(settings.reconcile_s * _NS),
        fuse_nodes_min=settings.fuse_nodes_min,
        forget_after_ms=int(settings.forget_after_s * 1000),
        policies={FailureClass(name): _policy(row) for name, row in whole.policies.items()},
        offer_resend_ns=int(settings.offer_resend_s * _NS),
        offer_tries=settings.offer_tries,
        heartbeat_ms=int(settings.heartbeat_s * 1000),
        lease_ms=int(settings.lease_s * 1000),
        warm_wait_ns=int(settings.warm_wait_s * _NS),
        queued_max=settings.queued_tasks_max,
        queued_per_owner_max=settings.user_tasks_max,
        order_window_ms=round(whole.placement.order_window_s * 1000),
        reserve_after_ns=int(whole.placement.reserve_after_s * _NS),
        reservations_max=whole.placement.reservations_max,
        rating=_rating(whole.placement),
        handlers=declared_of(whole.handlers),
    )


def _rating(settings: PlacementSettings) -> Rating:
    weights = dict(scores.POLICIES[settings.policy])
    weights.update(settings.weights.items())
    return Rating(settings.policy, weights, dict(settings.speeds))


def black_hole_rules(settings: SchedulerSettings) -> Rules:
    return Rules(
        settings.black_hole_after,
        int(settings.black_hole_run_s * 1e6),
        int(settings.black_hole_hold_s * _NS),
        int(settings.black_hole_hold_s_max * _NS),
    )


def ages(settings: SchedulerSettings) -> Ages:
    """Say how long what has ended is kept; a state without an age of its own has that of all."""

    def kept_ms(own_s: float | None) -> int:
        return round((settings.retention_age_s if own_s is None else own_s) * 1000)

    return Ages(
        succeeded_ms=kept_ms(settings.retention_succeeded_s),
        failed_ms=kept_ms(settings.retention_failed_s),
        cancelled_ms=kept_ms(settings.retention_cancelled_s),
        audit_ms=round(settings.retention_audit_s * 1000),
        bytes_max=settings.retention_size_bytes,
    )


def spec_defaults(settings: TaskSettings) -> dict[str, int]:
    """Return what holds for a task that does not say otherwise."""
    return {
        "grace_ms": round(settings.grace_s * 1000),
        "backoff_first_ms": round(settings.backoff_s_min * 1000),
        "backoff_longest_ms": round(settings.backoff_s_max * 1000),
    }


def _policy(row: PolicySettings) -> ClassPolicy:
    first_s, longest_s = row.backoff_s_min, row.backoff_s_max
    return ClassPolicy(
        row.retries,
        None if first_s is None else round(first_s * 1000),
        None if longest_s is None else round(longest_s * 1000),
        Placement(row.placement),
    )


def authorized(home: Home) -> list[AuthorizedKey]:
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
    if not address.is_loopback and all(who.role is Role.STORE for who in keys.live.values()):
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
    context: zmq.Context[Any] = zmq.Context(IO_THREADS)
    context.set(zmq.MAX_SOCKETS, settings.nodes_max + SOCKETS_BESIDE_NODES)
    return context


def _dispatch_ports(journal: Journal, keys: Keys) -> dict[str, int]:
    nodes = [who.name for who in keys.live.values() if who.role is Role.NODE]
    found = {node: journal.registry.dispatch_port(node) for node in nodes}
    return {node: port for node, port in found.items() if port}
