"""Reading files of predictions for a report: what is pooled, what failed worst, and which samples to show.

One pass over each file, a variant at a time; of its rows only confidences and a few samples are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.predictions import About, read_about, read_variants
from evaluation.videos import units, video_numbers
from pipeline.errors import DreamshardsError

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]

NUM_WORST = 12
"""Failures shown of a set."""
MAX_OF_VARIANT = 2
"""Of them from one corruption, so that the hardest does not fill the page."""
NUM_ANOMALIES = 5
_NUM_VIDEOS = 3
"""Videos shown of a set of windows."""
_CANDIDATES = NUM_WORST
"""Read of a variant. No more can matter: what is passed over there has its source picked already."""


class Seen(NamedTuple):
    """A sample with what the model made of it; the fields are the columns of `evaluation.predictions`.

    Attributes:
        label: its true class, None of an anomaly.
        predictions: the class predicted, of sequences one a frame.
        confidence: None of sequences.
        start_frame: of a clip where in its video it starts.
    """

    set: str
    variant: str
    severity: int | None
    key: str | None
    source_index: int
    source_id: str
    label: int | None
    predictions: tuple[int, ...]
    confidence: float | None
    start_frame: int | None = None


@dataclass
class Predicted:
    """What a report takes from the predictions of one set.

    Attributes:
        about: what the file is of.
        confidence: float64 [n], of all its pictures or videos; empty for sequences and anomalies.
        correct: bool [n].
        worst: its most confident mistakes, each source picture once; of anomalies the most confident.
        shown: the samples of one source picture, by variant and severity; of sequences too. Of windows all
            of a few videos, those whose answers change most often.
    """

    about: About
    confidence: F64
    correct: Bool
    worst: list[Seen] = field(default_factory=list)
    shown: list[Seen] = field(default_factory=list)


class Originals:
    """The clean set, where the original of a sample is looked up; that of a clip by its video alone."""

    def __init__(self, path: Path) -> None:
        about = read_about(path)
        self._known_by = _known_by(about)
        self._rows = pa.concat_tables(map(units, read_variants(path)))
        self._index: I64 = self._rows["source_index"].to_numpy()

    def find(self, source_index: int, source_id: str) -> Seen | None:
        """Return the clean sample of a source picture, None where it is not there or has another name."""
        if self._known_by == "source_id":
            video = pc.index(self._rows["source_id"], source_id).as_py()
            return None if video < 0 else _seen(self._rows, video)
        place = int(np.searchsorted(self._index, source_index))
        if place == len(self._index) or self._index[place] != source_index:
            return None
        found = _seen(self._rows, place)
        return found if found.source_id == source_id else None

    def right(self) -> frozenset[int | str]:
        """Return the source indices, of clips the videos, that the model has right when clean."""
        hits = self._rows["prediction"].to_numpy() == self._rows["label"].to_numpy()
        return frozenset(self._rows.filter(pa.array(hits))[self._known_by].to_pylist())


def _known_by(about: About | None) -> str:
    """Return by which column a sample is the same in two sets: clips of a video may be others in each."""
    return "source_id" if about is not None and about.clips else "source_index"


def read_predicted(path: Path, right_when_clean: frozenset[int | str]) -> Predicted:
    """Return what a report takes from a file.

    The source picture shown is the first of the first variant that the model has right when clean, else the
    first.

    Raises:
        DreamshardsError: there is no such file, or it is damaged.
    """
    about = read_about(path)
    if about is None:
        raise DreamshardsError(f"{path}: no such file of predictions; evaluate the set again")
    if about.kind == "windows":
        return _read_windows(path, about)
    confidence, correct, worst = [], [], []
    shown: list[Seen] = []
    chosen: int | None = None
    for order, rows in enumerate(map(units, read_variants(path))):
        index: I64 = rows["source_index"].to_numpy()
        if chosen is None:
            known = zip(index.tolist(), rows[_known_by(about)].to_pylist(), strict=True)
            chosen = next((i for i, name in known if name in right_when_clean), int(index[0]))
        shown += [_seen(rows, place) for place in np.flatnonzero(index == chosen)[:1].tolist()]
        if about.kind == "p":
            continue
        sure: F64 = rows["confidence"].to_numpy()
        if about.kind == "ood":
            worst += _most_confident(rows, sure, np.arange(len(sure)), order)[:NUM_ANOMALIES]
            continue
        hits: Bool = rows["prediction"].to_numpy() == rows["label"].to_numpy()
        confidence.append(sure)
        correct.append(hits)
        worst += _most_confident(rows, sure, np.flatnonzero(~hits), order)
    if about.kind == "ood":
        picked, shown = [seen for _, seen in worst], []
    else:
        picked = _pick(worst)
    empty: F64 = np.zeros(0)
    return Predicted(
        about,
        np.concatenate([empty, *confidence]),
        np.concatenate([np.zeros(0, np.bool_), *correct]),
        picked,
        shown,
    )


def _most_confident(
    rows: pa.Table, confidence: F64, among: I64, order: int
) -> list[tuple[tuple[float, int, int, int], Seen]]:
    """Return the surest of some rows, each with its place: surest, then mildest, then in file order."""
    surest = among[np.argsort(-confidence[among], kind="stable")][:_CANDIDATES]
    found = (_seen(rows, place) for place in surest.tolist())
    return [
        ((-(seen.confidence or 0.0), seen.severity or 0, order, seen.source_index), seen)
        for seen in found
    ]


def _pick(candidates: Sequence[tuple[tuple[float, int, int, int], Seen]]) -> list[Seen]:
    """Return the worst of all variants, each source picture once, and few of one variant."""
    picked: list[Seen] = []
    for _, seen in sorted(candidates, key=lambda pair: pair[0]):
        if len(picked) == NUM_WORST:
            break
        of_variant = sum(each.variant == seen.variant for each in picked)
        crowded = seen.severity is not None and of_variant == MAX_OF_VARIANT
        if not crowded and all(each.source_index != seen.source_index for each in picked):
            picked.append(seen)
    return picked


def _seen(rows: pa.Table, place: int) -> Seen:
    row: dict[str, Any] = rows.slice(place, 1).to_pylist()[0]
    sequence = "predictions" in row
    guesses = tuple(row["predictions"]) if sequence else (row["prediction"],)
    fields = [row[name] for name in Seen._fields[:7]]
    sure = None if sequence else row["confidence"]
    return Seen._make([*fields, guesses, sure, row.get("start_frame")])


def _read_windows(path: Path, about: About) -> Predicted:
    """Return all windows of the videos whose answers change most often, of equals the first."""
    (rows,) = read_variants(path)
    videos = video_numbers(rows["source_id"])
    order = np.lexsort((rows["start_frame"].to_numpy(), videos))
    videos, guesses = videos[order], rows["prediction"].to_numpy()[order]
    flips = (guesses[1:] != guesses[:-1]) & (videos[1:] == videos[:-1])
    counts = np.bincount(videos[1:][flips], minlength=int(videos.max()) + 1)
    picked = np.argsort(-counts, kind="stable")[:_NUM_VIDEOS]
    shown = [
        _seen(rows, int(row))
        for video in picked[counts[picked] > 0].tolist()
        for row in order[videos == video]
    ]
    return Predicted(about, np.zeros(0), np.zeros(0, np.bool_), [], shown)


def by_variant(shown: Sequence[Seen]) -> Iterator[tuple[str, list[Seen]]]:
    """Yield the samples of each variant, in the order of the file."""
    for name in dict.fromkeys(seen.variant for seen in shown):
        yield name, [seen for seen in shown if seen.variant == name]
