"""Comparisons of runs: the table, the statements of who is better in everything, the overlays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluation.benchmarks import ANOMALY_SETS, COMMON_CORRUPTIONS, SEQUENCES
from evaluation.report import write_comparison
from evaluation.report.comparison import pareto_statements
from evaluation.results import Figure, Reading, Results, SetResult
from pipeline.errors import DreamshardsError
from tests.report_helpers import Page, rows_of


def run(harm: float, *, flips: float = 0.1, anomalies=ANOMALY_SETS, **fields) -> Results:
    """Return results with errors of `harm` times the severity, and the same for all parts."""
    corrupted = tuple(
        Reading(name, 9, {"error": harm * level, "rms": harm * level / 2}, level)
        for name in COMMON_CORRUPTIONS
        for level in (1, 2, 3, 4, 5)
    )
    detected = {"auroc": 0.9 - harm, "aupr": 0.5, "fpr95": 0.3}
    sets = (
        SetResult("clean", "clean", (Reading("clean", 9, {"error": 0.05, "rms": 0.02}),)),
        SetResult("c", "c", corrupted, COMMON_CORRUPTIONS),
        SetResult(
            "p",
            "p",
            tuple(Reading(n, 9, {"flip_probability": flips}) for n in SEQUENCES),
            SEQUENCES,
        ),
        SetResult("ood", "ood", tuple(Reading(n, 9, detected) for n in anomalies), ANOMALY_SETS),
        SetResult("pgd", "pgd", (Reading("clean", 9, {"error": 0.8}),)),
    )
    return Results("net <1>", "cifar10", sets, **fields)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison")
    runs = [("clean", run(0.1)), ("mix & match", run(0.05, settings={"device": "cpu"}))]
    path = write_comparison(out, runs)
    assert path == out / "comparison.html"
    return Page(path)


def test_table_with_the_best_in_bold(page):
    told = rows_of(page.root.all("table")[0])
    assert told["run"] == ["clean", "mix & match"]
    assert told["model"] == ["net <1>", "net <1>"]
    assert told["device"] == ["–", "cpu"]
    table = page.section("Measures").all("table")[0]
    cells = rows_of(table)
    assert cells["measure"] == ["clean", "mix & match", "Baseline, paper", "PixMix, paper"]
    assert cells["C mCE"] == ["30.0", "15.0", "26.4", "9.5"]
    assert cells["AUROC"] == ["80.0", "85.0", "91.9", "97.0"]
    bold = [span.text() for span in table.all("span", class_="ours")]
    assert bold == [
        *("5.0", "5.0", "15.0", "10.0", "10.0", "80.0", "80.0"),
        *("2.0", "2.0", "7.5", "85.0", "50.0", "50.0"),
    ]


def test_radar_starts_from_the_first_run_or_another(page, tmp_path):
    cells = rows_of(page.section("Measures").all("figure")[0].all("table")[0])
    assert cells["Corruptions, C mCE"] == ["30.0 (0%)", "15.0 (+50%)"]
    assert cells["Anomaly detection, AUROC"] == ["80.0 (0%)", "85.0 (+25%)"]
    runs = [("a", run(0.1)), ("b", run(0.05))]
    other = Page(write_comparison(tmp_path, runs, baseline="b"))
    cells = rows_of(other.section("Measures").all("figure")[0].all("table")[0])
    assert cells["Corruptions, C mCE"] == ["30.0 (−100%)", "15.0 (0%)"]


def test_curves_lie_over_each_other(page):
    figures = page.section("Error and calibration against severity").all("figure")
    assert [f.all("figcaption")[0].text() for f in figures] == [
        "C: error",
        "C: RMS calibration error",
    ]
    lines = figures[0].all("polyline", class_="line")
    assert len(lines) == 2
    assert not figures[0].all("polyline", class_="faint")
    heights = [(182 - line.points()[:, 1]) / 172 * 50 for line in lines]
    assert heights[0] == pytest.approx([5, 10, 20, 30, 40, 50], abs=0.01)
    assert heights[1] == pytest.approx([5, 5, 10, 15, 20, 25], abs=0.01)
    names = [span.text() for span in figures[0].all("div", class_="legend")[0].all("span")]
    assert names == ["clean", "mix & match"]
    dashes = [line.attributes.get("stroke-dasharray") for line in lines]
    assert len(set(dashes)) == 2


def test_statement_on_the_page(page):
    assert page.section("Better in everything").all("p")[0].text() == (
        "mix & match is no worse than clean in all five measures, and better in Corruptions, Calibration, "
        "Anomaly detection."
    )


FIVE = ("c_mce", "p_mfr", "pgd_error", "c_rms", "ood_auroc")


def figures(*values: float, missing: tuple[str, ...] = ()) -> dict[str, Figure]:
    return {
        name: Figure(value, 1, missing if name == "ood_auroc" else ())
        for name, value in zip(FIVE, values, strict=False)
    }


def test_pareto_by_hand():
    base = figures(20, 5, 90, 10, 80)
    none = ["No run is as good as another in every measure and better in one."]
    assert pareto_statements({"a": base, "b": base}) == none
    assert pareto_statements({"a": base, "b": figures(19, 5, 91, 10, 80)}) == none
    assert pareto_statements({"a": base, "b": figures(20, 5, 90, 10, 80.5)}) == [
        "b is no worse than a in all five measures, and better in Anomaly detection."
    ]
    # a higher AUROC is better, and a higher error is not
    assert pareto_statements({"a": base, "b": figures(20, 5, 90, 10, 79)}) == [
        "a is no worse than b in all five measures, and better in Anomaly detection."
    ]
    three = {"a": base, "b": figures(10, 4, 80, 5, 90), "c": figures(9, 3, 70, 4, 95)}
    assert [line[:18] for line in pareto_statements(three)] == [
        *("b is no worse than", "c is no worse than", "c is no worse than"),
    ]


def test_pareto_compares_only_the_same_parts():
    whole = figures(20, 5, 90, 10, 80)
    partly = figures(19, 5, 90, 10, 70, missing=("svhn",))
    assert pareto_statements({"a": whole, "b": partly}) == [
        "b is no worse than a in what both measured (Corruptions, Consistency, Adversaries, Calibration), "
        "and better in Corruptions."
    ]
    none = ["No run is as good as another in every measure and better in one."]
    assert pareto_statements({"a": {}, "b": figures(1, 1)}) == none


def test_other_parts_are_neither_best_nor_hidden(tmp_path):
    runs = [
        ("a", run(0.1)),
        ("b", run(0.1, anomalies=("svhn",), holes={"x-r": "no <such> folder"})),
    ]
    page = Page(write_comparison(tmp_path, runs))
    table = page.section("Measures").all("table")[0]
    assert rows_of(table)["AUROC"][:2] == ["80.0", "80.0 [1]"]
    row = next(r for r in table.all("tr") if r.text().startswith("AUROC"))
    assert not row.all("span", class_="ours")
    (warning,) = page.root.all("div", class_="warning")
    assert "x-r: no <such> folder" in warning.text()


def test_same_runs_same_bytes(tmp_path):
    runs = [("a", run(0.1)), ("b", run(0.05))]
    first = write_comparison(tmp_path / "1", runs).read_bytes()
    assert write_comparison(tmp_path / "2", runs).read_bytes() == first


def test_refuses(tmp_path):
    one = run(0.1)
    for runs, message in (
        ([("a", one)], "1 runs; allowed: 2 to 6"),
        ([(str(n), one) for n in range(7)], "7 runs; allowed: 2 to 6"),
        ([("a", one), ("a", one)], "two runs of one name among a, a"),
        (
            [("a", one), ("b", replace(one, dataset="digits"))],
            "runs of cifar10, digits; allowed: one",
        ),
    ):
        with pytest.raises(DreamshardsError, match=message):
            write_comparison(tmp_path, runs)
    with pytest.raises(
        DreamshardsError, match=r"baseline 'bb' \(did you mean 'b'\?\); allowed: a, b"
    ):
        write_comparison(tmp_path, [("a", one), ("b", one)], baseline="bb")
    assert not list(tmp_path.iterdir())


def test_six_runs_are_told_apart(tmp_path):
    runs = [(f"run {n}", run(0.02 + 0.02 * n)) for n in range(6)]
    figure = Page(write_comparison(tmp_path, runs)).section("Measures").all("figure")[0]
    keys = figure.all("div", class_="legend")[0].all("svg")
    looks = {
        (
            key.attributes["class"],
            key.all("line")[0].attributes.get("stroke-dasharray"),
            tuple(np.ravel([m.points() for m in key.all("polygon")])),
        )
        for key in keys
    }
    assert len(looks) == 6
    assert len({look[0] for look in looks}) == 6
    assert len({look[1] for look in looks}) == 6
    assert len({look[2] for look in looks}) == 6
