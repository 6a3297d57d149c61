"""Builds that decode once for several epochs: the bytes of single shards, from fewer decodes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import pipeline.reuse
from pipeline.build import build
from pipeline.errors import DreamshardsError
from pipeline.estimate import measure
from pipeline.executor import InlineExecutor, RayExecutor
from pipeline.identity import inputs_identity, recipe_hash
from pipeline.inputs import open_inputs
from pipeline.pending import plan_shards
from pipeline.recipe import Recipe, load_recipe
from pipeline.replay import replay
from pipeline.reuse import build_shards, plan_jobs
from pipeline.sources.source import FileSource
from pipeline.store import LocalStore
from pipeline.verify import verify
from pipeline.worker import ShardContext, build_shard
from tests.conftest import tree

NUM_PICTURES = 30
RECIPE = """
name: reused
epochs: 5
reuse: 3
source: {{kind: image-folder, path: '{path}'}}
transform: {{kind: random-resized-crop, size: 16}}
augmentation: {{family: pixmix}}
mixing_set: {{kind: ifs, count: 5}}
shards: {{samples_per_shard: 8, codec: jpg}}
"""
"""Two groups, of 3 epochs and of 2, by 4 shards of 7 or 8 samples."""


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reuse")
    rng = np.random.default_rng(0)
    for number in range(NUM_PICTURES):
        path = folder / "pictures" / ("ant", "bee")[number % 2] / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        small.resize((160, 120), Image.Resampling.BICUBIC).save(path)
    file = folder / "reused.yaml"
    file.write_text(RECIPE.format(path=folder / "pictures"))
    return file


@pytest.fixture(scope="module")
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(str(recipe_file))


@pytest.fixture(scope="module")
def root(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished root; read it, never change it."""
    root = tmp_path_factory.mktemp("reused") / "r"
    report = build(recipe, root, InlineExecutor())
    assert (report.num_built, report.num_samples) == (20, 150)
    return root


@pytest.fixture
def copied(root: Path, tmp_path: Path) -> Path:
    """Return a copy of the root without its dataset.json."""
    shutil.copytree(root, tmp_path / "r")
    (tmp_path / "r/dataset.json").unlink()
    return tmp_path / "r"


def sources(root: Path, epoch: int) -> np.ndarray:
    table = pq.read_table(root / f"epoch-{epoch:04d}/manifest.parquet")
    return table["source_index"].to_numpy()


def test_every_shard_has_the_bytes_it_has_when_built_alone(recipe, root, tmp_path):
    inputs = open_inputs(recipe, InlineExecutor())
    context = ShardContext(inputs, recipe_hash(inputs_identity(inputs)), LocalStore(tmp_path))
    for name in plan_shards(inputs):
        build_shard(context, name)
    alone = {file: sha256 for file, sha256 in tree(root).items() if "shard-" in file}
    assert tree(tmp_path) == alone
    assert len(alone) == 40


@pytest.mark.parametrize(
    "change",
    ["augmentation.family=clean", "augmentation.family=mixup", "shards.codec=npy"],
)
def test_so_it_is_for_other_families_and_codecs(recipe_file, tmp_path, change):
    recipe = load_recipe(str(recipe_file), [change])
    build(recipe, tmp_path / "r", InlineExecutor())
    inputs = open_inputs(recipe, InlineExecutor())
    context = ShardContext(
        inputs, recipe_hash(inputs_identity(inputs)), LocalStore(tmp_path / "alone")
    )
    for name in plan_shards(inputs):
        build_shard(context, name)
    assert tree(tmp_path / "alone").items() <= tree(tmp_path / "r").items()


def test_each_epoch_holds_every_source_once_and_groups_share_parts(root):
    groups = []
    for epochs in ((0, 1, 2), (3, 4)):
        orders = [sources(root, epoch) for epoch in epochs]
        for order in orders:
            assert np.array_equal(np.sort(order), np.arange(NUM_PICTURES))
        assert len({tuple(order) for order in orders}) == len(epochs)
        parts = [
            {frozenset(part.tolist()) for part in np.split(order, [7, 15, 22])} for order in orders
        ]
        assert all(part == parts[0] for part in parts)
        groups.append(parts[0])
    assert groups[0] != groups[1]


def test_a_source_is_decoded_once_for_a_group_at_each_scale(recipe, root, tmp_path, monkeypatch):
    reads: list[tuple[int, int]] = []
    whole = FileSource.read_scaled

    def counting(self: FileSource, index: int, scale: int) -> Any:
        reads.append((index, scale))
        return whole(self, index, scale)

    inputs = open_inputs(recipe, InlineExecutor())
    context = ShardContext(inputs, recipe_hash(inputs_identity(inputs)), LocalStore(tmp_path))
    jobs = list(plan_jobs(inputs, plan_shards(inputs)))
    assert [len(job) for job in jobs] == [3] * 4 + [2] * 4
    monkeypatch.setattr(FileSource, "read_scaled", counting)
    for job in jobs:
        reads.clear()
        build_shards(context, job)
        length = job[0].stop - job[0].start
        assert len(set(reads)) == len(reads)
        assert len({index for index, _ in reads}) == length
        assert len(reads) < len(job) * length  # some crops are large enough for 1/2
    assert {scale for _, scale in reads} == {4, 8}


def test_jobs_hold_the_missing_shards_of_a_part(recipe):
    inputs = open_inputs(recipe, InlineExecutor())
    shards = list(plan_shards(inputs))
    jobs = list(plan_jobs(inputs, shards))
    assert sorted(name for job in jobs for name in job) == shards
    for job in jobs:
        assert [name.epoch for name in job] in ([0, 1, 2], [3, 4])
    some = [jobs[0][0], jobs[0][2], jobs[5][1]]
    assert list(plan_jobs(inputs, some)) == [(jobs[0][0], jobs[0][2]), (jobs[5][1],)]


@pytest.mark.parametrize(
    "lost", [["0001/shard-000002"], ["0000/shard-000001", "0004/shard-000000"]]
)
def test_lost_shards_are_made_anew_and_nothing_else_is_touched(recipe, root, copied, lost):
    for name in lost:
        (copied / f"epoch-{name}.tar").unlink()
        (copied / f"epoch-{name}.parquet").unlink()
    kept = {path: path.stat().st_mtime_ns for path in copied.rglob("shard-*")}
    report = build(recipe, copied, InlineExecutor())
    assert (report.num_built, report.num_found) == (len(lost), 20 - len(lost))
    assert tree(copied) == tree(root)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_two_lost_shards_of_one_part_are_made_by_one_job(recipe, root, copied, monkeypatch):
    inputs = open_inputs(recipe, InlineExecutor())
    job = list(plan_jobs(inputs, plan_shards(inputs)))[2]
    for name in (job[0], job[2]):
        (copied / name.manifest).unlink()
    seen = []
    monkeypatch.setattr(
        "pipeline.losses.build_shards",
        lambda context, job: seen.append(job) or build_shards(context, job),
    )
    build(recipe, copied, InlineExecutor())
    assert seen == [(job[0], job[2])]
    assert tree(copied) == tree(root)


def test_a_build_cut_off_within_a_job_goes_on(recipe, root, tmp_path, monkeypatch):
    whole, calls = pipeline.reuse.commit_shard, []

    def interrupted(context: ShardContext, name: Any, *arguments: Any) -> Any:
        calls.append(name)
        if len(calls) == 6:  # the last shard of the second job
            raise KeyboardInterrupt
        return whole(context, name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.reuse, "commit_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(recipe, tmp_path / "r", InlineExecutor())
    assert len(list((tmp_path / "r").glob("epoch-*/shard-*.parquet"))) == 5
    report = build(recipe, tmp_path / "r", InlineExecutor())
    assert (report.num_built, report.num_found) == (15, 5)
    assert tree(tmp_path / "r") == tree(root)


def test_ray_gives_the_same_tree(recipe, root, tmp_path, ray_address):
    with RayExecutor(ray_address, 2) as executor:
        build(recipe, tmp_path / "r", executor)
    assert tree(tmp_path / "r") == tree(root)


def test_verify_and_replay_draw_the_same_orders(root):
    report = verify(root, 1.0, (), InlineExecutor())
    assert report.faults == []
    assert report.num_replayed == 150
    for key in ("0001-0000000013", "0004-0000000029"):
        assert "identical" in replay(root, key, None, (), InlineExecutor())[-1]


def test_another_reuse_is_another_dataset(recipe_file, root):
    other = load_recipe(str(recipe_file), ["reuse=2"])
    with pytest.raises(DreamshardsError, match="reuse: the root has 3, this recipe has 2"):
        build(other, root, InlineExecutor())


@pytest.mark.parametrize(("reuse", "num_jobs"), [(1, 20), (3, 8)])
def test_an_estimate_measures_a_whole_job(recipe_file, reuse, num_jobs):
    cost = measure(load_recipe(str(recipe_file), [f"reuse={reuse}"]), InlineExecutor())
    assert (cost.num_samples, cost.num_shards, cost.num_jobs) == (150, 20, num_jobs)
    assert cost.num_measured == 7 * reuse
    assert cost.samples_per_second > 0
    assert cost.wall_seconds(1) == pytest.approx(cost.core_seconds)
    assert cost.wall_seconds(3) == pytest.approx(cost.core_seconds * -(-num_jobs // 3) / num_jobs)
