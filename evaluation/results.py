"""What an evaluation measured, as `results.json` holds it, and the summary that tables show.

Readings are fractions, 0 to 1, and the raw top-5 distance; only a summary is in percent. Owns the form of the
results and which readings make a summary; measures nothing itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from evaluation.benchmarks import SEVERITIES
from evaluation.measures import Detection, anomaly_mean, mce, mfr, mt5d
from evaluation.measures.arrays import fraction
from evaluation.measures.classification import Normalise
from evaluation.measures.consistency import MAX_T5D
from pipeline.errors import DreamshardsError, nearest

Kind: TypeAlias = Literal["clean", "c", "c-bar", "p", "windows", "ood", "pgd", "r"]

_OF_CLIPS = ("clip_error", "clip_rms", "loss")
_CLASSIFIED = ("error", "rms", "rms_published", "mad", "aurra", "soft_f1", *_OF_CLIPS)
MEASURES: Mapping[Kind, tuple[str, ...]] = {
    "clean": _CLASSIFIED,
    "c": _CLASSIFIED,
    "c-bar": _CLASSIFIED,
    "p": ("flip_probability", "t5d"),
    "windows": ("flip_probability", "js_divergence"),
    "ood": ("auroc", "aupr", "fpr95"),
    "pgd": ("error", "clip_error", "loss"),
    "r": _CLASSIFIED,
}
"""What may be read of a set of each kind; the first always is, and of anomalies all three.

Of clips all are of videos, by the mean of the softmax over their clips, but for `clip_error`, `clip_rms` and
`loss`, the mean cross-entropy in nats, which are of clips by themselves.
"""
_LIMITS = {"t5d": MAX_T5D, "loss": math.inf}

_FORM = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, config=_FORM)
class Reading:
    """What was measured on one part of a set.

    Attributes:
        name: the corruption, the kind of sequence or the set of anomalies; of other kinds the set's own name.
        num_samples: pictures, sequences, or anomalies; of clips videos, and of windows pairs of them.
        values: measure → value, see `MEASURES`.
        severity: 1 to 5 of a corruption; else None.
    """

    name: str
    num_samples: int
    values: dict[str, float]
    severity: int | None = None


@dataclass(frozen=True, config=_FORM)
class SetResult:
    """All readings of one test set.

    Attributes:
        name: such as `cifar10-c`, once in a `Results`.
        kind: what it is a benchmark of.
        readings: one a part, or a part and severity.
        parts: the parts that the benchmark has in full, whether read or not. A mean is over these, and
            names those that lack; other readings are shown but in no mean. Empty for kinds of one part.
        settings: how it was measured, for people: the budget of PGD, the seed of a choice.
    """

    name: str
    kind: Kind
    readings: tuple[Reading, ...]
    parts: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where, several = f"set {self.name!r}", self.kind in ("c", "c-bar", "p", "ood")
        if not self.readings or bool(self.parts) != several or (len(self.readings) > 1 > several):
            raise DreamshardsError(
                f"{where}: {len(self.readings)} readings and {len(self.parts)} parts; allowed for kind "
                f"{self.kind!r}: {'readings, and the parts of the benchmark' if several else 'one reading'}"
            )
        seen = set()
        for reading in self.readings:
            if (reading.name, reading.severity) in seen:
                raise DreamshardsError(f"{where}: two readings of {_place(reading)}; allowed: one")
            seen.add((reading.name, reading.severity))
            self._check(where, reading)

    def _check(self, where: str, reading: Reading) -> None:
        place, allowed = f"{where}, {_place(reading)}", MEASURES[self.kind]
        levels = SEVERITIES if self.kind in ("c", "c-bar") else (None,)
        if reading.severity not in levels:
            raise DreamshardsError(
                f"{place}: severity {reading.severity}; allowed for kind {self.kind!r}: "
                f"{'1 to 5' if None not in levels else 'none'}"
            )
        if reading.num_samples < 1:
            raise DreamshardsError(f"{place}: {reading.num_samples} samples; allowed: 1 or more")
        for measure, value in reading.values.items():
            if measure not in allowed:
                raise DreamshardsError(
                    f"{place}: unknown measure {measure!r}{nearest(measure, allowed)}; allowed for kind "
                    f"{self.kind!r}: {', '.join(allowed)}"
                )
            fraction(f"{place}: {measure}", value, _LIMITS.get(measure, 1.0))
        needed = allowed if self.kind == "ood" else allowed[:1]
        lacking = [measure for measure in needed if measure not in reading.values]
        if lacking:
            raise DreamshardsError(f"{place}: no {', '.join(lacking)}; measure it")


class Figure(NamedTuple):
    """One value of a summary.

    Attributes:
        value: in the unit of its column (`evaluation.columns`).
        num_covered: parts that it is the mean of.
        missing: parts of the benchmark, or severities of all of them, that it lacks; where there are any, it
            does not compare with published values.
    """

    value: float
    num_covered: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, config=_FORM)
class Results:
    """All that was measured of one model.

    Attributes:
        model: what to call it in a table.
        dataset: what it was trained for: `cifar10`, `imagenet` … as in `evaluation.published`, or another.
        sets: test sets. Of several of one kind the first makes the summary, such as PGD with two centres.
        normalise: `alexnet` divides mCE and mFR as on ImageNet; C-bar is never divided.
        alexnet_t5d: AlexNet's top-5 distance by kind of sequence, measured on the same sequences; without it
            the raw distance is reported.
        settings: how all was measured, for people: checkpoint, precision, device.
        holes: of each set that could not be evaluated the reason.
        published: whether the summary takes the calibration error of the published code.
        version: of this form.
    """

    model: str
    dataset: str
    sets: tuple[SetResult, ...]
    normalise: Normalise = "none"
    alexnet_t5d: dict[str, float] | None = None
    settings: dict[str, str] = field(default_factory=dict)
    holes: dict[str, str] = field(default_factory=dict)
    published: bool = False
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        names = [part.name for part in self.sets]
        if len(set(names)) < len(names):
            raise DreamshardsError(f"results: two sets of one name among {', '.join(names)}")

    def to_json(self) -> str:
        """Return the text of `results.json`, which `from_json` turns into an equal object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = "results.json") -> Results:
        """Return the results that a text holds.

        Args:
            text: JSON.
            where: what to call it in an error.

        Raises:
            DreamshardsError: no JSON, a field unknown, missing or of another type, or a value out of range.
        """
        try:
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            lines = [_complaint(dict(item)) for item in error.errors(include_url=False)]
            raise DreamshardsError(f"{where}: " + "; ".join(lines)) from None
        except DreamshardsError as error:
            raise DreamshardsError(f"{where}: {error}") from None

    def summary(self) -> dict[str, Figure]:
        """Return the columns of `evaluation.columns` that can be made of the sets."""
        figures: dict[str, Figure] = {}
        for found in self.counted():
            kind, prefix = found.kind, found.kind.replace("-", "_")
            if kind == "p":
                figures |= self._consistency(found)
            elif kind == "ood":
                figures |= _anomalies(found)
            elif kind == "windows":
                values = found.readings[0].values
                figures |= {
                    f"windows_{name}": Figure(100 * values[measure], 1)
                    for name, measure in (("flips", "flip_probability"), ("jsd", "js_divergence"))
                    if measure in values
                }
            elif kind in ("c", "c-bar"):
                normalise = self.normalise if kind == "c" else "none"
                figures |= _corruptions(found, prefix, normalise, self._calibration)
            else:
                values = found.readings[0].values
                figures[f"{prefix}_error"] = Figure(100 * values["error"], 1)
                if self._calibration in values:
                    figures[f"{prefix}_rms"] = Figure(100 * values[self._calibration], 1)
                figures |= _of_clips(prefix, values)
        return figures

    @property
    def _calibration(self) -> str:
        return "rms_published" if self.published else "rms"

    def as_published(self) -> Results:
        """Return the same results as the code behind the published numbers would summarise them.

        Calibration leaves out the last bin, and PGD around the random start comes first. Where neither was
        measured the summary has no such column.
        """
        noisy = [part for part in self.sets if part.settings.get("centre") == "noisy"]
        others = [part for part in self.sets if part.kind != "pgd"]
        return replace(self, sets=(*others, *noisy), published=True)

    @property
    def measures_published(self) -> bool:
        """Whether anything was measured as the code behind the published numbers does."""
        return any(
            part.settings.get("centre") == "noisy"
            or any("rms_published" in reading.values for reading in part.readings)
            for part in self.sets
        )

    def counted(self) -> list[SetResult]:
        """Return the sets that make the summary, the first of each kind."""
        first: dict[Kind, SetResult] = {}
        for part in self.sets:
            first.setdefault(part.kind, part)
        return list(first.values())

    def _consistency(self, part: SetResult) -> dict[str, Figure]:
        figures = {}
        flips, missing = _by_part(part, "flip_probability")
        if flips:
            rate = mfr(flips, normalise=self.normalise, names=tuple(flips))
            figures["p_mfr"] = Figure(100 * rate, len(flips), missing)
        distances, missing = _by_part(part, "t5d")
        if distances and self.normalise == "alexnet" and self.alexnet_t5d is not None:
            ratio = mt5d(distances, reference=self.alexnet_t5d, names=tuple(distances))
            figures["p_mt5d"] = Figure(100 * ratio, len(distances), missing)
        elif distances:
            figures["p_t5d"] = Figure(
                mt5d(distances, names=tuple(distances)), len(distances), missing
            )
        return figures


def _of_clips(prefix: str, values: Mapping[str, float]) -> dict[str, Figure]:
    """Return what the summary has of clips by themselves."""
    figures = {}
    if prefix in ("clean", "pgd") and "clip_error" in values:
        figures[f"{prefix}_clip_error"] = Figure(100 * values["clip_error"], 1)
    if prefix == "clean" and "loss" in values:
        figures["clean_loss"] = Figure(values["loss"], 1)
    return figures


def _by_part(part: SetResult, measure: str) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return a measure by part of the benchmark, in its order, and the parts without."""
    values = {r.name: r.values[measure] for r in part.readings if measure in r.values}
    return (
        {name: values[name] for name in part.parts if name in values},
        tuple(name for name in part.parts if name not in values),
    )


def _corruptions(
    part: SetResult, prefix: str, normalise: Normalise, measure: str
) -> dict[str, Figure]:
    figures = {}
    errors, levels, missing = by_severity(part, "error")
    if errors:
        mean = mce(errors, normalise=normalise, names=tuple(errors), severities=levels)
        figures[f"{prefix}_mce"] = Figure(100 * mean, len(errors), missing)
    calibration, _, missing = by_severity(part, measure)
    if calibration:
        mean = float(np.mean(list(calibration.values())))
        figures[f"{prefix}_rms"] = Figure(100 * mean, len(calibration), missing)
    return figures


def by_severity(
    part: SetResult, measure: str
) -> tuple[dict[str, list[float]], tuple[int, ...], tuple[str, ...]]:
    """Return a measure by corruption and severity, the severities, and what is missing.

    The severities are all at which any corruption of the benchmark was read; a corruption without one of
    these is missing as a whole, so that every mean is over a full table.
    """
    cells = {
        (r.name, r.severity): r.values[measure]
        for r in part.readings
        if r.name in part.parts and r.severity is not None and measure in r.values
    }
    levels = tuple(level for level in SEVERITIES if any(key[1] == level for key in cells))
    table = {
        name: [cells[name, level] for level in levels]
        for name in part.parts
        if levels and all((name, level) in cells for level in levels)
    }
    missing = [name for name in part.parts if name not in table]
    missing += [f"severity {level}" for level in SEVERITIES if levels and level not in levels]
    return table, levels, tuple(missing)


def _anomalies(part: SetResult) -> dict[str, Figure]:
    detections = {
        r.name: Detection(r.values["auroc"], r.values["aupr"], r.values["fpr95"], 0, r.num_samples)
        for r in part.readings
        if r.name in part.parts
    }
    if not detections:
        return {}
    mean = anomaly_mean(detections, names=part.parts)
    return {
        "ood_auroc": Figure(100 * mean.auroc, len(mean.covered), mean.missing),
        "ood_aupr": Figure(100 * mean.aupr, len(mean.covered), mean.missing),
    }


def _place(reading: Reading) -> str:
    return reading.name + (f" at {reading.severity}" if reading.severity is not None else "")


def _complaint(item: Mapping[str, object]) -> str:
    location = item["loc"]
    assert isinstance(location, Sequence)
    place = ".".join(str(part) for part in location) or "the file"
    return f"{place}: {str(item['msg'])[:1].lower()}{str(item['msg'])[1:]}"
