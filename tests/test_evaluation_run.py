"""Evaluations measure what is there, go on where they were stopped, and say what they could not do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

import evaluation.work
from evaluation.benchmarks import ANOMALY_SETS, COMMON_CORRUPTIONS
from evaluation.measures.adversary import Attack
from evaluation.predict import Network
from evaluation.predictions import predictions_path, read_about
from evaluation.requests import parse_request
from evaluation.results import Reading, Results
from evaluation.run import Report, evaluate, model_name
from evaluation.tasks import Settings
from pipeline.errors import DreamshardsError, UsageError
from pipeline.stream import ShardDataset
from tests.conftest import tree
from tests.evaluation_helpers import (
    CLASSES,
    CORRUPTED,
    CPU,
    break_network,
    build_root,
    save_network,
    write_corruption_arrays,
    write_pictures,
    write_sequence_arrays,
)
from training.checkpoint import load_trained

ATTACK = Attack(eps=8 / 255, steps=2, step=4 / 255)
QUICK = Settings(batch_size=100, device="cpu", attack=None)
"""Without attacks, which take longest."""


class Sets:
    """A checkpoint and test sets of every kind, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = save_network(folder / "run" / "last.pt")
        small = ("source.count=60", "shards.samples_per_shard=25")
        self.clean = build_root(folder / "clean")
        self.c = build_root(folder / "c", *CORRUPTED, *small)
        self.p = write_sequence_arrays(folder / "p", {"tilt": 4, "shot_noise": 3})
        self.arrays = write_corruption_arrays(folder / "arrays", ("fog",), num=20)
        self.svhn = write_pictures(folder / "svhn", ("a", "b"), num=50)
        self.kites = write_pictures(folder / "kites", ("a",), num=9)
        self.few = write_pictures(folder / "few", ("3", "7"), num=5)

    def everything(self) -> list[str]:
        """Return a request for each."""
        return [
            f"svhn=ood:{self.svhn}",
            f"official=c:{self.arrays}",
            str(self.c),
            f"ood:{self.kites}",
            f"p:{self.p}",
            f"r:{self.few}",
            str(self.clean),
        ]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    """Return the sets; read them, never change them."""
    return Sets(tmp_path_factory.mktemp("sets"))


def run(
    sets: Sets, out: Path, data: Sequence[object], settings: Settings = QUICK, **changed: Any
) -> Report:
    """Evaluate the checkpoint of `sets`."""
    requests = [parse_request(str(text)) for text in data]
    return evaluate(sets.checkpoint, requests, out, replace(settings, **changed))


@pytest.fixture(scope="module")
def whole(sets: Sets, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """Return an evaluation of everything and its folder; read it, never change it."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return run(sets, out, sets.everything(), attack=ATTACK, attacked=30), out


def reading(results: Results, set_name: str, name: str, severity: int | None = None) -> Reading:
    """Return one reading of a set."""
    (found,) = (part for part in results.sets if part.name == set_name)
    (one,) = (r for r in found.readings if (r.name, r.severity) == (name, severity))
    return one


def answers(sets: Sets, root: Path, epoch: int) -> tuple[Any, Any, Any]:
    """Return what the network itself says of an epoch: predictions, confidences and labels."""
    dataset = ShardDataset(root, epoch)
    batch: Any = dataset.__getitems__(range(len(dataset)))
    trained = load_trained(sets.checkpoint)
    with torch.inference_mode():
        floats = (batch.batch.images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        probabilities = trained.net(floats).double().softmax(1)
    sure, guess = probabilities.max(1)
    return guess.numpy(), sure.numpy(), batch.batch.labels.numpy()


# ── what is measured ──


def test_every_measure_is_that_of_the_network_itself(
    sets: Sets, whole: tuple[Report, Path]
) -> None:
    results = whole[0].results
    assert results.holes == {}
    assert [(part.name, part.kind) for part in results.sets] == [
        ("digits-test", "clean"),
        ("digits-test-pgd", "pgd"),
        ("digits-test-pgd-noisy", "pgd"),
        ("official", "c"),
        ("digits-c", "c"),
        ("few", "r"),
        ("p", "p"),
        ("anomalies", "ood"),
    ]
    guess, sure, labels = answers(sets, sets.clean, 0)
    clean = reading(results, "digits-test", "digits-test")
    assert clean.num_samples == 360
    assert clean.values["error"] == np.mean(guess != labels)
    assert 0 < clean.values["error"] < 0.9
    # with bins of 100, the last of 160, by hand
    order, right = np.argsort(sure), guess == labels
    bins = [order[:100], order[100:200], order[200:]]
    gaps = [len(b) * (sure[b].mean() - right[b].mean()) ** 2 for b in bins]
    assert clean.values["rms"] == pytest.approx(np.sqrt(sum(gaps) / 360), abs=1e-6)
    assert clean.values["rms_published"] == pytest.approx(np.sqrt(sum(gaps[:2]) / 360), abs=1e-6)
    for epoch, (name, level) in enumerate(
        (("gaussian_noise", 1), ("gaussian_noise", 5), ("contrast", 1), ("contrast", 5))
    ):
        guess, _, labels = answers(sets, sets.c, epoch)
        found = reading(results, "digits-c", name, level)
        assert found.values["error"] == np.mean(guess != labels)
        assert found.num_samples == 60
        assert "rms_published" not in found.values  # of so few samples there is none
    assert results.settings["precision"] == "float32"
    assert results.dataset == "digits"


def test_anomalies_are_one_for_five_normal_samples(sets: Sets, whole: tuple[Report, Path]) -> None:
    report, out = whole
    rows = pq.read_table(predictions_path(out, "anomalies"))
    assert rows["label"].null_count == len(rows)
    sure = rows["confidence"].to_numpy()
    variant = np.array(rows["variant"].to_pylist())
    normal = answers(sets, sets.clean, 0)[1]
    for name, num in (("svhn", 72), ("kites", 9)):  # a fifth of 360, or all there are
        found = reading(report.results, "anomalies", name)
        assert found.num_samples == num
        foreign = sure[variant == name]
        scores = -np.concatenate([normal, foreign])
        truth = np.arange(len(scores)) >= len(normal)
        assert found.values["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
        expected = average_precision_score(truth, scores)
        assert found.values["aupr"] == pytest.approx(expected, abs=1e-3)
    (anomalies,) = (part for part in report.results.sets if part.kind == "ood")
    assert anomalies.parts == ANOMALY_SETS
    assert report.results.summary()["ood_auroc"].num_covered == 1


def test_sequences_are_held_to_the_frame_before_or_the_first(
    sets: Sets, whole: tuple[Report, Path]
) -> None:
    network = Network(load_trained(sets.checkpoint), CPU)
    for name, reference in (("tilt", lambda f: f[:, :-1]), ("shot_noise", lambda f: f[:, :1])):
        clips = torch.from_numpy(np.load(sets.p / f"{name}.npy"))
        frames = np.stack([network.classify(clip).prediction for clip in clips])
        found = reading(whole[0].results, "p", name)
        flips = np.mean(reference(frames) != frames[:, 1:])
        assert found.values["flip_probability"] == pytest.approx(flips)
        assert found.num_samples == 6


def test_a_set_of_some_classes_is_judged_over_these_alone(
    sets: Sets, whole: tuple[Report, Path]
) -> None:
    rows = pq.read_table(predictions_path(whole[1], "few"))
    assert set(rows["label"].to_pylist()) == {3, 7}  # by the checkpoint's classes, not the folder's
    assert set(rows["prediction"].to_pylist()) <= {3, 7}


def test_attacks_are_on_some_of_the_clean_set_and_hurt(whole: tuple[Report, Path]) -> None:
    report, out = whole
    clean = pq.read_table(predictions_path(out, "digits-test")).to_pandas()
    chosen = [place * 360 // 30 for place in range(30)]
    before = clean[clean.source_index.isin(chosen)]
    for name, centre in (("digits-test-pgd", "clean"), ("digits-test-pgd-noisy", "noisy")):
        rows = pq.read_table(predictions_path(out, name)).to_pandas()
        assert rows.source_index.tolist() == chosen
        assert rows.label.tolist() == before.label.tolist()
        error = reading(report.results, name, name).values["error"]
        assert error == np.mean(rows.prediction != rows.label)
        assert error > np.mean(before.prediction != before.label)
        (part,) = (part for part in report.results.sets if part.name == name)
        assert part.settings["centre"] == centre
        assert part.settings["eps"] == "8/255"
        assert part.settings["samples"] == "30 of 360"
        summary = report.results if centre == "clean" else report.results.as_published()
        assert summary.summary()["pgd_error"].value == 100 * error


def test_what_lies_in_the_folder(sets: Sets, whole: tuple[Report, Path]) -> None:
    report, out = whole
    names = {part.name for part in report.results.sets}
    assert {path.name for path in out.iterdir()} == {
        "results.json",
        "report.html",
        *(f"predictions-{name}.parquet" for name in names),
    }
    text = (out / "results.json").read_text()
    assert Results.from_json(text) == report.results
    about = read_about(predictions_path(out, "digits-c"))
    assert about is not None
    digest = json.loads((sets.c / "dataset.json").read_text())["digest"]
    assert (about.identity["data"], about.where) == (digest, str(sets.c))
    assert (about.parts, about.classes) == (COMMON_CORRUPTIONS, tuple(CLASSES))
    page = report.page.read_text()
    assert page.startswith("<!doctype html>")
    assert "data:image/png" in page  # samples were found and are shown


def test_the_batch_size_changes_no_prediction(
    sets: Sets, whole: tuple[Report, Path], tmp_path: Path
) -> None:
    run(sets, tmp_path / "out", [sets.clean, sets.c], batch_size=7)
    for name in ("digits-test", "digits-c"):
        one, other = (
            pq.read_table(predictions_path(out, name)) for out in (whole[1], tmp_path / "out")
        )
        for column in ("key", "variant", "source_index", "source_id", "label"):
            assert one[column] == other[column]
        gaps = np.abs(one["confidence"].to_numpy() - other["confidence"].to_numpy())
        assert gaps.max() < 1e-5


# ── so many samples ──


def test_so_many_samples_are_the_same_pictures_in_every_set(sets: Sets, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = run(sets, out, [sets.clean, sets.c, f"svhn=ood:{sets.svhn}"], samples=20)
    clean = pq.read_table(predictions_path(out, "digits-test"))
    assert clean["source_index"].to_pylist() == list(range(0, 360, 18))
    corrupted = pq.read_table(predictions_path(out, "digits-c"))
    by_variant = corrupted.to_pandas().groupby(["variant", "severity"]).source_index.apply(list)
    assert len(by_variant) == 4
    assert all(each == list(range(0, 60, 3)) for each in by_variant)
    assert set(corrupted["source_id"].to_pylist()) == set(clean["source_id"].to_pylist())
    assert reading(report.results, "anomalies", "svhn").num_samples == 4
    (part,) = (part for part in report.results.sets if part.kind == "clean")
    assert part.settings == {"samples": "20 of 360"}


def test_other_seeds_choose_other_anomalies(sets: Sets, tmp_path: Path) -> None:
    chosen = []
    for seed in (0, 0, 1):
        out = tmp_path / f"{len(chosen)}"
        run(sets, out, [sets.clean, f"svhn=ood:{sets.svhn}"], samples=20, seed=seed)
        chosen.append(pq.read_table(predictions_path(out, "anomalies"))["source_index"].to_pylist())
    assert chosen[0] == chosen[1] != chosen[2]


def test_published_measures_as_published_alone(sets: Sets, tmp_path: Path) -> None:
    report = run(sets, tmp_path / "out", [sets.clean], attack=ATTACK, attacked=10, published=True)
    assert [part.settings.get("centre") for part in report.results.sets] == [None, "noisy"]
    assert report.results.published
    values = reading(report.results, "digits-test", "digits-test").values
    assert report.results.summary()["clean_rms"].value == 100 * values["rms_published"]
    assert values["rms_published"] != values["rms"]


# ── going on ──


class Killed(BaseException):
    """The end of a process, as far as this one can act it."""


def counted(monkeypatch: pytest.MonkeyPatch, dies_after: int | None = None) -> list[str]:
    """Note each variant that is put through the network; optionally die before the next one."""
    predict, seen = evaluation.work._predict, []

    def noted(task: Any, part: Any, *others: Any) -> Any:
        if dies_after is not None and len(seen) == dies_after:
            raise Killed
        seen.append(f"{task.about.set} {part.name} {part.severity}")
        return predict(task, part, *others)

    monkeypatch.setattr(evaluation.work, "_predict", noted)
    return seen


def test_what_is_done_is_not_done_again(
    sets: Sets, whole: tuple[Report, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole[1], out)
    seen = counted(monkeypatch)
    report = run(sets, out, sets.everything(), attack=ATTACK, attacked=30)
    assert seen == []
    assert (report.num_found, report.num_sets) == (8, 8)
    assert tree(out) == tree(whole[1])


@pytest.fixture(scope="module")
def straight(sets: Sets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an evaluation of two sets that was never stopped."""
    out = tmp_path_factory.mktemp("straight") / "out"
    run(sets, out, [sets.c, sets.clean])
    return out


@pytest.mark.parametrize("dies_after", [0, 1, 3])
def test_an_evaluation_killed_anywhere_goes_on_at_that_variant(
    sets: Sets,
    straight: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dies_after: int,
) -> None:
    data, out = [sets.c, sets.clean], tmp_path / "out"
    with monkeypatch.context() as patch:
        counted(patch, dies_after)
        with pytest.raises(Killed):
            run(sets, out, data)
    assert not (out / "results.json").exists()
    seen = counted(monkeypatch)
    run(sets, out, data)
    assert len(seen) == 5 - dies_after
    assert tree(out) == tree(straight)


def test_other_settings_data_or_damage_are_evaluated_again(
    sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(sets, out, [sets.clean, f"arrays=c:{sets.arrays}"], samples=10)
    seen = counted(monkeypatch)
    run(sets, out, [sets.clean, f"arrays=c:{sets.arrays}"], samples=12)
    assert len(seen) == 6
    other = write_corruption_arrays(tmp_path / "other", ("snow",))
    seen.clear()
    run(sets, out, [sets.clean, f"arrays=c:{other}"], samples=12)
    assert seen == [f"arrays snow {level}" for level in range(1, 6)]
    predictions_path(out, "digits-test").write_bytes(b"PAR1")
    with pytest.raises(DreamshardsError, match="remove it and evaluate again"):
        run(sets, out, [sets.clean], samples=12)


def test_predictions_of_another_checkpoint_are_left_alone(sets: Sets, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(sets, out, [sets.clean], samples=10)
    before = tree(out)
    other = save_network(tmp_path / "other" / "last.pt", steps=9)
    with pytest.raises(DreamshardsError, match="is of another checkpoint") as caught:
        evaluate(other, [parse_request(str(sets.clean))], out, QUICK)
    assert "give another --out" in str(caught.value)
    assert tree(out) == before


# ── holes ──


def test_a_damaged_variant_is_a_hole_and_the_rest_is_measured(
    sets: Sets, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = tmp_path / "c", tmp_path / "out"
    shutil.copytree(sets.c, root)
    tar = root / "epoch-0001" / "shard-000001.tar"
    content = tar.read_bytes()
    tar.write_bytes(content[:9000])
    report = run(sets, out, [root, sets.clean])
    reason = report.results.holes["digits-c"]
    assert reason.startswith("gaussian_noise at 5: ")
    assert "shard-000001.tar" in reason
    (part,) = (part for part in report.results.sets if part.kind == "c")
    assert [(r.name, r.severity) for r in part.readings] == [
        ("gaussian_noise", 1),
        ("contrast", 1),
        ("contrast", 5),
    ]
    assert reason in report.page.read_text().replace("&#x27;", "'")
    tar.write_bytes(content)
    seen = counted(monkeypatch)
    report = run(sets, out, [root, sets.clean])  # mended, only that variant is left to do
    assert seen == ["digits-c gaussian_noise 5"]
    assert report.results.holes == {}
    left = {name: digest for name, digest in tree(out).items() if name.endswith("parquet")}
    wanted = {name: digest for name, digest in tree(straight).items() if name.endswith("parquet")}
    assert set(left) == set(wanted)
    assert left["predictions-digits-test.parquet"] == wanted["predictions-digits-test.parquet"]


def test_sets_that_do_not_fit_the_checkpoint_are_holes(sets: Sets, tmp_path: Path) -> None:
    build_root(tmp_path / "small", "transform.size=16", "name=small", "source.count=10")
    write_pictures(tmp_path / "cats", ("cat", "dog"))
    write_corruption_arrays(tmp_path / "arrays", ("fog",))
    np.save(tmp_path / "arrays" / "labels.npy", np.arange(100))
    write_pictures(tmp_path / "strange", ("3", "x"))
    (tmp_path / "partial").mkdir()
    shutil.copy(sets.clean / "recipe.json", tmp_path / "partial")
    data = [
        sets.clean,
        tmp_path / "small",
        f"clean:{tmp_path / 'cats'}",
        f"official=c:{tmp_path / 'arrays'}",
        f"r:{tmp_path / 'strange'}",
        tmp_path / "partial",
    ]
    report = run(sets, tmp_path / "out", data, samples=10)
    expected = {
        "small": "shape [16, 16, 3], the checkpoint was trained on [32, 32, 3]",
        "cats": "2 classes, the checkpoint 10",
        "official": "labels from 0 to 99; allowed: 0 to 9",
        "strange": "the first 'x'",
        str(tmp_path / "partial"): "the build is not complete",
    }
    assert set(report.results.holes) == set(expected)
    for name, words in expected.items():
        assert words in report.results.holes[name]
    assert [part.name for part in report.results.sets] == ["digits-test"]


def test_other_class_names_are_named(sets: Sets, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "x", tuple("0123456789".replace("4", "f")))
    report = run(sets, tmp_path / "out", [sets.clean, f"clean:{folder}"], samples=5)
    assert "class 4 '5', the checkpoint '4'" in report.results.holes["x"]


def test_anomalies_have_no_result_where_the_clean_set_is_a_hole(sets: Sets, tmp_path: Path) -> None:
    root = tmp_path / "clean"
    shutil.copytree(sets.clean, root)
    (root / "epoch-0000" / "shard-000000.tar").unlink()
    report = run(sets, tmp_path / "out", [root, sets.c, f"svhn=ood:{sets.svhn}"], attack=ATTACK)
    assert set(report.results.holes) == {
        *("digits-test", "digits-test-pgd", "digits-test-pgd-noisy", "anomalies"),
    }
    assert "is a hole itself" in report.results.holes["anomalies"]
    assert [part.kind for part in report.results.sets] == ["c"]


def test_a_network_that_gives_no_numbers_fails_by_name(sets: Sets, tmp_path: Path) -> None:
    broken = break_network(sets.checkpoint, tmp_path / "broken" / "last.pt")
    requests = [parse_request(str(sets.clean)), parse_request(str(sets.c))]
    with pytest.raises(DreamshardsError, match="no set could be evaluated") as caught:
        evaluate(broken, requests, tmp_path / "out", QUICK)
    message = str(caught.value)
    assert "digits-test, sample 0000-0000000000: logits of 100 of 100 inputs are NaN" in message
    assert message.count("logits of") == 2  # once a set, not once a variant
    assert not (tmp_path / "out" / "results.json").exists()


# ── what makes no sense ──


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (["svhn=ood:{0.svhn}"], "there is no clean test set among svhn"),
        (["{0.clean}", "{0.clean}"], "two sets are called 'digits-test'; name one with NAME=PLACE"),
        (["anomalies={0.clean}"], "two sets are called 'anomalies'"),
        (
            ["{0.clean}", "svhn=ood:{0.svhn}", "svhn-2=ood:{0.kites}"],
            "two sets of anomalies are called 'svhn'",
        ),
        (["{0.svhn}"], "is no root of a build; say what it is: clean:"),
        (["p:{0.svhn}"], "no .npy file in it"),
    ],
)
def test_requests_that_make_no_sense_as_a_whole(
    sets: Sets, tmp_path: Path, data: list[str], words: str
) -> None:
    with pytest.raises(DreamshardsError) as caught:
        run(sets, tmp_path / "out", [text.format(sets) for text in data])
    assert words in str(caught.value)
    assert not list((tmp_path / "out").glob("*.parquet"))
    if "no .npy" not in words:
        assert isinstance(caught.value, UsageError)


def test_models_are_called_by_the_folder_of_their_run(tmp_path: Path) -> None:
    assert model_name(tmp_path / "pixmix" / "last.pt") == "pixmix"
    assert model_name(tmp_path / "pixmix" / "best.pt") == "pixmix/best"
