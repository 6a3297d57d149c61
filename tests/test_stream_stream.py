"""`ShardStream`: order, epochs, states and resumption, with and without workers."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from pipeline.ahead import ahead
from pipeline.errors import DreamshardsError
from pipeline.stream import ShardStream
from tests.stream_helpers import CODECS, truth_of


def keys_of(batches) -> list[str]:
    return [key for batch in batches for key in batch[2]]


def open_stream(root: Path, **options) -> ShardStream:
    return ShardStream(root, **{"batch_size": 5, "return_keys": True} | options)


@pytest.mark.parametrize("read_ahead", [0, 3])
@pytest.mark.parametrize("codec", CODECS)
def test_every_sample_in_order_is_what_tarfile_and_the_decoder_give(codec_roots, codec, read_ahead):
    root = codec_roots[codec]
    stream = open_stream(root, read_ahead=read_ahead, check_crc=True)
    for epoch in (0, 1, 0):  # goes on by itself, and round
        truth, batches = truth_of(root, epoch), list(stream)
        assert [len(batch.labels) for batch in batches] == [5, 5, 5, 5, 4]
        assert len(stream) == 5
        images = torch.cat([batch.images for batch in batches])
        labels = torch.cat([batch.labels for batch in batches])
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert np.array_equal(images.numpy(), truth.images)
        assert labels.tolist() == truth.labels
        assert keys_of(batches) == truth.keys
    assert stream.epoch == 3


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_any_number_of_workers_gives_the_same_batches(codec_roots, places, num_workers):
    expected = list(open_stream(codec_roots["jpg"]))
    loader = DataLoader(open_stream(places["jpg"]), batch_size=None, num_workers=num_workers)
    found = list(loader)
    assert len(loader) == 5
    assert [batch.keys for batch in found] == [batch.keys for batch in expected]
    assert all(torch.equal(a.images, b.images) for a, b in zip(found, expected, strict=True))


def test_ranks_share_out_the_epoch_with_equal_counts(small_root):
    ranks = [open_stream(small_root, batch_size=64, rank=r, world_size=3) for r in range(3)]
    batches = [list(stream) for stream in ranks]
    assert {len(found) for found in batches} == {len(ranks[0])} == {8}
    assert all(len(batch.labels) > 0 for found in batches for batch in found)
    in_order = [key for step in zip(*batches, strict=True) for key in keys_of(step)]
    assert in_order == truth_of(small_root).keys


def test_drop_last_gives_full_batches_alone(codec_roots):
    batches = list(open_stream(codec_roots["npy"], drop_last=True))
    assert [len(batch.labels) for batch in batches] == [5] * 4


def test_rank_and_world_size_come_from_the_environment(codec_roots, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert keys_of(open_stream(codec_roots["npy"]))[0] == "0000-0000000005"
    assert keys_of(open_stream(codec_roots["npy"], rank=0, world_size=1))[0] == "0000-0000000000"
    with pytest.raises(
        DreamshardsError, match="rank = 2, world_size = 2; allowed: ranks from 0 to"
    ):
        open_stream(codec_roots["npy"], rank=2)


def test_impossible_and_wrong_requests_are_refused_when_it_is_made(codec_roots):
    root = codec_roots["npy"]
    for options, message in [
        ({"rank": 0, "world_size": 25}, "24 samples are fewer than 25 ranks"),
        ({"batch_size": 1, "rank": 0, "world_size": 5}, "in batches of 1 do not share out equally"),
        ({"batch_size": 25, "drop_last": True}, "take batch_size up to 24 or drop_last=False"),
        ({"epoch": 2}, "no epoch 2; allowed: 0 to 1"),
        ({"read_ahead": -1}, "read_ahead = -1; allowed: whole numbers from 0"),
        ({"cache_dir": "x", "cache_bytes": 5}, "a local root needs none"),
    ]:
        with pytest.raises(DreamshardsError, match=message):
            open_stream(root, **options)


# ── epochs ──


def test_a_new_iterator_begins_the_pass_again(codec_roots):
    stream = open_stream(codec_roots["npy"])
    next(iter(stream))
    assert stream.state_dict()["position"] == 5
    assert len(keys_of(stream)) == 24
    assert (stream.epoch, stream.state_dict()["position"]) == (1, 0)


def test_an_older_iterator_does_not_move_the_stream(codec_roots):
    stream = open_stream(codec_roots["npy"])
    old = iter(stream)
    next(old)
    new = iter(stream)
    for _ in old:
        pass
    assert (stream.epoch, stream.state_dict()["position"]) == (0, 0)
    next(new)
    assert stream.state_dict()["position"] == 5


def test_set_epoch_begins_another_epoch_and_goes_round(codec_roots):
    stream = open_stream(codec_roots["npy"])
    next(iter(stream))
    stream.set_epoch(3)
    assert stream.epoch == 3
    assert keys_of(stream) == truth_of(codec_roots["npy"], 1).keys
    with pytest.raises(DreamshardsError, match="epoch = -1; allowed"):
        stream.set_epoch(-1)


def test_set_epoch_reaches_persistent_workers(codec_roots):
    stream = open_stream(codec_roots["npy"])
    loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True)
    for epoch in (0, 1, 4, 5):
        stream.set_epoch(epoch)
        assert keys_of(loader) == truth_of(codec_roots["npy"], epoch % 2).keys


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_that_read_an_epoch_again_warn_once(codec_roots, persistent, capfd):
    stream = open_stream(codec_roots["npy"])
    loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=persistent)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: os.write(2, f"{message}\n".encode())
        for epoch in (0, 0, 1):  # naming the epoch, even the same, says that it is meant
            stream.set_epoch(epoch)
            list(loader)
        assert "read again" not in capfd.readouterr().err
        assert len(keys_of(loader)) == len(keys_of(loader)) == 24
        assert len(keys_of(loader)) == 24
    message = "epoch 1 is read again by DataLoader workers; call set_epoch of the stream"
    assert capfd.readouterr().err.count(message) == 1


def test_an_epoch_read_to_its_end_by_workers_begins_at_its_beginning_again(codec_roots):
    stream = open_stream(codec_roots["npy"])
    stream.load_state_dict(stream.state_dict(batches=3))
    loader = DataLoader(stream, batch_size=None, num_workers=1)
    for num in (9, 24):
        stream.set_epoch(0)
        assert len(keys_of(loader)) == num


# ── states ──


def test_a_state_at_every_step_resumes_on_other_ranks_batches_and_workers(codec_roots, places):
    root, truth = places["npy"], truth_of(codec_roots["npy"], 1)
    for step in range(4) if "://" not in str(root) else (2,):
        before = [open_stream(root, epoch=1, batch_size=2, rank=r, world_size=4) for r in range(4)]
        iterators = [iter(stream) for stream in before]
        consumed = [next(i) for _ in range(step) for i in iterators]
        (state,) = {pickle.dumps(stream.state_dict()) for stream in before}
        after = [open_stream(root, batch_size=3, rank=r, world_size=3) for r in range(3)]
        for stream in after:
            stream.load_state_dict(pickle.loads(state))
            stream.set_epoch(1)  # as a loop over epochs does; keeps the position
        rest = [
            list(DataLoader(stream, batch_size=None, num_workers=workers))
            for workers, stream in enumerate(after)
        ]
        assert len({len(batches) for batches in rest}) == 1
        assert (
            keys_of(consumed) + sorted(key for batches in rest for key in keys_of(batches))
            == truth.keys
        )


def test_resumed_twice_in_a_row_and_at_the_very_end(codec_roots, places):
    root, found, state = places["jpg"], [], None
    for num in (2, 1, 2, 0):
        stream = open_stream(root)
        if state is not None:
            stream.load_state_dict(state)
        batches = iter(stream)
        found += [next(batches) for _ in range(num)]
        state = stream.state_dict()
        batches.close()
    assert keys_of(found) == truth_of(codec_roots["jpg"]).keys
    assert (state["epoch"], state["position"]) == (0, 24)
    stream.load_state_dict(state)
    assert list(stream) == []
    assert keys_of(stream) == truth_of(codec_roots["jpg"], 1).keys


def test_a_state_counts_what_was_delivered_not_what_was_read_ahead(codec_roots):
    stream = open_stream(codec_roots["jpg"], batch_size=2, read_ahead=8)
    batches = iter(stream)
    for taken in range(1, 5):
        next(batches)
        assert stream.state_dict()["position"] == 2 * taken


def test_a_stock_loop_with_workers_states_its_number_of_batches(codec_roots, places):
    root = places["npy"]
    stream = open_stream(root)
    batches = iter(DataLoader(stream, batch_size=None, num_workers=2))
    first = [next(batches) for _ in range(3)]
    with pytest.raises(DreamshardsError, match=r"call state_dict\(batches=number of batches"):
        stream.state_dict()
    state = stream.state_dict(batches=3)
    assert state["position"] == 15
    with pytest.raises(DreamshardsError, match="batches = 6, but this pass has 5"):
        stream.state_dict(batches=6)
    resumed = open_stream(root)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    second = [next(iter(DataLoader(resumed, batch_size=None, num_workers=1)))]
    state = resumed.state_dict(batches=1)
    resumed.load_state_dict(state)
    assert keys_of([*first, *second, *resumed]) == truth_of(codec_roots["npy"]).keys


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stateful_loader_resumes_in_mid_epoch(codec_roots, places, num_workers):
    def loader(epoch: int = 0) -> tuple[ShardStream, StatefulDataLoader]:
        stream = open_stream(places["npy"], epoch=epoch)
        return stream, StatefulDataLoader(stream, batch_size=None, num_workers=num_workers)

    truth = truth_of(codec_roots["npy"], 1)
    for num in range(6) if "://" not in str(places["npy"]) else (3,):
        _, begun = loader(1)
        batches = iter(begun)
        taken = [next(batches) for _ in range(num)]
        state = pickle.loads(pickle.dumps(begun.state_dict()))
        del batches, begun
        stream, resumed = loader()
        resumed.load_state_dict(state)
        assert keys_of(taken) + keys_of(resumed) == truth.keys
        assert stream.epoch == 1 + (num_workers == 0)  # without workers it goes on by itself
        stream.set_epoch(2)
        assert keys_of(resumed) == truth_of(codec_roots["npy"], 0).keys


def test_a_stateful_loader_with_workers_keeps_to_its_batches_and_ranks(codec_roots):
    def loader(**options) -> StatefulDataLoader:
        stream = open_stream(codec_roots["npy"], **options)
        return StatefulDataLoader(stream, batch_size=None, num_workers=1)

    begun = loader()
    batches = iter(begun)
    next(batches)
    other = loader(batch_size=4)
    other.load_state_dict(begun.state_dict())
    batches._shutdown_workers()  # left to the garbage collector, it may wait for 5 s
    with pytest.raises(
        DreamshardsError, match="counts batches of 5 on 1 ranks, and these are batches of 4"
    ):
        next(iter(other))


@pytest.mark.slow
def test_states_of_another_root_or_too_many_ranks_are_refused(codec_roots):
    state = open_stream(codec_roots["npy"]).state_dict(batches=4)
    with pytest.raises(
        DreamshardsError, match=r"the state is of another root: digest [0-9a-f]{64}"
    ):
        open_stream(codec_roots["jpg"]).load_state_dict(state)
    many = open_stream(codec_roots["npy"], rank=0, world_size=5)
    with pytest.raises(DreamshardsError, match="the remaining 4 samples are fewer than 5 ranks"):
        many.load_state_dict(state)
    del state["position"]
    with pytest.raises(
        DreamshardsError, match="of one DataLoader worker; load it with the Stateful"
    ):
        open_stream(codec_roots["npy"]).load_state_dict(state)


# ── threads ──


def test_ahead_keeps_order_and_its_bounds():
    begun, taken, most = [], [], 0

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.001 * (item % 3))
        return item * item

    for result in ahead(work, range(40), depth=4, num_threads=3):
        taken.append(result)
        most = max(most, len(begun) - len(taken))
    assert taken == [i * i for i in range(40)]
    assert 1 <= most <= 4


def test_an_exception_reaches_the_consumer_in_its_place():
    def work(item: int) -> int:
        if item == 2:
            raise DreamshardsError("item 2")
        return item

    results = ahead(work, range(9), depth=5, num_threads=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(DreamshardsError, match="item 2"):
        next(results)
    assert not [thread for thread in threading.enumerate() if "ahead" in thread.name]


def test_abandoned_iterators_leave_no_thread(codec_roots):
    for finish in (lambda batches: batches.close(), lambda batches: None):
        batches = iter(open_stream(codec_roots["jpg"], batch_size=1))
        next(batches)
        assert [thread for thread in threading.enumerate() if "ahead" in thread.name]
        finish(batches)
        del batches
        assert not [thread for thread in threading.enumerate() if "ahead" in thread.name]


def test_a_process_that_ends_in_mid_pass_ends_at_once(codec_roots):
    script = (
        "import sys; from pipeline.stream import ShardStream; "
        "batches = iter(ShardStream(sys.argv[1], batch_size=1)); print(len(next(batches)))"
    )
    command = [sys.executable, "-c", script, str(codec_roots["jpg"])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_without_torch_the_import_says_what_to_install(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
    command = [sys.executable, "-c", "import pipeline.stream"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: pipeline.stream needs torch, which the base install leaves out; "
        "install dreamshards[train]"
    )
