"""RGB to the planes that H.264 stores and back: BT.601 in the limited range, which players take unless told.

With R, G, B in [0, 1] and L = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601):
Y = 16 + 219 L, Cb = 128 + 112 (B − L) / 0.886, Cr = 128 + 112 (R − L) / 0.701, rounded.

Planes of half the size hold means of 2×2 pixels and are read with the triangle filter between their centres,
as JPEG's are. Kernels of our own give the same bytes on every processor, which FFmpeg's do not promise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

Planes = tuple[U8, U8, U8]
"""Y, uint8 [H, ≥ W]; Cb and Cr, uint8 [H / each, ≥ W / each], where `each` is 1 or 2; rows may be padded."""

_R, _G, _B = np.float32(0.299), np.float32(0.587), np.float32(0.114)
_LUMA = np.float32(219 / 255)
_TO_BLUE, _TO_RED = np.float32(112 / 255 / 0.886), np.float32(112 / 255 / 0.701)
_FROM_LUMA = np.float32(255 / 219)
_RED_FROM_CR, _BLUE_FROM_CB = np.float32(0.701 * 255 / 112), np.float32(0.886 * 255 / 112)
_GREEN_FROM_CB = np.float32(-0.886 * 255 / 112 * 0.114 / 0.587)
_GREEN_FROM_CR = np.float32(-0.701 * 255 / 112 * 0.299 / 0.587)
_HALF, _FOOT, _GREY = np.float32(0.5), np.float32(16.5), np.float32(128.5)
_ZERO, _MOST = np.float32(0), np.float32(255)
_THREE, _FOUR, _SIXTEENTH = np.float32(3), np.float32(4), np.float32(1 / 16)


@kernel
def to_planes(rgb: U8, planes: Planes, each: int) -> None:
    """Write a picture, uint8 [H, W, 3], to its planes; H and W are even if `each` is 2, else it is 1."""
    y, cb, cr = planes
    height, width = rgb.shape[0], rgb.shape[1]
    for i in range(height):
        for j in range(width):
            red, green = np.float32(rgb[i, j, 0]), np.float32(rgb[i, j, 1])
            blue = np.float32(rgb[i, j, 2])
            y[i, j] = np.uint8(_LUMA * (_R * red + _G * green + _B * blue) + _FOOT)
    share = np.float32(1 / (each * each))
    for i in range(height // each):
        for j in range(width // each):
            red, green, blue = _ZERO, _ZERO, _ZERO
            for di in range(each):
                for dj in range(each):
                    red += np.float32(rgb[each * i + di, each * j + dj, 0])
                    green += np.float32(rgb[each * i + di, each * j + dj, 1])
                    blue += np.float32(rgb[each * i + di, each * j + dj, 2])
            luma = _R * red + _G * green + _B * blue
            cb[i, j] = np.uint8(share * _TO_BLUE * (blue - luma) + _GREY)
            cr[i, j] = np.uint8(share * _TO_RED * (red - luma) + _GREY)


@kernel
def from_planes(planes: Planes, each: int, out: U8) -> None:
    """Fill `out`, uint8 [H, W, 3], from the planes that `to_planes` fills."""
    y, cb, cr = planes
    height, width = out.shape[0], out.shape[1]
    row_cb, row_cr = np.empty(width, np.float32), np.empty(width, np.float32)
    sums = np.empty(width // 2, np.float32)
    for i in range(height):
        if each == 1:
            for j in range(width):
                row_cb[j], row_cr[j] = np.float32(cb[i, j]), np.float32(cr[i, j])
        else:
            _widen(cb, i, sums, row_cb)
            _widen(cr, i, sums, row_cr)
        for j in range(width):
            light = _FROM_LUMA * (np.float32(y[i, j]) - np.float32(16)) + _HALF
            to_blue, to_red = row_cb[j] - np.float32(128), row_cr[j] - np.float32(128)
            red = light + _RED_FROM_CR * to_red
            green = light + _GREEN_FROM_CB * to_blue + _GREEN_FROM_CR * to_red
            blue = light + _BLUE_FROM_CB * to_blue
            out[i, j, 0] = np.uint8(min(max(red, _ZERO), _MOST))
            out[i, j, 1] = np.uint8(min(max(green, _ZERO), _MOST))
            out[i, j, 2] = np.uint8(min(max(blue, _ZERO), _MOST))


@kernel
def _widen(plane: U8, row: int, sums: F32, out: F32) -> None:
    """Write row `row` of a plane of half the size at full size: 3/4 of the nearest and 1/4 of the next.

    `sums`, float32 [width of the plane], is scratch.
    """
    height, width = plane.shape[0], len(sums)
    near = row // 2
    far = min(max(near + (1 if row % 2 else -1), 0), height - 1)
    for j in range(width):
        sums[j] = (_THREE * np.float32(plane[near, j]) + np.float32(plane[far, j])) * _SIXTEENTH
    for j in range(1, width):
        out[2 * j] = _THREE * sums[j] + sums[j - 1]
        out[2 * j - 1] = _THREE * sums[j - 1] + sums[j]
    out[0], out[2 * width - 1] = _FOUR * sums[0], _FOUR * sums[width - 1]
