"""PixMix's two mixing operations on float32 pixels in [0, 1]: add and multiply, weighted by (a, b).

    add:       (a·(2x − 1) + b·(2y − 1) + 1) / 2
    multiply:  (2x)^a · max(2y, 1e-37)^b / 2

clipped to [0, 1]; x is the picture so far, y the picture mixed in. `add` follows the published order of
float32 operations exactly. Powers are exp2(p·log2(v)) by polynomials of plain arithmetic, accurate to
about 1e-6, since the C library's powf may differ in its last bit between hosts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import nearest
from pipeline.render.jit import inlined, kernel
from pipeline.render.memory import load_eight

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

MODES = ("add", "multiply")
"""Names of the mixing operations; a mode's number in a plan is its place here."""
ADD, MULTIPLY = 0, 1

_0, _HALF, _1, _2 = (np.float32(value) for value in (0, 0.5, 1, 2))
_255 = np.float32(255)
_TINY = np.float32(1e-37)
_2_24, _2_25 = np.float32(2**24), np.float32(2**25)
_MAX_EXPONENT, _MIN_EXPONENT = np.float32(127.49), np.float32(-160.0)
_NEVER, _UNDERFLOW = np.float32(-1e9), np.float32(-151)
"""Exponents of 2 so low that the power is 0; the second is the highest, in whole numbers."""
_0_BITS, _1_BITS = np.int32(0), np.int32(0x3F800000)

# 1/255 = 2⁻⁸ + the rest: the first product is exact, so the sum is v / 255 rounded once, without dividing
_UNIT, _UNIT_REST = np.float32(2**-8), np.float32(1 / 255 - 2**-8)

# log2((1 + s)/(1 − s)) ≈ L1·s + L3·s³ + L5·s⁵ for |s| < 0.172, minimax: within 3e-8
_L1, _L3, _L5 = (np.float32(value) for value in (2.88539129, 0.96147082, 0.59897353))
# exp2(f) ≈ 1 + E1·f + … + E5·f⁵ for |f| ≤ ½, minimax: within 1e-7
_E1, _E2, _E3, _E4, _E5 = (
    np.float32(value) for value in (0.69314721, 0.24022235, 0.05550308, 0.00967188, 0.00134073)
)
_SQRT_HALF_BITS = np.int32(0x3F3504F3)
_SCALED_SQRT_HALF_BITS = np.int32(0x3F3504F3 + (24 << 23))
"""Of √½ · 2²⁴."""
_EXPONENT_FIELD = np.int32(-1 << 23)
_BYTE = np.uint64(255)
_23, _24 = np.int32(23), np.int32(24)
_ROUNDER = 1.5 * 2**23
"""Added and taken away again, it rounds a float32 to the nearest whole number."""
_UP, _UP_SCALE = np.float32(_ROUNDER + 64), np.float32(2.0**-64)
_DOWN, _DOWN_SCALE = np.float32(_ROUNDER - 64), np.float32(2.0**64)


def _unit(value: np.uint8) -> np.float32:
    """Return value / 255, correctly rounded."""
    number = np.float32(value)
    return number * _UNIT + number * _UNIT_REST


def _log2(value: np.float32) -> np.float32:
    """Return log2(value) for value in (0, 2], subnormal ones included."""
    bits = np.float32(value * _2_24).view(np.int32)  # exact, and no longer subnormal
    whole = np.int32(np.int32(bits - _SQRT_HALF_BITS) >> _23)
    mantissa = np.int32(bits - np.int32(whole << _23)).view(np.float32)
    s = (mantissa - _1) / (mantissa + _1)
    s2 = s * s
    return np.float32(np.int32(whole - _24)) + s * (_L1 + s2 * (_L3 + s2 * _L5))


unit, log2 = inlined(_unit), inlined(_log2)


@inlined
def exp2(t: np.float32, bias: np.float32, scale: np.float32) -> np.float32:
    """Return 2^t as 2^(t ± 64) · 2^∓64: no exponent overflows, and a subnormal result is rounded once."""
    rounded = np.float32(t + bias)  # its lowest bits hold t ± 64 as a whole number
    f = t - (rounded - bias)
    series = np.float32(_1 + f * (_E1 + f * (_E2 + f * (_E3 + f * (_E4 + f * _E5)))))
    raised = np.int32(series.view(np.int32) + np.int32(rounded.view(np.int32) << _23))
    return raised.view(np.float32) * scale


@inlined
def _raise(logarithm: np.float32, exponent: np.float32) -> np.float32:
    """Return 2^(exponent · logarithm).

    Comparisons stand for min and max, which keep a loop from being vectorised.
    """
    t = exponent * logarithm
    t = t if t > _MIN_EXPONENT else _MIN_EXPONENT
    t = t if t < _MAX_EXPONENT else _MAX_EXPONENT
    bias, scale = (_UP, _UP_SCALE) if exponent >= _0 else (_DOWN, _DOWN_SCALE)
    return exp2(t, bias, scale)


@inlined
def power(value: np.float32, exponent: np.float32) -> np.float32:
    """Return value^exponent for value in [0, 2] and |exponent| ≤ 2; subnormal results included."""
    raised = _raise(log2(value), exponent)
    return raised if value > _0 else (_1 if exponent == _0 else _0)


@inlined
def clip(value: np.float32) -> np.float32:
    """Clip to [0, 1]: as whole numbers, the bits of such floats are in their order, negative ones below 0."""
    bits = np.float32(value).view(np.int32)
    bits = bits if bits > _0_BITS else _0_BITS
    return np.int32(bits if bits < _1_BITS else _1_BITS).view(np.float32)


@kernel
def multiply_power(state: F32, exponent: np.float32, factors: F32) -> None:
    """Make `state`, float32 in [0, 1], the clipped (2 · state)^exponent · factors, for an exponent in [0, 2].

    The bits of `power`, in fewer steps: the doubling joins the scaling by 2²⁴, which stays in the mantissa,
    where it cancels, and no result overflows. Logarithms first, then powers, since a processor looks ahead
    over several turns of a short loop and few of a long one.
    """
    of_nothing = _0 if exponent == _0 else _NEVER
    for i in range(state.size):
        x = state[i]
        bits = np.float32(x * _2_25).view(np.int32)
        field = np.int32(np.int32(bits - _SCALED_SQRT_HALF_BITS) & _EXPONENT_FIELD)
        mantissa = np.int32(bits - field).view(np.float32)
        s = (mantissa - _2_24) / (mantissa + _2_24)
        s2 = s * s
        logarithm = np.float32(np.int32(field >> _23)) + s * (_L1 + s2 * (_L3 + s2 * _L5))
        state[i] = exponent * logarithm if x > _0 else of_nothing
    for i in range(state.size):
        t = state[i]
        is_some = (
            t > _UNDERFLOW
        )  # decided beforehand: a product that underflows takes many times as long
        raised = exp2(t if is_some else _0, _UP, _UP_SCALE) * factors[i]
        state[i] = clip(raised if is_some else _0)


@kernel
def _mix_add(x: F32, y: F32, a: np.float32, b: np.float32, out: F32) -> None:
    for i in range(x.size):
        out[i] = clip((a * (x[i] * _2 - _1) + b * (y[i] * _2 - _1) + _1) * _HALF)


@kernel
def _mix_multiply(x: F32, y: F32, a: np.float32, b: np.float32, out: F32) -> None:
    for i in range(x.size):
        divisor = y[i] * _2
        divisor = divisor if divisor > _TINY else _TINY
        out[i] = clip(power(x[i] * _2, a) * power(divisor, b) * _HALF)


_LOGARITHMS: Any = _log2(_unit(np.arange(256, dtype=np.uint8)) * _2)  # type: ignore[arg-type]
"""log2(2v) for each 8-bit value v, float32 [256]; that of 0 is not used."""


@kernel
def fill_powers(least: np.float32, weight: np.float32, share: np.float32, terms: F32) -> None:
    """Fill `terms`, float32 [256], with share · max(2v, least)^weight for each 8-bit v; least < 1/255."""
    terms[0] = power(least, weight) * share
    for value in range(1, 256):
        terms[value] = _raise(_LOGARITHMS[value], weight) * share


@kernel
def mix_first(
    mode: int, x: U8, y: U8, a: np.float32, b: np.float32, x_terms: F32, y_terms: F32, out: F32
) -> None:
    """Mix two 8-bit pictures, flat, into `out`, float32 in [0, 1]. The terms, float32 [256], are scratch."""
    if mode == ADD:
        for i in range(out.size):
            x_share, y_share = a * (unit(x[i]) * _2 - _1), b * (unit(y[i]) * _2 - _1)
            out[i] = clip((x_share + y_share + _1) * _HALF)
    else:
        fill_powers(_0, a, _1, x_terms)
        fill_powers(_TINY, b, _HALF, y_terms)
        num_eights = out.size // 8
        for eight in range(
            num_eights
        ):  # one load for eight values: loads are what there is most of
            xs, ys = load_eight(x, 8 * eight), load_eight(y, 8 * eight)
            for j in range(8):
                shift, place = np.uint64(8 * j), np.uint64(8 * eight + j)
                out[place] = x_terms[(xs >> shift) & _BYTE] * y_terms[(ys >> shift) & _BYTE]
        for i in range(8 * num_eights, out.size):
            out[i] = x_terms[x[i]] * y_terms[y[i]]
        for i in range(out.size):  # by itself, so that it vectorises
            out[i] = clip(out[i])


@kernel
def mix_next(
    mode: int, state: F32, y: U8, a: np.float32, b: np.float32, y_terms: F32, powers: F32
) -> None:
    """Mix an 8-bit picture, flat, into `state`, float32 in [0, 1], in place.

    `y_terms` float32 [256] and `powers`, like `state`, are scratch.
    """
    if mode == ADD:
        for i in range(state.size):
            share = a * (state[i] * _2 - _1)
            state[i] = clip((share + b * (unit(y[i]) * _2 - _1) + _1) * _HALF)
    else:
        fill_powers(_TINY, b, _HALF, y_terms)
        for i in range(state.size):
            powers[i] = y_terms[y[i]]
        multiply_power(state, a, powers)


@kernel
def quantise(state: F32, out: U8) -> None:
    """Round float32 in [0, 1] to the nearest of 256 levels."""
    for i in range(state.size):
        out[i] = np.uint8(np.int32(state[i] * _255 + _HALF))


def mix(name: str, x: F32, y: F32, a: float, b: float) -> F32:
    """Mix two pictures once; a reference entry point for checking single steps.

    Args:
        name: 'add' or 'multiply'.
        x, y: float32 of one shape, in [0, 1].
        a, b: the weights; rounded to float32.

    Returns:
        float32 of the same shape, clipped to [0, 1].

    Raises:
        ValueError: an unknown name, other dtypes, or shapes that differ.
    """
    if name not in MODES:
        raise ValueError(f"mix: got {name!r}{nearest(name, MODES)}; allowed: {', '.join(MODES)}")
    for label, operand in (("x", x), ("y", y)):
        if not isinstance(operand, np.ndarray) or operand.dtype != np.float32:
            kind = getattr(operand, "dtype", type(operand).__name__)
            raise ValueError(f"{label}: got {kind}; allowed: a float32 array")
    if x.shape != y.shape:
        raise ValueError(f"y: got shape {list(y.shape)}; allowed: that of x, {list(x.shape)}")
    out = np.empty(x.shape, np.float32)
    flat_x, flat_y = np.ascontiguousarray(x).reshape(-1), np.ascontiguousarray(y).reshape(-1)
    mix_flat = _mix_add if name == "add" else _mix_multiply
    mix_flat(flat_x, flat_y, np.float32(a), np.float32(b), out.reshape(-1))
    return out
