"""The families of test sets: every sample of an epoch is made in the one way that is the epoch's variant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.corruptions import CORRUPTIONS, corrupt
from pipeline.corruptions.perturbations import PERTURBATIONS, perturb
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
from pipeline.variants import moves_whole, variants

if TYPE_CHECKING:
    from pipeline.sampling import Inputs

_CORRUPTIONS, _PERTURBATIONS = tuple(CORRUPTIONS), tuple(PERTURBATIONS)
_CORRUPTION_FIELDS = variant_fields("corruption", "severity")
_PERTURBATION_FIELDS = variant_fields("perturbation", "difficulty")


def _draw(inputs: Inputs, place: Place, known: Sequence[str], level: int | None) -> FamilyPlan:
    """Draw for samples of an epoch's variant, at a level of their own or the variant's severity."""
    recipe = inputs.recipe
    found = variants(recipe)
    assert found is not None
    variant = found[place.epoch % len(found)]
    level = variant.severity if level is None else level
    assert level is not None
    where = {"epoch": place.epoch, "start": place.start, "stop": place.stop}
    return draw_variants(known.index(variant.name), level, seed=recipe.seed, **where)


# ── corruptions ──


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
    draw=lambda inputs, place: _draw(inputs, place, _CORRUPTIONS, None),
    render=_render_corruptions,
    fields=lambda recipe: _CORRUPTION_FIELDS,
    columns=lambda plan, inputs: variant_columns(plan, _CORRUPTIONS),
    from_columns=_corruptions_from_columns,
    partner=None,
    partners=lambda plan, inputs: [],
)


# ── perturbations: a sample is a clip ──


def _draw_perturbations(inputs: Inputs, place: Place) -> FamilyPlan:
    section = inputs.recipe.augmentation
    assert section.family == "perturbations"
    return _draw(inputs, place, _PERTURBATIONS, section.difficulty)


def _kind(plan: VariantPlan) -> str:
    """Return the one kind of sequence that a plan's samples are: those of another may have other lengths.

    Raises:
        ValueError: there are several, or none.
    """
    kinds: list[int] = np.unique(plan.name).tolist()
    if len(kinds) != 1:
        raise ValueError(f"plan: {len(kinds)} kinds of sequences at once; allowed: one")
    return _PERTURBATIONS[kinds[0]]


def _moves_whole(plan: VariantPlan, recipe: Recipe) -> bool:
    section = recipe.augmentation
    assert section.family == "perturbations"
    return moves_whole(_kind(plan), section.scale)


def _clip_shape(plan: VariantPlan, recipe: Recipe) -> tuple[int, ...]:
    section, size = recipe.augmentation, recipe.transform.size
    assert section.family == "perturbations"
    kind = PERTURBATIONS[_kind(plan)]
    frames = kind.cifar_frames if section.scale == "cifar" else kind.imagenet_frames
    return frames, size, size, 3


def _render_perturbations(
    plan: VariantPlan, pictures: U8 | list[U8], inputs: Inputs, slots: Slots
) -> None:
    section = inputs.recipe.augmentation
    assert section.family == "perturbations"
    out = np.empty((len(pictures), *_clip_shape(plan, inputs.recipe)), np.uint8)
    name, scale = _kind(plan), section.scale
    for _, difficulty, rows in groups(plan):
        if isinstance(pictures, np.ndarray):
            seeds = plan.noise_seed[rows]
            out[rows] = perturb(name, pictures[rows], seeds, difficulty=difficulty, scale=scale)
            continue
        for row in rows.tolist():  # whole pictures differ in size
            seeds = plan.noise_seed[row : row + 1]
            clips = perturb(name, pictures[row][None], seeds, difficulty=difficulty, scale=scale)
            out[row] = clips[0]
    slots.put(out)


def _perturbations_from_columns(table: pa.Table, recipe: Recipe) -> FamilyPlan:
    return variants_from_columns(table, _PERTURBATION_FIELDS, _PERTURBATIONS)


PERTURBATIONS_FAMILY = Family(
    draw=_draw_perturbations,
    render=_render_perturbations,
    fields=lambda recipe: _PERTURBATION_FIELDS,
    columns=lambda plan, inputs: variant_columns(plan, _PERTURBATIONS),
    from_columns=_perturbations_from_columns,
    partner=None,
    partners=lambda plan, inputs: [],
    shape=_clip_shape,
    whole=_moves_whole,
)
