"""Samples from a recipe: the plan of any positions, and its pixels. What shards, replay and preview share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.families import FAMILIES, FamilyPlan, Place
from pipeline.pictures.picture_set import PictureSet
from pipeline.plan.base import BasePlan, draw_base, resized_side
from pipeline.plan.order import source_indices
from pipeline.plan.reuse import reused_indices
from pipeline.recipe import Recipe
from pipeline.render.base import render_bases
from pipeline.render.slots import Slots
from pipeline.shards.codecs import record_bytes
from pipeline.shards.layout import TARGET_SHARD_BYTES, count_shards
from pipeline.sources.images import resize_shorter_side
from pipeline.sources.source import Source
from pipeline.variants import num_frames

if TYPE_CHECKING:
    from pipeline.corruptions import FrostPictures

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


class Inputs(NamedTuple):
    """A recipe with everything it names opened.

    Attributes:
        pictures: the mixing set, of families that have one.
        frost: panes of ice, of test sets that lay them over pictures.
    """

    recipe: Recipe
    source: Source
    pictures: PictureSet | None
    frost: FrostPictures | None = None


class Plan(NamedTuple):
    """Every decision for n samples.

    Attributes:
        sources: int64 [n], index of each sample's source picture.
        base: the base transform's decisions.
        augmentation: the family's decisions.
    """

    sources: I64
    base: BasePlan
    augmentation: FamilyPlan

    def columns(self) -> list[npt.NDArray[Any]]:
        """Return every array of the plan."""
        return [self.sources, *self.base, *self.augmentation]

    def rows(self, start: int, stop: int) -> Plan:
        """Return the plan of rows [start, stop)."""
        return self._with([column[start:stop] for column in self.columns()])

    def take(self, rows: I64) -> Plan:
        """Return the plan of some rows, in the order of `rows`."""
        return self._with([column[rows] for column in self.columns()])

    @staticmethod
    def joined(plans: Sequence[Plan]) -> Plan:
        """Return one or more plans of one recipe, one after another."""
        columns = zip(*(plan.columns() for plan in plans), strict=True)
        return plans[0]._with([np.concatenate(column) for column in columns])

    def _with(self, columns: list[npt.NDArray[Any]]) -> Plan:
        """Return a plan of this family with other columns."""
        first = 1 + len(self.base)
        family: Any = type(self.augmentation)
        augmentation = family(*columns[first:]) if self.augmentation else ()
        return Plan(columns[0], BasePlan(*columns[1:first]), augmentation)


def samples_per_shard(recipe: Recipe, epoch: int = 0) -> int:
    """Return the most samples of a shard: the recipe's own number, or what makes `TARGET_SHARD_BYTES`.

    With `reuse` orders depend on it: another rule is another format.
    """
    if recipe.shards.samples_per_shard is not None:
        return recipe.shards.samples_per_shard
    return max(1, TARGET_SHARD_BYTES // sample_bytes(recipe, epoch))


def sample_bytes(recipe: Recipe, epoch: int) -> int:
    """Return the bytes that a sample of an epoch is reckoned to take in a tar; exact for npy."""
    frames = num_frames(recipe, epoch)
    return record_bytes(recipe.shards.codec, recipe.transform.size, frames)


def source_order(recipe: Recipe, num_samples: int, epoch: int, start: int, stop: int) -> I64:
    """Return the source index of each position in [start, stop) of an epoch, int64."""
    if recipe.reuse == 1:
        return source_indices(recipe.seed, epoch, num_samples, start, stop)
    num_shards = count_shards(num_samples, samples_per_shard(recipe))
    return reused_indices(
        recipe.seed, epoch, num_samples, start, stop, reuse=recipe.reuse, num_shards=num_shards
    )


def draw_plan(inputs: Inputs, epoch: int, start: int, stop: int) -> Plan:
    """Draw every decision for positions [start, stop) of an epoch."""
    recipe, source = inputs.recipe, inputs.source
    sources = source_order(recipe, len(source.labels), epoch, start, stop)
    base = draw_base(
        recipe.transform,
        source.heights[sources],
        source.widths[sources],
        seed=recipe.seed,
        epoch=epoch,
        start=start,
        stop=stop,
    )
    family = FAMILIES[recipe.augmentation.family]
    place = Place(epoch, start, stop, sources, base)
    plan = Plan(sources, base, family.draw(inputs, place))
    for column in plan.columns():
        column.flags.writeable = (
            False  # what is drawn stays, and kernels take such arrays as they are
        )
    return plan


def plan_shape(inputs: Inputs, plan: Plan) -> tuple[int, ...]:
    """Return the shape of every sample of a plan: (S, S, 3), or (F, S, S, 3) of clips."""
    family = FAMILIES[inputs.recipe.augmentation.family]
    return family.shape(plan.augmentation, inputs.recipe)


def render_plan(inputs: Inputs, plan: Plan) -> U8:
    """Render the planned samples, uint8 [n, S, S, 3], or [n, F, S, S, 3] of clips."""
    samples = np.empty((len(plan.sources), *plan_shape(inputs, plan)), np.uint8)
    render_into(inputs, plan, Slots.of(samples))
    return samples


def render_base(inputs: Inputs, plan: Plan) -> U8:
    """Return the pictures after the base transform, before any augmentation, uint8 [n, S, S, 3]."""
    transform = inputs.recipe.transform
    side = resized_side(transform)
    return render_bases(plan.base, plan.sources, inputs.source, transform.size, resize=side)


def render_into(inputs: Inputs, plan: Plan, slots: Slots) -> None:
    """Render the planned samples into `slots`."""
    family = FAMILIES[inputs.recipe.augmentation.family]
    whole = family.whole(plan.augmentation, inputs.recipe)
    pictures = _whole_pictures(inputs, plan) if whole else render_base(inputs, plan)
    family.render(plan.augmentation, pictures, inputs, slots)


def _whole_pictures(inputs: Inputs, plan: Plan) -> list[U8]:
    """Return the source pictures with their shorter side as the base transform resizes it."""
    side = resized_side(inputs.recipe.transform)
    assert side is not None
    source = inputs.source
    return [
        resize_shorter_side(source.read(index), side, source.ids[index].as_py())
        for index in plan.sources.tolist()
    ]


# ── the plan as manifest columns ──

BASE_FIELDS = (
    pa.field("source_index", pa.int64(), nullable=False),
    pa.field("source_id", pa.string(), nullable=False),
    pa.field("label", pa.int32(), nullable=False),
    pa.field("crop_y", pa.int32(), nullable=False),
    pa.field("crop_x", pa.int32(), nullable=False),
    pa.field("crop_h", pa.int32(), nullable=False),
    pa.field("crop_w", pa.int32(), nullable=False),
    pa.field("flip", pa.bool_(), nullable=False),
)


def plan_fields(family: str) -> tuple[pa.Field, ...]:
    """Return the manifest's plan columns for an augmentation family."""
    return (*BASE_FIELDS, *FAMILIES[family].fields)


def plan_columns(inputs: Inputs, plan: Plan) -> list[pa.Array]:
    """Return one array for each of `plan_fields`."""
    indices = pa.array(plan.sources)
    family = FAMILIES[inputs.recipe.augmentation.family]
    return [
        indices,
        inputs.source.ids.take(indices),
        pa.array(inputs.source.labels[plan.sources]),
        *(pa.array(column) for column in plan.base),
        *family.columns(plan.augmentation, inputs),
    ]


def plan_from_rows(recipe: Recipe, rows: pa.Table) -> Plan:
    """Rebuild the plan of some manifest rows."""

    def column(name: str) -> npt.NDArray[np.generic]:
        return np.ascontiguousarray(rows[name].to_numpy())

    base = BasePlan(*(column(name) for name in BasePlan._fields))  # type: ignore[arg-type]
    family = FAMILIES[recipe.augmentation.family]
    sources = column("source_index").astype(np.int64)
    return Plan(sources, base, family.from_columns(rows, recipe))
