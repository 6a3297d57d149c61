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
from evaluation.videos import units, window_changes
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
    if about.kind == "windows":
        changes = window_changes(rows)
        values = {
            "flip_probability": changes.flip_probability,
            "js_divergence": changes.divergence,
        }
        return Reading(variant, changes.num_pairs, values, severity)
    judged = units(rows)
    if about.kind == "p":
        values = _sequence_values(rows, variant, about.difficulty)
    elif about.kind == "pgd":
        values = {"error": _error(judged)}
    else:
        values = _classified_values(judged, published=not about.clips)
    if about.clips:
        values |= _clip_values(rows, calibrated=about.kind != "pgd")
    return Reading(variant, len(judged), values, severity)


def _error(rows: pa.Table) -> float:
    return error(rows["prediction"].to_numpy(), rows["label"].to_numpy())


def _clip_values(rows: pa.Table, *, calibrated: bool) -> dict[str, float]:
    """Return what is measured of clips by themselves, beside what is measured of their videos."""
    values = {"clip_error": _error(rows), "loss": float(np.mean(rows["loss"].to_numpy()))}
    if calibrated:
        right = rows["prediction"].to_numpy() == rows["label"].to_numpy()
        values["clip_rms"] = rms_calibration_error(rows["confidence"].to_numpy(), right)
    return values


def _classified_values(rows: pa.Table, *, published: bool) -> dict[str, float]:
    predictions, labels = rows["prediction"].to_numpy(), rows["label"].to_numpy()
    sure, right = rows["confidence"].to_numpy(), predictions == labels
    values = {
        "error": error(predictions, labels),
        "rms": rms_calibration_error(sure, right),
        "mad": mean_calibration_error(sure, right),
        "aurra": aurra(sure, right),
        "soft_f1": soft_f1(sure, right),
    }
    if published and len(rows) >= 2 * BIN_SIZE:  # with one bin the published code has none left
        values["rms_published"] = rms_calibration_error(sure, right, published=True)
    return values


def _sequence_values(rows: pa.Table, variant: str, difficulty: int) -> dict[str, float]:
    frames = rows["predictions"].combine_chunks()
    predictions: npt.NDArray[np.int32] = frames.flatten().to_numpy().reshape(len(rows), -1)
    noise = is_noise(variant)
    step = 1 if noise else difficulty  # harder noise is a sequence of its own
    values = {"flip_probability": flip_probability(predictions, noise=noise, difficulty=step)}
    if rows["t5d"].null_count == 0:
        values["t5d"] = float(np.mean(rows["t5d"].to_numpy()))
    return values


def _anomaly_reading(rows: pa.Table, clean: Path) -> Reading:
    normal = np.concatenate([units(each)["confidence"].to_numpy() for each in read_variants(clean)])
    foreign = units(rows)
    found = detection(-normal, -foreign["confidence"].to_numpy())
    values = {"auroc": found.auroc, "aupr": found.aupr, "fpr95": found.fpr95}
    return Reading(foreign["variant"][0].as_py(), len(foreign), values)
