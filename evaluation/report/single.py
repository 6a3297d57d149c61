"""The report of one model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.measures import adaptive_bins, rms_calibration_error
from evaluation.measures.calibration import BIN_SIZE
from evaluation.predictions import read_about
from evaluation.published import PUBLISHED
from evaluation.report.charts import reliability_chart
from evaluation.report.gallery import (
    Pictures,
    anomaly_sheets,
    failure_cards,
    sample_sheets,
    window_sheets,
)
from evaluation.report.markup import (
    Html,
    element,
    facts,
    figure,
    folded,
    join,
    page,
    paragraph,
    section,
    table,
)
from evaluation.report.parts import (
    KIND_NAMES,
    anomaly_parts,
    corruption_parts,
    sequence_parts,
    severity_charts,
)
from evaluation.report.predicted import Originals, Predicted, read_predicted
from evaluation.report.radar_chart import radar_figure
from evaluation.report.summary import (
    BESIDE,
    as_published,
    differing,
    holes,
    measures_table,
    partial,
    samples_of,
    values,
)
from evaluation.results import Results, SetResult
from pipeline.errors import DreamshardsError
from pipeline.progress import plural
from pipeline.publish import publish_bytes

REPORT_NAME = "report.html"

_NUM_BINS = 15
_CLASSIFIED = ("clean", "c", "c-bar", "r")


@dataclass(frozen=True)
class _Inputs:
    """What a report is made of: the predictions by the name of their set."""

    results: Results
    predicted: Mapping[str, Predicted]
    originals: Originals | None
    pictures: Pictures | None

    def of(self, part: SetResult) -> Predicted | None:
        return self.predicted.get(part.name)


def write_report(
    out: Path,
    results: Results,
    *,
    predictions: Sequence[Path] = (),
    pictures: Pictures | None = None,
) -> Path:
    """Write `report.html` into a folder, whole or not at all, and return its path.

    Args:
        out: the folder, made where it is not there.
        results: what was measured.
        predictions: files as `evaluation.predictions` writes them, of sets in `results`; those of a set that
            is not there leave its diagrams and failures out, which the report says.
        pictures: returns the samples to show; without it the report has no pictures.

    Raises:
        DreamshardsError: predictions of a set that is not in `results`, damaged ones, a picture of another
            form, or a folder that cannot be written.
    """
    inputs = _read(results, predictions, pictures)
    sections = [
        ("measures", "Measures", _measures(results)),
        ("severity", "Error and calibration against severity", _severity(results)),
        ("reliability", "Reliability", _reliability(inputs)),
        *_parts(results),
        *_samples(inputs),
        *_failures(inputs),
        ("made", "How it was measured", _made(inputs)),
    ]
    links = (element("a", title, href=f"#{anchor}") for anchor, title, _ in sections)
    body = [
        facts([("model", results.model), ("data set", results.dataset), *results.settings.items()]),
        holes(results),
        element("nav", *links),
        *(section(anchor, title, content) for anchor, title, content in sections),
    ]
    subtitle = f"Evaluation on {', '.join(part.name for part in results.sets) or 'no set'}"
    path = out / REPORT_NAME
    publish_bytes(path, page(results.model, subtitle, body).encode())
    return path


def _read(results: Results, paths: Sequence[Path], pictures: Pictures | None) -> _Inputs:
    names = {part.name: part.kind for part in results.sets}
    of_set: dict[str, Path] = {}
    for path in paths:
        about = read_about(path)
        if about is None or names.get(about.set) != about.kind:
            found = (
                f"predictions of {about.set!r}, kind {about.kind!r}" if about else "no such file"
            )
            allowed = ", ".join(f"{name!r} ({kind})" for name, kind in names.items()) or "none"
            raise DreamshardsError(
                f"report: {path}: {found}; allowed: those of the results' sets, {allowed}"
            )
        of_set[about.set] = path
    clean = next((name for name, kind in names.items() if kind == "clean" and name in of_set), None)
    originals = None if clean is None else Originals(of_set[clean])
    right = frozenset() if originals is None else originals.right()
    predicted = {name: read_predicted(of_set[name], right) for name in names if name in of_set}
    return _Inputs(results, predicted, originals, pictures)


def _measures(results: Results) -> Html:
    return join([measures_table(results), _radar(results)])


def _radar(results: Results) -> Html:
    paper = PUBLISHED.get(results.dataset)
    beside = {f"{m}, paper": paper.rows[m] for m in BESIDE if paper and m in paper.rows}
    if not beside:
        return paragraph(
            "A radar needs a baseline, and none is published for this data set; compare the run with another."
        )
    summary = as_published(results)
    rows = {results.model: values(summary), **beside}
    remarks = {column: f"{remark}." for column, remark in partial([summary]).items()}
    how = "This model's values are computed as published." if differing(results) else ""
    return radar_figure(rows, baseline=next(iter(beside)), partial=remarks, how=how)


def _severity(results: Results) -> Html:
    about = (
        "Means over the corruptions that were read at every severity. The clean set stands where severity "
        "would be 0."
    )
    return join([paragraph(about), severity_charts([(results.model, results)])])


def _reliability(inputs: _Inputs) -> Html:
    charts = []
    for part in inputs.results.sets:
        found = inputs.of(part)
        if part.kind not in _CLASSIFIED or found is None or not len(found.confidence):
            continue
        num = len(found.confidence)
        bins = adaptive_bins(
            found.confidence, found.correct, bin_size=max(BIN_SIZE, num // _NUM_BINS)
        )
        rms = 100 * rms_calibration_error(found.confidence, found.correct)
        pooled = ", all parts pooled" if part.parts else ""
        below = (
            f"{plural(num, 'sample')} in {plural(len(bins.counts), 'bin')}. "
            f"RMS calibration error {rms:.1f}%, from bins of {BIN_SIZE}{pooled}."
        )
        charts.append(figure(reliability_chart(bins, style=0), part.name, paragraph(below)))
    if not charts:
        return paragraph("No predictions of single samples were given, so there are no diagrams.")
    about = (
        "Accuracy against confidence in bins of equally many samples; a calibrated model lies on the dashed "
        "line, an overconfident one below it."
    )
    return join([paragraph(about), element("div", *charts, class_="charts")])


def _parts(results: Results) -> list[tuple[str, str, Html]]:
    drawn = {
        "c": corruption_parts,
        "c-bar": corruption_parts,
        "p": sequence_parts,
        "ood": anomaly_parts,
    }
    return [
        (f"parts-{place}", f"Each part of {part.name}", drawn[part.kind](part))
        for place, part in enumerate(results.sets)
        if part.kind in drawn
    ]


def _samples(inputs: _Inputs) -> list[tuple[str, str, Html]]:
    if inputs.pictures is None:
        return []
    sections = []
    for place, part in enumerate(inputs.results.sets):
        found = inputs.of(part)
        if found is None or part.kind not in ("c", "c-bar", "p", "windows", "ood"):
            continue
        if part.kind == "windows":
            about = (
                "The videos whose answer changes most often from a window to the next, each window by the "
                "frame in its middle."
            )
            drawn = window_sheets(found, inputs.pictures)
        elif part.kind == "ood":
            about = "The anomalies of each set that the model is surest to know, surest first."
            drawn = anomaly_sheets(found, inputs.pictures)
        else:
            about = _whose(found)
            drawn = sample_sheets(found, inputs.pictures, inputs.originals)
        sections.append(
            (f"samples-{place}", f"Samples of {part.name}", join([paragraph(about), drawn]))
        )
    return sections


def _whose(found: Predicted) -> str:
    first = found.shown[0]
    label = "" if first.label is None else f", class {found.about.classes[first.label]}"
    source = "Source video" if found.about.clips else "Source picture"
    each = "kind of sequence" if found.about.kind == "p" else "corruption"
    return (
        f"{source} {first.source_id}{label}, under each {each}. Below each picture is the class that "
        "the model takes it for."
    )


def _failures(inputs: _Inputs) -> list[tuple[str, str, Html]]:
    sections = []
    for place, part in enumerate(inputs.results.sets):
        found = inputs.of(part)
        if found is None or part.kind not in _CLASSIFIED:
            continue
        each = "each source picture once"
        if found.about.clips:
            each = "each video once, its clip in the middle playing"
        about = f"The wrong predictions of the highest confidence, {each}" + (
            " and each corruption twice at most; of equal confidence the mildest corruption first."
            if part.parts
            else "."
        )
        cards = failure_cards(found, inputs.pictures, inputs.originals)
        sections.append(
            (f"failures-{place}", f"Worst failures on {part.name}", join([paragraph(about), cards]))
        )
    return sections


def _made(inputs: _Inputs) -> Html:
    rows = []
    for part in inputs.results.sets:
        found = inputs.of(part)
        read = {reading.name for reading in part.readings}
        covered = (
            f"{sum(name in read for name in part.parts)} of {len(part.parts)}"
            if part.parts
            else "1"
        )
        settings = ", ".join(f"{k} {v}" for k, v in part.settings.items())
        where = found.about.where if found else ""
        rows.append([part.name, KIND_NAMES[part.kind], covered, samples_of(part), where, settings])
    header = ["set", "kind", "parts", "samples of each", "read from", "settings"]
    identities = [
        folded(f"Identity of {name}", facts(list(_flat(found.about.identity))))
        for name, found in inputs.predicted.items()
        if found.about.identity
    ]
    return join([table(header, rows, caption="Test sets", class_="texts"), *identities])


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested values as lines of name and text."""
    lines: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{prefix}{name}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            lines.append((f"{prefix}{name}", shown))
    return lines
