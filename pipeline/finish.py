"""Finishing a build: epoch manifests merged, every shard accounted for, dataset.json published last."""

from __future__ import annotations

import hashlib
import io
import platform
from importlib.metadata import version
from itertools import groupby
from typing import Any

import pyarrow as pa

from pipeline.errors import DreamshardsError
from pipeline.identity import recipe_hash, uses_video
from pipeline.recipe import Recipe
from pipeline.sampling import Inputs
from pipeline.shards.codecs import CODECS
from pipeline.shards.dataset import Json, write_sealed
from pipeline.shards.layout import (
    DATASET_NAME,
    FORMAT_VERSION,
    ShardName,
    epoch_manifest,
)
from pipeline.shards.manifest import read_rows, read_summary, write_epoch_manifest
from pipeline.store import Store
from pipeline.variants import sample_shape, variants

_PACKAGES = ("dreamshards", "numba", "numpy", "pillow", "pyarrow", "ray", "simplejpeg")


def finish(store: Store, inputs: Inputs, identity: dict[str, Any], wanted: list[ShardName]) -> Json:
    """Merge the manifests of each epoch, check every shard's size, and publish dataset.json.

    Raises:
        DreamshardsError: a committed shard is not of this build, or not whole.
    """
    shards, epochs = [], []
    expected_hash = recipe_hash(identity)
    for epoch, names in groupby(wanted, key=lambda name: name.epoch):
        of_epoch = list(names)
        parts = [store.read(name.manifest) for name in of_epoch]
        for name, content in zip(of_epoch, parts, strict=True):
            shards.append(_shard_entry(store, name, content, expected_hash))
        rows = (_rows(store, *part) for part in zip(of_epoch, parts, strict=True))
        merged = io.BytesIO()
        write_epoch_manifest(merged, rows)
        store.write(epoch_manifest(epoch), merged.getbuffer())
        epochs.append({"file": epoch_manifest(epoch), "sha256": _sha256(merged.getbuffer())})
    return write_sealed(store, DATASET_NAME, _content(inputs, identity, shards, epochs))


def _advice(name: ShardName) -> str:
    return f"remove {name.manifest} and run the same command again to make the shard anew"


def _rows(store: Store, name: ShardName, manifest: bytes) -> pa.Table:
    try:
        return read_rows(manifest)
    except ValueError as error:
        raise DreamshardsError(
            f"{store.address(name.manifest)}: {error}; {_advice(name)}"
        ) from error


def _shard_entry(store: Store, name: ShardName, manifest: bytes, expected_hash: str) -> Json:
    advice = _advice(name)
    try:
        summary = read_summary(manifest)
    except ValueError as error:
        raise DreamshardsError(f"{store.address(name.manifest)}: {error}; {advice}") from error
    if summary.recipe_hash != expected_hash or summary.num_samples != name.stop - name.start:
        raise DreamshardsError(
            f"{store.address(name.manifest)}: belongs to another build; {advice}"
        )
    found = store.size(name.tar)
    if found != summary.tar_bytes:
        raise DreamshardsError(
            f"{store.address(name.tar)}: {found} bytes, its manifest says {summary.tar_bytes}; {advice}"
        )
    return {
        "file": name.tar,
        "samples": summary.num_samples,
        "bytes": summary.tar_bytes,
        "sha256": summary.tar_sha256,
        "manifest": name.manifest,
        "manifest_sha256": _sha256(manifest),
    }


def _content(
    inputs: Inputs, identity: dict[str, Any], shards: list[Json], epochs: list[Json]
) -> Json:
    recipe, source, pictures = inputs.recipe, inputs.source, inputs.pictures
    num_samples = len(source.labels)
    skipped = [skip._asdict() for skip in source.skipped]
    mixing_set = None
    if pictures is not None:
        lost = [skip._asdict() for skip in pictures.skipped]
        mixing_set = {"pictures": len(pictures), "digest": pictures.digest, "skipped": lost}
    return {
        "format_version": FORMAT_VERSION,
        "name": recipe.name,
        "recipe_hash": recipe_hash(identity),
        "recipe": recipe.model_dump(mode="json"),
        "identity": identity,
        "classes": list(source.class_names),
        "epochs": recipe.epochs,
        "samples_per_epoch": num_samples,
        "samples": num_samples * recipe.epochs,
        "sample": _sample(recipe),
        **_variants(recipe),
        "source": {"fingerprint": source.fingerprint, "skipped": skipped},
        "mixing_set": mixing_set,
        "bytes": sum(shard["bytes"] for shard in shards),
        "manifests": epochs,
        "shards": shards,
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in _packages(recipe)},
        },
    }


def _packages(recipe: Recipe) -> list[str]:
    """Return the packages whose versions may tell in a root's bytes."""
    return [*_PACKAGES, *(["av"] if uses_video(recipe) else [])]


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


def _sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
