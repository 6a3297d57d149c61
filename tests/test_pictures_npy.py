"""Arrays as mixing sets: mapped where they fit, padded as the published transform does, refused in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.executor import InlineExecutor
from pipeline.picture_sections import NpyPictures
from pipeline.pictures import npy, open_pictures
from pipeline.pictures.picture_set import PictureSet
from pipeline.sources.images import resize_shorter_side

U8 = npy.U8


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def _save(num: int = 10, height: int = 32, width: int = 32) -> U8:
    generator = np.random.Generator(np.random.PCG64(0))
    array = generator.integers(0, 256, (num, height, width, 3)).astype(np.uint8)
    np.save("random.npy", array)
    return array


def _open(size: int | None = None, count: int | None = None, padding: int = 0) -> PictureSet:
    config = NpyPictures(kind="npy", path="random.npy", size=size, count=count, padding=padding)
    return open_pictures(config, InlineExecutor())


def test_an_array_is_mapped_as_it_is() -> None:
    array = _save()
    pictures = _open()
    assert not pictures.pixels.flags.writeable
    assert len(pictures) == 10
    for place in range(10):
        assert np.array_equal(pictures.picture(place), array[place])
    assert pictures.ids.to_pylist()[:2] == ["000000", "000001"]
    assert not Path("cache").exists()  # nothing was copied
    pictures.verify()
    assert _open(size=32).digest == pictures.digest  # they are of that size already


def test_some_of_an_array_are_spread_evenly() -> None:
    array = _save()
    pictures = _open(count=4)
    assert pictures.ids.to_pylist() == ["000000", "000002", "000005", "000007"]
    assert np.array_equal(pictures.picture(3), array[7])
    pictures.verify()
    assert pictures.digest != _open().digest


def test_padding_is_that_of_the_published_transform() -> None:
    array = _save()
    pictures = _open(padding=4)
    for place in range(10):
        expected = np.zeros((40, 40, 3), np.uint8)
        expected[4:36, 4:36] = array[place]
        assert np.array_equal(pictures.picture(place), expected)
    pictures.verify()


def test_resizing_is_that_of_folders() -> None:
    array = _save(70, 20, 30)
    pictures = _open(size=12, count=66)
    assert pictures.picture(65).shape == (12, 18, 3)
    place = int(pictures.ids[65].as_py())
    assert np.array_equal(pictures.picture(65), resize_shorter_side(array[place], 12))
    pictures.verify()


def test_content_and_options_make_a_new_set() -> None:
    array = _save()
    digests = {
        _open().digest,
        _open(padding=1).digest,
        _open(size=16).digest,
        _open(count=9).digest,
    }
    array[9, 31, 31, 2] ^= 1
    np.save("random.npy", array)
    digests |= {_open().digest, _open(padding=1).digest}
    assert len(digests) == 6


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), r"holds float32 \[2, 8, 8, 3\]"),
        (np.zeros((2, 8, 8), np.uint8), r"holds uint8 \[2, 8, 8\]"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"holds uint8 \[2, 3, 8, 8\]"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"holds uint8 \[0, 8, 8, 3\]"),
        (np.asfortranarray(np.zeros((2, 8, 8, 3), np.uint8)), "in C order"),
    ],
)
def test_other_arrays_are_refused(array: U8, words: str) -> None:
    np.save("random.npy", array)
    with pytest.raises(UsageError, match=words):
        _open()


def test_what_is_no_array_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'random.npy' does not exist; allowed: a \.npy file"):
        _open()
    Path("random.npy").mkdir()
    with pytest.raises(UsageError, match="is a folder, not a file"):
        _open()
    Path("random.npy").rmdir()
    for content in (b"", b"no array", b"\x93NUMPY\x01\x00"):
        Path("random.npy").write_bytes(content)
        with pytest.raises(UsageError, match=r"cannot be read as a \.npy file"):
            _open()
    with Path("random.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(UsageError, match=r"is \.npz"):
        _open()
    _save()
    Path("random.npy").write_bytes(Path("random.npy").read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"cannot be read as a \.npy file"):
        _open()


def test_fewer_than_asked_for_is_refused() -> None:
    _save()
    with pytest.raises(
        UsageError, match="holds 10 pictures, 11 are asked for; lower the count to 10"
    ):
        _open(count=11)
