"""Mixing sets: the pictures that samples are mixed with, made once, then memory-mapped.

A new kind is one module, one recipe section, and one line: of a generator in `GENERATORS`
(`pipeline.pictures.generated`), of anything else in `PICTURES` here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.executor import Executor
from pipeline.picture_sections import PicturesConfig, ZoomPictures
from pipeline.pictures.blend import BLENDS, make_blend_pictures, make_named_blend
from pipeline.pictures.folder import make_folder_pictures
from pipeline.pictures.generated import GENERATORS, make_generated_pictures
from pipeline.pictures.npy import make_npy_pictures
from pipeline.pictures.picture_set import PictureSet
from pipeline.pictures.zoom_set import ZoomSet
from pipeline.pictures.zoom_videos import make_zoom_video_set


def _make_zoom_set(config: ZoomPictures, executor: Executor) -> ZoomSet:
    from pipeline.pictures.zoom_making import (
        make_zoom_set,
    )  # all kernels of fractals, used here alone

    return make_zoom_set(config, executor)


PICTURES: dict[str, Callable[[Any, Executor], PictureSet | ZoomSet]] = {
    **dict.fromkeys(GENERATORS, make_generated_pictures),
    **dict.fromkeys(BLENDS, make_named_blend),
    "blend": make_blend_pictures,
    "folder": make_folder_pictures,
    "npy": make_npy_pictures,
    "zoom": _make_zoom_set,
    "zoom-videos": make_zoom_video_set,
}
"""Recipe kind → how a set of that kind is opened, made first if need be."""


def open_pictures(config: PicturesConfig, executor: Executor) -> PictureSet | ZoomSet:
    """Return the mixing set that a resolved recipe asks for; only its first opening takes time.

    Raises:
        DreamshardsError: the set cannot be made, see the functions in `PICTURES`.
    """
    return PICTURES[config.kind](config, executor)
