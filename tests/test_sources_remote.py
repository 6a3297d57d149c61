"""Datasets and mixing sets in an object store: as from a folder, read ahead, refused as a folder is."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pipeline.build import build
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.export import export
from pipeline.picture_sections import FolderPictures, NpyPictures, OnePart
from pipeline.pictures import open_pictures
from pipeline.pictures.picture_set import PictureSet
from pipeline.recipe import load_recipe
from pipeline.section import Section
from pipeline.source_sections import ImageFolderSource, SourceConfig, VideoFolderSource
from pipeline.sources import (
    FileSource,
    VideoSource,
    ahead,
    local_copy,
    open_source,
    video_scan,
    video_source,
)
from pipeline.store import RemoteStore, base, open_store
from pipeline.store.s3 import S3Store
from tests.conftest import tree
from tests.servers import BUCKET, Moto, Server
from tests.test_sources_cifar import write_cifar10
from tests.video_helpers import encoded, moving

EXECUTOR = InlineExecutor()


class OneSource(Section):
    """A source by itself."""

    part: SourceConfig


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
    source = open_source(ImageFolderSource.model_validate(content), EXECUTOR)
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
        return build(load_recipe("digits", settings), out, EXECUTOR).dataset

    local = made(str(tmp_path / "set"), tmp_path / "local")
    reads.clear()
    remote = made(uri, tmp_path / "remote")
    assert remote["recipe_hash"] == local["recipe_hash"]
    documents = [
        json.loads((tmp_path / name / "dataset.json").read_text()) for name in ("local", "remote")
    ]
    assert documents[0]["shards"] == documents[1]["shards"]
    assert len(documents[0]["shards"]) == 4
    files = {
        name: digest for name, digest in tree(tmp_path / "local").items() if "json" not in name
    }
    assert len(files) == 2 * (2 + 2 + 1)
    assert files.items() <= tree(tmp_path / "remote").items()
    assert not [name for name, in_turn in reads if in_turn and name.endswith(("jpg", "png"))]


def test_credentials_of_a_uri_are_stored_nowhere(moto: Moto, prefix: str, tmp_path: Path) -> None:
    put(moto, prefix, FILES)
    uri = moto.full_uri(prefix)
    assert moto.secret_key in uri
    overrides = (
        *("source.kind=image-folder", f"source.path={uri}", "transform.kind=random-resized-crop"),
        *("mixing_set.kind=folder", f"mixing_set.path={uri}", "mixing_set.size=24"),
        *("transform.size=24", "epochs=1", "shards.samples_per_shard=40"),
    )
    build(load_recipe("digits", overrides), tmp_path / "root", EXECUTOR)
    stored = json.loads((tmp_path / "root/dataset.json").read_text())["recipe"]
    assert stored["source"]["path"] == stored["mixing_set"]["path"] == f"s3://{BUCKET}/{prefix}"
    for path in (tmp_path / "root").rglob("*"):
        assert path.is_dir() or moto.secret_key.encode() not in path.read_bytes()


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
    store: Moto,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reads: list[tuple[str, bool]],
) -> None:
    def made(path: str | Path) -> Any:
        content = {"kind": "folder", "path": str(path), "size": 16, "on_unreadable": "skip"}
        return open_pictures(FolderPictures.model_validate(content), EXECUTOR)

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
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "cache"))
    reads.clear()
    assert made(uri).digest == remote.digest
    assert not reads
    put(store, prefix, {"top.jpg": picture(8)})
    assert made(uri).digest != remote.digest


# ── files that a library opens ──


def official(folder: Path) -> None:
    """Write CIFAR-10, CIFAR-C and SVHN in miniature."""
    write_cifar10(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)
    np.save(folder / "fog.npy", pixels)
    np.save(folder / "labels.npy", np.arange(10) % 5)
    digits = np.arange(1, 11, dtype=np.uint8)[:, None]
    savemat(folder / "train_32x32.mat", {"X": pixels.transpose(1, 2, 3, 0), "y": digits})


@pytest.fixture
def objects(store: Moto, prefix: str, tmp_path: Path) -> tuple[str, Path]:
    """Return a URI and a folder that hold the same official files."""
    folder = tmp_path / "official"
    folder.mkdir()
    official(folder)
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    return put(store, prefix, files), folder


@pytest.mark.parametrize(
    "section",
    [
        {"kind": "cifar10", "split": "test"},
        {"kind": "cifar-c", "name": "fog", "severity": 2},
        {"kind": "svhn"},
    ],
    ids=lambda section: section["kind"],
)
def test_official_files_are_those_of_a_folder(
    objects: tuple[str, Path], section: dict[str, Any]
) -> None:
    sources = [
        open_source(
            OneSource.model_validate({"part": section | {"path": str(path)}}).part, EXECUTOR
        )
        for path in objects
    ]
    assert sources[0].fingerprint == sources[1].fingerprint
    assert np.array_equal(sources[0].pixels, sources[1].pixels)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"kind": "cifar10", "download": True}, "an archive is fetched into a local folder alone"),
        (
            {"kind": "cifar100"},
            "no cifar100 in 's3://.*': looked for meta there and in cifar-100-p",
        ),
        (
            {"kind": "cifar-c", "name": "frog", "severity": 1},
            r"lacks frog\.npy \(did you mean 'fog'",
        ),
        ({"kind": "svhn", "split": "test"}, r"no test_32x32\.mat in 's3://"),
        ({"kind": "ucf101"}, r"no folder UCF-101 in 's3://"),
    ],
    ids=lambda part: part["kind"] if isinstance(part, dict) else "",
)
def test_official_files_that_are_not_there(
    objects: tuple[str, Path], section: dict[str, Any], expected: str
) -> None:
    config = OneSource.model_validate({"part": section | {"path": objects[0]}}).part
    with pytest.raises(UsageError, match=expected):
        open_source(config, EXECUTOR)


@pytest.mark.parametrize("padding", [0, 4])
def test_an_array_of_mixing_pictures_is_fetched_once(
    objects: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, padding: int
) -> None:
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "cache"))
    fetched: list[str] = []
    real = local_copy._fetch

    def fetch(store: Any, name: str, *rest: Any) -> str:
        fetched.append(name)
        return real(store, name, *rest)

    monkeypatch.setattr(local_copy, "_fetch", fetch)

    def made(path: str) -> PictureSet:
        section = NpyPictures(kind="npy", path=path, size=None, count=None, padding=padding)
        pictures = open_pictures(section, EXECUTOR)
        assert isinstance(pictures, PictureSet)
        return pictures

    uri, folder = objects
    expected = made(f"{folder}/fog.npy")
    assert made(f"{uri}/fog.npy").digest == made(f"{uri}/fog.npy").digest == expected.digest
    assert fetched == ["fog.npy"]
    with pytest.raises(UsageError, match=r"fig\.npy' does not exist; allowed: a \.npy file"):
        made(f"{uri}/fig.npy")


def test_an_object_is_fetched_anew_once_it_changed(
    store: Moto, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path))
    monkeypatch.setattr(base, "PIECE_BYTES", 1000)
    place = open_store(put(store, prefix, {"x": b"old" * 1000}))
    copy = local_copy.local_copy(place, "x")
    assert copy.read_bytes() == b"old" * 1000
    assert copy.name == hashlib.sha256(b"old" * 1000).hexdigest()
    put(store, prefix, {"x": b"newer" * 1000})
    assert local_copy.local_copy(place, "x").read_bytes() == b"newer" * 1000
    with pytest.raises(DreamshardsError, match=f"/x changed since .*; expected {'0' * 64}; put"):
        local_copy.local_copy(place, "x", "0" * 64)
    assert not [
        path
        for path in (tmp_path / "objects").iterdir()
        if not path.name.endswith("lock") and len(path.name) != 64
    ]


def _copy(job: tuple[str, str]) -> str:
    os.environ["DREAMSHARDS_CACHE"] = job[0]  # which this module changed when it was imported
    return local_copy.local_copy(open_store(job[1]), "x").name


def test_processes_that_want_one_object_fetch_it_once(
    store: Moto, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path))
    content = bytes(range(256)) * 4096
    uri = put(store, prefix, {"x": content})
    with ProcessPoolExecutor(3, get_context("spawn")) as pool:
        names = set(pool.map(_copy, [(str(tmp_path), uri)] * 6))
    assert names == {hashlib.sha256(content).hexdigest()}
    assert (tmp_path / "objects" / names.pop()).read_bytes() == content


def test_a_large_video_is_fetched_and_held_to_its_scan(
    store: Moto, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"a/{seed}.mp4": encoded(moving(12, seed=seed)) for seed in (1, 2)}
    uri = put(store, prefix, files)
    clips = []
    for whole_bytes in (1 << 20, 100):
        monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / str(whole_bytes)))
        for path in (uri, write(tmp_path / "set", files)):
            for module in (video_scan, video_source):
                monkeypatch.setattr(module, "WHOLE_BYTES", whole_bytes)
            section = {"kind": "video-folder", "path": str(path), "frames": 4}
            source = open_source(VideoFolderSource.model_validate(section), EXECUTOR)
            assert isinstance(source, VideoSource)
            clips.append((source.fingerprint, source.read_clip(1, 5).tobytes()))
    assert len(set(clips)) == 1
    kept = {path.name for path in (tmp_path / "100/objects").iterdir()}
    assert {hashlib.sha256(content).hexdigest() for content in files.values()} <= kept


# ── written there ──


@pytest.mark.parametrize("form", ["png", "npy"])
def test_a_set_written_to_a_store_is_that_of_a_folder(
    store: Moto, prefix: str, tmp_path: Path, form: Any
) -> None:
    section = OnePart.model_validate({"part": {"kind": "gabor", "count": 9, "size": 16}}).part
    local = export(tmp_path / "local", section, form, EXECUTOR)
    uri = store.uri(prefix)
    remote = export(uri, section, form, EXECUTOR)
    assert remote.num_written == local.num_written > 0
    assert remote.num_bytes == local.num_bytes
    assert store.tree(prefix) == tree(tmp_path / "local")
    assert export(uri, section, form, EXECUTOR).num_written == 0
    lost = next(name for name in store.tree(prefix) if name.endswith(form))
    for name in (lost, "pictures.json"):
        store.client().delete_object(Bucket=BUCKET, Key=f"{prefix}/{name}")
    assert export(uri, section, form, EXECUTOR).num_written == 1
    assert store.tree(prefix) == tree(tmp_path / "local")
    with pytest.raises(DreamshardsError, match="holds another set; it was left as it is"):
        export(uri, section.model_copy(update={"seed": 1}), form, EXECUTOR)
