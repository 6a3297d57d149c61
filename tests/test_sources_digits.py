"""The embedded digits: exact values, split, identity and shipping."""

from __future__ import annotations

import pickle
import subprocess
import sys
import typing

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UsageError
from pipeline.executor import InlineExecutor
from pipeline.source_sections import DigitsSource, SourceConfig
from pipeline.sources import SOURCES, ArraySource, open_source
from pipeline.sources.source import digest_of


def digits(split: str, count: int | None = None) -> ArraySource:
    config = DigitsSource.model_validate({"kind": "digits", "split": split, "count": count})
    source = open_source(config, InlineExecutor())
    assert isinstance(source, ArraySource)
    return source


def test_split_and_ids():
    train, test = digits("train"), digits("test")
    assert train.ids.to_pylist() == [f"digit-{row:04d}" for row in range(1437)]
    assert test.ids.to_pylist() == [f"digit-{row:04d}" for row in range(1437, 1797)]
    for source in (train, test):
        assert source.class_names == tuple("0123456789")
        assert source.pixels.shape == (len(source.labels), 32, 32, 3)
        assert source.heights.tolist() == source.widths.tolist() == [32] * len(source.labels)
        assert source.labels.dtype == source.heights.dtype == np.int32
        assert source.skipped == ()


@pytest.mark.parametrize("count", [1, 7, 360])
def test_a_count_takes_so_many_evenly_spread(count):
    whole, some = digits("test"), digits("test", count)
    rows = [place * 360 // count for place in range(count)]
    assert some.ids.to_pylist() == [f"digit-{1437 + row:04d}" for row in rows]
    np.testing.assert_array_equal(some.pixels, whole.pixels[rows])
    np.testing.assert_array_equal(some.labels, whole.labels[rows])
    assert some.class_names == whole.class_names
    assert (some.fingerprint == whole.fingerprint) == (count == 360)


def test_more_than_there_are_is_refused():
    with pytest.raises(UsageError, match=r"test split of digits holds 360 pictures, 361 are asked"):
        digits("test", 361)


def test_every_kind_of_the_recipe_has_an_opener():
    union, _discriminator = typing.get_args(SourceConfig)
    kinds = [
        kind
        for section in typing.get_args(union)
        for kind in typing.get_args(section.model_fields["kind"].annotation)
    ]
    assert sorted(kinds) == sorted(SOURCES)


def test_values():
    datasets = pytest.importorskip("sklearn.datasets")
    source, original = digits("test"), datasets.load_digits()
    np.testing.assert_array_equal(source.labels, original.target[1437:])
    for row in (0, 100, 359):
        small = [
            [round(value * 255 / 16) for value in line] for line in original.images[1437 + row]
        ]
        large = Image.fromarray(np.array(small, np.uint8)).resize(
            (32, 32), Image.Resampling.BICUBIC
        )
        np.testing.assert_array_equal(source.read(row), np.asarray(large.convert("RGB")))


def test_fingerprints_are_pinned():
    # May change only with the pixels (Pillow's bicubic filter), the ids or the serialisation, and
    # then every dataset built before counts as another one.
    assert digits("train").fingerprint == TRAIN
    assert digits("test").fingerprint == TEST


TRAIN = "07b338519ec6fd559fb6ef4cb0aea48a324ca65882e15ef063ae54dcd688c43a"
TEST = "d80d09abc7f3c7d97919d8a49e86b99b4ec91e325e4e2b2d38236e4e8e1ebc98"


def test_reading_gives_a_view():
    source = digits("test")
    assert np.shares_memory(source.read(3), source.pixels)


def test_fingerprint_covers_all_that_is_content():
    source = digits("test")

    def changed(**other: object) -> str:
        parts = {"class_names": source.class_names, "labels": source.labels, "ids": source.ids}
        return ArraySource.of(**{**parts, "pixels": source.pixels, **other}).fingerprint

    other_pixels = source.pixels.copy()
    other_pixels[5, 6, 7, 1] ^= 1
    found = {
        changed(),
        changed(pixels=other_pixels),
        changed(pixels=source.pixels.reshape(-1, 16, 64, 3)),
        changed(labels=source.labels[::-1].copy()),
        changed(ids=source.ids[::-1]),
        changed(class_names=("0", "1", "2", "3", "4", "5", "6", "7", "8", "nine")),
    }
    assert changed() == source.fingerprint
    assert len(found) == 6


def test_digest_keeps_strings_apart_and_ignores_slicing():
    import pyarrow as pa

    assert digest_of("x", ["ab", "c"]) != digest_of("x", ["a", "bc"])
    assert digest_of("x", ["é"]) == digest_of("x", pa.array(["skip", "é", "skip"])[1:2])
    assert digest_of("x", ["a"]) != digest_of("y", ["a"])
    assert digest_of("x", [""]) != digest_of("x", [])


def test_pickling_moves_arrays_out_of_band():
    source = digits("train")
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(source, protocol=5, buffer_callback=buffers.append)
    assert len(head) < 2000
    assert source.pixels.nbytes in [buffer.raw().nbytes for buffer in buffers]
    copy = pickle.loads(head, buffers=buffers)
    assert np.shares_memory(copy.pixels, source.pixels)
    assert copy.ids.equals(source.ids)
    assert copy.fingerprint == source.fingerprint


def test_workers_that_unpickle_a_source_import_no_sklearn():
    source = digits("test")
    code = (
        "import pickle, sys; source = pickle.load(sys.stdin.buffer); source.read(0); "
        "print(*sorted({'sklearn', 'torch', 'ray', 'urllib.request'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(source), capture_output=True, check=True
    )
    assert done.stdout.strip() == b""
