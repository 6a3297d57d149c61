"""Flips and top-5 distances against hand-made sequences, published figures and slow twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluation.benchmarks import ALEXNET_FLIPS, SEQUENCES, is_noise
from evaluation.measures import consistency, flip_probability, mfr, mt5d, t5d, top5
from pipeline.errors import DreamshardsError

RESNEXT_FLIPS = (
    *(0.10626, 0.13105, 0.04463, 0.03518, 0.05784),
    *(0.02610, 0.04024, 0.05590, 0.03313, 0.08868),
)
"""Of torchvision's resnext101_32x8d, as others measured them, in the order of the benchmark."""
RESNEXT_T5D = (3.429, 3.967, 1.398, 1.090, 1.698, 0.962, 1.558, 1.980, 1.290, 2.679)


def test_flips_of_one_sequence():
    sequence = [[0, 0, 1, 1, 2]]
    assert flip_probability(sequence) == 0.5
    assert flip_probability(sequence, noise=True) == 0.75


def test_flips_of_two_frames():
    assert flip_probability([[4, 4]]) == flip_probability([[4, 4]], noise=True) == 0.0
    assert flip_probability([[4, 5]]) == flip_probability([[4, 5]], noise=True) == 1.0
    assert flip_probability([[4, 5], [1, 1]]) == 0.5


def test_a_flip_back_counts_twice_unless_held_to_the_first_frame():
    assert flip_probability([[7, 3, 7]]) == 1.0
    assert flip_probability([[7, 3, 7]], noise=True) == 0.5


def test_flips_at_a_higher_difficulty():
    # pairs two apart: (0,1) (0,1) (1,2)
    assert flip_probability([[0, 0, 1, 1, 2]], difficulty=2) == 1.0
    assert flip_probability([[0, 1, 0, 1, 0]], difficulty=2) == 0.0


def _slow_flips(predictions, *, noise, difficulty):
    """Walk each strided subsequence frame by frame."""
    sequences = []
    for frames in predictions:
        flips = []
        for start in range(difficulty):
            before = frames[start]
            for frame in frames[start::difficulty][1:]:
                flips.append(frame != before)
                if not noise:
                    before = frame
        sequences.append(np.mean(flips))
    return np.mean(sequences)


def _slow_t5d(rankings, *, noise, difficulty):
    """Count rank by rank, as the paper's double sum does: from one place to the other, down to the sixth."""
    sequences = []
    for frames in rankings:
        pairs = []
        for start in range(difficulty):
            before = frames[start]
            for frame in frames[start::difficulty][1:]:
                total = 0
                for i, label in enumerate(before[:5], 1):
                    moved = list(frame).index(label) + 1
                    passed = range(min(i, moved) + 1, max(i, moved) + 1)
                    total += sum(1 <= j - 1 <= 5 for j in passed)
                pairs.append(total)
                if not noise:
                    before = frame
        sequences.append(np.mean(pairs))
    return np.mean(sequences)


predictions = hnp.arrays(
    np.int64, st.tuples(st.integers(1, 5), st.integers(2, 7)), elements=st.integers(0, 3)
)


@given(predictions, st.data())
def test_flips_are_those_of_a_slow_walk(frames, data):
    noise = data.draw(st.booleans())
    difficulty = 1 if noise else data.draw(st.integers(1, frames.shape[1] - 1))
    found = flip_probability(frames, noise=noise, difficulty=difficulty)
    assert found == pytest.approx(_slow_flips(frames, noise=noise, difficulty=difficulty))
    assert 0 <= found <= 1
    order = data.draw(st.permutations(range(len(frames))))
    assert flip_probability(frames[order], noise=noise, difficulty=difficulty) == found


def test_top5_breaks_ties_by_class():
    assert top5([[0.0, 3.0, 3.0, 1.0, 3.0, 0.0, -1.0]]).tolist() == [[1, 2, 4, 3, 0]]
    assert top5(np.zeros((1, 1, 5), np.float32)).tolist() == [[[0, 1, 2, 3, 4]]]


def test_top5_of_many_classes_with_many_ties():
    logits = np.random.default_rng(0).integers(0, 9, (20, 1000)).astype(np.float32)
    expected = [sorted(range(1000), key=lambda c, row=row: (-row[c], c))[:5] for row in logits]
    assert top5(logits).tolist() == expected


def test_top5_in_parts_is_that_of_the_whole(monkeypatch):
    logits = np.random.default_rng(0).normal(size=(7, 3, 9)).astype(np.float32)
    whole = top5(logits)
    assert np.array_equal(whole, np.argsort(-logits, axis=2, kind="stable")[..., :5])
    distance = t5d(whole)
    monkeypatch.setattr(consistency, "_ROWS", 4)
    assert np.array_equal(top5(logits), whole)
    assert t5d(whole) == distance


def _ranked(*rankings: list[int]) -> np.ndarray:
    """Return logits [1, F, C] of which the classes rank as given."""
    logits = np.empty((1, len(rankings), len(rankings[0])))
    for frame, ranking in enumerate(rankings):
        logits[0, frame, ranking] = -np.arange(len(ranking))
    return logits


IDENTITY = list(range(10))


@pytest.mark.parametrize(
    ("ranking", "distance"),
    [
        (IDENTITY, 0),
        ([1, 0, 2, 3, 4, 5, 6, 7, 8, 9], 2),
        ([0, 1, 2, 3, 5, 4, 6, 7, 8, 9], 1),
        ([0, 1, 2, 3, 4, 6, 5, 7, 8, 9], 0),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 0], 9),
        (IDENTITY[::-1], 15),
        ([4, 3, 5, 6, 7, 8, 9, 0, 1, 2], 18),  # the farthest there is
    ],
)
def test_distance_of_known_rankings(ranking, distance):
    best = top5(_ranked(IDENTITY, ranking))
    assert t5d(best) == distance
    assert t5d(best, noise=True) == distance


def test_distance_is_not_symmetric():
    # the reference's fifth class goes to the first rank, against its first class to the fifth
    forth = top5(_ranked([0, 1, 2, 3, 4, 5], [5, 0, 1, 2, 3, 4]))
    back = forth[:, ::-1]
    assert t5d(forth) == 5  # five classes, one rank each
    assert t5d(back) == 5 + 1 + 1 + 1 + 1  # 5 falls out of the first rank, four rise by one
    assert t5d(np.concatenate([forth, back])) == 7


def test_distance_held_to_the_first_or_to_the_frame_before():
    swapped = [1, 0, *IDENTITY[2:]]
    best = top5(_ranked(IDENTITY, swapped, swapped, IDENTITY))
    assert t5d(best) == pytest.approx(4 / 3)
    assert t5d(best, noise=True) == pytest.approx(4 / 3)
    assert t5d(best[:, :3]) == 1.0
    assert t5d(best[:, :3], noise=True) == 2.0
    assert t5d(best, difficulty=3) == 0.0


@settings(max_examples=40)
@given(st.data())
def test_distances_are_those_of_a_slow_walk(data):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(2, 5)))
    num_classes = data.draw(st.integers(5, 9))
    rankings = np.array(
        [
            [data.draw(st.permutations(range(num_classes))) for _ in range(shape[1])]
            for _ in range(shape[0])
        ]
    )
    noise = data.draw(st.booleans())
    difficulty = 1 if noise else data.draw(st.integers(1, shape[1] - 1))
    found = t5d(rankings[..., :5], noise=noise, difficulty=difficulty)
    assert found == pytest.approx(_slow_t5d(rankings, noise=noise, difficulty=difficulty))
    assert 0 <= found <= 18


def test_mean_flip_rate_of_known_networks():
    flips = dict(zip(SEQUENCES, RESNEXT_FLIPS, strict=True))
    assert 100 * mfr(flips, normalise="alexnet") == pytest.approx(46.15, abs=0.005)
    assert mfr(flips) == pytest.approx(np.mean(RESNEXT_FLIPS))
    alexnet = {name: ALEXNET_FLIPS[name] for name in SEQUENCES}
    assert mfr(alexnet, normalise="alexnet") == pytest.approx(1.0)
    assert mfr(alexnet) == pytest.approx(0.14046, abs=1e-5)


def test_mean_distance_raw_and_by_a_reference():
    distances = dict(zip(SEQUENCES, RESNEXT_T5D, strict=True))
    assert mt5d(distances) == pytest.approx(2.005, abs=5e-4)
    assert mt5d(distances, reference=distances) == pytest.approx(1.0)
    halves = {name: 2 * value for name, value in distances.items()}
    assert mt5d(distances, reference=halves) == pytest.approx(0.5)


def test_a_mean_over_other_sequences_is_asked_for_by_name():
    with_spatter = tuple("spatter" if name == "snow" else name for name in SEQUENCES)
    flips = {name: ALEXNET_FLIPS[name] for name in with_spatter}
    with pytest.raises(DreamshardsError, match="missing: snow; not among them: 'spatter'"):
        mfr(flips)
    assert mfr(flips, names=with_spatter, normalise="alexnet") == pytest.approx(1.0)


def test_which_sequences_are_noise():
    assert [name for name in SEQUENCES if is_noise(name)] == ["gaussian_noise", "shot_noise"]
    assert is_noise("speckle_noise")
    assert not is_noise("gaussian_blur")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flip_probability([[1]]), "got sequences of 1 frame; allowed: 2 or more"),
        (lambda: flip_probability([1, 2]), r"got shape \[2\]; allowed: \[n, F\]"),
        (lambda: flip_probability([[1, 2, 3]], difficulty=3), "difficulty = 3; allowed: 1 to 2"),
        (lambda: flip_probability([[1, 2, 3]], difficulty=0), "difficulty = 0; allowed: 1 to 2"),
        (lambda: flip_probability([[1, 2, 3]], noise=True, difficulty=2), "2 with noise"),
        (lambda: top5(np.zeros((2, 4))), "got 4 classes; allowed: 5 or more"),
        (lambda: top5(np.full((2, 5), np.nan)), "NaN in 10 of 10 values"),
        (lambda: top5(np.zeros((2, 5), np.int64)), r"allowed: floats \[n, C\]"),
        (lambda: t5d(np.zeros((2, 3, 5), np.int64)), "a class comes twice in a frame"),
        (lambda: t5d(np.zeros((2, 3, 4), np.int64)), r"allowed: \[n, F, 5\]"),
        (lambda: mfr(dict.fromkeys(SEQUENCES, 3.4)), "got 3.4; allowed: 0 to 1, not percent"),
        (lambda: mfr(dict.fromkeys(SEQUENCES, 0.1), normalise="x"), "normalise = 'x'"),
        (lambda: mt5d(dict.fromkeys(SEQUENCES, 19.0)), "got 19.0; allowed: 0 to 18"),
        (
            lambda: mt5d(dict.fromkeys(SEQUENCES, 1.0), reference={"snow": 1.0}),
            "gaussian_noise: the reference has no value",
        ),
    ],
)
def test_refused(call, message):
    with pytest.raises(DreamshardsError, match=message):
        call()
