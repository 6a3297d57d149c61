"""PixMix decisions as manifest columns, and back without loss.

Columns: mixing_picture (index), mixing_id, mixing_y, mixing_x; start_op, start_level, start_negative; and
rounds, a list of {operand, level, negative, mode, a, b} whose operand is an op's name or 'mixing-picture'.
A decision that a sample does not use is null. Each part stands by itself too, for `vpixmix_columns`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.plan.pixmix import F32, I8, I32, Bool, PixMixPlan
from pipeline.render.mixing import MODES
from pipeline.render.ops import LEVEL_OPS, OPS, SIGNED_OPS

MIXING_PICTURE = "mixing-picture"
_OPERANDS = (*OPS, MIXING_PICTURE)
_NO_LEVEL, _NO_SIGN = (~np.isin(np.arange(len(_OPERANDS)), ops) for ops in (LEVEL_OPS, SIGNED_OPS))
"""By operand; −1, the mixing picture in a plan, is the last of them."""

_ROUND_FIELDS = (
    pa.field("operand", pa.string(), nullable=False),
    pa.field("level", pa.float32()),
    pa.field("negative", pa.bool_()),
    pa.field("mode", pa.string(), nullable=False),
    pa.field("a", pa.float32(), nullable=False),
    pa.field("b", pa.float32(), nullable=False),
)


def rounds_field(*later: str) -> pa.Field:
    """Return the column of rounds, whose structs have the weights `later` after their own."""
    weights = (pa.field(name, pa.float32(), nullable=False) for name in later)
    element = pa.field("element", pa.struct([*_ROUND_FIELDS, *weights]), nullable=False)
    return pa.field("rounds", pa.list_(element), nullable=False)


PICTURE_FIELDS = (
    pa.field("mixing_picture", pa.int32()),
    pa.field("mixing_id", pa.string()),
    pa.field("mixing_y", pa.int32()),
    pa.field("mixing_x", pa.int32()),
)
START_FIELDS = (
    pa.field("start_op", pa.string()),
    pa.field("start_level", pa.float32()),
    pa.field("start_negative", pa.bool_()),
)
FIELDS = (*PICTURE_FIELDS, *START_FIELDS, rounds_field())


class Rounds(NamedTuple):
    """What a row's list of rounds holds: [n] and [n, k], as in a `PixMixPlan`."""

    num_rounds: I8
    operand_op: I8
    operand_level: F32
    operand_negative: Bool
    mode: I8
    a: F32
    b: F32


def pixmix_columns(plan: PixMixPlan, picture_ids: pa.StringArray) -> list[pa.Array]:
    """Return one array for each of `FIELDS`, of the plan's length."""
    return [
        *picture_columns(plan.picture, plan.picture_y, plan.picture_x, picture_ids),
        *start_columns(plan.start_op, plan.start_level, plan.start_negative),
        rounds_column(Rounds(plan.num_rounds, *plan[7:])),
    ]


def picture_columns(
    picture: I32, picture_y: I32, picture_x: I32, ids: pa.StringArray
) -> list[pa.Array]:
    """Return one array for each of `PICTURE_FIELDS`; `ids` are those of the mixing set."""
    unused = picture < 0
    index = pa.array(picture, mask=unused)
    corner = (pa.array(column, mask=unused) for column in (picture_y, picture_x))
    return [index, ids.take(index), *corner]


def start_columns(op: I8, level: F32, negative: Bool) -> list[pa.Array]:
    """Return one array for each of `START_FIELDS`."""
    return [_names(op, OPS), *_level_and_sign(op, level, negative)]


def rounds_column(rounds: Rounds, **later: F32) -> pa.ListArray:
    """Return a list of rounds for each row, with the weights of `later`, [n, k], after their own."""
    used = np.flatnonzero(np.arange(rounds.mode.shape[1]) < rounds.num_rounds[:, None])
    columns: list[npt.NDArray[Any]] = [*rounds[1:], *later.values()]
    op, level, negative, mode, *weights = (column.ravel()[used] for column in columns)
    values = [
        _names(np.where(op < 0, np.int8(len(OPS)), op), _OPERANDS),
        *_level_and_sign(op, level, negative),
        _names(mode, MODES),
        *map(pa.array, weights),
    ]
    kind = rounds_field(*later).type
    offsets = np.concatenate([[0], np.cumsum(rounds.num_rounds, dtype=np.int32)]).astype(np.int32)
    structs = pa.StructArray.from_arrays(values, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets), structs, type=kind)


def pixmix_from_columns(table: pa.Table, k: int) -> PixMixPlan:
    """Rebuild the plan of at most `k` rounds that `pixmix_columns` made these rows from."""
    rounds, _ = rounds_from(table, k)
    columns: list[Any] = [*start_from(table), rounds.num_rounds, *picture_from(table), *rounds[1:]]
    return PixMixPlan(*columns)


def picture_from(table: pa.Table) -> tuple[I32, I32, I32]:
    """Return picture, y and x of a table with `PICTURE_FIELDS`."""
    fills = (("mixing_picture", -1), ("mixing_y", 0), ("mixing_x", 0))
    index, top, left = (plain(table[name], fill, np.int32) for name, fill in fills)
    return index, top, left


def start_from(table: pa.Table) -> tuple[I8, F32, Bool]:
    """Return op, level and sign of a table with `START_FIELDS`."""
    op = numbers(table["start_op"], OPS)
    level = plain(table["start_level"], 0, np.float32)
    return op, level, plain(table["start_negative"], False, np.bool_)


def rounds_from(table: pa.Table, k: int, *later: str) -> tuple[Rounds, list[F32]]:
    """Return the rounds, at most `k`, of a table with a `rounds_field`, and its later weights, [n, k] each.

    Raises:
        ValueError: a row, perhaps of an altered manifest, has more.
    """
    lists = one_array(table["rounds"])
    num_rounds = lists.value_lengths().to_numpy(zero_copy_only=False)
    if (num_rounds > k).any():
        raise ValueError(f"{num_rounds.max()} rounds in a row; allowed: 0 to {k}")
    used = np.arange(k) < num_rounds[:, None]
    flat = lists.flatten()

    def spread(values: npt.NDArray[Any], fill: int) -> npt.NDArray[Any]:
        out = np.full(used.shape, fill, values.dtype)
        out[used] = values
        return out

    operand = numbers(flat.field("operand"), _OPERANDS)
    rounds = Rounds(
        num_rounds.astype(np.int8),
        spread(np.where(operand == len(OPS), np.int8(-1), operand), -1),
        spread(plain(flat.field("level"), 0, np.float32), 0),
        spread(plain(flat.field("negative"), False, np.bool_), 0),
        spread(numbers(flat.field("mode"), MODES), 0),
        *(spread(plain(flat.field(name), 0, np.float32), 0) for name in ("a", "b")),
    )
    return rounds, [spread(plain(flat.field(name), 0, np.float32), 0) for name in later]


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        return pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    return whole


def _names(numbers: I8, names: tuple[str, ...]) -> pa.Array:
    """Turn indices into names, negative ones into nulls."""
    indices = pa.array(numbers, mask=numbers < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names)).cast(pa.string())


def numbers(names: pa.Array | pa.ChunkedArray, allowed: tuple[str, ...]) -> I8:
    """Turn names into indices, nulls into −1.

    Raises:
        ValueError: a name that is not allowed.
    """
    found = pc.index_in(names, value_set=pa.array(allowed))
    unknown = pc.and_(pc.is_valid(names), pc.is_null(found))
    if pc.any(unknown).as_py():
        raise ValueError(f"unknown name {pc.filter(names, unknown)[0].as_py()!r}")
    return plain(found, -1, np.int8).astype(np.int8)


def plain(values: pa.Array | pa.ChunkedArray, fill: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return a column as an array, with `fill` for nulls."""
    filled = pc.fill_null(values, fill)
    plain = filled.to_numpy() if isinstance(filled, pa.ChunkedArray) else filled.to_numpy(False)
    return np.ascontiguousarray(plain, dtype)


def _level_and_sign(op: I8, level: F32, negative: Bool) -> tuple[pa.Array, pa.Array]:
    """Return levels and signs, null for ops without them."""
    return pa.array(level, mask=_NO_LEVEL[op]), pa.array(negative, mask=_NO_SIGN[op])
