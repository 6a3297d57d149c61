"""One shard, from decisions to committed files. Runs in a Ray worker or inline; knows neither."""

from __future__ import annotations

import hashlib
import resource
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.publish import publish
from pipeline.recipe import Recipe
from pipeline.sampling import Inputs, Plan, draw_plan, plan_columns, plan_fields, render_plan
from pipeline.shards import tar
from pipeline.shards.codecs import CODECS
from pipeline.shards.layout import PARTIAL_NAME, ShardName, keys
from pipeline.shards.manifest import PLACE_FIELDS, ShardSummary, write_manifest

Payloads = npt.NDArray[np.uint8] | Sequence[bytes]
"""Encoded samples: uint8 [n, size] of one size, or n byte strings."""

_CHUNK_BYTES = 1 << 20
"""Pixels rendered at a time: they stay in the cache of a core, and a worker's memory stays small."""


@dataclass(frozen=True)
class ShardContext:
    """What every shard of a build shares."""

    inputs: Inputs
    recipe_hash: str
    root: Path


@dataclass(frozen=True)
class ShardResult:
    """What became of one shard: its size, the time it took and the worker's peak memory so far."""

    name: ShardName
    tar_bytes: int
    seconds: float
    peak_memory_bytes: int


def build_shard(context: ShardContext, name: ShardName) -> ShardResult:
    """Plan, render, encode and pack one shard, and commit it: the tar first, its manifest after.

    Raises:
        DreamshardsError: the shard cannot be written, or a source picture cannot be read.
    """
    begun = time.perf_counter()
    plan = draw_plan(context.inputs, name.epoch, name.start, name.stop)
    return commit_shard(context, name, plan, _encoded(context.inputs, plan), begun)


def chunk_rows(recipe: Recipe) -> int:
    """Return how many samples are rendered at a time."""
    return max(1, _CHUNK_BYTES // (3 * recipe.transform.size**2))


def _encoded(inputs: Inputs, plan: Plan) -> Iterator[Payloads]:
    """Render a plan and encode its samples, some at a time."""
    shards, chunk = inputs.recipe.shards, chunk_rows(inputs.recipe)
    for start in range(0, len(plan.sources), chunk):
        samples = render_plan(inputs, plan.rows(start, start + chunk))
        yield CODECS[shards.codec].encode(samples, shards.quality)


def commit_shard(
    context: ShardContext, name: ShardName, plan: Plan, parts: Iterable[Payloads], begun: float
) -> ShardResult:
    """Pack a shard's samples and commit it: the tar first, its manifest after.

    Args:
        parts: the encoded samples, some at a time, in the order of `plan`.
        begun: when the work on this shard began, by `time.perf_counter`.
    """
    inputs, root = context.inputs, context.root
    recipe = inputs.recipe
    codec_name = recipe.shards.codec
    labels = inputs.source.labels[plan.sources]
    num = name.stop - name.start
    shard_keys = keys(name.epoch, name.start, name.stop)
    offsets, sizes = np.empty(num, np.int64), np.empty(num, np.int64)
    crcs = np.empty(num, np.uint32)
    sha256, tar_bytes = hashlib.sha256(), 0
    done = 0
    with publish(root / name.tar, root / PARTIAL_NAME) as file:
        for payloads in parts:
            rows = slice(done, done + len(payloads))
            done = rows.stop
            crcs[rows] = [zlib.crc32(payload) for payload in payloads]
            records = tar.pack(shard_keys[rows], codec_name, payloads, labels[rows])
            offsets[rows], sizes[rows] = records.offsets + tar_bytes, records.sizes
            sha256.update(records.content.data)
            file.write(records.content.data)
            tar_bytes += len(records.content)
        sha256.update(tar.END_OF_ARCHIVE)
        file.write(tar.END_OF_ARCHIVE)
        tar_bytes += len(tar.END_OF_ARCHIVE)
    summary = ShardSummary(
        context.recipe_hash, name.epoch, name.shard, num, tar_bytes, sha256.hexdigest()
    )
    places = [
        pa.array(shard_keys.view(f"S{shard_keys.shape[1]}").ravel().astype(str)),
        pa.array(np.full(num, name.epoch, np.int32)),
        pa.array(np.arange(name.start, name.stop)),
        pa.array(offsets),
        pa.array(sizes),
        pa.array(crcs),
    ]
    with publish(root / name.manifest, root / PARTIAL_NAME) as file:
        fields = (*PLACE_FIELDS, *plan_fields(recipe.augmentation.family))
        write_manifest(file, summary, fields, [*places, *plan_columns(inputs, plan)])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return ShardResult(name, tar_bytes, time.perf_counter() - begun, peak)
