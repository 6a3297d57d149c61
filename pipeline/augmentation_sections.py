"""The sections of a recipe that choose an augmentation family, with the published constants as defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pipeline.complaints import shown
from pipeline.section import Section


class CleanConfig(Section):
    """The base transform alone."""

    family: Literal["clean"]


class PixMixConfig(Section):
    """PixMix with the constants of its CIFAR experiments as defaults."""

    family: Literal["pixmix"]
    k: int = Field(4, ge=0, le=16)
    beta: int = Field(3, ge=1, le=64)
    severity: float = Field(3.0, ge=0.1, le=10)
    ops: Literal["standard", "all"] = "all"
    strategy: Literal["both", "mix-input", "mix-aug"] = "both"


class MixupConfig(Section):
    """Mixup (Zhang et al., ICLR 2018): two source pictures blended, their labels in the same shares."""

    family: Literal["mixup"]
    alpha: float = Field(1.0, ge=0.001, le=1000)
    probability: float = Field(1.0, ge=0, le=1)


class CutMixConfig(Section):
    """CutMix (Yun et al., ICCV 2019), as on CIFAR: a box of a second picture of the source pasted in."""

    family: Literal["cutmix"]
    alpha: float = Field(1.0, ge=0.001, le=1000)
    probability: float = Field(0.5, ge=0, le=1)


# ── test sets: an epoch for each variant ──


def _different_names(value: Any) -> Any:
    if value == "all":
        return value
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise ValueError(
            f"got {shown(value)}; allowed: all, or a list of names such as [fog, snow]"
        )
    if len(set(value)) < len(value):
        raise ValueError(f"got {shown(value)}; allowed: each name once")
    return value


def _sorted_severities(value: Any) -> Any:
    numbers = range(1, 6)
    if not isinstance(value, list) or not value or any(type(v) is not int for v in value):
        raise ValueError(f"got {shown(value)}; allowed: a list of whole numbers, such as [1, 3, 5]")
    if len(set(value)) < len(value) or not set(value) <= set(numbers):
        raise ValueError(f"got {shown(value)}; allowed: 1 to 5, each once")
    return sorted(value)


Names = Annotated[Literal["all"] | list[str], BeforeValidator(_different_names)]
Severities = Annotated[list[int], BeforeValidator(_sorted_severities)]


class CorruptionsConfig(Section):
    """The corruptions of CIFAR-C and ImageNet-C (Hendrycks & Dietterich, ICLR 2019), or of C-bar.

    An epoch is one corruption at one severity (`pipeline.variants`). `frost` is a folder with the published
    panes of ice; by default they are generated.
    """

    family: Literal["corruptions"]
    benchmark: Literal["c", "c-bar"] = "c"
    names: Names = "all"
    severities: Severities = Field(default_factory=lambda: [1, 2, 3, 4, 5])
    scale: Literal["auto", "cifar", "imagenet"] = "auto"
    frost: str | None = None


class PerturbationsConfig(Section):
    """The sequences of CIFAR-P and ImageNet-P (Hendrycks & Dietterich, ICLR 2019): every sample is a clip.

    An epoch is one kind of sequence. `all` are the ten that results are averaged over; four more have names.
    """

    family: Literal["perturbations"]
    names: Names = "all"
    difficulty: int = Field(1, ge=1, le=3)
    scale: Literal["auto", "cifar", "imagenet"] = "auto"


VariantsConfig = CorruptionsConfig | PerturbationsConfig

AugmentationConfig = Annotated[
    CleanConfig
    | PixMixConfig
    | MixupConfig
    | CutMixConfig
    | CorruptionsConfig
    | PerturbationsConfig,
    Field(discriminator="family"),
]

WITH_MIXING_SET = ("pixmix",)
"""The families that mix with pictures of a mixing set; others use none."""

WITH_VARIANTS = ("corruptions", "perturbations")
"""The families of test sets, each of whose epochs is a variant of the whole set."""

WITH_CLIPS = ("perturbations",)
"""The families whose samples are clips."""
