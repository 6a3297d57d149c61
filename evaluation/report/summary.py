"""The table of all measures beside published numbers, and the sets that are holes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from evaluation.columns import COLUMNS
from evaluation.published import PUBLISHED
from evaluation.report.markup import Html, element, facts, folded, join, notes, paragraph, table
from evaluation.results import Figure, Results, SetResult

ABSENT = "–"
UNITS = "Percent, mT5D and loss raw. Lower is better, but for AUROC and AUPR."
BESIDE = ("Baseline", "PixMix", "V-PixMix")
"""The published methods that stand in the first table; the others are below it."""

Figures = Mapping[str, Figure]


class Footnotes:
    """Numbered remarks, each once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def refer(self, remark: str) -> Html:
        """Return the raised number of a remark."""
        place = self._numbers.setdefault(remark, len(self._numbers) + 1)
        return element("sup", f"[{place}]")

    def lines(self) -> list[str]:
        """Return the remarks with their numbers."""
        return [f"[{place}] {remark}" for remark, place in self._numbers.items()]


def as_defined(results: Results) -> dict[str, Figure]:
    """Return the summary by the measures' own definitions: every bin counts, PGD stays around the picture."""
    sets = [
        part
        for part in results.sets
        if not (part.kind == "pgd" and part.settings.get("centre") == "noisy")
    ]
    return replace(results, sets=tuple(sets), published=False).summary()


def as_published(results: Results) -> dict[str, Figure]:
    """Return the summary as the code behind the published numbers computes it, else as defined."""
    return as_defined(results) | results.as_published().summary()


def differing(results: Results) -> bool:
    """Return whether the two summaries differ in any value."""
    return as_defined(results) != as_published(results)


def values(figures: Figures) -> dict[str, float]:
    """Return the values alone."""
    return {name: figure.value for name, figure in figures.items()}


def partial(summaries: Iterable[Figures]) -> dict[str, str]:
    """Return of each column that some summary covers in part what it lacks."""
    return {
        name: covers(figure)
        for summary in summaries
        for name, figure in summary.items()
        if figure.missing
    }


def covers(figure: Figure) -> str:
    """Return what a mean is of, where it lacks something."""
    lacking = ", ".join(figure.missing)
    return (
        f"mean of {figure.num_covered}, so it does not compare with a full one; missing: {lacking}"
    )


def shown(name: str, value: float) -> str:
    """Return a value of a column as tables show it."""
    return f"{value:.1f}" if COLUMNS[name].percent else f"{value:.2f}"


def holes(results: Results) -> Html:
    """Return the sets that could not be evaluated, or not whole, and why; nothing where there are none."""
    if not results.holes:
        return Html()
    lines = (
        element("li", element("strong", name), f": {reason}")
        for name, reason in results.holes.items()
    )
    head = element("strong", "Not evaluated. ")
    text = "What follows is without these sets, or without the parts of them that are named:"
    return element("div", head, text, element("ul", *lines, class_="notes"), class_="warning")


def measures_table(results: Results) -> Html:
    """Return the measures of one model, a row each, beside the published ones of its data set."""
    defined, published = as_defined(results), as_published(results)
    paper = PUBLISHED.get(results.dataset)
    beside = {method: paper.rows[method] for method in BESIDE if paper and method in paper.rows}
    names = [n for n in COLUMNS if n in published or any(n in row for row in beside.values())]
    both = defined != published
    header = ["measure", "this model"]
    header += ["as published"] if both else []
    header += [f"{method}, paper" for method in beside]
    against = next(iter(beside), None)
    header += [f"against {against}"] if against else []
    footnotes = Footnotes()
    rows = []
    for name in names:
        row: list[str] = [
            _heading(name),
            _cell(name, defined.get(name), footnotes, results, strong=True),
        ]
        row += [_cell(name, published.get(name), footnotes, results)] if both else []
        row += [_paper(name, values_.get(name)) for values_ in beside.values()]
        if against:
            row.append(_against(name, published.get(name), beside[against].get(name)))
        rows.append(row)
    remarks = [
        *footnotes.lines(),
        *judged([results]),
        f"Samples of each part: {_samples(results)}.",
    ]
    if both:
        remarks.append(
            "As published: computed as the code behind the paper's numbers does, which leaves the bin of "
            "the highest confidence out of RMS and lets PGD move around its random start."
            + (" The differences to the paper are of this column." if paper else "")
        )
    if paper:
        remarks += [f"Paper: {paper.title}. {paper.source}.", *paper.notes]
    else:
        remarks.append(f"No published numbers of {results.dataset} are known here.")
    return join(
        [
            table(header, rows, caption=UNITS),
            notes(remarks),
            folded("What the measures mean", facts([_meaning(name) for name in names])),
            _all_published(results.dataset),
        ]
    )


def judged(runs: Iterable[Results]) -> list[str]:
    """Return what to know of values that are of videos; nothing of those that are of pictures."""
    if not any("videos" in part.settings for results in runs for part in results.sets):
        return []
    return [
        "Of videos: a video's answer is the likeliest class of the mean softmax over its clips. Errors, "
        "calibration and anomalies are of these; clip errors and the loss are of clips by themselves. C mCE "
        "is divided by nothing."
    ]


def columns_of(summaries: Sequence[Figures]) -> list[str]:
    """Return the columns that any summary has, in order."""
    return [name for name in COLUMNS if any(name in summary for summary in summaries)]


def cell(name: str, figure: Figure | None, footnotes: Footnotes, why_absent: str) -> Html:
    """Return a value, with a footnote where it lacks parts or is absent."""
    if figure is None:
        return join([ABSENT, " ", footnotes.refer(why_absent)])
    text = shown(name, figure.value)
    remark = covers(figure)
    return join(
        [text, " ", footnotes.refer(remark[0].upper() + remark[1:] + ".")]
        if figure.missing
        else [text]
    )


def _heading(name: str) -> Html:
    column = COLUMNS[name]
    return join([column.heading, element("span", column.meaning, class_="meaning")])


def samples_of(part: SetResult) -> str:
    """Return how many samples each reading of a set is of."""
    counts = sorted({reading.num_samples for reading in part.readings})
    return f"{counts[0]:,}" + (f" to {counts[-1]:,}" if len(counts) > 1 else "")


def _samples(results: Results) -> str:
    return ", ".join(f"{part.name} {samples_of(part)}" for part in results.sets) or "none"


def _meaning(name: str) -> tuple[str, str]:
    return COLUMNS[name].heading, COLUMNS[name].meaning


def _cell(
    name: str,
    figure: Figure | None,
    footnotes: Footnotes,
    results: Results,
    *,
    strong: bool = False,
) -> Html:
    why = "Nothing that was evaluated measures it" + (
        "; what could not be evaluated: "
        + "; ".join(f"{n} ({why})" for n, why in results.holes.items())
        if results.holes
        else ""
    )
    found = cell(name, figure, footnotes, f"{why}.")
    return element("span", found, class_="ours") if strong and figure else found


def _paper(name: str, value: float | None) -> str:
    return ABSENT if value is None else shown(name, value)


def _against(name: str, figure: Figure | None, paper: float | None) -> Html:
    """Return how much better or worse a figure is than the paper's, where both are of the same."""
    if figure is None or paper is None:
        return join([ABSENT])
    if figure.missing:
        return element("span", "not the same parts", class_="quiet")
    change = figure.value - paper
    if shown(name, abs(change)) in ("0.0", "0.00"):
        return join(["the same"])
    better = (change > 0) == (COLUMNS[name].best > 0)
    word = "better" if better else "worse"
    return element("span", f"{shown(name, abs(change))} {word}", class_=word)


def _all_published(dataset: str) -> Html:
    paper = PUBLISHED.get(dataset)
    if paper is None:
        return Html()
    names = [name for name in COLUMNS if any(name in row for row in paper.rows.values())]
    rows = [
        [method, *(_paper(name, row.get(name)) for name in names)]
        for method, row in paper.rows.items()
    ]
    header = ["method", *(COLUMNS[name].heading for name in names)]
    return folded(
        "All published methods",
        table(header, rows, caption=f"{paper.title}. {paper.source}."),
        paragraph(UNITS),
    )
