"""Builds: the same bytes however they were made, and a root that tells its whole state."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.build import build
from pipeline.errors import DreamshardsError
from pipeline.executor import InlineExecutor, RayExecutor
from pipeline.recipe import load_recipe
from pipeline.shards.reader import read_manifest, read_payload, shard_names
from pipeline.verify import verify
from tests.conftest import SMALL, tree

TINY = ("source.split=test", "epochs=2", "mixing_set.count=8")


class Backwards(InlineExecutor):
    """Runs the jobs last to first."""

    def map(
        self, function: Callable[[Any, Any], Any], shared: Any, jobs: Iterable[Any]
    ) -> Iterator[Any]:
        for job in reversed(list(jobs)):
            yield function(shared, job)


def samples(root: Path) -> dict[str, bytes]:
    """Return every sample's stored bytes by key."""
    dataset = json.loads((root / "dataset.json").read_text())
    found = {}
    for name in shard_names(dataset):
        rows = read_manifest(root, name.manifest)
        for row, key in enumerate(rows["key"].to_pylist()):
            found[key] = read_payload(root, name, rows, row)
    return found


def test_ray_with_one_worker_or_two_gives_the_inline_tree(
    small_root: Path, tmp_path: Path, ray_address: str
) -> None:
    expected = tree(small_root)
    for num_workers in (1, 2):
        root = tmp_path / f"ray-{num_workers}"
        with RayExecutor(ray_address, num_workers) as executor:
            report = build(load_recipe("digits", SMALL), root, executor)
        assert tree(root) == expected
        assert report.num_built == 6
        assert 50e6 < report.peak_memory_bytes < 2**30


def test_any_order_of_shards_gives_the_same_tree(small_root: Path, tmp_path: Path) -> None:
    build(load_recipe("digits", SMALL), tmp_path / "r", Backwards())
    assert tree(tmp_path / "r") == tree(small_root)


def test_samples_do_not_depend_on_the_size_of_shards(small_root: Path, tmp_path: Path) -> None:
    expected = samples(small_root)
    assert len(expected) == 2 * 1437
    for size in (1437, 97):
        root = tmp_path / f"shards-of-{size}"
        recipe = load_recipe("digits", [*SMALL, f"shards.samples_per_shard={size}"])
        build(recipe, root, InlineExecutor())
        assert samples(root) == expected


def test_the_root_has_the_promised_names_and_nothing_else(small_root: Path) -> None:
    shards = [f"shard-{shard:06d}.{kind}" for shard in range(3) for kind in ("parquet", "tar")]
    expected = {f"epoch-{e:04d}/{name}" for e in (0, 1) for name in (*shards, "manifest.parquet")}
    assert set(tree(small_root)) == expected | {"dataset.json", "recipe.json"}


def test_each_epoch_holds_every_source_sample_once_in_a_fresh_order(small_root: Path) -> None:
    orders = [
        pq.read_table(small_root / f"epoch-{epoch:04d}" / "manifest.parquet")["source_index"]
        for epoch in (0, 1)
    ]
    for order in orders:
        assert np.array_equal(np.sort(order.to_numpy()), np.arange(1437))
    assert not orders[0].equals(orders[1])


def test_dataset_json_says_what_was_built(small_root: Path) -> None:
    dataset = json.loads((small_root / "dataset.json").read_text())
    assert dataset["samples"] == 2874
    assert dataset["samples_per_epoch"] == 1437
    assert dataset["classes"] == [str(digit) for digit in range(10)]
    assert dataset["sample"] == {
        "shape": [32, 32, 3],
        "dtype": "uint8",
        "codec": "npy",
        "lossless": True,
    }
    assert [shard["samples"] for shard in dataset["shards"]] == [479] * 6
    assert dataset["bytes"] == sum(path.stat().st_size for path in small_root.rglob("*.tar"))
    assert dataset["recipe"]["mixing_set"]["size"] == 36
    assert set(dataset["versions"]) >= {"dreamshards", "numpy", "pillow", "pyarrow", "python"}
    assert str(small_root) not in json.dumps(dataset["identity"])


def test_a_complete_root_is_left_as_it_is(small_root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small_root.rglob("*")}
    report = build(load_recipe("digits", SMALL), small_root, InlineExecutor())
    assert report.num_built == 0
    assert report.num_found == 6
    assert {path: path.stat().st_mtime_ns for path in small_root.rglob("*")} == before


def test_another_recipe_is_refused_field_by_field_and_nothing_changes(small_root: Path) -> None:
    before = tree(small_root)
    recipe = load_recipe("digits", [*SMALL, "augmentation.k=3", "seed=5"])
    with pytest.raises(DreamshardsError) as caught:
        build(recipe, small_root, InlineExecutor())
    message = str(caught.value)
    assert "seed: the root has 0, this recipe has 5" in message
    assert "augmentation.k: the root has 4, this recipe has 3" in message
    assert f"--out {small_root}-2" in message
    assert f"rm -r {small_root}" in message
    assert tree(small_root) == before


def test_the_same_recipe_over_other_inputs_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(
            tmp_path / "set" / name / "p.png"
        )
    fields = ["mixing_set.kind=folder", f"mixing_set.path={tmp_path / 'set'}", *TINY[:2]]
    build(load_recipe("digits", fields), tmp_path / "root", InlineExecutor())
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(
        tmp_path / "set" / "b" / "p.png"
    )
    with pytest.raises(DreamshardsError, match=r"mixing_set\.digest: the root has"):
        build(load_recipe("digits", fields), tmp_path / "root", InlineExecutor())


def test_a_lost_shard_is_made_anew_and_nothing_else_is_touched(
    small_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "r"
    shutil.copytree(small_root, root)
    (root / "dataset.json").unlink()
    (root / "epoch-0000/shard-000001.tar").unlink()  # its manifest alone commits nothing
    (root / "epoch-0001/shard-000002.parquet").unlink()
    kept = root / "epoch-0001/shard-000001.tar"
    before = kept.stat().st_mtime_ns
    report = build(load_recipe("digits", SMALL), root, InlineExecutor())
    assert (report.num_built, report.num_found) == (2, 4)
    assert tree(root) == tree(small_root)
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "file",
    ["epoch-0000/shard-000001.tar", "epoch-0001/manifest.parquet", "recipe.json", "notes.txt"],
)
def test_following_the_advice_of_verify_mends_the_root(
    small_root: Path, tmp_path: Path, file: str
) -> None:
    root = tmp_path / "r"
    shutil.copytree(small_root, root)
    (root / file).write_bytes(b"damaged")
    assert {fault.file for fault in verify(root, 0, (), InlineExecutor()).faults} == {file}
    (root / file).unlink()
    (root / "dataset.json").unlink()
    if file == "recipe.json":  # the one case in which verify says to keep dataset.json
        shutil.copy(small_root / "dataset.json", root)
    build(load_recipe("digits", SMALL), root, InlineExecutor())
    assert tree(root) == tree(small_root)


def test_a_truncated_shard_stops_the_resumed_build_with_its_name(
    small_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "r"
    shutil.copytree(small_root, root)
    (root / "dataset.json").unlink()
    tar = root / "epoch-0001/shard-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    with pytest.raises(DreamshardsError, match=r"shard-000001\.tar: \d+ bytes, its manifest says"):
        build(load_recipe("digits", SMALL), root, InlineExecutor())
    assert not (root / "dataset.json").exists()


def test_a_damaged_manifest_stops_the_resumed_build_with_its_name(
    small_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "r"
    shutil.copytree(small_root, root)
    (root / "dataset.json").unlink()
    manifest = root / "epoch-0000/shard-000001.parquet"
    content = bytearray(manifest.read_bytes())
    content[1000] ^= 1  # in a page: the summary at the end can still be read
    manifest.write_bytes(content)
    with pytest.raises(
        DreamshardsError, match=r"shard-000001\.parquet: not a readable .* remove ep"
    ):
        build(load_recipe("digits", SMALL), root, InlineExecutor())
    manifest.unlink()
    build(load_recipe("digits", SMALL), root, InlineExecutor())
    assert tree(root) == tree(small_root)


def test_a_second_build_in_the_same_root_is_refused_while_one_works(tmp_path: Path) -> None:
    root = tmp_path / "r"

    class Nested(InlineExecutor):
        def map(
            self, function: Callable[[Any, Any], Any], shared: Any, jobs: Iterable[Any]
        ) -> Iterator[Any]:
            if function.__name__ == "build_shard":
                with pytest.raises(DreamshardsError, match="another build is at work"):
                    build(load_recipe("digits", TINY), root, InlineExecutor())
            yield from super().map(function, shared, jobs)

    build(load_recipe("digits", TINY), root, Nested())
    assert (root / "dataset.json").exists()


def test_families_share_orders_crops_and_flips(tmp_path: Path) -> None:
    fields = [*TINY, "transform.flip=0.5"]
    build(load_recipe("digits", fields), tmp_path / "pixmix", InlineExecutor())
    build(
        load_recipe("digits", [*fields, "augmentation.family=clean"]),
        tmp_path / "clean",
        InlineExecutor(),
    )
    columns = ["key", "source_index", "label", "crop_y", "crop_x", "flip"]
    manifests = [
        pq.read_table(tmp_path / family / "epoch-0001" / "manifest.parquet", columns=columns)
        for family in ("pixmix", "clean")
    ]
    assert manifests[0].equals(manifests[1])
    assert "rounds" not in pq.read_schema(tmp_path / "clean/epoch-0000/manifest.parquet").names


@pytest.mark.parametrize("strategy", ["mix-input", "mix-aug"])
@pytest.mark.parametrize("ops", ["standard", "all"])
def test_every_strategy_and_op_set_builds_what_it_says(
    tmp_path: Path, strategy: str, ops: str
) -> None:
    fields = [*TINY, f"augmentation.strategy={strategy}", f"augmentation.ops={ops}"]
    build(load_recipe("digits", fields), tmp_path / "r", InlineExecutor())
    rows = pq.read_table(tmp_path / "r/epoch-0000/manifest.parquet").to_pylist()
    operands = {step["operand"] for row in rows for step in row["rounds"]}
    assert ("mixing-picture" in operands) == (strategy == "mix-aug")
    assert len(operands) == (1 if strategy == "mix-aug" else 13 if ops == "all" else 9)
    starts = {row["start_op"] for row in rows}
    assert ("color" in starts) == (ops == "all")


def test_an_image_folder_of_photographs_builds_at_224_px_in_jpg(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for label in ("cat", "dog"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for number in range(4):
            small = rng.integers(0, 256, (12, 16, 3), np.uint8)
            picture = Image.fromarray(small).resize((400, 300), Image.Resampling.BICUBIC)
            picture.save(tmp_path / "train" / label / f"{number}.jpg")
    fields = [f"source.path={tmp_path / 'train'}", "mixing_set.count=4", "epochs=2"]
    report = build(load_recipe("image-folder", fields), tmp_path / "r", InlineExecutor())
    assert report.dataset["sample"]["codec"] == "jpg"
    stored = samples(tmp_path / "r")
    assert len(stored) == 16
    for payload in stored.values():
        assert Image.open(io.BytesIO(payload)).size == (224, 224)
