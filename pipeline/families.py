"""Augmentation families: each is a way to draw decisions, to render them, and to write them down.

A new family is a module in `plan/`, one in `render/`, a recipe section, and an entry here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.clip_families import VIDEOMIX_FAMILY, VPIXMIX_FAMILY
from pipeline.family import U8, Family, FamilyPlan, Place
from pipeline.pictures.picture_set import PictureSet
from pipeline.plan import pair_columns, pixmix_columns
from pipeline.plan.base import BasePlan, resized_side
from pipeline.plan.pairs import (
    CutMixPlan,
    Firsts,
    MixupPlan,
    PairPlan,
    draw_cutmix,
    draw_mixup,
    second_base,
)
from pipeline.plan.pixmix import PixMixPlan, draw_pixmix
from pipeline.recipe import Recipe
from pipeline.render.base import render_bases
from pipeline.render.pairs import mixed_rows, render_cutmix_into, render_mixup_into
from pipeline.render.pixmix import render_pixmix_into
from pipeline.render.slots import Slots
from pipeline.sources.clips import ClipSource
from pipeline.variant_families import CORRUPTIONS_FAMILY, PERTURBATIONS_FAMILY

if TYPE_CHECKING:
    from pipeline.sampling import Inputs

__all__ = ["FAMILIES", "Family", "FamilyPlan", "Place"]


# ── pixmix: a mixing set's picture ──


def _draw_pixmix(inputs: Inputs, place: Place) -> FamilyPlan:
    recipe, pictures = inputs.recipe, inputs.pictures
    assert recipe.augmentation.family == "pixmix"
    assert pictures is not None
    return draw_pixmix(
        recipe.augmentation,
        pictures.heights,
        pictures.widths,
        size=recipe.transform.size,
        seed=recipe.seed,
        epoch=place.epoch,
        start=place.start,
        stop=place.stop,
    )


def _pixmix_columns(plan: Any, inputs: Inputs) -> list[pa.Array]:
    assert inputs.pictures is not None
    return pixmix_columns.pixmix_columns(plan, inputs.pictures.ids)


def _pixmix_from_columns(table: pa.Table, recipe: Recipe) -> FamilyPlan:
    assert recipe.augmentation.family == "pixmix"
    return pixmix_columns.pixmix_from_columns(table, recipe.augmentation.k)


def _render_pixmix(plan: Any, bases: U8, inputs: Inputs, slots: Slots) -> None:
    assert isinstance(inputs.pictures, PictureSet)
    render_pixmix_into(plan, bases, inputs.pictures, slots)


def _mixing_crops(plan: PixMixPlan, inputs: Inputs) -> list[U8 | None]:
    assert isinstance(inputs.pictures, PictureSet)
    size = inputs.recipe.transform.size
    crops: list[U8 | None] = [None] * len(plan.picture)
    for i in np.flatnonzero(plan.picture >= 0).tolist():
        top, left = int(plan.picture_y[i]), int(plan.picture_x[i])
        picture = inputs.pictures.picture(int(plan.picture[i]))
        crops[i] = picture[top : top + size, left : left + size]
    return crops


# ── mixup, cutmix: a second picture of the source ──


def _firsts(inputs: Inputs, place: Place) -> Firsts:
    source = inputs.source
    assert isinstance(place.base, BasePlan)
    return Firsts(place.sources, place.base, source.heights, source.widths)


def _draw_mixup(inputs: Inputs, place: Place) -> FamilyPlan:
    recipe = inputs.recipe
    assert recipe.augmentation.family == "mixup"
    where = {"epoch": place.epoch, "start": place.start, "stop": place.stop}
    firsts = _firsts(inputs, place)
    return draw_mixup(recipe.augmentation, recipe.transform, firsts, seed=recipe.seed, **where)


def _draw_cutmix(inputs: Inputs, place: Place) -> FamilyPlan:
    recipe = inputs.recipe
    assert recipe.augmentation.family == "cutmix"
    where = {"epoch": place.epoch, "start": place.start, "stop": place.stop}
    firsts = _firsts(inputs, place)
    return draw_cutmix(recipe.augmentation, recipe.transform, firsts, seed=recipe.seed, **where)


def _seconds(plan: PairPlan, inputs: Inputs) -> U8:
    """Return the second pictures that show, after their base transform, uint8 [m, S, S, 3].

    Raises:
        ValueError: a row, perhaps of an altered manifest, names one that does not exist.
    """
    rows, source, transform = mixed_rows(plan), inputs.source, inputs.recipe.transform
    indices = plan.second_source_index[rows]
    num = len(source.labels)
    if not ((indices >= 0) & (indices < num)).all():
        raise ValueError(f"plan: second_source_index out of range; allowed: 0 to {num - 1}")
    base = BasePlan(*(column[rows] for column in second_base(plan)))  # type: ignore[arg-type]
    side = resized_side(transform)
    assert not isinstance(source, ClipSource)
    return render_bases(base, indices, source, transform.size, resize=side)


def _render_mixup(plan: Any, bases: U8, inputs: Inputs, slots: Slots) -> None:
    render_mixup_into(plan, bases, _seconds(plan, inputs), slots)


def _render_cutmix(plan: Any, bases: U8, inputs: Inputs, slots: Slots) -> None:
    render_cutmix_into(plan, bases, _seconds(plan, inputs), slots)


def _pair_columns(plan: Any, inputs: Inputs) -> list[pa.Array]:
    return pair_columns.pair_columns(plan, inputs.source.ids, inputs.source.labels)


def _second_pictures(plan: PairPlan, inputs: Inputs) -> list[U8 | None]:
    pictures: list[U8 | None] = [None] * len(plan.label_weight)
    for row, second in zip(mixed_rows(plan).tolist(), _seconds(plan, inputs), strict=True):
        pictures[row] = second
    return pictures


FAMILIES: dict[str, Family] = {
    "clean": Family(
        draw=lambda inputs, place: (),
        render=lambda plan, bases, inputs, slots: slots.put(bases),
        fields=lambda recipe: (),
        columns=lambda plan, inputs: [],
        from_columns=lambda table, recipe: (),
        partner=None,
        partners=lambda plan, inputs: [],
    ),
    "pixmix": Family(
        draw=_draw_pixmix,
        render=_render_pixmix,
        fields=lambda recipe: pixmix_columns.FIELDS,
        columns=_pixmix_columns,
        from_columns=_pixmix_from_columns,
        partner="mixing picture",
        partners=_mixing_crops,
    ),
    "mixup": Family(
        draw=_draw_mixup,
        render=_render_mixup,
        fields=lambda recipe: pair_columns.MIXUP_FIELDS,
        columns=_pair_columns,
        from_columns=lambda table, recipe: pair_columns.pairs_from_columns(table, MixupPlan),
        partner="second picture",
        partners=_second_pictures,
    ),
    "vpixmix": VPIXMIX_FAMILY,
    "videomix": VIDEOMIX_FAMILY,
    "corruptions": CORRUPTIONS_FAMILY,
    "perturbations": PERTURBATIONS_FAMILY,
    "cutmix": Family(
        draw=_draw_cutmix,
        render=_render_cutmix,
        fields=lambda recipe: pair_columns.CUTMIX_FIELDS,
        columns=_pair_columns,
        from_columns=lambda table, recipe: pair_columns.pairs_from_columns(table, CutMixPlan),
        partner="second picture",
        partners=_second_pictures,
    ),
}
