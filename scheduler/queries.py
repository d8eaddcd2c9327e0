"""What clients ask and are told at once: tasks, batches, nodes, status, settings, keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..config.keys import fingerprint
from ..protocol import messages as m
from ..protocol.errors import NotFound
from . import cordons, handler_orders, kept_rows
from .access import Principal
from .audit_queries import list_audit
from .batch_queries import list_batches, show_batch
from .config_queries import (
    compare,
    config_state,
    list_versions,
    node_state,
    show_config,
    state_document,
)
from .events import Now
from .exporting import export_tasks
from .fleet import Node
from .gpu_rows import list_gpus
from .handler_rows import list_handlers
from .listing import list_tasks
from .node_rows import alarms, node_row
from .recovery_verbs import show_recovery, summary
from .resolve import resolve
from .silence import reconcile_left_ns
from .states import states
from .stats import list_stats
from .store_queries import find_store, references, task_objects
from .task_document import show_explain, show_task
from .view import View

STATUS_NODES_MAX = 200


def list_nodes(view: View, message: m.ListNodes, _principal: Principal, now: Now) -> m.Page:
    nodes = view.core.fleet.nodes
    if message.name and message.name not in nodes:
        raise NotFound(f"there is no node {message.name}", field="name")
    chosen = [nodes[message.name]] if message.name else list(nodes.values())
    suspect_s = view.core.settings.suspect_after_ns / 1e9
    rows = [
        _node_row(view, node, now, suspect_s) | {"config": node_state(view.core, node)}
        for node in sorted(chosen, key=lambda each: each.name)
    ]
    return m.Page(rows, len(rows))


def _node_row(view: View, node: Node, now: Now, suspect_s: float) -> dict[str, Any]:
    """Write a node as a document, with the places on it that are kept for waiting tasks."""
    row = node_row(node, now, suspect_s)
    row["reserved"] = kept_rows.of_node(view.core, node.name, now)
    for each in row["gpus"]:
        each["reserved"] = kept_rows.of_card(view.core, node.name, each["uuid"], now)
    return row


def show_status(view: View, _message: m.Status, principal: Principal, now: Now) -> m.Document:
    suspect_s = view.core.settings.suspect_after_ns / 1e9
    nodes = sorted(view.core.fleet.nodes.values(), key=lambda node: node.name)
    return m.Document(
        {
            "cluster": view.cluster,
            "version": view.version,
            "epoch": view.core.epoch,
            "started_ms": view.started_ms,
            "wall_ms": now.wall_ms,
            "listen": view.listen,
            "rev": view.watches.rev,
            "counts": view.counts(),
            "nodes": [_node_row(view, node, now, suspect_s) for node in nodes[:STATUS_NODES_MAX]],
            "reservations": kept_rows.rows(view.core, now),
            "nodes_total": len(nodes),
            "you": {"name": principal.name, "role": principal.role.value},
            "problems": [
                *view.problems.values(),
                *cordons.alarms(view.core),
                *handler_orders.alarms(view.core),
                *alarms(nodes),
            ],
            "holds": list(view.core.holds),
            "recovery": summary(view.core),
            "fuse": list(view.core.fuse_names),
            "reconciling_ms": reconcile_left_ns(view.core, now) // 1_000_000,
            "counters": dict(view.counters),
            "redis": dict(view.redis),
            "metrics": dict(view.metrics),
            "config": state_document(view),
        }
    )


def list_keys(view: View, _message: m.ListKeys, _principal: Principal, now: Now) -> m.Page:
    """List the keys, and the invitations with which somebody may still come."""
    known = view.registry.keys()
    rows: list[dict[str, Any]] = [
        {
            "name": key.name,
            "role": key.role,
            "public_key": key.public_key,
            "fingerprint": fingerprint(key.public_key),
            "state": "revoked" if key.revoked_ms else "allowed",
            "created_ms": key.created_ms,
            "revoked_ms": key.revoked_ms,
            "expires_ms": 0,
        }
        for key in known
    ]
    rows += [
        {
            "name": invite.label,
            "role": invite.role,
            "public_key": invite.public_key,
            "fingerprint": fingerprint(invite.public_key),
            "state": "invited",
            "created_ms": invite.created_ms,
            "revoked_ms": 0,
            "expires_ms": invite.expires_ms,
        }
        for invite in view.registry.invites.pending(now.wall_ms)
    ]
    return m.Page(rows, len(rows))


_Query = Callable[[View, Any, Principal, Now], m.Message]
_QUERIES: dict[type[m.Message], _Query] = {
    m.States: states,
    m.Resolve: lambda view, message, principal, _: resolve(view, message, principal),
    m.ListTasks: lambda view, message, principal, _: list_tasks(view, message, principal),
    m.ShowTask: show_task,
    m.ExportTasks: export_tasks,
    m.Explain: show_explain,
    m.ShowBatch: show_batch,
    m.ListBatches: list_batches,
    m.ListNodes: list_nodes,
    m.ListGpus: list_gpus,
    m.ListStats: list_stats,
    m.ListHandlers: list_handlers,
    m.Status: show_status,
    m.ShowConfig: show_config,
    m.ListConfigVersions: list_versions,
    m.CompareConfig: compare,
    m.ConfigState: config_state,
    m.ListKeys: list_keys,
    m.ListAudit: list_audit,
    m.ShowRecovery: show_recovery,
    m.FindStore: find_store,
    m.TaskObjects: task_objects,
    m.References: references,
}


def answer(view: View, message: m.Message, principal: Principal, now: Now) -> m.Message | None:
    """Answer a query; None when the message is none. Raises RemudaError."""
    query = _QUERIES.get(type(message))
    return None if query is None else query(view, message, principal, now)
