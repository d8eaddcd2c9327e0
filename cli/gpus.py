"""The verbs about GPUs: look at them, give one no new work, give it work again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ..protocol.resources import format_bytes
from . import gpu_drawing, screen, views
from .commands import Session, command
from .one_by_one import change_each
from .pages import page
from .screen import Column
from .writing import age, rfc3339, row_id

Row = Mapping[str, Any]
TASK_COLUMNS = (Column("TASK", right=True), Column("STATE"), Column("VRAM", right=True))
Gpus = Annotated[
    list[str],
    typer.Argument(metavar="GPU...", help="UUIDs, their beginnings, or NODE:INDEX."),
]


@command("gpu list", example="remuda gpu list\nremuda gpu list --node gpu-1 --json")
def gpu_list(
    session: Session,
    node: Annotated[str, typer.Option(metavar="NAME", help="Only the GPUs of this node.")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="Rows to show.")] = 100,
    cursor: Annotated[str, typer.Option(metavar="UUID", help="Go on after this GPU.")] = "",
) -> None:
    """List the GPUs: whose their memory is, temperature, tasks, models, health."""
    from ..client import gpus

    with session.connect() as link:
        rows = gpus.list_gpus(link, node)
    shown, more = page(rows, lambda row: str(row["uuid"]), limit, cursor)
    if session.json:
        screen.document([plain(row) for row in shown])
    elif session.quiet:
        for row in shown:
            screen.line(str(row["uuid"]))
    elif shown:
        gpu_drawing.table(shown, with_node=True)
    else:
        screen.remark("no GPUs: `remuda node show NAME` says what a node found, and why not")
    if more and not session.quiet:
        screen.remark(more)


@command("gpu show", example="remuda gpu show gpu-1:0\nremuda gpu show GPU-8f3a6c1d")
def gpu_show(
    session: Session,
    gpu: Annotated[
        str, typer.Argument(metavar="GPU", help="A UUID, its beginning, or NODE:INDEX.")
    ],
) -> None:
    """Show one GPU: its memory, its tasks and models, and what is wrong with it.

    A card that is split into MIG devices is shown device by device.
    """
    from ..client import gpus

    with session.connect() as link:
        rows = gpus.list_gpus(link, gpu=gpu)
    if session.json:
        screen.document([plain(row) for row in rows])
        return
    for at, row in enumerate(rows):
        if session.quiet:
            screen.line(str(row["uuid"]))
            continue
        if at:
            screen.line()
        _page(row)


@command(
    "gpu cordon",
    example="remuda gpu cordon gpu-1:0 --reason 'its fan rattles'\nremuda gpu cordon GPU-8f3a6c1d",
)
def gpu_cordon(
    session: Session,
    gpus: Gpus,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for all who look.")] = "",
) -> None:
    """Give GPUs no new work; what runs there goes on, and so do the other GPUs of the host.

    It holds over restarts of all daemons, and wherever the card is put, until
    `remuda gpu uncordon`.
    """
    from ..client import gpus as control

    with session.connect() as link:
        change_each(
            session, link, gpus, lambda gpu: control.cordon(link, gpu, reason=reason), key="gpu"
        )


@command("gpu uncordon", example="remuda gpu uncordon gpu-1:0")
def gpu_uncordon(session: Session, gpus: Gpus) -> None:
    """Give GPUs work again, also those that were cordoned for their health.

    The node forgets the faults that it saw; one that goes on cordons the GPU again.
    """
    from ..client import gpus as control

    with session.connect() as link:
        change_each(session, link, gpus, lambda gpu: control.uncordon(link, gpu), key="gpu")


def plain(row: Row) -> dict[str, Any]:
    """Return a GPU for programs; what was not measured is null."""
    ours, foreign, free, _ = gpu_drawing.shares(row)
    return {
        **views.plain({key: each for key, each in row.items() if key != "cordoned_ms"}),
        "ours_bytes": ours,
        "foreign_bytes": foreign,
        "free_bytes": free,
        "tasks": [{**views.plain(each), "id": row_id(each)} for each in row.get("tasks") or []],
        "reserved": [views.reservation(each) for each in row.get("reserved") or []],
        "cordoned_at": rfc3339(row.get("cordoned_ms")),
    }


def _page(row: Row) -> None:
    gpu_drawing.page(row)
    since_ms = row.get("cordoned_ms") or 0
    if since_ms:
        ago = age(time.time() - since_ms / 1000)
        said = f"{rfc3339(since_ms)} ({ago} ago)".replace("now ago", "now")
        screen.facts([("cordoned", f"since {said} by {row.get('cordoned_by')}")])
    tasks = row.get("tasks") or []
    if tasks:
        screen.line()
        screen.table(
            TASK_COLUMNS,
            [
                [
                    str(each["number"]),
                    screen.state(str(each["state"])),
                    format_bytes(int(each["vram_bytes"])),
                ]
                for each in tasks
            ],
        )
