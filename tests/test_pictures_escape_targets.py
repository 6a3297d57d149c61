"""Places worth looking at are what they claim to be."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.pictures import escape_targets
from pipeline.pictures.escape_kernels import NEWTON, PLAIN, SHIP, TRICORN, Formula, View, orbit


def _state(seed: int) -> np.ndarray:
    return np.array([seed], np.uint64)


def _critical_orbit(c: complex, degree: int, length: int) -> list[complex]:
    points = [0j]
    for _ in range(length):
        points.append(points[-1] ** degree + c)
    return points


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_misiurewicz_points_are_strictly_preperiodic(degree: int) -> None:
    points = [escape_targets.find_misiurewicz(degree, _state(seed)) for seed in range(120)]
    assert len({(round(point.x, 6), round(point.y, 6)) for point in points}) > 60
    for point in points:
        k, p = point.preperiod, point.period
        assert 2 <= k <= 12
        assert 1 <= p <= 5
        z = _critical_orbit(complex(point.x, point.y), degree, k + p)
        assert abs(z[k + p] - z[k]) < 1e-6
        assert abs(z[k + p - 1] - z[k - 1]) > 1e-8
        assert all(abs(z[k + smaller] - z[k]) > 1e-8 for smaller in range(1, p))
        multiplier = np.prod([degree * z[j] ** (degree - 1) for j in range(k, k + p)])
        found = complex(point.multiplier_x, point.multiplier_y)
        assert found == pytest.approx(multiplier, rel=1e-5)
        assert abs(found) > 1  # repelling: on the boundary


def test_nuclei_are_periodic_and_as_large_as_told() -> None:
    """The half-width of the copy of period 3 at −1.7549 is 0.019 times that of the whole."""
    found = [escape_targets.find_nucleus(_state(seed)) for seed in range(60)]
    for x, y, size in found:
        z = _critical_orbit(complex(x, y), 2, 33)
        assert min(abs(point) for point in z[3:]) < 1e-9
        assert 1e-9 < size < 0.03
        # Twice the size is more than the distance to the copy's end on either side: bounded inside.
        assert orbit(Formula(PLAIN, 2, False, 0.0, 0.0, 0.0, 0.0, 3000), x, y).level == -1
    near = [size for x, y, size in found if abs(x + 1.754877666) < 1e-6 and abs(y) < 1e-6]
    assert all(size == pytest.approx(0.019, rel=0.02) for size in near)


@pytest.mark.parametrize("fold", [PLAIN, SHIP, TRICORN])
def test_boundaries_divide_early_from_late_escapes(fold: int) -> None:
    formula = Formula(fold, 2, False, 0.0, 0.0, 0.0, 0.0, 300)
    angles = np.exp(2j * np.pi * np.arange(24) / 24)
    divided = 0
    for seed in range(20):
        x, y = escape_targets.find_boundary(formula, _state(seed))
        near = [orbit(formula, x + 1e-6 * a.real, y + 1e-6 * a.imag).level for a in angles]
        divided += min(near) == -1 < max(near)
        assert orbit(formula, x, y).level >= 0
    assert divided >= 16


def test_newtons_boundaries_divide_basins() -> None:
    formula = Formula(NEWTON, 3, True, 1.0, 0.0, 0.0, 0.0, 300)
    angles = np.exp(2j * np.pi * np.arange(24) / 24)
    for seed in range(10):
        x, y = escape_targets.find_boundary(formula, _state(seed))
        near = {orbit(formula, x + 1e-6 * a.real, y + 1e-6 * a.imag).basin for a in angles}
        assert len(near) > 1


def test_interest_ranks_spirals_above_bands_and_interiors() -> None:
    formula = Formula(PLAIN, 2, False, 0.0, 0.0, 0.0, 0.0, 400)
    spiral = escape_targets.interest(formula, View(-0.77568377, 0.13646737, 0.003, 0.0))
    bands = escape_targets.interest(formula, View(1.5, 1.5, 0.2, 0.0))
    interior = escape_targets.interest(formula, View(-0.1, 0.0, 0.1, 0.0))
    assert spiral > 0.4
    assert bands < 0.1
    assert interior < -1
