"""The families of clips: V-PixMix, which mixes with a mixing set, and VideoMix, with a second clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from pipeline.augmentation_sections import VideoMixConfig, VPixMixConfig
from pipeline.family import U8, Family, FamilyPlan, Place
from pipeline.pictures.picture_set import PictureSet
from pipeline.plan.base import BasePlan, ClipBasePlan, resized_side
from pipeline.plan.pair_columns import VIDEOMIX_FIELDS, pair_columns, pairs_from_columns
from pipeline.plan.pairs import Firsts
from pipeline.plan.videomix import FirstClips, VideoMixPlan, draw_videomix, second_clip_base
from pipeline.plan.vpixmix import VPixMixPlan, draw_vpixmix
from pipeline.plan.vpixmix_columns import vpixmix_columns, vpixmix_fields, vpixmix_from_columns
from pipeline.recipe import Recipe
from pipeline.render.clips import render_clips
from pipeline.render.slots import Slots
from pipeline.render.videomix import mixed_clips, render_videomix_into
from pipeline.render.vpixmix import Zooms, render_vpixmix_into, render_zooming_into, zoom_frames
from pipeline.sources.clips import ClipSource

if TYPE_CHECKING:
    from pipeline.sampling import Inputs


# ── vpixmix: pictures of a mixing set, or zooms ──


def _section(recipe: Recipe) -> VPixMixConfig:
    assert isinstance(recipe.augmentation, VPixMixConfig)
    return recipe.augmentation


def _num_frames(recipe: Recipe) -> int:
    assert recipe.clip_frames is not None
    return recipe.clip_frames


def _pictures(inputs: Inputs) -> PictureSet:
    assert isinstance(inputs.pictures, PictureSet)
    return inputs.pictures


def _zooms(inputs: Inputs) -> Zooms:
    zooms: Any = inputs.pictures
    return cast(Zooms, zooms)


def _draw_vpixmix(inputs: Inputs, place: Place) -> FamilyPlan:
    recipe, config = inputs.recipe, _section(inputs.recipe)
    size = recipe.transform.size
    if config.picture == "zoom":  # whose frames are made of the size of a clip
        sides = (np.full(len(_zooms(inputs)), size, np.int32),) * 2
    else:
        sides = _pictures(inputs).heights, _pictures(inputs).widths
    return draw_vpixmix(
        config,
        *sides,
        frames=_num_frames(recipe),
        size=size,
        seed=recipe.seed,
        epoch=place.epoch,
        start=place.start,
        stop=place.stop,
    )


def _render_vpixmix(plan: Any, bases: U8, inputs: Inputs, slots: Slots) -> None:
    if _section(inputs.recipe).picture == "zoom":
        render_zooming_into(plan, bases, _zooms(inputs), slots)
    else:
        render_vpixmix_into(plan, bases, _pictures(inputs), slots)


def _vpixmix_columns(plan: Any, inputs: Inputs) -> list[pa.Array]:
    assert inputs.pictures is not None
    return vpixmix_columns(plan, _section(inputs.recipe), inputs.pictures.ids)


def _mixing_frames(plan: VPixMixPlan, inputs: Inputs) -> list[U8 | None]:
    """Return what the frames of each clip met, uint8 [T, S, S, 3]; black where one met nothing."""
    recipe = inputs.recipe
    size, num_frames = recipe.transform.size, _num_frames(recipe)
    met = np.flatnonzero((plan.picture >= 0).any(axis=1))
    clips: list[U8 | None] = [None] * len(plan.picture)
    if _section(recipe).picture == "zoom":
        found = zoom_frames(plan, _zooms(inputs), num_frames, size)
        for row, frames in zip(met.tolist(), found, strict=True):
            clips[row] = frames
        return clips
    pictures = _pictures(inputs)
    for row in met.tolist():
        frames = np.zeros((plan.picture.shape[1], size, size, 3), np.uint8)
        for frame in np.flatnonzero(plan.picture[row] >= 0).tolist():
            top, left = plan.picture_y[row, frame], plan.picture_x[row, frame]
            picture = pictures.picture(int(plan.picture[row, frame]))
            frames[frame] = picture[top : top + size, left : left + size]
        clips[row] = np.broadcast_to(frames, (num_frames, size, size, 3))
    return clips


VPIXMIX_FAMILY = Family(
    draw=_draw_vpixmix,
    render=_render_vpixmix,
    fields=lambda recipe: vpixmix_fields(_section(recipe)),
    columns=_vpixmix_columns,
    from_columns=lambda table, recipe: vpixmix_from_columns(
        table, _section(recipe), _num_frames(recipe)
    ),
    partner="mixing picture",
    partners=_mixing_frames,
)


# ── videomix: a second clip of the source ──


def _source(inputs: Inputs) -> ClipSource:
    assert isinstance(inputs.source, ClipSource)
    return inputs.source


def _draw_videomix(inputs: Inputs, place: Place) -> FamilyPlan:
    recipe, source = inputs.recipe, _source(inputs)
    assert isinstance(recipe.augmentation, VideoMixConfig)
    assert isinstance(place.base, ClipBasePlan)
    base, num_starts = BasePlan(*place.base[:5]), source.num_frames - source.spans + 1
    firsts = Firsts(place.sources, base, source.heights, source.widths)
    return draw_videomix(
        recipe.augmentation,
        recipe.transform,
        FirstClips(firsts, place.base.start_frame, source.starts, num_starts),
        frames=source.frames,
        seed=recipe.seed,
        epoch=place.epoch,
        start=place.start,
        stop=place.stop,
    )


def _seconds(plan: VideoMixPlan, inputs: Inputs) -> U8:
    """Return the second clips that show, after their base transform, uint8 [m, T, S, S, 3].

    Raises:
        ValueError: a row, perhaps of an altered manifest, names one that does not exist.
    """
    rows, source, transform = mixed_clips(plan), _source(inputs), inputs.recipe.transform
    indices, num = plan.second_source_index[rows], len(source.labels)
    if not ((indices >= 0) & (indices < num)).all():
        raise ValueError(f"plan: second_source_index out of range; allowed: 0 to {num - 1}")
    columns: list[Any] = [column[rows] for column in second_clip_base(plan)]
    base, side = ClipBasePlan(*columns), resized_side(transform)
    return render_clips(base, indices, source, transform.size, resize=side)


def _second_clips(plan: VideoMixPlan, inputs: Inputs) -> list[U8 | None]:
    clips: list[U8 | None] = [None] * len(plan.label_weight)
    for row, second in zip(mixed_clips(plan).tolist(), _seconds(plan, inputs), strict=True):
        clips[row] = second
    return clips


VIDEOMIX_FAMILY = Family(
    draw=_draw_videomix,
    render=lambda plan, bases, inputs, slots: render_videomix_into(
        plan, bases, _seconds(plan, inputs), slots
    ),
    fields=lambda recipe: VIDEOMIX_FIELDS,
    columns=lambda plan, inputs: pair_columns(plan, inputs.source.ids, inputs.source.labels),
    from_columns=lambda table, recipe: pairs_from_columns(table, VideoMixPlan),
    partner="second clip",
    partners=_second_clips,
)
