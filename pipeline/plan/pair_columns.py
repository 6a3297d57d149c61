"""Mixup's, CutMix's and VideoMix's decisions as manifest columns, and back without loss.

Columns: second_source_index, second_source_id, second_label; the second sample's crop and flip, of a clip its
first frame too, named as the first's; label_weight, the share of the first label; for CutMix the box of the
sample that shows the second, for VideoMix the cuboid.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.plan.pairs import CutMixPlan, MixupPlan, PairPlan
from pipeline.plan.videomix import VideoMixPlan

P = TypeVar("P", MixupPlan, CutMixPlan, VideoMixPlan)


def _whole(*names: str) -> tuple[pa.Field, ...]:
    return tuple(pa.field(name, pa.int32(), nullable=False) for name in names)


MIXUP_FIELDS = (
    pa.field("second_source_index", pa.int64(), nullable=False),
    pa.field("second_source_id", pa.string(), nullable=False),
    *_whole("second_label", "second_crop_y", "second_crop_x", "second_crop_h", "second_crop_w"),
    pa.field("second_flip", pa.bool_(), nullable=False),
    pa.field("label_weight", pa.float32(), nullable=False),
)
CUTMIX_FIELDS = (*MIXUP_FIELDS, *_whole("box_y", "box_x", "box_h", "box_w"))
VIDEOMIX_FIELDS = (
    *MIXUP_FIELDS[:-1],
    *_whole("second_start_frame"),
    MIXUP_FIELDS[-1],
    *_whole("box_t", "box_y", "box_x", "box_len", "box_h", "box_w"),
)


def pair_columns(
    plan: PairPlan | VideoMixPlan, ids: pa.StringArray, labels: npt.NDArray[np.int32]
) -> list[pa.Array]:
    """Return one array for each of the family's fields; `ids` and `labels` are the source's, [N]."""
    second, *others = plan
    indices = pa.array(second)
    return [indices, ids.take(indices), pa.array(labels[second]), *map(pa.array, others)]


def pairs_from_columns(table: pa.Table, kind: type[P]) -> P:
    """Rebuild the plan of a kind that `pair_columns` made these rows from."""
    columns: list[Any] = [np.ascontiguousarray(table[name].to_numpy()) for name in kind._fields]
    return kind(*columns)
