"""Which words fit where the shell asks: names of nodes, tasks, GPUs, handlers, settings, clusters?

What takes such a word is known by its metavar, else by its command. The cluster is asked with
little patience, and whatever fails completes nothing: a shell is no place for errors.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..protocol.errors import RemudaError

if TYPE_CHECKING:
    from ..client.connection import Connection

PATIENCE_S = 2.0
WORDS_MAX = 200
Words = Iterable[tuple[str, str]]
"""A word and what is said of it."""


def attach(parameters: Sequence[inspect.Parameter], words: tuple[str, ...]) -> None:
    """Give each parameter of a command that takes a known word what completes it."""
    for parameter in parameters:
        for info in getattr(parameter.annotation, "__metadata__", ()):
            metavar = str(getattr(info, "metavar", None) or "").strip("[].")
            source = BY_COMMAND.get((words[0], parameter.name)) or BY_METAVAR.get(metavar)
            if parameter.name == "cluster":
                source = clusters
            if source is None or (metavar == "KEY" and words[:1] != ("config",)):
                continue
            info.autocompletion = _completer(source)


def _completer(source: Callable[[Any], Words]) -> Callable[..., list[tuple[str, str]]]:
    def complete(ctx: Any, incomplete: str) -> list[tuple[str, str]]:
        try:
            found = [each for each in source(ctx) if each[0].startswith(incomplete)]
        except (RemudaError, OSError):
            return []
        return found[:WORDS_MAX]

    complete.__annotations__ = {"ctx": _context_type(), "incomplete": str}
    return complete


def _context_type() -> Any:
    import typer

    return typer.Context


def _link(ctx: Any) -> Connection:
    """Dial the cluster that the words typed so far mean."""
    from ..client.connection import open_connection

    given = {**ctx.find_root().params, **{k: v for k, v in ctx.params.items() if v}}
    home = given.get("home")
    return open_connection(
        home=Path(home) if home else None,
        cluster=given.get("cluster"),
        endpoint=given.get("endpoint"),
        request_timeout_s=PATIENCE_S,
    )


def _rows(ctx: Any, name: str) -> list[Mapping[str, Any]]:
    from ..client import control, gpus

    ask: dict[str, Callable[[Connection], list[dict[str, Any]]]] = {
        "nodes": control.list_nodes,
        "gpus": gpus.list_gpus,
        "keys": control.list_keys,
        "stats": gpus.list_stats,
        "tasks": lambda link: control.list_tasks(link, limit=WORDS_MAX).rows,
        "batches": lambda link: control.list_batches(link, limit=WORDS_MAX).rows,
    }
    with _link(ctx) as link:
        return list(ask[name](link))


def nodes(ctx: Any) -> Words:
    return [(str(row["name"]), str(row.get("state", ""))) for row in _rows(ctx, "nodes")]


def gpu_uuids(ctx: Any) -> Words:
    for row in _rows(ctx, "gpus"):
        about = f"{row.get('node')}:{row.get('index')} {row.get('model') or row.get('name') or ''}"
        yield str(row["uuid"]), about.strip()


def tasks(ctx: Any) -> Words:
    from .writing import row_id

    yield "last", "the newest submission"
    for row in _rows(ctx, "tasks"):
        yield row_id(row), f"{row.get('state')} {row.get('name') or ''}".strip()


def batches(ctx: Any) -> Words:
    from .writing import row_id

    for row in _rows(ctx, "batches"):
        yield row_id(row), str(row.get("name") or "")


def keys(ctx: Any) -> Words:
    return [(str(row["name"]), str(row.get("role", ""))) for row in _rows(ctx, "keys")]


def kinds(ctx: Any) -> Words:
    return [(str(row["kind"]), "") for row in _rows(ctx, "stats")]


def handlers(ctx: Any) -> Words:
    """Name each handler once, with the nodes that have it."""
    where: dict[str, list[str]] = {}
    for row in _rows(ctx, "nodes"):
        for each in row.get("handlers") or []:
            where.setdefault(str(each["name"]), []).append(str(row["name"]))
    return [(name, ", ".join(on[:3])) for name, on in sorted(where.items())]


def models(ctx: Any) -> Words:
    names = {
        str(model)
        for row in _rows(ctx, "nodes")
        for each in row.get("handlers") or []
        for model in each.get("models") or []
    }
    return [(name, "") for name in sorted(names)]


def states(_ctx: Any) -> Words:
    from .refs import STATES

    return [(word, "") for word in STATES]


def clusters(_ctx: Any) -> Words:
    from ..config.logins import names

    return [(name, "") for name in names(os.environ)]


def settings(_ctx: Any) -> Iterator[tuple[str, str]]:
    """Name every key of the configuration, from the defaults that come with us."""
    from ..config.load import load

    for entry in load(None, env={}).entries():
        yield str(entry.key), str(entry.value)


def settings_to_set(ctx: Any) -> Words:
    """Name keys where one is due: `KEY VALUE KEY VALUE`."""
    return settings(ctx) if len(ctx.params.get("pairs") or ()) % 2 == 0 else ()


BY_METAVAR: Mapping[str, Callable[[Any], Words]] = {
    "NODE": nodes,
    "TASK": tasks,
    "BATCH": batches,
    "ID": batches,
    "GPU": gpu_uuids,
    "STATE": states,
    "HANDLER": handlers,
    "KEY": settings,
}
BY_COMMAND: Mapping[tuple[str, str], Callable[[Any], Words]] = {
    ("stats", "kind"): kinds,
    ("config", "node"): nodes,
    ("config", "pairs"): settings_to_set,
    ("task", "owner"): keys,
    ("gpu", "node"): nodes,
    ("key", "name"): keys,
    ("handler", "name"): handlers,
    ("handler", "names"): handlers,
    ("handler", "node"): nodes,
    ("call", "target"): handlers,
    ("cluster", "name"): clusters,
    ("submit", "model"): models,
    ("call", "model"): models,
}
