"""Reading what a preview shows: samples from their shards, and what they were made from, rendered again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.augmentation_sections import VPixMixConfig
from pipeline.captions import (
    describe_base,
    describe_captions,
    describe_dataset,
    describe_steps,
    printable,
)
from pipeline.executor import Executor
from pipeline.families import FAMILIES
from pipeline.preview.content import About, Cell, ClipPreview, Film, Preview, Strip, Take
from pipeline.preview.modes import compare_modes
from pipeline.preview.videos import why_no_videos
from pipeline.recipe import Recipe
from pipeline.replay import Rendered, render_rows
from pipeline.sampling import Inputs
from pipeline.shards.codecs import CODECS
from pipeline.shards.dataset import Json
from pipeline.shards.layout import epoch_manifest
from pipeline.shards.reader import find_shard, read_payload, rows_of_sources
from pipeline.sources import ClipSource
from pipeline.store import Store

U8 = npt.NDArray[np.uint8]

_PICTURE_AXES = 3
_FRAMES_PER_S = 25.0
"""The rate of UCF101, at which clips play unless the recipe names another."""


class _Shown(NamedTuple):
    """Some samples of one epoch: their manifest rows, the samples, and what they were made from."""

    rows: pa.Table
    stored: list[U8]
    rendered: Rendered
    lines: list[list[str]]


def gather_pictures(
    root: Store, dataset: Json, inputs: Inputs, epochs: list[int], sources: list[int]
) -> Preview:
    """Read the samples that some source pictures became in a few epochs, and what they were made from.

    Raises:
        DreamshardsError: a manifest or a tar is missing, short or altered.
    """
    source = inputs.source
    assert not isinstance(source, ClipSource)
    shown = [_read(root, dataset, inputs, epoch, sources) for epoch in epochs]
    strips = [
        Strip(*_names(dataset, inputs, index), source.read(index), [_cell(one, i) for one in shown])
        for i, index in enumerate(sources)
    ]
    what = f"{len(sources):,} of {dataset['samples_per_epoch']:,} source pictures"
    return Preview(_about(dataset, inputs, f"{what}, {_some(epochs, dataset)}"), strips)


def gather_clips(
    root: Store,
    dataset: Json,
    inputs: Inputs,
    epochs: list[int],
    sources: list[int],
    executor: Executor,
) -> ClipPreview:
    """Read the clips that some sources became in a few epochs; of V-PixMix also compare its modes.

    Raises:
        DreamshardsError: as `gather_pictures`, or a mixing set for comparison cannot be made.
    """
    shown = [_read(root, dataset, inputs, epoch, sources) for epoch in epochs]
    films = [
        Film(
            *_names(dataset, inputs, index),
            _frame(shown[0].rendered.clean[i]),
            [_take(one, i) for one in shown],
        )
        for i, index in enumerate(sources)
    ]
    recipe = inputs.recipe
    comparison = None
    if isinstance(recipe.augmentation, VPixMixConfig) and sources:
        comparison = compare_modes(inputs, epochs[0], executor)
    what = "source pictures" if recipe.clip_frames is None else "source clips"
    subtitle = f"{len(sources):,} of {dataset['samples_per_epoch']:,} {what}"
    about = _about(dataset, inputs, f"{subtitle}, {_some(epochs, dataset)}")
    return ClipPreview(about, _frames_per_s(recipe), films, comparison, why_no_videos())


def _about(dataset: Json, inputs: Inputs, subtitle: str) -> About:
    return About(
        name=dataset["name"],
        subtitle=subtitle,
        size=inputs.recipe.transform.size,
        partner=FAMILIES[inputs.recipe.augmentation.family].partner,
        facts=[(name, printable(value)) for name, value in describe_dataset(dataset)],
        meanings=describe_captions(dataset),
    )


def _some(epochs: list[int], dataset: Json) -> str:
    return f"{len(epochs)} of {dataset['epochs']:,} epochs"


def _names(dataset: Json, inputs: Inputs, index: int) -> tuple[str, str]:
    """Return id and class name of a source sample."""
    label = int(inputs.source.labels[index])
    return printable(inputs.source.ids[index].as_py()), printable(dataset["classes"][label])


def _read(root: Store, dataset: Json, inputs: Inputs, epoch: int, sources: list[int]) -> _Shown:
    rows = rows_of_sources(root, epoch_manifest(epoch), sources)
    codec = CODECS[dataset["sample"]["codec"]]
    facts = rows.to_pylist()
    stored = [
        codec.decode(read_payload(root, find_shard(dataset, row["key"])[0], rows, i))
        for i, row in enumerate(facts)
    ]
    lines = [
        [printable(line) for line in (describe_base(row), *describe_steps(row))] for row in facts
    ]
    return _Shown(rows, stored, render_rows(inputs, rows), lines)


def _cell(shown: _Shown, i: int) -> Cell:
    key = shown.rows["key"][i].as_py()
    return Cell(key, shown.rendered.mixing[i], shown.stored[i], shown.lines[i])


def _take(shown: _Shown, i: int) -> Take:
    mixing = shown.rendered.mixing[i]
    return Take(
        shown.rows["key"][i].as_py(),
        _clip(shown.rendered.bases[i]),
        None if mixing is None else _clip(mixing),
        shown.stored[i],
        shown.lines[i],
    )


def _clip(pixels: U8) -> U8:
    """Return a clip; one frame of a picture, and of a clip whose frames are all the same."""
    if pixels.ndim == _PICTURE_AXES:
        return pixels[None]
    still = all(np.array_equal(frame, pixels[0]) for frame in pixels[1:])
    return pixels[:1] if still else pixels


def _frame(pixels: U8) -> U8:
    """Return a picture, or the first frame of a clip."""
    return pixels if pixels.ndim == _PICTURE_AXES else pixels[0]


def _frames_per_s(recipe: Recipe) -> float:
    """Return the rate at which clips pass as fast as their videos did."""
    rate: float | None = getattr(recipe.source, "frame_rate", None)
    stride: int = getattr(recipe.source, "stride", 1)
    return rate or _FRAMES_PER_S / stride
