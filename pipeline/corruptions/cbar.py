"""C-bar: corruptions chosen to be unlike those that augmentations are tuned on.

Mintun, Kirillov & Xie (NeurIPS 2021): ten each for CIFAR and for ImageNet, of which five are common to both,
with other severities. The published names keep their spelling, since files are named by them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.corruptions.base import Constants, Corruption
from pipeline.corruptions.cbar_marks import inverse_sparkles, lines, sparkles
from pipeline.corruptions.cbar_patterns import (
    checkerboard_cutout,
    cocentric_sine_waves,
    perlin_noise,
    plasma_noise,
    single_frequency_greyscale,
)
from pipeline.corruptions.cbar_spectral import blue_noise_sample, brownish_noise
from pipeline.corruptions.cbar_splines import circular_motion_blur, transverse_chromatic_abberation
from pipeline.corruptions.cbar_warps import caustic_refraction, pinch_and_twirl, ripple

_CIFAR: dict[str, Sequence[float]] = {
    "blue_noise_sample": (0.7, 1.4, 2.1, 3.5, 4.2),
    "brownish_noise": (2.5, 4, 5.5, 6.5, 7),
    "checkerboard_cutout": (1, 2, 3, 4, 5),
    "inverse_sparkles": (1, 1.5, 2.5, 4.5, 5),
    "pinch_and_twirl": (5.5, 6, 6.5, 8.5, 10),
    "ripple": (5.5, 6, 6.5, 7.5, 8),
    "circular_motion_blur": (2.8, 3.6, 4.4, 5.2, 6),
    "lines": (0.5, 1, 1.5, 2, 2.5),
    "sparkles": (0.7, 3.5, 5.6, 6.3, 7),
    "transverse_chromatic_abberation": (1, 2, 5, 9, 10),
}
_IMAGENET: dict[str, Sequence[float]] = {
    "blue_noise_sample": (0.8, 1.6, 2.4, 4.0, 5.6),
    "brownish_noise": (1, 2, 3, 4, 5),
    "caustic_refraction": (2.35, 3.2, 4.9, 6.6, 9.15),
    "checkerboard_cutout": (2, 3, 4, 5, 6),
    "cocentric_sine_waves": (3, 5, 8, 9, 10),
    "inverse_sparkles": (1, 2, 4, 9, 10),
    "perlin_noise": (4.6, 5.2, 5.8, 7.6, 8.8),
    "plasma_noise": (4.75, 7, 8.5, 9.25, 10),
    "single_frequency_greyscale": (1, 1.5, 2, 4.5, 5),
    "sparkles": (1, 2, 3, 5, 6),
}
_APPLY = {
    apply.__name__: apply
    for apply in (
        blue_noise_sample,
        brownish_noise,
        checkerboard_cutout,
        inverse_sparkles,
        sparkles,
        pinch_and_twirl,
        ripple,
        circular_motion_blur,
        lines,
        transverse_chromatic_abberation,
        caustic_refraction,
        cocentric_sine_waves,
        perlin_noise,
        plasma_noise,
        single_frequency_greyscale,
    )
}

C_BAR_CIFAR: tuple[str, ...] = tuple(_CIFAR)
"""The ten of CIFAR-10-C-bar and CIFAR-100-C-bar."""

C_BAR_IMAGENET: tuple[str, ...] = tuple(_IMAGENET)
"""The ten of ImageNet-C-bar."""


def _constants(severities: Sequence[float] | None) -> tuple[Constants, ...] | None:
    return None if severities is None else tuple((float(s),) for s in severities)


CBAR: tuple[Corruption, ...] = tuple(
    Corruption(
        name,
        "c-bar",
        _constants(_CIFAR.get(name)),
        _constants(_IMAGENET.get(name)),
        apply,
    )
    for name, apply in _APPLY.items()
)
"""All fifteen, with one severity constant s each."""
