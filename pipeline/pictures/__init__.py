"""Mixing sets: the pictures that samples are mixed with, made once, then memory-mapped.

A new kind is one module with a `make_…` function, one recipe section and one line in `PICTURES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.executor import Executor
from pipeline.pictures.folder import make_folder_pictures
from pipeline.pictures.ifs import make_ifs_pictures
from pipeline.pictures.picture_set import PictureSet
from pipeline.recipe import PicturesConfig

PICTURES: dict[str, Callable[[Any, Executor], PictureSet]] = {
    "folder": make_folder_pictures,
    "ifs": make_ifs_pictures,
}
"""Recipe kind → how a set of that kind is opened, made first if need be."""


def open_pictures(config: PicturesConfig, executor: Executor) -> PictureSet:
    """Return the mixing set that a resolved recipe asks for; only its first opening takes time.

    Raises:
        DreamshardsError: the set cannot be made, see the functions in `PICTURES`.
    """
    return PICTURES[config.kind](config, executor)
