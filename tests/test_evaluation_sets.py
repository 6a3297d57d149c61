"""Test sets are what their recipes or labels say, and every sample of them is read, or those asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import torch
from scipy.io import savemat

from evaluation.benchmarks import ANOMALY_SETS, C_BAR_CIFAR, COMMON_CORRUPTIONS, SEQUENCES
from evaluation.official import (
    open_corruption_arrays,
    open_corruption_folders,
    open_image_folder,
    open_sequence_arrays,
)
from evaluation.open_set import OpenSet, Part, join_anomalies
from evaluation.recognition import anomaly_name, recognise
from evaluation.requests import open_request, parse_request
from evaluation.sets import open_live, open_root
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.recipe import load_recipe
from pipeline.shards.reader import rows_of_sources
from pipeline.sources import ArraySource, open_source
from pipeline.stream import ShardDataset
from tests.conftest import stored
from tests.evaluation_helpers import (
    CLASSES,
    CORRUPTED,
    build_root,
    save_network,
    write_corruption_arrays,
    write_pictures,
    write_sequence_arrays,
)
from tests.servers import Moto
from training.checkpoint import load_trained

SOME = np.array([0, 3, 4, 58], np.int64)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return roots of the digits' test split: all of it clean, 60 of it corrupted in four ways."""
    folder = tmp_path_factory.mktemp("roots")
    corrupted = (*CORRUPTED, "source.count=60", "shards.samples_per_shard=25")
    return {
        "clean": build_root(folder / "clean"),
        "c": build_root(folder / "c", *corrupted),
        "c-png": build_root(folder / "c-png", *corrupted, "shards.codec=png"),
    }


def collect(
    opened: OpenSet, part: Part, chosen: npt.NDArray[np.int64] | None = None, batch_size: int = 16
) -> dict[int, tuple[bytes, int | None, str | None, str]]:
    """Return pixels, label, key and id of each sample by `source_index`; none may come twice."""
    found: dict[int, tuple[bytes, int | None, str | None, str]] = {}
    for images, samples in opened.read(part, chosen, batch_size):
        assert images.dtype == torch.uint8
        assert len(images) == len(samples.source_index) == len(samples.source_id)
        assert len(images) * part.num_frames <= max(batch_size, part.num_frames)
        assert (samples.variant, samples.severity) == (part.name, part.severity)
        for row, index in enumerate(samples.source_index.tolist()):
            assert index not in found
            label = None if samples.labels is None else int(samples.labels[row])
            key = None if samples.keys is None else samples.keys[row]
            found[index] = images[row].numpy().tobytes(), label, key, samples.source_id[row]
    return found


# ── recipes ──


def test_recipes_say_what_they_are_test_sets_of() -> None:
    clean = recognise(load_recipe("digits-test"), "mine", None)
    assert clean == ("clean", [("mine", None, 0)], (), 1)
    found = recognise(load_recipe("digits-test", CORRUPTED), "mine", None)
    assert (found.kind, found.benchmark) == ("c", COMMON_CORRUPTIONS)
    assert found.parts == [
        ("gaussian_noise", 1, 0),
        ("gaussian_noise", 5, 1),
        ("contrast", 1, 2),
        ("contrast", 5, 3),
    ]
    bar = ("augmentation.family=corruptions", "augmentation.benchmark=c-bar", "epochs=50")
    found = recognise(load_recipe("digits-test", bar), "mine", None)
    assert (found.kind, found.benchmark) == ("c-bar", C_BAR_CIFAR)
    assert [part[:2] for part in found.parts] == [(n, s) for n in C_BAR_CIFAR for s in range(1, 6)]


@pytest.mark.parametrize(
    ("preset", "overrides", "label", "words"),
    [
        ("digits", (), None, "no test set: family 'pixmix'"),
        ("digits", (), "clean", "no test set: family 'pixmix'"),
        ("digits-test", ("source.split=train",), None, "'split': 'train'"),
        ("digits-test", ("transform.flip=0.5",), None, "a test split without augmentation"),
        ("digits-test", ("transform.padding=4",), None, "a test split without augmentation"),
        ("digits-test", CORRUPTED, "ood", "labelled ood:, but it is of kind 'c'"),
        ("digits-test", CORRUPTED, "c-bar", "labelled c-bar:, but it is of kind 'c'"),
        ("digits-test", (), "c", "labelled c:, but it is no such benchmark"),
        ("digits-test", (*CORRUPTED, "source.split=train"), None, "'split': 'train'"),
    ],
)
def test_recipes_that_are_no_such_test_set(
    preset: str, overrides: tuple[str, ...], label: str | None, words: str
) -> None:
    with pytest.raises(UsageError, match="recipe") as caught:
        recognise(load_recipe(preset, overrides), "x", label)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_recipes_of_sequences_anomalies_and_official_files_are_known() -> None:
    moving = ("augmentation.family=perturbations", "augmentation.difficulty=2", "epochs=10")
    found = recognise(load_recipe("digits-test", moving), "x", None)
    assert (found.kind, found.benchmark, found.difficulty) == ("p", SEQUENCES, 2)
    assert found.parts == [(name, None, epoch) for epoch, name in enumerate(SEQUENCES)]
    for law in ("gaussian", "rademacher", "blobs"):
        found = recognise(load_recipe(f"anomalies-{law}"), "mine", None)
        assert (found.kind, found.parts) == ("ood", [(law, None, 0)])
    source = ("source.kind=cifar-c", "source.path=x", "source.severity=4")
    for name, kind in (("fog", "c"), ("ripple", "c-bar")):
        recipe = load_recipe("cifar10-test", (*source, f"source.name={name}"))
        assert recognise(recipe, "x", None)[:2] == (kind, [(name, 4, 0)])
        with pytest.raises(UsageError, match="leave the label out"):
            recognise(recipe, "x", "clean")


def test_a_label_makes_a_test_set_of_what_else_is_none() -> None:
    train_corrupted = load_recipe("digits-test", [*CORRUPTED, "source.split=train"])
    assert recognise(train_corrupted, "x", "c").kind == "c"
    train = load_recipe("digits-test", ["source.split=train"])
    assert recognise(train, "x", "clean").kind == "clean"
    assert recognise(train, "svhn", "ood") == ("ood", [("svhn", None, 0)], ANOMALY_SETS, 1)
    assert recognise(train, "renditions", "r").parts == [("renditions", None, 0)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("svhn", "svhn"),
        ("anomalies-gaussian", "gaussian"),
        ("DTD", "textures"),
        ("places69-256", "places69"),
        ("kites", "kites"),
    ],
)
def test_anomalies_are_known_by_name(name: str, expected: str) -> None:
    assert anomaly_name(name) == expected


# ── roots and live streams ──


def test_a_clean_root_is_read_whole_with_what_the_manifest_says(roots: dict[str, Path]) -> None:
    opened = open_root(str(roots["clean"]), batch_size=100)
    assert (opened.name, opened.kind, opened.shape) == ("digits-test", "clean", (32, 32, 3))
    assert opened.digest == json.loads((roots["clean"] / "dataset.json").read_text())["digest"]
    assert opened.classes == CLASSES
    assert opened.source_kind == "digits"
    (part,) = opened.parts
    assert part == ("digits-test", None, 0, 360, 1)
    source = open_source(load_recipe("digits-test").source, InlineExecutor())
    assert isinstance(source, ArraySource)
    found = collect(opened, part, batch_size=100)
    assert sorted(found) == list(range(360))
    for index, (pixels, label, _, name) in found.items():
        assert pixels == source.pixels[index].tobytes()
        assert (label, name) == (source.labels[index], source.ids[index].as_py())


@pytest.mark.parametrize("which", ["c", "c-png"])
def test_some_samples_of_a_variant_are_those_of_the_whole(
    roots: dict[str, Path], which: str
) -> None:
    opened = open_root(str(roots[which]), batch_size=16)
    assert [part[:4] for part in opened.parts] == [
        ("gaussian_noise", 1, 0, 60),
        ("gaussian_noise", 5, 1, 60),
        ("contrast", 1, 2, 60),
        ("contrast", 5, 3, 60),
    ]
    for part in opened.parts:
        whole, some = collect(opened, part), collect(opened, part, SOME, batch_size=3)
        assert sorted(whole) == list(range(60))
        assert some == {index: whole[index] for index in SOME.tolist()}
        file = f"epoch-{part.place:04d}/manifest.parquet"
        rows = rows_of_sources(roots[which], file, SOME.tolist())
        assert [some[i][2] for i in SOME.tolist()] == rows["key"].to_pylist()
    noise, contrast = (collect(opened, opened.parts[place]) for place in (1, 3))
    assert all(noise[index][0] != contrast[index][0] for index in noise)


def test_a_live_set_is_the_root_byte_for_byte(roots: dict[str, Path]) -> None:
    recipe = load_recipe("digits-test", [*CORRUPTED, "source.count=60"])
    live = open_live(recipe, "noise.yaml", "mine", batch_size=16)
    root = open_root(str(roots["c"]), "mine", batch_size=16)
    assert (live.kind, live.parts, live.shape) == (root.kind, root.parts, root.shape)
    for part in (live.parts[0], live.parts[3]):
        assert collect(live, part) == collect(root, part)
        assert collect(live, part, SOME) == collect(root, part, SOME)
    assert collect(live, live.parts[1], np.array([], np.int64)) == {}


def test_sequences_of_a_recipe_are_clips_of_several_lengths(tmp_path: Path) -> None:
    moving = ("augmentation.family=perturbations", "augmentation.names=[tilt, translate]")
    few = ("source.count=6", "epochs=2", "name=digits-p")
    root = open_root(str(build_root(tmp_path / "p", *moving, *few)), batch_size=62)
    live = open_live(load_recipe("digits-test", [*moving, *few]), "p.yaml", batch_size=62)
    expected = [("translate", None, 0, 6, 16), ("tilt", None, 1, 6, 31)]
    assert root.parts == live.parts == expected
    assert root.shape == live.shape == (32, 32, 3)
    for part in root.parts:
        found = collect(root, part, batch_size=62)
        assert {len(each[0]) for each in found.values()} == {part.num_frames * 32 * 32 * 3}
        assert collect(live, part, batch_size=62) == found
        assert collect(root, part, np.array([2, 5]), 62) == {i: found[i] for i in (2, 5)}


def test_a_key_of_a_set_finds_its_sample_in_the_root(roots: dict[str, Path]) -> None:
    opened = open_root(str(roots["c"]), batch_size=16)
    pixels, label, key, name = collect(opened, opened.parts[2], SOME)[58]
    assert key is not None
    epoch, position = map(int, key.split("-"))
    sample = ShardDataset(roots["c"], epoch)[position]
    assert (sample.image.numpy().tobytes(), sample.label) == (pixels, label)
    rows = pq.read_table(roots["c"] / f"epoch-{epoch:04d}/manifest.parquet")
    assert rows["source_id"][position].as_py() == name


# ── the benchmarks' own files ──


def test_corruption_arrays_are_cut_by_severity(tmp_path: Path) -> None:
    folder = write_corruption_arrays(tmp_path / "c", ("fog", "snow", "spatter"))
    opened = open_corruption_arrays(folder, "official", "c", 10, CLASSES)
    # in the published order, without what is not of the benchmark
    assert [part[:2] for part in opened.parts] == [
        (n, s) for n in ("snow", "fog") for s in range(1, 6)
    ]
    assert (opened.shape, opened.benchmark) == ((32, 32, 3), COMMON_CORRUPTIONS)
    pixels = np.load(folder / "fog.npy")
    part = opened.parts[5 + 3 - 1]
    assert part[:2] == ("fog", 3)
    found = collect(opened, part, batch_size=7)
    assert {i: each[0] for i, each in found.items()} == {
        i: pixels[40 + i].tobytes() for i in range(20)
    }
    assert {i: each[1] for i, each in found.items()} == {i: i % 10 for i in range(20)}
    some = collect(opened, part, np.array([19, 2]))
    assert some == {i: found[i] for i in (2, 19)}


def test_sequence_arrays_keep_their_frames(tmp_path: Path) -> None:
    folder = write_sequence_arrays(tmp_path / "p", {"tilt": 4, "spatter": 3, "shear": 3})
    opened = open_sequence_arrays(folder, "official")
    assert [(part.name, part.num_frames) for part in opened.parts] == [("tilt", 4), ("spatter", 3)]
    assert (opened.kind, opened.benchmark, opened.shape) == ("p", SEQUENCES, (32, 32, 3))
    assert opened.classes is None
    found = collect(opened, opened.parts[0], np.array([1, 5]), batch_size=5)
    clips = np.load(folder / "tilt.npy")
    assert {i: each[:2] for i, each in found.items()} == {
        i: (clips[i].tobytes(), None) for i in (1, 5)
    }


def test_other_content_is_another_digest(tmp_path: Path) -> None:
    folder = write_sequence_arrays(tmp_path / "p", {"tilt": 2})
    before = open_sequence_arrays(folder, "x").digest
    assert open_sequence_arrays(folder, "y").digest == before
    clips = np.load(folder / "tilt.npy")
    clips[5, 1, 31, 31, 2] ^= 1
    np.save(folder / "tilt.npy", clips)
    assert open_sequence_arrays(folder, "x").digest != before


@pytest.mark.parametrize(
    ("file", "array", "words"),
    [
        ("fog.npy", np.zeros((100, 32, 32, 3), np.float32), "got float32 [100, 32, 32, 3]"),
        ("fog.npy", np.zeros((100, 32, 32), np.uint8), "allowed: uint8 [100, S, S, 3]"),
        ("fog.npy", np.zeros((95, 32, 32, 3), np.uint8), "got uint8 [95, 32, 32, 3]"),
        ("fog.npy", np.zeros((100, 28, 28, 3), np.uint8), "pictures of several sizes"),
        ("labels.npy", np.zeros((100, 1), np.int64), "allowed: whole numbers [5·n]"),
        ("labels.npy", np.arange(100), "labels from 0 to 99; allowed: 0 to 9"),
        ("labels.npy", np.arange(100) % 9, "labels from 0 to 8; allowed: 0 to 9"),
        ("labels.npy", None, "not a readable .npy file"),
        ("fog.npy", b"\x93NUMPY cut", "not a readable .npy file"),
        ("fog.npy", b"PK\x05\x06" + bytes(18), "not a readable .npy file (it is .npz, an archive"),
    ],
)
def test_corruption_arrays_that_are_wrong(
    tmp_path: Path, file: str, array: object, words: str
) -> None:
    folder = write_corruption_arrays(tmp_path / "c", ("fog", "snow"))
    path = folder / file
    path.unlink()
    if isinstance(array, bytes):
        path.write_bytes(array)
    elif array is not None:
        np.save(path, array)
    with pytest.raises(DreamshardsError) as caught:
        open_corruption_arrays(folder, "x", "c", 10, CLASSES)
    assert words in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 1, 32, 32, 3), np.uint8), "2 frames or more"),
        (np.zeros((4, 32, 32, 3), np.uint8), "got uint8 [4, 32, 32, 3]"),
        (np.zeros((0, 5, 32, 32, 3), np.uint8), "got uint8 [0, 5, 32, 32, 3]"),
    ],
)
def test_sequence_arrays_that_are_wrong(
    tmp_path: Path, array: npt.NDArray[np.uint8], words: str
) -> None:
    np.save(tmp_path / "tilt.npy", array)
    with pytest.raises(DreamshardsError) as caught:
        open_sequence_arrays(tmp_path, "x")
    assert words in str(caught.value)


def test_a_folder_without_the_benchmarks_files(tmp_path: Path) -> None:
    with pytest.raises(
        DreamshardsError, match="none of the benchmark's files; allowed: gaussian_noise"
    ):
        open_corruption_arrays(tmp_path, "x", "c", 10, CLASSES)


def test_a_folder_of_pictures_is_cut_to_size(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "photos", ("a", "b"), side=64)
    opened = open_image_folder(folder, "kites", "ood", 32, batch_size=8)
    assert (opened.kind, opened.shape, opened.parts) == (
        "ood",
        (32, 32, 3),
        [("kites", None, 0, 8, 1)],
    )
    found = collect(opened, opened.parts[0])
    assert {each[3] for each in found.values()} == {f"{c}/{n}.png" for c in "ab" for n in range(4)}


def test_svhn_is_read_from_its_own_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 7), np.uint8)
    labels = np.arange(1, 8).reshape(7, 1)
    savemat(tmp_path / "test_32x32.mat", {"X": pixels, "y": labels})
    trained = load_trained(save_network(tmp_path / "last.pt", classes=CLASSES))
    opened = open_request(parse_request(f"digits=ood:{tmp_path}"), trained, 4)
    assert (opened.kind, opened.parts) == ("ood", [("svhn", None, 0, 7, 1)])
    found = collect(opened, opened.parts[0])
    assert [found[i][0] for i in range(7)] == [pixels[..., i].tobytes() for i in range(7)]


def test_corruption_folders_are_a_tree_of_names_and_severities(tmp_path: Path) -> None:
    for place, (name, level) in enumerate((("fog", 2), ("snow", 5), ("notes", 1))):
        write_pictures(tmp_path / name / str(level), ("n01", "n02"), num=2 + place)
    opened = open_corruption_folders(tmp_path, "official", "c", 32, batch_size=8)
    assert opened.parts == [("snow", 5, 0, 6, 1), ("fog", 2, 1, 4, 1)]
    assert (opened.classes, opened.benchmark) == (["n01", "n02"], COMMON_CORRUPTIONS)
    found = collect(opened, opened.parts[1])
    assert [(each[1], each[2], each[3]) for _, each in sorted(found.items())] == [
        (0, None, "n01/0.png"),
        (0, None, "n01/1.png"),
        (1, None, "n02/0.png"),
        (1, None, "n02/1.png"),
    ]
    write_pictures(tmp_path / "fog" / "3", ("n01", "n03"))
    with pytest.raises(DreamshardsError, match="other classes than"):
        open_corruption_folders(tmp_path, "official", "c", 32, batch_size=8)


def test_the_benchmarks_files_are_read_from_an_object_store_too(
    tmp_path: Path, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto.use(monkeypatch)
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "cache"))
    trained = load_trained(save_network(tmp_path / "last.pt", classes=CLASSES))
    write_corruption_arrays(tmp_path / "CIFAR-10-C", ("fog", "snow"))
    write_sequence_arrays(tmp_path / "cifar-10-p", {"tilt": 3, "spatter": 3})
    for name, level in (("fog", 2), ("snow", 5)):
        write_pictures(tmp_path / "tree" / name / str(level), CLASSES)
    write_pictures(tmp_path / "photos", ("a", "b"), side=64)
    (tmp_path / "svhn").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 7), np.uint8)
    svhn = {"X": pixels, "y": np.arange(1, 8).reshape(7, 1)}
    savemat(tmp_path / "svhn/test_32x32.mat", svhn)
    asked = {"CIFAR-10-C": "c", "cifar-10-p": "p", "tree": "c", "photos": "ood", "svhn": "ood"}
    for name, kind in asked.items():
        here = open_request(parse_request(f"{kind}:{tmp_path / name}"), trained, 8)
        place = stored(moto, tmp_path / name)
        there = open_request(parse_request(f"{name.lower()}={kind}:{place}"), trained, 8)
        assert there.name == here.name == name.lower()
        assert (there.kind, there.parts, there.shape) == (here.kind, here.parts, here.shape)
        assert kind == "ood" or there.digest == here.digest
        assert moto.secret_key not in there.where
        for part in here.parts:
            assert collect(there, part) == collect(here, part)
    with pytest.raises(DreamshardsError, match=r"s3://bkt/none: none of the benchmark's files"):
        open_corruption_arrays(moto.uri("none"), "x", "c", 10, CLASSES)
    with pytest.raises(
        UsageError, match=r"s3://bkt/root-\w+ is no root of a build; say what it is"
    ):
        open_request(parse_request(place), trained, 8)


def test_anomalies_are_joined_with_each_set_a_part(tmp_path: Path) -> None:
    sets = []
    for place, name in enumerate(("svhn", "kites")):
        folder = write_pictures(tmp_path / name, ("a",), num=3 + place)
        sets.append(open_image_folder(folder, name, "ood", 32, batch_size=8))
    joined = join_anomalies("anomalies", sets)
    assert [part[:4] for part in joined.parts] == [("svhn", None, 0, 3), ("kites", None, 1, 4)]
    for part, own in zip(joined.parts, sets, strict=True):
        assert collect(joined, part) == collect(own, own.parts[0])
    assert joined.digest != join_anomalies("anomalies", sets[:1]).digest


# ── what is asked for ──


def test_requests_name_places_kinds_and_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("x=y").mkdir()

    def parts(text: str) -> tuple[str | None, str | None, str, bool]:
        found = parse_request(text)
        return found.name, found.label, found.place, found.recipe is not None

    assert parts("photos") == (None, None, "photos", False)
    assert parts("ood:photos") == (None, "ood", "photos", False)
    assert parts("svhn=ood:photos") == ("svhn", "ood", "photos", False)
    assert parts("mine=digits-test") == ("mine", None, "digits-test", True)
    assert parts("./x=y") == (None, None, "./x=y", False)
    assert parts("s3://bucket/x?region=y") == (None, None, "s3://bucket/x?region=y", False)
    assert parts("lsun=ood:s3://bucket/x") == ("lsun", "ood", "s3://bucket/x", False)
    recipe = parse_request("digits-test", ["source.count=7"]).recipe
    assert recipe is not None
    assert recipe.source.count == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("none", "no such root, folder or recipe"),
        ("digits-tset", "did you mean 'digits-test'"),
        ("odd:photos", "unknown kind 'odd' (did you mean 'ood'?)"),
        ("Mine=ood:photos", "name 'Mine'; allowed"),
        ("=photos", "name ''"),
        ("", "allowed: [NAME=][KIND:]PLACE"),
        ("ood:", "no such root, folder or recipe"),
    ],
)
def test_requests_that_are_wrong(text: str, words: str) -> None:
    with pytest.raises(UsageError, match="--data") as caught:
        parse_request(text)
    assert words in str(caught.value)
