"""One worker that makes many small epochs, in a process of its own: what it takes after each; prints JSON."""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from pipeline.build import build
from pipeline.executor import InlineExecutor
from pipeline.recipe import load_recipe

MEGABYTE = 2**20


class Weighed(InlineExecutor):
    """Notes what this process takes after each shard; there is one an epoch."""

    def __init__(self) -> None:
        self.mb_after: list[float] = []

    def map(
        self, function: Callable[[Any, Any], Any], shared: Any, jobs: Iterable[Any]
    ) -> Iterator[Any]:
        for result in super().map(function, shared, jobs):
            if function.__name__ == "build_shard":
                gc.collect()
                self.mb_after.append(psutil.Process().memory_info().rss / MEGABYTE)
            yield result


def main(num_epochs: int, codec: str) -> None:
    fields = [f"epochs={num_epochs}", "source.count=100", f"shards.codec={codec}"]
    fields += ["augmentation.family=pixmix", "mixing_set.kind=ifs", "mixing_set.count=8"]
    executor = Weighed()
    with tempfile.TemporaryDirectory() as folder:
        report = build(load_recipe("anomalies-gaussian", fields), Path(folder, "r"), executor)
    print(json.dumps({"epochs": report.num_built, "mb_after": executor.mb_after}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
