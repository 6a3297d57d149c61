"""Samples from a recipe: the plan of any positions, and its pixels. What shards, replay and preview share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.families import FAMILIES, FamilyPlan, Place
from pipeline.pictures.picture_set import PictureSet
from pipeline.pictures.zoom_set import ZoomSet
from pipeline.plan.base import BasePlan, ClipBasePlan, draw_base, draw_starts, resized_side
from pipeline.plan.order import source_indices
from pipeline.plan.reuse import reused_indices
from pipeline.recipe import Recipe
from pipeline.render.base import render_bases
from pipeline.render.clips import render_clips
from pipeline.render.slots import Slots
from pipeline.shards.codecs import CODECS, Encoding, record_bytes
from pipeline.shards.layout import TARGET_SHARD_BYTES, count_shards
from pipeline.sources.clips import ClipSource
from pipeline.sources.images import resize_shorter_side
from pipeline.sources.source import FileSource, PictureSource
from pipeline.sources.video_source import VideoSource
from pipeline.variants import num_frames

if TYPE_CHECKING:
    from pipeline.corruptions import FrostPictures

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

_AHEAD_ROWS, _AHEAD_BYTES = 256, 32 << 20
"""Samples whose files are read before their turn, and about how much of them."""


class Inputs(NamedTuple):
    """A recipe with everything it names opened.

    Attributes:
        pictures: the mixing set, of families that have one.
        frost: panes of ice, of test sets that lay them over pictures.
    """

    recipe: Recipe
    source: PictureSource | ClipSource
    pictures: PictureSet | ZoomSet | None
    frost: FrostPictures | None = None


class Plan(NamedTuple):
    """Every decision for n samples.

    Attributes:
        sources: int64 [n], index of each sample's source picture.
        base: the base transform's decisions.
        augmentation: the family's decisions.
    """

    sources: I64
    base: BasePlan | ClipBasePlan
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
        base: Any = type(self.base)
        return Plan(columns[0], base(*columns[1:first]), augmentation)


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


def encode_samples(recipe: Recipe, samples: U8) -> U8 | Sequence[bytes]:
    """Return n samples as a recipe's shards hold them: uint8 [n, size], or n byte strings."""
    shards = recipe.shards
    how = Encoding(shards.quality, shards.chroma, shards.crf)
    return CODECS[shards.codec].encode(samples, how)


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
    where: Any = {"seed": recipe.seed, "epoch": epoch, "start": start, "stop": stop}
    heights, widths = source.heights[sources], source.widths[sources]
    box = draw_base(recipe.transform, heights, widths, **where)
    base: BasePlan | ClipBasePlan = box
    if isinstance(source, ClipSource):
        num_starts = source.num_frames[sources] - source.spans[sources] + 1
        base = ClipBasePlan(*box, draw_starts(source.starts[sources], num_starts, **where))
    family = FAMILIES[recipe.augmentation.family]
    place = Place(epoch, start, stop, sources, base)
    plan = Plan(sources, base, family.draw(inputs, place))
    for column in plan.columns():
        column.flags.writeable = (
            False  # what is drawn stays, and kernels take such arrays as they are
        )
    return plan


def parts_ahead(inputs: Inputs, plan: Plan, step: int) -> Iterator[Plan]:
    """Yield the plan's rows, `step` at a time, while the files of the next parts are read ahead."""
    waiting: deque[tuple[Plan, int]] = deque()
    begun = num_bytes = 0
    for start in range(0, len(plan.sources), step):
        while begun < len(plan.sources) and (
            begun == start or (begun - start < _AHEAD_ROWS and num_bytes < _AHEAD_BYTES)
        ):
            rows = plan.rows(begun, begun + step)
            waiting.append((rows, _expect(inputs, rows)))
            num_bytes += waiting[-1][1]
            begun += step
        rows, done_bytes = waiting.popleft()
        num_bytes -= done_bytes
        yield rows


def _expect(inputs: Inputs, rows: Plan) -> int:
    """Let the source begin to read what some rows need; return how many bytes that are."""
    source = inputs.source
    family: Any = rows.augmentation
    if not isinstance(source, FileSource | VideoSource):
        return 0
    indices = [rows.sources]
    if hasattr(family, "second_source_index"):
        indices.append(family.second_source_index[family.label_weight < 1])
    return source.expect(np.concatenate(indices))


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
    """Return the samples after the base transform, before any augmentation, uint8 [n, S, S, 3].

    Those of a source of clips are clips, uint8 [n, T, S, S, 3].
    """
    return render_bases_of(inputs, plan.base, plan.sources)


def render_bases_of(inputs: Inputs, base: BasePlan | ClipBasePlan, indices: I64) -> U8:
    """Return samples of the source by index after a base transform, as `render_base`."""
    transform, source = inputs.recipe.transform, inputs.source
    side = resized_side(transform)
    if isinstance(source, ClipSource):
        assert isinstance(base, ClipBasePlan)
        return render_clips(base, indices, source, transform.size, resize=side)
    assert isinstance(base, BasePlan)
    return render_bases(base, indices, source, transform.size, resize=side)


def render_into(inputs: Inputs, plan: Plan, slots: Slots) -> None:
    """Render the planned samples into `slots`."""
    family = FAMILIES[inputs.recipe.augmentation.family]
    whole = family.whole(plan.augmentation, inputs.recipe)
    pictures = _whole_pictures(inputs, plan) if whole else render_base(inputs, plan)
    family.render(plan.augmentation, pictures, inputs, slots)


def _whole_pictures(inputs: Inputs, plan: Plan) -> list[U8]:
    """Return the source pictures with their shorter side as the base transform resizes it."""
    side = resized_side(inputs.recipe.transform)
    source = inputs.source
    assert side is not None
    assert not isinstance(source, ClipSource)
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
CLIP_FIELDS = (pa.field("start_frame", pa.int32(), nullable=False),)


def plan_fields(recipe: Recipe) -> tuple[pa.Field, ...]:
    """Return the manifest's plan columns of a recipe."""
    of_clips = () if recipe.clip_frames is None else CLIP_FIELDS
    return (*BASE_FIELDS, *of_clips, *FAMILIES[recipe.augmentation.family].fields(recipe))


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

    kind: Any = BasePlan if recipe.clip_frames is None else ClipBasePlan
    base = kind(*(column(name) for name in kind._fields))
    family = FAMILIES[recipe.augmentation.family]
    sources = column("source_index").astype(np.int64)
    return Plan(sources, base, family.from_columns(rows, recipe))
