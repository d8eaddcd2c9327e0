"""How are photographs shown before and after, side by side on one sheet."""

from dataclasses import dataclass

import cv2
import numpy as np

Image = np.ndarray
Colour = tuple[int, int, int]

CELL_WIDTH = 380
CELL_HEIGHT_MAX = 380
GAP = 22
MARGIN = 44
HEADER = 116
CAPTION = 46
ROW_GAP = 22
CORNER = 8

# Blue, green, red: a dark warm wall, as in a gallery.
WALL: Colour = (26, 28, 31)
WALL_LIGHT: Colour = (40, 43, 48)
INK: Colour = (238, 241, 244)
INK_SOFT: Colour = (150, 157, 165)
GOOD: Colour = (139, 204, 146)
BAD: Colour = (118, 134, 235)


@dataclass(frozen=True)
class Cell:
    """One picture with its caption; `note` stands at the right, in green or red where judged."""

    image: Image
    caption: str
    note: str = ""
    good: bool | None = None


def contact_sheet(rows: list[list[Cell]], title: str, subtitle: str = "") -> Image:
    """Lay rows of pictures out on one sheet, each picture scaled to the width of its column."""
    columns = max(len(row) for row in rows)
    scaled = [[_fit(cell.image) for cell in row] for row in rows]
    heights = [max(image.shape[0] for image in row) for row in scaled]
    width = 2 * MARGIN + columns * CELL_WIDTH + (columns - 1) * GAP
    height = HEADER + sum(heights) + len(rows) * (CAPTION + ROW_GAP) + MARGIN // 2
    sheet = _wall(width, height)
    _write(sheet, title, (MARGIN, 58), 30, INK, bold=True)
    _write(sheet, subtitle, (MARGIN, 86), 16, INK_SOFT)
    top = HEADER
    for row, images, row_height in zip(rows, scaled, heights, strict=True):
        for column, (cell, image) in enumerate(zip(row, images, strict=True)):
            _hang(sheet, cell, image, MARGIN + column * (CELL_WIDTH + GAP), top, row_height)
        top += row_height + CAPTION + ROW_GAP
    return sheet


def _wall(width: int, height: int) -> Image:
    """Paint the background, a little lighter at the top."""
    fade = np.linspace(1, 0, height)[:, None, None] ** 2
    low, high = np.array(WALL, np.float64), np.array(WALL_LIGHT, np.float64)
    painted: Image = np.broadcast_to(low + fade * (high - low), (height, width, 3)).round()
    return painted.astype(np.uint8)


def _fit(image: Image) -> Image:
    height, width = image.shape[:2]
    scale = min(CELL_WIDTH / width, CELL_HEIGHT_MAX / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=way)


def _hang(sheet: Image, cell: Cell, image: Image, left: int, top: int, row_height: int) -> None:
    """Place one picture, centred in its column, and what is said below it."""
    height, width = image.shape[:2]
    x, y = left + (CELL_WIDTH - width) // 2, top + (row_height - height) // 2
    place = sheet[y : y + height, x : x + width]
    cover = _rounded(height, width)
    place[:] = (cover * image + (1 - cover) * place).round().astype(np.uint8)
    baseline = top + row_height + 26
    _write(sheet, cell.caption, (left, baseline), 16, INK)
    if cell.note:
        colour = INK_SOFT if cell.good is None else GOOD if cell.good else BAD
        at = left + CELL_WIDTH - _width(cell.note, 16, bold=True)
        _write(sheet, cell.note, (at, baseline), 16, colour, bold=True)


def _rounded(height: int, width: int) -> Image:
    """Return how far each pixel of a picture with round corners is covered, from 0 to 1."""
    x = np.abs(np.arange(width) - (width - 1) / 2) - (width / 2 - CORNER)
    y = np.abs(np.arange(height) - (height - 1) / 2) - (height / 2 - CORNER)
    out = np.hypot(np.maximum(x, 0)[None, :], np.maximum(y, 0)[:, None])
    covered: Image = np.clip(CORNER - out + 0.5, 0, 1)
    return covered[:, :, None]


def _write(
    sheet: Image, words: str, at: tuple[int, int], size: int, colour: Colour, bold: bool = False
) -> None:
    """Write in OpenCV 5's smooth font, or in OpenCV 4's stroked one, drawn large and shrunk."""
    if hasattr(cv2, "FontFace"):
        cv2.putText(sheet, words, at, colour, cv2.FontFace("sans"), size, _weight(bold))
        return
    if not words:
        return
    fine = 4
    width, above, below = _width(words, size, bold), size + 4, size // 2
    layer = np.zeros(((above + below) * fine, (width + 4) * fine), np.uint8)
    face, scale, thick = _stroked(size * fine, bold)
    cv2.putText(layer, words, (fine, above * fine), face, scale, 255, thick, cv2.LINE_AA)
    cover = cv2.resize(layer, (width + 4, above + below), interpolation=cv2.INTER_AREA) / 255.0
    x, y = at[0], at[1] - above
    place = sheet[y : y + above + below, x : x + width + 4]
    cover = cover[: place.shape[0], : place.shape[1], None]
    place[:] = (cover * np.array(colour) + (1 - cover) * place).round().astype(np.uint8)


def _width(words: str, size: int, bold: bool) -> int:
    if hasattr(cv2, "FontFace"):
        sans = cv2.FontFace("sans")
        return int(cv2.getTextSize((1, 1), words, (0, 0), sans, size, _weight(bold))[2])
    fine = 4
    (width, _), _ = cv2.getTextSize(words, *_stroked(size * fine, bold))
    return int(np.ceil(width / fine))


def _weight(bold: bool) -> int:
    return 600 if bold else 400


def _stroked(size: int, bold: bool) -> tuple[int, float, int]:
    return cv2.FONT_HERSHEY_DUPLEX, size / 30, max(1, round(size / (11 if bold else 18)))
