"""The sections of a recipe that choose a clean dataset, or a published test set as the source of one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from typing_extensions import Self

from pipeline.section import Section


class _Source(Section):
    """A clean dataset of which `count` pictures are taken, evenly spread over its order; all by default."""

    @model_serializer(mode="wrap")
    def _without_later_fields(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out fields younger than a kind where they are not given: such recipes keep their hash."""
        content: dict[str, Any] = plain(self)
        for name in ("count", "frames"):
            if content.get(name) is None:
                content.pop(name, None)
        return content


class DigitsSource(_Source):
    """scikit-learn's handwritten digits as 32×32 RGB; needs no download."""

    kind: Literal["digits"]
    split: Literal["train", "test"] = "train"
    count: int | None = Field(None, ge=1)


class CifarSource(_Source):
    """CIFAR-10 or CIFAR-100 in the official Python layout below `path`."""

    kind: Literal["cifar10", "cifar100"]
    path: str = "data"
    split: Literal["train", "test"] = "train"
    download: bool = False
    count: int | None = Field(None, ge=1)


class ImageFolderSource(_Source):
    """A folder with one sub-folder of pictures per class."""

    kind: Literal["image-folder"]
    path: str
    on_unreadable: Literal["stop", "skip"] = "stop"
    count: int | None = Field(None, ge=1)


class SvhnSource(_Source):
    """SVHN's cropped digits (Netzer et al., 2011): `train_32x32.mat` and `test_32x32.mat` below `path`."""

    kind: Literal["svhn"]
    path: str = "data"
    split: Literal["train", "test"] = "train"
    count: int | None = Field(None, ge=1)


class CifarCSource(_Source):
    """One corruption at one severity of the published CIFAR-10-C or CIFAR-100-C, or of their C-bar."""

    kind: Literal["cifar-c"]
    path: str
    name: str = Field(
        pattern=r"^[a-z0-9_]+$", description="the name of a file without .npy, such as fog"
    )
    severity: int = Field(ge=1, le=5)
    classes: Literal["cifar10", "cifar100"] = "cifar10"
    count: int | None = Field(None, ge=1)


class SyntheticSource(_Source):
    """Synthetic anomalies, all of one class (Hendrycks, Mazeika & Dietterich, ICLR 2019).

    With `frames` each is a clip, of so many pictures drawn one after another.
    """

    kind: Literal["synthetic"]
    law: Literal["gaussian", "rademacher", "blobs"]
    count: int = Field(2000, ge=1, le=10_000_000)
    size: int = Field(32, ge=8, le=1024)
    seed: int = Field(0, ge=0, lt=2**64)
    frames: int | None = Field(None, ge=1, le=1024)


# ── videos: every sample is a clip ──


class _VideoSource(_Source):
    """Videos of which clips are the samples; `count` is of videos.

    A clip is `frames` frames of a video, every `stride`-th or, with `frame_rate`, so many a second. It starts
    at random, drawn anew for every epoch; evenly spread, the j-th of `clips` in the middle of the j-th part
    of the possible starts (`uniform`); or at every `hop`-th frame, one clip after another unless given
    (`windows`).
    """

    frames: int = Field(16, ge=1, le=1024)
    stride: int = Field(1, ge=1, le=1000)
    frame_rate: float | None = Field(None, gt=0, le=1000)
    starts: Literal["random", "uniform", "windows"] = "random"
    clips: int = Field(1, ge=1, le=1000)
    hop: int | None = Field(None, ge=1, le=100_000)
    count: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.frame_rate is not None and self.stride != 1:
            raise ValueError(
                f"stride = {self.stride} and frame_rate = {self.frame_rate:g} both say which frames are "
                "taken; allowed: one of them"
            )
        if self.starts == "windows" and self.clips != 1:
            raise ValueError(
                f"clips = {self.clips} does nothing with starts = 'windows', which takes as many as a video "
                "has; remove it"
            )
        if self.starts != "windows" and self.hop is not None:
            raise ValueError(
                f"hop = {self.hop} does nothing with starts = {self.starts!r}; remove it"
            )
        return self


class VideoFolderSource(_VideoSource):
    """A folder with one sub-folder of videos per class."""

    kind: Literal["video-folder"]
    path: str
    on_unreadable: Literal["stop", "skip"] = "stop"


class Ucf101Source(_VideoSource):
    """UCF101 (Soomro et al., 2012) with its official lists: both below `path`."""

    kind: Literal["ucf101"]
    path: str = "data"
    split: Literal["train", "test"] = "train"
    fold: int = Field(1, ge=1, le=3)
    on_unreadable: Literal["stop", "skip"] = "stop"


class DigitVideosSource(_VideoSource):
    """Short videos of scikit-learn's handwritten digits in motion, the motion being the class; no download.

    `unknown` are motions that are none of the classes: anomalies.
    """

    kind: Literal["digit-videos"]
    split: Literal["train", "test", "unknown"] = "train"


DECODED_KINDS = ("image-folder", "video-folder", "ucf101", "digit-videos")
"""Sources whose samples are decoded whenever they are read; others are held in memory."""

VideoConfig = VideoFolderSource | Ucf101Source | DigitVideosSource

SourceConfig = Annotated[
    DigitsSource
    | CifarSource
    | ImageFolderSource
    | SvhnSource
    | CifarCSource
    | SyntheticSource
    | VideoFolderSource
    | Ucf101Source
    | DigitVideosSource,
    Field(discriminator="kind"),
]
