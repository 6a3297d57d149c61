"""One shard, from decisions to committed files. Runs in a Ray worker or inline; knows neither."""

from __future__ import annotations

import hashlib
import resource
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.publish import publish
from pipeline.sampling import Inputs, draw_plan, plan_columns, plan_fields, render_plan
from pipeline.shards import tar
from pipeline.shards.codecs import CODECS
from pipeline.shards.layout import PARTIAL_NAME, ShardName, keys
from pipeline.shards.manifest import PLACE_FIELDS, ShardSummary, write_manifest

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
    inputs, root = context.inputs, context.root
    recipe = inputs.recipe
    codec_name, quality = recipe.shards.codec, recipe.shards.quality
    codec = CODECS[codec_name]
    plan = draw_plan(inputs, name.epoch, name.start, name.stop)
    labels = inputs.source.labels[plan.sources]
    num = name.stop - name.start
    shard_keys = keys(name.epoch, name.start, name.stop)
    offsets, sizes = np.empty(num, np.int64), np.empty(num, np.int64)
    crcs = np.empty(num, np.uint32)
    sha256, tar_bytes = hashlib.sha256(), 0
    chunk = max(1, _CHUNK_BYTES // (3 * recipe.transform.size**2))
    with publish(root / name.tar, root / PARTIAL_NAME) as file:
        for start in range(0, num, chunk):
            rows = slice(start, min(start + chunk, num))
            samples = render_plan(inputs, plan.rows(rows.start, rows.stop))
            payloads = codec.encode(samples, quality)
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
