"""CIFAR-P and ImageNet-P: short sequences of slowly changed pictures (Hendrycks & Dietterich, ICLR 2019).

How often a prediction changes within a sequence is what they measure. The published files were drawn without
a seed; these follow the published algorithms and constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pipeline.corruptions.base import CIFAR_SIDE, U8, U64, Constants
from pipeline.corruptions.perturbations_frames import (
    brightnesses,
    gaussian_blurs,
    gaussian_noises,
    motion_blurs,
    shot_noises,
    snows,
    speckle_noises,
)
from pipeline.corruptions.perturbations_geometry import (
    rotations,
    scales,
    shears,
    tilts,
    translations,
    zoom_blurs,
)
from pipeline.corruptions.perturbations_spatter import spatters
from pipeline.errors import UsageError, nearest

NUM_DIFFICULTIES = 3
SCALES = ("auto", "cifar", "imagenet")

_MARGIN_CUT, _MARGIN_WHOLE = 7, 8
"""ImageNet's pictures have a shorter side of 256, of which 224 are kept."""


class Perturbation(NamedTuple):
    """One kind of sequence.

    Attributes:
        name: as in the published files.
        noise: whether frames have noise of their own: each is then compared with the first, not with the one
            before.
        margin: whether, at ImageNet's scale, the whole picture moves before its middle is cut out, so that
            pictures are to be given with their margin.
        cifar_frames: frames at CIFAR's scale.
        imagenet_frames: frames at ImageNet's.
        cifar: constants, those of difficulties 1 to 3 or one for all.
        imagenet: likewise.
        frames: (images, side of a frame, number of frames, constants, seeds) → uint8 [n, F, S, S, 3].
    """

    name: str
    noise: bool
    margin: bool
    cifar_frames: int
    imagenet_frames: int
    cifar: tuple[Constants, ...]
    imagenet: tuple[Constants, ...]
    frames: Callable[[U8, int, int, Constants, U64], U8]


def _noise(
    name: str,
    cifar: tuple[float, float, float],
    imagenet: tuple[float, float, float],
    frames: Callable[[U8, int, int, Constants, U64], U8],
) -> Perturbation:
    levels = tuple((level,) for level in cifar), tuple((level,) for level in imagenet)
    return Perturbation(name, True, False, 31, 31, *levels, frames)


_SNOW_CIFAR = (0.05, 0.3, 2.0, 0.5, 10, 2.0, 0.85)
_SNOW_IMAGENET = (0.05, 0.3, 3.0, 0.5, 14, 4.0, 0.85)
_BLUR_CIFAR, _BLUR_IMAGENET = (6, 1.8, -180.0, 9.0), (10, 3.0, -120.0, 4.0)
_SPATTER_CIFAR = (0.6, 0.265, 1.75, 0.7, 0.2, 0.8)
_SPATTER_IMAGENET = (0.65, 0.27, 3.7, 0.69, 0.05, 0.1, 0.15, 0.7)

PERTURBATIONS: dict[str, Perturbation] = {
    kind.name: kind
    for kind in (
        _noise("gaussian_noise", (0.02, 0.04, 0.06), (0.03, 0.05, 0.08), gaussian_noises),
        _noise("shot_noise", (700.0, 400.0, 200.0), (300.0, 120.0, 60.0), shot_noises),
        Perturbation(
            "motion_blur", False, False, 21, 31, (_BLUR_CIFAR,), (_BLUR_IMAGENET,), motion_blurs
        ),
        Perturbation("zoom_blur", False, True, 31, 31, ((0.004,),), ((0.004,),), zoom_blurs),
        Perturbation("snow", False, False, 31, 31, (_SNOW_CIFAR,), (_SNOW_IMAGENET,), snows),
        Perturbation("brightness", False, False, 31, 31, ((0.015,),), ((0.02,),), brightnesses),
        Perturbation("translate", False, True, 16, 41, ((7.0,),), ((20.0,),), translations),
        Perturbation("rotate", False, True, 31, 31, ((),), ((),), rotations),
        Perturbation("tilt", False, True, 31, 31, ((0.75,),), ((1.0,),), tilts),
        Perturbation("scale", False, True, 31, 31, ((70.0, 2.0),), ((40.0, 2.5),), scales),
        Perturbation(
            "spatter", False, False, 31, 31, (_SPATTER_CIFAR,), (_SPATTER_IMAGENET,), spatters
        ),
        _noise("speckle_noise", (0.05, 0.07, 0.1), (0.05, 0.1, 0.15), speckle_noises),
        Perturbation(
            "gaussian_blur",
            False,
            False,
            31,
            31,
            ((0.3, 0.015, 7.0),),
            ((0.25, 0.035, 6.0),),
            gaussian_blurs,
        ),
        Perturbation("shear", False, True, 31, 31, ((),), ((),), shears),
    )
}
"""All kinds by name: the ten that results are averaged over, then four held out for validation."""


def frame_side(name: str, height: int, width: int, scale: str = "auto") -> int:
    """Return the side of the frames that `perturb` makes of pictures of this size; arguments as there."""
    kind, scale = _kind(name, min(height, width), scale)
    shorter = min(height, width)
    if scale == "imagenet" and kind.margin:
        return shorter * _MARGIN_CUT // _MARGIN_WHOLE
    if height != width:
        raise UsageError(
            f"{name}: pictures of {height} x {width} px; this kind takes squares: cut out the middle"
        )
    return shorter


def perturb(
    name: str,
    images: U8,
    seeds: U64,
    *,
    difficulty: int = 1,
    scale: str = "auto",
) -> U8:
    """Make one sequence of each picture.

    Args:
        name: a key of `PERTURBATIONS`.
        images: uint8 [n, S, S, 3]; at ImageNet's scale, for kinds with a `margin`, uint8 [n, H, W, 3] with a
            shorter side of 8/7 S, from which the frames' middle S × S is cut after the movement: 256 for 224.
        seeds: uint64 [n], one for each sample: give each kind and difficulty others.
        difficulty: 1 to 3, of noises. For other kinds, harder means that frames further apart are compared;
            the frames are the same.
        scale: whose constants to take, `cifar` or `imagenet`; `auto` takes CIFAR's up to 64 pixels.

    Returns uint8 [n, F, S, S, 3]: F is the kind's `cifar_frames` or `imagenet_frames`.

    Raises:
        UsageError: an unknown name or scale, a difficulty out of range, or arrays of other types or shapes.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UsageError(
            f"images are {images.dtype} {list(images.shape)}; sequences are made of uint8 [n, H, W, 3]: "
            "convert pictures to 8-bit RGB"
        )
    if seeds.dtype != np.uint64 or seeds.shape != (len(images),):
        raise UsageError(
            f"seeds are {seeds.dtype} {list(seeds.shape)} for {len(images)} pictures; "
            "sequences take one uint64 for each picture"
        )
    if difficulty not in range(1, NUM_DIFFICULTIES + 1):
        raise UsageError(f"{name}: difficulty is {difficulty!r}; it is a whole number of 1 to 3")
    height, width = images.shape[1:3]
    kind, scale = _kind(name, min(height, width), scale)
    size = frame_side(name, height, width, scale)
    levels = kind.cifar if scale == "cifar" else kind.imagenet
    num = kind.cifar_frames if scale == "cifar" else kind.imagenet_frames
    if len(images) == 0:
        return np.empty((0, num, size, size, 3), np.uint8)
    return kind.frames(images, size, num, levels[min(difficulty, len(levels)) - 1], seeds)


def _kind(name: str, side: int, scale: str) -> tuple[Perturbation, str]:
    """Return what a name means, and the scale once `auto` is settled."""
    if name not in PERTURBATIONS:
        raise UsageError(
            f"unknown sequence {name!r}{nearest(name, PERTURBATIONS)}; there are {', '.join(PERTURBATIONS)}"
        )
    if scale not in SCALES:
        raise UsageError(f"{name}: scale is {scale!r}; it is one of {', '.join(SCALES)}")
    if scale == "auto":
        scale = "cifar" if side <= CIFAR_SIDE else "imagenet"
    return PERTURBATIONS[name], scale
