"""Clean datasets. A source is fully listed and checked when it is opened; reading it is then exact.

A new kind is one module with an `open_…` function, one recipe section and one line in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.executor import Executor
from pipeline.source_sections import SourceConfig
from pipeline.sources.cifar import open_cifar
from pipeline.sources.cifar_c import open_cifar_c, open_cifar_p
from pipeline.sources.clips import ArrayClips, ClipSource
from pipeline.sources.digit_videos import open_digit_videos
from pipeline.sources.digits import open_digits
from pipeline.sources.image_folder import open_image_folder
from pipeline.sources.source import ArraySource, FileSource, PictureSource, Skipped, Source
from pipeline.sources.svhn import open_svhn
from pipeline.sources.synthetic import open_synthetic
from pipeline.sources.ucf101 import open_ucf101
from pipeline.sources.video_folder import open_video_folder
from pipeline.sources.video_source import VideoSource
from pipeline.sources.videos import open_videos

__all__ = [
    "SOURCES",
    "ArrayClips",
    "ArraySource",
    "ClipSource",
    "FileSource",
    "PictureSource",
    "Skipped",
    "Source",
    "VideoSource",
    "open_cifar_p",
    "open_source",
    "open_videos",
]

SOURCES: dict[str, Callable[[Any, Executor], PictureSource | ClipSource]] = {
    "digits": open_digits,
    "cifar10": open_cifar,
    "cifar100": open_cifar,
    "image-folder": open_image_folder,
    "svhn": open_svhn,
    "cifar-c": open_cifar_c,
    "synthetic": open_synthetic,
    "video-folder": open_video_folder,
    "ucf101": open_ucf101,
    "digit-videos": open_digit_videos,
}
"""A recipe's `source.kind` → what opens it."""


def open_source(config: SourceConfig, executor: Executor) -> PictureSource | ClipSource:
    """List and check the clean dataset that a recipe's `source` section names.

    `executor` runs what takes long, the scan of an image folder.

    Raises:
        UsageError: the recipe names what is not there or is not laid out as its kind needs.
        DreamshardsError: the content is damaged, inconsistent or cannot be fetched.
    """
    return SOURCES[config.kind](config, executor)
