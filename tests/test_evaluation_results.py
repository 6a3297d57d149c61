"""The form of results.json, the summary made of it, and the tables that show both."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from evaluation import benchmarks
from evaluation.benchmarks import ANOMALY_SETS, C_BAR_CIFAR, COMMON_CORRUPTIONS, SEQUENCES
from evaluation.results import Figure, Reading, Results, SetResult
from evaluation.tables import legend, set_table, summary_table
from pipeline.corruptions import C_BAR_CIFAR as MADE_C_BAR_CIFAR
from pipeline.corruptions import C_BAR_IMAGENET, C
from pipeline.errors import DreamshardsError


def _corrupted(kind="c", names=COMMON_CORRUPTIONS, levels=(1, 2, 3, 4, 5), skip=()) -> SetResult:
    """Errors of 1% times the severity plus 2% for each corruption before."""
    return SetResult(
        f"cifar10-{kind}",
        kind,
        tuple(
            Reading(name, 100, {"error": 0.01 * level + 0.02 * place, "rms": 0.01 * level}, level)
            for place, name in enumerate(names)
            for level in levels
            if (name, level) not in skip
        ),
        COMMON_CORRUPTIONS if kind == "c" else C_BAR_CIFAR,
    )


CLEAN = SetResult("cifar10", "clean", (Reading("cifar10", 10_000, {"error": 0.042, "rms": 0.026}),))
SEQUENCE_SET = SetResult(
    "cifar10-p",
    "p",
    tuple(
        Reading(name, 50, {"flip_probability": 0.01 * place, "t5d": 0.5 * place})
        for place, name in enumerate((*SEQUENCES, "spatter"))
    ),
    SEQUENCES,
)
ANOMALIES = SetResult(
    "anomalies",
    "ood",
    tuple(
        Reading(name, 20, {"auroc": value, "aupr": value / 2, "fpr95": 1 - value})
        for name, value in (("svhn", 0.9), ("gaussian", 0.8))
    ),
    ANOMALY_SETS,
    {"seed": "0"},
)
PGD = SetResult(
    "pgd", "pgd", (Reading("cifar10", 10_000, {"error": 0.821}),), settings={"centre": "noisy"}
)
PGD_CLEAN = SetResult("pgd-clean", "pgd", (Reading("cifar10", 10_000, {"error": 0.7}),))
RENDITIONS = SetResult("imagenet-r", "r", (Reading("imagenet-r", 30_000, {"error": 0.6}),))

WHOLE = Results(
    "ours",
    "cifar10",
    (
        CLEAN,
        _corrupted(),
        _corrupted("c-bar", C_BAR_CIFAR),
        SEQUENCE_SET,
        ANOMALIES,
        PGD,
        PGD_CLEAN,
        RENDITIONS,
    ),
    settings={"device": "cpu"},
)


def test_names_are_those_of_the_corruptions_made_here():
    assert set(C) == set(COMMON_CORRUPTIONS)
    assert set(MADE_C_BAR_CIFAR) == set(C_BAR_CIFAR)
    assert set(C_BAR_IMAGENET) == set(benchmarks.C_BAR_IMAGENET)


def test_summary_by_hand():
    found = WHOLE.summary()
    missing = ("rademacher", "blobs", "textures", "lsun", "places69")
    expected = {
        "clean_error": (4.2, 1, ()),
        "clean_rms": (2.6, 1, ()),
        "c_mce": (3 + 2 * 7, 15, ()),
        "c_rms": (3.0, 15, ()),
        "c_bar_mce": (3 + 2 * 4.5, 10, ()),
        "c_bar_rms": (3.0, 10, ()),
        "p_mfr": (4.5, 10, ()),
        "p_t5d": (2.25, 10, ()),
        "ood_auroc": (85.0, 2, missing),
        "ood_aupr": (42.5, 2, missing),
        "pgd_error": (82.1, 1, ()),
        "r_error": (60.0, 1, ()),
    }
    assert set(found) == set(expected)
    for name, (value, num_covered, lacking) in expected.items():
        assert found[name].value == pytest.approx(value), name
        assert found[name][1:] == (num_covered, lacking), name


def test_summary_divided_by_alexnet():
    alexnet = {name: [*benchmarks.ALEXNET_ERROR[name]] for name in COMMON_CORRUPTIONS}
    readings = tuple(
        Reading(name, 1, {"error": error}, level)
        for name, errors in alexnet.items()
        for level, error in enumerate(errors, 1)
    )
    t5d = {name: 1.0 + place for place, name in enumerate(SEQUENCES)}
    flips = SetResult(
        "p",
        "p",
        tuple(
            Reading(
                name,
                1,
                {"flip_probability": benchmarks.ALEXNET_FLIPS[name] / 2, "t5d": 0.75 * t5d[name]},
            )
            for name in SEQUENCES
        ),
        SEQUENCES,
    )
    sets = (
        SetResult("c", "c", readings, COMMON_CORRUPTIONS),
        flips,
        _corrupted("c-bar", C_BAR_CIFAR),
    )
    found = Results("m", "imagenet", sets, "alexnet", t5d).summary()
    assert found["c_mce"].value == pytest.approx(100)
    assert found["p_mfr"].value == pytest.approx(50)
    assert found["p_mt5d"].value == pytest.approx(75)
    assert found["c_bar_mce"].value == pytest.approx(12)  # never divided
    assert "p_t5d" not in found
    without = Results("m", "imagenet", sets, "alexnet").summary()
    assert "p_mt5d" not in without
    assert without["p_t5d"].value == pytest.approx(0.75 * 5.5)


def test_a_mean_over_less_says_what_it_lacks():
    some = _corrupted(names=COMMON_CORRUPTIONS[:4], levels=(1, 3), skip={("shot_noise", 3)})
    found = Results("m", "cifar10", (some,)).summary()["c_mce"]
    assert found.value == pytest.approx(2 + 2 * (0 + 2 + 3) / 3)
    assert found.num_covered == 3
    assert found.missing == (
        "shot_noise",
        *COMMON_CORRUPTIONS[4:],
        "severity 2",
        "severity 4",
        "severity 5",
    )


def test_readings_out_of_the_benchmark_are_in_no_mean():
    extra = Reading("speckle_noise", 1, {"error": 1.0, "rms": 1.0}, 5)
    plain = _corrupted(levels=(1, 2))
    added = SetResult("c", "c", (*plain.readings, extra), plain.parts)
    alone = SetResult("c", "c", (extra,), plain.parts)
    summaries = [Results("m", "cifar10", (part,)).summary() for part in (plain, added, alone)]
    assert summaries[0] == summaries[1]
    assert summaries[2] == {}
    lines = set_table(added).splitlines()
    assert lines[0].split()[-4:] == ["1", "2", "5", "mean"]
    assert lines[-4].split() == ["speckle_noise", "(in", "no", "mean)", "–", "–", "100.0", "–"]
    assert lines[-3].split() == ["mean", "of", "15", "15.0", "16.0", "–", "15.5"]


def test_json_and_back():
    text = WHOLE.to_json()
    assert Results.from_json(text) == WHOLE
    content = json.loads(text)
    assert content["version"] == 1
    assert content["sets"][0] == {
        "name": "cifar10",
        "kind": "clean",
        "readings": [
            {
                "name": "cifar10",
                "num_samples": 10_000,
                "values": {"error": 0.042, "rms": 0.026},
                "severity": None,
            }
        ],
        "parts": [],
        "settings": {},
    }


def _edited(change) -> str:
    content = json.loads(WHOLE.to_json())
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(modle="x"), "results.json: modle: unexpected keyword argument"),
        (lambda c: c.pop("model"), "results.json: model: field required"),
        (lambda c: c.update(version=2), "results.json: version: input should be 1"),
        (lambda c: c["sets"][0].update(kind="d"), "sets.0.kind: input should be 'clean', 'c'"),
        (
            lambda c: c["sets"][0]["readings"][0].update(num_samples="9"),
            "sets.0.readings.0.num_samples: input should be a valid integer",
        ),
        (
            lambda c: c["sets"][0]["readings"][0]["values"].update(error=4.2),
            "set 'cifar10', cifar10: error: got 4.2; allowed: 0 to 1, not percent",
        ),
        (
            lambda c: c["sets"][0]["readings"][0]["values"].update(eror=0.2),
            r"unknown measure 'eror' \(did you mean 'error'\?\); allowed for kind 'clean'",
        ),
        (
            lambda c: c["sets"][0]["readings"][0]["values"].pop("error"),
            "set 'cifar10', cifar10: no error; measure it",
        ),
        (
            lambda c: c["sets"][4]["readings"][0]["values"].pop("aupr"),
            "set 'anomalies', svhn: no aupr",
        ),
        (lambda c: c["sets"][1]["readings"][0].update(severity=6), "severity 6; .*1 to 5"),
        (lambda c: c["sets"][1]["readings"][0].update(severity=None), "severity None; .*1 to 5"),
        (lambda c: c["sets"][0]["readings"][0].update(severity=1), "severity 1; .*none"),
        (lambda c: c["sets"][0]["readings"][0].update(num_samples=0), "0 samples; allowed: 1 or"),
        (
            lambda c: c["sets"][1]["readings"][1].update(severity=1),
            "set 'cifar10-c': two readings of gaussian_noise at 1; allowed: one",
        ),
        (lambda c: c["sets"][1].update(parts=[]), "75 readings and 0 parts"),
        (lambda c: c["sets"][0].update(parts=["x"]), "1 readings and 1 parts; .*one reading"),
        (lambda c: c["sets"][0].update(readings=[]), "0 readings"),
        (lambda c: c["sets"][1].update(name="cifar10"), "two sets of one name"),
    ],
)
def test_json_refused(change, message):
    with pytest.raises(DreamshardsError, match=message):
        Results.from_json(_edited(change))


def test_json_refused_as_a_whole():
    with pytest.raises(DreamshardsError, match=r"here\.json: the file: invalid JSON"):
        Results.from_json("{", where="here.json")
    text = WHOLE.to_json().replace("0.042", "NaN")
    with pytest.raises(DreamshardsError, match="got nan; allowed: 0 to 1"):
        Results.from_json(text)


def test_summary_table_beside_published_numbers():
    lines = summary_table([WHOLE]).splitlines()
    assert lines[0].split()[:3] == ["model", "Clean", "err"]
    assert lines[2].split() == [
        *("ours", "4.2", "17.0", "12.0", "60.0", "4.5", "2.25", "82.1"),
        *("2.6", "3.0", "3.0", "85.0", "[1]", "42.5", "[1]"),
    ]
    pixmix = next(line for line in lines if line.startswith("PixMix"))
    assert pixmix.split() == [
        *("PixMix", "(published)", "4.2", "9.5", "13.6", "–", "1.7", "1.0", "82.1"),
        *("2.6", "3.7", "5.3", "97.0", "88.4"),
    ]
    assert "[1] Mean of 2. Missing: rademacher, blobs, textures, lsun, places69." in lines
    assert "ours, pgd: centre noisy." in lines
    assert any(line.startswith("Published: CIFAR-10, WideResNet-40-4") for line in lines)
    table = lines[: lines.index("")]
    assert len(table) == 2 + 1 + 8
    ends = [line.rindex(line.split()[-1]) + len(line.split()[-1]) for line in table]
    assert len(set(ends)) == 1  # flush right


def test_summary_table_of_several_models_without_published_numbers():
    other = Results("theirs", "cifar10", (CLEAN, _corrupted(names=COMMON_CORRUPTIONS[1:])))
    lines = summary_table([other, WHOLE], published=False).splitlines()
    assert lines[2].split()[:4] == ["theirs", "4.2", "16.0", "[1]"]
    assert "[1] Mean of 14. Missing: gaussian_noise." in lines
    assert "[2] Mean of 2. Missing: rademacher, blobs, textures, lsun, places69." in lines
    assert not any("ublished" in line for line in lines)


def test_summary_table_as_markdown():
    text = summary_table([Results("a|b", "digits", (CLEAN,))], markdown=True)
    assert text == "| model | Clean err | RMS |\n|---|---:|---:|\n| a\\|b | 4.2 | 2.6 |\n"


def test_summary_table_refuses():
    with pytest.raises(DreamshardsError, match="results of cifar10, digits; allowed: one data set"):
        summary_table([WHOLE, Results("x", "digits", (CLEAN,))])
    with pytest.raises(DreamshardsError, match="results of nothing"):
        summary_table([])


def test_table_of_corruptions():
    lines = set_table(_corrupted(names=COMMON_CORRUPTIONS[:2])).splitlines()
    assert lines[0].split() == ["cifar10-c,", "error", "1", "2", "3", "4", "5", "mean"]
    assert lines[2].split() == ["gaussian_noise", "1.0", "2.0", "3.0", "4.0", "5.0", "3.0"]
    assert lines[3].split() == ["shot_noise", "3.0", "4.0", "5.0", "6.0", "7.0", "5.0"]
    assert lines[4].split() == ["impulse_noise", *["–"] * 6]
    assert lines[17].split() == ["mean", "of", "2", "2.0", "3.0", "4.0", "5.0", "6.0", "4.0"]
    assert lines[19].startswith("Missing: impulse_noise, defocus_blur")
    rms = set_table(_corrupted(), measure="rms").splitlines()
    assert rms[2].split() == ["gaussian_noise", "1.0", "2.0", "3.0", "4.0", "5.0", "3.0"]
    assert len(rms) == 18  # nothing missing: no note


def test_tables_of_other_sets():
    lines = set_table(SEQUENCE_SET).splitlines()
    assert lines[0].split() == ["cifar10-p", "n", "flip_probability", "t5d"]
    assert lines[3].split() == ["shot_noise", "50", "1.0", "0.500"]
    text = set_table(ANOMALIES, markdown=True).splitlines()
    assert text[0] == "| anomalies | n | auroc | aupr | fpr95 |"
    assert text[2] == "| svhn | 20 | 90.0 | 45.0 | 10.0 |"
    assert set_table(CLEAN).splitlines()[2].split() == ["cifar10", "10,000", "4.2", "2.6"]


def test_set_table_refuses():
    with pytest.raises(DreamshardsError, match="has no 'mad'; allowed: error, rms"):
        set_table(_corrupted(), measure="mad")
    with pytest.raises(DreamshardsError, match="measure = 'error' of a set of kind 'clean'"):
        set_table(CLEAN, measure="error")


def test_legend_has_what_a_summary_has():
    assert legend({"p_t5d": Figure(1.0, 10), "c_mce": Figure(1.0, 15)}).splitlines() == [
        "C mCE  mean corruption error; on ImageNet divided by AlexNet's",
        "mT5D   mean top-5 distance, 0 to 18",
    ]


def test_only_the_adversary_needs_torch():
    code = (
        "import sys, evaluation.tables, evaluation.radar; "
        "sys.exit(', '.join({'torch', 'ray'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
