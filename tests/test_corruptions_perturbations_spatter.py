"""Spatter's steps against plain twins: SciPy's filters and labels, shortest paths, NumPy's histograms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from pipeline.corruptions.perturbations import perturb
from pipeline.corruptions.perturbations_edges import fill_distances, find_edges
from pipeline.corruptions.perturbations_spatter import equalise, shade
from tests.test_corruptions_cbar import _flat, _pictures, _seeds

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]
BOOL = npt.NDArray[np.bool_]


def _drops(side: int, seed: int, least: float = 0.7) -> U8:
    """Return a layer of water with enough drops to have edges of all directions."""
    noise = np.random.Generator(np.random.PCG64(seed)).normal(0.6, 0.5, (side, side))
    layer = ndimage.gaussian_filter(noise, 1.75)
    return (255 * np.clip(layer * (layer >= least), 0, 1)).astype(np.uint8)


def _twin_edges(layer: U8) -> BOOL:
    x, y = (ndimage.sobel(layer.astype(float), axis, mode="nearest") for axis in (1, 0))
    slope = np.abs(x) + np.abs(y)
    padded = np.pad(slope, 1)
    ridge = np.zeros(layer.shape, bool)
    for i, j in np.argwhere(slope > 50):
        # four sectors of 45°, the first about the x axis
        angle = np.degrees(np.arctan2(y[i, j], x[i, j])) % 180
        flat, steep = angle < 22.5 or angle > 157.5, 67.5 < angle < 112.5
        if flat:
            before, after = padded[i + 1, j], padded[i + 1, j + 2]
        elif steep:
            before, after = padded[i, j + 1], padded[i + 2, j + 1]
        elif angle < 90:
            before, after = padded[i, j], padded[i + 2, j + 2]
        else:
            before, after = padded[i, j + 2], padded[i + 2, j]
        here = slope[i, j]
        ridge[i, j] = here > before and (here >= after if flat or steep else here > after)
    labels, _ = ndimage.label(ridge, np.ones((3, 3)))
    kept = np.unique(labels[ridge & (slope > 150)])
    return np.isin(labels, kept) & ridge


@pytest.mark.parametrize("seed", range(6))
def test_edges(seed: int) -> None:
    layer = _drops(40, seed, 0.6)
    edges = np.empty_like(layer)
    find_edges(layer, edges)
    expected = _twin_edges(layer)
    assert expected.sum() > 60
    assert np.array_equal(edges.astype(bool), expected)


def test_weak_edges_count_only_where_they_touch_clear_ones() -> None:
    layer = np.zeros((20, 20), np.uint8)
    layer[:, 10:] = np.linspace(15, 60, 20).astype(np.uint8)[:, None]  # slopes of 60 to 240
    layer[3:5, 2:4] = 16  # slopes of 64 at most, on its own
    edges = np.empty_like(layer)
    find_edges(layer, edges)
    assert np.all(edges.sum(1)[1:-1] >= 1)
    assert not edges[:, :7].any()


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_shortest_paths(seed: int) -> None:
    generator = np.random.Generator(np.random.PCG64(seed))
    edges = (generator.random((30, 30)) < 0.004 * (seed + 1)).astype(np.uint8)
    edges[generator.integers(30), generator.integers(30)] = 1
    made = np.empty((30, 30))
    fill_distances(edges, made)
    lengths = {(0, 1): 1.0, (1, 1): 1.4, (1, 2): 2.1969}
    paths = np.where(edges, 0.0, np.inf)
    for _ in range(60):  # Bellman and Ford
        padded = np.pad(paths, 2, constant_values=np.inf)
        for down in range(-2, 3):
            for across in range(-2, 3):
                length = lengths.get((min(abs(down), abs(across)), max(abs(down), abs(across))))
                if length is not None:
                    moved = padded[2 + down : 32 + down, 2 + across : 32 + across]
                    paths = np.minimum(paths, moved + length)
    assert made == pytest.approx(np.minimum(paths, 20))
    straight = np.minimum(ndimage.distance_transform_edt(edges == 0), 20)
    assert np.abs(made - straight).max() < 0.03 * 20


def test_distances_without_an_edge() -> None:
    made = np.empty((5, 5))
    fill_distances(np.zeros((5, 5), np.uint8), made)
    assert np.all(made == 20)


def test_equalised_histograms() -> None:
    values = np.random.Generator(np.random.PCG64(0)).gamma(2, 20, (40, 40)).astype(np.uint8)
    counts = np.bincount(values.ravel(), minlength=256)
    share = (np.cumsum(counts) - counts[values.min()]) / (values.size - counts[values.min()])
    expected = np.rint(255 * np.clip(share, 0, 1))[values]
    equalise(values)
    assert np.array_equal(values, expected)
    flat = np.full((4, 4), 7, np.uint8)
    equalise(flat)
    assert np.all(flat == 7)


@pytest.mark.parametrize("seed", range(3))
def test_shades(seed: int) -> None:
    layer = _drops(36, seed)
    edges, distances = np.empty_like(layer), np.empty(layer.shape)
    find_edges(layer, edges)
    fill_distances(edges, distances)
    box = np.ones((3, 3))
    relief = (ndimage.correlate(distances, box, mode="mirror") / 9).astype(np.uint8)
    equalise(relief)
    light = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    lit = np.clip(ndimage.correlate(relief.astype(float), light, mode="mirror"), 0, 255)
    thick = layer * np.rint(ndimage.correlate(lit, box, mode="mirror") / 9)
    seen = np.empty(layer.shape, np.float32)
    shade(layer, distances, seen)
    assert thick.max() > 0
    assert seen == pytest.approx(0.6 * thick / thick.max(), abs=1e-6)


def test_no_water_leaves_a_picture_alone() -> None:
    layer, seen = np.zeros((8, 8), np.uint8), np.ones((8, 8), np.float32)
    shade(layer, np.full((8, 8), 20.0), seen)
    assert np.all(seen == 0)


def test_water_is_turquoise_and_runs_down() -> None:
    made = perturb("spatter", _flat(40, 32, 0), _seeds(40)).astype(float)
    red, green, blue = np.moveaxis(made, -1, 0)
    assert np.array_equal(green, blue)
    assert np.abs(red - green * 175 / 238).max() <= 1
    assert 0.5 * 238 < green.max() <= 0.6 * 238
    wet = green.mean((0, 3))
    heights = (wet * np.arange(32)).sum(1) / wet.sum(1)
    assert 5 < heights[12] - heights[0] < 12  # 0.8 px a frame, less what leaves below
    images = _pictures(5, 32)
    assert np.all(perturb("spatter", images, _seeds(5)) >= images[:, None])


def test_drops_cover_the_share_of_a_normal_quantile() -> None:
    """Blurred noise of deviation 0.265/(2 · 1.75 · √π) exceeds 0.7 − 0.6 in 1% of the pixels."""
    made = perturb("spatter", _flat(400, 32, 0), _seeds(400))[:, 0, 8:-8, 8:-8, 1]
    share = np.mean(made > 0)  # away from borders, which repeat pixels and so blur less
    assert 0.005 < share < 0.011  # lit from one side, not all of a drop is seen
