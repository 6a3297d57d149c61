"""Making one file of predictions: a set's samples through the network, and what is there already."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import torch

from evaluation.predict import LogitError, Network
from evaluation.predictions import (
    Samples,
    clip_table,
    picture_table,
    predictions_path,
    read_about,
    read_variants,
    write_predictions,
)
from evaluation.progress import EvaluationProgress
from evaluation.sets import Part
from evaluation.tasks import Settings, Task
from pipeline.errors import DreamshardsError

PARTIAL_NAME = ".partial"


def is_done(path: Path, task: Task) -> bool:
    """Tell whether a file holds the predictions of a task; one that is unreadable does not."""
    try:
        about = read_about(path)
    except DreamshardsError:
        return False
    return about is not None and about.identity == task.about.identity


def make_predictions(
    task: Task, network: Network, out: Path, settings: Settings, shown: EvaluationProgress
) -> None:
    """Make the file of a task, from one of each variant, of which those of an earlier run stay.

    Raises:
        DreamshardsError: a sample cannot be read or has no answer, or a file cannot be written.
    """
    folder = out / PARTIAL_NAME / task.about.set
    pieces = []
    for number, part in enumerate(task.opened.parts):
        piece = folder / f"{number:04d}.parquet"
        if is_done(piece, task):
            shown.found(task.pictures(part))
        else:
            write_predictions(piece, task.about, [_predict(task, part, network, settings, shown)])
        pieces.append(piece)
    rows = (table for piece in pieces for table in read_variants(piece))
    write_predictions(predictions_path(out, task.about.set), task.about, rows)
    shutil.rmtree(folder)


def _predict(
    task: Task, part: Part, network: Network, settings: Settings, shown: EvaluationProgress
) -> pa.Table:
    """Return the rows of one variant.

    Raises:
        DreamshardsError: a sample cannot be read, or what the network makes of it is no number.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    chosen = task.chosen[part]
    each = task.pictures(part) // max(part.num_samples if chosen is None else len(chosen), 1)
    place = part.name if part.severity is None else f"{part.name} at {part.severity}"
    tables = []
    for images, samples in task.opened.read(part, chosen, settings.batch_size):
        try:
            tables.append(_answer(task, part, network, images, samples, generator))
        except LogitError as error:
            names = samples.keys or samples.source_id
            raise DreamshardsError(
                f"{task.about.set}, {place}, sample {names[error.row]}: {error}"
            ) from error
        except torch.cuda.OutOfMemoryError as error:
            raise DreamshardsError(
                f"{task.about.set}, {place}: the GPU's memory is too small for {settings.batch_size} "
                "pictures at once; lower --batch-size"
            ) from error
        label = task.about.set if place == task.about.set else f"{task.about.set}  {place}"
        shown.advance(label, len(images) * each)
    found = sum(map(len, tables))
    wanted = part.num_samples if chosen is None else len(chosen)
    if found != wanted:
        raise DreamshardsError(
            f"{task.about.set}, {place}: {found:,} of {wanted:,} samples were read; "
            f"`dreamshards verify {task.opened.where}` lists what is wrong"
        )
    return pa.concat_tables(tables)


def _answer(
    task: Task,
    part: Part,
    network: Network,
    images: torch.Tensor,
    samples: Samples,
    generator: torch.Generator,
) -> pa.Table:
    """Return the rows of one batch."""
    name, kind = task.about.set, task.about.kind
    if kind == "ood":
        samples = samples._replace(labels=None)
    elif kind == "pgd":
        samples = samples._replace(variant=name)
    elif task.classes is not None and samples.labels is not None:
        samples = samples._replace(labels=task.classes[samples.labels])
    if kind == "p":
        clips = network.follow(images, part.name, task.opened.difficulty)
        return clip_table(name, samples, *clips)
    if task.attack is not None:
        assert samples.labels is not None
        answers = network.attack(images, samples.labels, task.attack, generator)
    else:
        answers = network.classify(images, task.classes)
    return picture_table(name, samples, *answers)
