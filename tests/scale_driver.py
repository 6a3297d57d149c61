"""A driver in a process of its own, of a build whose shards are only said to be made: what it takes.

Takes a number of epochs, of 1,000 shards each, and a share of them that are there; prints JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.build import build
from pipeline.executor import InlineExecutor
from pipeline.finish import FinishedEpoch
from pipeline.recipe import load_recipe
from pipeline.shards.layout import ShardName
from pipeline.store import Entry, LocalStore
from pipeline.worker import ShardResult

SHARDS = 1000
PAGE = 1000
MEGABYTE = 2**20


class Listed(LocalStore):
    """A folder that lists shards which are not there, page by page, and counts what is asked of it."""

    def __init__(self, folder: Path, num_epochs: int) -> None:
        super().__init__(folder)
        self.num_epochs, self.asked = num_epochs, 0

    def entries(self, folder: str = "") -> Iterator[Entry]:
        self.asked += 1
        if not super().exists("recipe.json"):
            return
        numbers = (
            (e, s, kind) for e in range(self.num_epochs) for s in range(SHARDS) for kind in (0, 1)
        )
        for number, (epoch, shard, kind) in enumerate(numbers):
            self.asked += number % PAGE == 0 and number > 0
            name = ShardName(epoch, shard, 0, 0)
            yield Entry(name.manifest if kind else name.tar, 1, 0)

    def exists(self, path: str) -> bool:
        self.asked += 1
        return super().exists(path)

    def read(self, path: str) -> bytes:
        self.asked += 1
        return super().read(path)

    def write(self, path: str, content: bytes | bytearray | memoryview) -> None:
        self.asked += 1
        super().write(path, content)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Said(InlineExecutor):
    """Says of shards and epochs that they were made; notes what was asked of the store before the first."""

    def __init__(self, store: Listed) -> None:
        self.store, self.asked_before = store, 0

    def map(
        self, function: Callable[[Any, Any], Any], shared: Any, jobs: Iterable[Any]
    ) -> Iterator[Any]:
        said = {"build_shard": self.shard, "finish_epoch": self.epoch}.get(function.__name__)
        for job in jobs:
            yield function(shared, job) if said is None else said(job)

    def shard(self, name: ShardName) -> ShardResult:
        self.asked_before = self.asked_before or self.store.asked
        return ShardResult(name, 1, 0, 0.0, 0)

    def epoch(self, epoch: int) -> FinishedEpoch:
        numbers, digests = np.ones((2, SHARDS), np.int64), np.zeros((2, SHARDS, 32), np.uint8)
        return FinishedEpoch(epoch, "0" * 64, *numbers, *digests, losses=[])


def main(num_epochs: int, num_found: int) -> None:
    fields = [f"epochs={num_epochs}", f"source.count={SHARDS}", "shards.samples_per_shard=1"]
    fields += ["source.size=8", "transform.size=8"]
    with tempfile.TemporaryDirectory() as folder:
        store = Listed(Path(folder, "r"), num_found)
        recipe = load_recipe("anomalies-gaussian", fields)
        executor = Said(store)
        report = build(recipe, store, executor)
        num_bytes = Path(folder, "r/dataset.json").stat().st_size
    print(
        json.dumps(
            {
                "shards": report.num_shards,
                "built": report.num_built,
                "asked_before_the_first": executor.asked_before,
                "peak_mb": peak() / MEGABYTE,
                "dataset_json_mb": num_bytes / MEGABYTE,
                "seconds": report.seconds,
            }
        )
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
