"""Test sets end to end: built, stopped and gone on with, verified, replayed, streamed, looked at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.build import build
from pipeline.corruptions import corrupt, load_frost
from pipeline.errors import DreamshardsError
from pipeline.estimate import measure
from pipeline.executor import InlineExecutor, RayExecutor
from pipeline.inputs import open_inputs
from pipeline.preview import choose_epochs, preview
from pipeline.recipe import Recipe, parse_recipe
from pipeline.replay import replay
from pipeline.sampling import draw_plan, render_base
from pipeline.shards.dataset import read_dataset
from pipeline.stream import LiveStream, ShardDataset, ShardStream
from pipeline.variants import Variant, sample_shape, variants, variants_of
from pipeline.verify import verify
from pipeline.worker import kernel_sets
from tests.conftest import tree

DIGITS = {"kind": "digits", "split": "test", "count": 12}
CLEAN = {"kind": "pad-crop", "size": 32, "padding": 0, "flip": 0.0}
C = {"family": "corruptions", "names": ["shot_noise", "frost", "contrast"], "severities": [1, 4]}
C_BAR = {"family": "corruptions", "benchmark": "c-bar", "names": ["lines"], "severities": [2]}
P = {"family": "perturbations", "names": ["shot_noise", "translate", "brightness"], "difficulty": 2}
SHARDS = {"samples_per_shard": 5}


def recipe(augmentation: dict[str, object], **fields: object) -> Recipe:
    parts = {"name": "set", "source": DIGITS, "transform": CLEAN, "shards": SHARDS}
    return parse_recipe(parts | {"augmentation": augmentation} | fields, "test")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return finished roots of the three kinds; read them, never change them."""
    folder = tmp_path_factory.mktemp("sets")
    for name, section in (("c", C), ("c-bar", C_BAR), ("p", P)):
        build(recipe(section), folder / name, InlineExecutor())
    return {name: folder / name for name in ("c", "c-bar", "p")}


KINDS = pytest.mark.parametrize("kind", ["c", "c-bar", "p"])


def test_dataset_json_says_what_each_epoch_holds(roots: dict[str, Path]) -> None:
    corrupted, clips = read_dataset(roots["c"]), read_dataset(roots["p"])
    assert corrupted["epochs"] == 6
    assert variants_of(corrupted) == [
        Variant("c", name, severity, None)
        for name in ("shot_noise", "frost", "contrast")
        for severity in (1, 4)
    ]
    assert corrupted["sample"]["shape"] == [32, 32, 3]
    assert "shapes" not in corrupted["sample"]
    assert [tuple(v.values()) for v in clips["variants"]] == [
        ("p", "shot_noise", None, 31),
        ("p", "brightness", None, 31),
        ("p", "translate", None, 16),
    ]
    shapes = [[31, 32, 32, 3], [31, 32, 32, 3], [16, 32, 32, 3]]
    assert (clips["sample"]["shape"], clips["sample"]["shapes"]) == (shapes[0], shapes)


def test_manifests_say_how_samples_were_made(roots: dict[str, Path]) -> None:
    seeds: list[int] = []
    for epoch, (_, name, severity, _) in enumerate(variants(recipe(C)) or ()):
        rows = pq.read_table(roots["c"] / f"epoch-{epoch:04d}/manifest.parquet")
        assert set(rows["corruption"].to_pylist()) == {name}
        assert set(rows["severity"].to_pylist()) == {severity}
        assert sorted(rows["source_index"].to_pylist()) == list(range(12))
        seeds += rows["noise_seed"].to_pylist()
    assert len(set(seeds)) == 72
    rows = pq.read_table(roots["p"] / "epoch-0002/manifest.parquet")
    assert set(rows["perturbation"].to_pylist()) == {"translate"}
    assert set(rows["difficulty"].to_pylist()) == {2}


@KINDS
def test_a_build_that_was_stopped_ends_in_the_same_bytes(
    kind: str, roots: dict[str, Path], tmp_path: Path
) -> None:
    sections = {"c": C, "c-bar": C_BAR, "p": P}
    root = tmp_path / "again"

    class Stopping(InlineExecutor):
        def map(self, function, shared, jobs):  # type: ignore[no-untyped-def]
            for number, job in enumerate(jobs):
                if number == 2:
                    raise DreamshardsError("stopped")
                yield function(shared, job)

    with pytest.raises(DreamshardsError, match="stopped"):
        build(recipe(sections[kind]), root, Stopping())
    report = build(recipe(sections[kind]), root, InlineExecutor())
    assert report.num_found == 2
    assert tree(root) == tree(roots[kind])


def test_ray_gives_the_same_bytes(roots: dict[str, Path], tmp_path: Path, ray_address: str) -> None:
    for kind, section in (("c", C), ("p", P)):
        with RayExecutor(ray_address, 2) as executor:
            build(recipe(section), tmp_path / kind, executor)
        assert tree(tmp_path / kind) == tree(roots[kind])


@KINDS
def test_every_sample_is_rendered_again_as_it_is_stored(kind: str, roots: dict[str, Path]) -> None:
    report = verify(roots[kind], 1.0, (), InlineExecutor())
    assert report.faults == []
    assert report.num_replayed == report.num_samples == read_dataset(roots[kind])["samples"]


def test_a_changed_manifest_is_seen(roots: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    root = shutil.copytree(roots["c"], tmp_path / "edited")
    for file in ("shard-000000.parquet", "manifest.parquet"):
        path = root / "epoch-0002" / file
        table = pq.read_table(path)
        rows = table.to_pylist()
        rows[3]["noise_seed"] ^= 1
        pq.write_table(type(table).from_pylist(rows, schema=table.schema), path)
    dataset = json.loads((root / "dataset.json").read_text())
    seal(root, dataset)
    (fault,) = verify(root, 1.0, (), InlineExecutor()).faults
    assert "not what the recipe makes: noise_seed" in str(fault)
    with pytest.raises(DreamshardsError, match="is not what the recipe draws: noise_seed"):
        replay(root, "0002-0000000003", None, (), InlineExecutor())


def seal(root: Path, dataset: dict[str, object]) -> None:
    """Make dataset.json agree with the manifests as they are."""
    import hashlib

    from pipeline.shards.dataset import write_sealed

    def sha256(file: str) -> str:
        return hashlib.sha256((root / file).read_bytes()).hexdigest()

    for shard in dataset["shards"]:  # type: ignore[attr-defined]
        shard["manifest_sha256"] = sha256(shard["manifest"])
    for merged in dataset["manifests"]:  # type: ignore[attr-defined]
        merged["sha256"] = sha256(merged["file"])
    write_sealed(root, "dataset.json", dataset)
    (root / ".partial").rmdir()


def test_replay_says_what_a_sample_is_and_saves_it(roots: dict[str, Path], tmp_path: Path) -> None:
    lines = replay(roots["c"], "0003-0000000007", tmp_path, (), InlineExecutor())
    assert lines[2] == "  frost, severity 4"
    assert lines[3].startswith("identical: 3,200 bytes")
    lines = replay(roots["p"], "0002-0000000001", tmp_path, (), InlineExecutor())
    assert lines[2] == "  sequence translate, difficulty 2"
    stored = np.asarray(Image.open(tmp_path / "0002-0000000001-stored.png"))
    replayed = np.asarray(Image.open(tmp_path / "0002-0000000001-replayed.png"))
    assert stored.shape == (32, 16 * 32, 3)
    np.testing.assert_array_equal(stored, replayed)
    inputs = open_inputs(recipe(P), InlineExecutor())
    base = render_base(inputs, draw_plan(inputs, 2, 1, 2))[0]
    np.testing.assert_array_equal(stored[:, 7 * 32 : 8 * 32], base)  # the frame that is not moved


# ── streams ──


def batches(stream: ShardStream | LiveStream) -> list[tuple[np.ndarray, list[int]]]:
    return [(images.numpy().copy(), labels.tolist()) for images, labels in stream]


@KINDS
def test_live_and_stored_batches_are_the_same_bytes_in_every_epoch(
    kind: str, roots: dict[str, Path]
) -> None:
    stored = ShardStream(roots[kind], batch_size=5)
    live = LiveStream(roots[kind], batch_size=5)
    dataset = ShardDataset(roots[kind])
    made = live.recipe
    assert stored.variants == live.variants == variants(made)
    for epoch in range(made.epochs):
        for stream in (stored, live, dataset):
            stream.set_epoch(epoch)
        shape = sample_shape(made, epoch)
        assert stored.shape == live.shape == shape
        pairs = zip(batches(stored), batches(live), strict=True)
        for (images, labels), (images_live, labels_live) in pairs:
            assert images.shape[1:] == shape
            assert labels == labels_live
            np.testing.assert_array_equal(images, images_live)
        np.testing.assert_array_equal(dataset[11].image.numpy(), images[-1])


def test_stored_epochs_are_corruptions_of_the_clean_pictures(roots: dict[str, Path]) -> None:
    made = recipe(C)
    inputs = open_inputs(made, InlineExecutor())
    stream = ShardStream(roots["c"], batch_size=12)
    for epoch, variant in enumerate(stream.variants or ()):
        stream.set_epoch(epoch)
        ((images, labels),) = batches(stream)
        plan = draw_plan(inputs, epoch, 0, 12)
        clean, seeds = render_base(inputs, plan), plan.augmentation[2]
        expected = corrupt(variant.name, clean, variant.severity or 0, seeds)
        np.testing.assert_array_equal(images, expected)
        assert labels == inputs.source.labels[plan.sources].tolist()
        assert (images != clean).any(axis=(1, 2, 3)).all()


def test_a_stream_goes_on_from_one_shape_to_the_next(roots: dict[str, Path]) -> None:
    stream = ShardStream(roots["p"], batch_size=12, epoch=1)
    frames = [images.shape[1] for _ in range(3) for images, _ in stream]
    assert frames == [31, 16, 31]  # brightness, translate, and round again shot_noise
    assert stream.shape == (31, 32, 32, 3)


def test_a_live_stream_renders_variants_again_past_the_last(roots: dict[str, Path]) -> None:
    live = LiveStream(roots["p"], batch_size=12)
    found = []
    for epoch in (2, 5):
        live.set_epoch(epoch)
        found += [images.shape for images, _ in live]
    assert found == [(12, 16, 32, 32, 3)] * 2


def test_clips_take_no_transform_of_pictures(roots: dict[str, Path]) -> None:
    dataset = ShardDataset(roots["p"], transform=lambda image: image)
    with pytest.raises(DreamshardsError, match=r"its samples are clips, \[31, 32, 32, 3\]"):
        dataset[0]


def test_other_roots_have_no_variants(small_root: Path) -> None:
    stream = ShardStream(small_root, batch_size=100)
    assert (stream.variants, stream.shape) == (None, (32, 32, 3))


# ── the rest ──


def test_a_preview_shows_every_name_and_the_frames_of_clips(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    assert choose_epochs(read_dataset(roots["c"])) == [1, 3, 5]
    preview(roots["c"], tmp_path / "c", 2, (), InlineExecutor())
    page = (tmp_path / "c/index.html").read_text()
    for name in ("shot_noise", "frost", "contrast"):
        assert page.count(f"<li>{name}, severity 4</li>") == 2
    preview(roots["p"], tmp_path / "p", 2, (), InlineExecutor())
    page = (tmp_path / "p/index.html").read_text()
    assert page.count("sequence translate, difficulty 2") == 2
    assert page.count("alt=") == 2 + 2 * 3 * 2
    assert page.count('data-frames="31"') == 2 * 2
    with Image.open(tmp_path / "p/contact-sheet.png") as sheet:
        assert sheet.width > 3 * 3 * 96


def test_each_name_has_kernels_of_its_own_to_warm_up() -> None:
    sets = kernel_sets(recipe(C))
    assert [name.split("-")[-2] for name in sets] == ["shot_noise", "frost", "contrast"]
    assert list(sets.values()) == [0, 2, 4]
    clean = recipe({"family": "clean"}, epochs=3)
    assert kernel_sets(clean) == {"digits-pad-crop-clean-npy": 0}


def test_an_estimate_measures_every_variant() -> None:
    cost = measure(recipe(C), InlineExecutor())
    assert (cost.num_samples, cost.num_shards) == (72, 18)
    assert cost.num_measured == 30  # five of each variant: a whole shard
    assert 5120 < cost.bytes_per_sample < 6500


def test_published_frost_is_taken_from_its_folder(tmp_path: Path) -> None:
    for number in range(1, 6):
        pane = np.full((400, 500, 3), 40 * number, np.uint8)
        Image.fromarray(pane).save(tmp_path / f"frost{number}.png")
    section = C | {"names": ["frost"], "severities": [3], "frost": str(tmp_path)}
    build(recipe(section), tmp_path / "root", InlineExecutor())
    inputs = open_inputs(recipe(section), InlineExecutor())
    plan = draw_plan(inputs, 0, 0, 12)
    ((images, _),) = batches(ShardStream(tmp_path / "root", batch_size=12))
    frost = load_frost(tmp_path)
    clean, seeds = render_base(inputs, plan), plan.augmentation[2]
    np.testing.assert_array_equal(images, corrupt("frost", clean, 3, seeds, frost=frost))
    Image.new("RGB", (500, 400), (1, 2, 3)).save(tmp_path / "frost2.png")
    with pytest.raises(DreamshardsError, match=r"augmentation\.frost_digest: the root has"):
        build(recipe(section), tmp_path / "root", InlineExecutor())


def test_epochs_share_a_decode_where_the_recipe_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "photos/a").mkdir(parents=True)
    for number in range(6):
        pixels = rng.integers(0, 256, (60, 50, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/a/{number}.jpg")
    parts = {
        "source": {"kind": "image-folder", "path": str(tmp_path / "photos")},
        "transform": {"kind": "center-crop", "size": 32},
        "shards": {"codec": "jpg", "quality": 85, "samples_per_shard": 3},
    }
    made = recipe(C, **parts, reuse=6)
    build(made, tmp_path / "root", InlineExecutor())
    report = verify(tmp_path / "root", 1.0, (), InlineExecutor())
    assert (report.num_replayed, report.faults) == (36, [])


def test_frames_of_large_pictures_are_cut_out_of_the_whole_that_moved(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "photos/a").mkdir(parents=True)
    small = Image.fromarray(rng.integers(0, 256, (8, 12, 3), np.uint8))
    small.resize((192, 128), Image.Resampling.BICUBIC).save(tmp_path / "photos/a/0.png")
    section = {"family": "perturbations", "names": ["translate"]}
    parts = {
        "source": {"kind": "image-folder", "path": str(tmp_path / "photos")},
        "transform": {"kind": "center-crop", "size": 112, "resize": 128},
    }
    made = recipe(section, **parts)
    build(made, tmp_path / "root", InlineExecutor())
    ((images, _),) = batches(ShardStream(tmp_path / "root", batch_size=1))
    assert images.shape == (1, 41, 112, 112, 3)
    whole = np.asarray(Image.open(tmp_path / "photos/a/0.png"))
    # frames move from 20 px to the left to 20 px to the right, within the 40 px that a crop leaves there
    np.testing.assert_array_equal(images[0, 20], whole[8:120, 40:152])
    np.testing.assert_array_equal(images[0, 0], whole[8:120, 60:172])
    np.testing.assert_array_equal(images[0, 40], whole[8:120, 20:132])
    assert verify(tmp_path / "root", 1.0, (), InlineExecutor()).faults == []
