"""`LiveStream` beside `ShardStream` over the root built from the same recipe: the same bytes everywhere."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from pipeline.build import build
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.recipe import load_recipe
from pipeline.stream import KeyedBatch, LiveStream, ShardStream
from tests.conftest import SMALL
from tests.stream_helpers import CODECS, truth_of
from tests.tiny import NUM_SAMPLES, build_tiny

OPTIONS: dict[str, Any] = {"batch_size": 5, "return_keys": True}


def live(recipe: Any, **options: Any) -> LiveStream:
    return LiveStream(recipe, **OPTIONS | options)


def stored(root: Path, **options: Any) -> ShardStream:
    return ShardStream(root, **OPTIONS | options)


def keys_of(batches: Iterable[KeyedBatch]) -> list[str]:
    return [key for batch in batches for key in batch.keys]


def assert_same(found: Iterable[KeyedBatch], expected: Iterable[KeyedBatch]) -> None:
    """Compare type, bytes, dtypes, shapes and keys of batches, one by one."""
    for one, other in zip(found, expected, strict=True):
        assert type(one) is type(other) is KeyedBatch
        for field, wanted in zip(one[:2], other[:2], strict=True):
            assert (field.dtype, field.shape) == (wanted.dtype, wanted.shape)
            assert torch.equal(field, wanted)
        assert one.keys == other.keys


# ── bytes ──


@pytest.mark.parametrize("read_ahead", [0, 3])
@pytest.mark.parametrize("codec", CODECS)
def test_batches_are_those_of_the_root_in_every_epoch(codec_roots, codec, read_ahead):
    root = codec_roots[codec]
    of_root = live(root, read_ahead=read_ahead)
    overrides = ["epochs=2", f"shards.codec={codec}"]
    of_recipe = live(root.parent / "tiny.yaml", overrides=overrides, read_ahead=read_ahead)
    shards = stored(root)
    assert len(of_root) == len(shards) == 5
    assert of_root.classes == shards.classes == ["ant", "bee", "cat"]
    for _ in range(2):
        expected = list(shards)
        assert_same(of_root, expected)
        assert_same(of_recipe, expected)
    assert (of_root.epoch, of_recipe.epoch) == (2, 2)


def test_lossy_codecs_leave_their_mark_and_lossless_ones_none(codec_roots):
    first = {codec: next(iter(live(root))).images for codec, root in codec_roots.items()}
    assert torch.equal(first["npy"], first["png"])
    assert not torch.equal(first["npy"], first["jpg"])
    assert not torch.equal(first["npy"], first["webp"])
    assert not torch.equal(first["jpg"], first["webp"])


def test_a_recipe_object_gives_what_its_root_has(codec_roots):
    name = str(codec_roots["jpg"].parent / "tiny.yaml")
    stream = live(load_recipe(name), overrides=["epochs=2", "shards.codec=jpg"])
    assert stream.recipe == load_recipe(name, ["epochs=2", "shards.codec=jpg"])
    assert_same(stream, stored(codec_roots["jpg"]))


def test_an_array_source_whose_batches_straddle_shards_on_two_ranks(small_root):
    for rank in range(2):
        options = {"batch_size": 100, "rank": rank, "world_size": 2}
        of_preset = live("digits", overrides=SMALL, **options)
        assert_same(of_preset, stored(small_root, **options))
    # longer than what is rendered at a time, so that a batch is put together from pieces
    assert_same(
        live(small_root, batch_size=800, epoch=1), stored(small_root, batch_size=800, epoch=1)
    )


REUSED = """
name: reused
epochs: 4
reuse: 2
source: {{kind: image-folder, path: '{path}'}}
transform: {{kind: random-resized-crop, size: 16}}
augmentation: {{family: pixmix}}
mixing_set: {{kind: ifs, count: 5}}
shards: {{samples_per_shard: 7, codec: jpg, quality: 80}}
"""


def test_epochs_that_share_decodes(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(20):
        path = tmp_path / "pictures" / ("ant", "bee")[number % 2] / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        small.resize((160, 120), Image.Resampling.BICUBIC).save(path)
    recipe = tmp_path / "reused.yaml"
    recipe.write_text(REUSED.format(path=tmp_path / "pictures"))
    build(load_recipe(str(recipe)), tmp_path / "root", InlineExecutor())
    stream, shards = live(recipe), stored(tmp_path / "root")
    for _ in range(4):
        assert_same(stream, shards)
    for _ in range(2):  # past the recipe's epochs: still each source once
        assert sorted(torch.cat([batch.labels for batch in stream]).tolist()) == [0] * 10 + [1] * 10


def test_epochs_past_the_recipes_are_rendered_afresh(codec_roots):
    root = codec_roots["npy"]
    longer = build_tiny(root.parent, "epochs=4", "shards.codec=npy")
    stream, shards = live(root, epoch=1), stored(longer, epoch=1)
    seen = []
    for epoch in (1, 2, 3):
        assert stream.epoch == epoch
        batches = list(stream)
        assert_same(batches, shards)
        assert keys_of(batches)[0] == f"{epoch:04d}-0000000000"
        seen.append(torch.cat([batch.images for batch in batches]))
    assert not torch.equal(seen[0], seen[2])
    stream.set_epoch(70_000)
    assert keys_of(stream)[-1] == f"70000-{NUM_SAMPLES - 1:010d}"


def test_drop_last_gives_full_batches_alone(codec_roots):
    options = {"drop_last": True, "rank": 1, "world_size": 2}
    batches = list(live(codec_roots["npy"], **options))
    assert [len(batch.labels) for batch in batches] == [5, 5]
    assert_same(batches, stored(codec_roots["npy"], **options))


def test_without_keys_batches_are_pairs(codec_roots):
    images, labels = next(iter(live(codec_roots["npy"], return_keys=False)))
    assert torch.equal(images, next(iter(stored(codec_roots["npy"]))).images)
    assert labels.dtype == torch.int64


# ── workers ──


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("codec", ["npy", "jpg"])
def test_any_number_of_workers_gives_the_same_batches(codec_roots, codec, num_workers):
    stream = live(codec_roots[codec])
    loader = DataLoader(
        stream, batch_size=None, num_workers=num_workers, persistent_workers=num_workers > 0
    )
    assert len(loader) == 5
    for epoch in (0, 1):
        stream.set_epoch(epoch)
        assert_same(loader, stored(codec_roots[codec], epoch=epoch))


def test_threads_of_a_worker_render_ahead_when_they_are_asked_for(codec_roots):
    loader = DataLoader(live(codec_roots["jpg"], num_threads=2), batch_size=None, num_workers=1)
    assert_same(loader, stored(codec_roots["jpg"]))


def test_spawned_workers_open_the_mixing_set_by_themselves(codec_roots):
    loader = DataLoader(
        live(codec_roots["npy"]), batch_size=None, num_workers=1, multiprocessing_context="spawn"
    )
    assert_same(loader, stored(codec_roots["npy"]))


def test_a_pickled_stream_carries_no_mixing_pictures(codec_roots):
    overrides = ["mixing_set.count=60", "mixing_set.size=64"]
    stream = live(codec_roots["npy"].parent / "tiny.yaml", overrides=overrides)
    assert stream._inputs.pictures.pixels.nbytes == 60 * 64 * 64 * 3
    content = pickle.dumps(stream)
    assert len(content) < 100_000
    assert_same(pickle.loads(content), stream)


def test_everything_is_compiled_before_workers_are_forked(codec_roots):
    script = """
import gc, sys
import torch
from numba.core.registry import CPUDispatcher
from pipeline.stream import LiveStream

def compiled():
    kernels = [found for found in gc.get_objects() if type(found) is CPUDispatcher]
    return sum(len(kernel.signatures) for kernel in kernels)

stream = LiveStream(sys.argv[1], batch_size=10)
before = compiled()
list(stream)
print(before > 0, compiled() - before)
"""
    command = [sys.executable, "-c", script, str(codec_roots["npy"])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True 0\n", "")


def test_abandoned_iterators_leave_no_thread(codec_roots):
    batches = iter(live(codec_roots["npy"], batch_size=1, num_threads=2))
    next(batches)
    assert [thread for thread in threading.enumerate() if "ahead" in thread.name]
    del batches
    assert not [thread for thread in threading.enumerate() if "ahead" in thread.name]


# ── states ──


def test_a_state_at_every_step_resumes_on_other_ranks_batches_and_workers(codec_roots):
    root, truth = codec_roots["npy"], truth_of(codec_roots["npy"], 1)
    for step in range(4):
        before = [live(root, epoch=1, batch_size=2, rank=r, world_size=4) for r in range(4)]
        iterators = [iter(stream) for stream in before]
        consumed = [next(i) for _ in range(step) for i in iterators]
        (state,) = {pickle.dumps(stream.state_dict()) for stream in before}
        after = [live(root, batch_size=3, rank=r, world_size=3) for r in range(3)]
        for stream in after:
            stream.load_state_dict(pickle.loads(state))
            stream.set_epoch(1)
        rest = [
            batch
            for workers, stream in enumerate(after)
            for batch in DataLoader(stream, batch_size=None, num_workers=workers)
        ]
        batches = sorted([*consumed, *rest], key=lambda batch: batch.keys)
        assert keys_of(consumed) + sorted(keys_of(rest)) == truth.keys
        assert np.array_equal(torch.cat([batch.images for batch in batches]), truth.images)


def test_a_stock_loop_with_workers_states_its_number_of_batches(codec_roots):
    stream = live(codec_roots["jpg"])
    batches = iter(DataLoader(stream, batch_size=None, num_workers=2))
    first = [next(batches) for _ in range(2)]
    batches._shutdown_workers()
    with pytest.raises(DreamshardsError, match=r"call state_dict\(batches=number of batches"):
        stream.state_dict()
    resumed = live(codec_roots["jpg"])
    resumed.load_state_dict(stream.state_dict(batches=2))
    assert_same([*first, *resumed], stored(codec_roots["jpg"]))


def test_a_stateful_loader_resumes_in_mid_epoch(codec_roots):
    def loader() -> StatefulDataLoader:
        return StatefulDataLoader(live(codec_roots["npy"], epoch=1), batch_size=None, num_workers=2)

    begun = loader()
    batches = iter(begun)
    taken = [next(batches) for _ in range(3)]
    state = pickle.loads(pickle.dumps(begun.state_dict()))
    batches._shutdown_workers()
    resumed = loader()
    resumed.load_state_dict(state)
    assert_same([*taken, *resumed], stored(codec_roots["npy"], epoch=1))


def test_a_state_tells_the_recipe_and_its_inputs(codec_roots):
    root, recipe = codec_roots["npy"], codec_roots["npy"].parent / "tiny.yaml"
    state = live(root).state_dict()
    same = live(recipe, overrides=["epochs=2", "shards.codec=npy"])
    same.load_state_dict(state)  # a root and its recipe are one thing
    others = [
        live(recipe, overrides=["epochs=2", "shards.codec=npy", "seed=1"]),
        live(recipe, overrides=["epochs=2", "shards.codec=npy", "mixing_set.seed=1"]),
        live(codec_roots["jpg"]),
    ]
    for other in others:
        with pytest.raises(
            DreamshardsError,
            match=r"recipe tiny: the state is of another recipe, or of other inputs",
        ):
            other.load_state_dict(state)
    with pytest.raises(DreamshardsError, match="the state is of another recipe"):
        live(root).load_state_dict(stored(root).state_dict())
    with pytest.raises(DreamshardsError, match="the state is of another root"):
        stored(root).load_state_dict(state)


# ── what is refused ──


def test_what_names_no_recipe_and_no_root_is_refused(codec_roots, tmp_path):
    for name, message in [
        (
            "digitz",
            r"unknown recipe or root 'digitz' \(did you mean 'digits'\?\); allowed: a Recipe",
        ),
        (tmp_path / "none", "unknown recipe or root .*or the root of a finished build"),
        (tmp_path / "none.yaml", r"cannot read recipe .*none\.yaml"),
    ]:
        with pytest.raises(UsageError, match=message):
            live(name)
    with pytest.raises(DreamshardsError, match="this is not the root of a build"):
        live(tmp_path)
    with pytest.raises(UsageError, match=r"augmentation\.kk"):
        live("digits", overrides=["augmentation.kk=3"])


def test_impossible_requests_are_refused_when_it_is_made(codec_roots):
    for options, message in [
        ({"rank": 0, "world_size": 25}, "24 samples are fewer than 25 ranks"),
        ({"batch_size": 0}, "batch_size = 0; allowed: whole numbers from 1"),
        ({"read_ahead": -1}, "read_ahead = -1; allowed: whole numbers from 0"),
        ({"epoch": -1}, "epoch = -1; allowed: whole numbers from 0"),
    ]:
        with pytest.raises(DreamshardsError, match=message):
            live(codec_roots["npy"], **options)


@pytest.fixture
def own_root(tmp_path) -> Path:
    """Return a root with inputs of its own, to be moved and changed."""
    mixing = tmp_path / "mixing"
    mixing.mkdir()
    rng = np.random.default_rng(1)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(mixing / f"{number}.png")
    return build_tiny(tmp_path, "mixing_set={kind: folder, path: '" + str(mixing) + "'}")


def test_a_roots_inputs_may_move_but_not_change(own_root, tmp_path):
    expected = list(stored(own_root))
    shutil.move(tmp_path / "pictures", tmp_path / "elsewhere")
    with pytest.raises(DreamshardsError, match=r"cannot be opened now(.|\n)*--set source\.path=…"):
        live(own_root)
    overrides = [f"source.path={tmp_path / 'elsewhere'}"]
    assert_same(live(own_root.as_uri(), overrides=overrides), expected)
    with pytest.raises(DreamshardsError, match="seed: the root has 0, this recipe has 1"):
        live(own_root, overrides=[*overrides, "seed=1"])
    next((tmp_path / "elsewhere" / "ant").glob("*.png")).unlink()
    with pytest.raises(DreamshardsError, match=r"was built from other inputs:\n  source\.finger"):
        live(own_root, overrides=overrides)


def test_a_source_picture_that_changes_later_is_named(own_root, tmp_path):
    stream = live(own_root, num_threads=2)
    (tmp_path / "pictures" / "bee" / "04.png").write_bytes(b"")
    with pytest.raises(DreamshardsError, match=r"04\.png changed since the dataset was scanned"):
        list(stream)


def test_a_mixing_set_that_changed_before_it_was_unpickled_is_refused(own_root, tmp_path):
    content = pickle.dumps(live(own_root))
    Image.new("RGB", (9, 9)).save(tmp_path / "mixing" / "0.png")
    with pytest.raises(DreamshardsError, match="the mixing set changed since the stream was made"):
        list(pickle.loads(content))


def test_rendering_in_threads_leaves_warning_filters_alone(own_root, monkeypatch):
    threads, catch = set(), warnings.catch_warnings

    def recorded(*arguments: Any, **options: Any) -> Any:
        threads.add(threading.current_thread().name)
        return catch(*arguments, **options)

    monkeypatch.setattr(warnings, "catch_warnings", recorded)
    list(live(own_root, read_ahead=0))
    assert threads == {threading.main_thread().name}
    threads.clear()
    stream = live(own_root, num_threads=2)
    threads.clear()
    list(stream)
    assert threads == set()
