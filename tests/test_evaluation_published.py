"""Published tables, their columns, and the scale of a radar chart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.columns import COLUMNS
from evaluation.published import PUBLISHED
from evaluation.radar import AXES, radar
from pipeline.errors import DreamshardsError

# sums over the methods of the papers' tables, taken apart from the rows here
SUMS = {
    "cifar10": {
        "clean_error": 33.2,
        "c_mce": 169.0,
        "c_bar_mce": 178.9,
        "p_mfr": 23.9,
        "p_t5d": 13.4,
        "pgd_error": 729.6,
        "clean_rms": 45.8,
        "c_rms": 112.1,
        "c_bar_rms": 116.3,
        "ood_auroc": 741.3,
        "ood_aupr": 574.1,
    },
    "cifar100": {
        "clean_error": 165.0,
        "c_mce": 364.2,
        "c_bar_mce": 378.4,
        "p_mfr": 78.8,
        "p_t5d": 20.5,
        "pgd_error": 773.3,
        "clean_rms": 90.1,
        "c_rms": 170.2,
        "c_bar_rms": 167.8,
        "ood_auroc": 643.0,
        "ood_aupr": 355.0,
    },
    "imagenet": {
        "clean_error": 362.3,
        "c_mce": 1041.9,
        "c_bar_mce": 820.8,
        "r_error": 868.8,
        "p_mfr": 705.9,
        "p_mt5d": 938.1,
        "clean_rms": 85.6,
        "c_rms": 128.6,
        "c_bar_rms": 218.2,
        "r_rms": 272.0,
        "ood_auroc": 1116.9,
        "ood_aupr": 714.0,
    },
}


@pytest.mark.parametrize("dataset", SUMS)
def test_sums_of_columns(dataset):
    rows = PUBLISHED[dataset].rows
    for column, total in SUMS[dataset].items():
        assert sum(row[column] for row in rows.values()) == pytest.approx(total, abs=1e-6), column
    assert {tuple(row) for row in rows.values()} == {tuple(SUMS[dataset])}


def test_columns_and_ranges():
    for name, table in PUBLISHED.items():
        assert table.title, name
        assert table.source, name
        for method, row in table.rows.items():
            for column, value in row.items():
                high = 100 if COLUMNS[column].percent else 18
                assert 0 < value < high, (name, method, column)


def test_tables_agree_where_they_overlap():
    whole = PUBLISHED["cifar100"].rows["PixMix"]
    ablated = PUBLISHED["cifar100-mixing-sets"].rows["Fractals and visualisations"]
    assert {column: whole[column] for column in ablated} == ablated
    chosen = PUBLISHED["cifar100-hyperparameters"].rows["k 4, beta 3"]
    assert {column: whole[column] for column in chosen} == chosen


def test_radar_by_hand():
    found = radar(PUBLISHED["cifar10"].rows, baseline="Baseline")
    assert set(found["Baseline"].values()) == {0.0}
    assert found["PixMix"] == pytest.approx(
        {
            "Corruptions": (26.4 - 9.5) / 26.4,
            "Consistency": (3.4 - 1.7) / 3.4,
            "Adversaries": (91.3 - 82.1) / 91.3,
            "Calibration": (22.7 - 3.7) / 22.7,
            "Anomaly detection": (97.0 - 91.9) / (100 - 91.9),
        }
    )
    assert found["Mixup"]["Anomaly detection"] < 0 < found["Mixup"]["Corruptions"]


def test_pixmix_alone_gains_in_all_five():
    for dataset in ("cifar10", "cifar100"):
        found = radar(PUBLISHED[dataset].rows, baseline="Baseline")
        better = [m for m, axes in found.items() if all(value > 0.03 for value in axes.values())]
        assert better == ["PixMix"]


def test_radar_of_imagenet_leaves_the_adversary_out_when_told():
    rows = PUBLISHED["imagenet"].rows
    with pytest.raises(
        DreamshardsError, match=r"Baseline has no pgd_error; .*leave 'Adversaries' out"
    ):
        radar(rows, baseline="Baseline")
    axes = {axis: column for axis, column in AXES.items() if column != "pgd_error"}
    assert list(radar(rows, baseline="Baseline", axes=axes)["PixMix"]) == list(axes)


values = st.floats(1, 99)


@given(st.lists(st.tuples(*[values] * 5), min_size=2, max_size=4))
def test_radar_orders_as_the_measures_do(rows):
    columns = list(AXES.values())
    methods = {str(i): dict(zip(columns, row, strict=True)) for i, row in enumerate(rows)}
    found = radar(methods, baseline="0")
    two = radar({name: methods[name] for name in ("0", "1")}, baseline="0")
    assert two["1"] == found["1"]  # other methods change nothing
    for axis, column in AXES.items():
        sign = 1 if COLUMNS[column].best == 0 else -1
        for name in methods:
            assert found[name][axis] <= 1
            gain = sign * (methods["0"][column] - methods[name][column])
            assert (found[name][axis] > 0) == (gain > 0)


def test_radar_refuses():
    rows = {"Baseline": dict.fromkeys(AXES.values(), 50.0)}
    with pytest.raises(
        DreamshardsError, match=r"'baseline' is not .*\(did you mean 'Baseline'\?\)"
    ):
        radar(rows, baseline="baseline")
    with pytest.raises(DreamshardsError, match=r"no column 'c_mcee' \(did you mean 'c_mce'\?\)"):
        radar(rows, baseline="Baseline", axes={"Corruptions": "c_mcee"})
    with pytest.raises(DreamshardsError, match="perfect in ood_auroc"):
        radar({"b": rows["Baseline"] | {"ood_auroc": 100.0}}, baseline="b")
    with pytest.raises(DreamshardsError, match="b has no c_mce"):
        radar({"b": {"c_mce": float("nan")}}, baseline="b")
