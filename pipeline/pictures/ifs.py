"""Affine fractals: colour pictures of random iterated function systems.

Anderson & Farrell, "Improving Fractal Pre-training" (WACV 2022), gives the maps (contractive by
construction, singular values budgeted by the sigma-factor), the plasma behind them and hues by
density. To come closer to the art that PixMix (Hendrycks et al., CVPR 2022) mixes with:

* The sigma-factor is higher, (5.5 + N)/2 + U(0.5, 1), the view lies inside the bounding box, and
  systems that fill little of it are drawn again: pictures are dense.
* Density is logarithmic, its histogram equalised, and drives brightness too; a colour coordinate
  rides along the orbit (Draves & Reckase, "The Fractal Flame Algorithm", 2003).
* There are no random flips or transposes: the maps' distribution is already invariant under them.

A picture is a pure function of (seed, index, attempt, size), the same bytes on every x86-64 host.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures import ifs_kernels as kernels
from pipeline.pictures.draws import Draws

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

_PURPOSE = 0x494653  # "IFS": no other Philox stream of the same seed shares its words
_MAX_SYSTEMS = 16
_BOX_POINTS = 4096
_PREVIEW_SIDE = 48
_PREVIEW_WORDS = 2048
_MIN_FILL = 0.4  # share of the preview's cells hit; 13 % of systems fall short of it
_POINTS_PER_PIXEL = 10  # that fall inside the view; with fewer, grain shows
_MIN_INSIDE = 0.25  # caps the points spent on a view that catches few of them


class _View(NamedTuple):
    """A system as seen through its window, ready to be drawn on cells."""

    maps: F64  # [N, 6] in the plane's own units
    pick: U8  # [PICK_SLOTS]
    colours: U64  # [N]
    window: tuple[float, float, float, float]  # min x, min y, width, height
    start: tuple[float, float]
    state: U64  # [1], SplitMix64
    inside: float  # share of the points that fall into the window
    fill: float  # share of the preview's cells that are hit


def render_ifs(seed: int, index: int, attempt: int, out: U8) -> None:
    """Write fractal `index` of the family `seed` into `out`, uint8 [size, size, 3], size ≥ 8.

    `attempt` ≥ 0 is another independent draw of the same picture.
    """
    view, draws = _dense_view(seed, index, attempt)
    size = out.shape[0]
    side = size * kernels.SUPERSAMPLING
    num_points = _POINTS_PER_PIXEL * size * size / max(view.inside, _MIN_INSIDE)
    cells = _splat(view, side, int(num_points / kernels.PICKS_PER_WORD))
    soft = np.empty((side, side), np.uint64)
    most = kernels.soften(cells, soft)
    levels = np.empty((side, side), np.uint8)
    counts = np.empty(256, np.int64)
    kernels.fill_levels(soft, _logarithms(), most, levels, counts)
    tones = np.empty(256)
    kernels.fill_tones(counts, tones)
    # Anderson & Farrell: displacements shrink by exp(−U(0.4, 0.8)) a level.
    grid = np.empty((1 << (size - 1).bit_length(),) * 2)
    kernels.fill_plasma(grid, draws.uniform(0.45, 0.67), view.state)
    # Set by eye and by the share of pictures whose luminance has 4.2 bits of entropy or more.
    ink = np.array(
        [
            draws.uniform(0, 1),
            draws.uniform(0.2, 0.8),
            draws.uniform(0.3, 1.5),
            draws.uniform(0.6, 1),
            0.4,
            draws.uniform(0.85, 1),
            3.0,
        ]
    )
    # Their ranges: hue over U(.25, 1) turns, saturation .4–.6 + .1–.3, value .4–.6 + .3–.6.
    ground = np.array(
        [
            draws.uniform(0, 1),
            draws.uniform(0.4, 0.6),
            draws.uniform(0.4, 0.6),
            draws.uniform(0.25, 1),
            draws.uniform(0.1, 0.3),
            draws.uniform(0.3, 0.6),
        ]
    )
    kernels.shade(soft, levels, tones, ink, grid, ground, out)


def _dense_view(seed: int, index: int, attempt: int) -> tuple[_View, Draws]:
    """Draw systems until one fills enough of its view; after the last take the fullest."""
    best: tuple[_View, Draws] | None = None
    for system in range(_MAX_SYSTEMS):
        draws = Draws(seed, _PURPOSE, index, attempt * _MAX_SYSTEMS + system)
        view = _draw_view(draws)
        if best is None or view.fill > best[0].fill:
            best = view, draws
        if view.fill >= _MIN_FILL:
            break
    assert best is not None
    return best


def _draw_view(draws: Draws) -> _View:
    maps, areas = _draw_maps(draws)
    colours = np.array([draws.word() >> 48 for _ in areas], np.uint64)
    pick = _pick_table(areas)
    state = np.array([draws.word()], np.uint64)
    box = np.empty(6)
    kernels.trace_box(maps, pick, state, _BOX_POINTS, box)
    window = []
    for low, high in ((box[0], box[2]), (box[1], box[3])):
        extent = max(float(high - low), 1e-6)
        centre = 0.5 * float(low + high) + extent * draws.uniform(-0.2, 0.2)
        width = extent * draws.uniform(0.3, 0.8)
        window.append((centre - 0.5 * width, width))
    (x, width), (y, height) = window
    view = _View(
        maps=maps,
        pick=pick,
        colours=colours,
        window=(x, y, width, height),
        start=(float(box[4]), float(box[5])),
        state=state,
        inside=0.0,
        fill=0.0,
    )
    hit, points = kernels.measure(_splat(view, _PREVIEW_SIDE, _PREVIEW_WORDS))
    return view._replace(
        inside=points / (kernels.PICKS_PER_WORD * _PREVIEW_WORDS),
        fill=hit / (_PREVIEW_SIDE * _PREVIEW_SIDE),
    )


def _draw_maps(draws: Draws) -> tuple[F64, list[float]]:
    """Draw a contractive system: maps float64 [N, 6] and their |determinants|.

    A = rotation · diag(±σ1, ±σ2) · rotation with 1 ≥ σ1 ≥ σ2 ≥ 0 and Σ (σ1 + 2 σ2) = sigma-factor,
    sampled map by map within what those still to come can absorb, 3 each (Anderson & Farrell).
    """
    num_maps = 2 + int(draws.uniform(0, 3))
    budget = 0.5 * (5.5 + num_maps) + draws.uniform(0.5, 1)
    maps = np.empty((num_maps, 6))
    areas = []
    for k in range(num_maps):
        later = 3.0 * (num_maps - 1 - k)
        if later:
            first = draws.uniform(max(0.0, (budget - later) / 3), min(1.0, budget))
            budget -= first
            second = draws.uniform(max(0.0, (budget - later) / 2), min(first, budget / 2))
            budget -= 2 * second
        else:
            second = draws.uniform(max(0.0, (budget - 1) / 2), budget / 3)
            first = budget - 2 * second
        areas.append(first * second)
        signs = draws.word()
        s, t = first * (1 - 2 * (signs & 1)), second * (1 - (signs & 2))
        maps[k, :4] = draws.linear_map(s, t)
        maps[k, 4:] = draws.uniform(-1, 1), draws.uniform(-1, 1)
    return maps, areas


def _pick_table(areas: list[float]) -> U8:
    """Return map numbers, uint8 [PICK_SLOTS], in proportion to their areas, 0.01 at least."""
    # Not sum(): from Python 3.12 on it compensates rounding, and the bytes would differ.
    bounds = list(itertools.accumulate(max(area, 0.01) for area in areas))
    table = np.empty(kernels.PICK_SLOTS, np.uint8)
    start = 0
    for k, bound in enumerate(bounds):
        stop = int(kernels.PICK_SLOTS * bound / bounds[-1] + 0.5)
        table[start:stop] = k
        start = stop
    return table


def _splat(view: _View, side: int, num_words: int) -> U64:
    """Draw the orbit on uint64 [side + 2, side + 2] cells, see `ifs_kernels.splat`."""
    x, y, width, height = view.window
    across, down = side / width, side / height
    maps = view.maps.copy()
    for a in maps:  # in units of cells: u = (x − x0) · across + 1, v = (y − y0) · down + 1
        shift_x = a[0] * x + a[1] * y + a[4] - x
        shift_y = a[2] * x + a[3] * y + a[5] - y
        a[1] *= across / down
        a[2] *= down / across
        a[4] = shift_x * across + 1 - a[0] - a[1]
        a[5] = shift_y * down + 1 - a[2] - a[3]
    start = np.array([(view.start[0] - x) * across + 1, (view.start[1] - y) * down + 1], np.float64)
    cells = np.zeros((side + 2, side + 2), np.uint64)
    kernels.splat(maps, view.pick, view.colours, start, view.state, num_words, cells)
    return cells


@functools.lru_cache(maxsize=1)
def _logarithms() -> F64:
    table = np.empty(kernels.LOG_ENTRIES)
    kernels.fill_logarithms(table)
    return table
