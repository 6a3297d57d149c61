"""Dead leaves: flat random shapes that hide one another, with sizes as objects in the world have them.

The model of Lee, Mumford & Huang (IJCV 2001) with the radii of Baradad et al., "Learning to See by
Looking at Noise" (NeurIPS 2021); its squares are a set of PixMix's ablation (Hendrycks et al.,
CVPR 2022, Table 4). Leaves are laid from the topmost down, each on ground that is still free, until
none is: the same law as painting them for ever (Kendall & Thönnes, 1999), at less work.
"""

from __future__ import annotations

import functools
import itertools
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pipeline.pictures import dead_leaves_kernels as kernels
from pipeline.pictures.draws import Draws

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

Shapes = Literal[
    "squares", "rotated-squares", "circles", "rectangles", "triangles", "quadrilaterals", "mixed"
]
"""In the order of the kernels' numbers."""

_PURPOSE = 0x4C454156  # "LEAV"
_NUM_RADII = 200
_LEAST_RADIUS, _GREATEST_RADIUS = 0.03, 1.0  # shares of the picture's side


def render_dead_leaves(
    seed: int, index: int, attempt: int, out: U8, *, shapes: Shapes = "squares"
) -> None:
    """Write picture `index` of the family `seed` into `out`.

    Args:
        seed: 0 to 2⁶⁴ − 1.
        index: 0 to 2⁶⁴ − 1.
        attempt: another draw of the picture.
        out: uint8 [size, size, 3], written. The same leaves at every size.
        shapes: of the leaves: axis-parallel `squares`, as in PixMix's ablation; or
            `rotated-squares`, `circles`, `rectangles`, `triangles`, `quadrilaterals`, all turned at
            random; or a `mixed` picture of them all.

    Raises:
        ValueError: for shapes not among these.
    """
    names = get_args(Shapes)
    if shapes not in names:
        raise ValueError(f"dead leaves of shapes {shapes!r}: choose one of {', '.join(names)}")
    draws = Draws(seed, _PURPOSE, index, attempt)
    bounds, radii = _radius_law()
    state = np.array([draws.word()], np.uint64)
    kernels.cover(names.index(shapes), bounds, radii, state, out)


@functools.lru_cache(maxsize=1)
def _radius_law() -> tuple[F64, F64]:
    """Return cumulated probabilities and radii, both float64 [200]: the law r⁻³ − 1 on [0.03, 1]."""
    step = (_GREATEST_RADIUS - _LEAST_RADIUS) / (_NUM_RADII - 1)
    radii = [_LEAST_RADIUS + step * place for place in range(_NUM_RADII)]
    # Not sum(): from Python 3.12 on it compensates rounding, and the bytes would differ.
    bounds = list(itertools.accumulate(max(1 / (r * r * r) - 1, 0.0) for r in radii))
    return np.array([bound / bounds[-1] for bound in bounds]), np.array(radii)
