"""The report of one model: that the page holds the numbers given, at the places they belong to."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from evaluation.benchmarks import COMMON_CORRUPTIONS
from evaluation.columns import COLUMNS
from evaluation.measures import adaptive_bins, rms_calibration_error
from evaluation.predictions import (
    Samples,
    picture_table,
    predictions_path,
    read_variants,
    write_predictions,
)
from evaluation.published import PUBLISHED
from evaluation.report import write_report
from evaluation.report.charts import ticks
from evaluation.report.markup import element, text
from evaluation.report.predicted import read_predicted
from evaluation.results import Reading, Results, SetResult
from pipeline.errors import DreamshardsError
from tests.report_helpers import CLASSES, EVIL, Maker, Page, pixels, rows_of, whole


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return whole(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    results, files = made
    out = tmp_path_factory.mktemp("report")
    path = write_report(out, results, predictions=files, pictures=pixels)
    assert path == out / "report.html"
    assert list(out.iterdir()) == [path]
    return Page(path)


def small(kind="clean", **values) -> Results:
    reading = Reading("digits", 10, {"error": 0.1, **values})
    return Results("m", "digits", (SetResult("digits", kind, (reading,)),))


def written(out, results, **kwargs) -> Page:
    return Page(write_report(out, results, **kwargs))


# ── the page as such ──


def test_nothing_is_fetched_and_nothing_runs(page):
    assert not page.root.all("script")
    for node in page.root.all():
        assert not any(name.startswith("on") for name in node.attributes)
        assert node.attributes.get("src", "data:image/").startswith("data:image/")
        assert "http" not in "".join(node.attributes.values())
    assert "@import" not in page.source
    assert "url(" not in page.source
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert policy in [meta.attributes.get("content") for meta in page.root.all("meta")]


def test_links_lead_to_sections(page):
    targets = {link.attributes["href"] for link in page.root.all("a")}
    assert targets == {f"#{section.attributes['id']}" for section in page.root.all("section")}
    assert len(targets) == len(page.root.all("section")) == 15


def test_data_cannot_become_markup(page):
    assert EVIL not in page.source
    assert "<b>" not in page.source
    assert page.root.all("h1")[0].text() == "WRN-40-4 <ours>"
    assert not page.root.all("b")
    assert "\u202e" not in page.source
    assert text('<a href="x">\n') == "&lt;a href=&quot;x&quot;&gt;\\n"
    assert element("p", "<", class_='"') == '<p class="&quot;">&lt;</p>'


def test_same_inputs_same_bytes(made, page, tmp_path):
    results, files = made
    again = write_report(tmp_path, results, predictions=files[::-1], pictures=pixels)
    assert again.read_text(encoding="utf-8") == page.source


@pytest.mark.slow
def test_needs_neither_torch_nor_ray():
    code = "import sys, evaluation.report; sys.exit(', '.join({'torch', 'ray'} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# ── measures ──


def test_measures_beside_the_paper(made, page):
    results, _ = made
    table = rows_of(page.section("Measures").all("table")[0])
    assert table.pop("measure") == [
        *("this model", "as published", "Baseline, paper", "PixMix, paper", "against Baseline"),
    ]
    headings = [COLUMNS[name].heading for name in COLUMNS if name in results.summary()]
    by_heading = dict(zip(headings, table.values(), strict=True))
    assert all(map(str.startswith, table, headings))
    defined, published = results.summary(), results.as_published().summary()
    c_mce = defined["c_mce"].value
    assert by_heading["C mCE"][:4] == [f"{c_mce:.1f}", f"{c_mce:.1f}", "26.4", "9.5"]
    assert by_heading["C mCE"][4] == f"{26.4 - c_mce:.1f} better"
    assert by_heading["PGD err"] == ["70.0", "82.0", "91.3", "82.1", "9.3 better"]
    rms = by_heading["RMS"]
    assert rms[0] == f"{defined['clean_rms'].value:.1f}"
    assert rms[1] == f"{published['clean_rms'].value:.1f}"
    assert defined["clean_rms"].value > published["clean_rms"].value
    assert by_heading["mT5D"] == ["0.95", "0.95", "1.70", "1.00", "0.75 better"]
    assert by_heading["AUROC"] == ["87.5 [1]", "87.5 [1]", "91.9", "97.0", "not the same parts"]
    notes = [item.text() for item in page.section("Measures").all("li")]
    assert notes[0] == (
        "[1] Mean of 4, so it does not compare with a full one; missing: textures, lsun, places69."
    )
    assert notes[1].startswith("Samples of each part: cifar10 300, cifar10-c 300, ")
    others = rows_of(page.section("Measures").all("details")[1].all("table")[0])
    assert list(others)[1:] == list(PUBLISHED["cifar10"].rows)
    assert others["AugMix"][1] == "12.4"


def test_higher_is_better_only_for_detection(made, tmp_path):
    results, _ = made
    reading = {"auroc": 0.90, "aupr": 0.80, "fpr95": 0.2}
    full = SetResult(
        "anomalies",
        "ood",
        tuple(Reading(name, 9, reading) for name in results.sets[4].parts),
        results.sets[4].parts,
    )
    table = written(tmp_path, replace(results, sets=(full,))).section("Measures").all("table")[0]
    cells = {key[:5]: row for key, row in rows_of(table).items()}
    assert cells["AUROC"] == ["90.0", "91.9", "97.0", "1.9 worse"]
    assert cells["AUPRm"] == ["80.0", "70.9", "88.4", "9.1 better"]
    assert cells["Clean"] == ["– [1]", "4.4", "4.2", "–"]


def test_holes_say_why(tmp_path):
    reason = "predictions: NaN in 3 of 40 values <of b>"
    page = written(tmp_path, replace(small(), dataset="cifar10", holes={"cifar10-c": reason}))
    (warning,) = page.root.all("div", class_="warning")
    assert f"cifar10-c: {reason}" in warning.text()
    notes = [item.text() for item in page.section("Measures").all("li")]
    assert notes[0].startswith("[1] Nothing that was evaluated measures it")
    assert reason in notes[0]
    assert not written(tmp_path, small()).root.all("div", class_="warning")


def test_a_data_set_without_published_numbers(tmp_path):
    measures = written(tmp_path, small(rms=0.05)).section("Measures")
    assert rows_of(measures.all("table")[0])["measure"] == ["this model"]
    assert "No published numbers of digits are known here." in measures.text()
    assert "A radar needs a baseline" in measures.text()


# ── radar ──


def _radii(outline) -> np.ndarray:
    """Return how far out on the scale of gains each corner of a method's outline lies."""
    points = outline.all("polygon", class_="line")[0].points()
    return 2 * np.hypot(*(points - (190, 158)).T) / 108 - 1


def test_radar_puts_each_method_at_its_gain(made, page):
    results, _ = made
    (figure,) = page.section("Measures").all("figure")
    outlines = {
        g.all("title")[0].text(): g for g in figure.all("g") if g.all("polygon", class_="line")
    }
    assert list(outlines) == ["WRN-40-4 <ours>", "Baseline, paper", "PixMix, paper"]
    assert _radii(outlines["Baseline, paper"]) == pytest.approx(np.zeros(5), abs=1e-3)
    paper = PUBLISHED["cifar10"].rows
    columns = ("c_mce", "p_mfr", "pgd_error", "c_rms", "ood_auroc")
    best = np.array([0, 0, 0, 0, 100])
    base = np.array([paper["Baseline"][column] for column in columns])
    pixmix = np.array([paper["PixMix"][column] for column in columns])
    ours = np.array([results.as_published().summary()[column].value for column in columns])
    assert _radii(outlines["PixMix, paper"]) == pytest.approx(
        (base - pixmix) / (base - best), abs=1e-3
    )
    assert _radii(outlines["WRN-40-4 <ours>"]) == pytest.approx(
        (base - ours) / (base - best), abs=1e-3
    )
    assert "AUROC: mean of 4, so it does not compare" in figure.text()
    assert rows_of(figure.all("table")[0])["Corruptions, C mCE"][1:] == ["26.4 (0%)", "9.5 (+64%)"]
    angles = outlines["Baseline, paper"].all("polygon", class_="line")[0].points() - (190, 158)
    assert np.degrees(np.arctan2(angles[:, 1], angles[:, 0])) % 360 == pytest.approx(
        [270, 342, 54, 126, 198], abs=0.1
    )


def test_radar_shows_what_is_off_its_scale_and_leaves_out_what_lacks(made, tmp_path):
    results, _ = made
    bad = replace(
        results.sets[0], name="pgd", kind="pgd", readings=(Reading("x", 9, {"error": 0.5}),)
    )
    flips = replace(
        results.sets[3],
        readings=tuple(
            replace(r, values={"flip_probability": 0.2}) for r in results.sets[3].readings
        ),
    )
    page = written(tmp_path, replace(results, sets=(*results.sets[:2], flips, bad)))
    (figure,) = page.section("Measures").all("figure")
    ours = next(g for g in figure.all("g") if g.all("polygon", class_="line"))
    assert len(_radii(ours)) == 4
    assert _radii(ours)[1] == pytest.approx(-1)  # 20% flips against 3.4%: far inside
    assert len(ours.all(None, class_="hollow")) == 1
    assert "off the scale" in figure.text()
    assert "(−488%)" in rows_of(figure.all("table")[0])["Consistency, mFR"][0]
    assert (
        "Anomaly detection (AUROC) is left out: not measured of WRN-40-4 <ours>." in figure.text()
    )


# ── curves, diagrams, bars ──


def _values(line, scale: list[float]) -> np.ndarray:
    """Return the heights of a polyline's points in the units of an axis that ends at 0 and scale[-1]."""
    return (220 - 38 - line.points()[:, 1]) / (220 - 38 - 10) * scale[-1]


def test_curves_are_means_over_corruptions(made, page):
    results, _ = made
    figures = {
        f.all("figcaption")[0].text(): f
        for f in page.section("Error and calibration against severity").all("figure")
    }
    assert list(figures) == [
        *("C: error", "C-bar: error", "C: RMS calibration error", "C-bar: RMS calibration error"),
    ]
    for title, place, measure in (
        ("C: error", 1, "error"),
        ("C-bar: RMS calibration error", 2, "rms"),
    ):
        lines = figures[title].all("polyline", class_="line")
        assert len(lines) == 1
        part = results.sets[place]
        cells = {(r.name, r.severity): r.values[measure] for r in part.readings}
        means = [
            100 * np.mean([cells[name, level] for name in part.parts]) for level in range(1, 6)
        ]
        clean = 100 * results.sets[0].readings[0].values[measure]
        scale = [float(t.text()) for t in figures[title].all("text", text_anchor="end")]
        assert scale[0] == 0
        got = _values(lines[0], scale)
        assert got == pytest.approx([clean, *means], abs=0.01 * scale[-1])
        assert len(figures[title].all("polyline", class_="faint")) == len(part.parts)


def test_the_two_sets_share_a_scale(tmp_path):
    sets = tuple(
        SetResult(
            name,
            name,
            tuple(Reading("x", 9, {"error": top * at, "rms": 0.1}, at) for at in (1, 5)),
            ("x",),
        )
        for name, top in (("c", 0.15), ("c-bar", 0.01))
    )
    page = written(tmp_path, Results("m", "digits", sets))
    figures = page.section("Error and calibration against severity").all("figure")
    scales = [[t.text() for t in f.all("text", text_anchor="end")] for f in figures]
    assert scales[0] == scales[1] == ["0", "20", "40", "60", "80"]
    assert scales[2] == scales[3]
    assert [f.all("div", class_="legend")[0].text() for f in figures] == ["x"] * 4


def test_reliability_of_clean_and_pooled(made, page):
    results, files = made
    figures = {f.all("figcaption")[0].text(): f for f in page.section("Reliability").all("figure")}
    assert list(figures) == ["cifar10", "cifar10-c", "cifar10-c-bar"]
    for (name, figure), path in zip(figures.items(), files, strict=False):
        tables = list(read_variants(path))
        sure = np.concatenate([t["confidence"].to_numpy() for t in tables])
        right = np.concatenate(
            [t["prediction"].to_numpy() == t["label"].to_numpy() for t in tables]
        )
        size = max(100, len(sure) // 15)
        bins = adaptive_bins(sure, right, bin_size=size)
        got = figure.all("polyline", class_="line")[0].points()
        want = np.stack([40 + bins.confidence * 250, 290 - 38 - bins.accuracy * 242], axis=1)
        assert got == pytest.approx(want, abs=0.01)
        error = 100 * rms_calibration_error(sure, right)
        assert f"{len(sure):,} samples in {len(bins.counts)} bins." in figure.text()
        assert f"RMS calibration error {error:.1f}%" in figure.text(), name
    clean = results.sets[0].readings[0].values["rms"]
    assert f"RMS calibration error {100 * clean:.1f}%" in figures["cifar10"].text()


def _bars(section) -> dict[str, tuple[list[float], str]]:
    """Return of each row the lengths of its bars, in the unit of the scale, and its text on the right."""
    (grid,) = section.all("div", class_="bars")
    cells = list(grid.children)
    end = float(cells[1].all("text")[-1].text())
    return {
        label.text(): (
            [rect.number("width") * end / 100 for rect in drawing.all("rect")],
            value.text(),
        )
        for label, drawing, value in zip(cells[3::3], cells[4::3], cells[5::3], strict=True)
    }


def test_bars_of_corruptions(made, page):
    results, _ = made
    part = results.sets[1]
    section = page.section("Each part of cifar10-c")
    rows = _bars(section)
    assert list(rows) == [name.replace("_", " ") for name in COMMON_CORRUPTIONS]
    mine = [r for r in part.readings if r.name == "glass_blur"]
    error = 100 * np.mean([r.values["error"] for r in mine])
    rms = 100 * np.mean([r.values["rms"] for r in mine])
    lengths, shown = rows["glass blur"]
    assert lengths == pytest.approx([error, rms], abs=0.01)
    assert shown == f"{error:.1f} / {rms:.1f}"
    table = rows_of(section.all("table")[0])
    assert table["corruption"] == ["1", "2", "3", "4", "5", "mean"]
    assert table["glass blur"] == [
        *(f"{100 * r.values['error']:.1f}" for r in mine),
        f"{error:.1f}",
    ]
    assert table["mean of 15"][5] == f"{results.summary()['c_mce'].value:.1f}"


def test_bars_of_sequences_and_anomalies(page):
    flips = _bars(page.section("Each part of cifar10-p"))
    assert flips["motion blur"] == (pytest.approx([2.0], abs=0.01), "2.00 / 0.70")
    found = _bars(page.section("Each part of anomalies"))
    assert found["rademacher"] == (pytest.approx([90, 70], abs=0.01), "90.0 / 70.0")
    assert found["textures"] == ([], "–")
    assert (
        "not evaluated: textures, lsun, places69." in page.section("Each part of anomalies").text()
    )


def test_a_corruption_without_all_severities_has_no_mean(tmp_path):
    cells = [
        ("fog", 1, 0.1),
        ("fog", 2, 0.3),
        ("snow", 2, 0.5),
        ("spatter", 1, 0.2),
        ("spatter", 2, 0.2),
    ]
    readings = tuple(Reading(name, 9, {"error": value}, level) for name, level, value in cells)
    part = SetResult("x-c", "c", readings, COMMON_CORRUPTIONS)
    section = written(tmp_path, Results("m", "digits", (part,))).section("Each part of x-c")
    rows = _bars(section)
    assert rows["fog"] == (pytest.approx([20], abs=0.01), "20.0")
    assert rows["snow"] == ([], "–")
    assert rows["spatter (in no mean)"][1] == "20.0"
    table = rows_of(section.all("table")[0])
    assert table["snow"] == ["–", "50.0", "–"]
    assert table["mean of 1"] == ["10.0", "30.0", "20.0"]


@pytest.mark.parametrize(
    ("highest", "expected"),
    [
        (0.0, [0, 1]),
        (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (24.0, [0, 5, 10, 15, 20, 25]),
        (100.0, [0, 20, 40, 60, 80, 100]),
        (0.031, [0, 0.01, 0.02, 0.03, 0.04]),
    ],
)
def test_ticks_are_round(highest, expected):
    assert ticks(highest) == pytest.approx(expected)


# ── samples and failures ──


def test_samples_of_each_corruption_at_each_severity(made, page):
    _, files = made
    clean = next(read_variants(files[0]))
    right = clean["prediction"].to_numpy() == clean["label"].to_numpy()
    chosen = int(np.flatnonzero(right)[0])
    section = page.section("Samples of cifar10-c")
    found = page.pictures(section)
    assert len(found) == 1 + 15 * 5
    place, row = 11, list(read_variants(files[1]))[11 * 5 + 3].to_pylist()[chosen]
    name = COMMON_CORRUPTIONS[place]
    alt = (
        f"picture {chosen}, {name} at severity 4, class {CLASSES[row['label']]}, taken for "
        f"{CLASSES[row['prediction']]} with {100 * row['confidence']:.1f}%"
    )
    assert found[alt].shape == (8, 8, 3)
    assert found[alt][0, 0].tolist() == [len("cifar10-c"), 4, chosen]
    labels = [div.text() for div in section.all("div", class_="label")]
    assert labels == ["clean", *(name.replace("_", " ") for name in COMMON_CORRUPTIONS)]
    signs = [span.text()[-7:] for span in section.all("span", class_="wrong")]
    assert all("✗" in sign for sign in signs)
    frames = page.pictures(page.section("Samples of cifar10-p"))
    assert len(frames) == 10 * 5
    brighter = [p[4, 4, 0] for alt, p in frames.items() if ", tilt, " in alt]
    assert brighter == [40, 48, 55, 62, 70]  # frames 1, 9, 16, 23 and 31 of 31


def test_anomalies_shown_are_the_surest(made, page):
    _, files = made
    rows = list(read_variants(files[4]))[3].to_pylist()
    surest = sorted(rows, key=lambda row: -row["confidence"])[:5]
    sheet = page.section("Samples of anomalies").all("div", class_="tiles")[3]
    assert [p[0, 0, 2] for p in page.pictures(sheet).values()] == [
        row["source_index"] % 256 for row in surest
    ]
    assert f"{100 * surest[0]['confidence']:.1f}%" in sheet.text()


def test_worst_failures_are_the_surest_mistakes(made, page):
    _, files = made
    originals = next(read_variants(files[0])).to_pylist()
    wrong = [
        (-row["confidence"], row["severity"], order, row["source_index"], row)
        for order, table in enumerate(read_variants(files[1]))
        for row in table.to_pylist()
        if row["prediction"] != row["label"]
    ]
    picked = []
    for *_, row in sorted(wrong, key=lambda each: each[:4]):
        seen = [each["source_index"] for each in picked]
        same = [each for each in picked if each["variant"] == row["variant"]]
        if row["source_index"] not in seen and len(same) < 2 and len(picked) < 12:
            picked.append(row)
    cards = page.section("Worst failures on cifar10-c").all("article")
    assert len(cards) == len(picked) == 12
    for card, row in zip(cards, picked, strict=True):
        true, guess = CLASSES[row["label"]], CLASSES[row["prediction"]]
        assert f"{true} taken for {guess}" in card.text()
        assert f"{row['variant']} at severity {row['severity']}" in card.text()
        assert row["key"] in card.text()
        clean = originals[row["source_index"]]
        assert f"clean: {CLASSES[clean['prediction']]}, " in card.text()
        mistake, original = page.pictures(card).values()
        assert mistake[0, 0].tolist() == [9, row["severity"], row["source_index"] % 256]
        assert original[0, 0].tolist() == [7, 0, row["source_index"] % 256]


def test_of_equal_mistakes_the_mildest_come_first(tmp_path):
    make = Maker(tmp_path, num=30)
    wrong, sure = (make.labels + 1) % len(CLASSES), np.ones(30)
    cells = [("fog", 3), ("fog", 2), ("snow", 1), ("snow", 2), ("frost", 2)]
    tables = [picture_table("c", make.samples(*cell, "k"), wrong, sure) for cell in cells]
    path = predictions_path(tmp_path, "c")
    write_predictions(path, make.about("c", "c", COMMON_CORRUPTIONS), tables)
    found = [(seen.variant, seen.severity, seen.source_index) for seen in read_worst(path)]
    assert found == [
        *(("snow", 1, 0), ("snow", 1, 1), ("fog", 2, 2), ("fog", 2, 3)),
        *(("frost", 2, 4), ("frost", 2, 5)),
    ]
    clean = picture_table("clean", make.samples("clean", None, "k"), wrong, sure)
    write_predictions(path, make.about("clean", "clean"), [clean])
    assert [seen.source_index for seen in read_worst(path)] == list(range(12))


def read_worst(path):
    return read_predicted(path, frozenset()).worst


def test_certainty_is_not_rounded_up(tmp_path):
    make = Maker(tmp_path, num=3)
    samples = make.samples("digits", None, "0000")
    wrong = (make.labels + 1) % len(CLASSES)
    table = picture_table("digits", samples, wrong, np.array([0.99999, 1.0, 0.9]))
    path = predictions_path(tmp_path, "digits")
    write_predictions(path, make.about("digits", "clean"), [table])
    page = written(tmp_path, small(), predictions=[path])
    cards = [card.text() for card in page.section("Worst failures on digits").all("article")]
    assert ["confidence 100.0%" in cards[0], "confidence >99.9%" in cards[1]] == [True, True]
    assert "confidence 90.0%" in cards[2]
    assert not page.root.all("img")


def test_an_original_must_be_of_the_same_picture(tmp_path):
    make = Maker(tmp_path, num=20)
    right = Samples("x", None, None, np.arange(4), list("abcd"), np.zeros(4, np.int64))
    ours = picture_table("clean", right, np.zeros(4, np.int64), np.full(4, 0.9))
    other = right._replace(variant="fog", severity=1, source_id=["a", "other", "c", "d"])
    theirs = picture_table("c", other, np.ones(4, np.int64), np.array([0.5, 0.9, 0.8, 0.7]))
    paths = [predictions_path(tmp_path, name) for name in ("clean", "c")]
    write_predictions(paths[0], make.about("clean", "clean"), [ours])
    write_predictions(paths[1], make.about("c", "c", COMMON_CORRUPTIONS), [theirs])
    results = Results(
        "m",
        "digits",
        (
            SetResult("clean", "clean", (Reading("clean", 4, {"error": 0.0}),)),
            SetResult("c", "c", (Reading("fog", 4, {"error": 1.0}, 1),), COMMON_CORRUPTIONS),
        ),
    )
    page = written(tmp_path, results, predictions=paths, pictures=pixels)
    cards = page.section("Worst failures on c").all("article")
    assert [len(card.all("img")) for card in cards] == [1, 2]  # two at most of one corruption
    assert "clean:" not in cards[0].text()
    assert "The model has every sample right." in page.section("Worst failures on clean").text()


def test_pictures_that_cannot_be_had_and_large_ones(made, tmp_path):
    results, files = made
    page = written(tmp_path, results, predictions=files, pictures=lambda wanted: None)
    assert not page.root.all("img")
    assert "not to be had" in page.section("Samples of cifar10-c").text()
    large = np.tile(np.linspace(0, 255, 224).astype(np.uint8)[None, :, None], (224, 1, 3))
    page = written(tmp_path, results, predictions=files[:2], pictures=lambda wanted: large)
    section = page.section("Samples of cifar10-c")
    assert {p.shape for p in page.pictures(section).values()} == {(160, 160, 3)}
    assert section.all("img")[0].attributes["src"].startswith("data:image/jpeg;base64,")
    shown = next(iter(page.pictures(section).values())).astype(int)
    assert abs(shown[80, [0, 80, 159], 0] - [0, 128, 255]).max() < 6


# ── refusals ──


def test_refuses_what_does_not_belong(made, tmp_path):
    results, files = made
    with pytest.raises(
        DreamshardsError, match=r"predictions of 'cifar10', kind 'clean'; allowed: .*'digits'"
    ):
        write_report(tmp_path, small(), predictions=files[:1])
    with pytest.raises(DreamshardsError, match=r"gone\.parquet: no such file; allowed"):
        write_report(tmp_path, small(), predictions=[tmp_path / "gone.parquet"])
    with pytest.raises(DreamshardsError, match=r"got float64 \(8, 8, 3\); allowed: uint8"):
        write_report(tmp_path, results, predictions=files, pictures=lambda w: np.zeros((8, 8, 3)))
    with pytest.raises(DreamshardsError, match=r"got shape \(8, 8, 3\); allowed: 31 frames"):
        write_report(
            tmp_path,
            results,
            predictions=files[3:4],
            pictures=lambda w: np.zeros((8, 8, 3), np.uint8),
        )
    assert not list(tmp_path.iterdir())


def test_refuses_a_class_that_the_checkpoint_does_not_have(tmp_path):
    make = Maker(tmp_path, num=3)
    samples = make.samples("digits", None, "0000")
    table = picture_table("digits", samples, np.full(3, 7), np.full(3, 0.5))
    path = predictions_path(tmp_path, "digits")
    write_predictions(path, make.about("digits", "clean"), [table])
    with pytest.raises(DreamshardsError, match="predictions of digits: class 7; allowed: 0 to 3"):
        write_report(tmp_path, small(), predictions=[path])


def test_says_how_it_was_measured(page):
    table = rows_of(page.section("How it was measured").all("table")[0])
    assert table["cifar10-c"] == ["C", "15 of 15", "300", "datasets/cifar10-c", ""]
    assert table["anomalies"] == ["anomalies", "4 of 7", "300", "datasets/anomalies", "seed 0"]
    assert table["pgd-noisy"] == ["PGD", "1", "300", "", "centre noisy"]
    folded = page.section("How it was measured").all("details")[0].text()
    assert "Identity of cifar10" in folded
    assert "data.digest " + "cd" * 32 in folded
    assert "data.epochs 75" in folded
