"""The five safety measures of a method on one scale each, for a radar chart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from evaluation.columns import COLUMNS
from pipeline.errors import DreamshardsError, nearest

AXES: Mapping[str, str] = {
    "Corruptions": "c_mce",
    "Consistency": "p_mfr",
    "Adversaries": "pgd_error",
    "Calibration": "c_rms",
    "Anomaly detection": "ood_auroc",
}
"""The column that stands for each of the five; the ones by which the PixMix paper compares its ablations."""

CLIP_AXES: Mapping[str, str] = {**AXES, "Consistency": "windows_flips"}
"""The same for networks of clips, whose consistency over time is between windows of a video."""


def axes_of(rows: Iterable[Iterable[str]]) -> Mapping[str, str]:
    """Return the columns of the five for methods with these columns: `CLIP_AXES` where any has windows."""
    clips = any(CLIP_AXES["Consistency"] in columns for columns in rows)
    return CLIP_AXES if clips else AXES


def radar(
    rows: Mapping[str, Mapping[str, float]],
    *,
    baseline: str,
    axes: Mapping[str, str] = AXES,
) -> dict[str, dict[str, float]]:
    """Return how much of the way from the baseline to a perfect model each method goes, by axis.

    (b − m) / (b − p) with b the baseline's value, m the method's, p the perfect one: 0 for the baseline, 1
    for perfection, below 0 for what is worse than the baseline. Unlike a scale from the worst to the best
    method, it does not change when a method is added, and a measure on which none gets far shows it.

    Args:
        rows: of each method the value of each column, as in `evaluation.published`.
        baseline: the method to start from.
        axes: of each axis its column. Leave out what was not measured, as PGD on ImageNet.

    Raises:
        DreamshardsError: an unknown baseline or column, a method without a value, a perfect baseline.
    """
    if baseline not in rows:
        raise DreamshardsError(
            f"radar: baseline {baseline!r} is not among the methods{nearest(baseline, rows)}; allowed: "
            f"{', '.join(rows)}"
        )
    for axis, column in axes.items():
        if column not in COLUMNS:
            raise DreamshardsError(
                f"radar: {axis}: no column {column!r}{nearest(column, COLUMNS)}; allowed: "
                f"{', '.join(COLUMNS)}"
            )
        for method, values in rows.items():
            if not math.isfinite(values.get(column, math.nan)):
                raise DreamshardsError(
                    f"radar: {method} has no {column}; measure it, or leave {axis!r} out of axes"
                )
        if rows[baseline][column] == COLUMNS[column].best:
            raise DreamshardsError(
                f"radar: {baseline} is perfect in {column}, so nothing can be gained; "
                f"leave {axis!r} out of axes"
            )
    return {
        method: {
            axis: (rows[baseline][column] - values[column])
            / (rows[baseline][column] - COLUMNS[column].best)
            for axis, column in axes.items()
        }
        for method, values in rows.items()
    }
