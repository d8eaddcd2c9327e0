"""How long do tasks of a kind run, and what VRAM do they use: `remuda stats`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ..protocol.resources import format_bytes, learning_key
from . import screen
from .commands import Session, command
from .pages import page
from .screen import Column
from .writing import span

COLUMNS = (
    Column("KIND", wide=True),
    Column("SIZE", right=True),
    Column("RUNS", right=True),
    Column("RUN P50", right=True),
    Column("P95", right=True),
    Column("VRAM P50", right=True),
    Column("P95", right=True),
    Column("MAX", right=True),
    Column("OOM", right=True),
    Column("AUTO", right=True),
)


@command("stats", example="remuda stats\nremuda stats 'function photos.repair' --json")
def stats(
    session: Session,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Only kinds that begin so.")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="Rows to show.")] = 100,
    cursor: Annotated[str, typer.Option(metavar="KIND", help="Go on after this kind.")] = "",
) -> None:
    """List kinds of tasks that held GPUs: run times, measured peaks of VRAM, out of memory.

    P50, P95 and MAX are of the latest 64 runs, peaks those on one GPU. SIZE is the order of size
    (--size), as a power of 2. AUTO is what --vram auto reserves: a whole GPU until five runs were
    measured.
    """
    from ..client import gpus

    with session.connect() as link:
        rows = gpus.list_stats(link, kind)
    shown, more = page(
        rows, lambda row: learning_key(row["kind"], row["size_class"]), limit, cursor
    )
    if session.json:
        screen.document([dict(row) for row in shown])
    elif session.quiet:
        for row in shown:
            screen.line(str(row["kind"]))
    elif shown:
        screen.table(COLUMNS, [_cells(row) for row in shown])
    else:
        screen.remark(
            "no task with a GPU has ended yet" if not kind else f"no kind begins {kind!r}"
        )
    if more and not session.quiet:
        screen.remark(more)


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        str(row["kind"]),
        str(row["size_class"] or "-"),
        f"{row['runs']:,}",
        span(row["run_p50_ms"] / 1000) if row["runs"] else "-",
        span(row["run_p95_ms"] / 1000) if row["runs"] else "-",
        *(_size(row[f"vram_{part}_bytes"]) for part in ("p50", "p95", "max")),
        str(row["ooms"] or "-"),
        _size(row["auto_bytes"]) if row["auto_bytes"] else "whole GPU",
    ]


def _size(size: int) -> str:
    return format_bytes(size) if size else "-"
