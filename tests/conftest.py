"""Fixtures for every test: a private cache, a small finished root, one Ray cluster for the session."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Set before anything of the pipeline is imported. Compiled kernels are kept between sessions: they are
# named by their source. Mixing sets and scans are made anew in each.
_CACHE = tempfile.TemporaryDirectory(prefix="dreamshards-tests-")
os.environ["DREAMSHARDS_CACHE"] = _CACHE.name
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path.home() / ".cache" / "dreamshards" / "kernels"))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.pop("RAY_ADDRESS", None)
# Threads of several processes that wait for one another by spinning take ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pipeline.build import build  # noqa: E402
from pipeline.executor import InlineExecutor  # noqa: E402
from pipeline.recipe import load_recipe  # noqa: E402
from tests.servers import BUCKET, Ceph, Moto, Server, Swift, serve, shared_folder  # noqa: E402

SMALL = ("epochs=2", "mixing_set.count=24", "shards.samples_per_shard=500")
"""Overrides that make the digits preset two epochs of three shards."""

Runner = Callable[..., subprocess.CompletedProcess[str]]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that need the Ray cluster in one process, so that there is one cluster."""
    for item in items:
        if "ray_address" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished root of digits, 2 epochs × 3 shards; read it, never change it."""
    root = tmp_path_factory.mktemp("small") / "digits"
    build(load_recipe("digits", SMALL), root, InlineExecutor())
    return root


@pytest.fixture(scope="session")
def codec_roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return finished roots by codec, 2 epochs × 3 shards of 8 samples; read them, never change them."""
    from tests.stream_helpers import build_codecs

    return build_codecs(tmp_path_factory.mktemp("codecs"))


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Start one two-CPU Ray cluster for the session and return its address."""
    import ray

    context = ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield context.address_info["gcs_address"]
    ray.shutdown()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """Run a mock S3 server, one for all test processes; never kill it."""
    with serve(Moto, shared_folder("moto", tmp_path_factory)) as server:
        yield server


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """Run Ceph's S3 gateway, one for all test processes; never kill it."""
    with serve(Ceph, shared_folder("ceph", tmp_path_factory)) as server:
        yield server


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """Run OpenStack Swift, one for all test processes; never kill it."""
    with serve(Swift, shared_folder("swift", tmp_path_factory)) as server:
        yield server


@pytest.fixture(params=["moto", "ceph", "swift"])
def any_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return each store server in turn, the environment of this process set to reach it."""
    server: Server = request.getfixturevalue(request.param)
    server.use(monkeypatch)
    return server


@pytest.fixture(scope="session")
def codec_uris(moto: Moto, codec_roots: dict[str, Path]) -> dict[str, str]:
    """Return the URIs of the roots by codec in an object store; read them, never change them."""
    return {codec: stored(moto, root) for codec, root in codec_roots.items()}


def stored(server: Server, root: Path) -> str:
    """Copy a root into a store; return its URI, with all that is needed to reach it."""
    client, prefix = server.client(), f"root-{uuid.uuid4().hex}"
    for path in sorted(each for each in root.rglob("*") if each.is_file()):
        client.upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(root).as_posix()}")
    return server.full_uri(prefix)


@pytest.fixture(params=["local", "remote"])
def places(request: pytest.FixtureRequest, codec_roots: dict[str, Path]) -> dict[str, Path | str]:
    """Return where the roots by codec are to be read: in folders, then in an object store."""
    return request.getfixturevalue("codec_uris") if request.param == "remote" else {**codec_roots}


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Return a prefix of a bucket that no other test has."""
    return f"{request.node.originalname}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def dreamshards(tmp_path: Path) -> Runner:
    """Return a function that runs the command in a process of its own, in `tmp_path`."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
        settings = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 300} | options
        return subprocess.run(command, check=False, **settings)  # type: ignore[call-overload]

    return run


def tree(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `root`, by relative path."""
    import hashlib

    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
