"""Builds on several Ray nodes and into a store of their own lose nothing, whatever dies or is cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.cluster import ROOT, Cluster
from tests.namespaces import network
from tests.proxy import Answer, Cut, CutRequest, Drop, Lose, Proxy, Rule
from tests.servers import Ceph, Moto, Swift, serve
from tests.soak import RECIPES, Soak, undisturbed

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.slow]


OVERRIDES = {**RECIPES, "many": ("epochs=12", *RECIPES["small"][1:])}
"""`many` has 288 shards."""


class Trees(dict[str, dict[str, str]]):
    """The trees of undisturbed builds, made when first asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, recipe: str) -> dict[str, str]:
        self[recipe] = undisturbed(OVERRIDES[recipe], self._folder / recipe)
        return self[recipe]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Trees:
    return Trees(tmp_path_factory.mktemp("undisturbed"))


def start(recipe: str, root: str, *options: str, **environment: str) -> subprocess.Popen[str]:
    """Start a build of the digits in a process of its own."""
    command = [sys.executable, "-m", "pipeline.cli", "build", "digits", "--out", root, *options]
    return subprocess.Popen(
        [*command, "--set", *OVERRIDES[recipe]],
        cwd=ROOT,
        env={**os.environ, "PYTHONFAULTHANDLER": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait(process: subprocess.Popen[str], true: Callable[[], bool]) -> None:
    """Wait until it is true; fail if the build ends before."""
    deadline = time.monotonic() + 300
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            process.send_signal(signal.SIGABRT)  # says where it hangs
            pytest.fail(f"it ended or hung: {process.communicate()[0]}")
        time.sleep(0.01)


def reaches(proxy: Proxy, path: str, num: int) -> bool:
    """Tell whether so many uploads have begun to what contains `path`."""
    return proxy.count("PUT", path) >= num


def succeeds(process: subprocess.Popen[str]) -> str:
    try:
        output, _ = process.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # says where it hangs
        output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


# ── one driver, in this process's place ──


@pytest.mark.parametrize("kind", [Ceph, Swift])
def test_a_server_killed_in_mid_upload_and_started_again_is_waited_for(
    kind: type[Ceph | Swift], tmp_path: Path, trees: Trees
) -> None:
    expected = trees["large"]
    with serve(kind, tmp_path / "server") as server, Proxy(server.endpoint) as proxy:
        process = start("large", server.full_uri("r", proxy.endpoint), "--inline")
        for num_parts in (1, 8):
            wait(process, partial(reaches, proxy, "partNumber", num_parts))
            server.kill()
            server.restart()
        succeeds(process)
        assert server.tree("r") == expected
        assert server.uploads("r") == []


def test_a_build_through_a_network_that_loses_much_makes_the_same(
    moto: Moto, prefix: str, trees: Trees
) -> None:
    expected = trees["small"]
    faults = [Drop(), Answer(503, "SlowDown"), Answer(500, "InternalError"), Lose(), CutRequest(9)]
    with Proxy(moto.endpoint, seed=3) as proxy:
        proxy.add(*(Rule(fault, probability=0.02) for fault in [*faults, Cut(20)]))
        process = start("small", moto.full_uri(prefix, proxy.endpoint), "--inline")
        wait(process, partial(reaches, proxy, "epoch-0003", 1))
        proxy.cut()
        proxy.mend()
        succeeds(process)
        struck = {type(request.fault) for request in proxy.requests if request.fault}
    assert struck >= {type(fault) for fault in faults}
    assert moto.tree(prefix) == expected


def test_a_store_that_does_not_come_back_ends_the_build_with_what_to_do(
    moto: Moto, prefix: str, trees: Trees
) -> None:
    expected = trees["small"]
    with Proxy(moto.endpoint) as proxy:
        root = moto.full_uri(prefix, proxy.endpoint)
        process = start("small", root, "--inline", DREAMSHARDS_STORE_PATIENCE_S="1")
        wait(process, partial(reaches, proxy, "epoch-0000/shard-000019.parquet", 1))
        proxy.add(Rule(Drop(), method="PUT", path="epoch-0000/shard-00002"))
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 1
        last = output.strip().splitlines()[-1]
        assert last.startswith(f"dreamshards: error: s3://bkt/{prefix}/")
        assert "was cut (tried " in last
        assert last.endswith("; what is committed is kept; run the same command to go on")
        assert moto.secret_key not in output
        proxy.clear()
        succeeds(start("small", root, "--inline"))
        assert proxy.count("PUT", "epoch-0000/shard-000019") == 0
        assert proxy.count("PUT", "epoch-0000/shard-000020") == 2
        assert moto.tree(prefix) == expected


# ── several nodes ──


def test_nothing_that_dies_costs_a_build_more_than_time(tmp_path: Path, trees: Trees) -> None:
    expected = {recipe: trees[recipe] for recipe in RECIPES}
    with serve(Ceph, tmp_path / "ceph") as server, Cluster(2) as cluster:
        soak = Soak(server, cluster, 8, tmp_path)
        while soak.report.kills.total() < 6 or soak.report.builds < len(RECIPES):
            recipe = list(RECIPES)[soak.report.builds % len(RECIPES)]
            soak.build(recipe, 4, expected[recipe])
    print(soak.report)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 1 MB; needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def puts(proxy: Proxy) -> list[str]:
    """Return the host of each shard's upload."""
    return [
        request.client
        for request in proxy.requests
        if request.method == "PUT" and "/epoch-" in request.path and request.status == 200
    ]


def test_a_node_without_store_or_room_leaves_its_work_to_the_others_until_it_has(
    tmp_path: Path, small_disk: Path, trees: Trees
) -> None:
    expected = trees["many"]  # the kernels are then compiled
    with (
        network(num_hosts=2) as hosts,
        serve(Moto, tmp_path / "moto") as server,
        Proxy(server.endpoint, host=hosts.address("store")) as proxy,
        Cluster(0, hosts.address("ray")) as cluster,
    ):
        first, second = hosts.address("store", 1), hosts.address("store", 2)
        for host, folder in ((1, small_disk), (2, tmp_path)):
            with hosts.on(host):
                cluster.join(hosts.address("ray", host), TMPDIR=str(folder))
        root = server.full_uri("r", proxy.endpoint)
        options = "--ray-address", cluster.address
        process = start("many", root, *options, DREAMSHARDS_STORE_PATIENCE_S="3")

        def num_made(host: str) -> int:
            return puts(proxy).count(host)

        def assert_the_second_works_alone() -> None:
            before = num_made(first), num_made(second)
            wait(process, lambda: num_made(second) >= before[1] + 40)
            assert num_made(first) <= before[0] + 4  # a tar and a manifest under way, and the next

        def assert_the_first_works_too() -> None:
            before = num_made(first)
            wait(process, lambda: num_made(first) >= before + 6)

        assert_the_first_works_too()
        hosts.cut(1, "store")
        assert_the_second_works_alone()
        hosts.mend(1, "store")
        assert_the_first_works_too()
        filler = small_disk / "filler"
        with filler.open("wb") as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        assert_the_second_works_alone()
        filler.unlink()
        assert_the_first_works_too()
        succeeds(process)
        assert server.tree("r") == expected
