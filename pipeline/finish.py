"""Finishing a build: epoch manifests merged, every shard accounted for, dataset.json published last."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.ahead import ahead
from pipeline.errors import DreamshardsError
from pipeline.executor import Executor
from pipeline.pending import plan_epochs
from pipeline.recipe import Recipe
from pipeline.sampling import Inputs
from pipeline.shards.codecs import CODECS
from pipeline.shards.dataset import Json, write_table_sealed
from pipeline.shards.layout import (
    DATASET_NAME,
    FORMAT_VERSION,
    EpochShards,
    ShardName,
    epoch_folder,
    epoch_manifest,
    parse_file,
)
from pipeline.shards.manifest import Loss, read_rows, read_summary, write_epoch_manifest
from pipeline.store import Store, Writing
from pipeline.variants import sample_shape, variants
from pipeline.worker import ShardContext

_MANIFESTS_AHEAD, _THREADS = 16, 4
"""Manifests of shards that are held or asked for while an epoch's is written."""
_SHA256_BYTES = 32

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


class FinishedEpoch(NamedTuple):
    """What dataset.json says of an epoch.

    Attributes:
        epoch: its number.
        sha256: of its merged manifest.
        num_samples, num_bytes: int64 [num_shards], samples and bytes of each tar.
        tar_digests, manifest_digests: uint8 [num_shards, 32], SHA-256 of each shard's files.
        losses: the samples that could not be made, in order.
    """

    epoch: int
    sha256: str
    num_samples: I64
    num_bytes: I64
    tar_digests: U8
    manifest_digests: U8
    losses: list[Loss]


def finish(context: ShardContext, begun: Json, executor: Executor) -> Json:
    """Merge the manifests of each epoch, check every shard's size, and publish dataset.json.

    Args:
        begun: recipe.json, from which every driver takes what two of them might say in two ways.

    Returns:
        dataset.json without its list of shards.

    Raises:
        DreamshardsError: a committed shard is not of this build, or not whole.
    """
    epochs = plan_epochs(context.inputs)
    done = executor.map(finish_epoch, context, range(len(epochs)))
    finished = sorted(done, key=lambda one: one.epoch)
    content = _content(context.inputs, begun, finished)
    rows = partial(_shards, epochs, finished)
    digest = write_table_sealed(context.store, DATASET_NAME, content, "shards", rows)
    return {key: value for key, value in content.items() if key != "shards"} | {"digest": digest}


# ── one epoch: a job ──


def finish_epoch(context: ShardContext, epoch: int) -> FinishedEpoch:
    """Merge the manifests of an epoch's shards, some at a time.

    Raises:
        DreamshardsError: a committed shard is not of this build, or not whole.
    """
    store, shards = context.store, plan_epochs(context.inputs)[epoch]
    num = len(shards)
    digests = np.empty((2, num, _SHA256_BYTES), np.uint8)
    found = FinishedEpoch(
        epoch, "", np.empty(num, np.int64), _tar_bytes(store, shards), digests[0], digests[1], []
    )

    def tables() -> Iterator[pa.Table]:
        contents = ahead(lambda name: store.read(name.manifest), shards, _MANIFESTS_AHEAD, _THREADS)
        for name, content in zip(shards, contents, strict=True):
            _account(context, name, content, found)
            try:
                yield read_rows(content)
            except ValueError as error:
                raise _broken(store, name, str(error)) from error

    with store.create(epoch_manifest(epoch)) as file:
        hashed = _Hashed(file)
        write_epoch_manifest(cast(BinaryIO, hashed), tables())
    return found._replace(sha256=hashed.sha256.hexdigest())


def _tar_bytes(store: Store, shards: EpochShards) -> I64:
    """Return the size of each tar of an epoch, from a listing; -1 where there is none."""
    sizes = np.full(len(shards), -1, np.int64)
    for entry in store.entries(epoch_folder(shards.epoch)):
        place = parse_file(entry.path)
        if place is not None and place[2] == "tar" and place[1] < len(shards):
            sizes[place[1]] = entry.num_bytes
    return sizes


def _account(context: ShardContext, name: ShardName, manifest: bytes, found: FinishedEpoch) -> None:
    """Check a shard's manifest and size, and write down what dataset.json says of it."""
    store, size = context.store, int(found.num_bytes[name.shard])
    try:
        summary = read_summary(manifest)
    except ValueError as error:
        raise _broken(store, name, str(error)) from error
    if (
        summary.recipe_hash != context.recipe_hash
        or summary.num_samples + len(summary.losses) != name.stop - name.start
        or (summary.epoch, summary.shard) != (name.epoch, name.shard)
    ):
        raise _broken(store, name, "belongs to another build")
    if size != summary.tar_bytes:
        what = f"{size} bytes" if size >= 0 else "is missing"
        raise DreamshardsError(
            f"{store.address(name.tar)}: {what}, its manifest says {summary.tar_bytes}; {_advice(name)}"
        )
    found.num_samples[name.shard] = summary.num_samples
    found.losses.extend(summary.losses)
    found.tar_digests[name.shard] = _bytes_of(summary.tar_sha256)
    found.manifest_digests[name.shard] = _bytes_of(hashlib.sha256(manifest).hexdigest())


def _broken(store: Store, name: ShardName, what: str) -> DreamshardsError:
    return DreamshardsError(f"{store.address(name.manifest)}: {what}; {_advice(name)}")


def _advice(name: ShardName) -> str:
    return f"remove {name.manifest} and run the same command again to make the shard anew"


def _bytes_of(digest: str) -> U8:
    return np.frombuffer(bytes.fromhex(digest), np.uint8)


class _Hashed(io.RawIOBase):
    """An object being written, whose SHA-256 is known at the end."""

    def __init__(self, file: Writing) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, content: Any, /) -> int:
        self.sha256.update(content)
        return self._file.write(content)

    def tell(self) -> int:
        return self._file.tell()


# ── dataset.json ──


def _shards(epochs: Sequence[EpochShards], finished: Sequence[FinishedEpoch]) -> Iterator[Json]:
    for shards, of_epoch in zip(epochs, finished, strict=True):
        for name in shards:
            num = int(of_epoch.num_samples[name.shard])
            num_lost = name.stop - name.start - num
            yield {
                "file": name.tar,
                "samples": num,
                **({"lost": num_lost} if num_lost else {}),
                "bytes": int(of_epoch.num_bytes[name.shard]),
                "sha256": of_epoch.tar_digests[name.shard].tobytes().hex(),
                "manifest": name.manifest,
                "manifest_sha256": of_epoch.manifest_digests[name.shard].tobytes().hex(),
            }


def _content(inputs: Inputs, begun: Json, finished: Sequence[FinishedEpoch]) -> Json:
    recipe, source, pictures = inputs.recipe, inputs.source, inputs.pictures
    num_samples = len(source.labels)
    losses = [loss._asdict() for one in finished for loss in one.losses]
    skipped = [skip._asdict() for skip in source.skipped]
    mixing_set = None
    if pictures is not None:
        lost = [skip._asdict() for skip in pictures.skipped]
        mixing_set = {"pictures": len(pictures), "digest": pictures.digest, "skipped": lost}
    return {
        "format_version": FORMAT_VERSION,
        "name": begun["recipe"]["name"],
        "recipe_hash": begun["recipe_hash"],
        "recipe": begun["recipe"],
        "identity": begun["identity"],
        "classes": list(source.class_names),
        "epochs": recipe.epochs,
        "samples_per_epoch": num_samples,
        "samples": num_samples * recipe.epochs - len(losses),
        **({"losses": losses} if losses else {}),
        "sample": _sample(recipe),
        **_variants(recipe),
        "source": {"fingerprint": source.fingerprint, "skipped": skipped},
        "mixing_set": mixing_set,
        "bytes": sum(int(one.num_bytes.sum()) for one in finished),
        "manifests": [
            {"file": epoch_manifest(one.epoch), "sha256": one.sha256} for one in finished
        ],
        "shards": [],
        "versions": begun["versions"],
    }


def _sample(recipe: Recipe) -> Json:
    """Return what every sample is like; `shapes`, of each epoch, where clips differ in length."""
    sample = {
        "shape": list(sample_shape(recipe, 0)),
        "dtype": "uint8",
        "codec": recipe.shards.codec,
        "lossless": CODECS[recipe.shards.codec].lossless,
    }
    if recipe.augmentation.family == "perturbations":
        sample["shapes"] = [list(sample_shape(recipe, epoch)) for epoch in range(recipe.epochs)]
    return sample


def _variants(recipe: Recipe) -> Json:
    found = variants(recipe)
    return {} if found is None else {"variants": [variant._asdict() for variant in found]}
