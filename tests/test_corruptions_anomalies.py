"""Synthetic anomalies: their laws, the blur of blobs against SciPy's, what a picture depends on."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from scipy import ndimage

from pipeline.corruptions.anomalies import ANOMALIES, anomaly_pictures, smooth_coins
from pipeline.corruptions.filters import gaussian_weights
from pipeline.errors import UsageError
from pipeline.pictures.splitmix import next_unit
from tests.elsewhere import without_avx

# A change of this means that the synthetic sets made before differ from those made after: say so in the
# change log of the same commit. It holds on any x86-64 processor.
GOLDEN = "36ff760fcc58f0ea0f1494917d52f965b60709744d5eec727edf14bd68a9370f"


def _golden() -> str:
    digest = hashlib.sha256()
    for kind in ANOMALIES:
        digest.update(anomaly_pictures(kind, 3, 32, 5, 1).data)
    return digest.hexdigest()


def test_golden_pictures() -> None:
    assert _golden() == GOLDEN


@pytest.mark.slow
def test_a_processor_without_avx_makes_the_same_bytes() -> None:
    script = "from tests.test_corruptions_anomalies import _golden; print(_golden())"
    assert without_avx(script) == [GOLDEN]


@pytest.mark.parametrize("kind", ANOMALIES)
def test_a_picture_depends_on_its_index_alone(kind: str) -> None:
    whole = anomaly_pictures(kind, 6, 16, 3)
    assert whole.shape == (6, 16, 16, 3)
    assert whole.dtype == np.uint8
    assert np.array_equal(whole[2:5], anomaly_pictures(kind, 3, 16, 3, first=2))
    assert len({picture.tobytes() for picture in whole}) == 6
    assert not np.array_equal(whole, anomaly_pictures(kind, 6, 16, 4))
    assert anomaly_pictures(kind, 0, 16, 3).shape == (0, 16, 16, 3)


def test_kinds_of_one_seed_share_no_draws() -> None:
    pictures = [anomaly_pictures(kind, 1, 32, 0).astype(float).ravel() for kind in ANOMALIES]
    assert abs(np.corrcoef(pictures) - np.eye(3)).max() < 0.08


def test_gaussian_noise_is_clipped_at_two_deviations() -> None:
    z = anomaly_pictures("gaussian", 500, 32, 0) / 127.5 - 1
    rounded = math.erfc((2 - 1 / 127.5) / math.sqrt(2)) / 2  # beyond half a byte before the end
    assert np.mean(z == 1) == pytest.approx(rounded, rel=0.03)
    assert np.mean(z == -1) == pytest.approx(rounded, rel=0.03)
    tail = math.erfc(math.sqrt(2)) / 2
    # E min(x², 4) of a standard normal number
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    variance = 0.25 * (1 - 2 * tail - 4 * density + 8 * tail)
    assert z.std() == pytest.approx(math.sqrt(variance), rel=0.005)
    assert abs(z.mean()) < 0.005
    inside = np.abs(z) < 0.5
    assert np.mean(inside) == pytest.approx(math.erf(math.sqrt(0.5)), abs=0.005)


def test_rademacher_pictures_are_fair_coins() -> None:
    pictures = anomaly_pictures("rademacher", 100, 32, 0)
    assert set(np.unique(pictures)) == {0, 255}
    z = pictures / 127.5 - 1
    assert abs(z.mean()) < 0.006
    for axis in (1, 2, 3):
        here = z.take(range(z.shape[axis] - 1), axis)
        assert abs(np.mean(here * z.take(range(1, z.shape[axis]), axis))) < 0.008


@pytest.mark.parametrize("sigma", [1.5, 2.0])
def test_coins_are_blurred_along_all_three_axes(sigma: float) -> None:
    side, state = 20, np.array([9], np.uint64)
    coins = np.array([next_unit(state) < 0.7 for _ in range(side * side * 3)], float)
    expected = ndimage.gaussian_filter(coins.reshape(side, side, 3), sigma, mode="nearest")
    plane, scratch = np.empty((2, side, side * 3))
    weights = gaussian_weights(sigma)
    smooth_coins(np.array([9], np.uint64), weights, plane, scratch, np.empty(3 * (side + 40)))
    assert plane.reshape(side, side, 3) == pytest.approx(expected, abs=1e-13)


def test_blobs_keep_what_is_above_three_quarters() -> None:
    pictures = anomaly_pictures("blobs", 200, 32, 0)
    kept = pictures > 0
    assert pictures[kept].min() == round(0.75 * 255)
    assert np.mean(kept) == pytest.approx(0.22, abs=0.01)
    agree = np.corrcoef(kept.reshape(-1, 3).T.astype(float))
    assert agree[0, 1] > 0.6
    # wider blurs come closer to the mean, 0.7, and so keep less
    assert np.mean(anomaly_pictures("blobs", 50, 64, 0) > 0) < 0.17
    assert np.mean(anomaly_pictures("blobs", 8, 224, 0) > 0) == pytest.approx(0.2, abs=0.02)


def test_neighbouring_channels_of_blobs_are_alike_before_the_threshold() -> None:
    """Blurring channels mixes rows (a, b, c) and (d, e, f) of weights; alone, they would share nothing."""
    state, weights = np.array([1], np.uint64), gaussian_weights(1.5)
    plane, scratch = np.empty((2, 300, 900))
    smooth_coins(state, weights, plane, scratch, np.empty(1000))
    channels = np.corrcoef(plane.reshape(-1, 3).T)
    mixing = ndimage.gaussian_filter1d(np.eye(3), 1.5, axis=0, mode="nearest")
    products = mixing @ mixing.T
    lengths = np.sqrt(np.diag(products))
    assert channels == pytest.approx(products / np.outer(lengths, lengths), abs=0.02)
    assert channels[0, 1] == pytest.approx(0.87, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gausian", 1, 32, 0), "did you mean 'gaussian'"),
        (("blobs", -1, 32, 0), "count -1"),
        (("blobs", 1, 0, 0), "size 0"),
        (("blobs", 1, 32, 2**64), "seed 18446744073709551616"),
        (("blobs", 1, 32, 0, -2), "first -2"),
    ],
)
def test_impossible_orders(arguments: tuple[str, int, int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        anomaly_pictures(*arguments)
