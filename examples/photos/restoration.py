"""Which tasks restore an album, and what has become of its pictures when they are done."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import repair
import tiles
from album import Picture
from contact_sheet import Cell, contact_sheet

from remuda import File

METHOD_TITLES = {"telea": "Telea", "navier-stokes": "Navier-Stokes"}
SHEET_ROWS_MAX = 12


@dataclass(frozen=True)
class Job:
    """Describe one task: a whole picture, or a tile of it, by one method."""

    picture: Picture
    method: str
    path_out: Path
    tile: tiles.Tile | None = None
    name: str = ""

    @property
    def arguments(self) -> tuple[object, ...]:
        """Return what the handler `inpaint` is called with: the picture and its mask go along."""
        box = self.tile.box if self.tile else None
        return (File(self.picture.damaged), File(self.picture.mask), box, self.method)


@dataclass(frozen=True)
class Restored:
    """Judge one picture restored one way; PSNR in dB, None where no original is known."""

    picture: Picture
    method: str
    jobs: list[Job]
    path: Path
    psnr_before: float | None = None
    psnr_after: float | None = None

    @property
    def is_tiled(self) -> bool:
        """Tell whether it was put together from tiles."""
        return self.jobs[0].tile is not None

    @property
    def is_better(self) -> bool:
        """Tell whether it came closer to its original; True where nobody can tell."""
        if self.psnr_before is None or self.psnr_after is None:
            return True
        return self.psnr_after > self.psnr_before


def plan(album: Iterable[Picture], work: Path, out: Path) -> list[Job]:
    """List the tasks: each picture by each method, once whole and once in tiles."""
    jobs = []
    for picture in album:
        for method in repair.METHODS:
            whole = out / f"{picture.name}.{method}.png"
            jobs.append(Job(picture, method, whole, name=f"{picture.name} {method}"))
            cuts = tiles.cut(picture.width, picture.height)
            for number, tile in enumerate(cuts, start=1):
                jobs.append(
                    Job(
                        picture,
                        method,
                        work / f"{picture.name}.{method}.{number}.png",
                        tile,
                        name=f"{picture.name} {method} {number}/{len(cuts)}",
                    )
                )
    return jobs


def collect(jobs: Iterable[Job], out: Path) -> list[Restored]:
    """Put tiles together, and judge each restored picture against its original."""
    groups: dict[tuple[str, str, bool], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.picture.name, job.method, job.tile is not None), []).append(job)
    return [_judge(group, out) for group in groups.values()]


def sheet(restored: list[Restored], subtitle: str) -> repair.Image:
    """Show the pictures before and after, the whole ones, up to a number that a sheet can hold."""
    rows: dict[str, list[Cell]] = {}
    for each in restored:
        if each.is_tiled:
            continue
        if each.picture.name not in rows and len(rows) == SHEET_ROWS_MAX:
            continue
        row = rows.setdefault(each.picture.name, [_damaged_cell(each)])
        title, note = METHOD_TITLES[each.method], _decibel(each.psnr_after)
        row.append(Cell(repair.read_image(each.path), title, note, each.is_better))
    originals = {each.picture.name: each.picture.original for each in restored}
    for name, row in rows.items():
        original = originals[name]
        if original is not None:
            row.append(Cell(repair.read_image(original), "Original"))
    return contact_sheet(list(rows.values()), "Photographs restored by remuda", subtitle)


def _judge(group: list[Job], out: Path) -> Restored:
    first = group[0]
    picture = first.picture
    path = first.path_out
    if first.tile is not None:
        parts = [(job.tile, repair.read_image(job.path_out)) for job in group if job.tile]
        path = out / f"{picture.name}.{first.method}.from-tiles.png"
        repair.write_image(path, tiles.assemble(picture.width, picture.height, parts))
    if picture.original is None:
        return Restored(picture, first.method, group, path)
    original = repair.read_image(picture.original)
    before = repair.psnr(original, repair.read_image(picture.damaged))
    after = repair.psnr(original, repair.read_image(path))
    return Restored(picture, first.method, group, path, before, after)


def _damaged_cell(each: Restored) -> Cell:
    note = _decibel(each.psnr_before)
    return Cell(repair.read_image(each.picture.damaged), each.picture.title, note, good=False)


def _decibel(psnr: float | None) -> str:
    if psnr is None:
        return ""
    return "identical" if math.isinf(psnr) else f"{psnr:.1f} dB"
