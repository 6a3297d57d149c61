"""Plasma clouds by diamonds and squares on a torus, which fog is made of."""

from __future__ import annotations

from pipeline.corruptions.base import F64, U64
from pipeline.pictures.splitmix import next_signed
from pipeline.render.jit import kernel


@kernel
def fill_plasma(state: U64, decay: float, field: F64) -> None:
    """Fill `field`, float64 [M, M], with plasma from 0 to 1; M is a power of two.

    From the corner at 0, each square's middle, then each edge's, becomes the mean of its four neighbours
    plus w · U(−w, w); w starts at 100 and shrinks by `decay` as the squares halve.

    Args:
        state: uint64 [1], of a SplitMix64, advanced.
        decay: above 1; the larger, the smoother.
        field: written.
    """
    size = field.shape[0]
    wrap = size - 1
    field[0, 0] = 0.0
    step, wobble = size, 100.0
    while step >= 2:
        half, square = step // 2, wobble * wobble
        for y in range(0, size, step):
            for x in range(0, size, step):
                down, right = (y + step) & wrap, (x + step) & wrap
                corners = (field[y, x] + field[down, x]) + (field[y, right] + field[down, right])
                field[y + half, x + half] = 0.25 * corners + square * next_signed(state)
        for across in (half, 0):  # middles of horizontal edges, then of vertical ones
            for y in range(half - across, size, step):
                for x in range(across, size, step):
                    up, down = (y - half) & wrap, (y + half) & wrap
                    left, right = (x - half) & wrap, (x + half) & wrap
                    near = (field[up, x] + field[down, x]) + (field[y, left] + field[y, right])
                    field[y, x] = 0.25 * near + square * next_signed(state)
        step, wobble = half, wobble / decay
    least = field.min()
    scale = field.max() - least
    for y in range(size):
        for x in range(size):
            field[y, x] = (field[y, x] - least) / scale if scale > 0.0 else 0.0
