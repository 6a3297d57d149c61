"""Elementary functions: close to NumPy's everywhere, exact where they should be, the same everywhere."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pictures import arithmetic
from pipeline.render.jit import kernel
from tests.elsewhere import without_avx

# A change of this means that the bytes of every generated picture may change.
GOLDEN = "95375576817ffe6d8885699f166f2428a73dc50db7d33eb8e868410972502b32"

unhurried = settings(deadline=None)  # a first call compiles


def _golden() -> str:
    generator = np.random.Generator(np.random.PCG64(0))
    values = []
    for x, y in (generator.random((2000, 2)) * 40 - 20).tolist():
        values += [arithmetic.sin(x), arithmetic.cos(x), arithmetic.atan2(y, x)]
        values += [arithmetic.exp2(x), arithmetic.exp(x), arithmetic.log2(abs(x))]
        values += [arithmetic.log(abs(x)), arithmetic.power(abs(x), y)]
    return hashlib.sha256(np.array(values).data).hexdigest()


def test_golden_bits() -> None:
    assert _golden() == GOLDEN


@pytest.mark.slow
def test_a_processor_without_avx_computes_the_same_bits() -> None:
    script = "from tests.test_pictures_arithmetic import _golden; print(_golden())"
    assert without_avx(script) == [GOLDEN]


@unhurried
@given(st.floats(-1e6, 1e6))
def test_sine_and_cosine(x: float) -> None:
    assert abs(arithmetic.sin(x) - math.sin(x)) < 1e-15
    assert abs(arithmetic.cos(x) - math.cos(x)) < 1e-15
    assert arithmetic.sin_cos(x) == (arithmetic.sin(x), arithmetic.cos(x))


@unhurried
@given(st.floats(-1e6, 1e6))
def test_sine_is_odd_and_cosine_even(x: float) -> None:
    assert arithmetic.sin(-x) == -arithmetic.sin(x)
    assert arithmetic.cos(-x) == arithmetic.cos(x)


@unhurried
@given(st.integers(-300_000, 300_000))
def test_sine_near_its_zeros_keeps_its_digits(n: int) -> None:
    """At the float nearest to nπ the sine is that float's distance from nπ, about 1e-16 to 1e-11."""
    x = n * math.pi
    assert arithmetic.sin(x) == pytest.approx(math.sin(x), rel=1e-9, abs=1e-25)


@unhurried
@given(st.floats(1e6, 1e12))
def test_sines_of_large_angles_lose_digits_slowly(x: float) -> None:
    assert abs(arithmetic.sin(x) - math.sin(x)) <= 4e-16 * x


def test_sine_and_cosine_of_special_angles() -> None:
    assert (arithmetic.sin(0.0), arithmetic.cos(0.0)) == (0.0, 1.0)
    assert (arithmetic.sin(math.pi / 2), arithmetic.cos(math.pi)) == (1.0, -1.0)
    assert math.isnan(arithmetic.sin(math.nan))
    assert math.isnan(arithmetic.cos(math.inf))


@unhurried
@given(st.floats(-1e100, 1e100), st.floats(-1e100, 1e100))
def test_atan2(y: float, x: float) -> None:
    # adding 0 turns −0 into 0, whose sign ours does not look at
    expected = math.atan2(y + 0.0, x + 0.0)
    assert arithmetic.atan2(y, x) == pytest.approx(expected, rel=4e-15, abs=1e-300)


@unhurried
@given(st.floats(-20, 20), st.floats(-20, 20))
def test_atan2_of_neighbouring_magnitudes(y: float, x: float) -> None:
    expected = math.atan2(y + 0.0, x + 0.0)
    assert arithmetic.atan2(y, x) == pytest.approx(expected, rel=4e-15, abs=1e-300)


def test_atan2_on_the_axes_and_diagonals() -> None:
    assert arithmetic.atan2(0.0, 0.0) == 0
    assert arithmetic.atan2(0.0, 3.0) == 0
    assert arithmetic.atan2(2.0, 0.0) == math.pi / 2
    assert arithmetic.atan2(-2.0, 0.0) == -math.pi / 2
    assert arithmetic.atan2(0.0, -1.0) == arithmetic.atan2(-0.0, -1.0) == math.pi
    assert arithmetic.atan2(7.0, 7.0) == math.pi / 4
    assert arithmetic.atan2(-7.0, -7.0) == -3 * math.pi / 4


@unhurried
@given(st.floats(-1020, 1020))
def test_exp2(x: float) -> None:
    assert arithmetic.exp2(x) == pytest.approx(2.0**x, rel=4e-15)


@unhurried
@given(st.floats(-708, 709))
def test_exp(x: float) -> None:
    assert arithmetic.exp(x) == pytest.approx(math.exp(x), rel=4e-15)


def test_powers_of_two_are_exact() -> None:
    for n in range(-1074, 1024):
        assert arithmetic.exp2(float(n)) == math.ldexp(1.0, n)
        assert arithmetic.log2(math.ldexp(1.0, n)) == n


@pytest.mark.parametrize("function", [arithmetic.exp2, arithmetic.exp])
def test_exponentials_of_special_values(function: Callable[[float], float]) -> None:
    assert function(0.0) == 1
    assert function(1100.0) == function(math.inf) == math.inf
    assert function(-1100.0) == function(-math.inf) == 0
    assert math.isnan(function(math.nan))


@unhurried
@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_logarithms(x: float) -> None:
    """Every positive float, subnormal ones too."""
    assert arithmetic.log(x) == pytest.approx(math.log(x), rel=4e-15)
    assert arithmetic.log2(x) == pytest.approx(math.log2(x), rel=4e-15)


@unhurried
@given(st.floats(0.5, 2))
def test_logarithms_near_one_keep_their_digits(x: float) -> None:
    assert arithmetic.log(x) == pytest.approx(math.log(x), rel=4e-15)
    assert arithmetic.log2(x) == pytest.approx(math.log2(x), rel=4e-15)


@pytest.mark.parametrize("function", [arithmetic.log2, arithmetic.log])
def test_logarithms_of_special_values(function: Callable[[float], float]) -> None:
    assert function(1.0) == 0
    assert function(0.0) == -math.inf
    assert function(math.inf) == math.inf
    assert math.isnan(function(-1.0))
    assert math.isnan(function(math.nan))


@unhurried
@given(st.floats(1e-10, 1e10), st.floats(-20, 20))
def test_power(x: float, y: float) -> None:
    assert arithmetic.power(x, y) == pytest.approx(x**y, rel=1e-12)


def test_power_of_special_values() -> None:
    assert arithmetic.power(0.0, 0.5) == 0
    assert arithmetic.power(0.0, -1.0) == math.inf
    assert arithmetic.power(0.0, 0.0) == arithmetic.power(3.0, 0.0) == 1
    assert arithmetic.power(1.0, 12.3) == 1
    assert arithmetic.power(4.0, 0.5) == 2
    assert math.isnan(arithmetic.power(-1.0, 0.5))


def test_whole_numbers_are_taken_as_floats() -> None:
    assert arithmetic.exp2(3) == 8
    assert arithmetic.log2(8) == 3
    assert arithmetic.power(2, 3) == 8
    assert arithmetic.sin(0) == 0
    assert arithmetic.atan2(1, -1) == 3 * math.pi / 4


@kernel
def _in_a_kernel(x: float) -> float:
    return arithmetic.sin(x) + arithmetic.exp(-x) * arithmetic.log2(1.0 + x)


def test_a_kernel_computes_the_same_bits_as_python() -> None:
    for x in np.linspace(0, 10, 101).tolist():
        alone = arithmetic.sin(x) + arithmetic.exp(-x) * arithmetic.log2(1.0 + x)
        assert _in_a_kernel(x) == alone
