"""Generated fractals: the same bytes everywhere, however the work is cut, and not dull."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.executor import InlineExecutor
from pipeline.picture_sections import IfsPictures
from pipeline.pictures import ifs, ifs_kernels, open_pictures
from pipeline.pictures.draws import Draws
from pipeline.pictures.picture_set import PictureSet
from tests.elsewhere import without_avx

# A change of these means that every mixing set and dataset made with them changes: give the
# generator a new `_VERSION` in the same commit. They hold on any x86-64 processor.
GOLDEN = {
    36: "d96fd43a5b23a8e4627feecbcb5940c87eff08af05ae301b4de41603b933be5f",
    128: "748144361146cb7a651f58210856357aa48336044c425c06ce86c8e2576cd158",
}


class _Backwards(InlineExecutor):
    def map(self, function: Any, shared: Any, jobs: Any) -> Iterator[Any]:
        return super().map(function, shared, reversed(list(jobs)))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path))


def _open(count: int, size: int = 36, seed: int = 0, backwards: bool = False) -> PictureSet:
    config = IfsPictures(kind="ifs", count=count, size=size, seed=seed)
    return open_pictures(config, _Backwards() if backwards else InlineExecutor())


def _render(seed: int, index: int, size: int) -> ifs.U8:
    picture = np.empty((size, size, 3), np.uint8)
    ifs.render_ifs(seed, index, 0, picture)
    return picture


def _golden(size: int) -> str:
    pictures = [_render(7, index, size) for index in range(8)]
    return hashlib.sha256(np.stack(pictures).data).hexdigest()


@pytest.mark.parametrize("size", list(GOLDEN))
def test_golden_pictures(size: int) -> None:
    assert _golden(size) == GOLDEN[size]


@pytest.mark.slow
def test_a_processor_without_avx_makes_the_same_bytes() -> None:
    script = "from tests.test_pictures_ifs import _golden; print(_golden(36), _golden(128))"
    assert without_avx(script) == [GOLDEN[36], GOLDEN[128]]


def test_chunks_and_their_order_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _open(20)
    monkeypatch.setenv("DREAMSHARDS_CACHE", os.environ["DREAMSHARDS_CACHE"] + "/other")
    assert _open(20, backwards=True).digest == whole.digest


def test_a_smaller_set_is_the_start_of_a_larger_one() -> None:
    few, many = _open(10), _open(20)
    assert np.array_equal(many.pixels[: len(few.pixels)], few.pixels)
    assert many.ids.to_pylist()[:10] == few.ids.to_pylist()
    assert many.ids[19].as_py() == "ifs-000019"
    assert (len(few), len(many)) == (10, 20)
    assert set(many.heights) == set(many.widths) == {36}
    few.verify()


def test_seeds_and_indices_give_different_pictures() -> None:
    pictures = [_render(seed, index, 36) for seed in (0, 1, 2**64 - 1) for index in range(4)]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("size", [8, 33, 100])
def test_any_size(size: int) -> None:
    picture = _open(2, size=size).picture(1)
    assert picture.shape == (size, size, 3)
    assert picture.std() > 8


def test_the_second_opening_makes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first = _open(3)
    monkeypatch.setattr(ifs, "render_ifs", None)
    assert _open(3).digest == first.digest


def test_the_maps_are_contractive_and_spend_the_sigma_factor() -> None:
    numbers = set()
    for index in range(300):
        maps, areas = ifs._draw_maps(Draws(3, ifs._PURPOSE, index, 0))
        numbers.add(len(maps))
        sigmas = np.linalg.svd(maps[:, :4].reshape(-1, 2, 2), compute_uv=False)
        assert sigmas.max() <= 1 + 1e-12
        assert np.allclose(sigmas.prod(axis=1), areas)
        spent = (sigmas[:, 0] + 2 * sigmas[:, 1]).sum() - (5.5 + len(maps)) / 2
        assert 0.5 - 1e-9 <= spent <= 1 + 1e-9
        assert np.abs(maps[:, 4:]).max() <= 1
    assert numbers == {2, 3, 4}


def test_map_choices_follow_areas_with_a_floor() -> None:
    table = ifs._pick_table([0.5, 0.25, 0.0])
    assert np.bincount(table).tolist() == [674, 337, 13]


def test_directions_are_of_length_one_and_everywhere() -> None:
    draws = Draws(0, ifs._PURPOSE, 0, 0)
    directions = np.array([draws.direction() for _ in range(4000)])
    assert np.allclose((directions**2).sum(axis=1), 1)
    octants = np.floor(np.arctan2(directions[:, 1], directions[:, 0]) * 4 / np.pi).astype(int) + 4
    assert np.bincount(octants, minlength=8).min() > 400


def test_logarithms() -> None:
    assert np.allclose(ifs._logarithms(), np.log2(1 + np.arange(1 << 16)), rtol=0, atol=1e-11)


def test_plasma_fills_zero_to_one() -> None:
    grid = np.full((64, 64), np.nan)
    ifs_kernels.fill_plasma(grid, 0.5, np.array([3], np.uint64))
    assert (grid.min(), grid.max()) == (0, 1)
    steps = np.abs(np.diff(grid, axis=0)).mean(), np.abs(np.diff(grid, axis=1)).mean()
    assert max(steps) < 0.1


def test_hsv() -> None:
    import colorsys

    rgb = np.empty(3)
    for hue, saturation, value in np.random.Generator(np.random.PCG64(0)).random((200, 3)):
        ifs_kernels.hsv_to_rgb(hue + 2, saturation, value, rgb)
        assert np.allclose(rgb, colorsys.hsv_to_rgb(hue, saturation, value))


def test_splat_counts_points_where_they_fall() -> None:
    """One map with its fixed point at (3.5, 2.5): all points of colour 200 fall into one cell."""
    maps = np.array([[0.5, 0, 0, 0.5, 1.75, 1.25]])
    pick = np.zeros(ifs_kernels.PICK_SLOTS, np.uint8)
    cells = np.zeros((8, 8), np.uint64)
    start = np.array([3.5, 2.5])
    colours = np.array([200 << 8], np.uint64)
    ifs_kernels.splat(maps, pick, colours, start, np.array([1], np.uint64), 50, cells)
    assert np.argwhere(cells).tolist() == [[2, 3]]
    assert int(cells[2, 3]) >> 32 == 300
    assert abs((int(cells[2, 3]) & 0xFFFFFFFF) / 300 - 200) < 2
    assert ifs_kernels.measure(cells) == (1, 300)


def test_soften_spreads_counts_and_ignores_the_ring() -> None:
    cells = np.zeros((6, 6), np.uint64)
    cells[0] = 9 << 32
    cells[3, 3] = (5 << 32) + 7
    soft = np.zeros((4, 4), np.uint64)
    assert ifs_kernels.soften(cells, soft) == 5
    stencil = np.outer([1, 2, 1], [1, 2, 1])
    assert np.array_equal(soft[1:4, 1:4] >> np.uint64(32), 5 * stencil)
    assert np.array_equal(soft[1:4, 1:4] & np.uint64(0xFFFFFFFF), 7 * stencil)
    assert soft[0].sum() == soft[:, 0].sum() == 0


def _entropy_bits(picture: ifs.U8) -> float:
    """Entropy of 64 levels of luminance at 64×64 pixels: 4.2 bits and more look busy."""
    resized = Image.fromarray(picture).convert("L").resize((64, 64), Image.Resampling.BOX)
    shares = np.bincount(np.asarray(resized).ravel() // 4, minlength=64) / 64**2
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def test_hardly_a_picture_is_dull_or_empty() -> None:
    """Of 500 pictures at least 98 % are busy; fewer than 1 % are near empty (below 3.5 bits)."""
    pictures = [_render(0, index, 36) for index in range(500)]
    bits = np.array([_entropy_bits(picture) for picture in pictures])
    assert (bits >= 4.2).mean() >= 0.98
    assert (bits < 3.5).mean() < 0.01
    spread = np.array([picture.reshape(-1, 3).std(axis=0).mean() for picture in pictures])
    assert spread.min() > 10


def test_systems_that_fill_little_are_drawn_again() -> None:
    views = [ifs._dense_view(0, index, 0)[0] for index in range(200)]
    assert min(view.fill for view in views) >= ifs._MIN_FILL
    first = [ifs._draw_view(Draws(0, ifs._PURPOSE, index, 0)).fill for index in range(200)]
    assert 0.03 < np.mean(np.array(first) < ifs._MIN_FILL) < 0.3
