"""How is a picture cut into tiles that can be repaired apart, and put together again."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

Image = np.ndarray
Box = tuple[int, int, int, int]  # x, y, width, height

CORE_PX = 192
# What inpainting fills depends on what lies around it, further than its radius, since it works
# its way inwards. From this overlap on, tiles of scratched pictures equal the whole, bit by bit.
OVERLAP_PX = 32
TILES_PER_PICTURE_MAX = 48


@dataclass(frozen=True)
class Tile:
    """Name the part of a picture that a tile answers for, and the larger part that it reads."""

    core: Box
    box: Box


def cut(
    width: int, height: int, core_px: int = CORE_PX, overlap_px: int = OVERLAP_PX
) -> list[Tile]:
    """Cover a picture with tiles; those of a huge picture are larger, so that they stay few."""
    while -(-width // core_px) * -(-height // core_px) > TILES_PER_PICTURE_MAX:
        core_px += CORE_PX
    return [
        _tile(x, y, core_px, overlap_px, width, height)
        for y in range(0, height, core_px)
        for x in range(0, width, core_px)
    ]


def assemble(width: int, height: int, parts: Iterable[tuple[Tile, Image]]) -> Image:
    """Put repaired tiles together: each core from its own tile, overlaps from none."""
    whole = np.zeros((height, width, 3), np.uint8)
    for tile, image in parts:
        x, y, core_width, core_height = tile.core
        left, top = x - tile.box[0], y - tile.box[1]
        whole[y : y + core_height, x : x + core_width] = image[
            top : top + core_height, left : left + core_width
        ]
    return whole


def _tile(x: int, y: int, core_px: int, overlap_px: int, width: int, height: int) -> Tile:
    right, bottom = min(width, x + core_px), min(height, y + core_px)
    left, top = max(0, x - overlap_px), max(0, y - overlap_px)
    box_right, box_bottom = min(width, right + overlap_px), min(height, bottom + overlap_px)
    return Tile(
        core=(x, y, right - x, bottom - y),
        box=(left, top, box_right - left, box_bottom - top),
    )
