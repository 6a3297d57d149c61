"""The sections of a recipe that choose an augmentation family, with the published constants as defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from pipeline.complaints import shown
from pipeline.section import Section


def _two_factors(value: Any) -> Any:
    numbers = isinstance(value, list) and all(type(part) in (int, float) for part in value)
    if not numbers or len(value) != 2 or not 1.001 <= value[0] <= value[1] <= 1.25:
        raise ValueError(
            f"got {shown(value)}; allowed: two numbers from 1.001 to 1.25, such as [1.01, 1.03]"
        )
    return [float(part) for part in value]


ZoomFactors = Annotated[list[float], BeforeValidator(_two_factors)]


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


# ── clips ──


class VPixMixConfig(Section):
    """V-PixMix: PixMix for clips, with two choices kept apart.

    `picture` says which mixing picture each frame meets: one for the whole clip, the next frame of a fractal
    zoom, or a new one each frame. `draws` says how often everything else is decided: once a clip, every
    frame, or once with weights that drift from one draw to another over the clip (`smooth`).

    By `mix` every frame is mixed once, as V-PixMix is reported; by `pipeline` each goes through all of
    PixMix, whose constants k, severity, ops and strategy it takes. A zoom magnifies by a factor a frame drawn
    between the two of `zoom_factor`, inwards or outwards.
    """

    family: Literal["vpixmix"]
    picture: Literal["single", "zoom", "frame"] = "single"
    draws: Literal["clip", "frame", "smooth"] = "clip"
    method: Literal["mix", "pipeline"] = "mix"
    beta: int = Field(3, ge=1, le=64)
    k: int | None = Field(None, ge=0, le=16)
    severity: float | None = Field(None, ge=0.1, le=10)
    ops: Literal["standard", "all"] | None = None
    strategy: Literal["both", "mix-input", "mix-aug"] | None = None
    zoom_factor: ZoomFactors | None = None

    @model_validator(mode="after")
    def _fields_do_something(self) -> Self:
        pipeline = {name: getattr(self, name) for name in ("k", "severity", "ops", "strategy")}
        idle = [name for name, value in pipeline.items() if value is not None]
        if self.method == "mix" and idle:
            raise ValueError(
                f"{', '.join(idle)}: of no effect with method = 'mix'; remove, or take method = 'pipeline'"
            )
        if self.picture != "zoom" and self.zoom_factor is not None:
            raise ValueError("zoom_factor: of no effect unless picture = 'zoom'; remove it")
        return self

    def resolved(self) -> VPixMixConfig:
        """Fill in the constants that its choices need: those of PixMix, and zooms by 1.01 to 1.03 a frame."""
        filled: dict[str, Any] = {}
        if self.method == "pipeline":
            filled = {"k": 4, "severity": 3.0, "ops": "all", "strategy": "both"}
        if self.picture == "zoom":
            filled["zoom_factor"] = [1.01, 1.03]
        absent = {name: value for name, value in filled.items() if getattr(self, name) is None}
        return self.model_copy(update=absent)


class VideoMixConfig(Section):
    """VideoMix (Yun et al., 2020): a cuboid of a second clip pasted in, labels in the shares of the voxels.

    `spatial` puts the same box into every frame, `temporal` whole frames from one on, `both` a box of some.
    """

    family: Literal["videomix"]
    cuboid: Literal["spatial", "temporal", "both"] = "spatial"
    alpha: float = Field(1.0, ge=0.001, le=1000)
    probability: float = Field(1.0, ge=0, le=1)


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
    | VPixMixConfig
    | VideoMixConfig
    | CorruptionsConfig
    | PerturbationsConfig,
    Field(discriminator="family"),
]

WITH_MIXING_SET = ("pixmix", "vpixmix")
"""The families that mix with pictures of a mixing set; others use none."""

WITH_VARIANTS = ("corruptions", "perturbations")
"""The families of test sets, each of whose epochs is a variant of the whole set."""

OF_CLIPS = ("clean", "vpixmix", "videomix", "corruptions")
"""The families for sources of clips."""

OF_PICTURES = ("clean", "pixmix", "mixup", "cutmix", "corruptions", "perturbations")
"""The families for sources of pictures; perturbations make clips of them."""
