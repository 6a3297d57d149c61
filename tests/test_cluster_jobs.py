"""The same build as a job of a cluster's own, and through Ray's client: the tree is that of a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.cluster import ROOT
from tests.conftest import tree
from tests.servers import Moto, free_ports
from tests.soak import RECIPES, undisturbed

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.slow]

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "dreamshards-" * 4}
"""Jobs may do anything on a cluster: Ray asks for a token."""
RAY = str(Path(sys.executable).with_name("ray"))


class Addresses(NamedTuple):
    """Where a cluster is reached: by jobs, and by Ray's client."""

    jobs: str
    client: str


@pytest.fixture(scope="module")
def cluster() -> Iterator[Addresses]:
    """Run a cluster as `ray start` makes one, its dashboard and its client's server included."""
    port = free_ports(6)
    folder = tempfile.mkdtemp(prefix="ray-")  # short: sockets lie in it
    options = {
        "port": port,
        "dashboard-port": port + 1,
        "ray-client-server-port": port + 2,
        "dashboard-agent-listen-port": port + 3,
        "dashboard-agent-grpc-port": port + 4,
        "runtime-env-agent-port": port + 5,
        "num-cpus": 2,
        "temp-dir": folder,
        "node-ip-address": "127.0.0.1",
    }
    command = [RAY, "start", "--head", "--block", "--include-dashboard=true"]
    process = subprocess.Popen(
        [*command, "--disable-usage-stats", *(f"--{name}={it}" for name, it in options.items())],
        env=os.environ | TOKEN,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    for line in process.stdout or ():
        said += line
        if "--block" in line:  # this command will now block until terminated
            break
    assert process.poll() is None, said
    try:
        yield Addresses(f"http://127.0.0.1:{port + 1}", f"ray://127.0.0.1:{port + 2}")
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        _, left = psutil.wait_procs(children, 20)
        for each in left:
            each.kill()
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return undisturbed(RECIPES["small"], tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the code without what git ignores."""
    for name in ("pipeline", "training", "evaluation", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, tmp_path / "checkout" / name)
    return tmp_path / "checkout"


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | TOKEN,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def submitted(
    cluster: Addresses, checkout: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Submit the command as a job, and follow it to its end."""
    command = [RAY, "job", "submit", "--address", cluster.jobs, "--working-dir", ".", "--"]
    command += ["env", *(f"{name}={value}" for name, value in environment.items())]
    command += [sys.executable, "-m", "pipeline.cli", *arguments]
    return run(command, checkout)


def test_a_submitted_job_makes_the_same_tree_and_brings_its_code(
    cluster: Addresses, checkout: Path, moto: Moto, prefix: str, expected: dict[str, str]
) -> None:
    build = ["build", "digits", "--out", moto.uri(prefix), "--set", *RECIPES["small"]]
    done = submitted(cluster, checkout, *build, **moto.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{moto.uri(prefix)}: complete; 6 epochs" in done.stdout
    assert "144 shards" in done.stdout
    assert moto.tree(prefix) == expected
    again = submitted(cluster, checkout, *build, **moto.environment)
    assert "nothing was left to do" in again.stdout


def test_a_job_that_fails_says_so_and_its_exit_code_too(cluster: Addresses, checkout: Path) -> None:
    done = submitted(cluster, checkout, "build", "digits", "--out", "s3://none", "--set", "epocs=1")
    assert done.returncode != 0
    assert "epocs: unknown field (did you mean 'epochs'?)" in done.stdout


def test_rays_client_makes_the_same_tree(
    cluster: Addresses, checkout: Path, tmp_path: Path, expected: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "build", "digits", "--set", *RECIPES["small"]]
    command += ["--out", str(tmp_path / "r"), "--ray-address", cluster.client]
    brought = tmp_path / "environment.yaml"
    brought.write_text(f"working_dir: {checkout}\nenv_vars: {{OMP_NUM_THREADS: '1'}}\n")
    command += ["--ray-runtime-env", str(brought)]
    done = run(command, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert tree(tmp_path / "r") == expected
