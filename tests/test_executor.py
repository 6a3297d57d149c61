"""Executors run every job once, raise what a job raised, and refuse an address that is not Ray's at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor, RayExecutor


def times(factor: int, job: int) -> int:
    return factor * job


def fail_on_three(shared: None, job: int) -> int:
    if job == 3:
        raise DreamshardsError("job 3 is bad")
    return job


def crash(shared: None, job: int) -> int:
    os._exit(1)


def address_of(array: np.ndarray, job: int) -> tuple[int, int, bool]:
    return os.getpid(), array.__array_interface__["data"][0], array.flags.writeable


def run_alone(folder: str, job: int) -> bool:
    lock = Path(folder, "running")
    lock.mkdir()  # fails if another job is at work
    time.sleep(0.05)
    lock.rmdir()
    return True


def modules(shared: None, job: int) -> list[str]:
    import pipeline.worker  # what a build's jobs import

    assert pipeline.worker
    return [name for name in ("torch", "sklearn", "webdataset") if name in sys.modules]


def test_every_job_runs_once(ray_address: str) -> None:
    for executor in (InlineExecutor(), RayExecutor(ray_address, 2)):
        with executor:
            assert sorted(executor.map(times, 3, range(50))) == [3 * job for job in range(50)]
            assert list(executor.map(times, 3, [])) == []


def test_a_jobs_own_exception_is_raised(ray_address: str) -> None:
    for executor in (InlineExecutor(), RayExecutor(ray_address, 2)):
        with executor, pytest.raises(DreamshardsError, match=r"^job 3 is bad$"):
            list(executor.map(fail_on_three, None, range(10)))


def test_jobs_are_drawn_as_workers_fall_free(ray_address: str) -> None:
    drawn = []

    def jobs() -> Iterator[int]:
        for job in range(40):
            drawn.append(job)
            yield job

    with RayExecutor(ray_address, 2) as executor:
        for count, _ in enumerate(executor.map(times, 1, jobs()), start=1):
            assert len(drawn) <= count + 2


def test_one_worker_of_a_larger_cluster_runs_one_job_at_a_time(
    ray_address: str, tmp_path: Path
) -> None:
    with RayExecutor(ray_address, 1) as executor:
        assert sum(executor.map(run_alone, str(tmp_path), range(10))) == 10


def test_a_job_that_kills_every_worker_ends_the_map_with_advice(ray_address: str) -> None:
    with RayExecutor(ray_address, 1) as executor, pytest.raises(DreamshardsError) as caught:
        list(executor.map(crash, None, [0]))
    assert str(caught.value).startswith("Ray lost a job 3 times (WorkerCrashedError: ")
    assert "run the same command to go on" in str(caught.value)


def test_a_shared_array_is_one_read_only_copy_for_all_jobs(ray_address: str) -> None:
    with RayExecutor(ray_address, 1) as executor:
        found = set(executor.map(address_of, np.zeros(10_000_000, np.uint8), range(6)))
    assert len(found) == len({process for process, _, _ in found})
    assert {writeable for _, _, writeable in found} == {False}


def test_workers_import_neither_torch_nor_scikit_learn(ray_address: str) -> None:
    with RayExecutor(ray_address, 1) as executor:
        assert list(executor.map(modules, None, [0])) == [[]]


def test_importing_the_pipeline_imports_neither_torch_nor_ray() -> None:
    code = (
        "import sys, pipeline.cli, pipeline.build, pipeline.verify, pipeline.preview; "
        "sys.exit(str([name for name in ('torch', 'ray') if name in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == "[]"


@pytest.mark.parametrize("address", ["nowhere", "host:", ":1", "host:port", "ray://x", ""])
def test_what_is_no_address_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        with pytest.raises(UsageError, match="allowed: auto, local, host:port or ray://host:port"):
            RayExecutor(address)
    else:
        assert RayExecutor(address).num_workers >= 1


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("reply", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_port_that_is_not_rays_is_refused_in_seconds(scheme: str, reply: bytes | None) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]

    def answer() -> None:
        peer, _ = server.accept()
        with peer:
            peer.recv(100)
            if reply is None:
                time.sleep(7)  # longer than the patience of the one who asks
            else:
                peer.sendall(reply)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(
        DreamshardsError, match=f"no Ray cluster answers at {scheme}127.0.0.1:{port}"
    ):
        RayExecutor(f"{scheme}127.0.0.1:{port}")
    assert time.monotonic() - begun < 7
    server.close()


def test_the_environments_address_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(DreamshardsError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        RayExecutor()


@pytest.mark.usefixtures("ray_address")
def test_tests_on_the_cluster_are_kept_in_one_process(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("loadgroup", False):
        pytest.skip("every test is in this process")
    assert request.node.nodeid.endswith("@ray")
