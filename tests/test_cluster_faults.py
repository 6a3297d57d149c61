"""Builds on several Ray nodes and into a store of their own lose nothing, whatever dies or is cut off."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster import ROOT, Cluster
from tests.namespaces import network
from tests.proxy import Proxy
from tests.servers import Moto, serve
from tests.soak import undisturbed

pytestmark = pytest.mark.xdist_group("cluster")

SMALL = ("epochs=2", "mixing_set.count=8", "shards.samples_per_shard=60")
"""48 shards."""


@pytest.fixture(scope="session")
def small_tree(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return undisturbed(SMALL, tmp_path_factory.mktemp("undisturbed"))


def driver(root: str, address: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline.cli", "build", "digits", "--set", *SMALL]
    return subprocess.Popen(
        [*command, "--out", root, "--ray-address", address],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait(process: subprocess.Popen[str], true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def puts(proxy: Proxy) -> list[str]:
    """Return the host of each shard's upload."""
    return [
        request.client
        for request in proxy.requests
        if request.method == "PUT" and "/epoch-" in request.path and request.status == 200
    ]


def test_a_node_cut_off_from_the_store_leaves_its_work_to_the_others(
    tmp_path: Path, small_tree: dict[str, str]
) -> None:
    with (
        network(num_hosts=2) as hosts,
        serve(Moto, tmp_path / "moto") as server,
        Proxy(server.endpoint, host=hosts.address("store")) as proxy,
        Cluster(0, hosts.address("ray")) as cluster,
    ):
        first, second = hosts.address("store", 1), hosts.address("store", 2)
        for host in (1, 2):
            with hosts.on(host):
                cluster.join(hosts.address("ray", host))

        def start(prefix: str) -> subprocess.Popen[str]:
            root = server.full_uri(prefix, proxy.endpoint)
            return driver(root, cluster.address, DREAMSHARDS_STORE_PATIENCE_S="2")

        process = start("cut")
        wait(process, lambda: {first, second} <= set(puts(proxy)))
        hosts.cut(1, "store")
        before = puts(proxy).count(first)
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
        assert puts(proxy).count(first) <= before + 2  # what was under way
        assert server.tree("cut") == small_tree

        hosts.mend(1, "store")
        proxy.clear()
        process = start("mended")
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
        assert set(puts(proxy)) >= {first, second}
        assert server.tree("mended") == small_tree
