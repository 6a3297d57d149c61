"""One shard, from decisions to committed files. Runs in a Ray worker or inline; knows neither."""

from __future__ import annotations

import hashlib
import io
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from isal.isal_zlib import crc32

from pipeline.publish import publish, publish_bytes, written_behind
from pipeline.recipe import Recipe, ShardsConfig
from pipeline.render.jit import compile_once
from pipeline.sampling import Inputs, Plan, draw_plan, plan_columns, plan_fields, render_plan
from pipeline.shards import tar
from pipeline.shards.codecs import CODECS
from pipeline.shards.layout import PARTIAL_NAME, ShardName, keys
from pipeline.shards.manifest import PLACE_FIELDS, ShardSummary, write_manifest

U8 = npt.NDArray[np.uint8]
Encoded = tuple[bytes, U8 | Sequence[bytes]]
"""Some samples: what begins every payload, and the rest of each, uint8 [n, size] or n byte strings."""

_CHUNK_BYTES, _MIN_CHUNK = 1 << 19, 16
"""Pixels rendered at a time, and fewest samples: small enough for the cache of a core."""

_SEND_BYTES = 8 << 20
"""A tar is sent to the disk in pieces of this size, while the next is rendered."""


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
    return commit_shard(context, name, plan, _rendered(context.inputs, plan), begun)


def commit_shard(
    context: ShardContext, name: ShardName, plan: Plan, parts: Iterable[Encoded], begun: float
) -> ShardResult:
    """Pack a shard's samples and commit it: the tar first, its manifest after.

    Args:
        parts: the encoded samples, some at a time, in the order of `plan`.
        begun: when the work on this shard began, by `time.perf_counter`.

    Raises:
        DreamshardsError: the shard cannot be written, or what `parts` raises.
    """
    inputs, root = context.inputs, context.root
    with (
        publish(root / name.tar, root / PARTIAL_NAME) as file,
        written_behind(file) as send,
    ):
        labels = inputs.source.labels[plan.sources]
        places, digest = _write_tar(inputs.recipe.shards.codec, name, labels, parts, file, send)
        send()  # it reaches the disk while the manifest is made
        tar_bytes = file.tell()
        manifest = _manifest(context, name, plan, places, (tar_bytes, digest))
    publish_bytes(root / name.manifest, manifest, root / PARTIAL_NAME)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return ShardResult(name, tar_bytes, time.perf_counter() - begun, peak)


def _manifest(
    context: ShardContext,
    name: ShardName,
    plan: Plan,
    places: list[pa.Array],
    tar_content: tuple[int, str],
) -> bytes:
    """Return a shard's manifest, given its place columns and the tar's bytes and SHA-256."""
    num_samples = name.stop - name.start
    identity = context.recipe_hash, name.epoch, name.shard
    summary = ShardSummary(*identity, num_samples, *tar_content)
    fields = (*PLACE_FIELDS, *plan_fields(context.inputs.recipe.augmentation.family))
    manifest = io.BytesIO()
    write_manifest(manifest, summary, fields, [*places, *plan_columns(context.inputs, plan)])
    return manifest.getvalue()


def warm_up(context: ShardContext) -> None:
    """Make one sample and its manifest in memory: all that a shard needs is then loaded or compiled."""
    inputs = context.inputs

    def make() -> None:
        plan = draw_plan(inputs, 0, 0, 1)
        labels = inputs.source.labels[plan.sources]
        places, digest = _write_tar(
            inputs.recipe.shards.codec,
            ShardName(0, 0, 0, 1),
            labels,
            _rendered(inputs, plan),
            io.BytesIO(),
            lambda: None,
        )
        _manifest(context, ShardName(0, 0, 0, 1), plan, places, (0, digest))

    compile_once(kernel_set(inputs.recipe), make)


def kernel_set(recipe: Recipe) -> str:
    """Return the name of the set of kernels that a recipe needs."""
    kinds = recipe.source.kind, recipe.transform.kind, recipe.augmentation.family
    return "-".join((*kinds, recipe.shards.codec))


def chunk_rows(recipe: Recipe) -> int:
    """Return how many samples are rendered at a time."""
    return max(_MIN_CHUNK, _CHUNK_BYTES // (3 * recipe.transform.size**2))


def _rendered(inputs: Inputs, plan: Plan) -> Iterator[Encoded]:
    """Render a plan and encode its samples, some at a time."""
    chunk = chunk_rows(inputs.recipe)
    for start in range(0, len(plan.sources), chunk):
        samples = render_plan(inputs, plan.rows(start, start + chunk))
        yield _encode(samples, inputs.recipe.shards)


def _write_tar(
    codec: str,
    name: ShardName,
    labels: npt.NDArray[np.int32],
    parts: Iterable[Encoded],
    file: BinaryIO,
    send: Callable[[], None],
) -> tuple[list[pa.Array], str]:
    """Write a tar's content; return the manifest's place columns, and the content's SHA-256."""
    num = name.stop - name.start
    shard_keys = keys(name.epoch, name.start, name.stop)
    offsets, sizes = np.empty(num, np.int64), np.empty(num, np.int64)
    crcs = np.empty(num, np.uint32)
    sha256, num_bytes, num_sent = hashlib.sha256(), 0, 0
    done = 0
    for prefix, payloads in parts:
        rows = slice(done, done + len(payloads))
        done = rows.stop
        before = crc32(prefix)
        crcs[rows] = [crc32(payload, before) for payload in payloads]
        records = tar.pack(shard_keys[rows], codec, payloads, labels[rows], prefix)
        offsets[rows], sizes[rows] = records.offsets + num_bytes, records.sizes
        sha256.update(records.content.data)
        file.write(records.content.data)
        num_bytes += len(records.content)
        if num_bytes - num_sent >= _SEND_BYTES:
            send()
            num_sent = num_bytes
    sha256.update(tar.END_OF_ARCHIVE)
    file.write(tar.END_OF_ARCHIVE)
    places = [
        pa.array(shard_keys.view(f"S{shard_keys.shape[1]}").ravel().astype(str)),
        pa.array(np.full(num, name.epoch, np.int32)),
        pa.array(np.arange(name.start, name.stop)),
        pa.array(offsets),
        pa.array(sizes),
        pa.array(crcs),
    ]
    return places, sha256.hexdigest()


def _encode(samples: U8, config: ShardsConfig) -> Encoded:
    """Return what begins every payload, and the rest of each."""
    codec = CODECS[config.codec]
    if codec.prefix:
        return codec.prefix(samples.shape[1:]), samples.reshape(len(samples), -1)
    return b"", codec.encode(samples, config.quality)
