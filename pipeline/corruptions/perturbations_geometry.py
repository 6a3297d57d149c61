"""Sequences that move the camera: translation, rotation, scale, shear, tilt, and blur by zooming.

Of CIFAR-P and ImageNet-P (Hendrycks & Dietterich, ICLR 2019). Affine frames are those of torchvision's
`affine` of a Pillow picture, about the picture's middle; tilts those of OpenCV's `warpPerspective`. Each
takes uint8 [n, H, W, 3], cuts the middle S × S out of each frame, and returns uint8 [n, F, S, S, 3].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.corruptions.base import F64, U8, U64, Constants
from pipeline.pictures.arithmetic import sin_cos
from pipeline.render.affine import resample, translate
from pipeline.render.jit import inlined, kernel, read_only
from pipeline.render.scratch import new_scratch

_DEGREE = 3.141592653589793 / 180.0
_PLACES = 32.0
"""Places OpenCV tells apart between two pixels."""


def _offset(length: int, size: int) -> int:
    """Return where the middle `size` of `length` pixels start; of two, the even one, as in torchvision."""
    return round((length - size) / 2)


@kernel
def _cut(picture: U8, top: int, left: int, out: U8) -> None:
    """Copy the part of `picture` that begins at (top, left) to `out`, uint8 [S, S, 3]."""
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            for channel in range(3):
                out[row, column, channel] = picture[top + row, left + column, channel]


@kernel
def _affine(images: U8, maps: F64, top: int, left: int, out: U8) -> None:
    """Write frames: `maps`, float64 [F, 6], say from where; (a, b, c, d, e, f) of `affine.resample`."""
    height, width = images.shape[1:3]
    scratch, frame = new_scratch(height, width), np.empty((height, width, 3), np.uint8)
    for sample in range(images.shape[0]):
        for k in range(maps.shape[0]):
            a, b, c, d, e, f = maps[k]
            resample(images[sample], a, b, c, d, e, f, scratch, frame)
            _cut(frame, top, left, out[sample, k])


@kernel
def _translate(images: U8, first: int, top: int, left: int, out: U8) -> None:
    """Write frames moved to the right by first, first + 1, … pixels; black where nothing is."""
    frame = np.empty(images.shape[1:], np.uint8)
    for sample in range(images.shape[0]):
        for k in range(out.shape[1]):
            translate(images[sample], -(first + k), 0, frame)
            _cut(frame, top, left, out[sample, k])


@kernel
def _zoom_blur(images: U8, maps: F64, top: int, left: int, out: U8) -> None:
    """Write means of the first k + 1 frames of `_affine`, in the order and precision of float32 tensors."""
    height, width = images.shape[1:3]
    size = out.shape[2]
    scratch, frame = new_scratch(height, width), np.empty((height, width, 3), np.uint8)
    part = np.empty((size, size, 3), np.uint8)
    total = np.empty((size, size, 3), np.float32)
    white = np.float32(255.0)
    for sample in range(images.shape[0]):
        total[:] = np.float32(0.0)
        for k in range(maps.shape[0]):
            a, b, c, d, e, f = maps[k]
            resample(images[sample], a, b, c, d, e, f, scratch, frame)
            _cut(frame, top, left, part)
            for row in range(size):
                for column in range(size):
                    for channel in range(3):
                        total[row, column, channel] += (
                            np.float32(part[row, column, channel]) / white
                        )
                        mean = total[row, column, channel] / np.float32(k + 1)
                        out[sample, k, row, column, channel] = np.uint8(mean * white)


@inlined
def _pixel(picture: U8, row: int, column: int, channel: int) -> int:
    """Return a value of `picture`, or 0 outside."""
    inside = 0 <= row < picture.shape[0] and 0 <= column < picture.shape[1]
    return int(picture[row, column, channel]) if inside else 0


@kernel
def warp_perspective(picture: U8, back: F64, out: U8) -> None:
    """Read a picture through a projective map, bilinear, black outside, as OpenCV does.

    Places are rounded to 32nds of a pixel, and weights are whole numbers.

    Args:
        picture: uint8 [H, W, 3].
        back: float64 [3, 3], from (x, y, 1) of `out` to that of `picture`; pixels lie at whole numbers.
        out: uint8 [H, W, 3], written.
    """
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            x = back[0, 0] * column + (back[0, 1] * row + back[0, 2])
            y = back[1, 0] * column + (back[1, 1] * row + back[1, 2])
            scale = _PLACES / (back[2, 0] * column + (back[2, 1] * row + back[2, 2]))
            place_x, place_y = int(np.rint(x * scale)), int(np.rint(y * scale))
            left, top = place_x >> 5, place_y >> 5
            right_share, down_share = place_x & 31, place_y & 31
            for channel in range(3):
                upper = (32 - right_share) * _pixel(picture, top, left, channel)
                upper += right_share * _pixel(picture, top, left + 1, channel)
                lower = (32 - right_share) * _pixel(picture, top + 1, left, channel)
                lower += right_share * _pixel(picture, top + 1, left + 1, channel)
                value = (32 - down_share) * upper + down_share * lower
                out[row, column, channel] = np.uint8((value + 512) >> 10)


@kernel
def _tilt(images: U8, maps: F64, top: int, left: int, out: U8) -> None:
    """Write frames: `maps`, float64 [F, 3, 3], each as `warp_perspective` takes it."""
    frame = np.empty(images.shape[1:], np.uint8)
    for sample in range(images.shape[0]):
        for k in range(maps.shape[0]):
            warp_perspective(images[sample], maps[k], frame)
            _cut(frame, top, left, out[sample, k])


def _about_middle(height: int, width: int, a: float, b: float, d: float, e: float) -> list[float]:
    """Return the map that leaves the middle in place, summed in torchvision's order."""
    across, down = width * 0.5, height * 0.5
    return [a, b, a * -across + b * -down + across, d, e, d * -across + e * -down + down]


def tilt_back(height: int, width: int, degrees: float) -> F64:
    """Return which place of a picture each place of its tilted view shows, float64 [3, 3].

    A pixel (u, v) is the point (u − w/2, v − h/2, 1). All are turned by `degrees` about the vertical axis and
    then about the horizontal one, moved away by the picture's diagonal f, and seen by a camera of that focal
    length.
    """
    s, c = sin_cos(degrees * _DEGREE)
    focal, across, down = float(np.sqrt(width * width + height * height)), width / 2, height / 2
    # the rows of turning and moving, applied to (u, v, 1): x, y and distance of the point
    points = []
    for by_x, by_y, by_z, moved in (
        (c, 0.0, -s, 0.0),
        (-s * s, c, -s * c, 0.0),
        (s * c, s, c * c, focal),
    ):
        points.append([by_x, by_y, by_z + moved - across * by_x - down * by_y])
    x, y, z = points
    forward = [
        [focal * x[k] + across * z[k] for k in range(3)],
        [focal * y[k] + down * z[k] for k in range(3)],
        z,
    ]
    (a, b, p), (d, e, q), (g, h, r) = forward
    adjugate = [
        [e * r - q * h, p * h - b * r, b * q - p * e],
        [q * g - d * r, a * r - p * g, p * d - a * q],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ]
    determinant = a * adjugate[0][0] + b * adjugate[1][0] + p * adjugate[2][0]
    return np.array(adjugate) / determinant


def _frames(
    images: U8, size: int, num: int, maps_of: Callable[[int, int, int], object]
) -> tuple[U8, F64, int, int, U8]:
    """Return the arguments that kernels here share: pictures, F maps, where to cut, room for the frames."""
    height, width = images.shape[1:3]
    maps: F64 = np.array([maps_of(k, height, width) for k in range(num)])
    out = np.empty((len(images), num, size, size, 3), np.uint8)
    return read_only(images), maps, _offset(height, size), _offset(width, size), out


def rotations(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Turn clockwise by k − 15 degrees; no constants."""

    def turned(k: int, height: int, width: int) -> list[float]:
        sine, cosine = sin_cos((k - 15) * _DEGREE)
        return _about_middle(height, width, cosine, sine, -sine, cosine)

    arguments = _frames(images, size, num, turned)
    _affine(*arguments)
    return arguments[-1]


def scales(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Scale by (first + step · k)/100; constants: (first, step)."""
    first, step = constants

    def scaled(k: int, height: int, width: int) -> list[float]:
        factor = 1.0 / ((first + step * k) / 100.0)
        return _about_middle(height, width, factor, 0.0, 0.0, factor)

    arguments = _frames(images, size, num, scaled)
    _affine(*arguments)
    return arguments[-1]


def shears(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Slant by k − 15 degrees: rows move along themselves, as in today's torchvision; no constants."""

    def slanted(k: int, height: int, width: int) -> list[float]:
        sine, cosine = sin_cos((k - 15) * _DEGREE)
        return _about_middle(height, width, 1.0, sine / cosine, 0.0, 1.0)

    arguments = _frames(images, size, num, slanted)
    _affine(*arguments)
    return arguments[-1]


def zoom_blurs(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Average the picture and its scalings by 1 + step, …, 1 + step · k; constants: (step,)."""

    def scaled(k: int, height: int, width: int) -> list[float]:
        factor = 1.0 / (1.0 + constants[0] * k)
        return _about_middle(height, width, factor, 0.0, 0.0, factor)

    arguments = _frames(images, size, num, scaled)
    _zoom_blur(*arguments)
    return arguments[-1]


def tilts(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Tilt about both axes by step · (k − 15) degrees; constants: (step,)."""

    def tilted(k: int, height: int, width: int) -> F64:
        return tilt_back(height, width, constants[0] * (k - 15))

    arguments = _frames(images, size, num, tilted)
    _tilt(*arguments)
    return arguments[-1]


def translations(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Move to the right by k − start pixels; constants: (start,)."""
    height, width = images.shape[1:3]
    out = np.empty((len(images), num, size, size, 3), np.uint8)
    top, left = _offset(height, size), _offset(width, size)
    _translate(read_only(images), -int(constants[0]), top, left, out)
    return out
