"""Clusters of several nodes: jobs are spread, follow the nodes that come and go, and are lost with none."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.executor import Crashed
from pipeline.executor.versions import source_digest
from tests import cluster_lab
from tests.cluster_lab import Lab

pytestmark = pytest.mark.xdist_group("nodes")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with cluster_lab.lab(tmp_path_factory.mktemp("lab"), {"num_cpus": 2}, {"num_cpus": 2}) as lab:
        yield lab


def test_jobs_are_spread_over_the_nodes(lab: Lab) -> None:
    found = lab.run(cluster_lab.run_where, 0.2, 16)
    assert [job for job, _ in found] == list(range(16))
    counts = Counter(node for _, node in found).values()
    assert len(counts) == 2
    assert min(counts) >= 4


def test_what_is_shared_is_one_copy_on_each_node(lab: Lab) -> None:
    found = lab.run(cluster_lab.run_mapped)
    assert len({process for _, process, _, _ in found}) == 4
    copies = {(node, file, offset) for node, _, file, offset in found}
    assert len(copies) == len({node for node, _, _ in copies}) == 2


def test_every_node_is_asked_once_the_head_too(lab: Lab) -> None:
    found, failed, up = lab.run(cluster_lab.run_on_every_node)
    assert len(up) == 3
    assert sorted(node for _, node, _ in found.values()) == sorted(up)
    assert {(shared, digest) for shared, _, digest in found.values()} == {(2, source_digest())}
    for name, (_, node, _) in found.items():
        assert name.endswith(f"({node[:8]})")
    assert {name: str(error) for name, error in failed.items()} == dict.fromkeys(
        found, "not on this node"
    )


def test_a_fault_of_one_node_sends_its_jobs_to_the_others(lab: Lab) -> None:
    found, bad = lab.run(cluster_lab.run_faults, False)
    assert sorted(job for job, _ in found) == list(range(12))
    assert bad not in {node for _, node in found}


def test_a_fault_of_every_node_is_met_ten_times_and_then_told(lab: Lab) -> None:
    found, _ = lab.run(cluster_lab.run_faults, True)
    expected = [
        Crashed(job, f"Ray lost a job 10 times (job {job} found no room)") for job in range(12)
    ]
    assert sorted(found, key=lambda crashed: crashed.job) == expected


@pytest.mark.slow
def test_jobs_lost_with_their_node_run_again_on_others(lab: Lab) -> None:
    found, lost = lab.run(cluster_lab.run_with_a_node_lost)
    assert [job for job, _ in found] == list(range(40))
    assert 1 <= sum(node == lost for _, node in found) <= 8


def test_a_node_that_joins_gets_jobs_and_more_are_drawn_for_it(lab: Lab) -> None:
    found, drawn_before, joined = lab.run(cluster_lab.run_with_a_node_gained)
    assert [job for job, _ in found] == list(range(60))
    assert drawn_before <= 4 + 16 + 1
    assert joined in {node for _, node in found}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("servers", "said"),
    [
        (
            ("gcs_server", "raylet"),
            r"the head of the Ray cluster at \S+ has not answered for \d+ s",
        ),
        (
            ("raylet",),  # where Ray is the first to notice, it ends the process at once
            r"Ray on this machine is gone \(its raylet died\)|this process was ended by .*",
        ),
    ],
)
def test_a_build_ends_in_one_line_when_the_head_is_lost_and_goes_on_elsewhere(
    servers: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    script = (
        "import sys; from pipeline.executor import cluster; cluster.HEAD_PATIENCE_S = 3; "
        "from pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    root = tmp_path / "r"
    build = ["build", "digits", "--out", str(root)]
    build += ["--set", "epochs=1", "mixing_set.count=8", "shards.samples_per_shard=6"]
    with cluster_lab.lab(tmp_path, connect=False, num_cpus=1) as lab:
        command = [
            sys.executable,
            "-c",
            script,
            *build,
            "--ray-address",
            lab.run(cluster_lab.address),
        ]
        process = subprocess.Popen(
            command, cwd=cluster_lab.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while not list(root.glob("epoch-*/shard-*.parquet")) and process.poll() is None:
            time.sleep(0.02)
        lab.run(cluster_lab.kill_of_head, *servers)
        output, errors = process.communicate(timeout=240)
    assert (process.returncode, output) == (1, ""), errors
    last = errors.strip().splitlines()[-1]
    go_on = "what is committed is kept; run the same command to go on"
    assert re.fullmatch(f"dreamshards: error: ({said}).*; {go_on}", last), errors
    made = set(root.glob("epoch-*/shard-*.tar"))
    stamps = {path: path.stat().st_mtime_ns for path in made}
    assert main([*build, "--inline"]) == 0
    assert {path: path.stat().st_mtime_ns for path in made} == stamps


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with this package, one line of it changed."""
    folder = tmp_path_factory.mktemp("edited")
    skip = shutil.ignore_patterns("__pycache__")
    for package in ("pipeline", "tests"):
        shutil.copytree(cluster_lab.ROOT / package, folder / package, ignore=skip)
    with (folder / "pipeline" / "progress.py").open("a") as file:
        file.write("# changed\n")
    return folder


@pytest.mark.parametrize("late", [False, True])
def test_a_node_with_edited_code_is_refused_by_name(lab: Lab, edited: Path, late: bool) -> None:
    error, node = lab.run(cluster_lab.run_beside_another, edited, late)
    head, line, advice = error.splitlines()
    assert head == "the Ray cluster's nodes must run the same versions as this process:"
    here = f"here 0.1.0 (source {source_digest()})"
    found = re.fullmatch(
        r"  node \S+( \([0-9a-f]{8}\))?: dreamshards 0\.1\.0 \(source ([0-9a-f]{8})\), (.*)", line
    )
    assert found is not None, line
    assert found[1] == f" ({node[:8]})"
    assert found[2] != source_digest()
    assert found[3] == here
    assert advice.startswith("install the same wheel there, or send the code along")


def test_a_node_without_the_package_is_refused_by_name(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("raise ImportError('not installed')\n")
    error, node = lab.run(cluster_lab.run_beside_another, tmp_path, False)
    expected = f"({node[:8]}): dreamshards absent, here 0.1.0 (source {source_digest()})"
    assert error.splitlines()[1].endswith(expected)


def test_jobs_that_need_a_resource_wait_for_a_node_that_has_it_and_say_so(lab: Lab) -> None:
    found, spot, said = lab.run(cluster_lab.run_where_spot_joins_late)
    assert found == [(job, spot) for job in range(10)]
    # a node of an earlier test may not be known to be gone yet
    count, _, rest = said.removeprefix("waiting for a node: none of the ").partition(" ")
    assert 3 <= int(count) <= 5
    assert rest == "of the Ray cluster offers CPU 1, spot 0.5\n"


@pytest.mark.slow
def test_jobs_ended_for_want_of_memory_run_again_on_other_nodes(lab: Lab) -> None:
    found, short = lab.run(cluster_lab.run_where_memory_is_short, 1.0)
    assert [job for job, _ in found] == list(range(8))
    assert short not in {node for _, node in found}


@pytest.mark.slow
def test_a_runtime_environment_reaches_the_workers(lab: Lab) -> None:
    content = {"env_vars": {"DREAMSHARDS_TRIED": "yes"}}
    assert lab.run(cluster_lab.run_with_runtime_env, content, "DREAMSHARDS_TRIED") == "yes"
