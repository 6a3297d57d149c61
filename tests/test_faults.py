"""Builds that are killed, starved or cut off lose nothing, show nothing half-written, and go on."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.build import build
from pipeline.cli import main
from pipeline.executor import InlineExecutor
from pipeline.recipe import load_recipe
from pipeline.shards.manifest import read_summary
from tests.conftest import tree
from tests.kill_helpers import build_in_child

TINY = ("source.split=test", "epochs=1", "mixing_set.count=8", "shards.samples_per_shard=180")
LONG = ("epochs=6", "mixing_set.count=8", "shards.samples_per_shard=60")
"""6 epochs of 24 shards: some seconds of work to be killed in."""


@pytest.fixture(scope="module")
def long_tree(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("long") / "r"
    build(load_recipe("digits", LONG), root, InlineExecutor())
    return tree(root)


def assert_nothing_partial(root: Path) -> None:
    """Every file under a final name is whole, and every committed tar is what its manifest says."""
    for path in root.glob("epoch-*/*"):
        assert path.suffix in (".tar", ".parquet")
        if path.name.startswith("shard") and path.suffix == ".parquet":
            summary = read_summary(path.read_bytes())
            content = path.with_suffix(".tar").read_bytes()
            assert hashlib.sha256(content).hexdigest() == summary.tar_sha256
        elif path.suffix == ".tar":
            assert path.read_bytes()[-1024:] == bytes(1024)


def committed(root: Path) -> int:
    return len(list(root.glob("epoch-*/shard-*.parquet")))


@pytest.mark.slow
def test_killed_before_each_durable_step_and_resumed_gives_the_same_tree(tmp_path: Path) -> None:
    build(load_recipe("digits", TINY), tmp_path / "whole", InlineExecutor())
    expected = tree(tmp_path / "whole")
    for step in range(1, 100):
        root = tmp_path / f"killed-{step}"
        child = build_in_child(root, TINY, kill_at_step=step)
        child.join()
        if child.exitcode == 0:  # the build has fewer steps than this
            break
        assert child.exitcode == -signal.SIGKILL
        assert_nothing_partial(root)
        assert not (root / "dataset.json").exists() or tree(root).items() >= expected.items()
        build(load_recipe("digits", TINY), root, InlineExecutor())
        assert tree(root) == expected
    assert 12 < step < 99


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_gives_the_same_tree(
    tmp_path: Path, long_tree: dict[str, str]
) -> None:
    chance, root = random.Random(20), tmp_path / "r"
    for _ in range(8):
        target = committed(root) + chance.randrange(1, 16)  # 8 × 15 of 144 shards at most
        child = build_in_child(root, LONG)
        while committed(root) < target and child.exitcode is None:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.03))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert_nothing_partial(root)
    build(load_recipe("digits", LONG), root, InlineExecutor())
    assert tree(root) == long_tree


def start_on_ray(root: Path, address: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline.cli", "build", "digits", "--set", *LONG]
    command += ["--out", str(root), "--ray-address", address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(root: Path, num_committed: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while committed(root) < num_committed and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_driver_on_ray_killed_again_and_again_ends_in_the_same_tree(
    tmp_path: Path, long_tree: dict[str, str], ray_address: str
) -> None:
    root = tmp_path / "r"
    for kill in range(2):  # each start of a driver takes seconds; test_killed_at_random has many
        process = start_on_ray(root, ray_address)
        wait_for(root, committed(root) + 10 + 11 * kill, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (root / "dataset.json").exists()
    process = start_on_ray(root, ray_address)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert tree(root) == long_tree


def ray_workers() -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or [""]
        if line[0].startswith("ray::_call"):
            yield process


@pytest.mark.slow
def test_killed_workers_are_replaced_and_the_tree_is_the_same(
    tmp_path: Path, long_tree: dict[str, str], ray_address: str
) -> None:
    root, kills = tmp_path / "r", 0
    process = start_on_ray(root, ray_address)
    for target in (10, 40, 70, 100):
        wait_for(root, target, process)
        for worker in list(ray_workers())[:1]:
            os.kill(worker.pid, signal.SIGKILL)
            kills += 1
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert kills >= 2
    assert tree(root) == long_tree


def test_a_file_size_limit_met_in_mid_shard_is_one_clear_line(tmp_path: Path) -> None:
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)); "
        "from pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["build", "digits", "--inline", "--set", *TINY, "--out", "r"]
    command = [sys.executable, "-c", script, *arguments]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("dreamshards: error: cannot write")
    assert "File too large" in last
    assert not list(tmp_path.glob("r/epoch-*/*"))
    assert not list(tmp_path.glob("r/.partial/*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 1 MB; needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_clear_line_and_the_build_goes_on_once_there_is_room(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def build_at(name: str, *overrides: str) -> tuple[int, str]:
        arguments = ["build", "digits", "--inline", "--out", str(small_disk / name)]
        code = main([*arguments, "--set", *TINY, *overrides])
        return code, capsys.readouterr().err

    code, message = build_at("npy")
    assert code == 1
    assert "needs 1.84 MB more and its disk has" in message
    assert build_at("npy", "shards.codec=png")[1].count("another recipe's build") == 1
    png = ("shards.codec=png", "epochs=8")  # only npy's size is known beforehand
    code, message = build_at("png", *png)
    assert code == 1
    assert "No space left on device; free some space" in message
    assert_nothing_partial(small_disk / "png")
    subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    assert build_at("png", *png)[0] == 0
    assert main(["verify", str(small_disk / "png")]) == 0


def test_a_read_only_disk_is_one_clear_line(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert main(["build", "digits", "--inline", "--out", str(small_disk / "r")]) == 1
    expected = f"dreamshards: error: {small_disk} is not writable; give --out another folder\n"
    assert capsys.readouterr().err == expected
