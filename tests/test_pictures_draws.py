"""Random decisions of pictures: keyed, pinned, and distributed as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pictures.draws import Draws, _ln
from pipeline.pictures.splitmix import next_signed, next_unit, next_word

GOLDEN_WORDS = [11709001266222083233, 8055359276711332334]
GOLDEN_UNIFORM = 0.2298732259113323
GOLDEN_CHOICE = 631
GOLDEN_DIRECTION = (0.8133850154586408, 0.581725722851712)
GOLDEN_NORMAL = 0.49932829040249593


def test_golden_draws() -> None:
    """May never change: every generated picture of every kind would."""
    draws = Draws(7, 0x494653, 3, 1)
    assert [draws.word() for _ in range(2)] == GOLDEN_WORDS
    assert draws.uniform(-1, 3) == GOLDEN_UNIFORM
    assert draws.choice(1000) == GOLDEN_CHOICE
    assert draws.direction() == GOLDEN_DIRECTION
    assert draws.normal() == GOLDEN_NORMAL


def test_every_part_of_the_key_counts() -> None:
    top = 2**64 - 1
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (top,) * 4]
    streams = [tuple(draws.word() for _ in range(8)) for draws in (Draws(*key) for key in keys)]
    assert len({word for stream in streams for word in stream}) == 8 * len(keys)
    again = Draws(*keys[1])
    assert tuple(again.word() for _ in range(8)) == streams[1]


def test_words_follow_on_past_a_block() -> None:
    draws = Draws(1, 2, 3, 4)
    words = [draws.word() for _ in range(200)]
    philox = np.random.Philox(key=np.array([1, 2], np.uint64), counter=[0, 0, 4, 3])
    assert words == philox.random_raw(200).tolist()


def test_distributions() -> None:
    draws = Draws(0, 1, 0, 0)
    normal = np.array([draws.normal() for _ in range(20_000)])
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.02
    assert abs((normal**4).mean() - 3) < 0.25
    assert 0.0015 < (np.abs(normal) > 3).mean() < 0.004  # 0.0027
    choices = np.bincount([draws.choice(7) for _ in range(7000)])
    assert choices.size == 7
    assert choices.min() > 850
    uniform = np.array([draws.uniform(2, 4) for _ in range(5000)])
    assert 2 <= uniform.min() < 2.01
    assert 3.99 < uniform.max() < 4
    directions = np.array([draws.direction() for _ in range(4000)])
    assert np.allclose((directions**2).sum(axis=1), 1)
    octants = np.floor(np.arctan2(directions[:, 1], directions[:, 0]) * 4 / np.pi).astype(int) + 4
    assert np.bincount(octants, minlength=8).min() > 400


@given(st.floats(1e-6, 1, exclude_min=True))
def test_logarithm(x: float) -> None:
    assert _ln(x) == pytest.approx(math.log(x), rel=1e-14, abs=1e-15)


def _splitmix(seed: int, num: int) -> list[int]:
    """SplitMix64 in Python's integers, straight from the paper."""
    words = []
    for _ in range(num):
        seed = (seed + 0x9E3779B97F4A7C15) % 2**64
        z = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        words.append(z ^ (z >> 31))
    return words


def test_splitmix_is_the_published_one() -> None:
    for seed in (0, 1, 2**64 - 1, 1234567):
        state = np.array([seed], np.uint64)
        assert [int(next_word(state)) for _ in range(5)] == _splitmix(seed, 5)
    assert _splitmix(1234567, 1) == [6457827717110365317]  # of the reference implementation
    word = _splitmix(5, 1)[0]
    assert next_unit(np.array([5], np.uint64)) == (word >> 11) / 2**53
    assert next_signed(np.array([5], np.uint64)) == (word >> 11) / 2**52 - 1
