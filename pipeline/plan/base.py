"""Decisions of the base transforms: which box of a picture is kept, and whether it is mirrored."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError
from pipeline.plan.rng import F64, Purpose, integers, uniform_rows
from pipeline.recipe import CenterCrop, PadCrop, RandomResizedCrop, ScaledCrop, TransformConfig

I32 = npt.NDArray[np.int32]

_NUM_TRIES = 10
"""Boxes tried before RandomResizedCrop falls back to a central one, as in torchvision."""


class BasePlan(NamedTuple):
    """A box in each source picture's own coordinates, taken before a mirror flip.

    Where whole pictures are resized first (`resized_side`), boxes are in the coordinates of the result.

    Attributes:
        crop_y, crop_x: int32 [n], top-left corner; negative, or a box beyond the edge, means zero padding.
        crop_h, crop_w: int32 [n]; a box of another size than the sample's is resized to it.
        flip: bool [n], mirrored left to right afterwards.
    """

    crop_y: I32
    crop_x: I32
    crop_h: I32
    crop_w: I32
    flip: npt.NDArray[np.bool_]


class ClipBasePlan(NamedTuple):
    """A box, the same in every frame of a clip, in each source video's own coordinates; as a `BasePlan`.

    Attributes:
        start_frame: int32 [n], number of the clip's first frame in its video.
    """

    crop_y: I32
    crop_x: I32
    crop_h: I32
    crop_w: I32
    flip: npt.NDArray[np.bool_]
    start_frame: I32


def draw_starts(
    starts: I32,
    num_starts: I32,
    *,
    seed: int,
    epoch: int,
    start: int,
    stop: int,
    purpose: Purpose = Purpose.CLIP_START,
) -> I32:
    """Return the first frame of the clips at positions [start, stop), int32.

    `starts` are those that are not drawn, negative ones are, from [0, `num_starts`).
    """
    u = uniform_rows(seed, purpose, epoch=epoch, start=start, stop=stop, width=1)[:, 0]
    return np.where(starts < 0, integers(u, num_starts), starts)


def draw_base(
    transform: TransformConfig,
    heights: I32,
    widths: I32,
    *,
    seed: int,
    epoch: int,
    start: int,
    stop: int,
    purpose: Purpose = Purpose.BASE,
) -> BasePlan:
    """Draw boxes and flips for positions [start, stop); `heights` and `widths` are those of their pictures.

    `purpose` tells the draws of a sample's first picture from those of its second.

    Raises:
        DreamshardsError: a picture too small for a padded crop.
    """
    if isinstance(transform, CenterCrop):
        return _center_crop(transform, heights, widths)
    if isinstance(transform, ScaledCrop):
        u = uniform_rows(seed, purpose, epoch=epoch, start=start, stop=stop, width=4)
        return _scaled_crop(transform, heights, widths, u)
    tries = 0 if isinstance(transform, PadCrop) else _NUM_TRIES
    u = uniform_rows(seed, purpose, epoch=epoch, start=start, stop=stop, width=3 + 2 * tries)
    flip = u[:, 0] < transform.flip
    if isinstance(transform, PadCrop):
        return _pad_crop(transform, heights, widths, u[:, 1:3], flip)
    return _random_resized_crop(transform, heights, widths, u[:, 1:], flip)


def _pad_crop(
    transform: PadCrop, heights: I32, widths: I32, u: F64, flip: npt.NDArray[np.bool_]
) -> BasePlan:
    size, padding = transform.size, transform.padding
    room_y, room_x = heights + 2 * padding - size, widths + 2 * padding - size
    small = np.flatnonzero((room_y < 0) | (room_x < 0))
    if len(small):
        height, width = heights[small[0]], widths[small[0]]
        raise DreamshardsError(
            f"a source picture of {height}×{width} px (H×W) is too small for transform pad-crop with "
            f"size {size} and padding {padding}; allowed: sides of {size - 2 * padding} or more; "
            "or use transform.kind=random-resized-crop"
        )
    side = np.full(len(flip), size, np.int32)
    crop_y = integers(u[:, 0], room_y + 1) - np.int32(padding)
    crop_x = integers(u[:, 1], room_x + 1) - np.int32(padding)
    return BasePlan(crop_y, crop_x, side, side, flip)


def _random_resized_crop(
    transform: RandomResizedCrop, heights: I32, widths: I32, u: F64, flip: npt.NDArray[np.bool_]
) -> BasePlan:
    """Draw boxes as torchvision's RandomResizedCrop does: the first of ten that fits, else a central one."""
    limit = transform.max_aspect
    areas = (heights.astype(np.float64) * widths)[:, None]
    target = areas * (transform.min_area + (1 - transform.min_area) * u[:, 2 : 2 + _NUM_TRIES])
    aspect = _exp(math.log(limit) * (2 * u[:, 2 + _NUM_TRIES :] - 1))
    box_w = np.rint(np.sqrt(target * aspect)).astype(np.int32)
    box_h = np.rint(np.sqrt(target / aspect)).astype(np.int32)
    fits = (box_w > 0) & (box_w <= widths[:, None]) & (box_h > 0) & (box_h <= heights[:, None])
    rows, first = np.arange(len(u)), fits.argmax(axis=1)
    fitted = fits[rows, first]
    # The fallback is the largest central box within the aspect limits.
    whole_w = np.minimum(widths, np.rint(heights * limit).astype(np.int32))
    whole_h = np.minimum(heights, np.rint(widths * limit).astype(np.int32))
    crop_w = np.where(fitted, box_w[rows, first], whole_w)
    crop_h = np.where(fitted, box_h[rows, first], whole_h)
    room_y, room_x = heights - crop_h, widths - crop_w
    crop_y = np.where(fitted, integers(u[:, 0], room_y + 1), room_y // 2)
    crop_x = np.where(fitted, integers(u[:, 1], room_x + 1), room_x // 2)
    return BasePlan(crop_y, crop_x, crop_h, crop_w, flip)


def resized_side(transform: TransformConfig) -> int | None:
    """Return the side that the shorter one of whole pictures is resized to before boxes are cut, or None."""
    return transform.resize if isinstance(transform, CenterCrop) else None


def _scaled_crop(transform: ScaledCrop, heights: I32, widths: I32, u: F64) -> BasePlan:
    """Draw square boxes of the shorter side times one of the scales, anywhere within."""
    scales = np.array(transform.scales)[integers(u[:, 1], len(transform.scales))]
    side = np.maximum(np.minimum(heights, widths) * scales, 1).astype(np.int32)
    crop_y, crop_x = (
        integers(u[:, 2 + axis], room - side + 1) for axis, room in enumerate((heights, widths))
    )
    return BasePlan(crop_y, crop_x, side, side, u[:, 0] < transform.flip)


def _center_crop(transform: CenterCrop, heights: I32, widths: I32) -> BasePlan:
    """Return central boxes of the resized pictures, where torchvision's Resize and CenterCrop put them."""
    assert transform.resize is not None, "a resolved recipe has a side to resize to"
    short, long = np.minimum(heights, widths), np.maximum(heights, widths)
    longer = (transform.resize * long.astype(np.int64) / short).astype(np.int64)
    room_y = np.where(heights <= widths, transform.resize, longer) - transform.size
    room_x = np.where(heights <= widths, longer, transform.resize) - transform.size
    side = np.full(len(heights), transform.size, np.int32)
    crop_y, crop_x = (np.rint(room / 2).astype(np.int32) for room in (room_y, room_x))
    return BasePlan(crop_y, crop_x, side, side, np.zeros(len(heights), np.bool_))


def _exp(x: F64) -> F64:
    """Return e^x for |x| ≤ ln 4 by plain arithmetic, the same on every host: NumPy's exp is not."""
    series = np.ones_like(x)
    for n in range(24, 0, -1):
        series = 1 + x / n * series
    return series
