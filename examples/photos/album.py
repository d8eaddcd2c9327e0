"""Which pictures are to be repaired: the ones of a folder, damaged by us or by life."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import repair

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
PICTURES_MAX = 200


class AlbumError(Exception):
    """Say what is wrong with the folders, and what would be right."""


@dataclass(frozen=True)
class Picture:
    """Name the files of one picture; `original` is None when nobody knows how it was."""

    name: str
    width: int
    height: int
    damaged: Path
    mask: Path
    original: Path | None = None

    @property
    def title(self) -> str:
        """Return the name as a caption."""
        return self.name.replace("_", " ").replace("-", " ").capitalize()


def scratched_album(photos: Path, work: Path) -> list[Picture]:
    """Damage every photograph of a folder, the same way each time."""
    return [_scratched(path, work) for path in _pictures(photos)]


def masked_album(photos: Path, masks: Path, work: Path) -> list[Picture]:
    """Pair damaged photographs with their masks, by the names without suffix."""
    mask_of = {path.stem: path for path in _pictures(masks)}
    found = [path for path in _pictures(photos) if path.stem in mask_of]
    if not found:
        raise AlbumError(
            f"no picture of {photos} has a mask of the same name in {masks}: "
            "scan.jpg needs scan.png, white where the picture is to be repaired"
        )
    return [_masked(path, mask_of[path.stem], work) for path in found]


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise AlbumError(f"{folder} is no folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise AlbumError(f"{folder} holds no pictures ({' '.join(sorted(SUFFIXES))})")
    if len(found) > PICTURES_MAX:
        raise AlbumError(f"{folder} holds {len(found)} pictures: at most {PICTURES_MAX} at a time")
    twins = {path.stem for path in found if sum(path.stem == other.stem for other in found) > 1}
    if twins:
        raise AlbumError(f"{folder}: two pictures are named {min(twins)!r}: rename one")
    return found


def _scratched(path: Path, work: Path) -> Picture:
    original = _read(path)
    damaged, mask = repair.damage(original, seed=zlib.crc32(path.stem.encode()))
    return _keep(path, damaged, mask, work, original=path)


def _masked(path: Path, mask_path: Path, work: Path) -> Picture:
    damaged = _read(path)
    try:
        mask = repair.read_mask(mask_path)
    except ValueError as error:
        raise AlbumError(str(error)) from error
    if mask.shape != damaged.shape[:2]:
        raise AlbumError(
            f"{mask_path} is {mask.shape[1]} x {mask.shape[0]}, its picture "
            f"{damaged.shape[1]} x {damaged.shape[0]}: a mask has the size of its picture"
        )
    return _keep(path, damaged, mask, work, original=None)


def _keep(
    path: Path,
    damaged: repair.Image,
    mask: repair.Image,
    work: Path,
    original: Path | None,
) -> Picture:
    picture = Picture(
        name=path.stem,
        width=damaged.shape[1],
        height=damaged.shape[0],
        damaged=work / f"{path.stem}.damaged.png",
        mask=work / f"{path.stem}.mask.png",
        original=original,
    )
    repair.write_image(picture.damaged, damaged)
    repair.write_image(picture.mask, mask)
    return picture


def _read(path: Path) -> repair.Image:
    try:
        return repair.read_image(path)
    except ValueError as error:
        raise AlbumError(str(error)) from error
