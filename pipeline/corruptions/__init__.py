"""Corruptions of CIFAR-C, ImageNet-C and C-bar, made from clean pictures.

The published files were drawn without a seed, so theirs cannot be made again byte for byte; these follow the
published algorithms and constants, and a sample here depends on its picture, the corruption's name, the
severity and the sample's seed alone.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from pipeline.corruptions import weather
from pipeline.corruptions.base import CIFAR_SIDE, NUM_SEVERITIES, U8, U64, Constants, Corruption
from pipeline.corruptions.blur import BLUR, glass_blur
from pipeline.corruptions.cbar import C_BAR_CIFAR, C_BAR_IMAGENET, CBAR
from pipeline.corruptions.digital import DIGITAL
from pipeline.corruptions.frost_pictures import FrostPictures, generated_frost, load_frost
from pipeline.corruptions.noise import NOISE
from pipeline.errors import UsageError, nearest

CORRUPTIONS: dict[str, Corruption] = {
    corruption.name: corruption for corruption in (*NOISE, *BLUR, *weather.WEATHER, *DIGITAL, *CBAR)
}
"""All corruptions by name, in the published order: C, then C-bar."""

C = tuple(corruption.name for corruption in (*NOISE, *BLUR, *weather.WEATHER, *DIGITAL))
"""The 15 names of CIFAR-C and ImageNet-C."""
C_BAR = tuple(corruption.name for corruption in CBAR)
"""All names of C-bar; CIFAR-10-C-bar and ImageNet-C-bar have ten of them each."""

SCALES = ("auto", "cifar", "imagenet")

__all__ = [
    "CORRUPTIONS",
    "C_BAR",
    "C_BAR_CIFAR",
    "C_BAR_IMAGENET",
    "SCALES",
    "C",
    "Corruption",
    "FrostPictures",
    "constants_of",
    "corrupt",
    "generated_frost",
    "glass_blur",
    "load_frost",
]


def corrupt(
    name: str,
    images: U8,
    severity: int,
    seeds: U64,
    *,
    scale: str = "auto",
    frost: FrostPictures | None = None,
) -> U8:
    """Corrupt pictures.

    Args:
        name: a key of `CORRUPTIONS`.
        images: uint8 [n, S, S, 3].
        severity: 1 to 5.
        seeds: uint64 [n], one for each sample: give each corruption and severity others.
        scale: whose constants to take, `cifar` or `imagenet`; `auto` takes CIFAR's up to 64 pixels.
        frost: the panes that `frost` lays over pictures, generated ones by default; others take none.

    Returns uint8 [n, S, S, 3], a new array.

    Raises:
        UsageError: an unknown name or scale, a severity out of range, no such corruption at this scale, or
            arrays of other types or shapes.
    """
    _check_arrays(images, seeds)
    constants = constants_of(name, severity, images.shape[1], scale)
    if len(images) == 0:
        return images.copy()
    apply = CORRUPTIONS[name].apply
    if apply is weather.frost:
        apply = partial(weather.frost, pictures=frost)
    return apply(np.ascontiguousarray(images), constants, seeds)


def constants_of(name: str, severity: int, size: int, scale: str = "auto") -> Constants:
    """Return the constants of a corruption for pictures with a side of `size`; arguments as of `corrupt`."""
    if name not in CORRUPTIONS:
        raise UsageError(
            f"unknown corruption {name!r}{nearest(name, CORRUPTIONS)}; there are {', '.join(CORRUPTIONS)}"
        )
    if severity not in range(1, NUM_SEVERITIES + 1):
        raise UsageError(f"{name}: severity is {severity!r}; it is a whole number of 1 to 5")
    if scale not in SCALES:
        raise UsageError(f"{name}: scale is {scale!r}; it is one of {', '.join(SCALES)}")
    if scale == "auto":
        scale = "cifar" if size <= CIFAR_SIDE else "imagenet"
    corruption = CORRUPTIONS[name]
    table = corruption.cifar if scale == "cifar" else corruption.imagenet
    if table is None:
        other = "imagenet" if scale == "cifar" else "cifar"
        raise UsageError(
            f"{name}: has no severities for pictures of {size} px (scale {scale}), only at scale {other}; "
            f"take another corruption, or ask for scale={other!r}"
        )
    return table[severity - 1]


def _check_arrays(images: U8, seeds: U64) -> None:
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise UsageError(
            f"images are {images.dtype} {list(shape)}; corruptions take uint8 [n, S, S, 3]: "
            "crop pictures to squares of 8-bit RGB"
        )
    if seeds.dtype != np.uint64 or seeds.shape != (len(images),):
        raise UsageError(
            f"seeds are {seeds.dtype} {list(seeds.shape)} for {len(images)} pictures; "
            "corruptions take one uint64 for each picture"
        )
