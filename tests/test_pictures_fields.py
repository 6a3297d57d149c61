"""Fields: the Fourier transform is NumPy's to rounding, phases are nested, areas are averaged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pictures.fields import average_areas, fill_phases, transform, twiddles


def _noise(side: int, seed: int = 0) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).normal(size=(side, side))


@pytest.mark.parametrize("side", [16, 32, 64, 128, 256])
def test_transform_is_that_of_numpy(side: int) -> None:
    re, im = _noise(side), _noise(side, 1)
    expected = np.fft.fft2(re + 1j * im)
    transform(re, im, twiddles(side), False)
    assert np.allclose(re + 1j * im, expected, rtol=0, atol=1e-11 * side)


@pytest.mark.parametrize("side", [16, 64])
def test_the_inverse_gives_the_field_back(side: int) -> None:
    re, im = _noise(side), _noise(side, 1)
    transform(re, im, twiddles(side), False)
    transform(re, im, twiddles(side), True)
    assert np.allclose(re, _noise(side), rtol=0, atol=1e-13)
    assert np.allclose(im, _noise(side, 1), rtol=0, atol=1e-13)


@given(row=st.integers(0, 15), column=st.integers(0, 15))
@settings(max_examples=20, deadline=None)
def test_a_point_becomes_a_wave(row: int, column: int) -> None:
    re, im = np.zeros((16, 16)), np.zeros((16, 16))
    re[row, column] = 1
    transform(re, im, twiddles(16), False)
    turns = (np.arange(16)[:, None] * row + np.arange(16) * column) / 16
    assert np.allclose(re, np.cos(2 * np.pi * turns), atol=1e-13)
    assert np.allclose(im, -np.sin(2 * np.pi * turns), atol=1e-13)


def test_phases_make_a_real_field_of_flat_power_without_a_mean() -> None:
    re, im = np.empty((64, 64)), np.empty((64, 64))
    fill_phases(np.uint64(3), re, im)
    power = re * re + im * im
    still = np.zeros((64, 64), bool)
    still[np.ix_([0, 32], [0, 32])] = True
    assert (power[still] == 0).all()
    assert np.allclose(power[~still], 1)
    transform(re, im, twiddles(64), True)
    assert np.abs(im).max() < 1e-15
    assert abs(re.mean()) < 1e-15


def test_phases_are_uniform_and_depend_on_the_seed() -> None:
    re, im, other = (np.empty((64, 64)) for _ in range(3))
    fill_phases(np.uint64(4), other, im)
    fill_phases(np.uint64(3), re, im)
    octants = np.floor((np.arctan2(im, re) / np.pi + 1) * 4).astype(int)[1:32].ravel()
    counts = np.bincount(octants, minlength=8)[:8]
    assert abs(counts / counts.sum() - 1 / 8).max() < 0.02
    assert abs(np.corrcoef(re[1:32].ravel(), other[1:32].ravel())[0, 1]) < 0.1


def test_larger_fields_have_the_phases_of_smaller_ones() -> None:
    small, large, im = np.empty((32, 32)), np.empty((64, 64)), np.empty((64, 64))
    fill_phases(np.uint64(9), small, np.empty((32, 32)))
    fill_phases(np.uint64(9), large, im)
    kept = np.r_[0:16, 49:64]
    assert np.array_equal(large[np.ix_(kept, kept)], np.delete(np.delete(small, 16, 0), 16, 1))


@pytest.mark.parametrize("size", [7, 16, 36, 63, 64])
def test_areas_are_averaged(size: int) -> None:
    """Against a picture blown up until both grids divide it."""
    field, out = _noise(64), np.empty((size, size))
    average_areas(field, out)
    weights = np.repeat(np.eye(64), size, axis=0).reshape(size, 64, 64).mean(axis=1)
    assert np.allclose(out, weights @ field @ weights.T, atol=1e-13)
