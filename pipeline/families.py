"""Augmentation families: each is a way to draw decisions, to render them, and to write them down.

A new family is a module in `plan/`, one in `render/`, a recipe section, and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.pictures.picture_set import PictureSet
from pipeline.plan import pixmix_columns
from pipeline.plan.pixmix import draw_pixmix
from pipeline.recipe import Recipe
from pipeline.render.pixmix import render_pixmix_into
from pipeline.render.slots import Slots

U8 = npt.NDArray[np.uint8]
FamilyPlan = tuple[npt.NDArray[Any], ...]
"""A named tuple of arrays that share their first axis, one row a sample."""


class Family(NamedTuple):
    """What the pipeline asks of an augmentation.

    Attributes:
        draw: (recipe, mixing set, epoch, start, stop) → plan.
        render: (plan, base pictures [n, S, S, 3], mixing set, slots of n samples).
        fields: the manifest's columns for it.
        columns: (plan, mixing set) → one array for each field.
        from_columns: (manifest rows, recipe) → plan.
    """

    draw: Callable[[Recipe, PictureSet | None, int, int, int], FamilyPlan]
    render: Callable[[Any, U8, PictureSet | None, Slots], None]
    fields: Sequence[pa.Field]
    columns: Callable[[Any, PictureSet | None], list[pa.Array]]
    from_columns: Callable[[pa.Table, Recipe], FamilyPlan]


def _draw_pixmix(
    recipe: Recipe, pictures: PictureSet | None, epoch: int, start: int, stop: int
) -> FamilyPlan:
    assert recipe.augmentation.family == "pixmix"
    assert pictures is not None
    return draw_pixmix(
        recipe.augmentation,
        pictures.heights,
        pictures.widths,
        size=recipe.transform.size,
        seed=recipe.seed,
        epoch=epoch,
        start=start,
        stop=stop,
    )


def _pixmix_columns(plan: Any, pictures: PictureSet | None) -> list[pa.Array]:
    assert pictures is not None
    return pixmix_columns.pixmix_columns(plan, pictures.ids)


def _pixmix_from_columns(table: pa.Table, recipe: Recipe) -> FamilyPlan:
    assert recipe.augmentation.family == "pixmix"
    return pixmix_columns.pixmix_from_columns(table, recipe.augmentation.k)


def _render_pixmix(plan: Any, bases: U8, pictures: PictureSet | None, slots: Slots) -> None:
    assert pictures is not None
    render_pixmix_into(plan, bases, pictures, slots)


FAMILIES: dict[str, Family] = {
    "clean": Family(
        draw=lambda recipe, pictures, epoch, start, stop: (),
        render=lambda plan, bases, pictures, slots: slots.put(bases),
        fields=(),
        columns=lambda plan, pictures: [],
        from_columns=lambda table, recipe: (),
    ),
    "pixmix": Family(
        draw=_draw_pixmix,
        render=_render_pixmix,
        fields=pixmix_columns.FIELDS,
        columns=_pixmix_columns,
        from_columns=_pixmix_from_columns,
    ),
}
