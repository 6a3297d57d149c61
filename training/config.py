"""Training configurations: what to train on what, typed and checked as a whole before any work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from pipeline.complaints import complaints
from pipeline.errors import UsageError
from pipeline.section import Section
from pipeline.settings import flattened, load_settings

Constants = tuple[float, float, float]

# ── data ──


class DataConfig(Section):
    """The roots to train on and to test with, local folders or object stores.

    With `live`, `train` may also be a recipe (a preset or a YAML file), which is rendered while training;
    `inputs` are overrides that say where its inputs lie, such as `source.path=data`. Batches are made by
    threads of the training process, or by `workers` processes.
    """

    train: str
    test: str | None = None
    live: bool = False
    inputs: tuple[str, ...] = Field((), strict=False)
    workers: int = Field(0, ge=0, le=256)
    cache_dir: str | None = None
    cache_bytes: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.inputs and not self.live:
            raise ValueError("inputs are of live training alone; remove them, or set live: true")
        if self.live and self.cache_dir is not None:
            raise ValueError("cache_dir does nothing for live training; remove it")
        return self


# ── models ──


class WideResNetConfig(Section):
    """A wide residual network for pictures of about 32 px, depth 6n + 4."""

    kind: Literal["wide-resnet"]
    depth: int = Field(40, ge=10, le=1000)
    width: int = Field(4, ge=1, le=100)
    dropout: float = Field(0.0, ge=0, le=0.9)
    weights: str | None = None
    feature_extract: bool = False

    @model_validator(mode="after")
    def _blocks_are_whole(self) -> Self:
        if (self.depth - 4) % 6:
            raise ValueError(f"depth = {self.depth}; allowed: 6n + 4, such as 10, 16, 22, 28 or 40")
        return self


class Small3dConfig(Section):
    """A small residual network for clips of about 32 px."""

    kind: Literal["small3d"]
    width: int = Field(16, ge=1, le=256)
    dropout: float = Field(0.0, ge=0, le=0.9)
    weights: str | None = None
    feature_extract: bool = False


class TorchvisionConfig(Section):
    """Any classifier of torchvision by its name, such as resnet50 or r3d_18."""

    kind: Literal["torchvision"]
    name: str
    weights: str | None = None
    feature_extract: bool = False


ModelConfig = Annotated[
    WideResNetConfig | Small3dConfig | TorchvisionConfig, Field(discriminator="kind")
]

# ── optimisation ──


class OptimizerConfig(Section):
    """Stochastic gradient descent."""

    lr: float = Field(gt=0, le=100)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(0.0, ge=0, le=1)
    clip_grad_norm: float | None = Field(None, gt=0, le=1e9)


class CosineConfig(Section):
    """From lr to `final_lr` by half a cosine, step by step, after `warmup_epochs` of a straight rise."""

    kind: Literal["cosine"]
    final_lr: float = Field(1e-6, ge=0, le=100)
    warmup_epochs: float = Field(0.0, ge=0, le=1000)


class Cosine716Config(Section):
    """lr·cos(7π/16·t/T): 7/16 of half a cycle of twice the length, ending at 0.195 lr."""

    kind: Literal["cosine-7-16"]
    warmup_epochs: float = Field(0.0, ge=0, le=1000)


class ConstantConfig(Section):
    """lr throughout."""

    kind: Literal["constant"]
    warmup_epochs: float = Field(0.0, ge=0, le=1000)


ScheduleConfig = Annotated[
    CosineConfig | Cosine716Config | ConstantConfig, Field(discriminator="kind")
]


class NormalizeConfig(Section):
    """Mean and deviation of each channel, of pixels in [0, 1]."""

    mean: Constants = Field(strict=False)
    std: Constants = Field(strict=False)


# ── the machine, and what is kept ──


class HardwareConfig(Section):
    """How it runs. `auto`: a GPU if there is one, with bfloat16 where it has that, else float16."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool = True
    compile: bool = False


class SaveConfig(Section):
    """What a run leaves beside its last checkpoint, and how often that is written within an epoch."""

    every_s: float = Field(600.0, gt=0, le=1e9)
    keep_best: bool = False
    tensorboard: bool = True


class TrainConfig(Section):
    """Everything that decides a trained model. `batch_size` counts the samples of a step on all ranks."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="1 to 64 small letters, digits, '.', '_' or '-', first a letter or digit",
    )
    seed: int = Field(0, ge=0, lt=2**63)
    epochs: int = Field(ge=1, le=100_000)
    batch_size: int = Field(128, ge=1, le=1_000_000)
    data: DataConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    normalize: Literal["cifar", "imagenet", "kinetics"] | NormalizeConfig
    test_every: int = Field(1, ge=1, le=100_000)
    hardware: HardwareConfig = HardwareConfig()
    save: SaveConfig = SaveConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.model.feature_extract and self.model.weights is None:
            raise ValueError(
                "model.feature_extract trains the head of a trained network alone: give model.weights"
            )
        if self.save.keep_best and self.data.test is None:
            raise ValueError("save.keep_best goes by the test error: give data.test")
        if self.optimizer.nesterov and self.optimizer.momentum == 0:
            raise ValueError("optimizer.nesterov needs a momentum above 0; set nesterov: false")
        return self


_PLACES = ("data.train", "data.test", "data.inputs", "data.workers", "data.cache_dir")
_FREE = (*_PLACES, "data.cache_bytes", "hardware", "save")
"""What may change when a run goes on: where data lie, which are known by their digest, and how it runs."""


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a preset or a YAML file, apply `key=value` overrides and check the whole.

    Raises:
        UsageError: names each wrong field, its value and what is allowed.
    """
    content = load_settings("training", "configuration", name_or_path, overrides)
    return parse_config(content, f"configuration {name_or_path}")


def parse_config(content: dict[str, Any], where: str) -> TrainConfig:
    """Check a mapping against the schema.

    Raises:
        UsageError: one line for each wrong field.
    """
    try:
        return TrainConfig.model_validate(content)
    except ValidationError as error:
        lines = dict.fromkeys(complaints(error, content, TrainConfig))
        head = f"{where} is not valid; nothing was trained"
        raise UsageError("\n".join([head, *(f"  {line}" for line in lines)])) from error


def identity(config: TrainConfig) -> dict[str, Any]:
    """Return the fields, by dotted name, that must stay for a run to go on."""
    fields = flattened(config.model_dump(mode="json"))
    return {
        name: value
        for name, value in fields.items()
        if name not in _FREE and name.partition(".")[0] not in _FREE
    }
