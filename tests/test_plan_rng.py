"""Streams of random words: where a read begins changes none of them."""

from __future__ import annotations

import numpy as np

from pipeline.plan.rng import BLOCK, Purpose, uniform_rows, words


def test_words_from_anywhere_in_a_stream_are_those_from_its_beginning() -> None:
    key = {"epoch": 3, "block": 5}
    whole = words(9, Purpose.PIXMIX, count=64, **key)
    assert whole[:2].tolist() == [6796453587340115194, 7854878912523054663]  # part of the format
    for skip in range(20):
        for count in (0, 1, 5, 44):
            found = words(9, Purpose.PIXMIX, count=count, skip=skip, **key)
            assert np.array_equal(found, whole[skip : skip + count])


def test_a_positions_row_depends_on_nothing_beside_it() -> None:
    key = {"seed": 4, "purpose": Purpose.BASE, "epoch": 1, "width": 7}
    whole = uniform_rows(start=0, stop=2 * BLOCK + 9, **key)
    for start, stop in ((0, 0), (1, 2), (3, 40), (BLOCK - 2, BLOCK + 3), (5, 2 * BLOCK + 9)):
        assert np.array_equal(uniform_rows(start=start, stop=stop, **key), whole[start:stop])
