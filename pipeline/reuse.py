"""The shards of several epochs that share a part of the sources, made from one reading of it.

A job is one part of a group of epochs (`pipeline.plan.reuse`) and makes its shards, at most `reuse` of them:
sources are decoded one after another, each rendered for every epoch, and the encoded samples held until all
are there; then each shard is packed in its own order and committed. So a worker holds the payloads of
`reuse` shards; a shard's bytes are those that `build_shard` gives.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from pipeline.plan.base import BasePlan
from pipeline.plan.reuse import first_of_group, parts_of_epoch
from pipeline.render.base import decoding_scales
from pipeline.sampling import (
    Inputs,
    Plan,
    draw_plan,
    encode_samples,
    plan_shape,
    render_plan,
    samples_per_shard,
)
from pipeline.shards.layout import EpochShards, ShardName, count_shards
from pipeline.sources.clips import ClipSource
from pipeline.worker import (
    Contents,
    ShardContext,
    ShardResult,
    build_shard,
    check_seen,
    chunk_rows,
    commit_shard,
    is_committed,
)

Job = tuple[ShardName, ...]


def plan_jobs(inputs: Inputs, shards: Iterable[ShardName]) -> Iterator[Job]:
    """Gather shards that share a part of a group of epochs; jobs and their shards are in order of epochs.

    Names come in that order and are drawn a group at a time, of which a few bytes a shard are held.
    """
    recipe, num_samples = inputs.recipe, len(inputs.source.labels)
    if recipe.reuse == 1:
        yield from ((name,) for name in shards)
        return
    num_shards = count_shards(num_samples, samples_per_shard(recipe))
    for first, names in groupby(shards, lambda name: first_of_group(name.epoch, recipe.reuse)):
        epochs = range(first, first + recipe.reuse)
        parts = [parts_of_epoch(recipe.seed, epoch, num_samples, num_shards) for epoch in epochs]
        wanted = np.zeros((recipe.reuse, num_shards), bool)  # [epoch, part]
        for name in names:
            wanted[name.epoch - first, parts[name.epoch - first][name.shard]] = True
        yield from _jobs_of_group(EpochShards(first, num_samples, num_shards), parts, wanted)


def _jobs_of_group(
    shards: EpochShards, parts: Sequence[npt.NDArray[np.int64]], wanted: npt.NDArray[np.bool_]
) -> Iterator[Job]:
    """Yield a job for each part of which a shard is wanted, in the order of the first such shards.

    Args:
        shards: of the group's first epoch.
        parts: of each epoch int64 [num_shards], the part that stands as each shard.
        wanted: bool [epochs, parts].
    """
    places = [np.argsort(of_epoch) for of_epoch in parts]  # the shard that each part stands as
    for turn, of_epoch in enumerate(parts):
        for part in of_epoch.tolist():
            later = np.flatnonzero(wanted[turn:, part]) + turn
            if len(later) and later[0] == turn and not wanted[:turn, part].any():
                yield tuple(
                    replace(shards, epoch=shards.epoch + each)[int(places[each][part])]
                    for each in later.tolist()
                )


def build_shards(context: ShardContext, job: Job) -> list[ShardResult]:
    """Make and commit the shards of one job that are not there, one after another.

    Raises:
        DreamshardsError: a shard cannot be written, or a source picture cannot be read.
    """
    check_seen(context)
    made = {name for name in job if is_committed(context.store, name)}
    found = [ShardResult.found(name) for name in job if name in made]
    missing = [name for name in job if name not in made]
    if len(missing) == 1:
        return [*found, build_shard(context, missing[0])]
    return [*found, *_build_together(context, missing)] if missing else found


def _build_together(context: ShardContext, job: Sequence[ShardName]) -> list[ShardResult]:
    begun = time.perf_counter()
    inputs = context.inputs
    plans = [draw_plan(inputs, name.epoch, name.start, name.stop) for name in job]
    held = _render_by_source(inputs, plans)
    results = []
    for name, plan in zip(job, plans, strict=True):
        payloads = held.pop(0)  # let go of as soon as they are packed
        contents = Contents.of(plan, name)
        results.append(commit_shard(context, name, contents, _in_chunks(payloads, inputs), begun))
        begun = time.perf_counter()
    return results


def _render_by_source(inputs: Inputs, plans: Sequence[Plan]) -> list[list[bytes]]:
    """Return the encoded samples of plans that hold the same sources, each source decoded once per scale."""
    recipe = inputs.recipe
    joined = Plan.joined(plans)
    order = _decoding_order(inputs, joined)
    by_source = joined.take(order)
    found = [b""] * len(order)
    chunk = chunk_rows(recipe, plan_shape(inputs, joined))
    together = max(1, chunk // len(plans)) * len(plans)  # whole sources
    for start in range(0, len(order), together):
        rows = order[start : start + together].tolist()
        samples = render_plan(inputs, by_source.rows(start, start + together))
        for row, payload in zip(rows, encode_samples(recipe, samples), strict=True):
            found[row] = bytes(payload)
    num = len(order) // len(plans)
    return [found[start : start + num] for start in range(0, len(found), num)]


def _decoding_order(inputs: Inputs, plan: Plan) -> npt.NDArray[np.int64]:
    """Return the rows of a plan so that those which can share a decode follow each other."""
    if isinstance(inputs.source, ClipSource):
        return np.argsort(inputs.source.videos[plan.sources], kind="stable")
    assert isinstance(plan.base, BasePlan)
    scales = decoding_scales(plan.base, inputs.recipe.transform.size)
    return np.lexsort((scales, plan.sources))


def _in_chunks(payloads: list[bytes], inputs: Inputs) -> Iterator[list[bytes]]:
    step = chunk_rows(inputs.recipe)
    for start in range(0, len(payloads), step):
        yield payloads[start : start + step]
