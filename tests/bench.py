"""`make bench`: how fast samples are made, beside the per-item Pillow and torch way, in one run.

The sides take turns on one core, so that a machine whose speed drifts slows both. A figure is the median of
the rounds with the smallest and largest in brackets; the peer is `tests.reference.published_sample`.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from pipeline.executor import InlineExecutor
from pipeline.inputs import open_inputs
from pipeline.recipe import load_recipe
from pipeline.render.base import render_bases
from pipeline.render.pixmix import render_pixmix
from pipeline.sampling import Inputs, draw_plan
from pipeline.shards.layout import ShardName
from pipeline.worker import ShardContext, build_shard
from tests.reference import OPS, published_sample

NUM_REFERENCE, NUM_OURS = 400, 8192
Side = Callable[[], float]


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
    num = min(NUM_OURS, len(inputs.source.labels))
    context = ShardContext(inputs, "bench", root)

    def run() -> float:
        begun = time.perf_counter()
        build_shard(context, ShardName(0, 0, 0, num))
        rate = num / (time.perf_counter() - begun)
        shutil.rmtree(root / "epoch-0000")  # a build writes new files, it replaces none
        return rate

    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("recipe", nargs="?", default="digits")
    parser.add_argument("--set", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    inputs = open_inputs(load_recipe(options.recipe, options.overrides), InlineExecutor())
    with tempfile.TemporaryDirectory(prefix="dreamshards-bench-") as folder:
        sides = {
            "per item, Pillow and torch": reference(inputs),
            "render kernel alone": kernel(inputs),
            "clean array to committed shard": whole_path(inputs, Path(folder)),
        }
        for run in sides.values():
            run()  # compiles, loads and warms
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, run in sides.items():
                rates[name].append(run())
    report(options.recipe, inputs, rates)


def report(name: str, inputs: Inputs, rates: dict[str, list[float]]) -> None:
    size = inputs.recipe.transform.size
    packages = ", ".join(
        f"{package} {version(package)}" for package in ("numba", "numpy", "pillow", "torch")
    )
    print(
        f"{name}, {size} px, one core of {platform.machine()}, Python {platform.python_version()}, {packages}"
    )
    peer = next(iter(rates.values()))
    print(f"{'':32}{'samples/s':>12}   {'spread':>19}   {'ratio':>7}")
    for side, values in rates.items():
        spread = f"[{min(values):,.0f}, {max(values):,.0f}]"
        ratio = median(ours / theirs for ours, theirs in zip(values, peer, strict=True))
        print(f"{side:32}{median(values):>12,.0f}   {spread:>19}   {ratio:>6.1f}x")


if __name__ == "__main__":
    main()
