"""One shard, from decisions to committed files. Runs in a Ray worker or inline; knows neither."""

from __future__ import annotations

import hashlib
import io
import math
import resource
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from isal.isal_zlib import crc32

from pipeline.errors import DreamshardsError
from pipeline.recipe import Recipe
from pipeline.render.jit import compile_once
from pipeline.render.slots import Slots
from pipeline.sampling import (
    Inputs,
    Plan,
    draw_plan,
    encode_samples,
    parts_ahead,
    plan_columns,
    plan_fields,
    plan_shape,
    render_into,
    render_plan,
    sample_bytes,
)
from pipeline.shards import tar
from pipeline.shards.codecs import CODECS
from pipeline.shards.dataset import read_sealed
from pipeline.shards.layout import RECIPE_NAME, ShardName, key_of, keys_of
from pipeline.shards.manifest import PLACE_FIELDS, Loss, ShardSummary, texts, write_manifest
from pipeline.store import Store, Writing
from pipeline.variants import variants

U8 = npt.NDArray[np.uint8]

_CHUNK_BYTES, _MIN_CHUNK = 1 << 19, 16
"""Pixels rendered at a time, and fewest pictures: small enough for the cache of a core."""

_PICTURE_AXES = 3
_SEND_BYTES = 16 << 20
"""A tar is sent to the disk in pieces of this size, while the next is rendered."""


@dataclass(frozen=True)
class ShardContext:
    """What every shard of a build shares.

    Attributes:
        begun: the store holds the recipe.json of this build, and a node that does not see it makes nothing.
    """

    inputs: Inputs
    recipe_hash: str
    store: Store
    begun: bool = False


@dataclass(frozen=True)
class ShardResult:
    """What became of one shard: its size, lost samples, the time it took, the worker's peak memory so far.

    Attributes:
        made: by this job, and not by another driver meanwhile, of which nothing else is told.
    """

    name: ShardName
    tar_bytes: int
    num_lost: int
    seconds: float
    peak_memory_bytes: int
    made: bool = True

    @classmethod
    def found(cls, name: ShardName) -> ShardResult:
        """Return what is said of a shard that was there."""
        return cls(name, 0, 0, 0.0, 0, made=False)


class Contents(NamedTuple):
    """What a shard holds.

    Attributes:
        plan: of its samples, n rows.
        positions: int64 [n], of its samples.
        losses: what it leaves out.
    """

    plan: Plan
    positions: npt.NDArray[np.int64]
    losses: tuple[Loss, ...] = ()

    @classmethod
    def of(cls, plan: Plan, name: ShardName) -> Contents:
        """Return all that a shard is to hold."""
        return cls(plan, np.arange(name.start, name.stop))


class Lossy(NamedTuple):
    """A shard without some of its samples.

    Attributes:
        name: of the shard.
        positions: ascending, of those that cannot be made.
        reason: why not.
    """

    name: ShardName
    positions: tuple[int, ...]
    reason: str


def build_shard(context: ShardContext, name: ShardName) -> ShardResult:
    """Plan, render, encode and pack one shard, and commit it: the tar first, its manifest after.

    A shard that is there is left as it is.

    Raises:
        DreamshardsError: the shard cannot be written, or a source picture cannot be read.
    """
    return build_without(context, Lossy(name, (), ""))


def build_without(context: ShardContext, job: Lossy) -> ShardResult:
    """Build a shard as `build_shard` does, less the samples that cannot be made: its manifest names them.

    Raises:
        DreamshardsError: as `build_shard`.
    """
    begun, name = time.perf_counter(), job.name
    check_seen(context)
    if is_committed(context.store, name):
        return ShardResult.found(name)
    plan = draw_plan(context.inputs, name.epoch, name.start, name.stop)
    rows = np.arange(name.start, name.stop)
    if job.positions:
        kept = ~np.isin(rows, job.positions)
        losses = _losses(context.inputs, plan.take(np.flatnonzero(~kept)), job)
        contents = Contents(plan.take(np.flatnonzero(kept)), rows[kept], losses)
    else:
        contents = Contents(plan, rows)
    return commit_shard(context, name, contents, _rendered(context.inputs, contents.plan), begun)


def is_committed(store: Store, name: ShardName) -> bool:
    """Tell whether a shard is there, perhaps made by another driver meanwhile."""
    return store.exists(name.manifest) and store.exists(name.tar)


_seen: set[tuple[str, str]] = set()
"""Roots that this process has seen, with the hash of their recipe."""


def check_seen(context: ShardContext) -> None:
    """Refuse a root that this node does not see: what it would write there would be lost to the build.

    Raises:
        DreamshardsError: recipe.json is not there, or is another build's.
    """
    root = str(context.store), context.recipe_hash
    if not context.begun or root in _seen:
        return
    stored = read_sealed(context.store, RECIPE_NAME)
    if stored is None or stored["recipe_hash"] != context.recipe_hash:
        what = "does not see" if stored is None else "sees another build at"
        raise DreamshardsError(
            f"node {socket.gethostname()} {what} {context.store}; put it on storage that every node sees, "
            "or give --out a URI"
        )
    _seen.add(root)


def try_span(context: ShardContext, span: ShardName) -> None:
    """Plan, render and encode the positions of a span, and keep nothing: this process survives it or not."""
    inputs = context.inputs
    plan = draw_plan(inputs, span.epoch, span.start, span.stop)
    contents = Contents.of(plan, span)
    _write_tar(inputs, span.epoch, contents, _rendered(inputs, plan), _Discarded())


def _losses(inputs: Inputs, plan: Plan, job: Lossy) -> tuple[Loss, ...]:
    """Return what is said of the samples left out, given their plan."""
    ids = inputs.source.ids.take(pa.array(plan.sources)).to_pylist()
    places = zip(job.positions, plan.sources.tolist(), ids, strict=True)
    return tuple(
        Loss(key_of(job.name.epoch, position), source, name, job.reason)
        for position, source, name in places
    )


def commit_shard(
    context: ShardContext,
    name: ShardName,
    contents: Contents,
    parts: Iterable[tar.Payloads],
    begun: float,
) -> ShardResult:
    """Pack a shard's samples and commit it: the tar first, its manifest after.

    Args:
        parts: the samples' payloads, some at a time, in the order of `contents`.
        begun: when the work on this shard began, by `time.perf_counter`.

    Raises:
        DreamshardsError: the shard cannot be written, or what `parts` raises.
    """
    inputs = context.inputs
    recipe = inputs.recipe
    try:
        with context.store.create(name.tar) as file:
            if CODECS[recipe.shards.codec].prefix is not None:
                each = sample_bytes(recipe, name.epoch)
                num = len(contents.positions)
                file.reserve(each * num + len(tar.END_OF_ARCHIVE))  # exact for these codecs
            places, digest = _write_tar(inputs, name.epoch, contents, parts, file)
            file.send()  # it reaches the disk while the manifest is made
            tar_bytes = file.tell()
            manifest = _manifest(context, name, contents, places, (tar_bytes, digest))
            if is_committed(context.store, name):
                raise _CommittedMeanwhile
    except _CommittedMeanwhile:
        return ShardResult.found(name)
    context.store.write(name.manifest, manifest)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = time.perf_counter() - begun
    return ShardResult(name, tar_bytes, len(contents.losses), seconds, peak)


class _CommittedMeanwhile(Exception):  # noqa: N818 - no error
    """Another driver was faster: what it published is not written again."""


def _manifest(
    context: ShardContext,
    name: ShardName,
    contents: Contents,
    places: list[pa.Array],
    tar_content: tuple[int, str],
) -> bytes:
    """Return a shard's manifest, given its place columns and the tar's bytes and SHA-256."""
    identity = context.recipe_hash, name.epoch, name.shard
    summary = ShardSummary(*identity, len(contents.positions), *tar_content, losses=contents.losses)
    fields = (*PLACE_FIELDS, *plan_fields(context.inputs.recipe))
    manifest = io.BytesIO()
    columns = plan_columns(context.inputs, contents.plan)
    write_manifest(manifest, summary, fields, [*places, *columns])
    return manifest.getvalue()


class _Discarded:
    """Takes an object's bytes and keeps their number."""

    def __init__(self) -> None:
        self._num_bytes = 0

    def write(self, content: bytes | memoryview | U8, /) -> int:
        self._num_bytes += len(content)
        return len(content)

    def tell(self) -> int:
        return self._num_bytes

    def reserve(self, num_bytes: int) -> None:
        """Need no room."""

    def send(self) -> None:
        """Send nothing."""


def warm_up(context: ShardContext) -> None:
    """Make a sample of each variant and its manifest in memory: all that a shard needs is then loaded."""
    inputs = context.inputs

    def make(epoch: int) -> None:
        name = ShardName(epoch, 0, 0, 1)
        plan = draw_plan(inputs, epoch, name.start, name.stop)
        contents = Contents.of(plan, name)
        places, digest = _write_tar(inputs, epoch, contents, _rendered(inputs, plan), _Discarded())
        _manifest(context, name, contents, places, (0, digest))

    for name, epoch in kernel_sets(inputs.recipe).items():
        compile_once(name, partial(make, epoch))


def kernel_sets(recipe: Recipe) -> dict[str, int]:
    """Return the names of the sets of kernels that a recipe needs, each with an epoch that needs it."""
    kinds = recipe.source.kind, recipe.transform.kind, recipe.augmentation.family
    name = "-".join((*kinds, recipe.shards.codec))
    if recipe.augmentation.family == "vpixmix":
        name += f"-{recipe.augmentation.picture}-{recipe.augmentation.draws}"
    found = variants(recipe)
    if found is None:
        return {name: 0}
    sets: dict[str, int] = {}
    for epoch, variant in enumerate(found):
        sets.setdefault(f"{name}-{variant.name}-{recipe.transform.size}", epoch)
    return sets


def chunk_rows(recipe: Recipe, shape: tuple[int, ...] | None = None) -> int:
    """Return how many samples are rendered at a time: of `shape`, by default pictures."""
    if shape is not None and len(shape) > _PICTURE_AXES:
        return max(1, _CHUNK_BYTES // math.prod(shape))
    return max(_MIN_CHUNK, _CHUNK_BYTES // (3 * recipe.transform.size**2))


def _rendered(inputs: Inputs, plan: Plan) -> Iterator[tar.Payloads]:
    """Render a plan and encode its samples, some at a time."""
    recipe = inputs.recipe
    codec, shape = CODECS[recipe.shards.codec], plan_shape(inputs, plan)
    for rows in parts_ahead(inputs, plan, chunk_rows(recipe, shape)):
        if codec.prefix is None:
            yield encode_samples(recipe, render_plan(inputs, rows))
        else:
            fill = partial(_fill, inputs, rows)
            yield tar.InPlace(len(rows.sources), codec.prefix(shape), math.prod(shape), fill)


def _fill(inputs: Inputs, plan: Plan, content: U8, first: int, stride: int) -> None:
    render_into(inputs, plan, Slots(content, first, stride))


def _write_tar(
    inputs: Inputs,
    epoch: int,
    contents: Contents,
    parts: Iterable[tar.Payloads],
    file: Writing,
) -> tuple[list[pa.Array], str]:
    """Write a tar's content; return the manifest's place columns, and the content's SHA-256."""
    codec, positions = inputs.recipe.shards.codec, contents.positions
    labels = inputs.source.labels[contents.plan.sources]
    num = len(positions)
    shard_keys = keys_of(epoch, positions)
    offsets, sizes = np.empty(num, np.int64), np.empty(num, np.int64)
    crcs = np.empty(num, np.uint32)
    sha256, num_bytes, num_sent = hashlib.sha256(), 0, 0
    done = 0
    for payloads in parts:
        num_payloads = payloads.num if isinstance(payloads, tar.InPlace) else len(payloads)
        rows = slice(done, done + num_payloads)
        done = rows.stop
        records = tar.pack(shard_keys[rows], codec, payloads, labels[rows])
        content = records.content.data
        ends = (records.offsets + records.sizes).tolist()
        places = zip(records.offsets.tolist(), ends, strict=True)
        crcs[rows] = [crc32(content[start:stop]) for start, stop in places]
        offsets[rows], sizes[rows] = records.offsets + num_bytes, records.sizes
        sha256.update(content)
        file.write(content)
        num_bytes += len(content)
        if num_bytes - num_sent >= _SEND_BYTES:
            file.send()
            num_sent = num_bytes
    sha256.update(tar.END_OF_ARCHIVE)
    file.write(tar.END_OF_ARCHIVE)
    columns = [
        texts(shard_keys),
        pa.array(np.full(num, epoch, np.int32)),
        pa.array(positions),
        pa.array(offsets),
        pa.array(sizes),
        pa.array(crcs),
    ]
    return columns, sha256.hexdigest()
