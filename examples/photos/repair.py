"""How a photograph is damaged, repaired and judged.

`Inpainter` is what nodes keep warm, as the named handler `inpaint`: pictures come to it and go
home as files. The rest is plain functions over images as OpenCV holds them: uint8 arrays of
height x width x 3 (blue, green, red).
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from remuda import File

Image = np.ndarray
Box = tuple[int, int, int, int]  # x, y, width, height
Figure = Callable[[Image, int], object]  # draws on an image in a shade

METHODS = {"telea": cv2.INPAINT_TELEA, "navier-stokes": cv2.INPAINT_NS}
RADIUS_PX = 4
REPAIRED = "repaired.png"
WRITING = ("do not bend", "rodeo '73", "return to sender", "PROOF", "wish you were here")


def damage(image: Image, seed: int) -> tuple[Image, Image]:
    """Scratch a photograph and write on it; return it with its mask (255: damaged).

    The same picture and seed always give the same damage.
    """
    chance = np.random.default_rng(seed)
    height, width = image.shape[:2]
    damaged, mask = image.copy(), np.zeros((height, width), np.uint8)
    unit = max(1.0, min(height, width) / 400)
    for _ in range(14):
        _scratch(damaged, mask, chance, unit)
    for _ in range(60):
        _speck(damaged, mask, chance, unit)
    for line in range(2):
        _write(damaged, mask, chance, unit, top=(0.18 + 0.52 * line) * height)
    return damaged, mask


def inpaint(image: Image, mask: Image, method: str) -> Image:
    """Fill what the mask marks from what lies around it."""
    return cv2.inpaint(image, mask, RADIUS_PX, METHODS[method])


def psnr(a: Image, b: Image) -> float:
    """Return the peak signal-to-noise ratio in dB; infinite for equal images."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


def read_image(path: Path | File | str, flags: int = cv2.IMREAD_COLOR) -> Image:
    """Read a picture; raise ValueError for a file that is none."""
    image = cv2.imread(os.fspath(path), flags)
    if image is None:
        raise ValueError(f"{path} cannot be read as a picture")
    return image


def read_mask(path: Path | File | str) -> Image:
    """Read a mask as 0 and 255: what is rather white than black is to be repaired."""
    return np.where(read_image(path, cv2.IMREAD_GRAYSCALE) >= 128, 255, 0).astype(np.uint8)


def write_image(path: Path | str, image: Image) -> None:
    """Write a picture under a temporary name first, so that nobody reads half of one."""
    target = Path(path)
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    if not cv2.imwrite(str(temporary), image):
        raise OSError(f"{target} could not be written")
    temporary.replace(target)


class Inpainter:
    """Repair pictures or tiles of them: `load()` once, then a call per task."""

    def load(self) -> None:
        """Warm the library up, and keep it to the one CPU that each task asks for."""
        cv2.setNumThreads(1)
        blank = np.zeros((16, 16, 3), np.uint8)
        for method in METHODS:
            inpaint(blank, blank[:, :, 0], method)

    def __call__(
        self,
        picture: File,
        mask_file: File,
        box: Box | None = None,
        method: str = "telea",
    ) -> dict[str, object]:
        """Repair a picture, or the `box` of it; return it as a file, and what it took."""
        started = time.perf_counter()
        image, mask = read_image(picture), read_mask(mask_file)
        if image.shape[:2] != mask.shape:
            raise ValueError(f"{mask_file.name} is not of the size of {picture.name}")
        if box is not None:
            x, y, width, height = box
            image, mask = (part[y : y + height, x : x + width] for part in (image, mask))
        write_image(REPAIRED, inpaint(image, mask, method))
        return {
            "picture": File(REPAIRED),
            "pixels": int(np.count_nonzero(mask)),
            "seconds": time.perf_counter() - started,
        }


def repaired(
    picture: File, mask_file: File, box: Box | None = None, method: str = "telea"
) -> dict[str, object]:
    """Repair like an `Inpainter`, on a node that has no handler: the code comes with the task."""
    return Inpainter()(picture, mask_file, box, method)


def _scratch(damaged: Image, mask: Image, chance: np.random.Generator, unit: float) -> None:
    """Draw one long, slightly bent scratch."""
    height, width = mask.shape
    start = chance.uniform((0, 0), (width, height))
    angle = chance.normal(np.pi / 2, 0.5)
    length = chance.uniform(0.25, 0.9) * height
    along = np.linspace(0, 1, 24)[:, None]
    bend = chance.normal(0, 0.06) * length * np.sin(np.pi * along)
    direction = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-direction[1], direction[0]])
    points = np.round(start + along * length * direction + bend * across).astype(np.int32)
    thick = max(1, round(chance.uniform(0.8, 2.6) * unit))
    _draw(
        damaged,
        mask,
        chance,
        lambda on, shade: cv2.polylines(on, [points], isClosed=False, color=shade, thickness=thick),
    )


def _speck(damaged: Image, mask: Image, chance: np.random.Generator, unit: float) -> None:
    """Draw one grain of dust."""
    height, width = mask.shape
    centre = (int(chance.integers(width)), int(chance.integers(height)))
    radius = max(1, round(chance.uniform(0.6, 2.4) * unit))
    _draw(damaged, mask, chance, lambda on, shade: cv2.circle(on, centre, radius, shade, -1))


def _write(
    damaged: Image, mask: Image, chance: np.random.Generator, unit: float, top: float
) -> None:
    """Write a few words across the picture."""
    height, width = mask.shape
    words = str(chance.choice(WRITING))
    thick = max(2, round(2.4 * unit))
    face = cv2.FONT_HERSHEY_SCRIPT_COMPLEX
    (size_x, size_y), _ = cv2.getTextSize(words, face, 1.0, thick)
    scale = min(0.62 * width / size_x, 0.16 * height / size_y)
    left = chance.uniform(0.04, 0.3) * width
    at = (round(left), round(top + chance.uniform(0, 0.1) * height))
    _draw(
        damaged,
        mask,
        chance,
        lambda on, shade: cv2.putText(on, words, at, face, scale, shade, thick),
    )


def _draw(damaged: Image, mask: Image, chance: np.random.Generator, draw: Figure) -> None:
    """Draw one figure in a worn colour on the picture, and where it lies on the mask."""
    figure = np.zeros_like(mask)
    draw(figure, 255)
    bright = chance.random() < 0.75
    shade = chance.uniform(215, 250) if bright else chance.uniform(5, 40)
    colour = np.clip(shade + np.array([-14, -4, 4]), 0, 255).astype(np.uint8)
    damaged[figure > 0] = colour
    mask[figure > 0] = 255
