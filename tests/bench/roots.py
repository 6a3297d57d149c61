"""What the streams read: roots of one epoch large enough to time, and their samples as peers take them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.executor import InlineExecutor
from pipeline.finish import finish
from pipeline.identity import inputs_identity, package_versions, recipe_hash
from pipeline.pending import plan_shards
from pipeline.pictures import open_pictures
from pipeline.recipe import load_recipe
from pipeline.sampling import Inputs
from pipeline.shards.codecs import npy_header
from pipeline.sources.images import Scaled
from pipeline.sources.source import ArraySource, Source
from pipeline.store import Root, open_store
from pipeline.worker import ShardContext, build_shard

LEAST_RAW, LEAST_JPEGS = 20_000, 2_000


class Repeated:
    """A source whose pictures come several times, so that one epoch is long enough to time."""

    def __init__(self, source: Source, least: int) -> None:
        self._source, self._num = source, len(source.labels)
        times = -(-least // self._num)
        self.class_names, self.skipped = source.class_names, source.skipped
        self.fingerprint = f"{source.fingerprint} x {times}"
        self.labels = np.tile(source.labels, times)
        self.heights, self.widths = np.tile(source.heights, times), np.tile(source.widths, times)
        names = [f"{name}-{turn}" for turn in range(times) for name in source.ids.to_pylist()]
        self.ids = pa.array(names, pa.string())

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        return self._source.read(index % self._num)

    def read_scaled(self, index: int, scale: int) -> Scaled:
        return self._source.read_scaled(index % self._num, scale)


def tiled(source: ArraySource, least: int) -> ArraySource:
    """Return a source of at least `least` pictures, each as often as it takes."""
    times = -(-least // len(source.labels))
    names = [f"{name}-{turn}" for turn in range(times) for name in source.ids.to_pylist()]
    return ArraySource.of(
        class_names=source.class_names,
        labels=np.tile(source.labels, times),
        ids=pa.array(names, pa.string()),
        pixels=np.tile(source.pixels, (times, 1, 1, 1)),
    )


def photographs() -> Inputs:
    """Return the published settings for 224 px JPEG on the two photographs inside scikit-learn."""
    from sklearn.datasets import load_sample_images

    recipe = load_recipe("image-folder", ["mixing_set.count=16"])
    assert recipe.mixing_set is not None
    pictures = open_pictures(recipe.mixing_set, InlineExecutor())
    source = ArraySource.of(
        class_names=["china", "flower"],
        labels=np.arange(2, dtype=np.int32),
        ids=pa.array(["china", "flower"], pa.string()),
        pixels=np.stack(load_sample_images().images),
    )
    return Inputs(recipe, source, pictures)


def build_root(inputs: Inputs, least: int, root: Root) -> int:
    """Build one epoch of at least `least` samples at `root`; return how many."""
    recipe = inputs.recipe.model_copy(update={"epochs": 1})
    source = inputs.source
    if len(source.labels) < least:
        source = cast(Source, Repeated(source, least))
    inputs = Inputs(recipe, source, inputs.pictures)
    identity = inputs_identity(inputs)
    context = ShardContext(inputs, recipe_hash(identity), open_store(root))
    for name in plan_shards(inputs):
        build_shard(context, name)
    begun = {
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": context.recipe_hash,
        "identity": identity,
        "versions": package_versions(recipe),
    }
    finish(context, begun, InlineExecutor())
    return len(source.labels)


def write_input(root: Path, folder: Path) -> None:
    """Write epoch 0 of a root as `tests/bench/peers.py prepare` takes it: payload bytes and labels."""
    folder.mkdir()
    labels, payloads, codec = [], [], "npy"
    for manifest in sorted(root.glob("epoch-0000/shard-*.parquet")):
        table = pq.read_table(manifest, columns=["offset", "size", "label"])
        content = memoryview(manifest.with_suffix(".tar").read_bytes())
        offsets, sizes = table["offset"].to_pylist(), table["size"].to_pylist()
        codec = bytes(content[:100]).rstrip(b"\0").decode().rpartition(".")[2]
        payloads += [
            content[start : start + size] for start, size in zip(offsets, sizes, strict=True)
        ]
        labels += table["label"].to_pylist()
    np.save(folder / "labels.npy", np.array(labels, np.int64))
    if codec == "npy":
        first = np.load(io.BytesIO(payloads[0]))
        skip = len(npy_header(first.shape))
        pixels = np.frombuffer(b"".join(payload[skip:] for payload in payloads), np.uint8)
        np.save(folder / "images.npy", pixels.reshape(-1, *first.shape))
    else:
        (folder / "jpegs.bin").write_bytes(b"".join(payloads))
        bounds = np.cumsum([0, *map(len, payloads)])
        np.save(folder / "offsets.npy", bounds.astype(np.int64))
