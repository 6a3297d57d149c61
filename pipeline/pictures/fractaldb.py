"""FractalDB: grey affine fractals on black, in categories found by search, each with many instances.

Kataoka et al., "Pre-training without Natural Images" (ACCV 2020), in the form of its release, which
PixMix's ablation used (Hendrycks et al., CVPR 2022, Table 4): 200,000 points at 362 pixels, each a
random 3×3 stamp; instances of a category multiply one of the six parameters of all its maps.

A picture is stamped on about 362 × 362 cells whatever its size and averaged down, as the release's
pictures are when they are resized. Two departures: a varied system that leaves its picture nearly
empty is varied otherwise, and an orbit that escapes is no category.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures import fractaldb_kernels as kernels
from pipeline.pictures.draws import Draws

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

_PURPOSE = 0x46524442  # "FRDB"
_CATEGORY_PURPOSE = 0x46444243  # "FDBC"
_SIDE, _POINTS = 362, 200_000
_FACTORS = (0.2, 0.6, 1.4, 1.8)  # 1 ∓ 2w, 1 ∓ w with the release's weight w = 0.4
_NUM_VARIATIONS = 1 + 6 * len(_FACTORS)
_MAX_VARIATIONS = 8
_LEAST_INSTANCE_RATE = 0.1  # of the preview's cells: half of what a category needs


class Category(NamedTuple):
    """A system of the search, with what all its instances share."""

    maps: F64  # [N, 6], read-only, rows (a, b, c, d, e, f): x ← a·x + b·y + e, y ← c·x + d·y + f
    orbit_seed: int  # of the choice of maps along the orbit
    num_draws: int  # systems drawn until this one was found


def render_fractaldb(seed: int, index: int, attempt: int, out: U8, *, instances: int = 10) -> None:
    """Write picture `index` of the family `seed` into `out`: an instance of category index // instances.

    Args:
        seed: 0 to 2⁶⁴ − 1.
        index: 0 to 2⁶⁴ − 1. Pictures of one category follow one another.
        attempt: another draw of the picture, of another category.
        out: uint8 [size, size, 3], written; grey, up to 127.
        instances: pictures of one category, at least 1.

    Raises:
        ValueError: if `instances` is less than 1.
    """
    if instances < 1:
        raise ValueError(
            f"FractalDB with {instances} instances of a category: at least 1 is needed"
        )
    category = find_category(seed, index // instances, attempt)
    draws = Draws(seed, _PURPOSE, index, attempt)
    maps, pick = _varied(category, draws)
    size = out.shape[0]
    side = size * max(2, round(_SIDE / size))
    canvas = np.empty((side, side), np.uint8)
    stamps = np.array([draws.word()], np.uint64)
    num_points = _POINTS * side * side // (_SIDE * _SIDE)
    kernels.stamp_orbit(maps, pick, np.uint64(category.orbit_seed), stamps, num_points, canvas)
    kernels.shrink(canvas, draws.choice(2) == 1, draws.choice(2) == 1, out)


@functools.lru_cache(maxsize=64)
def find_category(seed: int, number: int, attempt: int = 0) -> Category:
    """Return category `number` of the family `seed`: of random systems the first that fills a fifth.

    Two to seven maps of entries U(−1, 1), chosen along the orbit in proportion to |determinants|;
    100,000 points must hit at least 0.2 of 512 × 512 cells. One system in 45 does.
    """
    draws = Draws(seed, _CATEGORY_PURPOSE, number, attempt)
    orbit_seed = draws.word()
    maps = np.empty((kernels.MAX_MAPS, 6))
    state = np.array([draws.word()], np.uint64)
    num_maps, num_draws = kernels.search(state, np.uint64(orbit_seed), maps)
    maps = maps[:num_maps]
    maps.flags.writeable = False
    return Category(maps, orbit_seed, num_draws)


def _varied(category: Category, draws: Draws) -> tuple[F64, U8]:
    """Return maps of an instance, float64 [N, 6], and the category's choice of them, uint8 [1024].

    One of 25 variations, all alike: none, or one of six parameters times one of four factors. The
    choice of maps keeps the category's probabilities, as in the release.
    """
    pick = np.empty(1024, np.uint8)
    kernels.fill_pick(category.maps.copy(), pick)
    preview = np.empty((kernels.PREVIEW_SIDE,) * 2, np.uint8)
    for _ in range(_MAX_VARIATIONS):
        maps = category.maps.copy()
        variation = draws.choice(_NUM_VARIATIONS)
        if variation:
            parameter, factor = divmod(variation - 1, len(_FACTORS))
            maps[:, parameter] *= _FACTORS[factor]
        rate = kernels.fill_rate(
            maps, pick, np.uint64(category.orbit_seed), kernels.PREVIEW_POINTS, preview
        )
        if rate >= _LEAST_INSTANCE_RATE:
            return maps, pick
    return category.maps.copy(), pick
