"""The sections of a recipe that choose an augmentation family, with the published constants as defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

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


AugmentationConfig = Annotated[
    CleanConfig | PixMixConfig | MixupConfig | CutMixConfig, Field(discriminator="family")
]

WITH_MIXING_SET = ("pixmix",)
"""The families that mix with pictures of a mixing set; others use none."""
