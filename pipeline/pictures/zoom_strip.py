"""Strips: one loop of an endless zoom as a picture, which clips at any factor are read from.

`pipeline.pictures.zoom` makes them; reading needs nothing of that.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures import zoom_frames
from pipeline.pictures.arithmetic import log
from pipeline.render.jit import read_only

U8 = npt.NDArray[np.uint8]


class Strip(NamedTuple):
    """One loop of a zoom in logarithmic polar coordinates: all that endless clips need.

    Attributes:
        cells: uint8 [rows, columns, 3], RGB; both sides are multiples of 16.
        twist: columns by which the loop's end is displaced against its beginning.
        growth, roll: ln |λ| and arg λ of the loop.
    """

    cells: U8
    twist: int
    growth: float
    roll: float


def strip_frames(
    strip: Strip, start_phase: float, factor: float, direction: int, num_frames: int, size: int
) -> U8:
    """Return a clip of an endless zoom, uint8 [num_frames, size, size, 3]; see `fill_frames`."""
    if num_frames < 1 or size < 1:
        raise ValueError(f"a clip of {num_frames} frames of {size} pixels: both are at least 1")
    clip = np.empty((num_frames, size, size, 3), np.uint8)
    fill_frames(strip, start_phase, factor, direction, clip)
    return clip


def fill_frames(strip: Strip, start_phase: float, factor: float, direction: int, out: U8) -> None:
    """Write a clip of an endless zoom.

    Args:
        strip: from `make_strip`.
        start_phase: where in the loop the first frame lies, [0, 1).
        factor: magnification per frame, above 1; need not be that of the zoom.
        direction: 1 inwards, −1 outwards.
        out: uint8 [T, size, size, 3], written, C-contiguous; T frames may be many loops.

    Raises:
        ValueError: an argument outside its range.
    """
    for name, value, fits in (
        ("start_phase", start_phase, 0.0 <= start_phase < 1.0),
        ("factor", factor, 1.0 < factor < math.inf),
        ("direction", direction, direction in (1, -1)),
    ):
        if not fits:
            raise ValueError(f"a clip of a zoom with {name} {value}: see fill_frames for its range")
    zoom_frames.read_clip(
        read_only(strip.cells),
        strip.twist,
        strip.growth,
        strip.roll,
        start_phase,
        direction * float(log(factor)) / strip.growth,
        _places(strip.cells.shape[1], out.shape[1]),
        out,
    )


@functools.lru_cache(maxsize=8)
def _places(columns: int, size: int) -> npt.NDArray[np.float32]:
    """Return where the pixels of a frame read a strip; the same for all strips of a set."""
    places = np.empty((size, size, 3), np.float32)
    zoom_frames.fill_map(columns, places)
    return places
