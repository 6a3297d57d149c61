"""The comparison of several runs: one table, one radar, and where a run is better in everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.columns import COLUMNS
from evaluation.published import PUBLISHED
from evaluation.radar import axes_of
from evaluation.report.charts import NUM_STYLES
from evaluation.report.markup import Html, element, join, notes, page, paragraph, section, table
from evaluation.report.parts import severity_charts
from evaluation.report.radar_chart import radar_figure
from evaluation.report.summary import (
    ABSENT,
    BESIDE,
    UNITS,
    Figures,
    Footnotes,
    as_defined,
    cell,
    columns_of,
    holes,
    judged,
    partial,
    shown,
    values,
)
from evaluation.results import Figure, Results
from pipeline.errors import DreamshardsError, nearest
from pipeline.publish import publish_bytes

COMPARISON_NAME = "comparison.html"


def write_comparison(
    out: Path, runs: Sequence[tuple[str, Results]], *, baseline: str | None = None
) -> Path:
    """Write `comparison.html` into a folder, whole or not at all, and return its path.

    Args:
        out: the folder, made where it is not there.
        runs: of each its name, once, and its results; two to six, all of one data set.
        baseline: the run that the radar starts from; by default the first.

    Raises:
        DreamshardsError: another number of runs, two of one name, several data sets, an unknown baseline, or
            a folder that cannot be written.
    """
    names = [name for name, _ in runs]
    _check(runs, names, baseline)
    start = names[0] if baseline is None else baseline
    summaries = {name: as_defined(results) for name, results in runs}
    radar = radar_figure(
        {name: values(summary) for name, summary in summaries.items()},
        baseline=start,
        partial={column: f"{remark}." for column, remark in partial(summaries.values()).items()},
    )
    sections = [
        ("measures", "Measures", join([_table(runs, summaries), radar])),
        ("pareto", "Better in everything", join(map(paragraph, pareto_statements(summaries)))),
        ("severity", "Error and calibration against severity", severity_charts(runs)),
    ]
    links = (element("a", title, href=f"#{anchor}") for anchor, title, _ in sections)
    body = [
        element("nav", *links),
        _runs(runs),
        *(section(anchor, title, content) for anchor, title, content in sections),
    ]
    title = f"{len(runs)} runs on {runs[0][1].dataset}"
    path = out / COMPARISON_NAME
    publish_bytes(path, page(title, ", ".join(names), body).encode())
    return path


def pareto_statements(summaries: Mapping[str, Figures]) -> list[str]:
    """Return where one run is no worse in all five measures and better in one, as sentences.

    A measure counts that both runs have, of the same parts; where there are fewer than five, it is said.
    """
    lines = []
    five = axes_of(summaries.values())
    for name, summary in summaries.items():
        for other, against in summaries.items():
            axes = [axis for axis, column in five.items() if _comparable(summary, against, column)]
            gains = [_gain(five[axis], summary, against) for axis in axes]
            if name != other and axes and min(gains) >= 0 and max(gains) > 0:
                whole = (
                    "all five measures"
                    if len(axes) == len(five)
                    else f"what both measured ({', '.join(axes)})"
                )
                better = ", ".join(axis for axis, gain in zip(axes, gains, strict=True) if gain > 0)
                lines.append(f"{name} is no worse than {other} in {whole}, and better in {better}.")
    return lines or ["No run is as good as another in every measure and better in one."]


def _comparable(one: Figures, other: Figures, column: str) -> bool:
    return column in one and column in other and _parts(one[column]) == _parts(other[column])


def _parts(figure: Figure) -> tuple[int, tuple[str, ...]]:
    """Return what tells apart means over other parts."""
    return figure.num_covered, figure.missing


def _gain(column: str, one: Figures, other: Figures) -> float:
    change = one[column].value - other[column].value
    return change if COLUMNS[column].best > 0 else -change


def _check(runs: Sequence[tuple[str, Results]], names: list[str], baseline: str | None) -> None:
    if not 2 <= len(runs) <= NUM_STYLES:
        raise DreamshardsError(f"comparison: {len(runs)} runs; allowed: 2 to {NUM_STYLES}")
    if len(set(names)) < len(names):
        raise DreamshardsError(
            f"comparison: two runs of one name among {', '.join(names)}; rename one"
        )
    datasets = sorted({results.dataset for _, results in runs})
    if len(datasets) > 1:
        raise DreamshardsError(
            f"comparison: runs of {', '.join(datasets)}; allowed: one data set. Compare those of each alone"
        )
    if baseline is not None and baseline not in names:
        raise DreamshardsError(
            f"comparison: baseline {baseline!r}{nearest(baseline, names)}; allowed: {', '.join(names)}"
        )


def _runs(runs: Sequence[tuple[str, Results]]) -> Html:
    """Return what the runs are, a column each, and their holes."""
    told = [{"model": results.model, **results.settings} for _, results in runs]
    rows = [
        [key, *(each.get(key, ABSENT) for each in told)]
        for key in dict.fromkeys(key for each in told for key in each)
    ]
    failed = (
        join([element("h3", name), holes(results)]) for name, results in runs if results.holes
    )
    header = ["run", *(name for name, _ in runs)]
    return join([table(header, rows, caption="What was evaluated", class_="texts"), *failed])


def _table(runs: Sequence[tuple[str, Results]], summaries: Mapping[str, Figures]) -> Html:
    paper = PUBLISHED.get(runs[0][1].dataset)
    beside = {method: paper.rows[method] for method in BESIDE if paper and method in paper.rows}
    footnotes = Footnotes()
    rows = []
    for column in columns_of(list(summaries.values())):
        row: list[str] = [COLUMNS[column].heading]
        best = _best(column, summaries)
        for name, summary in summaries.items():
            found = cell(column, summary.get(column), footnotes, f"{name} did not measure it.")
            row.append(element("span", found, class_="ours") if name in best else found)
        for values_ in beside.values():
            row.append(shown(column, values_[column]) if column in values_ else ABSENT)
        rows.append(row)
    remarks = [*footnotes.lines(), *judged([results for _, results in runs])]
    if paper:
        remarks += [f"Paper: {paper.title}. {paper.source}.", *paper.notes]
    caption = f"{UNITS} The best run of each is bold."
    header = ["measure", *summaries, *(f"{method}, paper" for method in beside)]
    return join([table(header, rows, caption=caption), notes(remarks)])


def _best(column: str, summaries: Mapping[str, Figures]) -> set[str]:
    """Return the runs that are best in a column, none where only one has it or they cover other parts."""
    having = {name: summary[column] for name, summary in summaries.items() if column in summary}
    if len(having) < 2 or len(set(map(_parts, having.values()))) > 1:
        return set()
    pick = max if COLUMNS[column].best > 0 else min
    best = pick(figure.value for figure in having.values())
    return {name for name, figure in having.items() if figure.value == best}
