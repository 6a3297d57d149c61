"""What the benchmarks are made of: the names of their parts, and the figures of AlexNet that they divide by.

Names are those of the published files, odd spellings included. Owns constants and the check of a set of
names; computes no measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.errors import DreamshardsError, nearest

SEVERITIES = (1, 2, 3, 4, 5)

COMMON_CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The fifteen of CIFAR-10-C, CIFAR-100-C and ImageNet-C (Hendrycks & Dietterich, ICLR 2019)."""

C_BAR_CIFAR = (
    "blue_noise_sample",
    "brownish_noise",
    "checkerboard_cutout",
    "inverse_sparkles",
    "pinch_and_twirl",
    "ripple",
    "circular_motion_blur",
    "lines",
    "sparkles",
    "transverse_chromatic_abberation",
)
"""The ten of CIFAR-10-C-bar and CIFAR-100-C-bar (Mintun, Kirillov & Xie, NeurIPS 2021)."""

C_BAR_IMAGENET = (
    "blue_noise_sample",
    "brownish_noise",
    "caustic_refraction",
    "checkerboard_cutout",
    "cocentric_sine_waves",
    "inverse_sparkles",
    "perlin_noise",
    "plasma_noise",
    "single_frequency_greyscale",
    "sparkles",
)
"""The ten of ImageNet-C-bar."""

SEQUENCES = (
    "gaussian_noise",
    "shot_noise",
    "motion_blur",
    "zoom_blur",
    "snow",
    "brightness",
    "translate",
    "rotate",
    "tilt",
    "scale",
)
"""The ten kinds of sequences of ImageNet-P; its authors' script for CIFAR-P has `spatter` for `snow`."""

ANOMALY_SETS = ("gaussian", "rademacher", "blobs", "textures", "svhn", "lsun", "places69")
"""The seven sets of anomalies whose mean the PixMix paper reports."""

ALEXNET_CLEAN_ERROR = 0.435

ALEXNET_ERROR: Mapping[str, tuple[float, float, float, float, float]] = {
    "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
    "impulse_noise": (0.78374, 0.89808, 0.94870, 0.98720, 0.99548),
    "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
    "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "motion_blur": (0.58430, 0.70048, 0.82108, 0.89750, 0.92638),
    "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
    "snow": (0.71726, 0.88392, 0.86468, 0.91870, 0.94952),
    "frost": (0.61390, 0.79734, 0.88790, 0.89942, 0.93430),
    "fog": (0.67474, 0.76050, 0.84378, 0.87260, 0.94500),
    "brightness": (0.45140, 0.48502, 0.54048, 0.62166, 0.72440),
    "contrast": (0.64548, 0.76150, 0.88874, 0.97760, 0.99270),
    "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
    "pixelate": (0.52218, 0.54620, 0.73728, 0.87092, 0.91262),
    "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
}
"""Error of AlexNet on ImageNet-C at severities 1 to 5: what its mCE divides by."""

ALEXNET_FLIPS: Mapping[str, float] = {
    "gaussian_noise": 0.23653,
    "shot_noise": 0.30062,
    "motion_blur": 0.09297,
    "zoom_blur": 0.05942,
    "snow": 0.11928,
    "brightness": 0.04889,
    "translate": 0.11007,
    "rotate": 0.13104,
    "tilt": 0.07050,
    "scale": 0.23531,
    "spatter": 0.05053,
    "speckle_noise": 0.18649,
    "gaussian_blur": 0.02775,
    "shear": 0.10658,
}
"""Flip probability of AlexNet on ImageNet-P, with the four sequences that are kept out of its mFR.

The benchmark has the like for the distance of the top five, but it was never published in numbers.
"""


def is_noise(sequence: str) -> bool:
    """Return whether each frame of a kind of sequence has noise of its own: all are held to the first."""
    return "noise" in sequence


def check_names(where: str, got: Iterable[str], names: Sequence[str]) -> None:
    """Refuse a mean over other parts than `names`: one missing, or one that does not belong.

    Raises:
        DreamshardsError: with the parts missing and those unknown.
    """
    found = list(got)
    if not names:
        raise DreamshardsError(
            f"{where}: names is empty; give one part or more to take the mean of"
        )
    unknown = [f"{name!r}{nearest(name, names)}" for name in found if name not in names]
    missing = [name for name in names if name not in found]
    if unknown or missing:
        parts = [f"missing: {', '.join(missing)}"] if missing else []
        parts += [f"not among them: {', '.join(unknown)}"] if unknown else []
        raise DreamshardsError(
            f"{where}: {'; '.join(parts)}; allowed: exactly {', '.join(names)}. "
            "For a mean over other parts say which, with names=…"
        )
