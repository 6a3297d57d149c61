"""Building on Ray: what a worker costs beside this process, and what a second one brings.

The recipe's own shards, the same each time. A rate is that of the build report: from the first job to the
last, without the start of workers and the loading of kernels, which are printed apart.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from pipeline.build import build
from pipeline.executor import Executor, InlineExecutor, RayExecutor
from pipeline.recipe import Recipe
from pipeline.sampling import Inputs
from tests.bench.core import Pair, Row, alternate, compare

LEAST_SAMPLES = 50_000
MOST_ROUNDS = 3
INLINE, ONE, TWO = "inline", "1 Ray worker", "2 Ray workers"


def measure(inputs: Inputs, rounds: int) -> list[Row]:
    """Return the rows of this section."""
    each = len(inputs.source.labels)
    recipe = inputs.recipe
    epochs = max(4, -(-LEAST_SAMPLES // each)) if recipe.shards.codec == "npy" else 1
    recipe = recipe.model_copy(update={"epochs": epochs})
    missing = {}
    if len(os.sched_getaffinity(0)) < 2:
        missing[TWO] = "this machine has one core"
    makers = {INLINE: InlineExecutor, ONE: _one, TWO: _two}
    start_ups: dict[str, list[float]] = {name: [] for name in makers}

    def side(name: str) -> float:
        with makers[name]() as executor:
            return _rate(recipe, executor, start_ups[name])

    sides = {name: lambda name=name: side(name) for name in makers if name not in missing}
    rates = alternate(sides, min(rounds, MOST_ROUNDS), warm=False)
    for name in sides:
        took = ", ".join(f"{seconds:.1f}" for seconds in start_ups[name])
        print(f"start-up of {name}, compiling or loading kernels: {took} s", file=sys.stderr)
    what = f"{recipe.name}, {each * epochs:,} samples built"
    pairs = [
        Pair(f"{what}: {ONE}", ONE, INLINE, 0.95),
        Pair(f"{what}: {TWO}", TWO, ONE, 1.85),
    ]
    return compare(pairs, rates, missing)


def _one() -> Executor:
    return RayExecutor("local", 1)


def _two() -> Executor:
    return RayExecutor("local", 2)


def _rate(recipe: Recipe, executor: Executor, start_ups: list[float]) -> float:
    with tempfile.TemporaryDirectory(prefix="dreamshards-bench-") as folder:
        report = build(recipe, Path(folder) / "root", executor)
    start_ups.append(report.start_up_seconds)
    return report.num_samples / report.seconds
