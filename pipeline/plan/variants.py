"""The decisions of a test set's samples: which variant, how strong, and the seed of what is random in it.

They are manifest columns under their own names; the variant's is that of its family.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.plan.rng import Purpose, word_rows

I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]

NOISE_SEED = "noise_seed"


class VariantPlan(NamedTuple):
    """The decisions for n samples.

    Attributes:
        name: int32 [n], the place of the variant's name in the family's list of all.
        level: int32 [n], the severity or difficulty.
        noise_seed: uint64 [n], all that a sample's own randomness comes from.
    """

    name: I32
    level: I32
    noise_seed: U64


def draw_variants(
    name: int, level: int, *, seed: int, epoch: int, start: int, stop: int
) -> VariantPlan:
    """Draw the decisions for positions [start, stop) of an epoch, all of one variant."""
    seeds = word_rows(seed, Purpose.NOISE, epoch=epoch, start=start, stop=stop)
    num = stop - start
    return VariantPlan(np.full(num, name, np.int32), np.full(num, level, np.int32), seeds)


def variant_fields(name: str, level: str) -> tuple[pa.Field, ...]:
    """Return the manifest's columns for a family that calls a variant `name` and its strength `level`."""
    return (
        pa.field(name, pa.string(), nullable=False),
        pa.field(level, pa.int32(), nullable=False),
        pa.field(NOISE_SEED, pa.uint64(), nullable=False),
    )


def variant_columns(plan: VariantPlan, names: Sequence[str]) -> list[pa.Array]:
    """Return one array for each of the family's fields; `names` are all that it knows."""
    texts = pa.array(names, pa.string()).take(pa.array(plan.name))
    return [texts, pa.array(plan.level), pa.array(plan.noise_seed)]


def variants_from_columns(
    table: pa.Table, fields: Sequence[pa.Field], names: Sequence[str]
) -> VariantPlan:
    """Rebuild the plan that `variant_columns` made these rows from.

    Raises:
        ValueError: a row, perhaps of an altered manifest, has a name that there is not.
    """
    texts, level, seed = (table[field.name] for field in fields)
    places = pc.index_in(texts, value_set=pa.array(names, pa.string()))
    if places.null_count:
        unknown = texts.filter(pc.is_null(places))[0].as_py()
        raise ValueError(f"unknown name {unknown!r} in column {fields[0].name}")
    columns = (np.ascontiguousarray(column.to_numpy()) for column in (places, level, seed))
    return VariantPlan(*columns)


def groups(plan: VariantPlan) -> list[tuple[int, int, npt.NDArray[np.int64]]]:
    """Return (name, level, rows) of each variant among the rows of a plan."""
    pairs = np.stack([plan.name, plan.level], axis=1)
    found, places = np.unique(pairs, axis=0, return_inverse=True)
    places = places.reshape(-1)  # NumPy 2.0 gives it another shape
    return [
        (name, level, np.flatnonzero(places == place))
        for place, (name, level) in enumerate(found.tolist())
    ]
