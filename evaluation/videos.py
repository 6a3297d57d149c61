"""From the rows of clips to those of their videos: one answer for each, by the mean of its probabilities.

Videos are known by `source_id`. What the columns are is told by `evaluation.predictions`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.measures import Changes, changes_between_clips, video_means
from evaluation.predictions import PICTURE_SCHEMA

I64 = npt.NDArray[np.int64]


def units(rows: pa.Table) -> pa.Table:
    """Return the rows of what is judged: videos in place of their clips, all others as they are."""
    return video_rows(rows) if "probabilities" in rows.column_names else rows


def video_rows(rows: pa.Table) -> pa.Table:
    """Return one row for each video of a variant, with the columns of pictures, by rising `source_index`.

    Prediction and confidence are those of the mean probabilities. Key and `source_index` are of the clip in
    the middle of those that there are, the earlier of two.
    """
    videos = video_numbers(rows["source_id"])
    means = video_means(clip_probabilities(rows), videos)
    order = np.lexsort((rows["start_frame"].to_numpy(), videos))
    _, first, counts = np.unique(videos[order], return_index=True, return_counts=True)
    found = rows.take(pa.array(order[first + (counts - 1) // 2])).select(PICTURE_SCHEMA.names)
    answers = {
        "prediction": pa.array(means.argmax(axis=1), pa.int32()),
        "confidence": pa.array(np.minimum(means.max(axis=1), 1.0)),
    }
    for name, values in answers.items():
        place = found.schema.get_field_index(name)
        found = found.set_column(place, found.schema.field(place), values)
    return found.take(pc.sort_indices(found["source_index"]))


def window_changes(rows: pa.Table) -> Changes:
    """Return how much the answers change between the clips of each video, by rising `start_frame`.

    Raises:
        DreamshardsError: no video has two clips.
    """
    starts = rows["start_frame"].to_numpy()
    return changes_between_clips(clip_probabilities(rows), video_numbers(rows["source_id"]), starts)


def clip_probabilities(rows: pa.Table) -> npt.NDArray[np.float32]:
    """Return the probabilities of each clip, float32 [n, C]."""
    flat = rows["probabilities"].combine_chunks().flatten().to_numpy()
    values: npt.NDArray[np.float32] = flat.reshape(len(rows), -1)
    return values


def video_numbers(ids: pa.ChunkedArray | pa.Array) -> I64:
    """Return the number of each row's video, int64 [n], from 0 in the order in which videos first come."""
    encoded = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    numbers: I64 = encoded.dictionary_encode().indices.to_numpy().astype(np.int64)
    return numbers
