"""Test sets opened for evaluation: their variants, and the batches of each, from roots or rendered live.

Official arrays and folders are opened in `evaluation.official`; what a command line names, in
`evaluation.requests`; `evaluation.recognition` tells what a recipe is a test set of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import torch

from evaluation.open_set import I64, OpenSet, Part, SetBatch
from evaluation.predictions import Samples
from evaluation.recognition import Recognised, recognise
from evaluation.results import Kind
from evaluation.videos import video_numbers
from pipeline.executor import InlineExecutor
from pipeline.plan.base import draw_starts
from pipeline.recipe import Recipe, parse_recipe
from pipeline.sampling import source_order
from pipeline.shards.dataset import read_dataset
from pipeline.shards.lost import check_whole
from pipeline.shards.reader import read_manifest
from pipeline.sources import ClipSource, PictureSource, open_source
from pipeline.store import open_store
from pipeline.store.settings import public_text
from pipeline.stream import KeyedBatch, LiveStream, ShardDataset, ShardStream
from pipeline.variants import variants

Batches = Iterator[tuple[torch.Tensor, torch.Tensor, list[str]]]

_MANY_FRAMES = 31
_CLIP_AXES = 4


class Rows(NamedTuple):
    """What samples of an epoch are of, by position.

    Attributes:
        source_index: int64 [n].
        source_id: n names.
        starts: of clips int64 [n], the first frame of each; else None.
    """

    source_index: I64
    source_id: pa.ChunkedArray | pa.Array
    starts: I64 | None


# ── roots and recipes ──


def open_root(
    where: str,
    name: str | None = None,
    labelled: Kind | None = None,
    *,
    batch_size: int,
    cache_dir: str | None = None,
    cache_bytes: int | None = None,
) -> OpenSet:
    """Open a finished root, in a folder or an object store; of the latter with a cache if one is given.

    Raises:
        UsageError: it is no test set, or not the one that it is labelled as.
        DreamshardsError: it is missing, incomplete or damaged.
    """
    store, where = open_store(where), public_text(where)
    dataset = read_dataset(store)
    check_whole(dataset, str(store), "an evaluation counts every sample of a test set")
    recipe = parse_recipe(dataset["recipe"], f"recipe of {store}")
    name = name or str(dataset["name"])
    options: dict[str, Any] = {"cache_dir": cache_dir, "cache_bytes": cache_bytes}
    options["return_keys"] = True
    stream = ShardStream(store, batch_size=_samples_of(recipe, batch_size), **options)

    def rows(epoch: int) -> Rows:
        merged = dataset["manifests"][epoch]
        columns = ("source_index", "source_id", "start_frame")  # the last of clips alone
        table = read_manifest(store, merged["file"], merged["sha256"], columns)
        starts = None
        if "start_frame" in table.column_names:
            starts = table["start_frame"].to_numpy().astype(np.int64)
        return Rows(table["source_index"].to_numpy(), table["source_id"], starts)

    def chosen(part: Part, positions: I64, size: int) -> Batches:
        return _some(ShardDataset(store, part.place, **options), positions, size)

    num_samples = int(dataset["samples_per_epoch"])
    found = recognise(recipe, name, labelled)
    return _of_stream(stream, recipe, found, name, public_text(where), num_samples, rows, chosen)


def open_live(
    recipe: Recipe,
    where: str,
    name: str | None = None,
    labelled: Kind | None = None,
    *,
    batch_size: int,
) -> OpenSet:
    """Open a recipe, whose samples are rendered while they are read.

    Raises:
        UsageError: it is no test set, or not the one that it is labelled as.
        DreamshardsError: its inputs cannot be opened.
    """
    name = name or recipe.name
    found = recognise(recipe, name, labelled)
    stream = LiveStream(recipe, batch_size=_samples_of(recipe, batch_size), return_keys=True)
    source = open_source(stream.recipe.source, InlineExecutor())
    num = len(source.ids)

    def rows(epoch: int) -> Rows:
        order = source_order(stream.recipe, num, epoch, 0, num)
        starts = _starts(stream.recipe, source, epoch, order)
        return Rows(order, source.ids.take(pa.array(order)), starts)

    return _of_stream(stream, stream.recipe, found, name, where, num, rows, None)


def _starts(
    recipe: Recipe, source: PictureSource | ClipSource, epoch: int, order: I64
) -> I64 | None:
    """Return where each clip of an epoch starts, int64, by position; None where samples are pictures."""
    if not isinstance(source, ClipSource):
        return None
    drawn = draw_starts(
        source.starts[order],
        source.num_frames[order] - source.spans[order] + 1,
        seed=recipe.seed,
        epoch=epoch,
        start=0,
        stop=len(order),
    )
    return drawn.astype(np.int64)


def _samples_of(recipe: Recipe, batch_size: int) -> int:
    """Return the samples of a batch of so many pictures; each frame of a sequence or a clip counts."""
    sequences = any(each.frames for each in variants(recipe) or [])
    num_frames = recipe.clip_frames or (_MANY_FRAMES if sequences else 1)
    return max(1, batch_size // num_frames)


def _of_stream(
    stream: ShardStream | LiveStream,
    recipe: Recipe,
    found: Recognised,
    name: str,
    where: str,
    num_samples: int,
    rows: Callable[[int], Rows],
    some: Callable[[Part, I64, int], Batches] | None,
) -> OpenSet:
    parts, shape = [], stream.shape
    for part, severity, epoch in found.parts:
        stream.set_epoch(epoch)
        num_frames, shape = _split(stream.shape, found.kind)
        parts.append(Part(part, severity, epoch, num_samples, num_frames))
    videos = None
    if recipe.clip_frames is not None:  # epochs are of the same clips
        numbers = _videos(rows(parts[0].place))
        videos = {part.name: numbers for part in parts}

    def read(part: Part, chosen: I64 | None, batch_size: int) -> Iterator[SetBatch]:
        source_index, source_id, starts = rows(part.place)
        positions = np.arange(len(source_index))
        if chosen is not None:
            positions = np.flatnonzero(np.isin(source_index, chosen))
        if chosen is not None and some is not None:
            batches = some(part, positions, max(1, batch_size // part.num_frames))
        else:
            batches = _through(stream, part, positions)
        done = 0
        for images, labels, keys in batches:
            at = positions[done : done + len(labels)]
            done += len(labels)
            names = source_id.take(pa.array(at)).to_pylist()
            place = part.name, part.severity
            begun = None if starts is None else starts[at]
            yield images, Samples(*place, keys, source_index[at], names, labels.numpy(), begun)

    digest = str(stream.state_dict(batches=0)["root"])
    return OpenSet(
        name,
        found.kind,
        where,
        digest,
        stream.classes,
        parts,
        found.benchmark,
        shape,
        read,
        recipe.source.kind,
        found.difficulty,
        videos,
        getattr(recipe.source, "hop", None),
    )


def _split(shape: tuple[int, ...], kind: Kind) -> tuple[int, tuple[int, ...]]:
    """Return the frames of a sample and the shape of the network's input: of kind `p` one frame."""
    if kind == "p":
        return shape[0], shape[1:]
    return (shape[0] if len(shape) == _CLIP_AXES else 1), shape


def _videos(rows: Rows) -> I64:
    """Return the number of each clip's video, int64 [n] by `source_index`."""
    return video_numbers(rows.source_id.take(pa.array(np.argsort(rows.source_index))))


def _through(stream: ShardStream | LiveStream, part: Part, positions: I64) -> Batches:
    """Read an epoch from the first of some rising positions to the last, and leave out those between."""
    if len(positions) == 0:
        return
    start, last = int(positions[0]), int(positions[-1])
    stream.set_epoch(part.place)
    stream.load_state_dict(stream.state_dict(batches=0) | {"epoch": part.place, "position": start})
    for images, labels, keys in cast(Iterable[KeyedBatch], stream):
        stop = start + len(labels)
        at = positions[np.searchsorted(positions, start) : np.searchsorted(positions, stop)]
        if len(at) == len(labels):
            yield images, labels, keys
        elif len(at):
            rows = torch.from_numpy(at - start)
            yield images[rows], labels[rows], [keys[row] for row in rows]
        if stop > last:
            return
        start = stop


def _some(dataset: ShardDataset, positions: I64, batch_size: int) -> Batches:
    """Read some positions of an epoch, and no others."""
    for start in range(0, len(positions), batch_size):
        batch: Any = dataset.__getitems__(positions[start : start + batch_size].tolist())
        yield batch.batch
