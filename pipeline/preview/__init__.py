"""Showing a finished dataset: its sources, what their samples met, and the pixels stored.

Owns which samples are shown and the files written; `gather` and `modes` own what of them, `page`,
`clip_page`, `sheet` and `videos` how.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from pipeline.executor import Executor
from pipeline.inputs import reopen_inputs
from pipeline.preview.clip_page import render_clip_page
from pipeline.preview.content import ClipPreview, Preview
from pipeline.preview.gather import gather_clips, gather_pictures
from pipeline.preview.html import GENERATOR
from pipeline.preview.page import render_page
from pipeline.preview.sheet import draw_sheet
from pipeline.preview.videos import PATTERN, write_video
from pipeline.publish import publish, publish_bytes
from pipeline.shards.dataset import Json, read_dataset
from pipeline.store import LocalStore, Root, Store, open_store
from pipeline.variants import variants_of

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

SHEET_NAME = "contact-sheet.png"
PAGE_NAME = "index.html"
_NUM_PICTURES, _NUM_CLIPS = 12, 4
"""Sources shown by default."""

_MAX_EPOCHS, _MAX_CLIP_EPOCHS, _MAX_VARIANTS = 4, 2, 15
"""Epochs shown: the first of those that differ by chance, one for each kind of variant of a test set."""


def preview(
    root: Root, out: Path, num_samples: int | None, overrides: Sequence[str], executor: Executor
) -> list[Path]:
    """Write a contact sheet and a page of up to `num_samples` sources, and videos of clips; return paths.

    By default 12 source pictures are shown, or 4 source clips, whose page plays them.

    Raises:
        UsageError: `out` cannot take them.
        DreamshardsError: the root is not complete or is damaged, its inputs are not found, or `out`
            is not writable.
    """
    store = open_store(root)
    dataset = read_dataset(store)
    _check_out(store, out)
    inputs = reopen_inputs(store, dataset, overrides, executor)
    clips = inputs.recipe.makes_clips
    most = num_samples or (_NUM_CLIPS if clips else _NUM_PICTURES)
    sources = choose_sources(inputs.source.labels, most)
    epochs = choose_epochs(dataset, _MAX_CLIP_EPOCHS if clips else _MAX_EPOCHS)
    if not clips:
        shown = gather_pictures(store, dataset, inputs, epochs, sources)
        return [_write_sheet(out, shown), _write_page(out, render_page(shown))]
    played = gather_clips(store, dataset, inputs, epochs, sources, executor)
    videos = _write_videos(out, played)
    return [_write_sheet(out, played), _write_page(out, render_clip_page(played)), *videos]


def _write_sheet(out: Path, shown: Preview | ClipPreview) -> Path:
    with publish(out / SHEET_NAME) as file:
        draw_sheet(shown).save(file, "PNG")
    return out / SHEET_NAME


def _write_page(out: Path, page: str) -> Path:
    publish_bytes(out / PAGE_NAME, page.encode())
    return out / PAGE_NAME


def _write_videos(out: Path, shown: ClipPreview) -> list[Path]:
    """Write the samples' videos where that is possible; those of an earlier preview go."""
    if (out / PAGE_NAME).exists():  # it is ours
        for path in out.glob(PATTERN):
            path.unlink()
    if shown.no_videos is not None:
        return []
    takes = [take for film in shown.films for take in film.takes]
    return [write_video(out, take, shown.about.partner, shown.frames_per_s) for take in takes]


def _check_out(root: Store, out: Path) -> None:
    """Refuse a folder inside the root, a file, and a folder whose page is somebody else's."""
    if isinstance(root, LocalStore) and out.resolve().is_relative_to(root.folder.resolve()):
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


# ── which samples are shown ──


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


def choose_epochs(dataset: Json, most: int = _MAX_EPOCHS) -> list[int]:
    """Return the epochs to show: the first `most`; of a test set, a middling one of each kind of variant."""
    found = variants_of(dataset)
    if found is None:
        return list(range(min(most, dataset["epochs"])))
    by_name: dict[str, list[int]] = {}
    for epoch, variant in enumerate(found):
        by_name.setdefault(variant.name, []).append(epoch)
    middles = [epochs[len(epochs) // 2] for epochs in by_name.values()]
    return [middles[i] for i in _spread(len(middles), min(_MAX_VARIANTS, len(middles)))]
