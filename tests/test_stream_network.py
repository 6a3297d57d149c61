"""Streams through a network that drops, cuts, stalls, truncates and alters: whole epochs, or one error."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.errors import DreamshardsError
from pipeline.store import s3 as s3_module
from pipeline.stream import ShardDataset, ShardStream
from tests.proxy import Answer, Corrupt, Cut, Drop, Proxy, Rule, Stall, Truncate
from tests.servers import BUCKET, Moto
from tests.stream_helpers import Truth, truth_of

pytestmark = pytest.mark.xdist_group("network")


@pytest.fixture(scope="module")
def truth(small_root: Path) -> Truth:
    return truth_of(small_root)


@pytest.fixture(scope="module")
def stored(moto: Moto, small_root: Path) -> str:
    """Return the prefix of the root in the bucket."""
    name = f"network-{random.SystemRandom().randrange(10**9)}"
    for path in small_root.rglob("*"):
        if path.is_file():
            key = f"{name}/{path.relative_to(small_root).as_posix()}"
            moto.client().upload_file(str(path), BUCKET, key)
    return name


@pytest.fixture
def proxy(moto: Moto) -> Iterator[Proxy]:
    with Proxy(moto.endpoint, seed=3) as proxy:
        yield proxy


def assert_epoch(batches, truth: Truth) -> None:
    batches = list(batches)
    assert [key for batch in batches for key in batch.keys] == truth.keys
    assert torch.cat([batch.labels for batch in batches]).tolist() == truth.labels
    assert np.array_equal(torch.cat([batch.images for batch in batches]).numpy(), truth.images)


def open_stream(proxy: Proxy, moto: Moto, stored: str, **options) -> ShardStream:
    uri = moto.full_uri(stored, proxy.endpoint)
    return ShardStream(uri, **{"batch_size": 100, "return_keys": True} | options)


FAULTS = {
    "cut": [Rule(Cut(100_000), path=".tar", times=6)],
    "drop": [Rule(Drop(), path=".tar", first=1, times=3)],
    "503": [Rule(Answer(503, "SlowDown"), path=".tar", times=3)],
    "500": [Rule(Answer(500, "InternalError"), path=".tar", first=2, times=2)],
    "short": [Rule(Truncate(5000), path=".tar", first=1, times=2)],
    "some of everything": [
        Rule(Cut(50_000), path=".tar", times=20, probability=0.5),
        Rule(Drop(), path=".tar", times=20, probability=0.2),
        Rule(Answer(503, "SlowDown"), path=".tar", times=20, probability=0.2),
    ],
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_epoch_is_whole_whatever_the_network_does(proxy, moto, stored, truth, name):
    stream = open_stream(proxy, moto, stored, read_ahead_bytes=2**20)
    proxy.add(*FAULTS[name])
    assert_epoch(stream, truth)
    assert any(request.fault for request in proxy.requests)


def test_workers_ranks_and_a_cache_get_it_whole_too(proxy, moto, stored, truth, tmp_path):
    proxy.add(Rule(Cut(50_000), path=".tar", probability=0.3))
    options = {"world_size": 2, "cache_dir": tmp_path, "cache_bytes": 2**22}
    loaders = [
        DataLoader(
            open_stream(proxy, moto, stored, rank=rank, **options), batch_size=None, num_workers=1
        )
        for rank in range(2)
    ]
    assert_epoch([batch for step in zip(*loaders, strict=True) for batch in step], truth)


def test_a_stall_in_mid_shard_is_outlasted(proxy, moto, stored, truth, monkeypatch):
    proxy.add(Rule(Stall(3, after=60_000), path=".tar", first=1, times=1))
    assert_epoch(open_stream(proxy, moto, stored, read_ahead_bytes=2**20), truth)
    assert [request.fault for request in proxy.requests].count(Stall(3, after=60_000)) == 1


def test_a_stall_without_end_is_cut_off(proxy, moto, stored, truth, monkeypatch):
    monkeypatch.setattr(s3_module, "_TIMEOUT_S", 0.5)
    proxy.add(Rule(Stall(600, after=60_000), path=".tar", times=3))
    begun = time.monotonic()
    assert_epoch(open_stream(proxy, moto, stored, read_ahead_bytes=2**20), truth)
    assert time.monotonic() - begun < 60
    stalled = [request for request in proxy.requests if request.fault]
    assert len(stalled) == 3
    for request in stalled:  # what its last step lacked is asked for again
        stop = request.range.rpartition("-")[2]
        again = [each for each in proxy.requests if each.path == request.path and not each.fault]
        assert sum(each.range.endswith(f"-{stop}") for each in again) == 1


def test_samples_come_whole_through_a_bad_network(proxy, moto, stored, truth):
    dataset = ShardDataset(moto.full_uri(stored, proxy.endpoint), return_keys=True)
    proxy.add(Rule(Cut(300), path=".tar", probability=0.3), Rule(Drop(), path=".tar", times=2))
    order = random.Random(1).sample(range(len(truth.keys)), 40)
    samples = dataset.__getitems__(order)
    assert [sample.key for sample in samples] == [truth.keys[i] for i in order]
    assert np.array_equal(torch.stack([s.image for s in samples]).numpy(), truth.images[order])


def test_an_altered_byte_is_found(proxy, moto, stored):
    stream = open_stream(proxy, moto, stored)
    proxy.add(Rule(Corrupt(200), path=".tar", times=1))
    with pytest.raises(DreamshardsError, match=r"\.tar: sample 0000-\d+ has CRC-32"):
        list(stream)


def test_a_network_that_comes_back_is_outlasted(proxy, moto, stored, truth):
    stream = open_stream(proxy, moto, stored, read_ahead_bytes=2**19)
    batches = iter(stream)
    taken = [next(batches)]
    proxy.cut()
    timer = threading.Timer(1.0, proxy.mend)
    timer.start()
    assert_epoch([*taken, *batches], truth)
    timer.join()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_dead_store_is_one_error_within_the_patience(
    proxy, moto, stored, truth, num_workers, monkeypatch
):
    monkeypatch.setenv("DREAMSHARDS_STORE_PATIENCE_S", "2")
    stream = open_stream(proxy, moto, stored, batch_size=50, read_ahead_bytes=2**18)
    loader = DataLoader(stream, batch_size=None, num_workers=num_workers)
    batches = iter(loader)
    keys = list(next(batches).keys)
    proxy.cut()
    begun = time.monotonic()
    with pytest.raises(DreamshardsError) as error:
        keys.extend(key for batch in batches for key in batch.keys)
    assert time.monotonic() - begun < 60
    if num_workers:
        batches._shutdown_workers()
    assert keys == truth.keys[: len(keys)]  # what came before it came whole and in order
    message = str(error.value)
    assert f"s3://{BUCKET}/{stored}/epoch-0000/shard-00000" in message
    assert "(met at sample 0000-0000" in message
    assert moto.secret_key not in message
