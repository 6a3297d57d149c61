"""Builds on a Ray cluster, into a real object store, with anything killed at any moment; `make soak`.

Each build is started again by the same command until it is complete, and is then compared with one that
nothing disturbed. The kills, and the moments as far as they can be chosen, follow from the seed.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from tests.cluster import ROOT, Cluster
from tests.servers import BUCKET, KINDS, Server, serve, wait_until

RECIPES = {
    "small": ("epochs=6", "mixing_set.count=8", "shards.samples_per_shard=60"),
    "large": (
        "epochs=6",
        "mixing_set.count=8",
        "transform.size=64",
        "transform.padding=16",
        "shards.samples_per_shard=720",
    ),
}
"""144 shards, each one request; and 12 shards of 9 MB, each an upload in two parts."""

WEIGHTS = {"worker": 12, "node": 6, "store": 5, "driver": 3, "head": 1}
_MAX_AT_ONCE = 3
_STRIKES_A_BUILD = 10
_LAST = re.compile(
    r"^dreamshards: error: (.*; run the same command to go on|no Ray cluster answers at .*)\n\Z",
    re.MULTILINE,
)
_PATIENCE_S = 240
"""A driver that neither ends nor goes on for so long hangs."""


@dataclass
class Report:
    """What was done and seen.

    Attributes:
        kills: by what was killed.
        ends: of drivers, by exit code; negative is the signal that killed it.
        seconds: in all.
    """

    kills: Counter[str] = field(default_factory=Counter)
    ends: Counter[int] = field(default_factory=Counter)
    builds: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        ends = ", ".join(f"{code}: {count}" for code, count in sorted(self.ends.items()))
        return (
            f"{self.kills.total()} kills ({kills}) in {self.builds} builds, each in the end "
            f"byte-identical to an undisturbed one; drivers by exit code {ends}; {self.seconds:.0f} s"
        )


class Soak:
    """Kills what takes part in builds."""

    def __init__(self, server: Server, cluster: Cluster, seed: int, folder: Path) -> None:
        """Take over a running server and cluster; `folder` takes the drivers' output."""
        self.server, self.cluster, self.folder = server, cluster, folder
        self.chance = random.Random(seed)
        self._client = server.client()
        self.report = Report()

    def build(self, recipe: str, num_strikes: int, expected: dict[str, str]) -> None:
        """Build a recipe, strike so often, and hold the root against the expected tree.

        Raises:
            AssertionError: it is another, or the driver ended without saying how to go on.
        """
        prefix = f"soak-{self.report.builds}-{recipe}"
        kills = [self._kinds() for _ in range(num_strikes)]
        while True:
            code = self._drive(prefix, recipe, kills)
            self.report.ends[code] += 1
            if code == 0:
                break
        self._check(prefix, expected)
        self.report.builds += 1

    def _kinds(self) -> list[str]:
        num = self.chance.choice([1] * 4 + [2, _MAX_AT_ONCE])
        return self.chance.choices(list(WEIGHTS), list(WEIGHTS.values()), k=num)

    def _drive(self, prefix: str, recipe: str, kills: list[list[str]]) -> int:
        """Run the command once, killing as long as there is something left to; return its exit code."""
        log = self.folder / f"{prefix}.log"
        with log.open("w") as output:
            driver = subprocess.Popen(
                self.command(prefix, recipe),
                cwd=ROOT,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.server.environment},
            )
        try:
            while kills and self._wait(prefix, driver):
                self._strike(kills.pop(), driver)
            code = driver.wait(_PATIENCE_S)
        finally:
            driver.kill()
        if code not in (0, -signal.SIGKILL):  # which may come before it has said anything
            assert code in (1, -signal.SIGABRT), log.read_text()  # by which Ray ends a process
            wait_until(lambda: _LAST.search(log.read_text()) is not None, log.read_text)
        return code

    def command(self, prefix: str, recipe: str) -> list[str]:
        """Return the command of a build."""
        build = [sys.executable, "-m", "pipeline.cli", "build", "digits", "--set", *RECIPES[recipe]]
        return [*build, "--out", self.server.uri(prefix), "--ray-address", self.cluster.address]

    def _wait(self, prefix: str, driver: subprocess.Popen[bytes]) -> bool:
        """Wait for a moment: most are some shards further on; tell whether the driver still runs."""
        work = self.chance.random() < 0.8
        target = self._num_objects(prefix) + self.chance.randrange(1, 40)
        deadline = time.monotonic() + (20 if work else self.chance.uniform(0, 6))
        while driver.poll() is None and time.monotonic() < deadline:
            if work and self._num_objects(prefix) >= target:
                break
            time.sleep(0.1)
        time.sleep(self.chance.uniform(0, 0.05))
        return driver.poll() is None

    def _num_objects(self, prefix: str) -> int:
        try:
            found = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=BUCKET, Prefix=f"{prefix}/"
            )
            return sum(page["KeyCount"] for page in found)
        except (BotoCoreError, ClientError):
            return 0

    def _strike(self, kinds: list[str], driver: subprocess.Popen[bytes]) -> None:
        """Kill all of these at once, then put up again what was killed, but for the driver."""
        for kind in kinds:
            if self._kill(kind, driver):
                self.report.kills[kind] += 1
        time.sleep(self.chance.uniform(0, 1))
        if not self.server.processes():
            self.server.restart()
        if "head" in kinds:
            self.cluster.start()
        while len(self.cluster.nodes()) < self.cluster.num_nodes:
            self.cluster.add_node()

    def _kill(self, kind: str, driver: subprocess.Popen[bytes]) -> bool:
        """Kill something; tell whether it was there."""
        if kind == "store":
            self.server.kill()
        elif kind == "head":
            self.cluster.kill()
        elif kind == "driver":
            if driver.poll() is not None:
                return False
            driver.kill()
        else:
            victims = self.cluster.workers() if kind == "worker" else self.cluster.nodes()
            if not victims:
                return False
            self.chance.choice(victims).kill()
        return True

    def _check(self, prefix: str, expected: dict[str, str]) -> None:
        gc = [sys.executable, "-m", "pipeline.cli", "gc", self.server.uri(prefix)]
        environment = {**os.environ, **self.server.environment}
        command = [*gc, "--older-than", "0s"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        assert self.server.uploads(prefix) == []
        found = self.server.tree(prefix)
        assert found.keys() == expected.keys(), sorted(found.keys() ^ expected.keys())
        assert found == expected, [name for name in found if found[name] != expected[name]]
        for name in found:
            self._client.delete_object(Bucket=BUCKET, Key=f"{prefix}/{name}")


def undisturbed(overrides: Sequence[str], folder: Path) -> dict[str, str]:
    """Return the tree of a build of the digits in this process."""
    from pipeline.build import build
    from pipeline.executor import InlineExecutor
    from pipeline.recipe import load_recipe
    from tests.conftest import tree

    build(load_recipe("digits", overrides), folder / "r", InlineExecutor())
    return tree(folder / "r")


def main() -> None:
    """Kill as often as asked; print a line a build, and a report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", choices=["Ceph", "Swift"], default="Ceph")
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as text:
        folder = Path(text)
        expected = {
            name: undisturbed(overrides, folder / name) for name, overrides in RECIPES.items()
        }
        with serve(KINDS[options.store], folder / "server") as server, Cluster(3) as cluster:
            soak = Soak(server, cluster, options.seed, folder)
            report = soak.report
            while report.kills.total() < options.kills:
                recipe = list(RECIPES)[report.builds % len(RECIPES)]
                soak.build(recipe, _STRIKES_A_BUILD, expected[recipe])
                report.seconds = time.monotonic() - begun
                print(f"seed {options.seed}, {options.store}: {report}", flush=True)


if __name__ == "__main__":
    main()
