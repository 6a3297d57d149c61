"""Reading from an object store: a mock S3 server, its requests counted and its answers damaged; the cache."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
import torch
from moto.server import ThreadedMotoServer
from torch.utils.data import DataLoader

from pipeline.errors import DreamshardsError
from pipeline.shards.dataset import read_dataset
from pipeline.store import (
    LocalStore,
    MissingObjectError,
    RemoteStore,
    StoreError,
    open_store,
)
from pipeline.store.s3 import S3Store
from pipeline.stream import ShardStream
from tests.stream_helpers import truth_of
from tests.tiny import KEY, MERGED, ROW, SHARD_BYTES, TAR

BUCKET = "bucket"


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Start a mock S3 server for the session."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    settings = {
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture
def client(endpoint):
    """Return a client of the server, with an empty bucket."""
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket=BUCKET)
    yield client
    for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    client.delete_bucket(Bucket=BUCKET)


def upload(client, root: Path, prefix: str) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(root).as_posix()}")


def change(client, prefix: str, content: bytes | None, file: str = TAR) -> None:
    if content is None:
        client.delete_object(Bucket=BUCKET, Key=f"{prefix}/{file}")
    else:
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{file}", Body=content)


@pytest.fixture
def uris(client, codec_roots, endpoint) -> dict[str, str]:
    """Return the URIs of two roots in the bucket."""
    for codec in ("npy", "jpg"):
        upload(client, codec_roots[codec], codec)
    options = f"endpoint_override={endpoint.removeprefix('http://')}&scheme=http"
    return {codec: f"s3://{BUCKET}/{codec}?{options}" for codec in ("npy", "jpg")}


@pytest.fixture
def requests_of(monkeypatch) -> list[tuple[str, int, int]]:
    """Record each range that a remote store is asked for."""
    asked: list[tuple[str, int, int]] = []
    original = RemoteStore.read_range

    def read_range(self, path, start, num_bytes):
        asked.append((path, start, num_bytes))
        return original(self, path, start, num_bytes)

    monkeypatch.setattr(RemoteStore, "read_range", read_range)
    return asked


def open_stream(uri: str, **options) -> ShardStream:
    return ShardStream(uri, **{"batch_size": 5, "return_keys": True} | options)


def assert_epoch(batches, truth) -> None:
    batches = list(batches)
    assert np.array_equal(torch.cat([batch[0] for batch in batches]).numpy(), truth.images)
    assert torch.cat([batch[1] for batch in batches]).tolist() == truth.labels
    assert [key for batch in batches for key in batch[2]] == truth.keys


# ── reading ──


@pytest.mark.parametrize("read_ahead", [0, 1, 4])
@pytest.mark.parametrize("codec", ["npy", "jpg"])
def test_every_sample_is_that_of_the_local_root(uris, codec_roots, codec, read_ahead):
    stream = open_stream(uris[codec], read_ahead=read_ahead)
    for epoch in (0, 1):
        assert_epoch(stream, truth_of(codec_roots[codec], epoch))


STRIDE, PAYLOAD = 2048, 128 + 192
WHOLE_SHARDS = [
    (f"epoch-0000/shard-{shard:06d}.tar", 512, 7 * STRIDE + PAYLOAD) for shard in range(3)
]


@pytest.mark.parametrize("batch_size", [1, 5, 8, 24])
def test_no_byte_is_asked_for_twice_nor_by_batches(uris, requests_of, batch_size):
    list(open_stream(uris["npy"], batch_size=batch_size))
    assert sorted(requests_of) == WHOLE_SHARDS


def test_pieces_are_a_quarter_of_what_may_be_read_ahead(uris, requests_of, codec_roots):
    stream = open_stream(uris["npy"], read_ahead_bytes=4 * 3 * STRIDE)
    assert_epoch(stream, truth_of(codec_roots["npy"]))
    sizes = [num_bytes for _, _, num_bytes in sorted(requests_of)]
    assert sizes == [2 * STRIDE + PAYLOAD, 2 * STRIDE + PAYLOAD, STRIDE + PAYLOAD] * 3
    with pytest.raises(DreamshardsError, match="read_ahead_bytes = 0; allowed: whole numbers from"):
        open_stream(uris["npy"], read_ahead_bytes=0)


@pytest.mark.parametrize("num_pieces", [0, 1, 3])
def test_no_more_bytes_than_allowed_are_held_or_under_way(uris, requests_of, num_pieces):
    most = max(1, num_pieces * PAYLOAD)  # a piece is then of one sample
    stream = open_stream(uris["npy"], batch_size=1, read_ahead=0, read_ahead_bytes=most)
    for number, _ in enumerate(stream, 1):
        expected = min(24, max(number, number - 1 + num_pieces))
        deadline = time.monotonic() + 60
        while len(requests_of) < expected and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(requests_of) == expected


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_open_clients_of_their_own(uris, codec_roots, context):
    stream = open_stream(uris["jpg"])
    next(iter(stream))  # the client of this process is in use before it forks
    workers = 2 if context == "fork" else 1
    loader = DataLoader(
        stream, batch_size=None, num_workers=workers, multiprocessing_context=context
    )
    assert_epoch(loader, truth_of(codec_roots["jpg"]))


def test_resumes_in_mid_epoch(uris, codec_roots):
    stream = open_stream(uris["npy"])
    batches = iter(stream)
    taken = [next(batches), next(batches)]
    resumed = open_stream(uris["npy"], batch_size=3)
    resumed.load_state_dict(stream.state_dict())
    assert_epoch([*taken, *resumed], truth_of(codec_roots["npy"]))


# ── faults ──


@pytest.mark.parametrize("num_bytes", [0, 600, 7 * 2048 + 511])
def test_a_cut_object_names_object_and_key(uris, client, codec_roots, num_bytes):
    change(client, "npy", (codec_roots["npy"] / TAR).read_bytes()[:num_bytes])
    with pytest.raises(DreamshardsError) as error:
        list(open_stream(uris["npy"]))
    message = str(error.value)
    assert message.startswith(f"s3://bucket/npy/{TAR}: ")
    assert "(met at sample 0000-0000000" in message
    assert "endpoint" not in message


def test_a_missing_object_is_named_at_once(uris, client):
    change(client, "jpg", None)
    begun = time.monotonic()
    with pytest.raises(DreamshardsError) as error:
        list(open_stream(uris["jpg"]))
    assert (
        str(error.value) == f"s3://bucket/jpg/{TAR}: no such object (met at sample 0000-0000000008)"
    )
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("codec", ["npy", "jpg"])
def test_a_flipped_byte_is_found_unless_not_asked_for(uris, client, codec_roots, codec):
    content = bytearray((codec_roots[codec] / TAR).read_bytes())
    if codec == "npy":
        content[ROW * 2048 + 512 + 200] ^= 1
    else:
        content = bytearray(content.replace(b"JFIF", b"JFIG"))
    change(client, codec, bytes(content))
    with pytest.raises(DreamshardsError, match=r"shard-000001.tar: sample 0000-\d+ has CRC-32"):
        list(open_stream(uris[codec]))
    assert len(list(open_stream(uris[codec], check_crc=False))) == 5


def test_a_changed_npy_header_is_found_without_crc(uris, client, codec_roots):
    content = bytearray((codec_roots["npy"] / TAR).read_bytes())
    content[ROW * 2048 + 512] ^= 1
    change(client, "npy", bytes(content))
    with pytest.raises(DreamshardsError, match=f"sample {KEY} does not begin with the npy header"):
        list(open_stream(uris["npy"], check_crc=False))


def test_altered_manifests_and_missing_roots_are_refused(uris, client, endpoint, codec_roots):
    change(client, "npy", (codec_roots["npy"] / MERGED).read_bytes() + b"x", MERGED)
    with pytest.raises(DreamshardsError, match=f"s3://bucket/npy/{MERGED}: altered: SHA-256"):
        open_stream(uris["npy"])
    change(client, "jpg", None, "dataset.json")
    with pytest.raises(
        DreamshardsError, match=r"s3://bucket/jpg: no dataset\.json; the build is not"
    ):
        open_stream(uris["jpg"])
    with pytest.raises(
        DreamshardsError, match=r"s3://bucket/x: no dataset\.json; this is not the root"
    ):
        open_stream(uris["npy"].replace("/npy", "/x"))


def test_a_failed_read_is_tried_again_and_given_up_in_the_end(uris, monkeypatch):
    failures, original = [3], S3Store.ask_bytes

    def ask_bytes(self, path, piece):
        if failures[0] > 0:
            failures[0] -= 1
            raise ConnectionError("cut")
        original(self, path, piece)

    store = open_store(f"{uris['npy']}&patience_s=1")
    expected = store.read_range(TAR, 512, 320)
    monkeypatch.setattr(S3Store, "ask_bytes", ask_bytes)
    assert store.read_range(TAR, 512, 320) == expected
    failures[0] = 10**9
    with pytest.raises(StoreError, match=rf"{TAR}: the connection to .* was cut \(tried \d+ times"):
        store.read_range(TAR, 512, 320)


# ── stores ──


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_both_stores_read_alike(uris, codec_roots, kind):
    root = codec_roots["npy"]
    store = open_store(root if kind == "local" else uris["npy"])
    assert str(store) == (str(root) if kind == "local" else "s3://bucket/npy")
    content = (root / TAR).read_bytes()
    assert store.read(TAR) == content
    assert store.read_range(TAR, 700, 5) == content[700:705]
    assert store.exists(TAR)
    assert not store.exists("epoch-0000/x.tar")
    for read in (lambda: store.read("x"), lambda: store.read_range("x", 0, 1)):
        with pytest.raises(MissingObjectError, match=f"{store}/x: "):
            read()
    with pytest.raises(StoreError, match="ends after 7 of the 9 bytes from byte 17401 on"):
        store.read_range(TAR, SHARD_BYTES - 7, 9)
    assert read_dataset(store)["samples"] == 48


def test_names_of_stores_keep_secrets():
    store = open_store("s3://key:secret@bucket/a%20b/?region=eu")
    assert isinstance(store, RemoteStore)
    assert (str(store), store.address("x")) == ("s3://bucket/a b", "s3://bucket/a b/x")
    assert isinstance(open_store("file:///tmp/a%20b"), LocalStore)
    assert str(open_store("file:///tmp/a%20b")) == "/tmp/a b"


# ── cache ──


def test_a_second_pass_comes_from_the_cache(uris, codec_roots, tmp_path, requests_of):
    options = {"cache_dir": tmp_path / "cache", "cache_bytes": 10**6}
    truth = truth_of(codec_roots["npy"])
    for batch_size in (5, 3, 24):
        assert_epoch(open_stream(uris["npy"], batch_size=batch_size, **options), truth)
        assert sorted(requests_of) == WHOLE_SHARDS
    ranks = [open_stream(uris["npy"], rank=rank, world_size=3, **options) for rank in range(3)]
    found = [key for step in zip(*ranks, strict=True) for batch in step for key in batch.keys]
    assert found == truth.keys
    assert len(requests_of) == 3
    for number, path in enumerate((tmp_path / "cache").glob("*.tar-*")):
        content = bytearray(path.read_bytes())  # a damaged or cut entry is read again
        content[40] ^= 1
        path.write_bytes(content if number % 2 else content[:-9])
    assert_epoch(open_stream(uris["npy"], **options), truth)
    assert sorted(requests_of) == sorted(2 * WHOLE_SHARDS)


def test_what_the_store_has_wrong_is_not_kept(uris, client, codec_roots, tmp_path):
    options = {"cache_dir": tmp_path / "cache", "cache_bytes": 10**6}
    content = (codec_roots["npy"] / TAR).read_bytes()
    damaged = bytearray(content)
    damaged[ROW * 2048 + 512 + 200] ^= 1
    change(client, "npy", bytes(damaged))
    with pytest.raises(DreamshardsError, match=r"shard-000001.tar: sample 0000-\d+ has CRC-32"):
        list(open_stream(uris["npy"], **options))
    change(client, "npy", content)
    assert_epoch(open_stream(uris["npy"], **options), truth_of(codec_roots["npy"]))


def test_another_root_of_the_same_name_is_not_served(uris, client, codec_roots, tmp_path):
    options = {"cache_dir": tmp_path / "cache", "cache_bytes": 10**6}
    list(open_stream(uris["npy"], **options))
    upload(client, codec_roots["jpg"], "npy")
    assert_epoch(open_stream(uris["npy"], **options), truth_of(codec_roots["jpg"]))


def held(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_several_processes_share_a_cache(uris, codec_roots, tmp_path):
    folder = tmp_path / "cache"
    most = 2 * (7 * STRIDE + PAYLOAD + 4) + 16  # two shards of the three
    stream = open_stream(uris["npy"], batch_size=1, cache_dir=folder, cache_bytes=most)
    loader = DataLoader(stream, batch_size=None, num_workers=3)
    for _ in range(2):
        stream.set_epoch(0)
        assert_epoch(loader, truth_of(codec_roots["npy"]))
        assert held(folder) <= most
    assert [path.name for path in folder.iterdir() if path.name[0] == "."] == [".bytes"]


def test_wrong_cache_options_are_refused_and_a_full_disk_is_a_warning(uris, tmp_path, monkeypatch):
    for options in (
        {"cache_dir": tmp_path},
        {"cache_bytes": 9},
        {"cache_dir": "x", "cache_bytes": 0},
    ):
        with pytest.raises(DreamshardsError, match="give both, the limit from 1 byte"):
            open_stream(uris["npy"], **options)
    (tmp_path / "file").touch()
    with pytest.raises(DreamshardsError, match="choose a folder that can be written"):
        open_stream(uris["npy"], cache_dir=tmp_path / "file", cache_bytes=99)
    stream = open_stream(uris["npy"], cache_dir=tmp_path / "c", cache_bytes=9999, read_ahead=0)
    shutil.rmtree(tmp_path / "c")
    with pytest.warns(UserWarning, match="No such file or directory; reading on"):
        assert len(list(stream)) == 5
