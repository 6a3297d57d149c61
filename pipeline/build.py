"""A build, from recipe to finished root: identity before work, shards in any order, dataset.json last."""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import DreamshardsError
from pipeline.executor import Crashed, Executor, InlineExecutor
from pipeline.finish import finish
from pipeline.identity import (
    TELLING,
    differences,
    inputs_identity,
    package_versions,
    recipe_hash,
    recipe_identity,
)
from pipeline.inputs import open_inputs
from pipeline.losses import make_shards
from pipeline.pending import Pending, plan_epochs
from pipeline.progress import ShardProgress, human_bytes
from pipeline.publish import PARTIAL_NAME
from pipeline.recipe import Recipe
from pipeline.render.jit import is_compiled
from pipeline.sampling import sample_bytes
from pipeline.shards.dataset import Json, read_sealed, write_sealed
from pipeline.shards.layout import (
    DATASET_NAME,
    FORMAT_VERSION,
    RECIPE_NAME,
)
from pipeline.store import Root, Store, open_store
from pipeline.worker import ShardContext, kernel_sets, warm_up

_WARM_ROUNDS, _WARM_S = 5, 0.2
"""How often workers are asked to warm up until each has, and the least time that one is held by it."""


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        dataset: the content of dataset.json, less its list of shards.
        num_shards: of the build.
        num_built: shards made now; the others were committed by an earlier run, or by another driver.
        num_samples: samples made now.
        seconds: wall time of making them, from the first job to the last.
        start_up_seconds: time before that, to start workers and to load or compile the kernels.
        kernel_seconds: the longest that a worker took for the latter.
        peak_memory_bytes: the largest resident size of a worker, shared memory included.
    """

    dataset: Json
    num_shards: int
    num_built: int
    num_samples: int
    seconds: float
    start_up_seconds: float
    kernel_seconds: float
    peak_memory_bytes: int

    @property
    def num_found(self) -> int:
        """Shards that were not made now."""
        return self.num_shards - self.num_built


def build(recipe: Recipe, root: Root, executor: Executor) -> BuildReport:
    """Build or go on building `recipe` at `root`; a complete root of the same recipe is left as it is.

    Raises:
        DreamshardsError: wrong inputs, a root of another build, or storage that fails. Committed shards stay.
    """
    store = open_store(recipe.reach(root))
    check_root(store, recipe)
    inputs = open_inputs(recipe, executor)
    identity = inputs_identity(inputs)
    epochs = plan_epochs(inputs)
    context = ShardContext(inputs, recipe_hash(identity), store.absolute(), begun=True)
    start_up, kernels = _start(context, executor)
    with store.claim():
        begun, dataset = _settle_identity(store, recipe, identity)
        work = _Work()
        if dataset is None:
            store.discard_unfinished()
            pending = Pending(store, epochs)
            _check_space(store, recipe, pending)
            work = _run(context, pending, sum(map(len, epochs)), executor)
            # another driver may have been faster
            dataset = _complete(store) or finish(context, begun, executor)
        store.discard_unfinished()
    return BuildReport(
        dataset,
        num_shards=sum(map(len, epochs)),
        num_built=work.num_built,
        num_samples=work.num_samples,
        seconds=work.seconds,
        start_up_seconds=start_up,
        kernel_seconds=kernels,
        peak_memory_bytes=work.peak_memory_bytes,
    )


def _complete(store: Store) -> Json | None:
    """Return dataset.json of a finished root, less its list of shards."""
    dataset = read_sealed(store, DATASET_NAME)
    if dataset is not None:
        del dataset["shards"]
    return dataset


# ── before any work ──


def check_root(store: Store, recipe: Recipe) -> None:
    """Refuse early, and without touching it, a root that cannot take this build.

    Raises:
        DreamshardsError: it is another build's, holds foreign files, or cannot be written.
    """
    # dataset.json holds the identity too, should recipe.json have been lost
    stored = read_sealed(store, RECIPE_NAME) or read_sealed(store, DATASET_NAME)
    if stored is not None:
        _refuse_other(store, stored["identity"], recipe_identity(recipe))
    elif any(not entry.path.startswith(f"{PARTIAL_NAME}/") for entry in store.entries()):
        raise DreamshardsError(
            f"{store} holds files that are not a build's; give --out a new or empty folder"
        )
    store.check_writable()


def _refuse_other(root: Store, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    changed = differences(stored, wanted)
    if changed:
        lines = "\n  ".join(changed)
        raise DreamshardsError(
            f"{root} holds another recipe's build; it was left as it is\n  {lines}\n"
            f"either build into a new root:  --out {root}-2\n"
            f"or remove the old one first:   {root.removal()}"
        )


def _settle_identity(
    root: Store, recipe: Recipe, identity: dict[str, Any]
) -> tuple[Json, Json | None]:
    """Compare with the build there, or publish recipe.json; return that, and what `_complete` does."""
    stored, dataset = read_sealed(root, RECIPE_NAME), _complete(root)
    for present in (stored, dataset):
        if present is not None:
            _refuse_other(root, present["identity"], identity)
    versions = package_versions(recipe)
    if stored is None:
        begun = dataset or {"recipe": recipe.model_dump(mode="json"), "versions": versions}
        content = {
            "format_version": FORMAT_VERSION,
            "recipe_hash": recipe_hash(identity),
            "identity": identity,
            "recipe": begun["recipe"],
            "versions": begun["versions"],
        }
        write_sealed(root, RECIPE_NAME, content)
        stored = read_sealed(root, RECIPE_NAME)  # of another driver that began at the same moment
        if stored is None:
            raise DreamshardsError(
                f"{root.address(RECIPE_NAME)}: was removed as soon as it was written"
            )
        _refuse_other(root, stored["identity"], identity)
    stored.setdefault("versions", versions)  # roots begun before it was recorded have none
    if dataset is None:
        _refuse_other_versions(root, stored["versions"], versions)
    return stored, dataset


def _refuse_other_versions(root: Store, stored: dict[str, str], here: dict[str, str]) -> None:
    """Refuse to make the rest of a build with packages that may make other bytes."""
    changed = [name for name in TELLING if stored.get(name) != here.get(name)]
    if changed:
        lines = "\n  ".join(
            f"{name}: the root has {stored.get(name)}, here is {here.get(name)}" for name in changed
        )
        wanted = " ".join(f"{name}=={stored[name]}" for name in changed if name in stored)
        raise DreamshardsError(
            f"{root} was begun with other packages, which may make other bytes; it was left as it is\n"
            f"  {lines}\n"
            f"either go on with those:   pip install {wanted}\n"
            f"or build into a new root:  --out {root}-2"
        )


def _check_space(store: Store, recipe: Recipe, pending: Pending) -> None:
    """Refuse a build that cannot fit, where the codec makes its size certain."""
    if recipe.shards.codec != "npy":
        return
    each = [sample_bytes(recipe, epoch) for epoch in range(recipe.epochs)]
    needed = int(pending.num_samples() @ np.array(each, np.int64))
    free = store.free_bytes()
    if free is not None and needed > free:
        raise DreamshardsError(
            f"{store} needs {human_bytes(needed)} more and its disk has {human_bytes(free)} free; "
            "free some space, choose another --out, or lower epochs"
        )


# ── the work ──


@dataclass
class _Work:
    """What this run has done; it grows with nothing."""

    num_built: int = 0
    num_samples: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0


def _start(context: ShardContext, executor: Executor) -> tuple[float, float]:
    """Start the workers, each with its kernels; return the seconds it took, and a worker's for kernels.

    Of a machine's processes one compiles them, the others wait. This process makes no sample itself: it must
    outlive those that kill the process that makes them.
    """
    if context.store.exists(DATASET_NAME):
        return 0.0, 0.0
    begun = time.perf_counter()
    if not all(map(is_compiled, kernel_sets(context.inputs.recipe))):
        print("compiling the pixel kernels, once for this machine", file=sys.stderr, flush=True)
    if isinstance(executor, InlineExecutor):
        warm_up(context)
        seconds = time.perf_counter() - begun
        return seconds, seconds
    executor.start()
    warm: dict[tuple[str, int], float] = {}
    for _ in range(_WARM_ROUNDS):  # a worker that is up before the others may take their turns too
        if len(warm) < executor.num_workers:
            for outcome in executor.outcomes(_warm_worker, context, range(executor.num_workers)):
                if isinstance(outcome, Crashed):  # by the sample it made; its shard will tell
                    return time.perf_counter() - begun, max(warm.values(), default=0.0)
                warm.setdefault(*outcome)
    return time.perf_counter() - begun, max(warm.values())


def _warm_worker(context: ShardContext, job: int) -> tuple[tuple[str, int], float]:
    """Warm a worker up, holding it so long that the other jobs go to others.

    Returns:
        Which it was, and the seconds that its kernels took.
    """
    begun = time.perf_counter()
    warm_up(context)
    seconds = time.perf_counter() - begun
    time.sleep(max(0.0, _WARM_S - seconds))
    return (socket.gethostname(), os.getpid()), seconds


def _run(context: ShardContext, pending: Pending, num_shards: int, executor: Executor) -> _Work:
    work = _Work()
    if not len(pending):
        return work
    begun = time.perf_counter()
    num_samples = int(pending.num_samples().sum())
    with ShardProgress(num_shards, num_samples, num_shards - len(pending)) as progress:
        for result in make_shards(context, pending, executor):
            num = result.name.stop - result.name.start
            if result.made:
                work.num_built += 1
                work.num_samples += num - result.num_lost
            work.peak_memory_bytes = max(work.peak_memory_bytes, result.peak_memory_bytes)
            progress.advance(num, result.tar_bytes)
    work.seconds = time.perf_counter() - begun
    return work
