"""Image folders: what is listed, what is refused, what a scan remembers, what a read checks."""

from __future__ import annotations

import errno
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.cache import cache_folder
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.source_sections import ImageFolderSource
from pipeline.sources import FileSource, Skipped, open_source, scan


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(folder))
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were decoded by a scan, in order."""
    names: list[str] = []
    real = scan.decode

    def counting(data: bytes, name: str) -> Any:
        names.append(name)
        return real(data, name)

    monkeypatch.setattr(scan, "decode", counting)
    return names


def picture(
    value: int, height: int = 4, width: int = 6, form: str = "PNG", **options: Any
) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (value, 0, 255)).save(file, form, **options)
    return file.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def opened(root: Path | str, on_unreadable: str = "stop", executor: Any = None) -> FileSource:
    content = {"kind": "image-folder", "path": str(root), "on_unreadable": on_unreadable}
    config = ImageFolderSource.model_validate(content)
    source = open_source(config, executor or InlineExecutor())
    assert isinstance(source, FileSource)
    return source


def message(root: Path, kind: type[DreamshardsError] = UsageError, **options: str) -> str:
    with pytest.raises(DreamshardsError) as caught:
        opened(root, **options)
    assert type(caught.value) is kind
    return str(caught.value)


FILES = {
    "dog/b.png": picture(1),
    "dog/a.png": picture(2, height=3),
    "cat/z/deep/x.PNG": picture(3),
    "cat/y.jpg": picture(4, form="JPEG"),
    "cat/Z.png": picture(5),
}
IDS = ["cat/Z.png", "cat/y.jpg", "cat/z/deep/x.PNG", "dog/a.png", "dog/b.png"]


# ── some of the pictures ──


def some(root: Path, count: int, on_unreadable: str = "stop") -> FileSource:
    content = {"kind": "image-folder", "path": str(root), "on_unreadable": on_unreadable}
    config = ImageFolderSource.model_validate(content | {"count": count})
    source = open_source(config, InlineExecutor())
    assert isinstance(source, FileSource)
    return source


def test_a_count_takes_so_many_evenly_spread_and_decodes_no_other(tmp_path, decoded):
    root = write(tmp_path, FILES)
    source = some(root, 2)
    assert source.ids.to_pylist() == decoded == [IDS[0], IDS[2]]  # ⌊i · 5 / 2⌋
    assert source.labels.tolist() == [0, 0]
    assert source.class_names == ("cat", "dog")  # one without a chosen picture keeps its number
    assert source.read(1).tolist() == [[[3, 0, 255]] * 6] * 4
    assert some(root, 5).fingerprint == opened(root).fingerprint != source.fingerprint


def test_more_than_there_are_is_refused_with_their_number(tmp_path):
    with pytest.raises(UsageError, match="holds 5 pictures, 6 are asked for; lower the count to 5"):
        some(write(tmp_path, FILES), 6)


def test_an_unreadable_one_among_the_chosen_stops_or_is_left_out(tmp_path):
    root = write(tmp_path, FILES | {"cat/Z.png": b"no picture"})
    with pytest.raises(DreamshardsError, match=r"1 of 3 pictures .* cannot be read"):
        some(root, 3)
    source = some(root, 3, "skip")
    assert source.ids.to_pylist() == [IDS[1], IDS[3]]
    assert [skipped.id for skipped in source.skipped] == ["cat/Z.png"]
    with pytest.raises(DreamshardsError, match="without a readable picture: cat"):
        some(root, 1, "skip")


# ── listing ──


def test_classes_ids_labels_sizes_pixels(tmp_path):
    source = opened(write(tmp_path, FILES))
    assert source.class_names == ("cat", "dog")
    assert source.ids.to_pylist() == IDS
    assert source.labels.tolist() == [0, 0, 0, 1, 1]
    assert source.heights.tolist() == [4, 4, 4, 3, 4]
    assert source.widths.tolist() == [6] * 5
    assert source.size_bytes.tolist() == [len(FILES[name]) for name in IDS]
    assert source.skipped == ()
    assert source.read(3).tolist() == [[[2, 0, 255]] * 6] * 3
    assert source.read(2).tolist() == [[[3, 0, 255]] * 6] * 4
    dtypes = [source.labels.dtype, source.heights.dtype, source.widths.dtype]
    assert dtypes == [np.int32] * 3


def test_sizes_are_those_of_the_upright_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    source = opened(write(tmp_path, {"a/x.jpg": picture(0, 4, 6, "JPEG", exif=exif)}))
    assert (source.heights[0], source.widths[0]) == (6, 4) == source.read(0).shape[:2]


def test_hidden_names_and_companions_are_ignored(tmp_path):
    more = {
        ".hidden/a.png": b"",
        "cat/.a.png": b"",
        "cat/.cache/a.png": b"",
        "cat/Thumbs.db": b"",
        "cat/a.TXT": b"",
        "cat/a.json": b"",
        "notes.xyz": b"",
        "README": b"",
    }
    assert opened(write(tmp_path, FILES | more)).ids.to_pylist() == IDS


def test_links_are_followed(tmp_path):
    root = write(tmp_path / "set", {"cat/a.png": picture(1)})
    write(tmp_path / "else", {"b.png": picture(2), "sub/c.png": picture(3)})
    (root / "cat/b.png").symlink_to(tmp_path / "else/b.png")
    (root / "dog").symlink_to(tmp_path / "else", target_is_directory=True)
    source = opened(root)
    assert source.ids.to_pylist() == ["cat/a.png", "cat/b.png", "dog/b.png", "dog/sub/c.png"]
    assert source.read(1)[0, 0, 0] == source.read(2)[0, 0, 0] == 2


@pytest.mark.parametrize("target", [".", "..", "../..", "../../cat"])
def test_loops_of_links_are_refused(tmp_path, target):
    root = write(tmp_path / "set", {"cat/sub/a.png": picture(1)})
    (root / "cat/sub/loop").symlink_to(target, target_is_directory=True)
    text = message(root)
    assert text.startswith(f"source.path: {root / 'cat/sub/loop'}")
    assert text.endswith("is a link back to a folder it lies in; remove the link")


def test_the_fingerprint_is_of_content_not_place_or_time(tmp_path):
    one, two = write(tmp_path / "one", FILES), write(tmp_path / "two", FILES)
    os.utime(two / "cat/Z.png", (1, 1))
    expected = opened(one).fingerprint
    assert opened(two).fingerprint == expected
    (two / "cat/Z.png").write_bytes(picture(6))
    assert opened(two).fingerprint != expected
    (one / "cat/Z.png").rename(one / "cat/ZZ.png")
    assert opened(one).fingerprint != expected


def test_a_relative_path_becomes_absolute(tmp_path, monkeypatch):
    write(tmp_path / "set", FILES)
    monkeypatch.chdir(tmp_path)
    source = opened("set")
    assert source.root == tmp_path / "set"
    monkeypatch.chdir("/")
    assert source.read(0).shape == (4, 6, 3)


# ── refused layouts ──


def test_no_such_folder(tmp_path):
    text = message(tmp_path / "none")
    assert f"source.path: {tmp_path / 'none'} cannot be opened (No such file" in text
    assert "one sub-folder of pictures per class" in text
    (tmp_path / "file").write_text("")
    assert f"{tmp_path / 'file'} is not a folder" in message(tmp_path / "file")


def test_no_sub_folders(tmp_path):
    assert f"{tmp_path} has no sub-folders; allowed: one" in message(tmp_path)
    write(tmp_path, {"a.png": b"", "b.jpg": b"", ".git/x": b""})
    assert "has no sub-folders but 2 pictures directly in it; allowed" in message(tmp_path)


def test_pictures_beside_the_class_folders(tmp_path):
    write(tmp_path, FILES | {"q.png": b"", "p.png": b""})
    assert f"2 pictures lie directly in {tmp_path}, outside any class, such as p.png" in message(
        tmp_path
    )


@pytest.mark.parametrize("on_unreadable", ["stop", "skip"])
def test_empty_class_folders_are_all_named(tmp_path, on_unreadable):
    write(tmp_path, FILES | {"emu/notes.txt": b""})
    (tmp_path / "ant/sub").mkdir(parents=True)
    text = message(tmp_path, on_unreadable=on_unreadable)
    assert f"class folders below {tmp_path} without a picture: ant, emu; add" in text


def test_names_that_are_not_utf8(tmp_path):
    write(tmp_path, FILES)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/cat/\xff.png")).write_bytes(picture(1))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/dog/\xfe")).mkdir()
    text = message(tmp_path)
    assert text.splitlines()[1:] == ["  cat/\\xff.png", "  dog/\\xfe"]
    assert "not UTF-8; rename them" in text


def test_names_in_any_script(tmp_path):
    files = {"猫/ä b.png": picture(1), "猫/\\xff.png": picture(2)}
    source = opened(write(tmp_path, files))
    assert source.ids.to_pylist() == ["猫/\\xff.png", "猫/ä b.png"]
    assert source.read(1)[0, 0, 0] == 1


def test_files_of_another_kind(tmp_path, decoded):
    strays = {"cat/a.heic": b"", "cat/b.HEIC": b"", "dog/c": b"", "dog/d.png.bak": b""}
    write(tmp_path, FILES | strays)
    text = message(tmp_path)
    assert (
        "no pictures: 1 .bak (such as dog/d.png.bak), 2 .heic (such as cat/a.heic), "
        "1 no suffix (such as dog/c); allowed: .bmp, .gif"
    ) in text
    assert text.endswith("--set source.on_unreadable=skip")
    assert decoded == []  # found before the long part of the work
    assert opened(tmp_path, "skip").skipped == (
        Skipped("cat/a.heic", "not a picture: .heic"),
        Skipped("cat/b.HEIC", "not a picture: .heic"),
        Skipped("dog/c", "not a picture: no suffix"),
        Skipped("dog/d.png.bak", "not a picture: .bak"),
    )


# ── unreadable pictures ──


def damaged(root: Path) -> list[str]:
    """Write good and bad files; return the lines that report the bad ones."""
    write(
        root,
        FILES
        | {"dog/empty.png": b"", "cat/page.jpg": b"<html>", "dog/cut.png": FILES["dog/b.png"][:50]},
    )
    (root / "cat/gone.png").symlink_to("nowhere")
    (root / "cat/self.png").symlink_to("self.png")
    os.mkfifo(root / "dog/pipe.png")
    return [
        "  cat/gone.png: a link to nothing: No such file or directory",
        "  cat/page.jpg: its content is not JPEG, PNG, WEBP, BMP, GIF, TIFF or PPM",
        "  cat/self.png: a link to nothing: Too many levels of symbolic links",
        "  dog/cut.png: image file is truncated",
        "  dog/empty.png: the file is empty",
        "  dog/pipe.png: not a regular file",
    ]


def test_stop_lists_every_unreadable_file(tmp_path):
    lines = damaged(tmp_path)
    head, *found = message(tmp_path, DreamshardsError).splitlines()
    assert head.startswith(f"6 of 11 pictures below {tmp_path} cannot be read; repair")
    assert head.endswith("--set source.on_unreadable=skip")
    assert found == lines


def test_skip_leaves_them_out_and_records_them(tmp_path):
    lines = damaged(tmp_path)
    source = opened(tmp_path, "skip")
    assert source.ids.to_pylist() == IDS
    assert source.labels.tolist() == [0, 0, 0, 1, 1]
    assert source.heights.tolist() == [4, 4, 4, 3, 4]
    assert [f"  {left.id}: {left.reason}" for left in source.skipped] == lines
    assert source.read(4)[0, 0, 0] == 1
    clean = opened(write(tmp_path / "clean", FILES))
    assert clean.fingerprint == source.fingerprint


def test_a_class_left_empty_by_skipping(tmp_path):
    write(tmp_path, FILES | {"emu/a.png": b"", "fox/b.png": b"no"})
    text = message(tmp_path, DreamshardsError, on_unreadable="skip")
    head, *lines = text.splitlines()
    assert f"{tmp_path} without a readable picture: emu, fox; repair or remove" in head
    assert lines == [
        "  emu/a.png: the file is empty",
        "  fox/b.png: its content is not JPEG, PNG, WEBP, BMP, GIF, TIFF or PPM",
    ]


def failing_reads(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(self: Path) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_bytes", fail)


def test_a_sick_disk_is_no_reason_to_skip(tmp_path, monkeypatch):
    write(tmp_path, FILES)
    failing_reads(monkeypatch, errno.EIO)
    text = message(tmp_path, DreamshardsError, on_unreadable="skip")
    assert text.startswith(f"cannot read {tmp_path / 'cat/Z.png'}: Input/output error; put that")


def test_a_scan_with_files_it_could_not_open_is_not_kept(tmp_path, monkeypatch):
    write(tmp_path, FILES)
    with monkeypatch.context() as inside:
        failing_reads(inside, errno.EACCES)
        assert "5 of 5 pictures" in message(tmp_path, DreamshardsError)
    assert len(opened(tmp_path).labels) == 5


def test_a_file_that_grows_during_the_scan(tmp_path, monkeypatch):
    write(tmp_path, FILES)
    real = scan.scan_folder

    def late(root: Path, listing: Any, executor: Any) -> Any:
        (tmp_path / "dog/a.png").write_bytes(b"longer" * 100)
        return real(root, listing, executor)

    monkeypatch.setattr("pipeline.sources.image_folder.scan_folder", late)
    text = message(tmp_path, DreamshardsError)
    assert f"{tmp_path / 'dog/a.png'} changed while the folder was scanned: got 600 bytes" in text


# ── the scan and its cache ──


class Backwards(InlineExecutor):
    """Finishes jobs in another order than they were given."""

    def map(self, function: Callable[..., Any], shared: Any, jobs: Any) -> Any:
        return reversed(list(super().map(function, shared, jobs)))


def many(root: Path) -> Path:
    files = {f"{'ab'[row % 2]}/{row:03d}.png": picture(row, 1 + row % 3) for row in range(200)}
    return write(root, files | {"a/bad.png": b"x"})


def test_jobs_of_64_files_in_any_order(tmp_path, monkeypatch, cache):
    inline = opened(many(tmp_path), "skip")
    assert inline.ids.to_pylist()[:2] == ["a/000.png", "a/002.png"]
    assert inline.heights.tolist()[:3] == [1, 3, 2]
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(cache / "other"))
    starts: list[int] = []
    real = scan.run_job
    monkeypatch.setattr(
        scan, "run_job", lambda root, job: starts.append(job.start) or real(root, job)
    )
    backwards = opened(tmp_path, "skip", Backwards())
    assert starts == [0, 64, 128, 192]
    assert backwards.heights.tolist() == inline.heights.tolist()
    assert backwards.fingerprint == inline.fingerprint
    assert [int(backwards.read(row)[0, 0, 0]) for row in range(3)] == [0, 2, 4]


def test_an_executor_that_loses_jobs_is_noticed(tmp_path):
    class Lossy(InlineExecutor):
        def map(self, function: Callable[..., Any], shared: Any, jobs: Any) -> Any:
            return list(super().map(function, shared, jobs))[1:]

    with pytest.raises(DreamshardsError, match="ended after 137 of 201 files"):
        opened(many(tmp_path), executor=Lossy())


def test_a_second_opening_decodes_nothing(tmp_path, decoded):
    lines = damaged(tmp_path)
    first = opened(tmp_path, "skip")
    assert len(decoded) == 8
    second = opened(tmp_path, "skip")
    assert len(decoded) == 8
    for field in ("labels", "heights", "widths", "size_bytes", "digests"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
        assert getattr(first, field).dtype == getattr(second, field).dtype
    assert second.ids.equals(first.ids)
    assert second.skipped == first.skipped
    assert second.fingerprint == first.fingerprint
    assert message(tmp_path, DreamshardsError).splitlines()[1:] == lines
    assert len(decoded) == 8


def test_a_changed_file_is_scanned_again(tmp_path, decoded):
    write(tmp_path, FILES)
    first = opened(tmp_path)
    path = tmp_path / "dog/b.png"
    times = path.stat()
    path.write_bytes(picture(9))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # same size, and mtime set back
    assert path.stat().st_size == times.st_size
    second = opened(tmp_path)
    assert len(decoded) == 10
    assert second.fingerprint != first.fingerprint
    assert second.read(4)[0, 0, 0] == 9


def test_another_pillow_scans_again(tmp_path, decoded, monkeypatch):
    opened(write(tmp_path, FILES))
    monkeypatch.setattr("PIL.__version__", "0.1")
    opened(tmp_path)
    assert len(decoded) == 10


def spoil(entry: Path, how: str) -> None:
    content = bytearray(entry.read_bytes())
    if how == "cut":
        entry.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        entry.write_bytes(b"")
    elif how == "flip":
        place = content.index(b"cat/y.jpg") if b"cat/y.jpg" in content else len(content) // 4
        content[place] ^= 1
        entry.write_bytes(content)
    elif how == "folder":
        entry.unlink()
        entry.mkdir()
    else:
        table = pq.read_table(entry)
        column = table.column_names.index("height")
        table = table.slice(1) if how == "rows" else table.remove_column(column)
        pq.write_table(table, entry)


@pytest.mark.parametrize("how", ["cut", "empty", "flip", "rows", "column"])
def test_a_broken_cache_entry_is_made_again(tmp_path, decoded, how):
    first = opened(write(tmp_path, FILES))
    (entry,) = cache_folder("scans").iterdir()
    whole = entry.read_bytes()
    spoil(entry, how)
    assert opened(tmp_path).fingerprint == first.fingerprint
    assert len(decoded) == 10
    assert entry.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_only_a_note(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "file"))
    assert len(opened(write(tmp_path / "set", FILES)).labels) == 5
    error = capsys.readouterr().err
    assert error.startswith("the scan is not kept for the next run: cannot write")
    assert error.endswith("set DREAMSHARDS_CACHE to a folder that can be written\n")


def test_progress_is_shown_when_it_takes_long(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("time.monotonic", iter(range(0, 1000, 3)).__next__)
    opened(many(tmp_path), "skip")
    assert capsys.readouterr().err == (
        f"scanning {tmp_path}: 128 of 201 files\nscanning {tmp_path}: 201 of 201 files\n"
    )


# ── reading ──


def test_a_file_changed_after_the_scan_is_refused(tmp_path):
    source = opened(write(tmp_path, FILES))
    path = tmp_path / "dog/b.png"
    same_size = bytearray(FILES["dog/b.png"])
    same_size[-1] ^= 1
    path.write_bytes(same_size)
    with pytest.raises(
        DreamshardsError, match=r"dog/b\.png changed since .*: got SHA-256 \w{64}; ex"
    ):
        source.read(4)
    path.write_bytes(FILES["dog/b.png"] + b"!")
    with pytest.raises(DreamshardsError, match=r"got more than \d+ bytes; expected \d+ bytes with"):
        source.read(4)
    path.write_bytes(b"!")
    with pytest.raises(
        DreamshardsError, match=r"got 1 bytes; .*start the build again in a new root"
    ):
        source.read(4)
    path.unlink()
    with pytest.raises(DreamshardsError, match=r"dog/b\.png, which could be read when .*: No such"):
        source.read(4)
    path.write_bytes(FILES["dog/b.png"])
    assert source.read(4)[0, 0, 0] == 1


def test_pickling_moves_arrays_out_of_band(tmp_path):
    source = opened(many(tmp_path), "skip")
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(source, protocol=5, buffer_callback=buffers.append)
    assert len(head) < 2000
    assert source.digests.nbytes in [buffer.raw().nbytes for buffer in buffers]
    copy = pickle.loads(head, buffers=buffers)
    assert np.shares_memory(copy.digests, source.digests)
    assert copy.ids.equals(source.ids)
    assert copy.root == source.root
    np.testing.assert_array_equal(copy.read(5), source.read(5))
