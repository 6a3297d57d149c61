"""Shares of two pictures: λ ~ Beta(α, α) for any α, by arithmetic that gives the same bits on every host.

A beta variate is G / (G + G′) of two gamma variates of shape α. They are kept as logarithms, since for a
small α both may lie below what a float64 holds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import exp, log
from pipeline.pictures.splitmix import next_signed, next_unit
from pipeline.render.jit import kernel, read_only

F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]


@kernel
def _normal(state: U64) -> float:
    """Draw a standard normal number by Marsaglia's polar method."""
    while True:
        x, y = next_signed(state), next_signed(state)
        square = x * x + y * y
        if 0.0 < square < 1.0:
            return x * float(np.sqrt(-2.0 * log(square) / square))


@kernel
def _log_gamma_variate(shape: float, state: U64) -> float:
    """Draw the logarithm of a gamma variate (Marsaglia & Tsang, ACM TOMS 2000).

    Below shape 1 it is one of shape + 1 times U^(1/shape).
    """
    boost = 0.0
    if shape < 1.0:
        boost = log(1.0 - next_unit(state)) / shape
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / np.sqrt(9.0 * d)
    while True:
        x = _normal(state)
        root = 1.0 + c * x
        if root > 0.0:
            v = root * root * root
            bound = 0.5 * x * x + d - d * v + d * log(v)
            if log(1.0 - next_unit(state)) < bound:
                return log(d) + log(v) + boost


@kernel
def _fill_betas(u: F64, alpha: float, betas: F64) -> None:
    state = np.empty(1, np.uint64)
    for i in range(len(u)):
        state[0] = np.uint64(u[i] * 2.0**53)
        first, second = _log_gamma_variate(alpha, state), _log_gamma_variate(alpha, state)
        betas[i] = 1.0 / (1.0 + exp(second - first))


def betas(u: F64, alpha: float) -> F64:
    """Draw Beta(alpha, alpha) variates, float64 [n] in [0, 1].

    Args:
        u: float64 [n], uniform on (0, 1); each starts the stream that its variate is drawn from.
        alpha: 0.001 to 1000.
    """
    drawn = np.empty(len(u))
    _fill_betas(read_only(u), float(alpha), drawn)
    return drawn
