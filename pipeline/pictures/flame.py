"""Flame fractals: the main family of generated mixing pictures.

Draves & Reckase, "The Fractal Flame Algorithm" (2003): iterated maps that bend the plane after an
affine step, brightness by the logarithm of density, a colour that rides along the orbit. Many of the
fractals that PixMix (Hendrycks et al., CVPR 2022) mixes with are flames. So that ours are dense:

* The view is about the box that holds the middle 94 % of the orbit in each direction.
* Behind the flame is a plasma in colours of its own, dark or bright, never plain black.
* A preview decides whether a draw is good; a poor one is drawn again.

A picture is a pure function of (seed, index, attempt, size), the same bytes on every x86-64 host; at
another size it is the same scene. What the cells of a picture hold is worked out in `flame_kernels`.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures import flame_colours as colouring
from pipeline.pictures import flame_kernels as kernels
from pipeline.pictures.arithmetic import cos, sin
from pipeline.pictures.draws import Draws
from pipeline.pictures.flame_kernels import System
from pipeline.pictures.ifs_kernels import LOG_ENTRIES, fill_logarithms, fill_plasma
from pipeline.pictures.quality import Cells, Gate

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

_PURPOSE = 0x464C414D45  # "FLAME"

# A preview passes in about three of ten tries. Of 48×48 pixels it is smoother than the picture: at 36,
# 64 and 256 pixels the mean difference of neighbours is about 1.0, 1.5 and 1.8 times as large. These
# bounds leave 95 % and more of the pictures within the gate of fractals, at each of those sizes.
_MAX_TRIES = 12
_PREVIEW_SIZE = 48
_PREVIEW_POINTS_PER_PIXEL = 6.0
_PREVIEW_GATE = Gate(
    entropy=(4.4, 6.0), flat=(0.0, 0.14), variation=(5.3, 12.0), correlation=(0.6, 0.967)
)
# Share of cells where the flame has a tone of 0.25 or more; with less, plasma is most of the picture.
_MIN_COVER = 0.7

# Small pictures crowd the same detail into fewer cells, which need more points to be resolved.
_POINTS_PER_PIXEL = 13.0
_POINTS_TIMES_SIZE = 1300.0  # points per pixel · size, where that is more
_VIEW_POINTS = 1024
_MIN_INSIDE = 0.25  # caps the points spent on a view that catches few of them

_THIN = 4.0  # 1/4 of a point per cell, at 13 points per pixel, counts as thin
_ENOUGH = np.array([[6.0, 1.5], [20.0, 5.0]])  # see `flame_colours.estimate`; set by eye
_MOST_STRETCH = 2.5

_SYMMETRIES = (1, 1, 1, 2, 3, 4, 5, 6)
_MIRRORED = 0.2  # share of pictures


class _View(NamedTuple):
    """A square of the plane."""

    turn: tuple[float, float]  # cosine and sine of its rotation
    centre: tuple[float, float]  # after the rotation
    width: float


class _Colours(NamedTuple):
    """How density and colour coordinate become red, green, blue; see `flame_colours`."""

    gamma: float
    equalised: float
    inks: F64  # [5]
    palettes: F64  # [2, 512, 3]
    plasma_ratio: float


class _Scene(NamedTuple):
    """Everything about a picture but its size."""

    system: System
    places: F64  # [K, 6]: where each copy of a point falls, the view being the unit square
    inside: float  # share of the copies that fall into the view
    colours: _Colours
    orbit_state: int  # of SplitMix64
    plasma_state: int


def render_flame(seed: int, index: int, attempt: int, out: U8) -> None:
    """Write flame `index` of the family `seed` into `out`, uint8 [size, size, 3] with size ≥ 8.

    `attempt` ≥ 0 is another independent draw of the same picture.
    """
    points_per_pixel = max(_POINTS_PER_PIXEL, _POINTS_TIMES_SIZE / len(out))
    _paint(_best_scene(seed, index, attempt), points_per_pixel, out)


def _best_scene(seed: int, index: int, attempt: int) -> _Scene:
    """Draw scenes until a preview is good; after the last try take the best."""
    preview = np.empty((_PREVIEW_SIZE, _PREVIEW_SIZE, 3), np.uint8)
    best, least = None, math.inf
    for number in range(_MAX_TRIES):
        scene = _draw_scene(Draws(seed, _PURPOSE, index, attempt * _MAX_TRIES + number))
        cover = _paint(scene, _PREVIEW_POINTS_PER_PIXEL, preview)
        shortfall = max(_MIN_COVER - cover, 0.0) + _PREVIEW_GATE.shortfall(Cells(preview))
        if shortfall < least:
            best, least = scene, shortfall
        if shortfall == 0:
            break
    assert best is not None
    return best


def _paint(scene: _Scene, points_per_pixel: float, out: U8) -> float:
    """Write `scene` into `out` and return the share of cells where the flame has a tone ≥ 0.25."""
    colours, size = scene.colours, len(out)
    side = size * kernels.SUPERSAMPLING
    grid = np.empty((1 << (size - 1).bit_length(),) * 2)
    # Coarse levels come first and so are the same numbers at every size.
    fill_plasma(grid, colours.plasma_ratio, np.array([scene.plasma_state], np.uint64))
    cells = np.zeros((side + 2, side + 2), np.uint64)
    places = scene.places * side
    places[:, 4:] += 1.0
    num_steps = int(points_per_pixel * size * size / (len(places) * scene.inside))
    state = np.array([scene.orbit_state], np.uint64)
    kernels.splat(scene.system, places, state, num_steps, cells)
    density, colour = _estimate(cells)
    levels, addresses = np.empty((2, side, side), np.uint8)
    counts = np.empty(colouring.LEVELS, np.int64)
    unit = _THIN * _POINTS_PER_PIXEL / points_per_pixel
    colouring.fill_levels(density, unit, _logarithms(), levels, counts)
    colouring.fill_addresses(colour, levels, _MOST_STRETCH, addresses)
    curve = np.empty(colouring.LEVELS)
    colouring.fill_curve(counts, colours.gamma, colours.equalised, curve)
    colouring.shade(levels, addresses, curve, colours.inks, colours.palettes, grid, out)
    return int(counts[curve >= 0.25].sum()) / (side * side)


def _estimate(cells: U64) -> tuple[F64, F64]:
    """Return density and mean colour of each cell but the outermost, float64 [side, side]."""
    side = len(cells) - 2
    planes = np.empty((2, 4, side, side))
    colouring.unpack(cells, planes[0, 0], planes[1, 0])
    for plane in planes:
        for level in range(3):
            colouring.smooth(plane[level], 1 << level, plane[level + 1])
    density, colour = np.empty((2, side, side))
    colouring.estimate(planes[:, 1:], _ENOUGH, density, colour)
    return density, colour


def _draw_scene(draws: Draws) -> _Scene:
    system = System(*_draw_maps(draws), _draw_copies(draws))
    points = np.empty((_VIEW_POINTS, 2))
    kernels.trace(system, np.array([draws.word()], np.uint64), points)
    places = _places(system.copies, _draw_view(draws, points))
    return _Scene(
        system=system,
        places=places,
        inside=max(_share_inside(places, points), _MIN_INSIDE),
        colours=_draw_colours(draws),
        orbit_state=draws.word(),
        plasma_state=draws.word(),
    )


def _draw_maps(draws: Draws) -> tuple[F64, U8]:
    """Draw 2 to 4 maps and how often each is picked, see `flame_kernels.System`.

    The affine part is rotation · diag(s, s·q) · rotation with s ~ U(0.45, 1.05), q ~ U(0.6, 1): with
    variations after it, strictly contractive ones leave dust. A picture has one variation of its
    own, its genus, which each map takes with probability 0.6.
    """
    num_maps = 2 + draws.choice(3)
    genus = draws.choice(kernels.SPHERICAL)  # the last; as a genus it is sparse
    maps = np.empty((num_maps, 9))
    for k in range(num_maps):
        s = draws.uniform(0.45, 1.05)
        t = s * draws.uniform(0.6, 1)
        maps[k, :4] = draws.linear_map(s, t)
        maps[k, 4], maps[k, 5] = draws.uniform(-1, 1), draws.uniform(-1, 1)
        maps[k, 6] = draws.uniform(0.2, 1)
        other = draws.choice(kernels.SPHERICAL + 1)
        maps[k, 7] = genus if draws.uniform(0, 1) < 0.6 else other
        maps[k, 8] = int(65536 * (k + draws.uniform(0, 1)) / num_maps)  # spread over all colours
    bounds = [0.0]
    for _ in range(num_maps):
        bounds.append(bounds[-1] + draws.uniform(0.5, 1.5))
    pick = np.empty(kernels.PICK_SLOTS, np.uint8)
    stops = [int(kernels.PICK_SLOTS * bound / bounds[-1] + 0.5) for bound in bounds]
    for k in range(num_maps):
        pick[stops[k] : stops[k + 1]] = k
    return maps, pick


def _draw_copies(draws: Draws) -> F64:
    """Draw a group of symmetries of the plane, matrices float64 [K, 4]; the first changes nothing."""
    order = _SYMMETRIES[draws.choice(len(_SYMMETRIES))]
    rows = []
    for k in range(order):
        cosine, sine = cos(2.0 * math.pi * k / order), sin(2.0 * math.pi * k / order)
        rows.append((cosine, -sine, sine, cosine))
    if draws.uniform(0, 1) < _MIRRORED:
        rows += [(a, -b, c, -d) for a, b, c, d in rows]
    return np.array(rows)


def _draw_view(draws: Draws, points: F64) -> _View:
    """Draw a rotated square near the 3rd to 97th percentiles of `points`, float64 [n, 2]."""
    cosine, sine = draws.direction()
    x, y = points[:, 0], points[:, 1]
    ends = len(points) * 3 // 100
    centre, extents = [], []
    for values in (cosine * x - sine * y, sine * x + cosine * y):
        ordered = np.sort(values)
        low, high = float(ordered[ends]), float(ordered[-1 - ends])
        centre.append(0.5 * (low + high))
        extents.append(max(high - low, 1e-3))
    # Between both extents: a square around an elongated orbit would be empty for the most part.
    width = max(math.sqrt(extents[0] * extents[1]), 0.5 * max(extents)) * draws.uniform(0.65, 1.05)
    across = centre[0] + width * draws.uniform(-0.12, 0.12)
    down = centre[1] + width * draws.uniform(-0.12, 0.12)
    return _View((cosine, sine), (across, down), width)


def _places(copies: F64, view: _View) -> F64:
    """Return float64 [K, 6]: each copy, then the map that takes the view to the unit square.

    Rows (a, b, c, d, e, f) put the point (x, y) into column a·x + b·y + e, row c·x + d·y + f.
    """
    (cosine, sine), (x, y), width = view
    places = np.empty((len(copies), 6))
    places[:, :2] = (cosine * copies[:, :2] - sine * copies[:, 2:]) / width
    places[:, 2:4] = (sine * copies[:, :2] + cosine * copies[:, 2:]) / width
    places[:, 4:] = 0.5 - x / width, 0.5 - y / width
    return places


def _share_inside(places: F64, points: F64) -> float:
    """Return the share of all copies of `points` that fall into the unit square."""
    x, y = points.T
    hits = 0
    for a, b, c, d, e, f in places:
        column, row = a * x + b * y + e, c * x + d * y + f
        hits += int(((column >= 0) & (column < 1) & (row >= 0) & (row < 1)).sum())
    return hits / (len(places) * len(points))


def _draw_colours(draws: Draws) -> _Colours:
    palettes = np.empty((2, 512, 3))
    colouring.fill_palette(_draw_waves(draws, 0.8, 1.8), draws.uniform(0, 0.35), palettes[0])
    colouring.fill_palette(_draw_waves(draws, 0.4, 1.2), draws.uniform(0, 0.35), palettes[1])
    dark = draws.uniform(0, 1) < 0.4
    ground = draws.uniform(0.08, 0.25) if dark else draws.uniform(0.2, 0.6)
    inks = [
        draws.uniform(0, 0.5),
        draws.uniform(0.2, 0.7),
        draws.uniform(1, 2),
        ground,
        ground + draws.uniform(0.2, 0.4),
    ]
    return _Colours(
        gamma=draws.uniform(1.2, 2),
        equalised=draws.uniform(0, 0.6),
        inks=np.array(inks),
        palettes=palettes,
        plasma_ratio=draws.uniform(0.45, 0.67),
    )


def _draw_waves(draws: Draws, low: float, high: float) -> F64:
    """Draw frequency and phase of three channels, float64 [3, 2].

    The phases lie on no arc shorter than 0.2 turns: near each other they make greys.
    """
    frequency = draws.uniform(low, high)
    frequencies = [frequency * draws.uniform(0.7, 1.3) for _ in range(3)]
    while True:
        phases = [draws.uniform(0, 1) for _ in range(3)]
        first, second, third = sorted(phases)
        if max(second - first, third - second, 1 + first - third) < 0.8:
            return np.array([[f, phase] for f, phase in zip(frequencies, phases, strict=True)])


@functools.lru_cache(maxsize=1)
def _logarithms() -> F64:
    table = np.empty(LOG_ENTRIES)
    fill_logarithms(table)
    return table
