"""From files of predictions to results: every measure of every set, computed again from its rows alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evaluation.benchmarks import is_noise
from evaluation.measures import (
    aurra,
    detection,
    error,
    flip_probability,
    mean_calibration_error,
    rms_calibration_error,
    soft_f1,
)
from evaluation.measures.calibration import BIN_SIZE
from evaluation.predictions import About, read_about, read_variants
from evaluation.results import Reading, SetResult
from pipeline.errors import DreamshardsError

ANOMALIES = "anomalies"
"""The name of the one set that all sets of anomalies are parts of."""


def set_results(paths: Iterable[Path], clean: Path | None) -> tuple[SetResult, ...]:
    """Return what files of predictions come to, one result each, and one of all sets of anomalies.

    Args:
        paths: files of predictions.
        clean: the one with the normal samples that anomalies are told from; needed where there are any.

    Raises:
        DreamshardsError: a file is missing or unreadable.
    """
    results: list[SetResult] = []
    anomalies: list[Reading] = []
    settings: dict[str, str] = {}
    benchmark: tuple[str, ...] = ()
    for path in paths:
        about = _about(path)
        if about.kind == "ood":
            assert clean is not None
            anomalies += [_anomaly_reading(rows, clean) for rows in read_variants(path)]
            settings, benchmark = about.settings, about.parts
        else:
            readings = tuple(_reading(rows, about) for rows in read_variants(path))
            results.append(SetResult(about.set, about.kind, readings, about.parts, about.settings))
    if anomalies:
        results.append(SetResult(ANOMALIES, "ood", tuple(anomalies), benchmark, settings))
    return tuple(results)


def _about(path: Path) -> About:
    about = read_about(path)
    if about is None:
        raise DreamshardsError(f"{path}: no such file; evaluate again")
    return about


def _reading(rows: pa.Table, about: About) -> Reading:
    variant, severity = rows["variant"][0].as_py(), rows["severity"][0].as_py()
    if about.kind == "p":
        values = _clip_values(rows, variant, about.difficulty)
    elif about.kind == "pgd":
        values = {"error": error(rows["prediction"].to_numpy(), rows["label"].to_numpy())}
    else:
        values = _picture_values(rows)
    return Reading(variant, len(rows), values, severity)


def _picture_values(rows: pa.Table) -> dict[str, float]:
    predictions, labels = rows["prediction"].to_numpy(), rows["label"].to_numpy()
    sure, right = rows["confidence"].to_numpy(), predictions == labels
    values = {
        "error": error(predictions, labels),
        "rms": rms_calibration_error(sure, right),
        "mad": mean_calibration_error(sure, right),
        "aurra": aurra(sure, right),
        "soft_f1": soft_f1(sure, right),
    }
    if len(rows) >= 2 * BIN_SIZE:  # with one bin the published code has none left
        values["rms_published"] = rms_calibration_error(sure, right, published=True)
    return values


def _clip_values(rows: pa.Table, variant: str, difficulty: int) -> dict[str, float]:
    frames = rows["predictions"].combine_chunks()
    predictions: npt.NDArray[np.int32] = frames.flatten().to_numpy().reshape(len(rows), -1)
    noise = is_noise(variant)
    step = 1 if noise else difficulty  # harder noise is a sequence of its own
    values = {"flip_probability": flip_probability(predictions, noise=noise, difficulty=step)}
    if rows["t5d"].null_count == 0:
        values["t5d"] = float(np.mean(rows["t5d"].to_numpy()))
    return values


def _anomaly_reading(rows: pa.Table, clean: Path) -> Reading:
    normal = np.concatenate([each["confidence"].to_numpy() for each in read_variants(clean)])
    found = detection(-normal, -rows["confidence"].to_numpy())
    values = {"auroc": found.auroc, "aupr": found.aupr, "fpr95": found.fpr95}
    return Reading(rows["variant"][0].as_py(), len(rows), values)
