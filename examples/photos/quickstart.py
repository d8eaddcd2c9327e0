"""Restore a folder of damaged photographs on a cluster of this host: the main job of remuda.

Started by `bin/quickstart`. Every picture is repaired by two methods, once as a whole and once in
overlapping tiles, each a task for whichever node is free. Pictures go to the tasks and come home
as files: the nodes need not see the folders that they are in.
"""

import argparse
import contextlib
import json
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import repair
from album import AlbumError, Picture, masked_album, scratched_album
from hosts_cluster import hosts_cluster
from local_cluster import ClusterError, local_cluster
from restoration import METHOD_TITLES, Job, Restored, collect, plan, sheet
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from tiles import Tile

from remuda import Client, Task
from remuda.protocol.errors import RemudaError, TaskFailed

HERE = Path(__file__).resolve().parent
OUT = Path("restored")
SHEET = "contact-sheet.png"
NODES_MAX = 16
ALL_TASKS_S = 3600.0
WARM_UP_S = 60.0
WARM_UP = Tile(core=(0, 0, 1, 1), box=(0, 0, 1, 1))
LOG_WIDTH = 120
OPTIONS = {"timeout": "5m", "retries": 1}

INTERRUPTED = 130
FAILED = 1
USAGE = 2


@dataclass(frozen=True)
class Run:
    """Tell where one job ran and what it took."""

    job: Job
    task_id: str
    number: int
    node: str
    tries: int
    seconds: float


@dataclass(frozen=True)
class Bench:
    """Where jobs are done: by the nodes' handler, or on hosts that get the code with the task."""

    client: Client
    on_hosts: bool

    def submit(self, job: Job, **options: object) -> Task:
        """Submit a job; its pictures go along."""
        code = {"project": HERE} if self.on_hosts else {}
        submitter = self.client.options(**OPTIONS, **code, **options)
        return submitter.submit("repair:repaired" if self.on_hosts else "inpaint", *job.arguments)


def main(argv: list[str]) -> int:
    """Restore the pictures and return the exit code."""
    options = _options(argv)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return restore(options, console)
    except KeyboardInterrupt:
        console.print("interrupted: the cluster is stopped")
        return INTERRUPTED
    except AlbumError as error:
        console.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
        return USAGE
    except TaskFailed as error:
        console.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
        console.print(error.log_tail, markup=False)
        return FAILED
    except (ClusterError, RemudaError, TimeoutError, OSError) as error:
        console.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
        return FAILED


def restore(options: argparse.Namespace, console: Console) -> int:
    """Run the whole job; the exit code is 1 unless every picture came closer to its original."""
    out = options.out.resolve()
    parts = out / ".tiles"
    parts.mkdir(parents=True, exist_ok=True)
    album = _album(options, out)
    jobs = plan(album, parts, out)
    try:
        with _cluster(options, console) as client:
            bench = Bench(client, on_hosts=options.hosts)
            warm_up(bench, jobs[0], parts)
            started = time.monotonic()
            runs = run_jobs(bench, jobs, console)
            seconds = time.monotonic() - started
            restored = collect(jobs, out)
            show(restored, runs, seconds, out, console)
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return 0 if all(each.is_better for each in restored) else FAILED


def show(
    restored: list[Restored], runs: list[Run], seconds: float, out: Path, console: Console
) -> None:
    """Write the contact sheet and the list of tasks, and say how it went."""
    pictures = len({each.picture.name for each in restored})
    nodes = len({run.node for run in runs})
    counts = [_counted(pictures, "picture"), _counted(len(runs), "task")]
    summary = f"{', '.join(counts)} on {_counted(nodes, 'node')} in {seconds:.1f} s"
    repair.write_image(out / SHEET, sheet(restored, summary))
    (out / "tasks.json").write_text(json.dumps([_row(run) for run in runs], indent=2) + "\n")
    console.print(table(restored, runs))
    console.print(f"{summary}; pictures in {out}, side by side in {out / SHEET}", soft_wrap=True)
    for each in restored:
        if not each.is_better:
            console.print(f"[red]{escape(each.path.name)} is no closer to its original[/red]")


def warm_up(bench: Bench, job: Job, parts: Path) -> None:
    """Have each node load what repairs, with a corner of a picture, so that all begin together."""
    tasks = []
    for node in bench.client.nodes():
        corner = Job(job.picture, job.method, parts, WARM_UP)
        tasks.append(bench.submit(corner, name="warm up", node=node["name"]))
    for task in tasks:
        task.result(timeout=WARM_UP_S)


def run_jobs(bench: Bench, jobs: list[Job], console: Console) -> list[Run]:
    """Submit all jobs and wait for them, showing how far they are and who does them."""
    tasks = {}
    for job in jobs:
        task = bench.submit(job, name=job.name, tags={"picture": job.picture.name})
        tasks[task] = job
    runs = []
    by_node: Counter[str] = Counter()
    with _progress(console) as progress:
        bar = progress.add_task("restoring", total=len(jobs), nodes="")
        for task in bench.client.as_completed(list(tasks), timeout=ALL_TASKS_S):
            told, standing = task.result(), task.standing
            told["picture"].save(tasks[task].path_out, force=True)
            runs.append(
                Run(
                    job=tasks[task],
                    task_id=task.id,
                    number=task.number,
                    node=standing.node,
                    tries=standing.attempt,
                    seconds=told["seconds"],
                )
            )
            by_node[standing.node] += 1
            shares = "  ".join(f"{node} {count}" for node, count in sorted(by_node.items()))
            progress.update(bar, advance=1, nodes=shares)
    return runs


def table(restored: list[Restored], runs: list[Run]) -> Table:
    """Lay out what was done: a row per picture, method and way."""
    run_of = {run.job: run for run in runs}
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("picture", "method", "task", "node"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("tries", "seconds", "PSNR"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for each in restored:
        mine = [run_of[job] for job in each.jobs]
        shown.add_row(
            escape(each.picture.name),
            METHOD_TITLES[each.method],
            f"{len(mine)} tiles" if each.is_tiled else f"#{mine[0].number}",
            "  ".join(_shares(mine, each.is_tiled)),
            str(max(run.tries for run in mine)),
            f"{sum(run.seconds for run in mine):.2f}",
            _gain(each),
        )
    return shown


def _shares(runs: list[Run], counted: bool) -> list[str]:
    counts = sorted(Counter(run.node for run in runs).items())
    return [f"{node} {count}" if counted else node for node, count in counts]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _gain(each: Restored) -> str:
    """Write the PSNR before and after."""
    if each.psnr_before is None or each.psnr_after is None:
        return "-"
    colour = "green" if each.is_better else "red"
    return f"{each.psnr_before:.1f} → [{colour}]{each.psnr_after:.1f} dB[/{colour}]"


def _row(run: Run) -> dict[str, object]:
    return {
        "task": run.task_id,
        "name": run.job.name,
        "node": run.node,
        "tries": run.tries,
        "seconds": round(run.seconds, 6),
    }


def _cluster(
    options: argparse.Namespace, console: Console
) -> contextlib.AbstractContextManager[Client]:
    if options.hosts:
        hosts = _counted(options.nodes, "host")
        console.print(f"starting a scheduler, a store and {hosts} that share nothing with us")
        return hosts_cluster(options.nodes, console.print)
    console.print(f"starting a scheduler and {_counted(options.nodes, 'node')} on this host")
    return local_cluster(options.nodes, options.keep, console.print)


def _album(options: argparse.Namespace, out: Path) -> list[Picture]:
    photos = options.photos.resolve()
    if out == photos:
        raise AlbumError("--out and --photos are one folder: name another for the results")
    if options.masks is None:
        return scratched_album(photos, out)
    return masked_album(photos, options.masks.resolve(), out)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[nodes]}", style="dim"),
        console=console,
    )


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _nodes(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= NODES_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {NODES_MAX}")
    return number


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bin/quickstart",
        description="Restore damaged photographs as tasks on a small cluster of this host.",
        epilog="example: bin/quickstart --photos ~/scans --masks ~/scans/masks --out ~/restored",
    )
    parser.add_argument(
        "--photos",
        type=Path,
        default=HERE,
        metavar="DIR",
        help="pictures to damage and restore (default: the ones shipped with this example)",
    )
    parser.add_argument(
        "--masks",
        type=Path,
        metavar="DIR",
        help="masks of the same names, white where to repair: the pictures are then taken as "
        "damaged already",
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="DIR", help="where to write (default: restored)"
    )
    parser.add_argument(
        "--nodes", type=_nodes, default=2, metavar="N", help="nodes to start (default: 2)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the cluster up")
    parser.add_argument(
        "--hosts",
        action="store_true",
        help="each node on a host of its own: network namespaces without our files (needs root)",
    )
    options = parser.parse_args(argv)
    if options.hosts and options.keep:
        parser.error("--keep: hosts are gone with this program, use it without --hosts")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
