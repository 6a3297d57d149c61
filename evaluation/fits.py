"""Which test sets a checkpoint can be measured with, and which can be measured together."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.measures import class_indices
from evaluation.measures.arrays import I64
from evaluation.open_set import OpenSet
from evaluation.readings import ANOMALIES
from pipeline.errors import DreamshardsError, UsageError
from training.checkpoint import Trained

_CLIP_AXES = 4


def check_fits(opened: OpenSet, trained: Trained) -> I64 | None:
    """Refuse a set that a checkpoint cannot be tested with; return `Task.classes`.

    Raises:
        DreamshardsError: it has no samples, samples of another shape, or other classes.
    """
    where = opened.where
    empty = next((part for part in opened.parts if part.num_samples == 0), None)
    if empty is not None or not opened.parts:
        raise DreamshardsError(f"{where}: holds no sample; allowed: one or more in each variant")
    if opened.shape != trained.shape:
        raise DreamshardsError(f"{where}: {_misfit(opened, trained)}")
    if opened.kind == "ood" or opened.classes is None:
        return None
    if opened.kind == "r":
        return class_indices(opened.classes, trained.classes)
    if opened.classes != trained.classes:
        num, found = len(trained.classes), opened.classes
        pairs = list(zip(found, trained.classes, strict=False))
        place = next((i for i, (one, other) in enumerate(pairs) if one != other), 0)
        which = (
            f"{len(found):,} classes, the checkpoint {num:,}"
            if len(found) != num
            else f"class {place} {found[place]!r}, the checkpoint {trained.classes[place]!r}"
        )
        raise DreamshardsError(
            f"{where}: it has {which}; give a set with the classes of the checkpoint, or label one of "
            "some of its classes r:, and one of other classes ood:"
        )
    return None


def _misfit(opened: OpenSet, trained: Trained) -> str:
    """Return in what the samples of a set are not those that a checkpoint was trained on, and what helps."""
    found, wanted = list(opened.shape), list(trained.shape)
    shapes = f"its samples have the shape {found}, the checkpoint was trained on {wanted}"
    of_clips = len(wanted) == _CLIP_AXES
    if opened.kind == "p" and of_clips:
        return (
            "sequences of pictures, and the checkpoint takes clips; of these consistency is measured over "
            "windows: build a test root with source.starts=windows and a source.hop below source.frames"
        )
    if len(found) != len(wanted):
        these, those = ("pictures", "clips") if of_clips else ("clips", "pictures")
        return (
            f"it holds {these}, and the checkpoint takes {those}: {shapes}; give a root of {those}"
        )
    if of_clips:
        sizes = zip(("source.frames", "transform.size"), found, wanted, strict=False)
        other = ", ".join(f"{field}={size}" for field, got, size in sizes if got != size)
        return f"{shapes}; build one with {other}"
    return f"{shapes}; give a set of the same shape"


def check_names(sets: Sequence[OpenSet]) -> None:
    """Refuse sets whose files or readings would have the same name, and anomalies without normal samples.

    Raises:
        UsageError: it is so; the message says how to name them.
    """
    names = [each.name for each in sets if each.kind != "ood"] + [ANOMALIES]
    anomalies = [each.parts[0].name for each in sets if each.kind == "ood"]
    for what, found in (("sets", names), ("sets of anomalies", anomalies)):
        twice = next((name for name in found if found.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"--data: two {what} are called {twice!r}; name one with NAME=PLACE")
