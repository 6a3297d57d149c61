"""What readings show: error and calibration by severity, and each part of a benchmark by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluation.report.bars import Bar, bars, swatches
from evaluation.report.charts import Series, legend, line_chart
from evaluation.report.markup import Html, element, figure, folded, join, notes, paragraph, table
from evaluation.results import Kind, Results, SetResult, by_severity

ABSENT = "–"
KIND_NAMES: Mapping[Kind, str] = {
    "clean": "clean",
    "c": "C",
    "c-bar": "C-bar",
    "p": "P",
    "windows": "windows",
    "ood": "anomalies",
    "pgd": "PGD",
    "r": "R",
}
_MEASURES = (("error", "error, %"), ("rms", "RMS calibration error, %"))
_SEVERITY_TICKS = [(0.0, "clean"), *((float(level), str(level)) for level in range(1, 6))]


def set_of(results: Results, kind: Kind) -> SetResult | None:
    """Return the set of a kind that makes the summary."""
    return next((part for part in results.counted() if part.kind == kind), None)


def severity_points(results: Results, kind: Kind, measure: str) -> list[tuple[float, float]]:
    """Return (severity, mean over corruptions in percent), the clean set at 0; nothing without the set."""
    part = set_of(results, kind)
    found, levels, _ = by_severity(part, measure) if part else ({}, (), ())
    if not found:
        return []
    columns = zip(*found.values(), strict=True)
    means = [(float(at), 100 * sum(c) / len(c)) for at, c in zip(levels, columns, strict=True)]
    return [*_clean(results, measure), *means]


def severity_charts(runs: Sequence[tuple[str, Results]]) -> Html:
    """Return charts of error and calibration against severity for C and C-bar, a line for each run.

    Of a single run each corruption has a faint line too.
    """
    kinds: tuple[Kind, ...] = ("c", "c-bar")
    charts = []
    for measure, label in _MEASURES:
        lines = {kind: _severity_lines(runs, kind, measure) for kind in kinds}
        drawn = [y for each in lines.values() for series in each for _, y in series.points]
        for kind, series in lines.items():
            if series:
                chart = line_chart(
                    series,
                    x_ticks=_SEVERITY_TICKS,
                    x_label="severity",
                    y_label=label,
                    highest=max(drawn),
                )
                bold = [(each.label, each.style) for each in series if not each.faint]
                title = f"{KIND_NAMES[kind]}: {label.removesuffix(', %')}"
                charts.append(figure(chart, title, legend(bold)))
    if not charts:
        return paragraph("No set of corruptions was evaluated.")
    return element("div", *charts, class_="charts")


def corruption_parts(part: SetResult) -> Html:
    """Return the error and calibration of each corruption, as bars and, folded, as tables."""
    every = {name: _levels(part, name, "error") for name in _names(part)}
    num_levels = len({level for errors in every.values() for level in errors})
    rows = []
    for name, errors in every.items():
        error = _mean(errors, num_levels)
        rms = _mean(_levels(part, name, "rms"), num_levels)
        shown = ABSENT if error is None else f"{error:.1f}"
        shown += "" if rms is None else f" / {rms:.1f}"
        rows.append(Bar(_label(part, name), (error, rms), shown, [*errors.values()]))
    tables = [
        folded(
            f"{label.removesuffix(', %')} at each severity", _severity_table(part, measure, label)
        )
        for measure, label in _MEASURES
        if any(measure in reading.values for reading in part.readings)
    ]
    return join(
        [
            swatches(
                ["error, mean over severities; strokes: each severity", "RMS calibration error"]
            ),
            bars(rows, unit="%"),
            _missing(part),
            *tables,
        ]
    )


def sequence_parts(part: SetResult) -> Html:
    """Return the flip probability and top-5 distance of each kind of sequence."""
    found = {reading.name: reading.values for reading in part.readings}
    rows = []
    for name in _names(part):
        values = found.get(name, {})
        flips = values.get("flip_probability")
        shown = ABSENT if flips is None else f"{100 * flips:.2f}"
        shown += f" / {values['t5d']:.2f}" if "t5d" in values else ""
        rows.append(Bar(_label(part, name), (None if flips is None else 100 * flips,), shown))
    label = "flip probability, % (bar and first number); second number: top-5 distance"
    return join([swatches([label]), bars(rows, unit="% / T5D"), _missing(part)])


def anomaly_parts(part: SetResult) -> Html:
    """Return AUROC and AUPR of each set of anomalies."""
    found = {reading.name: reading.values for reading in part.readings}
    rows = []
    for name in _names(part):
        pair = [100 * found[name][m] if name in found else None for m in ("auroc", "aupr")]
        shown = (
            f"{100 * found[name]['auroc']:.1f} / {100 * found[name]['aupr']:.1f}"
            if name in found
            else ABSENT
        )
        rows.append(Bar(_label(part, name), pair, shown))
    chance = (
        "By chance AUROC is 50, and AUPR 16.7 where one anomaly stands against five normal samples."
    )
    return join(
        [
            swatches(["AUROC", "AUPR"]),
            bars(rows, unit="%", highest=100.0),
            notes([chance]),
            _missing(part),
            folded("All numbers", _anomaly_table(part)),
        ]
    )


def _clean(results: Results, measure: str) -> list[tuple[float, float]]:
    part = set_of(results, "clean")
    if part is None or measure not in part.readings[0].values:
        return []
    return [(0.0, 100 * part.readings[0].values[measure])]


def _severity_lines(runs: Sequence[tuple[str, Results]], kind: Kind, measure: str) -> list[Series]:
    lines = []
    for style, (name, results) in enumerate(runs):
        points = severity_points(results, kind, measure)
        if not points:
            continue
        part = set_of(results, kind)
        assert part is not None
        found, levels, _ = by_severity(part, measure)
        if len(runs) == 1 and len(found) == 1:
            name = next(iter(found)).replace("_", " ")
        elif len(runs) == 1:
            lines += [
                Series(
                    each,
                    [
                        *_clean(results, measure),
                        *((float(at), 100 * v) for at, v in zip(levels, row, strict=True)),
                    ],
                    style,
                    faint=True,
                )
                for each, row in found.items()
            ]
            name = f"mean of {len(found)} corruptions; faint: each"
        lines.append(Series(name, points, style))
    return lines


def _names(part: SetResult) -> list[str]:
    """Return the parts of the benchmark, then what else was read."""
    return list(dict.fromkeys([*part.parts, *(reading.name for reading in part.readings)]))


def _label(part: SetResult, name: str) -> str:
    words = name.replace("_", " ")
    return words if name in part.parts else f"{words} (in no mean)"


def _levels(part: SetResult, name: str, measure: str) -> dict[int, float]:
    """Return a measure of a corruption in percent, by severity."""
    return {
        reading.severity: 100 * reading.values[measure]
        for reading in sorted(part.readings, key=lambda each: each.severity or 0)
        if reading.name == name and reading.severity is not None and measure in reading.values
    }


def _mean(levels: Mapping[int, float], num_levels: int) -> float | None:
    """Return the mean over severities, None where one is lacking: it would not compare."""
    whole = levels and len(levels) == num_levels
    return sum(levels.values()) / num_levels if whole else None


def _severity_table(part: SetResult, measure: str, label: str) -> Html:
    every = {name: _levels(part, name, measure) for name in _names(part)}
    levels = sorted({level for each in every.values() for level in each})
    rows = []
    for name, each in every.items():
        mean = _mean(each, len(levels))
        row = [each.get(level) for level in levels]
        rows.append([_label(part, name), *(_percent(value) for value in (*row, mean))])
    found, counted, _ = by_severity(part, measure)
    if found:
        columns = zip(counted, *found.values(), strict=True)
        means = {level: 100 * sum(column) / len(column) for level, *column in columns}
        rows.append(
            [
                f"mean of {len(found)}",
                *(_percent(means.get(level)) for level in levels),
                _percent(_mean(means, len(counted))),
            ]
        )
    header = ["corruption", *(str(level) for level in levels), "mean"]
    return table(header, rows, caption=f"{part.name}: {label} at severities")


def _anomaly_table(part: SetResult) -> Html:
    measures = (("auroc", "AUROC"), ("aupr", "AUPR"), ("fpr95", "FPR95"))
    rows = [
        [
            reading.name,
            f"{reading.num_samples:,}",
            *(_percent(100 * reading.values[m]) for m, _ in measures),
        ]
        for reading in part.readings
    ]
    header = ["set", "anomalies", *(name for _, name in measures)]
    return table(header, rows, caption=f"{part.name}: percent; FPR95 is better where lower")


def _percent(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1f}"


def _missing(part: SetResult) -> Html:
    read = {reading.name for reading in part.readings}
    lacking = [name for name in part.parts if name not in read]
    if not lacking:
        return Html()
    return notes(
        [f"Of the benchmark's {len(part.parts)} parts not evaluated: {', '.join(lacking)}."]
    )
