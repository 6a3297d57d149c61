"""The families of test sets: every sample of an epoch is made in the one way that is the epoch's variant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.corruptions import CORRUPTIONS, corrupt
from pipeline.corruptions.perturbations import PERTURBATIONS, perturb
from pipeline.family import U8, Family, FamilyPlan, Place
from pipeline.pictures.splitmix import next_word
from pipeline.plan.variants import (
    U64,
    VariantPlan,
    draw_variants,
    groups,
    variant_columns,
    variant_fields,
    variants_from_columns,
)
from pipeline.recipe import Recipe
from pipeline.render.jit import kernel, read_only
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


SENSOR_NOISE = frozenset(
    (
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "blue_noise_sample",
        "brownish_noise",
    )
)
"""Corruptions that are noise of the sensor, new in every frame of a clip; all others stay over it."""


@kernel
def _fill_frame_seeds(seeds: U64, out: U64) -> None:
    state = np.empty(1, np.uint64)
    for i in range(len(seeds)):
        state[0] = seeds[i]
        out[i, 0] = seeds[i]
        for frame in range(1, out.shape[1]):
            out[i, frame] = next_word(state)


def frame_seeds(name: str, seeds: U64, num_frames: int) -> U64:
    """Return the seed of each frame of n clips, uint64 [n, T], of the clips' own [n].

    The first frame's is the clip's; of noise of the sensor, the others' are words drawn from it.
    """
    if name not in SENSOR_NOISE:
        return np.repeat(seeds[:, None], num_frames, axis=1)
    out = np.empty((len(seeds), num_frames), np.uint64)
    _fill_frame_seeds(read_only(seeds), out)
    return out


def _render_corruptions(plan: VariantPlan, bases: U8, inputs: Inputs, slots: Slots) -> None:
    """Corrupt pictures, or the frames of clips one by one."""
    section = inputs.recipe.augmentation
    assert section.family == "corruptions"
    num_frames = inputs.recipe.clip_frames or 1
    out = np.empty_like(bases)
    for place, severity, rows in groups(plan):
        name = _CORRUPTIONS[place]
        seeds = frame_seeds(name, plan.noise_seed[rows], num_frames).reshape(-1)
        frames = bases[rows].reshape(len(seeds), *bases.shape[-3:])
        corrupted = corrupt(name, frames, severity, seeds, scale=section.scale, frost=inputs.frost)
        out[rows] = corrupted.reshape(len(rows), *bases.shape[1:])
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
