"""Making one file of predictions: a set's samples through the network, variant by variant."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import torch

from evaluation.measures import cross_entropy, probabilities
from evaluation.open_set import Part
from evaluation.predict import LogitError, Network
from evaluation.predictions import (
    Samples,
    clip_table,
    picture_table,
    predictions_path,
    read_about,
    read_variants,
    sequence_table,
    write_predictions,
)
from evaluation.progress import EvaluationProgress
from evaluation.tasks import Settings, Task
from pipeline.errors import DreamshardsError

PARTIAL_NAME = ".partial"


class AnswerError(DreamshardsError):
    """A network that gives no answer, whatever the variant."""


def is_done(path: Path, task: Task) -> bool:
    """Tell whether a file holds the predictions of a task; one that is unreadable does not."""
    try:
        about = read_about(path)
    except DreamshardsError:
        return False
    return about is not None and about.identity == task.about.identity


def make_predictions(
    task: Task, network: Network, out: Path, settings: Settings, shown: EvaluationProgress
) -> list[str]:
    """Make the file of a task from one of each variant; those that an earlier run made stay.

    A variant that cannot be read is left out. Its reason is returned, and the next run tries it again; only
    those then.

    Raises:
        DreamshardsError: no variant can be read, the network's answers are no numbers, or a file cannot be
            written.
    """
    folder = out / PARTIAL_NAME / task.about.set
    pieces: list[Path] = []
    lost: dict[str, DreamshardsError] = {}
    for number, part in enumerate(task.opened.parts):
        piece = folder / f"{number:04d}.parquet"
        if is_done(piece, task):
            shown.found(task.pictures(part))
        else:
            try:
                rows = _predict(task, part, network, settings, shown)
            except AnswerError:
                raise  # so it would be with the other variants
            except DreamshardsError as error:
                lost[_place(task, part)] = error
                continue
            write_predictions(piece, task.about, [rows])
        pieces.append(piece)
    if not pieces:
        raise next(iter(lost.values()))
    about = task.about
    if lost:
        about = replace(about, identity=about.identity | {"lost": list(lost)})
    tables = (table for piece in pieces for table in read_variants(piece))
    write_predictions(predictions_path(out, about.set), about, tables)
    if not lost:
        shutil.rmtree(folder)
    return [
        str(error) if place == about.set else f"{place}: {error}" for place, error in lost.items()
    ]


def _place(task: Task, part: Part) -> str:
    """Return what a variant is called in messages; of kinds of one part, the set's name."""
    if not task.about.parts:
        return task.about.set
    return part.name if part.severity is None else f"{part.name} at {part.severity}"


def _predict(
    task: Task, part: Part, network: Network, settings: Settings, shown: EvaluationProgress
) -> pa.Table:
    """Return the rows of one variant.

    Raises:
        AnswerError: what the network makes of a sample is no number, or cannot be computed here.
        DreamshardsError: a sample cannot be read.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    chosen = task.chosen[part]
    each = task.pictures(part) // max(part.num_samples if chosen is None else len(chosen), 1)
    place = _place(task, part)
    label = place if place == task.about.set else f"{task.about.set}  {place}"
    tables = []
    for images, samples in task.opened.read(part, chosen, settings.batch_size):
        try:
            tables.append(_answer(task, part, network, images, samples, generator))
        except LogitError as error:
            names = samples.keys or samples.source_id
            raise AnswerError(f"{place}, sample {names[error.row]}: {error}") from error
        except torch.cuda.OutOfMemoryError as error:
            raise AnswerError(
                f"{place}: the GPU's memory is too small for {settings.batch_size} pictures at once; "
                "lower --batch-size"
            ) from error
        shown.advance(label, len(images) * each)
    found = sum(map(len, tables))
    wanted = part.num_samples if chosen is None else len(chosen)
    if found != wanted:
        raise DreamshardsError(
            f"{found:,} of {wanted:,} samples were read; "
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
        sequences = network.follow(images, part.name, task.opened.difficulty)
        return sequence_table(name, samples, *sequences)
    if task.attack is not None:
        assert samples.labels is not None
        answers = network.attack(images, samples.labels, task.attack, generator)
    else:
        answers = network.classify(images, task.classes)
    prediction, confidence, logits = answers
    if not task.about.clips:
        return picture_table(name, samples, prediction, confidence)
    loss = None if samples.labels is None else cross_entropy(logits, samples.labels)
    return clip_table(name, samples, prediction, confidence, probabilities(logits), loss)
