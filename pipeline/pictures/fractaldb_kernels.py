"""Kernels of the grey FractalDB fractals: the search for systems, and stamping an orbit.

Only + − × ÷, floor and comparisons: the same bytes on every x86-64 host.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.pictures.splitmix import next_signed, next_word
from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

MAX_MAPS = 7
GREY = 127
PAD = 6 / 362  # empty margin, of the side
STAMP = 3  # cells

SEARCH_SIDE, SEARCH_POINTS, LEAST_RATE = 512, 100_000, 0.2
# As many points to a cell as the search has. A fractal fills a coarse grid more than a fine one, so
# hardly a system that would be accepted falls short here, at a sixteenth of the work.
PREVIEW_SIDE, PREVIEW_POINTS, LEAST_PREVIEW_RATE = 128, 6_250, 0.18

_PICK_SLOTS = 1024
_PICK_MASK = np.uint64(_PICK_SLOTS - 1)
_STAMP_SHIFT = np.uint64(20)
_NUM_STAMPS = np.uint64(511)  # of 9 cells, at least one is on
_BOUND = 1e9  # an orbit that gets here is on its way to infinity


@kernel
def fill_pick(maps: F64, pick: U8) -> None:
    """Fill `pick`, uint8 [1024], with map numbers in proportion to |determinants|.

    Args:
        maps: float64 [N, 6], rows (a, b, c, d, e, f): x ← a·x + b·y + e, y ← c·x + d·y + f.
        pick: written.
    """
    total = 0.0
    for k in range(maps.shape[0]):
        total += abs(maps[k, 0] * maps[k, 3] - maps[k, 1] * maps[k, 2])
    bound = 0.0
    start = 0
    for k in range(maps.shape[0]):
        bound += abs(maps[k, 0] * maps[k, 3] - maps[k, 1] * maps[k, 2])
        stop = int(_PICK_SLOTS * (bound / total) + 0.5)
        pick[start:stop] = k
        start = stop


@kernel
def trace_box(maps: F64, pick: U8, seed: np.uint64, num_points: int, box: F64) -> bool:
    """Write the bounding box of an orbit from (0, 0), which belongs to it; False if it escapes.

    Args:
        maps: float64 [N, 6], as in `fill_pick`.
        pick: uint8 [1024].
        seed: uint64, of the orbit's map choices.
        num_points: of the orbit.
        box: float64 [4], gets min x, min y, width, height.
    """
    state = np.array([seed], np.uint64)
    x = y = left = right = top = bottom = 0.0
    for _ in range(num_points - 1):
        k = pick[next_word(state) & _PICK_MASK]
        x, y = (
            maps[k, 0] * x + maps[k, 1] * y + maps[k, 4],
            maps[k, 2] * x + maps[k, 3] * y + maps[k, 5],
        )
        left, right = min(left, x), max(right, x)
        top, bottom = min(top, y), max(bottom, y)
        if not (abs(x) < _BOUND and abs(y) < _BOUND):
            return False
    box[0], box[1], box[2], box[3] = left, top, right - left, bottom - top
    return bool(box[2] > 0.0 and box[3] > 0.0)


@kernel
def stamp_orbit(
    maps: F64, pick: U8, seed: np.uint64, stamps: U64, num_points: int, canvas: U8
) -> bool:
    """Stamp an orbit, stretched to fill the canvas up to a margin; False if it escapes.

    Args:
        maps: float64 [N, 6], as in `fill_pick`.
        pick: uint8 [1024].
        seed: uint64, of the orbit's map choices.
        stamps: uint64 [1], state of the choice of stamps: each point pastes one of 511 masks of 3×3
            cells, its cells grey where on and black where off. uint64 [0]: a point is one grey cell.
        num_points: of the orbit.
        canvas: uint8 [side, side], written.
    """
    canvas[:] = 0
    box = np.empty(4)
    if not trace_box(maps, pick, seed, num_points, box):
        return False
    side = canvas.shape[0]
    pad = PAD * side
    across, down = (side - 2.0 * pad) / box[2], (side - 2.0 * pad) / box[3]
    state = np.array([seed], np.uint64)
    x = y = 0.0
    for point in range(num_points):
        if point > 0:
            k = pick[next_word(state) & _PICK_MASK]
            x, y = (
                maps[k, 0] * x + maps[k, 1] * y + maps[k, 4],
                maps[k, 2] * x + maps[k, 3] * y + maps[k, 5],
            )
        column = int((x - box[0]) * across + pad)
        row = int((y - box[1]) * down + pad)
        if stamps.size == 0:
            canvas[row, column] = GREY
            continue
        mask = (next_word(stamps) >> _STAMP_SHIFT) % _NUM_STAMPS + np.uint64(1)
        for i in range(row - 1, row + 2):
            for j in range(column - 1, column + 2):
                if 0 <= i < side and 0 <= j < side:
                    canvas[i, j] = GREY * np.uint8(mask & np.uint64(1))
                mask >>= np.uint64(1)
    return True


@kernel
def fill_rate(maps: F64, pick: U8, seed: np.uint64, num_points: int, canvas: U8) -> float:
    """Return the share of `canvas` that an orbit hits; 0 if it escapes. Arguments: `stamp_orbit`."""
    if not stamp_orbit(maps, pick, seed, np.empty(0, np.uint64), num_points, canvas):
        return 0.0
    hit = 0
    for row in range(canvas.shape[0]):
        for column in range(canvas.shape[1]):
            hit += int(canvas[row, column] > 0)
    return hit / canvas.size


@kernel
def search(state: U64, orbit_seed: np.uint64, maps: F64) -> tuple[int, int]:
    """Draw systems until one fills a fifth of its box; return its number of maps and the draws made.

    Args:
        state: uint64 [1].
        orbit_seed: uint64.
        maps: float64 [7, 6], its first rows are written: two to seven maps of numbers in [−1, 1).
    """
    pick = np.empty(_PICK_SLOTS, np.uint8)
    preview = np.empty((PREVIEW_SIDE, PREVIEW_SIDE), np.uint8)
    canvas = np.empty((SEARCH_SIDE, SEARCH_SIDE), np.uint8)
    num_draws = 0
    while True:
        num_draws += 1
        num_maps = 2 + int(next_word(state) % np.uint64(MAX_MAPS - 1))
        for k in range(num_maps):
            for entry in range(6):
                maps[k, entry] = next_signed(state)
        system = maps[:num_maps]
        fill_pick(system, pick)
        if fill_rate(system, pick, orbit_seed, PREVIEW_POINTS, preview) < LEAST_PREVIEW_RATE:
            continue
        if fill_rate(system, pick, orbit_seed, SEARCH_POINTS, canvas) >= LEAST_RATE:
            return num_maps, num_draws


@kernel
def shrink(canvas: U8, flip_x: bool, flip_y: bool, out: U8) -> None:
    """Write means of square blocks of `canvas`, mirrored as asked, into all channels of `out`.

    Args:
        canvas: uint8 [k·size, k·size].
        flip_x: mirror left and right.
        flip_y: mirror up and down.
        out: uint8 [size, size, 3], written.
    """
    size = out.shape[0]
    block = canvas.shape[0] // size
    area = block * block
    for row in range(size):
        for column in range(size):
            total = 0
            for i in range(row * block, (row + 1) * block):
                for j in range(column * block, (column + 1) * block):
                    total += canvas[i, j]
            grey = np.uint8((total + area // 2) // area)
            y = size - 1 - row if flip_y else row
            x = size - 1 - column if flip_x else column
            out[y, x, 0] = out[y, x, 1] = out[y, x, 2] = grey
