"""What killed builds left behind and no build will use: half-written objects, shards that no root lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from pipeline.errors import DreamshardsError
from pipeline.shards.dataset import Json, read_sealed
from pipeline.shards.layout import DATASET_NAME, RECIPE_NAME, is_ours
from pipeline.store import LocalStore, Root, Store, open_store


@dataclass(frozen=True)
class Garbage:
    """One thing that is no part of a root.

    Attributes:
        path: below the root, of the object, or of the one that it was to be.
        what: `half-written`, or `not listed` by the dataset.json of a complete root.
        age_s: how long ago it was begun or last written.
        kept: whether it is younger than asked for, so that a build may be writing it.
    """

    path: str
    what: str
    age_s: float
    kept: bool


def collect(root: Root, older_than_s: float, *, dry_run: bool) -> Iterator[Garbage]:
    """Remove garbage and yield it, one after another; a `dry_run` removes nothing.

    Shards of a build that is not complete are no garbage, with or without their manifests: the same build
    command goes on from them. Of uploads only those are looked at whose names are a build's.

    Raises:
        DreamshardsError: another build is at work in the folder, or the store does not answer.
    """
    store = open_store(root)
    is_local = isinstance(store, LocalStore)
    if is_local and not store.exists(""):
        raise DreamshardsError(f"{store}: no such folder; give the root of a build")
    with store.claim("build") if is_local else nullcontext():
        for path, what, begun_ns, remove in _found(store):
            age_s = max(0.0, time.time() - begun_ns / 1e9)
            kept = age_s < older_than_s
            if not (kept or dry_run):
                remove()
            yield Garbage(path, what, age_s, kept)


def _found(store: Store) -> Iterator[tuple[str, str, int, Callable[[], None]]]:
    for leftover in store.leftovers():
        path = leftover.path
        if isinstance(store, LocalStore) or is_ours(path) or _is_of_a_root_below(path):
            yield path, "half-written", leftover.begun_ns, partial(store.discard, leftover)
    dataset = read_sealed(store, DATASET_NAME)
    if dataset is None:
        return
    listed = _listed(dataset)
    for entry in store.entries():
        if is_ours(entry.path) and entry.path not in listed:
            yield entry.path, "not listed", entry.modified_ns, partial(store.delete, entry.path)


def _is_of_a_root_below(path: str) -> bool:
    parts = path.split("/")
    return is_ours(parts[-1]) or is_ours("/".join(parts[-2:]))


def _listed(dataset: Json) -> set[str]:
    names = {DATASET_NAME, RECIPE_NAME}
    for shard in dataset["shards"]:
        names |= {shard["file"], shard["manifest"]}
    return names | {manifest["file"] for manifest in dataset["manifests"]}
