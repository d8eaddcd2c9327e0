"""The example that restores photographs: everything of it that needs no cluster."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from remuda import File

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"
NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
METHODS = ("telea", "navier-stokes")
GAIN_DB_MIN = 10.0
MODULES = ("repair", "tiles", "album", "contact_sheet", "restoration")


@pytest.fixture(scope="module")
def demo() -> Iterator[dict[str, ModuleType]]:
    """Import the example as its nodes do: from its own folder."""
    sys.path.insert(0, str(PHOTOS))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(PHOTOS))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def repair(demo: dict[str, ModuleType]) -> ModuleType:
    return demo["repair"]


def damaged(repair: ModuleType, name: str, seed: int = 1):
    original = repair.read_image(PHOTOS / name)
    return original, *repair.damage(original, seed)


def test_damage_is_the_same_for_the_same_seed(repair: ModuleType) -> None:
    _, one, one_mask = damaged(repair, "chelsea.png")
    _, two, two_mask = damaged(repair, "chelsea.png")
    assert np.array_equal(one, two)
    assert np.array_equal(one_mask, two_mask)


def test_damage_differs_for_another_seed(repair: ModuleType) -> None:
    _, _, one = damaged(repair, "chelsea.png", 1)
    _, _, two = damaged(repair, "chelsea.png", 2)
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("name", NAMES)
def test_damage_lies_within_its_mask_and_is_a_small_part(repair: ModuleType, name: str) -> None:
    original, worse, mask = damaged(repair, name)
    changed = np.any(original != worse, axis=2)
    assert not np.any(changed & (mask == 0))
    assert 0.02 < np.mean(mask > 0) < 0.25


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_inpainting_brings_every_photograph_closer_to_its_original(
    repair: ModuleType, name: str, method: str
) -> None:
    original, worse, mask = damaged(repair, name)
    better = repair.inpaint(worse, mask, method)
    assert repair.psnr(original, better) > repair.psnr(original, worse) + GAIN_DB_MIN


def test_inpainting_touches_nothing_outside_the_mask(repair: ModuleType) -> None:
    _, worse, mask = damaged(repair, "coffee.png")
    better = repair.inpaint(worse, mask, "telea")
    assert np.array_equal(worse[mask == 0], better[mask == 0])


def test_equal_pictures_have_an_infinite_psnr(repair: ModuleType) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    assert float("inf") == repair.psnr(image, image)


def test_an_error_of_one_step_everywhere_is_48_decibels(repair: ModuleType) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    assert pytest.approx(repair.psnr(image, image + 1), abs=0.01) == 48.13


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_a_picture_from_tiles_equals_the_picture_repaired_whole(
    demo: dict[str, ModuleType], name: str, method: str
) -> None:
    repair, tiles = demo["repair"], demo["tiles"]
    _, worse, mask = damaged(repair, name)
    height, width = mask.shape
    parts = []
    for tile in tiles.cut(width, height):
        x, y, w, h = tile.box
        part = repair.inpaint(worse[y : y + h, x : x + w], mask[y : y + h, x : x + w], method)
        parts.append((tile, part))
    whole = repair.inpaint(worse, mask, method)
    assert np.array_equal(whole, tiles.assemble(width, height, parts))


@pytest.mark.parametrize("size", [(1, 1), (192, 192), (193, 500), (20_000, 9_000)])
def test_cores_cover_a_picture_exactly_once(
    demo: dict[str, ModuleType], size: tuple[int, int]
) -> None:
    tiles = demo["tiles"]
    cover = np.zeros((size[1], size[0]), np.uint8)
    found = tiles.cut(*size)
    for tile in found:
        x, y, w, h = tile.core
        cover[y : y + h, x : x + w] += 1
    assert np.all(cover == 1)
    assert len(found) <= tiles.TILES_PER_PICTURE_MAX


def test_the_handler_repairs_a_box_of_a_picture_into_a_file(
    repair: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, worse, mask = damaged(repair, "chelsea.png")
    repair.write_image(tmp_path / "in.png", worse)
    repair.write_image(tmp_path / "mask.png", mask)
    handler = repair.Inpainter()
    handler.load()
    monkeypatch.chdir(tmp_path)
    told = handler(File("in.png"), File("mask.png"), (10, 20, 100, 80), "navier-stokes")
    part = (slice(20, 100), slice(10, 110))
    expected = repair.inpaint(worse[part], mask[part], "navier-stokes")
    assert np.array_equal(expected, repair.read_image(told["picture"]))
    assert np.count_nonzero(mask[part]) == told["pixels"]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert ["in.png", "mask.png", "repaired.png"] == names


def test_the_handler_refuses_a_mask_of_another_size(repair: ModuleType, tmp_path: Path) -> None:
    repair.write_image(tmp_path / "in.png", np.zeros((8, 8, 3), np.uint8))
    repair.write_image(tmp_path / "mask.png", np.zeros((8, 9), np.uint8))
    with pytest.raises(ValueError, match="not of the size"):
        repair.Inpainter()(File(tmp_path / "in.png"), File(tmp_path / "mask.png"))


def run_here(demo: dict[str, ModuleType], jobs: list, work: Path) -> None:
    """Do the work of the cluster in this process."""
    handler = demo["repair"].Inpainter()
    with contextlib.chdir(work):
        for job in jobs:
            handler(*job.arguments)["picture"].save(job.path_out, force=True)


def test_an_album_is_restored_judged_and_shown(demo: dict[str, ModuleType], tmp_path: Path) -> None:
    restoration = demo["restoration"]
    album = demo["album"].scratched_album(PHOTOS, tmp_path)
    jobs = restoration.plan(album, tmp_path, tmp_path)
    run_here(demo, jobs, tmp_path)
    restored = restoration.collect(jobs, tmp_path)
    assert len(NAMES) * len(METHODS) * 2 == len(restored)
    assert all(each.is_better and each.psnr_after is not None for each in restored)
    assert len({job.name for job in jobs}) == len(jobs)
    sheet = restoration.sheet(restored, "4 pictures")
    assert sheet.shape[1] > sheet.shape[0] > 1000


def test_pictures_with_masks_are_taken_as_damaged_and_not_judged(
    demo: dict[str, ModuleType], tmp_path: Path
) -> None:
    repair, restoration = demo["repair"], demo["restoration"]
    photos, masks, work = (tmp_path / name for name in ("photos", "masks", "work"))
    for folder in (photos, masks, work):
        folder.mkdir()
    _, worse, mask = damaged(repair, "chelsea.png")
    repair.write_image(photos / "cat.png", worse)
    repair.write_image(photos / "unmasked.png", worse)
    repair.write_image(masks / "cat.png", mask)
    album = demo["album"].masked_album(photos, masks, work)
    jobs = restoration.plan(album, work, work)
    run_here(demo, jobs, tmp_path)
    restored = restoration.collect(jobs, work)
    assert {("cat", None, True)} == {
        (each.picture.name, each.psnr_after, each.is_better) for each in restored
    }
    assert restoration.sheet(restored, "").size > 0


def test_a_picture_that_did_not_improve_is_seen(demo: dict[str, ModuleType]) -> None:
    restored = demo["restoration"].Restored(None, "telea", [], Path(), 20.0, 20.0)
    assert not restored.is_better


def test_a_folder_without_pictures_is_refused(demo: dict[str, ModuleType], tmp_path: Path) -> None:
    with pytest.raises(demo["album"].AlbumError, match="no pictures"):
        demo["album"].scratched_album(tmp_path, tmp_path)


def test_a_file_that_is_no_picture_is_named(demo: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a picture")
    with pytest.raises(demo["album"].AlbumError, match=r"notes\.png"):
        demo["album"].scratched_album(tmp_path, tmp_path)


def test_a_mask_of_another_size_is_refused(demo: dict[str, ModuleType], tmp_path: Path) -> None:
    repair = demo["repair"]
    for folder, height in (("photos", 8), ("masks", 9)):
        (tmp_path / folder).mkdir()
        repair.write_image(tmp_path / folder / "a.png", np.zeros((height, 8, 3), np.uint8))
    with pytest.raises(demo["album"].AlbumError, match="has the size of its picture"):
        demo["album"].masked_album(tmp_path / "photos", tmp_path / "masks", tmp_path)
