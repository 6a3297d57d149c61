"""Evaluations of networks of clips: a video is judged by its clips, and everything can be computed again."""

from __future__ import annotations

import json
import shutil
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

import evaluation.work
from evaluation.cli import run_compare
from evaluation.compare import load_runs
from evaluation.measures import (
    changes_between_clips,
    cross_entropy,
    js_divergence,
    probabilities,
    rms_calibration_error,
    video_means,
)
from evaluation.measures.adversary import Attack, normaliser, pgd
from evaluation.predict import Network
from evaluation.predictions import predictions_path, read_variants
from evaluation.report import write_report
from evaluation.report.comparison import pareto_statements
from evaluation.report.markup import animation
from evaluation.requests import open_request, parse_request
from evaluation.results import Reading, Results
from evaluation.run import Report, evaluate
from evaluation.tables import summary_table
from evaluation.tasks import Settings
from evaluation.videos import video_rows
from pipeline.cli import main
from pipeline.errors import DreamshardsError, UsageError
from pipeline.stream import CIFAR, ShardDataset
from tests.clip_helpers import (
    FRAMES,
    MOTIONS,
    SHORT,
    SIDE,
    VIDEOS,
    build_clips,
    save_clip_network,
    small_clips,
)
from tests.conftest import tree
from tests.evaluation_helpers import CPU, build_root, save_network, write_pictures
from tests.report_helpers import Node, Page, rows_of
from training.checkpoint import load_trained

NUM_VIDEOS = VIDEOS["test"]
ATTACK = Attack(eps=48 / 255, steps=3, step=24 / 255)
QUICK = Settings(batch_size=64, device="cpu", attack=None)
SYNTHETIC = {"kind": "synthetic", "law": "blobs", "count": 7, "size": SIDE, "frames": FRAMES}


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with small_clips():
        yield


class Sets:
    """A checkpoint and test sets of clips of every kind, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = save_clip_network(folder / "run" / "last.pt")
        self.clean = build_clips(folder / "clean")
        self.windows = build_clips(folder / "windows", name="clips-windows", source=windows(2))
        corrupted = {"family": "corruptions", "names": ["contrast"], "severities": [1, 4]}
        self.c = build_clips(folder / "c", name="clips-c", augmentation=corrupted, epochs=2)
        self.unknown = build_clips(folder / "un", name="unknown", source={"split": "unknown"})
        self.blobs = build_blobs(folder / "blobs")

    def everything(self) -> list[Path]:
        """Return a request for each."""
        return [self.blobs, self.windows, self.c, self.unknown, self.clean]


def windows(hop: int | None, **fields: Any) -> dict[str, Any]:
    """Return the fields of a source whose clips are windows of a video."""
    return {"starts": "windows", "clips": 1, "hop": hop, **fields}


def build_blobs(out: Path, **fields: Any) -> Path:
    """Build synthetic anomalies that are clips."""
    from pipeline.build import build
    from pipeline.executor import InlineExecutor
    from pipeline.recipe import parse_recipe

    source = SYNTHETIC | fields
    content = {
        "name": "blobs",
        "epochs": 1,
        "source": source,
        "transform": {"kind": "center-crop", "size": source["size"], "resize": source["size"]},
        "augmentation": {"family": "clean"},
    }
    build(parse_recipe(content, "blobs"), out, InlineExecutor())
    return out


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory, _small: None) -> Sets:
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
    return run(sets, out, sets.everything(), attack=ATTACK, attacked=8), out


def reading(results: Results, set_name: str, name: str, severity: int | None = None) -> Reading:
    """Return one reading of a set."""
    (found,) = (part for part in results.sets if part.name == set_name)
    (one,) = (r for r in found.readings if (r.name, r.severity) == (name, severity))
    return one


def softmax_of(sets: Sets, root: Path, epoch: int = 0) -> dict[str, list[np.ndarray]]:
    """Return what the network itself says of the clips of each video of a root, by the video's name."""
    dataset = ShardDataset(root, epoch)
    batch: Any = dataset.__getitems__(range(len(dataset)))
    net = load_trained(sets.checkpoint).net
    with torch.inference_mode():
        floats = (batch.batch.images.permute(0, 4, 1, 2, 3).float() / 255 - 0.5) / 0.5
        chances = net(floats).double().softmax(1).numpy()
    rows = pq.read_table(root / f"epoch-{epoch:04d}" / "manifest.parquet").sort_by("position")
    found: dict[str, list[np.ndarray]] = {}
    starts = rows["start_frame"].to_numpy()
    for at in np.argsort(starts, kind="stable").tolist():
        found.setdefault(rows["source_id"][at].as_py(), []).append(chances[at])
    return found


def label_of(video: str) -> int:
    """Return the class of a video by its name."""
    return int(video.rpartition("-")[2]) % len(MOTIONS)


# ── measures ──


def test_the_answer_of_a_video_is_the_mean_of_its_clips() -> None:
    chances = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.0, 1.0]])
    means = video_means(chances, [7, 3, 7, 3])
    assert means == pytest.approx(np.array([[0.1, 0.9], [0.65, 0.35]]))
    assert video_means(chances[:2].astype(np.float32), [0, 0]) == pytest.approx(
        np.array([[0.55, 0.45]])
    )


def test_changes_are_between_clips_in_turn_of_one_video() -> None:
    chances = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    videos, starts = [1, 1, 1, 2, 3], [8, 0, 4, 0, 0]
    found = changes_between_clips(chances, videos, starts)
    assert found == (0.5, 0.5, 2, 1)  # by their starts 1→1→0, and nothing between videos
    half = js_divergence(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]))
    entropy = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert half == pytest.approx([entropy - 0.5])


@pytest.mark.parametrize(
    ("chances", "videos", "words"),
    [
        ([[3.0, -1.0]], [0], "and not logits"),
        ([[0.5, 0.6]], [0], "adds up to 1 ± 0.1"),
        ([[0.5, 0.5]], [0, 1], "got 1 and 2"),
        ([[0.5, 0.5]], [0.0], "allowed: whole numbers"),
    ],
)
def test_what_is_no_probability_of_a_video(chances: Any, videos: Any, words: str) -> None:
    for measure in (video_means, lambda p, v: changes_between_clips(p, v, [0] * len(v))):
        with pytest.raises(DreamshardsError, match=words):
            measure(chances, videos)


def test_one_clip_a_video_shows_no_change() -> None:
    with pytest.raises(DreamshardsError, match="no video has two clips"):
        changes_between_clips([[0.5, 0.5], [1.0, 0.0]], [0, 1], [0, 0])


def test_classes_out_of_the_question_have_no_probability() -> None:
    logits = np.array([[0.0, -np.inf, np.log(3.0)]])
    assert probabilities(logits) == pytest.approx(np.array([[0.25, 0.0, 0.75]]))
    assert cross_entropy(logits, [0]) == pytest.approx([np.log(4)])
    with pytest.raises(DreamshardsError, match="labels: got 3; allowed: 0 to 2"):
        cross_entropy(logits, [3])


# ── what is measured ──


def test_every_measure_is_that_of_the_network_itself(
    sets: Sets, whole: tuple[Report, Path]
) -> None:
    results = whole[0].results
    assert results.holes == {}
    assert [(part.name, part.kind) for part in results.sets] == [
        ("clips-test", "clean"),
        ("clips-test-pgd", "pgd"),
        ("clips-c", "c"),
        ("clips-windows", "windows"),
        ("anomalies", "ood"),
    ]
    for name, variant, level, root, epoch in (
        ("clips-test", "clips-test", None, sets.clean, 0),
        ("clips-c", "contrast", 1, sets.c, 0),
        ("clips-c", "contrast", 4, sets.c, 1),
    ):
        found = softmax_of(sets, root, epoch)
        assert {len(clips) for clips in found.values()} == {3}
        means = {video: np.mean(clips, axis=0) for video, clips in found.items()}
        wrong = [means[video].argmax() != label_of(video) for video in means]
        values = reading(results, name, variant, level).values
        assert reading(results, name, variant, level).num_samples == NUM_VIDEOS
        assert values["error"] == np.mean(wrong)
        of_clips = [(each, label_of(v)) for v, clips in found.items() for each in clips]
        assert values["clip_error"] == np.mean([c.argmax() != label for c, label in of_clips])
        losses = [-np.log(chances[label]) for chances, label in of_clips]
        assert values["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
        sure = [mean.max() for mean in means.values()]
        rms = rms_calibration_error(np.array(sure), ~np.array(wrong))
        assert values["rms"] == pytest.approx(rms, abs=1e-6)
        assert "rms_published" not in values
    errors = [r.values["error"] for part in results.sets[:3] for r in part.readings]
    assert len(set(errors)) > 2  # or it would show nothing
    clean = reading(results, "clips-test", "clips-test").values
    assert 0 < clean["error"] != clean["clip_error"] < 0.7
    assert clean["rms"] != clean["clip_rms"]
    summary = results.summary()
    assert summary["clean_error"].value == 100 * clean["error"]
    assert summary["clean_clip_error"].value == 100 * clean["clip_error"]
    assert summary["clean_loss"].value == clean["loss"]
    assert summary["c_mce"].value == 50 * sum(errors[2:])
    assert results.dataset == "digit-videos"
    assert results.normalise == "none"


def test_windows_in_turn_are_compared(sets: Sets, whole: tuple[Report, Path]) -> None:
    found = softmax_of(sets, sets.windows)
    pairs = [pair for clips in found.values() for pair in pairwise(clips)]
    assert len(pairs) == (NUM_VIDEOS - SHORT) * 4
    values = reading(whole[0].results, "clips-windows", "clips-windows")
    assert values.num_samples == len(pairs)
    flips = np.mean([one.argmax() != other.argmax() for one, other in pairs])
    assert values.values["flip_probability"] == flips
    assert 0 < flips < 1
    divergence = js_divergence(*(np.array(side) for side in zip(*pairs, strict=True)))
    assert values.values["js_divergence"] == pytest.approx(divergence.mean(), abs=1e-6)
    (part,) = (part for part in whole[0].results.sets if part.kind == "windows")
    assert part.settings == {
        "videos": "20",
        "clips": "88, 1 to 5 a video",
        "left out": "3 videos of one window",
        "hop": "2 frames",
    }
    assert whole[0].results.summary()["windows_flips"].value == 100 * flips


def test_anomalies_are_videos_one_for_five(sets: Sets, whole: tuple[Report, Path]) -> None:
    (part,) = (part for part in whole[0].results.sets if part.kind == "ood")
    assert part.parts == ("blobs", "unknown")  # of clips there is no benchmark
    rows = pq.read_table(predictions_path(whole[1], "anomalies")).to_pandas()
    assert rows.label.isna().all()
    assert rows.loss.isna().all()
    normal = [np.mean(clips, axis=0).max() for clips in softmax_of(sets, sets.clean).values()]
    for name, root, num_clips in (("blobs", sets.blobs, 4), ("unknown", sets.unknown, 12)):
        own = rows[rows.variant == name]
        assert len(own) == num_clips
        found = softmax_of(sets, root)
        foreign = [np.mean(found[video], axis=0).max() for video in own.source_id.unique()]
        assert len(foreign) == NUM_VIDEOS // 5
        truth = np.arange(NUM_VIDEOS + len(foreign)) >= NUM_VIDEOS
        scores = -np.concatenate([normal, foreign])
        one = reading(whole[0].results, "anomalies", name)
        assert one.num_samples == len(foreign)
        assert one.values["auroc"] == pytest.approx(roc_auc_score(truth, scores))
        assert one.values["aupr"] == pytest.approx(average_precision_score(truth, scores))


def test_a_whole_clip_is_attacked_with_one_loss(sets: Sets, whole: tuple[Report, Path]) -> None:
    results = whole[0].results
    rows = pq.read_table(predictions_path(whole[1], "clips-test-pgd")).to_pandas()
    chosen = [f"test-{place * NUM_VIDEOS // 8:03d}" for place in range(8)]
    assert sorted(set(rows.source_id)) == chosen  # spread over videos, each with all of its clips
    assert len(rows) == 24
    found = reading(results, "clips-test-pgd", "clips-test-pgd")
    clean = pq.read_table(predictions_path(whole[1], "clips-test")).to_pandas()
    before = clean[clean.source_id.isin(chosen)]
    assert found.num_samples == 8
    assert found.values["clip_error"] == np.mean(rows.prediction != rows.label)
    assert found.values["loss"] > before.loss.mean()
    assert found.values["clip_error"] > np.mean(before.prediction != before.label)
    (part,) = (part for part in results.sets if part.kind == "pgd")
    assert part.settings == {
        "centre": "clean",
        "eps": "48/255",
        "steps": "3 of 24/255",
        "videos": "8 of 20",
        "clips": "24, 3 a video",
        "answer": "mean softmax of a video's clips",
        "seed": "0",
    }
    trained = load_trained(sets.checkpoint)
    clips: Any = ShardDataset(sets.clean).__getitems__(range(6))
    images, labels = clips.batch
    answers = Network(trained, CPU).attack(
        images, labels.numpy(), ATTACK, torch.Generator().manual_seed(5)
    )
    moved = pgd(
        trained.net,
        images.permute(0, 4, 1, 2, 3),
        labels,
        normalise=normaliser(*CIFAR),
        generator=torch.Generator().manual_seed(5),
        attack=ATTACK,
    )
    gap = (moved - images.permute(0, 4, 1, 2, 3) / 255).abs().amax((1, 3, 4))
    assert gap.shape == (6, FRAMES)
    assert (gap > 0.9 * ATTACK.eps).all()  # every frame of every clip moves
    assert gap.max() <= ATTACK.eps + 1e-6
    with torch.inference_mode():
        logits = trained.net((moved - 0.5) / 0.5)
    assert answers.logits == pytest.approx(logits.numpy(), abs=1e-4)


# ── the files ──


@pytest.mark.parametrize("name", ["clips-test", "clips-test-pgd", "clips-c"])
def test_a_file_of_predictions_gives_the_error_of_videos_again(
    whole: tuple[Report, Path], name: str
) -> None:
    path = predictions_path(whole[1], name)
    errors = duckdb.sql(f"""
        WITH chances AS (
            SELECT variant, severity, source_id, label,
                   unnest(range(len(probabilities))) AS class,
                   unnest(probabilities)::DOUBLE AS chance
            FROM '{path}'
        ), means AS (
            SELECT variant, severity, source_id, label, class, avg(chance) AS mean
            FROM chances GROUP BY ALL
        ), answers AS (
            SELECT variant, severity, source_id, label, arg_max(class, mean) AS answer
            FROM means GROUP BY ALL
        )
        SELECT variant, severity, avg((answer != label)::INT), count(*)
        FROM answers GROUP BY ALL ORDER BY ALL
    """).fetchall()
    (part,) = (part for part in whole[0].results.sets if part.name == name)
    expected = [(r.name, r.severity, r.values["error"], r.num_samples) for r in part.readings]
    assert errors == expected


def test_what_a_row_of_a_clip_holds(sets: Sets, whole: tuple[Report, Path]) -> None:
    rows = pq.read_table(predictions_path(whole[1], "clips-windows"))
    manifest = pq.read_table(sets.windows / "epoch-0000" / "manifest.parquet").to_pandas()
    found = rows.to_pandas().set_index("key")
    for row in manifest.itertuples():
        own = found.loc[row.key]
        assert (own.source_id, own.start_frame, own.source_index, own.label) == (
            *(row.source_id, row.start_frame, row.source_index, row.label),
        )
        chances = np.asarray(own.probabilities, np.float64)
        assert chances.sum() == pytest.approx(1)
        assert own.prediction == chances.argmax()
        assert own.confidence == pytest.approx(chances.max())
        assert own.loss == pytest.approx(-np.log(chances[own.label]), rel=1e-3, abs=1e-6)
    assert len(found) == len(manifest) == 88
    assert rows["source_index"].to_pylist() == list(range(88))


def test_videos_show_the_clip_in_their_middle(whole: tuple[Report, Path]) -> None:
    (rows,) = read_variants(predictions_path(whole[1], "clips-windows"))
    videos = video_rows(rows.take(pa.array(np.random.default_rng(0).permutation(88))))
    assert videos["source_index"].to_pylist() == [0, 1, 2, *range(5, 88, 5)]
    assert videos["source_id"].to_pylist() == [f"test-{place:03d}" for place in range(20)]


def test_what_is_done_is_not_done_again_and_batches_change_nothing(
    sets: Sets, whole: tuple[Report, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole[1], tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(evaluation.work, "_predict", None)
        report = run(sets, tmp_path / "out", sets.everything(), attack=ATTACK, attacked=8)
    assert (report.num_found, report.num_sets) == (5, 5)
    assert tree(tmp_path / "out") == tree(whole[1])
    sizes = []
    classify = Network.classify

    def noted(self: Network, images: torch.Tensor, kept: Any = None) -> Any:
        sizes.append(len(images))
        return classify(self, images, kept)

    monkeypatch.setattr(Network, "classify", noted)
    run(sets, tmp_path / "small", [sets.clean], batch_size=3 * FRAMES + 1)
    assert set(sizes) == {3}  # each frame counts
    one, other = (
        pq.read_table(predictions_path(out, "clips-test")) for out in (whole[1], tmp_path / "small")
    )
    assert one.select(["key", "prediction", "start_frame"]) == other.select(
        ["key", "prediction", "start_frame"]
    )


def test_so_many_samples_are_videos_with_all_their_clips(sets: Sets, tmp_path: Path) -> None:
    report = run(sets, tmp_path / "out", sets.everything(), samples=10)
    wanted = [f"test-{place:03d}" for place in range(0, NUM_VIDEOS, 2)]
    for name, num_clips in (("clips-test", 30), ("clips-c", 30), ("clips-windows", 2 + 8 * 5)):
        for rows in read_variants(predictions_path(tmp_path / "out", name)):
            assert sorted(set(rows["source_id"].to_pylist())) == wanted
            assert len(rows) == num_clips
    assert reading(report.results, "anomalies", "unknown").num_samples == 2
    (part,) = (part for part in report.results.sets if part.kind == "clean")
    assert part.settings["videos"] == "10 of 20"
    assert part.settings["clips"] == "30, 3 a video"


def test_recipes_are_rendered_live_as_roots_are_read(sets: Sets, tmp_path: Path) -> None:
    starts = {"starts": "random", "clips": 2}
    root = build_clips(tmp_path / "root", name="drawn", source=starts)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(json.loads((root / "dataset.json").read_text())["recipe"]))
    run(sets, tmp_path / "a", [f"clean:{root}"])
    run(sets, tmp_path / "b", [f"clean:{recipe}"])
    one, other = (pq.read_table(predictions_path(tmp_path / o, "drawn")) for o in "ab")
    assert one.drop(["key"]).equals(other.drop(["key"]))
    assert len(set(one["start_frame"].to_pylist())) > 2


# ── what does not fit ──


def test_sets_that_do_not_fit_the_checkpoint_are_holes(sets: Sets, tmp_path: Path) -> None:
    build_root(tmp_path / "pictures", "source.count=10", "name=pictures")
    build_clips(tmp_path / "long", name="long", source={"frames": FRAMES + 2, "count": SHORT + 2})
    build_clips(tmp_path / "large", name="large", transform={"size": 24, "resize": 24})
    build_clips(tmp_path / "apart", name="apart", source=windows(8, count=SHORT))
    build_root(
        tmp_path / "p",
        *("augmentation.family=perturbations", "augmentation.names=[tilt]", "epochs=1"),
        *("source.count=2", "name=sequences"),
    )
    write_pictures(tmp_path / "photos", ("a",))
    data = [
        sets.clean,
        tmp_path / "pictures",
        tmp_path / "large",
        f"windows:{tmp_path / 'apart'}",
        f"ood:{tmp_path / 'photos'}",
        f"few=windows:{sets.clean}",
        tmp_path / "p",
    ]
    report = run(sets, tmp_path / "out", data)
    expected = {
        "pictures": "it holds pictures, and the checkpoint takes clips",
        "large": f"build one with transform.size={SIDE}",
        "apart": "no video has two windows, so no answer can change between them; build a root with "
        "source.starts=windows and a smaller source.hop",
        f"ood:{tmp_path / 'photos'}": "clips are read of roots and recipes; build a root of it with "
        "source.kind=video-folder",
        "few": "labelled windows:, but its samples are no windows of videos in turn",
        "sequences": "of these consistency is measured over windows: build a test root with "
        "source.starts=windows and a source.hop below source.frames",
    }
    assert set(report.results.holes) == set(expected)
    for name, words in expected.items():
        assert words in report.results.holes[name]


def test_another_number_of_frames_is_refused(sets: Sets, tmp_path: Path) -> None:
    build_blobs(tmp_path / "long", frames=FRAMES + 1)
    with pytest.raises(DreamshardsError) as caught:
        run(sets, tmp_path / "out", [f"clean:{tmp_path / 'long'}"])
    assert f"build one with source.frames={FRAMES}" in str(caught.value)
    assert f"[{FRAMES + 1}, {SIDE}, {SIDE}, 3]" in str(caught.value)


def test_clips_are_nothing_for_a_network_of_pictures(sets: Sets, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        from training.models import build_model

        patch.setattr("training.checkpoint.build_model", build_model)
        checkpoint = save_network(tmp_path / "run" / "last.pt", classes=list(MOTIONS))
        with pytest.raises(DreamshardsError) as caught:
            evaluate(checkpoint, [parse_request(str(sets.clean))], tmp_path / "out", QUICK)
    assert "it holds clips, and the checkpoint takes pictures" in str(caught.value)


def test_clips_that_are_drawn_have_to_be_called_a_clean_set(sets: Sets, tmp_path: Path) -> None:
    root = build_clips(tmp_path / "drawn", source={"starts": "random"})
    trained = load_trained(sets.checkpoint)
    with pytest.raises(UsageError, match=r"source.starts = 'uniform' or 'windows'"):
        open_request(parse_request(str(root)), trained, 64)
    assert open_request(parse_request(f"clean:{root}"), trained, 64).kind == "clean"
    apart = build_clips(tmp_path / "apart", source=windows(None))
    assert open_request(parse_request(str(apart)), trained, 64).kind == "clean"
    assert open_request(parse_request(f"windows:{apart}"), trained, 64).kind == "windows"
    assert open_request(parse_request(f"clean:{sets.windows}"), trained, 64).kind == "clean"


def test_nothing_of_clips_was_published_in_another_way(sets: Sets, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--published: of networks of clips"):
        run(sets, tmp_path / "out", [sets.clean], published=True)
    assert not (tmp_path / "out").exists()


# ── for people ──


def test_tables_say_how_videos_were_judged(whole: tuple[Report, Path]) -> None:
    results = whole[0].results
    text = summary_table([results])
    head = text.splitlines()[0].split("  ")
    names = [name.strip() for name in head if name.strip()]
    assert names == [
        *("model", "Clean err", "Clip err", "Loss", "C mCE", "Flips", "JSD", "PGD err"),
        *("PGD clip err", "RMS", "C RMS", "AUROC", "AUPR"),
    ]
    assert "clips 60, 3 a video" in text
    assert "mean softmax of a video's clips" in text
    assert "as published" not in whole[0].page.read_text()


def pictures_of(page: Node, beginning: str) -> list[np.ndarray]:
    """Return the frames of each picture in a page whose description begins so, uint8 [T, H, W, 3]."""
    found = []
    for image in page.all("img"):
        if image.attributes["alt"].startswith(beginning):
            with Image.open(BytesIO(b64decode(image.attributes["src"].partition(",")[2]))) as file:
                frames = []
                for place in range(file.n_frames):
                    file.seek(place)
                    frames.append(np.asarray(file.convert("RGB")))
                found.append(np.stack(frames))
    return found


def clip_of(root: Path, source_id: str, nth: int, epoch: int = 0) -> np.ndarray:
    """Return a clip of a root by the name of its video and its place among those of the video."""
    rows = pq.read_table(root / f"epoch-{epoch:04d}" / "manifest.parquet").to_pandas()
    own = rows[rows.source_id == source_id].sort_values("start_frame")
    image: torch.Tensor = ShardDataset(root, epoch)[int(own.iloc[nth].position)].image
    return image.numpy()


def test_the_page_shows_clips(sets: Sets, whole: tuple[Report, Path]) -> None:
    page = Page(whole[0].page).root
    text = page.text()
    assert "Worst failures on clips-test" in text
    assert "20 samples in 1 bin" in text  # reliability is of videos
    (failures,) = page.all(id="failures-0")
    rows = video_rows(next(read_variants(predictions_path(whole[1], "clips-test")))).to_pandas()
    wrong = rows[rows.prediction != rows.label]
    assert len(failures.all("article")) == min(len(wrong), 12) > 0
    video = wrong.sort_values("confidence", ascending=False).source_id.iloc[0]
    (played,) = pictures_of(failures, video)
    assert (played == clip_of(sets.clean, video, 1)).all()  # the second of three, all of its frames

    (samples,) = page.all(id="samples-2")
    first = rows[rows.prediction == rows.label].source_id.iloc[0]
    assert f"Source video {first}, class " in samples.text()
    for level, epoch in ((1, 0), (4, 1)):
        (still,) = pictures_of(samples, f"{first}, contrast at severity {level}")
        assert (still[0] == clip_of(sets.c, first, 1, epoch)[(FRAMES - 1) // 2]).all()
        assert len(still) == 1

    (windows_shown,) = page.all(id="samples-3")
    labels = [node.text() for node in windows_shown.all(class_="label")]
    clips = pq.read_table(predictions_path(whole[1], "clips-windows")).to_pandas()
    clips = clips.sort_values("start_frame").groupby("source_id").prediction
    flips = clips.apply(lambda guesses: int((np.diff(guesses) != 0).sum()))
    flips = flips[flips > 0].sort_values(ascending=False, kind="stable")
    assert labels == flips.index[:3].tolist()
    heads = [node.text() for node in windows_shown.all(class_="head")]
    assert heads == len(labels) * [f"frame {start}" for start in (0, 2, 4, 6, 8)]
    assert len(pictures_of(windows_shown, labels[0])) == 5


def test_originals_are_found_by_their_video(sets: Sets, tmp_path: Path) -> None:
    changed = {"family": "corruptions", "names": ["contrast"], "severities": [5]}
    fewer = {"count": 10, "clips": 1}  # so that the same video has another index
    root = build_clips(tmp_path / "c", name="c", augmentation=changed, source=fewer, epochs=1)
    report = run(sets, tmp_path / "out", [sets.clean, root])
    page = Page(report.page).root
    (failures,) = page.all(id="failures-1")
    rows = video_rows(next(read_variants(predictions_path(tmp_path / "out", "c")))).to_pandas()
    wrong = rows[rows.prediction != rows.label].sort_values("confidence", ascending=False)
    video = wrong.source_id.iloc[:2].max()  # two of a corruption are shown
    assert int(wrong[wrong.source_id == video].source_index.iloc[0]) > 0
    changed_clip, clean_clip = pictures_of(failures, video)
    assert (changed_clip == clip_of(root, video, 0)).all()
    assert (clean_clip == clip_of(sets.clean, video, 1)).all()


def test_large_clips_play_reduced(tmp_path: Path) -> None:
    def shown(clip: np.ndarray) -> np.ndarray:
        (tmp_path / "page.html").write_text(animation(clip, "noise"))
        (played,) = pictures_of(Page(tmp_path / "page.html").root, "noise")
        return played

    frames = np.random.default_rng(0).integers(0, 256, (3, 200, 320, 3), np.uint8)
    assert shown(frames).shape == (3, 100, 160, 3)
    assert (shown(frames[:, :20, :30]) == frames[:, :20, :30]).all()


def test_published_numbers_of_videos_stand_beside(
    whole: tuple[Report, Path], tmp_path: Path
) -> None:
    results = replace(whole[0].results, dataset="ucf101")
    text = summary_table([results])
    assert "V-PixMix (published)" in text
    assert "87.3" in text
    page = Page(write_report(tmp_path, results)).root
    (table, *_) = page.all("table")
    assert rows_of(table)["measure"] == [
        *("this model", "Baseline, paper", "V-PixMix, paper", "against Baseline"),
    ]
    assert "the likeliest class of the mean softmax over its clips" in page.text()


def test_the_command_evaluates_clips(
    sets: Sets, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--samples", "10", "--pgd-samples", "5", "--pgd-steps", "1", "--batch-size", "24"]
    data = [f"turns=windows:{sets.windows}", str(sets.clean)]
    out = tmp_path / "out"
    words = ["evaluate", str(sets.checkpoint), "--out", str(out), "--device", "cpu", *flags]
    assert main([*words, "--data", *data]) == 0
    shown = capsys.readouterr().out
    assert "clips-test-pgd: answer mean softmax of a video's clips" in shown
    assert "videos 5 of 20" in shown
    assert "turns: clips 42, 1 to 5 a video" in shown
    assert shown.count("as published") == 0
    results = Results.from_json((out / "results.json").read_text())
    assert [part.name for part in results.sets] == ["clips-test", "clips-test-pgd", "turns"]


def test_comparisons_have_the_same_measures(
    sets: Sets, whole: tuple[Report, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Options:
        runs = (whole[1], tmp_path / "other")
        out = tmp_path / "page"

    checkpoint = save_clip_network(tmp_path / "other-run" / "last.pt", steps=80)
    requests = [parse_request(str(path)) for path in sets.everything()]
    evaluate(checkpoint, requests, Options.runs[1], replace(QUICK, attack=ATTACK, attacked=8))
    assert run_compare(Options()) == 0  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert "Flips" in shown
    runs = load_runs(Options.runs)
    better, worse = runs[1].summary(), runs[0].summary()
    assert better["clean_error"].value < worse["clean_error"].value
    page = (Options.out / "comparison.html").read_text()
    assert "Consistency" in page
    assert "mFR" not in page  # the axis is that of windows
    figures = {"one": better, "other": {**better, "windows_flips": worse["windows_flips"]}}
    assert pareto_statements(figures)[0] == (
        "one is no worse than other in all five measures, and better in Consistency."
    )
