"""Is the cluster reached from here, does it fit, and what is wrong with it?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..config.clock_checks import judge_apart
from ..config.cluster import DEFAULT, ClusterRef, connection, find_cluster
from ..config.findings import Finding, fine, serious, warning
from ..protocol.codec import VERSION
from ..protocol.errors import RemudaError
from ..protocol.nodes_said import by_text, in_short
from . import status, versions
from .commands import Session
from .doctor_daemons import Section
from .writing import counted

PATIENCE_S = 5.0
ASKED = 3
SLOW_MS = 100.0
DIAL_REMEDY = (
    "is the scheduler up (`remuda doctor` there), and does a firewall let its ports through?"
)
Document = Mapping[str, Any]


def cluster(session: Session, *, has_daemons: bool) -> Iterator[Section]:
    """Examine the cluster that is meant; none is a finding only where one was named."""
    try:
        ref = find_cluster(home=session.home, cluster=session.cluster, endpoint=session.endpoint)
        if not has_daemons and _is_a_guess(ref):
            said = "this host knows none: `remuda login LINE`, or `remuda up`"
            yield Section("the cluster", [fine("cluster", said)])
            return
        dialled = connection(ref)
    except RemudaError as error:
        remedy = "start it, or name another with --home or --cluster"
        yield Section("the cluster", [serious("cluster", str(error), remedy)])
        return
    yield Section(f"cluster {dialled.cluster} ({dialled.endpoint})", list(_examine(session)))


def knows_none(session: Session) -> bool:
    """Tell whether this user names no cluster, logged in to none, and never started one here."""
    try:
        ref = find_cluster(home=session.home, cluster=session.cluster, endpoint=session.endpoint)
    except RemudaError:
        return False  # the part about the cluster says it
    return _is_a_guess(ref)


def _is_a_guess(ref: ClusterRef) -> bool:
    """Tell whether nothing names a cluster, and `remuda up` never made one here either."""
    return ref.source == DEFAULT and ref.home is not None and not ref.home.keys_dir.exists()


def _examine(session: Session) -> Iterator[Finding]:
    from ..client import control

    try:
        with session.connect() as link:
            body, took_ms, between = _ask(link, control.status)
            rows = control.list_nodes(link)
            yield fine("keys", f"we are {body['you']['name']} ({body['you']['role']})")
            yield from judge_answers(took_ms)
            yield from judge_apart(between)
            yield from judge_versions(body, rows)
            yield from judge_state(body, rows)
            yield from _store(link, str(body.get("version")))
    except RemudaError as error:
        yield serious("reach", str(error), DIAL_REMEDY)


def _ask(link: Any, asking: Any) -> tuple[Document, float, tuple[int, int]]:
    """Return the status, the quickest of a few answers, and how far our clock is ahead."""
    quickest, body, between = float("inf"), {}, (0, 0)
    for _ in range(ASKED):
        sent_ms, begun = time.time_ns() // 1_000_000, time.perf_counter()
        body = asking(link, timeout_s=PATIENCE_S)
        took_ms = (time.perf_counter() - begun) * 1_000
        if took_ms < quickest and body.get("wall_ms"):
            wall_ms = int(body["wall_ms"])
            between = (sent_ms - wall_ms, time.time_ns() // 1_000_000 - wall_ms)
        quickest = min(quickest, took_ms)
    return body, quickest, between


def judge_answers(took_ms: float) -> Iterator[Finding]:
    said = f"the scheduler answers in {took_ms:.1f} ms"
    if took_ms > SLOW_MS:
        yield warning("reach", said, "a slow way there, or a busy scheduler: `remuda status`")
    else:
        yield fine("reach", said)


def judge_versions(body: Document, rows: Sequence[Document]) -> Iterator[Finding]:
    """Compare our version, the scheduler's and the nodes'."""
    ours, theirs = versions.version(), str(body.get("version"))
    if ours != theirs:
        yield warning(
            "versions",
            f"remuda {ours} here, {theirs} at the scheduler",
            "upgrade the older one; in an upgrade the scheduler comes first: docs/upgrade.md",
        )
    behind = [
        (str(row["name"]), f"run remuda {row.get('version') or '?'}")
        for row in rows
        if row.get("version") not in (theirs, None, "")
    ]
    for text, names in by_text(behind).items():
        yield warning(
            "versions",
            f"{in_short(names)} {text}, the scheduler {theirs}",
            "`remuda node drain` each, upgrade it, undrain: docs/upgrade.md",
        )
    if ours == theirs and not behind:
        yield fine("versions", f"remuda {ours} everywhere, protocol {VERSION}")


def judge_store_version(store: str, scheduler: str) -> Iterator[Finding]:
    """Compare the release of the store that runs with the scheduler's."""
    if store != scheduler:
        yield warning(
            "versions",
            f"the store runs remuda {store}, the scheduler {scheduler}",
            "restart it with the scheduler's release: docs/upgrade.md",
        )


def judge_state(body: Document, rows: Sequence[Document]) -> Iterator[Finding]:
    """Repeat what `remuda status` shows as problems, and what the nodes said at their start."""
    _, found = status.problems(body, [dict(row) for row in rows])
    for problem in found:
        yield warning("state", problem, "`remuda status`, `remuda events`")
    heard = [row for row in rows if row.get("state") == "ready"]
    if rows and len(heard) == len(rows):
        yield fine("nodes", f"{counted(len(rows), 'node')} heard and ready for work")
    said = [
        (str(row["name"]), str(note))
        for row in rows
        for note in row.get("notes") or []
        if not any(str(note) in problem for problem in found)
    ]
    for text, names in by_text(said).items():
        yield fine("nodes", f"{in_short(names)}: {text}")


def _store(link: Any, scheduler: str) -> Iterator[Finding]:
    from ..client.store_state import store_state
    from ..protocol.resources import format_bytes

    try:
        body = store_state(link)
    except RemudaError as error:
        yield warning(
            "store",
            f"not reached: {error}",
            "tasks with files or large values wait for it: is remuda-store up, is its port open?",
        )
        return
    yield from judge_store_version(str(body.get("version") or "?"), scheduler)
    if body.get("problem"):
        yield warning("store", str(body["problem"]), "`remuda store status`")
        return
    used = f"{format_bytes(body['bytes'])} of {format_bytes(body['quota_bytes'])}"
    yield fine("store", f"reached, {body['objects']:,} objects, {used}")
