"""Mixup's and CutMix's decisions as manifest columns, and back without loss.

Columns: second_source_index, second_source_id, second_label; the second picture's crop and flip, named as the
first's; label_weight, the share of the first label; for CutMix the box of the sample that shows the second.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.plan.pairs import CutMixPlan, MixupPlan, PairPlan

P = TypeVar("P", MixupPlan, CutMixPlan)


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


def pair_columns(
    plan: PairPlan, ids: pa.StringArray, labels: npt.NDArray[np.int32]
) -> list[pa.Array]:
    """Return one array for each of the family's fields; `ids` and `labels` are the source's, [N]."""
    second, *others = plan
    indices = pa.array(second)
    return [indices, ids.take(indices), pa.array(labels[second]), *map(pa.array, others)]


def pairs_from_columns(table: pa.Table, kind: type[P]) -> P:
    """Rebuild the plan of a kind that `pair_columns` made these rows from."""
    columns: list[Any] = [np.ascontiguousarray(table[name].to_numpy()) for name in kind._fields]
    return kind(*columns)
