"""Datasets and mixing sets in an object store: as from a folder, read ahead, refused as a folder is."""

from __future__ import annotations

import io
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.build import build
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.picture_sections import FolderPictures
from pipeline.pictures import open_pictures
from pipeline.recipe import load_recipe
from pipeline.source_sections import ImageFolderSource
from pipeline.sources import FileSource, ahead, open_source
from pipeline.store import RemoteStore, open_store
from pipeline.store.s3 import S3Store
from tests.conftest import tree
from tests.servers import BUCKET, Moto, Server

NUM_PICTURES = 30


def picture(seed: int, side: int = 40, form: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + seed, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


FILES = {
    **{f"{'ab'[seed % 2]}/deep/{seed:02d}.jpg": picture(seed) for seed in range(NUM_PICTURES)},
    "b/ä b+%&?#'.png": picture(40, form="PNG"),
    "b/notes.txt": b"a companion",
    "b/.hidden.jpg": b"not looked at",
    ".cache/x/y.jpg": b"nor this",
}


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def put(server: Server, prefix: str, files: dict[str, bytes]) -> str:
    """Put objects below a prefix and return its URI."""
    client = server.client()
    for name, content in files.items():
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=content)
    return server.uri(prefix)


def opened(path: str | Path, **fields: Any) -> FileSource:
    content = {"kind": "image-folder", "path": str(path), **fields}
    source = open_source(ImageFolderSource.model_validate(content), InlineExecutor())
    assert isinstance(source, FileSource)
    return source


@pytest.fixture
def store(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> Moto:
    moto.use(monkeypatch)
    return moto


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Record each object that is read whole, and whether by the main thread."""
    asked: list[tuple[str, bool]] = []
    real = RemoteStore.read

    def read(self: RemoteStore, path: str) -> bytes:
        asked.append((path, threading.current_thread() is threading.main_thread()))
        return real(self, path)

    monkeypatch.setattr(RemoteStore, "read", read)
    return asked


# ── the same as from a folder ──


def test_a_source_of_objects_is_that_of_files(
    any_store: Server, prefix: str, tmp_path: Path
) -> None:
    remote = opened(put(any_store, prefix, FILES))
    local = opened(write(tmp_path, FILES))
    assert remote.fingerprint == local.fingerprint
    assert remote.ids.equals(local.ids)
    assert remote.class_names == ("a", "b")
    for name in ("labels", "heights", "widths", "size_bytes", "digests"):
        assert np.array_equal(getattr(remote, name), getattr(local, name)), name
    copy = pickle.loads(pickle.dumps(remote))
    for index in (0, NUM_PICTURES):
        assert np.array_equal(copy.read(index), local.read(index))
    some = opened(any_store.uri(prefix), count=7)
    assert some.fingerprint == opened(tmp_path, count=7).fingerprint


@pytest.mark.parametrize("family", ["pixmix", "mixup"])
def test_a_build_from_objects_is_the_build_from_files(
    store: Moto, prefix: str, tmp_path: Path, family: str, reads: list[tuple[str, bool]]
) -> None:
    write(tmp_path / "set", FILES)
    uri = put(store, prefix, FILES)

    def made(path: str, out: Path) -> dict[str, Any]:
        overrides = [
            "source.kind=image-folder",
            f"source.path={path}",
            "transform.kind=random-resized-crop",
        ]
        if family == "pixmix":
            overrides += ["mixing_set.kind=folder", f"mixing_set.path={path}", "mixing_set.size=24"]
        else:
            overrides += ["augmentation.family=mixup", "mixing_set=null"]
        settings = (*overrides, "transform.size=24", "epochs=2", "shards.samples_per_shard=20")
        return build(load_recipe("digits", settings), out, InlineExecutor()).dataset

    local = made(str(tmp_path / "set"), tmp_path / "local")
    reads.clear()
    remote = made(uri, tmp_path / "remote")
    assert remote["recipe_hash"] == local["recipe_hash"]
    assert remote["shards"] == local["shards"]
    files = {
        name: digest for name, digest in tree(tmp_path / "local").items() if "json" not in name
    }
    assert len(files) == 2 * (2 + 2 + 1)
    assert files.items() <= tree(tmp_path / "remote").items()
    assert not [name for name, in_turn in reads if in_turn and name.endswith(("jpg", "png"))]


# ── refused as a folder is ──


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"x.jpg": b""}, "has no sub-folders but 1 pictures directly in it"),
        (
            {"a/x.jpg": b"", "y.jpg": b""},
            "1 pictures lie directly in s3://.*, outside any class, such as y.jpg",
        ),
        ({"a/x.jpg": b"", "b/y.tar": b""}, r"that are no pictures: 1 \.tar \(such as b/y\.tar\)"),
        ({"a/x.jpg": b"", "b/y.txt": b""}, "without a picture: b; add"),
        ({}, "has no sub-folders; allowed"),
    ],
)
def test_a_layout_that_a_folder_may_not_have(
    store: Moto, prefix: str, tmp_path: Path, files: dict[str, bytes], expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        opened(put(store, prefix, files))
    write(tmp_path, files)
    with pytest.raises(UsageError, match=expected.replace("s3://", "")):
        opened(tmp_path)


def test_unreadable_objects_stop_it_or_are_recorded(store: Moto, prefix: str) -> None:
    uri = put(store, prefix, {"a/x.jpg": FILES["a/deep/00.jpg"], "a/y.jpg": b"no picture"})
    with pytest.raises(
        DreamshardsError, match=r"1 of 2 pictures below s3://[^!]*a/y\.jpg: its content is not"
    ):
        opened(uri)
    assert [line.id for line in opened(uri, on_unreadable="skip").skipped] == ["a/y.jpg"]


def test_an_object_changed_or_gone_after_the_scan_is_refused(store: Moto, prefix: str) -> None:
    source = opened(put(store, prefix, FILES))
    put(store, prefix, {"a/deep/00.jpg": FILES["a/deep/02.jpg"]})
    store.client().delete_object(Bucket=BUCKET, Key=f"{prefix}/a/deep/02.jpg")
    with pytest.raises(
        DreamshardsError, match=r"a/deep/00\.jpg changed since the dataset was scanned"
    ):
        source.read(0)
    with pytest.raises(
        DreamshardsError, match=r"02\.jpg, which could be read when the dataset was scann"
    ):
        source.read(1)
    put(store, prefix, {"a/deep/00.jpg": FILES["a/deep/00.jpg"]})
    assert source.read(0).shape == (40, 40, 3)


def test_a_second_opening_reads_nothing(
    store: Moto, prefix: str, reads: list[tuple[str, bool]]
) -> None:
    uri = put(store, prefix, FILES)
    first = opened(uri)
    assert len(reads) == NUM_PICTURES + 1
    reads.clear()
    assert opened(uri).fingerprint == first.fingerprint
    assert not reads


def test_two_sets_alike_in_all_but_content_are_two(store: Moto, prefix: str) -> None:
    """Times of objects are whole seconds: both sets may have been written in one."""
    one, other = bytearray(picture(1, form="PNG")), bytearray(picture(1, form="PNG"))
    other_pixels = Image.open(io.BytesIO(bytes(other))).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    file = io.BytesIO()
    other_pixels.save(file, "BMP")
    same = io.BytesIO()
    Image.open(io.BytesIO(bytes(one))).save(same, "BMP")
    assert len(file.getvalue()) == len(same.getvalue())
    first = opened(put(store, f"{prefix}/1", {"a/x.bmp": same.getvalue()}))
    second = opened(put(store, f"{prefix}/2", {"a/x.bmp": file.getvalue()}))
    assert np.array_equal(first.read(0)[:, ::-1], second.read(0))


# ── reading ahead ──


def test_a_reader_reads_ahead_and_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {str(number): bytes([number]) * 1000 for number in range(40)}
    counts: dict[str, int] = dict.fromkeys(contents, 0)

    class Memory(S3Store):
        def read(self, path: str) -> bytes:
            counts[path] += 1
            return contents[path]

    monkeypatch.setattr(ahead, "MOST_BYTES", 20_000)
    reader = ahead.Reader(Memory("s3://nowhere/x"))
    names = list(contents)
    assert reader.expect(names[:8], [1000] * 8) == 8000
    assert reader.expect(names[8:30], [1000] * 22) == 10_000  # half of what is held
    assert [reader.read(name) for name in names] == list(contents.values())
    assert set(counts.values()) == {1}
    assert reader.expect(names[30:], [1000] * 10) == 10_000
    assert reader.expect(names[:5], [1000] * 5) == 5000
    assert reader.read(names[39]) == contents[names[39]]
    assert counts[names[39]] == 2
    copy = pickle.loads(pickle.dumps(ahead.Reader(open_store("s3://nowhere/x"))))
    assert str(copy.store) == "s3://nowhere/x"


def test_what_failed_ahead_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.store import StoreError

    answers: list[bytes | Exception] = [StoreError("s3://nowhere/x/a", "no answer"), b"here"]

    class Flaky(S3Store):
        def read(self, path: str) -> bytes:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    reader = ahead.Reader(Flaky("s3://nowhere/x"))
    reader.expect(["a"], [4])
    with pytest.raises(StoreError, match="no answer"):
        reader.read("a")
    assert reader.read("a") == b"here"


# ── mixing sets ──


def test_a_mixing_set_of_objects_is_that_of_files(
    store: Moto, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(path: str | Path) -> Any:
        content = {"kind": "folder", "path": str(path), "size": 16, "on_unreadable": "skip"}
        return open_pictures(FolderPictures.model_validate(content), InlineExecutor())

    files = FILES | {"bad.png": b"no picture", "top.jpg": picture(7)}
    uri = put(store, prefix, files)
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "cache"))
    remote = made(uri)
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "other"))
    local = made(write(tmp_path / "set", files))
    assert remote.digest == local.digest
    assert len(remote) == NUM_PICTURES + 2
    assert remote.skipped == local.skipped
    assert [path.name for path in (tmp_path / "cache/pictures").iterdir()] == [
        path.name for path in (tmp_path / "other/pictures").iterdir()
    ]
