"""The families of test sets: every sample of an epoch is made in the one way that is the epoch's variant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.corruptions import CORRUPTIONS, corrupt
from pipeline.family import U8, Family, FamilyPlan, Place
from pipeline.plan.variants import (
    VariantPlan,
    draw_variants,
    groups,
    variant_columns,
    variant_fields,
    variants_from_columns,
)
from pipeline.recipe import Recipe
from pipeline.render.slots import Slots
from pipeline.variants import variants

if TYPE_CHECKING:
    from pipeline.sampling import Inputs

_CORRUPTIONS = tuple(CORRUPTIONS)
_CORRUPTION_FIELDS = variant_fields("corruption", "severity")


def _draw_corruptions(inputs: Inputs, place: Place) -> FamilyPlan:
    recipe = inputs.recipe
    found = variants(recipe)
    assert found is not None
    variant = found[place.epoch % len(found)]
    assert variant.severity is not None
    return draw_variants(
        _CORRUPTIONS.index(variant.name),
        variant.severity,
        seed=recipe.seed,
        epoch=place.epoch,
        start=place.start,
        stop=place.stop,
    )


def _render_corruptions(plan: VariantPlan, bases: U8, inputs: Inputs, slots: Slots) -> None:
    section = inputs.recipe.augmentation
    assert section.family == "corruptions"
    out = np.empty_like(bases)
    for place, severity, rows in groups(plan):
        seeds, name = plan.noise_seed[rows], _CORRUPTIONS[place]
        settings = {"scale": section.scale, "frost": inputs.frost}
        out[rows] = corrupt(name, bases[rows], severity, seeds, **settings)  # type: ignore[arg-type]
    slots.put(out)


def _corruptions_from_columns(table: pa.Table, recipe: Recipe) -> FamilyPlan:
    return variants_from_columns(table, _CORRUPTION_FIELDS, _CORRUPTIONS)


CORRUPTIONS_FAMILY = Family(
    draw=_draw_corruptions,
    render=_render_corruptions,
    fields=_CORRUPTION_FIELDS,
    columns=lambda plan, inputs: variant_columns(plan, _CORRUPTIONS),
    from_columns=_corruptions_from_columns,
    partner=None,
    partners=lambda plan, inputs: [],
)
