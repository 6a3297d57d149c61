"""Mixing sets: the cache they are kept in, and the folder set."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.picture_sections import PICTURE_KINDS, FolderPictures, PicturesConfig
from pipeline.pictures import PICTURES, cache, open_pictures
from pipeline.pictures.cache import cached
from pipeline.pictures.chunks import Chunk, ChunkStore
from pipeline.pictures.picture_set import PictureSet, Tally
from pipeline.sources.images import decode, resize_shorter_side
from pipeline.sources.source import Skipped

EXAMPLE = Path(__file__).parents[2] / "shared" / "data" / "fractal.jpg"
CHUNKS = (
    Chunk(0, np.arange(24, dtype=np.uint8), [2, 1], [2, 4], ["a", "b"]),
    Chunk(1, np.arange(24, 33, dtype=np.uint8), [3], [1], ["ç d"], (Skipped("x", "cut short"),)),
)


class _NoWork:
    num_workers = 1

    def map(self, function: object, shared: object, jobs: object) -> Iterator[object]:
        raise AssertionError("nothing should be made")

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a cache of its own; returns where its entries are."""
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pictures"


def _never(_: object) -> Iterator[Chunk]:
    raise AssertionError("nothing should be made")


def _assert_whole(pictures: PictureSet) -> None:
    assert pictures.pixels.tolist() == list(range(33))
    assert pictures.offsets.tolist() == [0, 12, 24]
    assert pictures.heights.tolist() == [2, 1, 3]
    assert pictures.widths.tolist() == [2, 4, 1]
    assert pictures.ids.to_pylist() == ["a", "b", "ç d"]
    assert pictures.skipped == (Skipped("x", "cut short"),)
    assert pictures.picture(1).shape == (1, 4, 3)
    assert (pictures.offsets.dtype, pictures.heights.dtype) == (np.int64, np.int32)


# ── cache ──


def test_a_set_is_stored_once_and_memory_mapped(folder: Path) -> None:
    made = cached("k", 4, lambda _: CHUNKS)
    again = cached("k", 4, _never)
    _assert_whole(made)
    _assert_whole(again)
    assert made.digest == again.digest
    assert not again.pixels.flags.writeable
    assert isinstance(again.pixels.base, np.memmap)
    assert sorted(path.name for path in (folder / "k").iterdir()) == ["index.parquet", "pixels.npy"]
    assert [path.name for path in folder.iterdir()] == ["k"]
    assert np.load(folder / "k" / "pixels.npy").tolist() == list(range(33))


def test_the_order_in_which_chunks_arrive_does_not_matter(folder: Path) -> None:
    first = cached("k", 4, lambda _: CHUNKS)
    second = cached("l", 4, lambda _: CHUNKS[::-1])
    _assert_whole(second)
    assert first.digest == second.digest
    for name in ("pixels.npy", "index.parquet"):
        assert (folder / "k" / name).read_bytes() == (folder / "l" / name).read_bytes()


def test_the_digest_covers_sizes_ids_and_pixels() -> None:
    def digest(chunk: Chunk) -> str:
        return cached(f"k{chunk}", 1, lambda _: (chunk,)).digest

    base = Chunk(0, np.zeros(12, np.uint8), [2], [2], ["a"])
    # May change only together with the format of the cache: datasets record this digest.
    assert digest(base) == "69933846c90cdcde49d9e87a54e15a75f09eaf68339ca77445e7ab4833a0a4bd"
    other = np.zeros(12, np.uint8)
    other[11] = 1
    variants = [
        base._replace(pixels=other),
        base._replace(heights=[1], widths=[4]),
        base._replace(ids=["b"]),
    ]
    assert len({digest(chunk) for chunk in (base, *variants)}) == 4


def test_verify_finds_one_changed_pixel(folder: Path) -> None:
    cached("k", 4, lambda _: CHUNKS).verify()
    with (folder / "k" / "pixels.npy").open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\xff")
    pictures = cached("k", 4, _never)
    with pytest.raises(DreamshardsError, match=f"expected digest {pictures.digest}, found"):
        pictures.verify()


@pytest.mark.parametrize("name", ["pixels.npy", "index.parquet"])
@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "missing", "garbage"])
def test_a_broken_entry_is_reported_and_made_again(
    name: str, damage: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cached("k", 4, lambda _: CHUNKS)
    path = folder / "k" / name
    content = path.read_bytes()
    changed = {
        "cut": content[:-1],
        "longer": content + b"\0",
        "empty": b"",
        "garbage": b"\x80" * len(content),
    }
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(changed[damage])
    _assert_whole(cached("k", 4, lambda _: CHUNKS))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(folder / "k") in caplog.text
    _assert_whole(cached("k", 4, _never))
    assert [path.name for path in folder.iterdir()] == ["k"]


def test_a_file_in_the_place_of_an_entry_is_replaced(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "k").write_bytes(b"?")
    _assert_whole(cached("k", 4, lambda _: CHUNKS))
    _assert_whole(cached("k", 4, _never))


def test_of_two_that_make_one_set_the_later_discards_its_copy(folder: Path) -> None:
    def overtaken(_: object) -> Iterator[Chunk]:
        yield CHUNKS[0]
        _assert_whole(cached("k", 4, lambda _: CHUNKS))
        inode.append((folder / "k").stat().st_ino)
        yield CHUNKS[1]

    inode: list[int] = []
    _assert_whole(cached("k", 4, overtaken))
    assert (folder / "k").stat().st_ino == inode[0]
    assert [path.name for path in folder.iterdir()] == ["k"]


def test_two_processes_that_make_one_set_at_once(folder: Path) -> None:
    script = (
        "import pathlib, sys, time, numpy as np\n"
        "from pipeline.pictures.cache import cached\n"
        "from pipeline.pictures.chunks import Chunk\n"
        "def make(store):\n"
        "    while len(list(pathlib.Path(sys.argv[1]).glob('.k.*.tmp'))) < 2:\n"
        "        time.sleep(0.01)\n"
        "    yield Chunk(0, np.zeros(12, np.uint8), [2], [2], ['a'])\n"
        "print(cached('k', 1, make).digest)\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    digests = [process.communicate(timeout=120)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert digests[0] == digests[1] == cached("k", 1, _never).digest
    assert [path.name for path in folder.iterdir()] == ["k"]


def _failing(_: object) -> Iterator[Chunk]:
    yield CHUNKS[0]
    raise DreamshardsError("the worker fell over")


def test_after_an_exception_only_what_is_left_is_made(folder: Path) -> None:
    with pytest.raises(DreamshardsError, match="the worker fell over"):
        cached("k", 4, _failing)
    assert [path.name for path in folder.iterdir()] == [".k.chunks"]

    def rest(store: ChunkStore) -> Iterator[Chunk]:
        assert store.numbers == {0}
        assert store.num_pictures == 2
        yield CHUNKS[1]

    _assert_whole(cached("k", 4, rest))
    assert [path.name for path in folder.iterdir()] == ["k"]


@pytest.mark.parametrize("keep", [0, 1, 0.5, 0.99])
def test_a_damaged_chunk_is_made_again(folder: Path, keep: float) -> None:
    with pytest.raises(DreamshardsError):
        cached("k", 4, _failing)
    stored = folder / ".k.chunks" / "000000.npz"
    content = stored.read_bytes()
    if keep == 1:
        stored.write_bytes(content.replace(bytes(range(24)), bytes(range(1, 25))))
    else:
        stored.write_bytes(content[: int(keep * len(content))])

    def all_of_it(store: ChunkStore) -> Iterator[Chunk]:
        assert store.numbers == set()
        yield from CHUNKS

    _assert_whole(cached("k", 4, all_of_it))


def test_chunks_of_a_set_that_another_process_makes_are_left_alone(folder: Path) -> None:
    def overtaken(store: ChunkStore) -> Iterator[Chunk]:
        yield CHUNKS[0]
        with pytest.raises(DreamshardsError):
            cached("k", 4, _failing)
        yield CHUNKS[1]

    _assert_whole(cached("k", 4, overtaken))


def test_tallies_of_chunks_are_added_up_by_kind() -> None:
    tallies = Tally("flame", 2, 5, 2, 1, 0), Tally("ifs", 1, 1, 0, 0, 0)
    chunks = CHUNKS[0]._replace(tallies=tallies), CHUNKS[1]._replace(tallies=tallies[:1])
    for _ in range(2):  # made, then from the cache
        found = cached("k", 4, lambda _: chunks).tallies
        assert found == (Tally("flame", 4, 10, 4, 2, 0), Tally("ifs", 1, 1, 0, 0, 0))


def test_a_kill_leaves_nothing_visible_and_the_remains_go_in_time(folder: Path) -> None:
    script = (
        "import os, signal, numpy as np\n"
        "from pipeline.pictures.cache import cached\n"
        "from pipeline.pictures.chunks import Chunk\n"
        "def make(store):\n"
        "    yield Chunk(0, np.zeros(12, np.uint8), [2], [2], ['a'])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "cached('k', 2, make)\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    remains, chunks = sorted(folder.iterdir(), key=lambda path: path.suffix, reverse=True)
    assert chunks.name == ".k.chunks"
    assert remains.name.startswith(".k.")
    cached("m", 4, lambda _: CHUNKS)
    assert remains.exists()  # another process might be writing it
    for left, days in ((remains, 1.1), (chunks, 7.1)):
        past = time.time() - days * 24 * 3600
        for path in (left, *left.iterdir()):
            os.utime(path, (past, past))
        cached(f"after {days} days", 4, lambda _: CHUNKS)
        assert not left.exists()
    assert sorted(path.name for path in folder.iterdir()) == [
        "after 1.1 days",
        "after 7.1 days",
        "m",
    ]


def test_a_full_disk_names_the_cache_and_the_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(DreamshardsError, match=r"No space left.*set DREAMSHARDS_CACHE") as caught:
        cached("k", 4, lambda _: CHUNKS)
    assert str(folder) in str(caught.value)
    assert [path.name for path in folder.iterdir()] == [".k.chunks"]


# ── folder ──


def _save(path: Path, height: int, width: int, mode: str = "RGB", seed: int = 0) -> None:
    pixels = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (height, width, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(path)


def _open(path: Path, size: int = 12, skip: bool = False) -> PictureSet:
    config = FolderPictures(
        kind="folder", path=str(path), size=size, on_unreadable="skip" if skip else "stop"
    )
    return open_pictures(config, InlineExecutor())


def test_the_published_layout_is_taken_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "fractals_and_fvis"
    _save(root / "fractals/images/deviantart_1_Blue  Moon_IMGP.jpg", 20, 30)
    _save(root / "fractals/images/deviantart_2_é_IMGP.JPG", 30, 20)
    _save(root / "first_layers_resized256_onevis/images/4.png", 24, 24)
    _save(root / "first_layers_resized256_onevis/images/10.png", 6, 8)
    (root / "fractals/README.txt").write_text("no picture")
    _save(root / ".thumbnails/1.png", 9, 9)
    _save(root / "fractals/images/._deviantart_1.jpg", 9, 9)
    pictures = _open(root)
    assert pictures.ids.to_pylist() == [
        "first_layers_resized256_onevis/images/10.png",
        "first_layers_resized256_onevis/images/4.png",
        "fractals/images/deviantart_1_Blue  Moon_IMGP.jpg",
        "fractals/images/deviantart_2_é_IMGP.JPG",
    ]
    sizes = list(zip(pictures.heights.tolist(), pictures.widths.tolist(), strict=True))
    assert sizes == [(12, 16), (12, 12), (12, 18), (18, 12)]
    for index, name in enumerate(pictures.ids.to_pylist()):
        expected = resize_shorter_side(decode((root / name).read_bytes(), name), 12)
        assert np.array_equal(pictures.picture(index), expected)
    pictures.verify()


def test_pictures_directly_in_the_folder_and_every_colour_mode(tmp_path: Path) -> None:
    for mode in ("L", "P", "RGBA", "LA", "1", "RGB"):
        _save(tmp_path / "set" / f"{mode}.png", 15, 20, mode)
    pictures = _open(tmp_path / "set", size=15)
    assert pictures.ids.to_pylist() == ["1.png", "L.png", "LA.png", "P.png", "RGB.png", "RGBA.png"]
    assert {pictures.picture(i).shape for i in range(6)} == {(15, 20, 3)}


def test_a_long_picture_keeps_its_aspect(tmp_path: Path) -> None:
    _save(tmp_path / "set" / "strip.png", 9, 1000)
    assert _open(tmp_path / "set", size=36).picture(0).shape == (36, 4000, 3)


def test_the_second_opening_decodes_nothing(tmp_path: Path) -> None:
    _save(tmp_path / "set" / "a.png", 15, 20)
    first = _open(tmp_path / "set")
    (tmp_path / "set").rename(tmp_path / "moved")  # the path is no part of the key
    config = FolderPictures(kind="folder", path=str(tmp_path / "moved"), size=12)
    assert open_pictures(config, _NoWork()).digest == first.digest


def test_content_names_and_size_make_a_new_set(tmp_path: Path, folder: Path) -> None:
    root = tmp_path / "set"
    _save(root / "a.png", 15, 20)
    digests = {_open(root).digest}
    _save(root / "a.png", 15, 20, seed=1)
    digests.add(_open(root).digest)
    (root / "a.png").rename(root / "b.png")
    digests.add(_open(root).digest)
    digests.add(_open(root, size=13).digest)
    assert len(digests) == len(list(folder.iterdir())) == 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_bytes(b""), "is a file, not a folder"),
        (lambda path: path.mkdir(), r"holds no pictures at any depth; accepted: .*\.jpg.*\.png"),
    ],
)
def test_a_folder_without_pictures_is_a_usage_error(
    make: object, words: str, tmp_path: Path
) -> None:
    assert callable(make)
    make(tmp_path / "set")
    with pytest.raises(UsageError, match=f"mixing_set.path = '{tmp_path / 'set'}' {words}"):
        _open(tmp_path / "set")


def test_a_name_that_is_not_utf_8_is_a_usage_error(tmp_path: Path) -> None:
    _save(tmp_path / "set" / "a.png", 9, 9)
    (tmp_path / "set" / "a.png").rename(tmp_path / "set" / os.fsdecode(b"\xff.png"))
    with pytest.raises(UsageError, match=r"\\xff\.png.* is not UTF-8"):
        _open(tmp_path / "set")


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    _save(tmp_path / "elsewhere" / "a.png", 9, 9)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "one").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "two").symlink_to(tmp_path / "elsewhere")
    assert _open(tmp_path / "set").ids.to_pylist() == ["one/a.png", "two/a.png"]
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")
    with pytest.raises(UsageError, match="link back to a folder"):
        _open(tmp_path / "set")


def _spoil(root: Path) -> None:
    _save(root / "good.png", 15, 20)
    (root / "empty.jpg").write_bytes(b"")
    (root / "text.png").write_text("no picture")
    (root / "dangling.png").symlink_to("nowhere.png")


def test_unreadable_pictures_stop_with_a_full_list(tmp_path: Path, folder: Path) -> None:
    _spoil(tmp_path / "set")
    with pytest.raises(DreamshardsError, match="3 of 4 pictures") as caught:
        _open(tmp_path / "set")
    lines = str(caught.value).splitlines()
    assert "--set mixing_set.on_unreadable=skip" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "dangling.png",
        "empty.jpg",
        "text.png",
    ]
    assert [path.suffix for path in folder.iterdir()] == [".chunks"]
    with pytest.raises(DreamshardsError, match="3 of 4 pictures"):  # from what was stored
        _open(tmp_path / "set")


def test_unreadable_pictures_can_be_left_out_and_are_recorded(tmp_path: Path) -> None:
    _spoil(tmp_path / "set")
    for _ in range(2):  # made, then from the cache
        pictures = _open(tmp_path / "set", skip=True)
        assert pictures.ids.to_pylist() == ["good.png"]
        assert [skip.id for skip in pictures.skipped] == ["dangling.png", "empty.jpg", "text.png"]
        assert pictures.skipped[0].reason == "No such file or directory"
    with pytest.raises(DreamshardsError, match="3 of 4 pictures"):  # from the cache, too
        _open(tmp_path / "set")


def test_nothing_but_unreadable_pictures_stops_in_any_case(tmp_path: Path) -> None:
    _spoil(tmp_path / "set")
    (tmp_path / "set" / "good.png").unlink()
    with pytest.raises(DreamshardsError, match=r"3 of 3 pictures .* not one can be used"):
        _open(tmp_path / "set", skip=True)


def test_a_file_that_changes_meanwhile_stops(tmp_path: Path) -> None:
    class Late(InlineExecutor):
        def map(self, function, shared, jobs):  # type: ignore[no-untyped-def]
            _save(tmp_path / "set" / "a.png", 15, 20, seed=1)
            return super().map(function, shared, jobs)

    _save(tmp_path / "set" / "a.png", 15, 20)
    config = FolderPictures(kind="folder", path=str(tmp_path / "set"), size=12)
    with pytest.raises(DreamshardsError, match=r"a\.png changed while"):
        open_pictures(config, Late())


@pytest.mark.skipif(not EXAMPLE.exists(), reason="no example picture beside the checkout")
def test_a_picture_in_the_style_of_the_published_set(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "fractal.jpg").write_bytes(EXAMPLE.read_bytes())
    picture = _open(tmp_path / "set", size=36).picture(0)
    assert picture.shape == (36, 36, 3)
    assert picture.std() > 20


def test_every_kind_of_a_recipe_has_a_maker() -> None:
    models = PicturesConfig.__origin__.__args__  # type: ignore[attr-defined]
    kinds = [kind for model in models for kind in model.model_fields["kind"].annotation.__args__]
    assert sorted(kinds) == sorted(PICTURES) == list(PICTURE_KINDS)
