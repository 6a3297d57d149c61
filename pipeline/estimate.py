"""What a build would cost, measured on a few hundred of its own samples before anyone pays for it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from pipeline.executor import Executor
from pipeline.identity import inputs_identity, recipe_hash
from pipeline.inputs import open_inputs
from pipeline.pending import plan_epochs, plan_shards
from pipeline.progress import human_bytes, human_seconds, plural
from pipeline.recipe import Recipe
from pipeline.reuse import build_shards, plan_jobs
from pipeline.sampling import Inputs, samples_per_shard
from pipeline.shards.layout import MAX_SHARDS, ShardName
from pipeline.store import LocalStore
from pipeline.variants import variants
from pipeline.worker import ShardContext, build_shard, warm_up

_NUM_SAMPLES = 256
_SECONDS = 2.0
_NUM_OF_VARIANT, _SECONDS_OF_VARIANTS = 16, 10.0
"""Samples of each variant of a test set that are made first, and the time that all then take together."""


class Estimate(NamedTuple):
    """What one core was seen to do, and what the whole build then takes.

    Attributes:
        num_measured: samples planned, rendered, packed and written to a temporary folder.
        samples_per_second: of one core.
        bytes_per_sample: of tar and manifest.
        num_samples, num_shards: of the build.
        num_jobs: what is shared out among workers; each makes a shard, or `reuse` of them.
    """

    num_measured: int
    samples_per_second: float
    bytes_per_sample: float
    num_samples: int
    num_shards: int
    num_jobs: int

    @property
    def core_seconds(self) -> float:
        """Time of the build on one core."""
        return self.num_samples / self.samples_per_second

    def wall_seconds(self, num_workers: int) -> float:
        """Time of the build on `num_workers` cores: the most jobs any of them gets."""
        rounds = -(-self.num_jobs // num_workers)
        return self.core_seconds * rounds / self.num_jobs


def measure(recipe: Recipe, executor: Executor) -> Estimate:
    """Build a few hundred samples the way a build does, in a temporary folder, on one core.

    Variants of a test set cost from little to a hundred times as much, so of each as many are made.

    Raises:
        DreamshardsError: an input is missing or wrong.
    """
    inputs = open_inputs(recipe, executor)
    epochs = plan_epochs(inputs)
    warm_up(ShardContext(inputs, "", LocalStore(Path())))  # compile before the clock starts
    largest, num_samples = samples_per_shard(recipe), len(inputs.source.labels)
    do, first, allowed = _do_job, _NUM_SAMPLES, _SECONDS
    if variants(recipe) is not None:
        do, first, allowed = _do_variants, _NUM_OF_VARIANT, _SECONDS_OF_VARIANTS
        largest = min(largest, num_samples)
    with tempfile.TemporaryDirectory(prefix="dreamshards-estimate-") as folder:
        length = min(largest, max(first, -(-num_samples // MAX_SHARDS)))
        _, seconds, _ = do(inputs, length, Path(folder, "first"))
        # A whole job, or as much of one as takes so long: small ones would overstate the fsyncs.
        length = max(length, min(largest, int(length / seconds * allowed)))
        num, seconds, size_bytes = do(inputs, length, Path(folder, "second"))
    return Estimate(
        num,
        num / seconds,
        size_bytes / num,
        recipe.epochs * num_samples,
        sum(map(len, epochs)),
        sum(len(each) for each in epochs[:: recipe.reuse]),
    )


def _do_variants(inputs: Inputs, length: int, root: Path) -> tuple[int, float, int]:
    """Make a shard of `length` samples of each variant; return their samples, seconds and bytes."""
    context = ShardContext(inputs, recipe_hash(inputs_identity(inputs)), LocalStore(root))
    seconds, size_bytes, num_epochs = 0.0, 0, inputs.recipe.epochs
    for epoch in range(num_epochs):
        begun = time.perf_counter()
        result = build_shard(context, ShardName(epoch, 0, 0, length))
        seconds += time.perf_counter() - begun
        manifest = root / result.name.manifest
        size_bytes += result.tar_bytes + manifest.stat().st_size
        (root / result.name.tar).unlink()
        manifest.unlink()
    return length * num_epochs, seconds, size_bytes


def _do_job(inputs: Inputs, length: int, root: Path) -> tuple[int, float, int]:
    """Do the first job of a build with shards of at most `length`; return its samples, seconds and bytes."""
    recipe = inputs.recipe
    shards = recipe.shards.model_copy(update={"samples_per_shard": length})
    trial = recipe.model_copy(update={"shards": shards, "epochs": recipe.reuse})
    inputs = inputs._replace(recipe=trial)
    job = next(plan_jobs(inputs, plan_shards(inputs)))
    begun = time.perf_counter()
    results = build_shards(
        ShardContext(inputs, recipe_hash(inputs_identity(inputs)), LocalStore(root)), job
    )
    seconds = time.perf_counter() - begun
    size_bytes = sum(
        result.tar_bytes + (root / result.name.manifest).stat().st_size for result in results
    )
    return sum(name.stop - name.start for name in job), seconds, size_bytes


def estimate(recipe: Recipe, executor: Executor, num_workers: int) -> list[str]:
    """Return the lines that tell a person what a build would cost, here and on `num_workers` workers."""
    cost = measure(recipe, executor)
    here = len(os.sched_getaffinity(0))
    lines = [
        f"measured {cost.num_measured:,} samples on one core: {cost.samples_per_second:,.0f}/s, "
        f"{human_bytes(cost.bytes_per_sample)} each",
        f"the build: {plural(recipe.epochs, 'epoch')}, {plural(cost.num_samples, 'sample')} "
        f"in {plural(cost.num_shards, 'shard')}, "
        f"about {human_bytes(cost.num_samples * cost.bytes_per_sample)}, "
        f"{cost.core_seconds / 3600:,.3g} core-hours",
        f"  this machine, {plural(here, 'worker')}: {human_seconds(cost.wall_seconds(here))}",
    ]
    if num_workers != here:
        lines.append(
            f"  {plural(num_workers, 'worker')}: {human_seconds(cost.wall_seconds(num_workers))}"
        )
    lines.append(
        "plus the start of the workers, and what storage slower than this machine's disk adds"
    )
    return lines
