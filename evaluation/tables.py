"""Tables of results for people, in plain text or Markdown: summaries beside published numbers, and readings.

Pure formatting. Values are percent with one decimal, as the papers print them, top-5 distances and losses
raw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluation.columns import COLUMNS
from evaluation.published import PUBLISHED
from evaluation.results import MEASURES, Figure, Results, SetResult, by_severity
from pipeline.errors import DreamshardsError, nearest

ABSENT = "–"


def summary_table(
    results: Sequence[Results], *, published: bool = True, markdown: bool = False
) -> str:
    """Return the summaries of models, one a row, with the published methods of their data set below.

    A value that lacks parts of its benchmark carries the number of a footnote that says what it covers. How
    the sets were measured is below, and what to know of the published numbers.

    Args:
        results: one or more, of one data set.
        published: whether to add the published methods, where there are any of the data set.
        markdown: a Markdown table, not plain text.

    Raises:
        DreamshardsError: no results, or of several data sets.
    """
    datasets = sorted({each.dataset for each in results})
    if len(datasets) != 1:
        raise DreamshardsError(
            f"summary_table: results of {', '.join(datasets) or 'nothing'}; allowed: one data set a table"
        )
    summaries = [each.summary() for each in results]
    names = [name for name in COLUMNS if any(name in summary for summary in summaries)]
    footnotes: dict[str, int] = {}
    rows = [
        [each.model, *(_figure(name, summary.get(name), footnotes) for name in names)]
        for each, summary in zip(results, summaries, strict=True)
    ]
    notes = [f"[{number}] {text}" for text, number in footnotes.items()]
    notes += [
        f"{each.model}, {part.name}: {', '.join(f'{k} {v}' for k, v in part.settings.items())}."
        for each in results
        for part in each.counted()
        if part.settings
    ]
    table = PUBLISHED.get(datasets[0]) if published else None
    if table is not None:
        for method, values in table.rows.items():
            cells = [f"{values[name]:.1f}" if name in values else ABSENT for name in names]
            rows.append([f"{method} (published)", *cells])
        notes += [f"Published: {table.title}. {table.source}.", *table.notes]
    header = ["model", *(COLUMNS[name].heading for name in names)]
    return _with_notes(_render(header, rows, markdown=markdown), notes, markdown=markdown)


def set_table(part: SetResult, *, measure: str | None = None, markdown: bool = False) -> str:
    """Return all readings of one set.

    Corruptions are rows with a column for each severity and their mean; of other kinds a row is a part, with
    a column for each measure.

    Args:
        part: the set.
        measure: what to show of corruptions, by default the error; other kinds show all.
        markdown: a Markdown table, not plain text.

    Raises:
        DreamshardsError: a measure that the set does not have.
    """
    if part.kind in ("c", "c-bar"):
        return _severity_table(part, measure or "error", markdown=markdown)
    if measure is not None:
        raise DreamshardsError(
            f"set_table: measure = {measure!r} of a set of kind {part.kind!r}; allowed: none, all are shown"
        )
    shown = [name for name in MEASURES[part.kind] if any(name in r.values for r in part.readings)]
    rows = [
        [r.name, f"{r.num_samples:,}", *(_reading(name, r.values.get(name)) for name in shown)]
        for r in part.readings
    ]
    return _render([part.name, "n", *shown], rows, markdown=markdown)


def legend(summary: Mapping[str, Figure]) -> str:
    """Return what the columns of a summary mean, one a line."""
    shown = {name: column for name, column in COLUMNS.items() if name in summary}
    width = max((len(column.heading) for column in shown.values()), default=0)
    return "".join(
        f"{column.heading.ljust(width)}  {column.meaning}\n" for column in shown.values()
    )


def _severity_table(part: SetResult, measure: str, *, markdown: bool) -> str:
    cells = {(r.name, r.severity): r.values[measure] for r in part.readings if measure in r.values}
    if not cells:
        allowed = [m for m in MEASURES[part.kind] if any(m in r.values for r in part.readings)]
        raise DreamshardsError(
            f"set_table: {part.name} has no {measure!r}{nearest(measure, allowed)}; allowed: "
            f"{', '.join(allowed)}"
        )
    levels = sorted({level for _, level in cells if level is not None})
    names = list(part.parts) + sorted({name for name, _ in cells} - set(part.parts))
    rows = []
    for name in names:
        row = [cells.get((name, level)) for level in levels]
        full = [value for value in row if value is not None]
        mean = sum(full) / len(full) if len(full) == len(levels) else None
        label = name if name in part.parts else f"{name} (in no mean)"
        rows.append([label, *(_reading(measure, value) for value in (*row, mean))])
    table, counted, missing = by_severity(part, measure)
    if table:
        columns = zip(counted, *table.values(), strict=True)
        means = {level: sum(column) / len(column) for level, *column in columns}
        last = [*map(means.get, levels), sum(means.values()) / len(means)]
        rows.append([f"mean of {len(table)}", *(_reading(measure, mean) for mean in last)])
    header = [f"{part.name}, {measure}", *(str(level) for level in levels), "mean"]
    notes = [f"Missing: {', '.join(missing)}."] if missing else []
    return _with_notes(_render(header, rows, markdown=markdown), notes, markdown=markdown)


def _figure(name: str, figure: Figure | None, footnotes: dict[str, int]) -> str:
    if figure is None:
        return ABSENT
    text = f"{figure.value:.1f}" if COLUMNS[name].percent else f"{figure.value:.2f}"
    if not figure.missing:
        return text
    note = f"Mean of {figure.num_covered}. Missing: {', '.join(figure.missing)}."
    return f"{text} [{footnotes.setdefault(note, len(footnotes) + 1)}]"


def _reading(measure: str, value: float | None) -> str:
    if value is None:
        return ABSENT
    return f"{value:.3f}" if measure in ("t5d", "loss") else f"{100 * value:.1f}"


def _render(header: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """Return a table, its first column flush left and the others flush right."""
    if markdown:
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
        lines = ["| " + " | ".join(row) + " |" for row in escaped]
        lines.insert(1, "|---|" + "---:|" * (len(header) - 1))
        return "\n".join(lines) + "\n"
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in (header, *rows)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines) + "\n"


def _with_notes(table: str, notes: Sequence[str], *, markdown: bool) -> str:
    if not notes:
        return table
    return table + "\n" + ("\n\n" if markdown else "\n").join(notes) + "\n"
