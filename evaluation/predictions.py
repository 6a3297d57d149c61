"""Predictions of every sample, `predictions-SET.parquet`: all measures are computed from these files alone.

A file holds one test set, a row group for each of its variants, rows by `source_index`. Columns:

    set           string   the set's name, as in results.json (sets of anomalies are one set there)
    variant       string   the corruption, the kind of sequence or the set of anomalies; else the set's name
    severity      int32    1 to 5 of a corruption; else null
    key           string   of the sample in its root, for `dreamshards replay`; null in official arrays
    source_index  int64    which picture of the source; the same picture has the same in every set of a source
    source_id     string   its name there
    label         int32    its true class, by the checkpoint's logits; null for anomalies
    prediction    int32    the likeliest class, by the checkpoint's logits
    confidence    float64  the probability of that class

In files of kind `p`, whose samples are sequences of pictures, the last two are others:

    predictions   list<int32>  the likeliest class of each frame
    t5d           float64      the top-5 distance, the mean over pairs of frames; null below five classes

In files of a network of clips a row is a clip, and `source_id` its video. It has three columns more, of which
a video's answer is made, the likeliest class of the mean of its clips' probabilities (`evaluation.videos`):

    start_frame    int32          where in the video the clip starts
    probabilities  list<float32>  of each class
    loss           float64        cross-entropy, in nats; null for anomalies

The schema's metadata under `dreamshards` is an `About` as JSON. `read_about` and `read_variants` read a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.results import Kind
from pipeline.errors import DreamshardsError
from pipeline.publish import publish

FORMAT = 1
_METADATA_KEY = b"dreamshards"
_PREFIX, _SUFFIX = "predictions-", ".parquet"

_COMMON = (
    pa.field("set", pa.string(), nullable=False),
    pa.field("variant", pa.string(), nullable=False),
    pa.field("severity", pa.int32()),
    pa.field("key", pa.string()),
    pa.field("source_index", pa.int64(), nullable=False),
    pa.field("source_id", pa.string(), nullable=False),
    pa.field("label", pa.int32()),
)
PICTURE_SCHEMA = pa.schema(
    [
        *_COMMON,
        pa.field("prediction", pa.int32(), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
    ]
)
CLIP_SCHEMA = pa.schema(
    [
        *PICTURE_SCHEMA,
        pa.field("start_frame", pa.int32(), nullable=False),
        pa.field("probabilities", pa.list_(pa.float32()), nullable=False),
        pa.field("loss", pa.float64()),
    ]
)
SEQUENCE_SCHEMA = pa.schema(
    [
        *_COMMON,
        pa.field("predictions", pa.list_(pa.int32()), nullable=False),
        pa.field("t5d", pa.float64()),
    ]
)


@dataclass(frozen=True)
class About:
    """What a file of predictions is of.

    Attributes:
        set: the set's name.
        kind: what it is a benchmark of.
        parts: those that the benchmark has in full, see `SetResult`.
        classes: of the checkpoint, by logit.
        where: the root, recipe or folder that was read, as it was given.
        identity: what decides the rows: digests of checkpoint and data, and how both were used. Two files of
            equal identity hold the same.
        settings: how it was measured, for people.
        difficulty: of sequences, else 1.
        num_present: samples of a variant that the set has, evaluated or not.
        clips: whether samples are clips of videos, of a network that takes such.
    """

    set: str
    kind: Kind
    parts: tuple[str, ...]
    classes: tuple[str, ...]
    where: str
    identity: dict[str, Any]
    settings: dict[str, str] = field(default_factory=dict)
    difficulty: int = 1
    num_present: int = 0
    clips: bool = False

    @property
    def schema(self) -> pa.Schema:
        """The columns of the file."""
        if self.kind == "p":
            return SEQUENCE_SCHEMA
        return CLIP_SCHEMA if self.clips else PICTURE_SCHEMA


class Samples(NamedTuple):
    """Which samples some predictions are of; n of one variant.

    Attributes:
        variant, severity: as in the columns.
        keys: n keys, or None.
        source_index: int64 [n].
        source_id: n names.
        labels: int64 [n] by the checkpoint's logits, or None for anomalies.
        starts: of clips of videos int64 [n], where each starts; else None.
    """

    variant: str
    severity: int | None
    keys: Sequence[str] | None
    source_index: npt.NDArray[np.int64]
    source_id: Sequence[str]
    labels: npt.NDArray[np.int64] | None
    starts: npt.NDArray[np.int64] | None = None


def predictions_path(out: Path, name: str) -> Path:
    """Return where the predictions of a set lie below the folder of an evaluation."""
    return out / f"{_PREFIX}{name}{_SUFFIX}"


def picture_table(
    name: str,
    samples: Samples,
    prediction: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.float64],
) -> pa.Table:
    """Return rows of pictures: n predictions and their confidences."""
    columns = [pa.array(prediction, pa.int32()), pa.array(confidence, pa.float64())]
    return _table(PICTURE_SCHEMA, name, samples, columns)


def clip_table(
    name: str,
    samples: Samples,
    prediction: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.float64],
    probabilities: npt.NDArray[np.float64],
    loss: npt.NDArray[np.float64] | None,
) -> pa.Table:
    """Return rows of clips of videos: as `picture_table`, with the probabilities [n, C] and losses [n]."""
    num, num_classes = probabilities.shape
    bounds = pa.array(np.arange(num + 1) * num_classes, pa.int32())
    flat = pa.array(probabilities.ravel().astype(np.float32), pa.float32())
    columns = [
        pa.array(prediction, pa.int32()),
        pa.array(confidence, pa.float64()),
        pa.array(samples.starts, pa.int32()),
        pa.ListArray.from_arrays(bounds, flat),
        pa.nulls(num, pa.float64()) if loss is None else pa.array(loss, pa.float64()),
    ]
    return _table(CLIP_SCHEMA, name, samples, columns)


def sequence_table(
    name: str,
    samples: Samples,
    predictions: npt.NDArray[np.int64],
    t5d: npt.NDArray[np.float64] | None,
) -> pa.Table:
    """Return rows of sequences: the classes predicted [n, F], and the top-5 distances [n] if any."""
    frames = pa.array(predictions.ravel(), pa.int32())
    num, num_frames = predictions.shape
    bounds = pa.array(np.arange(num + 1) * num_frames, pa.int32())
    distances = pa.nulls(num, pa.float64()) if t5d is None else pa.array(t5d, pa.float64())
    columns = [pa.ListArray.from_arrays(bounds, frames), distances]
    return _table(SEQUENCE_SCHEMA, name, samples, columns)


def write_predictions(
    path: Path, about: About, tables: Iterator[pa.Table] | Sequence[pa.Table]
) -> None:
    """Write a file whole or not at all; each table, the rows of one variant, is a row group of it.

    Raises:
        DreamshardsError: it cannot be written.
    """
    text = json.dumps({"format": FORMAT, **asdict(about)}, sort_keys=True)
    schema = about.schema.with_metadata({_METADATA_KEY: text.encode()})
    with publish(path) as file, pq.ParquetWriter(file, schema, write_page_checksum=True) as writer:
        for table in tables:
            order = np.argsort(table["source_index"].to_numpy(), kind="stable")
            rows = table.take(pa.array(order)).replace_schema_metadata(schema.metadata)
            writer.write_table(rows, row_group_size=max(len(rows), 1))


def read_about(path: Path) -> About | None:
    """Return what a file of predictions is of, or None where there is none.

    Raises:
        DreamshardsError: it is no such file, or of another format.
    """
    if not path.exists():
        return None
    try:
        content = json.loads((pq.read_metadata(path).metadata or {})[_METADATA_KEY])
        if content.pop("format") != FORMAT:
            raise ValueError(f"another format than {FORMAT}")
        lists = {name: tuple(content[name]) for name in ("parts", "classes")}
        return About(**(content | lists))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DreamshardsError(
            f"{path}: not a readable file of predictions ({error}); remove it and evaluate again"
        ) from error


def read_variants(path: Path) -> Iterator[pa.Table]:
    """Yield the rows of each variant of a file, the checksum of every page verified.

    Raises:
        DreamshardsError: it is unreadable or damaged.
    """
    try:
        # without threads, and with pages checked, as `pipeline.parquet` reads
        options = {"page_checksum_verification": True, "pre_buffer": False}
        with pq.ParquetFile(path, **options) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise DreamshardsError(
            f"{path}: not a readable file of predictions ({error}); remove it and evaluate again"
        ) from error


def _table(schema: pa.Schema, name: str, samples: Samples, last: list[pa.Array]) -> pa.Table:
    num = len(samples.source_index)
    keys, labels = samples.keys, samples.labels
    columns = [
        pa.array([name] * num, pa.string()),
        pa.array([samples.variant] * num, pa.string()),
        pa.array([samples.severity] * num, pa.int32()),
        pa.nulls(num, pa.string()) if keys is None else pa.array(keys, pa.string()),
        pa.array(samples.source_index, pa.int64()),
        pa.array(samples.source_id, pa.string()),
        pa.nulls(num, pa.int32()) if labels is None else pa.array(labels, pa.int32()),
    ]
    return pa.Table.from_arrays([*columns, *last], schema=schema)
