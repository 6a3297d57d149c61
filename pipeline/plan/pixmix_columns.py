"""PixMix decisions as manifest columns, and back without loss.

Columns: mixing_picture (index), mixing_id, mixing_y, mixing_x; start_op, start_level, start_negative; and
rounds, a list of {operand, level, negative, mode, a, b} whose operand is an op's name or 'mixing-picture'.
A decision that a sample does not use is null.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.plan.pixmix import F32, I8, Bool, PixMixPlan
from pipeline.render.mixing import MODES
from pipeline.render.ops import LEVEL_OPS, OPS, SIGNED_OPS

MIXING_PICTURE = "mixing-picture"
_OPERANDS = (*OPS, MIXING_PICTURE)
_NO_LEVEL, _NO_SIGN = (~np.isin(np.arange(len(_OPERANDS)), ops) for ops in (LEVEL_OPS, SIGNED_OPS))
"""By operand; −1, the mixing picture in a plan, is the last of them."""

ROUND_TYPE = pa.struct(
    [
        pa.field("operand", pa.string(), nullable=False),
        pa.field("level", pa.float32()),
        pa.field("negative", pa.bool_()),
        pa.field("mode", pa.string(), nullable=False),
        pa.field("a", pa.float32(), nullable=False),
        pa.field("b", pa.float32(), nullable=False),
    ]
)

FIELDS = (
    pa.field("mixing_picture", pa.int32()),
    pa.field("mixing_id", pa.string()),
    pa.field("mixing_y", pa.int32()),
    pa.field("mixing_x", pa.int32()),
    pa.field("start_op", pa.string()),
    pa.field("start_level", pa.float32()),
    pa.field("start_negative", pa.bool_()),
    pa.field("rounds", pa.list_(pa.field("element", ROUND_TYPE, nullable=False)), nullable=False),
)


def pixmix_columns(plan: PixMixPlan, picture_ids: pa.StringArray) -> list[pa.Array]:
    """Return one array for each of `FIELDS`, of the plan's length."""
    unused = plan.picture < 0
    picture = pa.array(plan.picture, mask=unused)
    used = np.flatnonzero(np.arange(plan.mode.shape[1]) < plan.num_rounds[:, None])
    operand_op = plan.operand_op.ravel()[used]
    level, negative = plan.operand_level.ravel()[used], plan.operand_negative.ravel()[used]
    rounds = pa.StructArray.from_arrays(
        [
            _names(np.where(operand_op < 0, np.int8(len(OPS)), operand_op), _OPERANDS),
            *_level_and_sign(operand_op, level, negative),
            _names(plan.mode.ravel()[used], MODES),
            pa.array(plan.a.ravel()[used]),
            pa.array(plan.b.ravel()[used]),
        ],
        fields=list(ROUND_TYPE),
    )
    offsets = np.concatenate([[0], np.cumsum(plan.num_rounds, dtype=np.int32)]).astype(np.int32)
    return [
        picture,
        picture_ids.take(picture),
        pa.array(plan.picture_y, mask=unused),
        pa.array(plan.picture_x, mask=unused),
        _names(plan.start_op, OPS),
        *_level_and_sign(plan.start_op, plan.start_level, plan.start_negative),
        pa.ListArray.from_arrays(pa.array(offsets), rounds, type=FIELDS[-1].type),
    ]


def pixmix_from_columns(table: pa.Table, k: int) -> PixMixPlan:
    """Rebuild the plan of at most `k` rounds that `pixmix_columns` made these rows from."""
    lists = table["rounds"].combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks) if lists.num_chunks else pa.array([], lists.type)
    num_rounds = lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int8)
    used = np.arange(k) < num_rounds[:, None]
    flat = lists.flatten()
    operand = _numbers(flat.field("operand"), _OPERANDS)

    def spread(values: npt.NDArray[np.generic], fill: int) -> npt.NDArray[np.generic]:
        out = np.full(used.shape, fill, values.dtype)
        out[used] = values
        return out

    def column(name: str, fill: int, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        filled = table[name].fill_null(fill).to_numpy()
        return np.ascontiguousarray(filled, dtype)

    values = (
        _numbers(table["start_op"], OPS),
        column("start_level", 0, np.float32),
        column("start_negative", False, np.bool_),
        num_rounds,
        column("mixing_picture", -1, np.int32),
        column("mixing_y", 0, np.int32),
        column("mixing_x", 0, np.int32),
        spread(np.where(operand == len(OPS), np.int8(-1), operand), -1),
        spread(_plain(flat.field("level"), 0, np.float32), 0),
        spread(_plain(flat.field("negative"), False, np.bool_), 0),
        spread(_numbers(flat.field("mode"), MODES), 0),
        spread(_plain(flat.field("a"), 0, np.float32), 0),
        spread(_plain(flat.field("b"), 0, np.float32), 0),
    )
    return PixMixPlan(*values)  # type: ignore[arg-type]  # dtypes are set above, one by one


def _names(numbers: I8, names: tuple[str, ...]) -> pa.Array:
    """Turn indices into names, negative ones into nulls."""
    indices = pa.array(numbers, mask=numbers < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names)).cast(pa.string())


def _numbers(names: pa.Array | pa.ChunkedArray, allowed: tuple[str, ...]) -> I8:
    """Turn names into indices, nulls into −1."""
    found = pc.index_in(names, value_set=pa.array(allowed))
    unknown = pc.and_(pc.is_valid(names), pc.is_null(found))
    if pc.any(unknown).as_py():
        raise ValueError(f"unknown name {pc.filter(names, unknown)[0].as_py()!r}")
    return _plain(found, -1, np.int8).astype(np.int8)


def _plain(values: pa.Array, fill: int, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    return np.ascontiguousarray(values.fill_null(fill).to_numpy(zero_copy_only=False), dtype)


def _level_and_sign(op: I8, level: F32, negative: Bool) -> tuple[pa.Array, pa.Array]:
    """Return levels and signs, null for ops without them."""
    return pa.array(level, mask=_NO_LEVEL[op]), pa.array(negative, mask=_NO_SIGN[op])
