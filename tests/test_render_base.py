"""Base transforms as pixels: what a crop is resized from, and how often a file is decoded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from pipeline.executor import InlineExecutor
from pipeline.plan.base import BasePlan, draw_base
from pipeline.recipe import CenterCrop
from pipeline.render.base import decoding_scales, render_bases
from pipeline.source_sections import DigitsSource, ImageFolderSource
from pipeline.sources import open_source
from pipeline.sources.source import ArraySource, FileSource, Source


def boxes(*rows: tuple[int, int, int, int, bool]) -> BasePlan:
    """Return a plan of (top, left, height, width, flip) rows."""
    columns = [np.array(column, np.int32) for column in list(zip(*rows, strict=True))[:4]]
    return BasePlan(*columns, np.array([row[4] for row in rows]))


def by_pillow(picture: np.ndarray, row: tuple[int, int, int, int, bool], size: int) -> np.ndarray:
    top, left, height, width, flip = row
    cut = Image.fromarray(picture[top : top + height, left : left + width])
    resized = np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR))
    return resized[:, ::-1] if flip else resized


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b).mean()))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> FileSource:
    """Two photographs of 427×640 px as 4:2:0 JPEGs, and one of them as PNG."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "a").mkdir()
    for name, pixels in zip(("china", "flower"), load_sample_images().images, strict=True):
        Image.fromarray(pixels).save(folder / f"a/{name}.jpg", quality=93, subsampling=2)
        if name == "china":
            Image.fromarray(pixels).save(folder / "a/china.png")
    config = ImageFolderSource(kind="image-folder", path=str(folder))
    source = open_source(config, InlineExecutor())
    assert isinstance(source, FileSource)
    assert source.ids.to_pylist() == ["a/china.jpg", "a/china.png", "a/flower.jpg"]
    return source


class Counting:
    """A source that notes what is read."""

    def __init__(self, source: Source) -> None:
        self.source, self.reads = source, list[tuple[int, int]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def read_scaled(self, index: int, scale: int) -> Any:
        self.reads.append((index, scale))
        return self.source.read_scaled(index, scale)


def test_crops_below_four_times_the_sample_are_resized_from_the_whole_picture(photos: FileSource):
    rows = [(0, 0, 427, 640, False), (3, 5, 300, 250, True), (100, 200, 60, 90, False)]
    for index in range(3):
        found = render_bases(boxes(*rows), np.full(3, index), photos, 224)
        whole = photos.read(index)
        for i, row in enumerate(rows):
            np.testing.assert_array_equal(found[i], by_pillow(whole, row, 224))


@pytest.mark.parametrize(("size", "scale"), [(96, 4), (48, 2), (24, 1)])
def test_crops_of_more_are_resized_from_a_smaller_decode_with_no_visible_loss(photos, size, scale):
    rng = np.random.default_rng(0)
    least = 16 * size // scale
    rows = []
    for _ in range(20):
        height, width = rng.integers(least, [428, 641])
        top, left = rng.integers(0, [428 - height, 641 - width])
        rows.append((int(top), int(left), int(height), int(width), bool(rng.integers(2))))
    plan = boxes(*rows)
    assert decoding_scales(plan, size).max() <= scale
    for index in (0, 2):
        whole = photos.read(index)
        found = render_bases(plan, np.full(20, index), photos, size)
        likeness = [psnr(found[i], by_pillow(whole, row, size)) for i, row in enumerate(rows)]
        assert min(likeness) > 40
        assert max(likeness) < 70  # it is another decode


def test_other_formats_are_resized_from_the_whole_picture(photos: FileSource):
    row = (7, 9, 400, 600, True)
    found = render_bases(boxes(row), np.array([1]), photos, 32)
    np.testing.assert_array_equal(found[0], by_pillow(photos.read(1), row, 32))


def test_the_scale_is_the_least_that_leaves_twice_the_sample():
    sides = [447, 448, 895, 896, 1791, 1792, 3583, 3584]
    plan = boxes(*((0, 0, side, 5000, False) for side in sides))
    assert decoding_scales(plan, 224).tolist() == [8, 8, 8, 4, 4, 2, 2, 1]
    turned = boxes(*((0, 0, 5000, side, False) for side in sides))
    assert decoding_scales(turned, 224).tolist() == [8, 8, 8, 4, 4, 2, 2, 1]


def test_rows_that_share_picture_and_scale_share_one_decode(photos: FileSource):
    large, small = (0, 0, 400, 400, False), (10, 10, 50, 40, True)
    rows = [small, small, large, large, small]
    indices = np.array([0, 0, 0, 2, 2])
    source = Counting(photos)
    found = render_bases(boxes(*rows), indices, source, 96)
    assert source.reads == [(0, 8), (0, 4), (2, 4), (2, 8)]
    for i, row in enumerate(rows):
        alone = render_bases(boxes(row), indices[i : i + 1], photos, 96)
        np.testing.assert_array_equal(found[i], alone[0])


def test_a_box_that_leaves_its_picture_is_refused(photos: FileSource):
    with pytest.raises(ValueError, match="does not lie in a picture of 427×640"):
        render_bases(boxes((0, 600, 50, 50, False)), np.array([0]), photos, 32)


def centre(source: Source, indices: Any, size: int, resize: int) -> np.ndarray:
    transform = CenterCrop(kind="center-crop", size=size, resize=resize)
    indices = np.array(indices)
    sides = source.heights[indices], source.widths[indices]
    plan = draw_base(transform, *sides, seed=0, epoch=0, start=0, stop=len(indices))
    return render_bases(plan, indices, source, size, resize=resize)


@pytest.mark.parametrize(("size", "resize"), [(224, 256), (64, 73), (224, 427), (320, 500)])
def test_a_central_crop_is_torchvisions_to_the_last_bit(photos, size, resize):
    transforms = pytest.importorskip("torchvision.transforms")
    theirs = transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(size)])
    found = centre(photos, [0, 1, 1, 2], size, resize)
    for place, index in enumerate((0, 1, 1, 2)):
        expected = theirs(Image.fromarray(photos.read(index)))
        np.testing.assert_array_equal(found[place], np.asarray(expected))


def test_a_central_crop_of_tall_and_tiny_pictures(tmp_path: Path):
    transforms = pytest.importorskip("torchvision.transforms")
    rng = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    for height, width in ((97, 31), (20, 20), (9, 300), (33, 32)):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"a/{height}.png")
    config = ImageFolderSource(kind="image-folder", path=str(tmp_path))
    source = open_source(config, InlineExecutor())
    theirs = transforms.Compose([transforms.Resize(37), transforms.CenterCrop(32)])
    found = centre(source, range(4), 32, 37)
    for index in range(4):
        expected = theirs(Image.fromarray(source.read(index)))
        np.testing.assert_array_equal(found[index], np.asarray(expected))


def test_a_central_crop_as_large_as_the_picture_is_the_picture():
    source = open_source(DigitsSource(kind="digits", count=9), InlineExecutor())
    assert isinstance(source, ArraySource)
    order = [3, 8, 0, 5]
    np.testing.assert_array_equal(centre(source, order, 32, 32), source.pixels[order])
    smaller = centre(source, order, 16, 32)
    np.testing.assert_array_equal(smaller, source.pixels[order, 8:24, 8:24])


def test_an_array_source_is_resized_first_too():
    source = open_source(DigitsSource(kind="digits", count=3), InlineExecutor())
    for i, found in enumerate(centre(source, range(3), 32, 36)):
        larger = Image.fromarray(source.read(i)).resize((36, 36), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(found, np.asarray(larger)[2:34, 2:34])


def test_no_rows_are_no_pictures(photos: FileSource):
    none = BasePlan(*(np.empty(0, np.int32) for _ in range(4)), np.empty(0, bool))
    assert render_bases(none, np.empty(0, np.int64), photos, 32).shape == (0, 32, 32, 3)


def test_the_stored_jpeg_decides_not_its_name(tmp_path: Path):
    (tmp_path / "a").mkdir()
    file = io.BytesIO()
    Image.fromarray(load_sample_images().images[1]).save(file, "JPEG", quality=93)
    (tmp_path / "a/x.png").write_bytes(file.getvalue())
    source = open_source(
        ImageFolderSource(kind="image-folder", path=str(tmp_path)), InlineExecutor()
    )
    assert source.read_scaled(0, 2).pixels.shape == (107, 160, 3)
