"""Making samples: one at a time with Pillow and torch, our kernel, and the whole way to a committed shard.

The peer is `tests.reference.published_sample`, from pictures already decoded. Each side uses one core.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.pending import plan_shards
from pipeline.render.base import render_bases
from pipeline.render.pixmix import render_pixmix
from pipeline.sampling import Inputs, draw_plan, samples_per_shard
from pipeline.sources.source import ArraySource
from pipeline.store import LocalStore
from pipeline.worker import ShardContext, build_shard
from tests.bench.core import Pair, Row, Side, alternate, compare
from tests.bench.roots import tiled
from tests.reference import OPS, published_sample

NUM_REFERENCE, NUM_OURS = 400, 8192
REFERENCE, KERNEL, WHOLE = "per item, Pillow and torch", "kernel", "whole"


def reference(inputs: Inputs) -> Side:
    """Return a side that makes samples one at a time from pictures already decoded, as the peer would."""
    rng = np.random.RandomState(0)
    config = inputs.recipe.augmentation
    assert config.family == "pixmix"
    assert inputs.pictures is not None
    clean = [Image.fromarray(inputs.source.read(i)) for i in range(NUM_REFERENCE)]
    mixing = [Image.fromarray(inputs.pictures.picture(i)) for i in range(len(inputs.pictures))]
    fields = config.model_dump(include={"k", "beta", "severity"})
    fields["ops"] = OPS if config.ops == "all" else OPS[:9]

    def run() -> float:
        begun = time.perf_counter()
        for picture in clean:
            published_sample(rng, picture, mixing, **fields)
        return NUM_REFERENCE / (time.perf_counter() - begun)

    return run


def kernel(inputs: Inputs) -> Side:
    """Return a side that renders planned samples from base pictures in memory."""
    num = min(NUM_OURS, len(inputs.source.labels))
    plan = draw_plan(inputs, 0, 0, num)
    bases = render_bases(plan.base, plan.sources, inputs.source, inputs.recipe.transform.size)

    def run() -> float:
        begun = time.perf_counter()
        render_pixmix(plan.augmentation, bases, inputs.pictures)  # type: ignore[arg-type]
        return num / (time.perf_counter() - begun)

    return run


def whole_path(inputs: Inputs, root: Path) -> Side:
    """Return a side that plans, renders, packs and commits a shard: tar, manifest, checksums, fsync."""
    context, shard = ShardContext(inputs, "bench", LocalStore(root)), next(plan_shards(inputs))
    num = shard.stop

    def run() -> float:
        begun = time.perf_counter()
        build_shard(context, shard)
        rate = num / (time.perf_counter() - begun)
        shutil.rmtree(root / "epoch-0000")  # a build writes new files, it replaces none
        return rate

    return run


def measure(inputs: Inputs, rounds: int) -> list[Row]:
    """Return the rows of this section."""
    if inputs.recipe.augmentation.family != "pixmix":
        raise SystemExit("the render section compares PixMix; give a recipe of that family")
    size, source = inputs.recipe.transform.size, inputs.source
    if isinstance(source, ArraySource):  # a shard of the size that a recipe gets by default
        inputs = inputs._replace(source=tiled(source, samples_per_shard(inputs.recipe)))
    with tempfile.TemporaryDirectory(prefix="dreamshards-bench-") as folder:
        sides = {
            REFERENCE: reference(inputs),
            KERNEL: kernel(inputs),
            WHOLE: whole_path(inputs, Path(folder)),
        }
        rates = alternate(sides, rounds)
    pairs = [
        Pair(f"{size} px, render kernel alone", KERNEL, REFERENCE, 35),
        Pair(f"{size} px, clean array to committed shard", WHOLE, REFERENCE, 25),
    ]
    return compare(pairs, rates, {})
