"""Google's store, which pyarrow speaks, against an emulator of it."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.store import MissingObjectError, StoreError, UnreachableError, open_store
from pipeline.store.arrow import ArrowStore
from tests.conftest import tree
from tests.servers import free_ports, listens, wait_until

CONTENT = random.Random(0).randbytes((18 << 20) + 7)

SERVE = """
import http.server, sys
http.server.HTTPServer = http.server.ThreadingHTTPServer  # its own serves one connection at a time
from gcp_storage_emulator.__main__ import main
main(["start", "--host", "127.0.0.1", "--port", sys.argv[1], "--in-memory", "--default-bucket", "bkt"])
"""


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the emulator; return what makes a URI reach it."""
    port = free_ports(1)
    with (tmp_path_factory.mktemp("gs") / "log").open("wb") as log:
        command = [sys.executable, "-c", SERVE, str(port)]
        with subprocess.Popen(command, stdout=log, stderr=log) as server:
            wait_until(lambda: listens(port), "the emulator listens")
            yield f"endpoint=http://127.0.0.1:{port}&anonymous=true&patience_s=5"
            server.kill()


def opened(uri: str) -> ArrowStore:
    store = open_store(uri)
    assert isinstance(store, ArrowStore)
    return store


def test_objects_are_written_read_listed_and_deleted(options: str) -> None:
    store = opened(f"gs://bkt/p?{options}")
    assert str(store) == "gs://bkt/p"
    contents = {"a/x": b"hello", "a/e": b"", "large": CONTENT}
    for name, content in contents.items():
        with store.create(name) as file:
            file.write(content)
            file.send()
        assert store.read(name) == content
        assert store.size(name) == len(content)
    before = store.entry("large")
    with store.create("large") as file:
        file.write(CONTENT)
    assert store.entry("large") == before  # the same bytes: left alone
    assert store.read_range("large", 5, 17 << 20) == CONTENT[5 : 5 + (17 << 20)]
    assert store.read_range("large", len(CONTENT) - 3, 3) == CONTENT[-3:]
    assert sorted(store.entries()) == sorted(store.entry(name) for name in contents)
    assert [entry.path for entry in store.entries("a")] == ["a/e", "a/x"]
    with pytest.raises(MissingObjectError, match=r"^gs://bkt/p/none: no such object$"):
        store.read("none")
    with pytest.raises(StoreError, match="ends after 2 of the 9 bytes from byte 3 on"):
        store.read_range("a/x", 3, 9)
    with pytest.raises(KeyError), store.create("never"):
        raise KeyError
    assert not store.exists("never")
    store.check_writable()
    for entry in list(store.entries()):
        store.delete(entry.path)
    store.delete("large")
    assert list(store.entries()) == []


def test_a_build_is_the_one_in_a_folder(
    options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = ["digits", "--inline", "--set", "source.split=test", "epochs=1", "mixing_set.count=8"]
    root = f"gs://bkt/build?{options}"
    assert main(["build", *recipe, "--out", root]) == 0
    assert main(["verify", root]) == 0
    assert "360 samples in 1 shard as written" in capsys.readouterr().out
    assert main(["build", *recipe, "--out", "d"]) == 0
    store = opened(root)
    for entry in store.entries():
        path = tmp_path / "copy" / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.read(entry.path))
    assert tree(tmp_path / "copy") == tree(tmp_path / "d")


@pytest.mark.slow
def test_what_is_wrong_is_one_clear_error(options: str) -> None:
    with pytest.raises(StoreError, match="no bucket 'none'; make it, for example with `gcloud"):
        list(opened(f"gs://none/p?{options}").entries())
    dead = opened("gs://bkt/p?endpoint=http://127.0.0.1:1&anonymous=true&patience_s=1")
    with pytest.raises(UnreachableError, match=r"^gs://bkt/p/x: .*[Cc]ould not connect") as gone:
        dead.read("x")
    assert "anonymous" not in str(gone.value)
