"""Showing a finished dataset: source pictures, what their samples met, and the pixels stored.

Owns what is shown; `page` and `sheet` own how.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.captions import (
    describe_base,
    describe_captions,
    describe_dataset,
    describe_steps,
    printable,
)
from pipeline.errors import UsageError
from pipeline.executor import Executor
from pipeline.families import FAMILIES
from pipeline.inputs import reopen_inputs
from pipeline.preview.content import Cell, Preview, Strip
from pipeline.preview.page import GENERATOR, render_page
from pipeline.preview.sheet import draw_sheet
from pipeline.publish import publish, publish_bytes
from pipeline.replay import render_rows
from pipeline.sampling import Inputs
from pipeline.shards.codecs import CODECS
from pipeline.shards.dataset import Json, read_dataset
from pipeline.shards.layout import epoch_manifest
from pipeline.shards.reader import find_shard, read_payload, rows_of_sources
from pipeline.sources import ClipSource, PictureSource
from pipeline.variants import variants_of

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

_PICTURE_AXES = 3

SHEET_NAME = "contact-sheet.png"
PAGE_NAME = "index.html"
_MAX_EPOCHS, _MAX_VARIANTS = 4, 15
"""Epochs shown: the first of those that differ by chance, one for each kind of variant of a test set."""


def preview(
    root: Path, out: Path, num_samples: int, overrides: Sequence[str], executor: Executor
) -> list[Path]:
    """Write a contact sheet and a page of up to `num_samples` source pictures; return their paths.

    Raises:
        UsageError: `out` cannot take them.
        DreamshardsError: the root is not complete or is damaged, its inputs are not found, or `out`
            is not writable.
    """
    dataset = read_dataset(root)
    _check_out(root, out)
    inputs = reopen_inputs(root, dataset, overrides, executor)
    shown = gather(root, dataset, inputs, choose_sources(inputs.source.labels, num_samples))
    with publish(out / SHEET_NAME) as file:
        draw_sheet(shown).save(file, "PNG")
    publish_bytes(out / PAGE_NAME, render_page(shown).encode())
    return [out / SHEET_NAME, out / PAGE_NAME]


def _check_out(root: Path, out: Path) -> None:
    """Refuse a folder inside the root, a file, and a folder whose page is somebody else's."""
    if out.resolve().is_relative_to(root.resolve()):
        raise UsageError(
            f"--out {out} lies inside the dataset {root}, where `dreamshards verify` would call the "
            "files foreign; nothing was written; give --out a folder beside it"
        )
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give --out a folder")
    page = out / PAGE_NAME
    try:
        with page.open("rb") as file:
            ours = GENERATOR.encode() in file.read(1000)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{page}: {error.strerror}; give --out another folder") from error
    if not ours:
        raise UsageError(
            f"{page} was not made by a preview and is left as it is; give --out another folder"
        )


# ── what is shown ──


def choose_sources(labels: I32, num_samples: int) -> list[int]:
    """Return up to `num_samples` source indices, by class.

    As many classes as possible appear, evenly spread, and so do the pictures of each.
    """
    order = np.argsort(labels, kind="stable")
    counts = np.unique(labels, return_counts=True)[1]
    quotas = np.zeros_like(counts)
    left = min(num_samples, len(labels))
    while left:
        takers = np.flatnonzero(quotas < counts)
        takers = takers[_spread(len(takers), min(left, len(takers)))]
        quotas[takers] += 1
        left -= len(takers)
    starts = np.cumsum(counts) - counts
    places = [
        start + _spread(count, quota)
        for start, count, quota in zip(
            starts.tolist(), counts.tolist(), quotas.tolist(), strict=True
        )
        if quota
    ]
    return order[np.concatenate(places)].tolist() if places else []


def _spread(total: int, num: int) -> I64:
    """Return `num` different indices below `total`, evenly apart."""
    return (2 * np.arange(num, dtype=np.int64) + 1) * total // (2 * max(num, 1))


def gather(root: Path, dataset: Json, inputs: Inputs, sources: list[int]) -> Preview:
    """Read the samples that some sources became in a few epochs, and what they were made from.

    Raises:
        DreamshardsError: a manifest or a tar is missing, short or altered.
    """
    epochs = choose_epochs(dataset)
    columns = [_epoch_cells(root, dataset, inputs, epoch, sources) for epoch in epochs]
    source = inputs.source
    strips = [
        Strip(
            printable(source.ids[index].as_py()),
            printable(dataset["classes"][int(source.labels[index])]),
            _clean(source, index),
            [cells[i] for cells in columns],
        )
        for i, index in enumerate(sources)
    ]
    return Preview(
        name=dataset["name"],
        subtitle=f"{len(sources):,} of {dataset['samples_per_epoch']:,} source pictures, "
        f"{len(epochs)} of {dataset['epochs']:,} epochs",
        size=inputs.recipe.transform.size,
        partner=FAMILIES[inputs.recipe.augmentation.family].partner,
        facts=[(name, printable(value)) for name, value in describe_dataset(dataset)],
        meanings=describe_captions(dataset),
        strips=strips,
    )


def _clean(source: PictureSource | ClipSource, index: int) -> U8:
    """Return a source picture; of a source of clips the first frame of a clip."""
    if isinstance(source, ClipSource):
        frame: U8 = source.read_clip(index, max(0, int(source.starts[index])))[0]
        return frame
    return source.read(index)


def choose_epochs(dataset: Json) -> list[int]:
    """Return the epochs to show: the first few; of a test set, a middling one of each kind of variant."""
    found = variants_of(dataset)
    if found is None:
        return list(range(min(_MAX_EPOCHS, dataset["epochs"])))
    by_name: dict[str, list[int]] = {}
    for epoch, variant in enumerate(found):
        by_name.setdefault(variant.name, []).append(epoch)
    middles = [epochs[len(epochs) // 2] for epochs in by_name.values()]
    return [middles[i] for i in _spread(len(middles), min(_MAX_VARIANTS, len(middles)))]


def _epoch_cells(
    root: Path, dataset: Json, inputs: Inputs, epoch: int, sources: list[int]
) -> list[Cell]:
    rows = rows_of_sources(root, epoch_manifest(epoch), sources)
    codec = CODECS[dataset["sample"]["codec"]]
    mixing = render_rows(inputs, rows).mixing
    cells = []
    for i, row in enumerate(rows.to_pylist()):
        sample = codec.decode(read_payload(root, find_shard(dataset, row["key"])[0], rows, i))
        frames = sample[None] if sample.ndim == _PICTURE_AXES else sample[[0, len(sample) // 2, -1]]
        lines = [printable(line) for line in (describe_base(row), *describe_steps(row))]
        cells.append(Cell(row["key"], mixing[i], frames[0], lines, tuple(frames[1:])))
    return cells
