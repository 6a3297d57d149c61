"""Reading from an object store: ours beside what one client of the same server gets, and beside webdataset.

The recipe's samples in five shards of 100 MB in Ceph's gateway, or in Swift where that is not installed, on
this machine. The bandwidth is that of one request a shard by pyarrow, whose bytes are only received: a rate
of samples is that of the bytes that hold them. webdataset reads the same shards through `pipe:curl`. Every
turn but webdataset's, which is stopped after some seconds, is a whole pass.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow.fs

from pipeline.sampling import Inputs
from pipeline.shards.codecs import npy_header
from pipeline.shards.dataset import read_dataset
from pipeline.stream import ShardStream
from pipeline.variants import sample_shape
from tests.bench.core import Pair, Row, Side, alternate, compare
from tests.bench.peers import turn
from tests.bench.roots import build_root
from tests.servers import BUCKET, Ceph, Server, Swift, serve

BATCH_SIZE = 128
SHARD_BYTES, NUM_SHARDS = 100_000_000, 5
WEBDATASET_S = 3.0
PREFIX = "bench"
OURS, CACHED = "ShardStream", "ShardStream, a second time from its cache"
BANDWIDTH, WEBDATASET = "one GET a shard", "webdataset, pipe:curl"
LEAST_SHARE = 0.8
"""Of the bandwidth of a single client."""


def measure(inputs: Inputs, rounds: int) -> list[Row]:
    """Return the rows of this section; samples must be raw pixels."""
    kind = next((each for each in (Ceph, Swift) if each.missing() is None), None)
    if kind is None:
        return rows_without(f"{Ceph.missing()}")
    folder = Path(tempfile.gettempdir()) / f"dreamshards-bench-{uuid.uuid4().hex}"  # goes by itself
    with tempfile.TemporaryDirectory() as cache, serve(kind, folder) as server:
        return _measure(inputs, rounds, server, Path(cache))


def rows_without(why: str) -> list[Row]:
    """Return the rows of this section where there is no server."""
    return compare(_pairs(), {}, {OURS: why, CACHED: why})


def _measure(inputs: Inputs, rounds: int, server: Server, cache: Path) -> list[Row]:
    root = server.full_uri(PREFIX)
    num_samples = build_root(*_sized(inputs), root)
    files = [entry["file"] for entry in read_dataset(root)["shards"]]
    cached: dict[str, Any] = {"cache_dir": cache, "cache_bytes": 2 * NUM_SHARDS * SHARD_BYTES}
    sides: dict[str, Side] = {
        OURS: _whole(num_samples, lambda: _drain(ShardStream(root, batch_size=BATCH_SIZE))),
        CACHED: _whole(
            num_samples, lambda: _drain(ShardStream(root, batch_size=BATCH_SIZE, **cached))
        ),
        BANDWIDTH: _whole(num_samples, lambda: _receive(server, files)),
    }
    missing = {} if shutil.which("curl") else {WEBDATASET: "curl is not installed"}
    if not missing:
        sides[WEBDATASET] = lambda: _rate(*turn(_webdataset(server, files), WEBDATASET_S))
    return compare(_pairs(), alternate(sides, rounds), missing)


def _pairs() -> list[Pair]:
    return [
        Pair(f"remote: {OURS}", OURS, BANDWIDTH, LEAST_SHARE),
        Pair(f"remote: {CACHED}", CACHED, BANDWIDTH, LEAST_SHARE),
        Pair(f"remote: {OURS}", OURS, WEBDATASET),
    ]


def _sized(inputs: Inputs) -> tuple[Inputs, int]:
    """Return inputs whose shards have about `SHARD_BYTES`, and the samples that fill them."""
    shape = sample_shape(inputs.recipe, 0)
    num_bytes = (
        len(npy_header(shape)) + shape[0] * shape[1] * shape[2] + 3 * 512
    )  # and two members' heads
    each = SHARD_BYTES // num_bytes
    shards = inputs.recipe.shards.model_copy(update={"samples_per_shard": each})
    return inputs._replace(recipe=inputs.recipe.model_copy(update={"shards": shards})), (
        each * NUM_SHARDS
    )


def _whole(num_samples: int, work: Callable[[], None]) -> Side:
    def run() -> float:
        begun = time.perf_counter()
        work()
        return _rate(num_samples, time.perf_counter() - begun)

    return run


def _rate(samples: int, seconds: float) -> float:
    return samples / seconds


def _drain(batches: Iterable[Any]) -> None:
    for _ in batches:
        pass


def _receive(server: Server, files: list[str]) -> None:
    store = pyarrow.fs.S3FileSystem(
        endpoint_override=server.endpoint.removeprefix("http://"),
        scheme="http",
        region="us-east-1",
        access_key=server.access_key,
        secret_key=server.secret_key,
    )
    for file in files:
        with store.open_input_file(f"{BUCKET}/{PREFIX}/{file}") as opened:
            opened.read()


def _webdataset(server: Server, files: list[str]) -> Iterable[Any]:
    import webdataset as wds

    client = server.client()
    urls = [
        client.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": f"{PREFIX}/{file}"})
        for file in files
    ]
    pipes = [f"pipe:curl -s -f '{url}'" for url in urls]
    samples = wds.WebDataset(pipes, shardshuffle=False).decode().to_tuple("npy", "cls")
    batches: Iterable[Any] = samples.batched(BATCH_SIZE)
    return batches
