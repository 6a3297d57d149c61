"""CIFAR: official layouts of both Pythons, hostile and damaged files, and fetching."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import pickle
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.source_sections import CifarSource
from pipeline.sources import ArraySource, cifar, download, open_source

CLASSES = ["airplane", "automobile", "bird", "cat", "deer"]
TRAIN_FILES = [f"data_batch_{number}" for number in range(1, 6)]


def opened(path: Path, kind: str = "cifar10", split: str = "train", **fields: Any) -> ArraySource:
    content = {"kind": kind, "path": str(path), "split": split, **fields}
    source = open_source(CifarSource.model_validate(content), InlineExecutor())
    assert isinstance(source, ArraySource)
    return source


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)


def batch(count: int = 4, seed: int = 0, name: str = "x") -> dict[bytes, Any]:
    return {
        b"batch_label": name.encode(),
        b"labels": [row % len(CLASSES) for row in range(count)],
        b"data": rows(count, seed),
        b"filenames": [f"{name}_s_{row:06d}.png".encode() for row in range(count)],
    }


def write_cifar10(parent: Path, protocol: int = 2) -> Path:
    folder = parent / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for number, name in enumerate([*TRAIN_FILES, "test_batch"]):
        (folder / name).write_bytes(pickle.dumps(batch(4, number, name), protocol=protocol))
    meta = {b"label_names": [name.encode() for name in CLASSES], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=protocol))
    return folder


def python2_pickle(value: Any) -> bytes:
    """Write what cPickle of Python 2 wrote at protocol 2: byte strings, old numpy names."""

    def part(value: Any) -> bytes:
        if isinstance(value, bytes):
            return b"T" + struct.pack("<i", len(value)) + value  # BINSTRING
        if isinstance(value, bool):
            return b"\x88" if value else b"\x89"
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if value is None:
            return b"N"
        if isinstance(value, list):
            return b"](" + b"".join(map(part, value)) + b"e"
        if isinstance(value, tuple):
            return b"(" + b"".join(map(part, value)) + b"t"
        if isinstance(value, dict):
            return b"}(" + b"".join(part(key) + part(item) for key, item in value.items()) + b"u"
        assert isinstance(value, np.ndarray)
        dtype = b"cnumpy\ndtype\n" + part((b"u1", 0, 1)) + b"R"
        dtype += part((3, b"|", None, None, None, -1, -1, 0)) + b"b"
        array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
        array += part((0,)) + part(b"b") + b"tR"
        state = part(1) + part(value.shape) + dtype + part(False) + part(value.tobytes())
        return array + b"(" + state + b"tb"

    return b"\x80\x02" + part(value) + b"."


# ── content ──


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar10_as_python_3_writes_it(tmp_path, protocol):
    write_cifar10(tmp_path, protocol)
    source = opened(tmp_path)
    expected = np.concatenate([rows(4, seed) for seed in range(5)])
    np.testing.assert_array_equal(
        source.pixels, expected.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    )
    assert source.read(7)[31, 2, 1] == expected[7, 1024 + 31 * 32 + 2]  # row 31, column 2, green
    assert source.pixels.flags.c_contiguous
    assert source.labels.tolist() == [0, 1, 2, 3] * 5
    assert source.labels.dtype == np.int32
    assert source.class_names == tuple(CLASSES)
    assert source.ids[5].as_py() == "data_batch_2_s_000001.png"
    test = opened(tmp_path, split="test")
    assert test.ids[0].as_py() == "test_batch_s_000000.png"
    assert test.fingerprint != source.fingerprint


def test_a_count_takes_so_many_evenly_spread_over_the_files(tmp_path):
    write_cifar10(tmp_path)
    whole, some = opened(tmp_path), opened(tmp_path, count=6)
    rows = [0, 3, 6, 10, 13, 16]  # of 20
    assert some.ids.to_pylist() == [whole.ids[row].as_py() for row in rows]
    np.testing.assert_array_equal(some.pixels, whole.pixels[rows])
    assert some.labels.tolist() == whole.labels[rows].tolist()
    assert some.class_names == whole.class_names
    assert some.fingerprint != whole.fingerprint
    with pytest.raises(
        UsageError, match=r"split train, holds 20 pictures, 21 are asked for; lower"
    ):
        opened(tmp_path, count=21)


def test_cifar10_as_python_2_wrote_it(tmp_path):
    folder = write_cifar10(tmp_path)
    expected = opened(tmp_path).fingerprint
    for path in folder.iterdir():
        old = python2_pickle(pickle.loads(path.read_bytes(), encoding="bytes"))
        path.write_bytes(old)
        again = pickle.loads(old, encoding="bytes")  # the official recipe for reading it
        assert b"data" not in again or again[b"data"].dtype == np.uint8
    assert opened(tmp_path).fingerprint == expected


def test_text_keys_and_fortran_order_load(tmp_path):
    folder = write_cifar10(tmp_path)
    expected = opened(tmp_path).fingerprint
    for path in folder.iterdir():
        content = {key.decode(): value for key, value in pickle.loads(path.read_bytes()).items()}
        if "data" in content:
            content["data"] = np.asfortranarray(content["data"])
        path.write_bytes(pickle.dumps(content, protocol=2))
    assert opened(tmp_path).fingerprint == expected


def test_the_path_may_be_the_batches_folder_itself(tmp_path):
    folder = write_cifar10(tmp_path / "data")
    expected = opened(tmp_path / "data").fingerprint
    assert opened(folder).fingerprint == expected
    folder.rename(tmp_path / "renamed")
    assert opened(tmp_path / "renamed").fingerprint == expected


def test_cifar100_takes_the_fine_labels(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    content = {
        b"filenames": [b"a.png", b"b.png"],
        b"fine_labels": [2, 0],
        b"coarse_labels": [1, 1],
        b"data": rows(2),
    }
    meta = {b"fine_label_names": [b"apple", b"baby", b"bear"], b"coarse_label_names": [b"x", b"y"]}
    (folder / "test").write_bytes(pickle.dumps(content, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    source = opened(tmp_path, "cifar100", "test")
    assert source.class_names == ("apple", "baby", "bear")
    assert source.labels.tolist() == [2, 0]
    assert source.ids.to_pylist() == ["a.png", "b.png"]


def test_repeated_file_names_are_told_apart(tmp_path):
    folder = write_cifar10(tmp_path)
    content = batch(5)
    content[b"filenames"] = [b"a", b"a#2", b"a", b"b\xff", b"a"]
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    assert opened(tmp_path, split="test").ids.to_pylist() == ["a", "a#2", "a#3", "b\\xff", "a#4"]


# ── not there ──


def test_absent_without_download(tmp_path):
    with pytest.raises(UsageError) as caught:
        opened(tmp_path / "data")
    message = str(caught.value)
    assert str(tmp_path / "data/cifar-10-batches-py/data_batch_1") in message
    assert "--set source.download=true" in message
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz" in message


def test_some_files_absent(tmp_path):
    folder = write_cifar10(tmp_path)
    (folder / "data_batch_3").unlink()
    (folder / "data_batch_5").unlink()
    with pytest.raises(UsageError, match=r"lacks data_batch_3, data_batch_5; put the official"):
        opened(tmp_path, download=True)
    assert len(opened(tmp_path, split="test").labels) == 4


# ── hostile ──


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "argument", "named"),
    [
        (os.system, "touch {marker}", "posix.system"),
        (eval, "open({marker!r}, 'w')", "eval"),
        (np.save, "{marker}", "numpy"),
        (getattr, "x", "getattr"),
    ],
)
def test_a_pickle_that_calls_something(tmp_path, function, argument, named, protocol):
    folder, marker = write_cifar10(tmp_path), tmp_path / "marker"
    call = Calls(function, argument.format(marker=str(marker)), "x")
    content = {**batch(), b"more": call}
    (folder / "data_batch_2").write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(DreamshardsError) as caught:
        opened(tmp_path)
    assert "data_batch_2 asks for" in str(caught.value)
    assert named in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("codec", ["rot13", "utf-16", "zlib"])
def test_a_pickle_that_encodes_otherwise(tmp_path, codec):
    folder = write_cifar10(tmp_path)
    content = {**batch(), b"more": Calls(codecs.encode, "x", codec)}
    (folder / "data_batch_1").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DreamshardsError, match=rf"data_batch_1 asks for _codecs.encode .*{codec}"):
        opened(tmp_path)


@pytest.mark.parametrize("name", ["ndarray.tofile", "ndarray.__init__.__globals__"])
def test_a_pickle_that_reaches_inside_what_is_allowed(tmp_path, name):
    folder = write_cifar10(tmp_path)
    module, path = b"numpy", name.encode()
    stack_global = b"\x8c" + bytes([len(module)]) + module + b"\x8c" + bytes([len(path)]) + path
    (folder / "data_batch_1").write_bytes(b"\x80\x04" + stack_global + b"\x93.")
    with pytest.raises(DreamshardsError, match=rf"asks for numpy\.{name}"):
        opened(tmp_path)


@pytest.mark.parametrize("target", [b"numpy\nndarray", b"numpy\ndtype", b"_codecs\nencode"])
def test_a_pickle_that_writes_into_what_is_allowed(tmp_path, target):
    folder = write_cifar10(tmp_path)
    honest = (folder / "data_batch_1").read_bytes()
    state = b"N}(U\x0cto_numpyname" + b"U\x01xu\x86"  # (None, {...}): attributes set by BUILD
    (folder / "data_batch_1").write_bytes(b"\x80\x02c" + target + b"\n" + state + b"b.")
    with pytest.raises(DreamshardsError, match="data_batch_1"):
        opened(tmp_path)
    (folder / "data_batch_1").write_bytes(honest)
    assert len(opened(tmp_path).labels) == 20


# ── damaged ──


def test_every_cut_is_noticed(tmp_path):
    folder = write_cifar10(tmp_path)
    whole = (folder / "test_batch").read_bytes()
    for length in [0, 1, 2, *range(3, len(whole), 512), len(whole) - 1]:
        (folder / "test_batch").write_bytes(whole[:length])
        with pytest.raises(DreamshardsError, match=r"test_batch is cut short or damaged"):
            opened(tmp_path, split="test")


@pytest.mark.parametrize("content", [b"<html>", b"\x80\x04\x95" + b"\xff" * 8, b"\xff\xff\xff"])
def test_garbage(tmp_path, content):
    (write_cifar10(tmp_path) / "batches.meta").write_bytes(content)
    with pytest.raises(DreamshardsError, match=r"batches\.meta is cut short or damaged"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({b"labels": None}, r"test_batch: labels: got a NoneType; allowed: a list of whole"),
        ({b"labels": [0, 1, 2, 5]}, r"labels\[3\] = 5; allowed: 0 to 4"),
        ({b"labels": [0, -1, 2, 3]}, r"labels\[1\] = -1; allowed: 0 to 4"),
        ({b"labels": [0, 2**70, 2, 3]}, r"labels\[1\] = 1180591620717411303424; allowed: 0 to 4"),
        ({b"labels": [0, True, 2, 3]}, r"labels: got a bool at \[1\]"),
        ({b"labels": [0, 1, 2]}, r"4 rows of data, 3 labels, 4 filenames; they must be equally"),
        ({b"filenames": [b"a"]}, r"4 rows of data, 4 labels, 1 filenames"),
        ({b"filenames": [b"a", 1, b"c", b"d"]}, r"filenames: got a int at \[1\]"),
        ({b"data": [[0]]}, r"data: got a list; allowed: a uint8 array of shape \(n, 3072\)"),
        ({b"data": rows(4).astype(np.int64)}, r"data: got an array of dtype i8; allowed: uint8"),
        ({b"data": np.array([None])}, r"data: got an array of dtype O8; allowed: uint8"),
        ({b"data": rows(4)[:, :3071]}, r"data: got an array of shape \(4, 3071\)"),
        ({b"data": rows(4).reshape(-1)}, r"data: got an array of shape \(12288,\)"),
        ({b"data": rows(0), b"labels": [], b"filenames": []}, r"no pictures in test_batch"),
    ],
)
def test_wrong_content(tmp_path, change, message):
    folder = write_cifar10(tmp_path)
    (folder / "test_batch").write_bytes(pickle.dumps({**batch(), **change}, protocol=4))
    with pytest.raises(DreamshardsError, match=message):
        opened(tmp_path, split="test")


@pytest.mark.parametrize("key", [b"data", b"labels", b"filenames"])
def test_a_missing_key(tmp_path, key):
    folder = write_cifar10(tmp_path)
    content = batch()
    del content[key]
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(
        DreamshardsError, match=rf"test_batch lacks '{key.decode()}'; it holds batch_"
    ):
        opened(tmp_path, split="test")


@pytest.mark.parametrize("names", [[], [b"a", b"a"], [b"a", b""]])
def test_wrong_class_names(tmp_path, names):
    folder = write_cifar10(tmp_path)
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}, protocol=4))
    with pytest.raises(DreamshardsError, match=r"label_names = .*; allowed: one or more different"):
        opened(tmp_path)


def test_a_pickle_of_something_else(tmp_path):
    (write_cifar10(tmp_path) / "test_batch").write_bytes(pickle.dumps([1]))
    with pytest.raises(DreamshardsError, match=r"test_batch holds a list; allowed: the dictionary"):
        opened(tmp_path, split="test")


# ── fetching ──


class Server:
    """An HTTP server on this machine whose one archive can be spoilt."""

    def __init__(self) -> None:
        self.body, self.status, self.sent_bytes, self.stall_s = b"", 200, 2**40, 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body[: outer.sent_bytes])
                self.wfile.flush()
                time.sleep(outer.stall_s)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/cifar-10-python.tar.gz"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def archive(folder: Path, *more: tuple[tarfile.TarInfo, bytes], leave_out: str = "") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for info, content in more:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        tar.add(
            folder,
            folder.name,
            filter=lambda member: None if leave_out in member.name and leave_out else member,
        )
    return file.getvalue()


def serve(server: Server, monkeypatch: pytest.MonkeyPatch, body: bytes, md5: str = "") -> None:
    server.body = body
    layout = cifar.LAYOUTS["cifar10"]._replace(
        url=server.url, md5=md5 or hashlib.md5(body).hexdigest()
    )
    monkeypatch.setitem(cifar.LAYOUTS, "cifar10", layout)


def refused(folder: Path, match: str) -> str:
    with pytest.raises(DreamshardsError, match=match) as caught:
        opened(folder, download=True)
    assert not folder.exists() or list(folder.iterdir()) == []  # nothing is left, not even hidden
    return str(caught.value)


def test_fetching(tmp_path, server, monkeypatch, capsys):
    folder = write_cifar10(tmp_path / "made")
    readme = (tarfile.TarInfo("cifar-10-batches-py/readme.html"), b"hello")
    serve(server, monkeypatch, archive(folder, readme))
    source = opened(tmp_path / "data", download=True)
    assert source.fingerprint == opened(tmp_path / "made").fingerprint
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar-10-batches-py"]
    files = sorted(path.name for path in (tmp_path / "data/cifar-10-batches-py").iterdir())
    assert files == ["batches.meta", *TRAIN_FILES, "test_batch"]
    assert capsys.readouterr().err == f"fetching {server.url} into {tmp_path / 'data'}\n"
    server.status = 404  # the second time nothing is fetched
    assert opened(tmp_path / "data", download=True).fingerprint == source.fingerprint


def test_fetching_into_the_batches_folder_itself(tmp_path, server, monkeypatch):
    serve(server, monkeypatch, archive(write_cifar10(tmp_path / "made")))
    opened(tmp_path / "cifar-10-batches-py", download=True)
    assert (tmp_path / "cifar-10-batches-py/test_batch").is_file()


def test_progress_is_shown(tmp_path, server, monkeypatch, capsys):
    noise = (tarfile.TarInfo("cifar-10-batches-py/readme.html"), os.urandom(3 << 20))
    serve(server, monkeypatch, archive(write_cifar10(tmp_path / "made"), noise))
    monkeypatch.setattr("time.monotonic", iter(range(0, 1000, 2)).__next__)
    opened(tmp_path / "data", download=True)
    assert "fetching cifar-10-python.tar.gz: 2 of 3 MiB\n" in capsys.readouterr().err


def test_wrong_md5(tmp_path, server, monkeypatch):
    body = archive(write_cifar10(tmp_path / "made"))
    serve(server, monkeypatch, body, md5="0" * 32)
    message = refused(tmp_path / "data", rf"got content with MD5 {hashlib.md5(body).hexdigest()}")
    assert f"expected {'0' * 32}" in message


def test_not_found(tmp_path, server, monkeypatch):
    serve(server, monkeypatch, b"sorry")
    server.status = 404
    refused(tmp_path / "data", rf"cannot fetch {server.url}: HTTP Error 404")


def test_connection_cut(tmp_path, server, monkeypatch):
    body = archive(write_cifar10(tmp_path / "made"))
    serve(server, monkeypatch, body)
    server.sent_bytes = 1000
    refused(tmp_path / "data", rf"the connection ended after 1,000 of {len(body):,} bytes")


def test_a_server_that_falls_silent(tmp_path, server, monkeypatch):
    serve(server, monkeypatch, archive(write_cifar10(tmp_path / "made")))
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    server.sent_bytes, server.stall_s = 1000, 0.6
    refused(tmp_path / "data", r"timed out after 0 bytes")


def test_no_server(tmp_path, server, monkeypatch):
    serve(server, monkeypatch, b"")
    layout = cifar.LAYOUTS["cifar10"]._replace(url="http://127.0.0.1:9/cifar-10-python.tar.gz")
    monkeypatch.setitem(cifar.LAYOUTS, "cifar10", layout)
    refused(tmp_path / "data", r"cannot fetch http://127.0.0.1:9/.*refused.*; nothing was kept")


@pytest.mark.parametrize("name", ["../escape", "/escape", "cifar-10-batches-py/../../escape"])
def test_an_archive_that_escapes(tmp_path, server, monkeypatch, name):
    evil = (tarfile.TarInfo(name), b"evil")
    serve(server, monkeypatch, archive(write_cifar10(tmp_path / "made"), evil))
    refused(tmp_path / "data", r"a path outside its own folder; nothing of it was kept")
    assert not (tmp_path / "escape").exists()


def test_an_archive_with_a_link_for_a_file(tmp_path, server, monkeypatch):
    link = tarfile.TarInfo("cifar-10-batches-py/test_batch")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    serve(server, monkeypatch, archive(write_cifar10(tmp_path / "made"), (link, b"")))
    refused(tmp_path / "data", r"'cifar-10-batches-py/test_batch' in the archive is a link or dev")


def test_an_archive_that_lacks_a_file(tmp_path, server, monkeypatch):
    body = archive(write_cifar10(tmp_path / "made"), leave_out="data_batch_4")
    serve(server, monkeypatch, body)
    refused(tmp_path / "data", r"the archive lacks cifar-10-batches-py/data_batch_4")


@pytest.mark.parametrize("spoil", [lambda body: b"<html>", lambda body: body[:-2000]])
def test_an_archive_that_does_not_unpack(tmp_path, server, monkeypatch, spoil):
    serve(server, monkeypatch, spoil(archive(write_cifar10(tmp_path / "made"))))
    refused(tmp_path / "data", r"the archive does not unpack \(")


def test_a_folder_that_cannot_be_written(tmp_path, server, monkeypatch):
    serve(server, monkeypatch, archive(write_cifar10(tmp_path / "made")))
    (tmp_path / "file").write_text("")
    with pytest.raises(DreamshardsError, match=r"cannot write below .*/file: .*source\.path"):
        opened(tmp_path / "file", download=True)


# ── real data ──


def test_real_pictures_come_back_identically(tmp_path):
    parquet = Path(__file__).parents[2] / "shared/data/cifar10_test.parquet"
    if not parquet.exists():
        pytest.skip("needs the CIFAR-10 test pictures beside the checkout")
    import pyarrow.parquet as pq

    from pipeline.sources.images import decode

    table = pq.read_table(parquet)[::33]
    pictures = [decode(data, "x") for data in table["jpeg"].to_pylist()]
    names = ["airplane", "automobile", "bird", "cat", "deer"]
    names += ["dog", "frog", "horse", "ship", "truck"]
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    content = {
        b"labels": table["label"].to_pylist(),
        b"data": np.stack([picture.transpose(2, 0, 1).reshape(-1) for picture in pictures]),
        b"filenames": [name.encode() for name in table["filename"].to_pylist()],
    }
    meta = {b"label_names": [name.encode() for name in names]}
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    source = opened(tmp_path, split="test")
    assert len(source.labels) == len(pictures) > 300
    np.testing.assert_array_equal(source.pixels, np.stack(pictures))
    assert source.ids.to_pylist() == table["filename"].to_pylist()
    assert [source.class_names[label] for label in source.labels] == [
        name.split("/")[-2] for name in table["filename"].to_pylist()
    ]
