"""Beta variates have the distribution they should, for any α, and the same bits on any processor."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pipeline.plan.beta import betas
from tests.elsewhere import without_avx

NUM = 50_000


def drawn(alpha: float, num: int = NUM) -> np.ndarray:
    return betas(np.random.default_rng(7).random(num), alpha)


@pytest.mark.parametrize("alpha", [0.2, 0.4, 0.999, 1.0, 1.5, 4.0, 30.0, 1000.0])
def test_the_distribution_is_that_of_beta(alpha: float) -> None:
    assert stats.kstest(drawn(alpha), stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.05])
def test_a_small_alpha_leaves_one_picture_or_the_other(alpha: float) -> None:
    found = drawn(alpha)
    assert (found >= 0).all()  # never a not-a-number
    assert (found <= 1).all()
    low, high = (found < 0.01).mean(), (found > 0.99).mean()
    expected = stats.beta(alpha, alpha).cdf(0.01)
    assert low == pytest.approx(expected, abs=0.01)
    assert high == pytest.approx(expected, abs=0.01)


def test_a_variate_depends_on_its_own_number_alone() -> None:
    u = np.random.default_rng(1).random(500)
    whole = betas(u, 0.3)
    assert np.array_equal(betas(u[200:300], 0.3), whole[200:300])
    assert np.array_equal(betas(u[::-1], 0.3), whole[::-1])


def test_variates_of_neighbouring_numbers_are_unrelated() -> None:
    u = (np.arange(20_000) + 0.5) * 2.0**-52  # the closest that the planner draws
    found = betas(u, 1.0)
    assert stats.kstest(found, "uniform").pvalue > 1e-3
    assert abs(stats.spearmanr(found[1:], found[:-1]).statistic) < 0.03


SCRIPT = """
import hashlib
import numpy as np
from pipeline.plan.beta import betas
u = (np.arange(3000) + 0.5) / 3000
for alpha in (0.001, 0.2, 1.0, 2.5):
    print(hashlib.sha256(betas(u, alpha).tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_another_processor_draws_the_same_bits() -> None:
    import hashlib

    u = (np.arange(3000) + 0.5) / 3000
    here = [
        hashlib.sha256(betas(u, alpha).tobytes()).hexdigest() for alpha in (0.001, 0.2, 1.0, 2.5)
    ]
    assert without_avx(SCRIPT) == here


def test_golden_draws() -> None:
    # Pins the format: these may change only with FORMAT_VERSION.
    assert betas(np.array([0.125, 0.5, 0.875]), 1.0).tolist() == GOLDEN


GOLDEN = [0.8550238728276162, 0.1813970830339353, 0.5162748911084504]
