"""The sections of a recipe that choose a clean dataset, or a published test set as the source of one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from pipeline.section import Section


class _Source(Section):
    """A clean dataset of which `count` pictures are taken, evenly spread over its order; all by default."""

    @model_serializer(mode="wrap")
    def _without_count(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a count that is not given, so that such recipes keep the hash they always had."""
        content: dict[str, Any] = plain(self)
        if content.get("count") is None:
            content.pop("count", None)
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


class SyntheticSource(Section):
    """Synthetic anomalies, all of one class (Hendrycks, Mazeika & Dietterich, ICLR 2019)."""

    kind: Literal["synthetic"]
    law: Literal["gaussian", "rademacher", "blobs"]
    count: int = Field(2000, ge=1, le=10_000_000)
    size: int = Field(32, ge=8, le=1024)
    seed: int = Field(0, ge=0, lt=2**64)


SourceConfig = Annotated[
    DigitsSource | CifarSource | ImageFolderSource | SvhnSource | CifarCSource | SyntheticSource,
    Field(discriminator="kind"),
]
