"""Elementary functions of float64 with the same bits on every host.

libm and NumPy's vectorised sines and logarithms differ in the last bit between processors. These use
+ − × ÷, floor, comparisons and the bits of the exponent only: the argument is reduced, then a
polynomial evaluated. Scalar functions, to be called from kernels and from plain Python alike.

Relative errors stay below 4e-15 unless a docstring says otherwise;
not-a-numbers pass through.
"""

from __future__ import annotations

import numpy as np

from pipeline.render.jit import kernel

_PI = 3.141592653589793
_HALF_PI = 1.5707963267948966
_QUARTER_PI = 0.7853981633974483
_TWO_OVER_PI = 0.6366197723675814

# π/2 in three parts; the first two have 33 bits, so that their product with a number of quarter
# turns below 2^20 is exact.
_HALF_PI_1 = 1.5707963267341256
_HALF_PI_2 = 6.077100506303966e-11
_HALF_PI_3 = 2.0222662487959506e-21

# ln 2 in two parts; the first has 38 bits, so that its product with an exponent is exact.
_LN2_1 = 0.6931471805582987
_LN2_2 = 1.6465949582897082e-12
_LN2 = 0.6931471805599453
_ONE_OVER_LN2 = 1.4426950408889634

_TAN_PI_8 = 0.41421356237309503
_SQRT_2 = 1.4142135623730951
_LEAST_NORMAL = 2.2250738585072014e-308


@kernel
def _reduced_sine(r: float) -> float:
    """Return the sine of |r| ≤ π/4: Taylor's series to r¹⁵/15!."""
    u = r * r
    p = -1.0 / 1307674368000.0
    p = p * u + 1.0 / 6227020800.0
    p = p * u - 1.0 / 39916800.0
    p = p * u + 1.0 / 362880.0
    p = p * u - 1.0 / 5040.0
    p = p * u + 1.0 / 120.0
    p = p * u - 1.0 / 6.0
    return r + r * (u * p)


@kernel
def _reduced_cosine(r: float) -> float:
    """Return the cosine of |r| ≤ π/4: Taylor's series to r¹⁶/16!."""
    u = r * r
    p = 1.0 / 20922789888000.0
    p = p * u - 1.0 / 87178291200.0
    p = p * u + 1.0 / 479001600.0
    p = p * u - 1.0 / 3628800.0
    p = p * u + 1.0 / 40320.0
    p = p * u - 1.0 / 720.0
    p = p * u + 1.0 / 24.0
    p = p * u - 0.5
    return 1.0 + u * p


@kernel
def _quarter_turns(x: float) -> float:
    """Return the whole number of quarter turns nearest to `x` radians."""
    return float(np.floor(x * _TWO_OVER_PI + 0.5))


@kernel
def _remainder(x: float, turns: float) -> float:
    """Return x − turns · π/2."""
    return ((x - turns * _HALF_PI_1) - turns * _HALF_PI_2) - turns * _HALF_PI_3


@kernel
def sin(x: float) -> float:
    """Return the sine of `x` radians.

    The absolute error is below 1e-15 for |x| ≤ 1e6; beyond, it grows as the spacing of floats.
    """
    turns = _quarter_turns(x)
    r = _remainder(x, turns)
    quadrant = turns - 4.0 * np.floor(0.25 * turns)
    value = _reduced_cosine(r) if quadrant == 1.0 or quadrant == 3.0 else _reduced_sine(r)
    return -value if quadrant >= 2.0 else value


@kernel
def cos(x: float) -> float:
    """Return the cosine of `x` radians; accurate as `sin` is."""
    turns = _quarter_turns(x)
    r = _remainder(x, turns)
    quadrant = turns - 4.0 * np.floor(0.25 * turns)
    value = _reduced_sine(r) if quadrant == 1.0 or quadrant == 3.0 else _reduced_cosine(r)
    return -value if quadrant == 1.0 or quadrant == 2.0 else value


@kernel
def sin_cos(x: float) -> tuple[float, float]:
    """Return the sine and the cosine of `x` radians, the same bits as `sin` and `cos`, in one go."""
    turns = _quarter_turns(x)
    r = _remainder(x, turns)
    quadrant = turns - 4.0 * np.floor(0.25 * turns)
    sine, cosine = _reduced_sine(r), _reduced_cosine(r)
    if quadrant == 1.0 or quadrant == 3.0:
        sine, cosine = cosine, sine
    if quadrant >= 2.0:
        sine = -sine
    if quadrant == 1.0 or quadrant == 2.0:
        cosine = -cosine
    return sine, cosine


@kernel
def atan2(y: float, x: float) -> float:
    """Return the angle of the finite point (x, y), −π to π radians; 0 at the origin.

    The sign of a zero is not looked at: on the negative x axis the angle is π.
    """
    across, up = abs(x), abs(y)
    if across == 0.0 and up == 0.0:
        return 0.0
    steep = up > across
    t = across / up if steep else up / across
    base = 0.0
    if t > _TAN_PI_8:
        t = (t - 1.0) / (t + 1.0)
        base = _QUARTER_PI
    # The polynomial of degree 10 that meets atan(√u)/√u in the Chebyshev nodes of [0, tan² π/8].
    u = t * t
    p = 0.021135373157693246
    p = p * u - 0.04348052215716462
    p = p * u + 0.056883492268090106
    p = p * u - 0.06640233930429408
    p = p * u + 0.07689953496306857
    p = p * u - 0.09090773074808414
    p = p * u + 0.11111106180455946
    p = p * u - 0.14285714180976467
    p = p * u + 0.1999999999885511
    p = p * u - 0.3333333333332844
    angle = base + (t + t * (u * p))
    if steep:
        angle = _HALF_PI - angle
    if x < 0.0:
        angle = _PI - angle
    return -angle if y < 0.0 else angle


@kernel
def _power_of_two(exponent: int) -> float:
    """Return 2^exponent for −1022 ≤ exponent ≤ 1023, from the bits of a float64."""
    return float(np.int64((np.int64(exponent) + 1023) << 52).view(np.float64))


@kernel
def _scaled(value: float, exponent: float) -> float:
    """Return value · 2^exponent for a value near 1; subnormal, 0 or infinite where it must be."""
    if exponent > 1100.0:
        return np.inf
    if exponent < -1200.0:
        return 0.0
    whole = int(exponent)
    half = whole >> 1
    return value * _power_of_two(half) * _power_of_two(whole - half)


@kernel
def _reduced_exp(r: float) -> float:
    """Return e^r for |r| ≤ ln(2)/2: Taylor's series to r¹³/13!."""
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    return 1.0 + (r + r * (r * p))


@kernel
def exp2(x: float) -> float:
    """Return 2^x; exact for whole x. Infinity from 1024 on, 0 below −1075."""
    if not abs(x) < 2000.0:
        return x if np.isnan(x) else (np.inf if x > 0.0 else 0.0)
    whole = np.floor(x + 0.5)
    return _scaled(_reduced_exp((x - whole) * _LN2), whole)


@kernel
def exp(x: float) -> float:
    """Return e^x, exactly 1 at 0; infinity above 709.8, 0 below −745.2."""
    if not abs(x) < 1000.0:
        return x if np.isnan(x) else (np.inf if x > 0.0 else 0.0)
    whole = np.floor(x * _ONE_OVER_LN2 + 0.5)
    return _scaled(_reduced_exp((x - whole * _LN2_1) - whole * _LN2_2), whole)


@kernel
def _log_parts(x: float) -> tuple[float, float]:
    """Return (e, ln m) for a positive finite x = m · 2^e, √½ ≤ m < √2.

    ln m = 2 (s + s³/3 + … + s²¹/21) with s = (m − 1)/(m + 1), |s| < 0.172.
    """
    exponent = 0.0
    if x < _LEAST_NORMAL:
        x *= 18014398509481984.0  # 2^54
        exponent = -54.0
    bits = np.float64(x).view(np.int64)
    exponent += float((bits >> 52) - 1023)
    mantissa = np.int64((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000).view(np.float64)
    if mantissa >= _SQRT_2:
        mantissa *= 0.5
        exponent += 1.0
    s = (mantissa - 1.0) / (mantissa + 1.0)
    u = s * s
    p = 1.0 / 21.0
    p = p * u + 1.0 / 19.0
    p = p * u + 1.0 / 17.0
    p = p * u + 1.0 / 15.0
    p = p * u + 1.0 / 13.0
    p = p * u + 1.0 / 11.0
    p = p * u + 1.0 / 9.0
    p = p * u + 1.0 / 7.0
    p = p * u + 1.0 / 5.0
    p = p * u + 1.0 / 3.0
    return exponent, 2.0 * (s + s * (u * p))


@kernel
def log2(x: float) -> float:
    """Return the logarithm of x to base 2; exact for powers of two. −∞ at 0, NaN below."""
    if not 0.0 < x < np.inf:
        return x if x > 0.0 else (-np.inf if x == 0.0 else np.nan)
    exponent, logarithm = _log_parts(float(x))
    return exponent + logarithm * _ONE_OVER_LN2


@kernel
def log(x: float) -> float:
    """Return the natural logarithm of x, exactly 0 at 1; −∞ at 0, NaN below."""
    if not 0.0 < x < np.inf:
        return x if x > 0.0 else (-np.inf if x == 0.0 else np.nan)
    exponent, logarithm = _log_parts(float(x))
    return exponent * _LN2_1 + (exponent * _LN2_2 + logarithm)


@kernel
def power(x: float, y: float) -> float:
    """Return x^y for x ≥ 0 and finite y; x^0 = 1 and 1^y = 1, 0^y = 0 or ∞, NaN for x < 0.

    The relative error is below 1e-15 · (2 + |y log2 x|).
    """
    if y == 0.0:
        return 1.0
    return exp2(y * log2(x))
