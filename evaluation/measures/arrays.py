"""Checks of the arrays that measures take: type, shape, emptiness, NaN. Each says what, got and allowed."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError

F64: TypeAlias = npt.NDArray[np.float64]
I64: TypeAlias = npt.NDArray[np.int64]
Bool: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.floating[Any]]


def floats(what: str, values: npt.ArrayLike, axes: str) -> Floats:
    """Return `values` as an array of floats of the shape that `axes` tells, such as `[n, C]`, its type kept.

    Raises:
        DreamshardsError: it is not of floats, of another number of axes, empty, or has NaN.
    """
    array = _shaped(what, values, axes)
    if not np.issubdtype(array.dtype, np.floating):
        raise DreamshardsError(f"{what}: got {array.dtype} {_shape(array)}; allowed: floats {axes}")
    num_nan = int(np.isnan(array).sum())
    if num_nan:
        raise DreamshardsError(
            f"{what}: NaN in {num_nan} of {array.size} values; allowed: numbers. "
            "Look whether the network's weights are finite"
        )
    return array


def integers(what: str, values: npt.ArrayLike, axes: str) -> I64:
    """Return `values`, classes, as int64 of the shape that `axes` tells.

    Raises:
        DreamshardsError: they are not whole numbers of 0 or more, of another number of axes, or empty.
    """
    array = _shaped(what, values, axes)
    if not np.issubdtype(array.dtype, np.integer):
        raise DreamshardsError(
            f"{what}: got {array.dtype} {_shape(array)}; allowed: whole numbers {axes}, one class each"
        )
    if array.min() < 0:
        raise DreamshardsError(f"{what}: got {array.min()}; allowed: classes, 0 or more")
    return array.astype(np.int64)


def truths(what: str, values: npt.ArrayLike, axes: str) -> Bool:
    """Return `values`, booleans or numbers 0 and 1, as booleans of the shape that `axes` tells.

    Raises:
        DreamshardsError: another value, another number of axes, or none at all.
    """
    array = _shaped(what, values, axes)
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise DreamshardsError(
            f"{what}: got {array.dtype} with values other than 0 and 1; allowed: booleans, or 0 and 1"
        )
    return array.astype(np.bool_)


def same_length(what: str, first: npt.NDArray[Any], second: npt.NDArray[Any]) -> None:
    """Refuse two arrays of which the first axes differ in length."""
    if len(first) != len(second):
        raise DreamshardsError(
            f"{what}: got {len(first)} and {len(second)}; allowed: the same number of both, in the same order"
        )


def fraction(what: str, value: float, high: float = 1.0) -> float:
    """Return `value` as a float; refuse NaN and what lies outside 0 to `high`."""
    if not 0 <= value <= high:
        hint = ", not percent" if high == 1 else ""
        raise DreamshardsError(f"{what}: got {value}; allowed: 0 to {high:g}{hint}")
    return float(value)


def _shaped(what: str, values: npt.ArrayLike, axes: str) -> npt.NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError:  # rows of several lengths
        raise DreamshardsError(f"{what}: rows differ in length; allowed: an array {axes}") from None
    num_axes = axes.count(",") + 1
    if array.ndim != num_axes:
        raise DreamshardsError(f"{what}: got shape {_shape(array)}; allowed: {axes}")
    if array.size == 0:
        raise DreamshardsError(
            f"{what}: got shape {_shape(array)}, nothing; allowed: {axes}, not empty"
        )
    return array


def _shape(array: npt.NDArray[Any]) -> str:
    return str(list(array.shape))
