"""Orbits against closed forms and a slow twin, palettes and tones against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.pictures import escape_colours, escape_kernels
from pipeline.pictures.escape_kernels import NEWTON, PLAIN, SHIP, TRICORN, Formula, Sample, View

LOG_R = math.log(1e4)


def formula(fold: int = PLAIN, degree: int = 2, julia: bool = True, c: complex = 0) -> Formula:
    return Formula(fold, degree, julia, c.real, c.imag, 0.3, -0.2, 300)


def slow(kind: Formula, point: complex) -> Sample:
    """The definitions, with complex numbers; only what `Sample` says of level, trap and stripe."""
    fold = {
        PLAIN: lambda z: z,
        SHIP: lambda z: complex(abs(z.real), abs(z.imag)),
        TRICORN: lambda z: z.conjugate(),
    }[kind.fold]
    c = complex(kind.x, kind.y) if kind.julia else point
    z, w = point, 1 + 0j
    trap, stripes = math.inf, [0.0]
    for n in range(kind.limit):
        if abs(z) > 1e4:
            part = 1 - math.log(math.log(abs(z)) / LOG_R) / math.log(kind.degree)
            before, after = stripes[-2] if n else 0.0, stripes[-1]
            distance = abs(z) * math.log(abs(z)) / abs(w)
            normal = z / w / abs(z / w)
            stripe = before + part * (after - before)
            return Sample(n + part, trap, stripe, distance, normal.real, normal.imag, 0.0)
        trap = min(trap, abs(z - complex(kind.trap_x, kind.trap_y)) ** 2)
        sine = math.sin(2 * math.atan2(z.imag, z.real))
        stripes.append(stripes[-1] + 0.25 * (sine - stripes[-1]))
        z = fold(z)
        w = kind.degree * z ** (kind.degree - 1) * w + (0 if kind.julia else 1)
        z = z**kind.degree + c
    return Sample(-1.0, trap, 0.0, -1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("degree", [2, 3, 4])
@pytest.mark.parametrize("fold", [PLAIN, SHIP, TRICORN])
@pytest.mark.parametrize("julia", [False, True])
def test_orbits_match_a_slow_twin(fold: int, degree: int, julia: bool) -> None:
    kind = formula(fold, degree, julia, -0.52 + 0.57j)
    generator = np.random.Generator(np.random.PCG64(degree))
    escaped = 0
    for x, y in generator.uniform(-1.6, 1.6, (150, 2)):
        found, expected = escape_kernels.orbit(kind, x, y), slow(kind, complex(x, y))
        if expected.level < 0:
            assert found.level == -1
            continue
        escaped += 1
        if expected.level > 25:
            continue  # chaos: rounding has grown by then
        assert found[:3] == pytest.approx(expected[:3], rel=1e-6, abs=1e-6)
        if fold == PLAIN:
            assert found[3:] == pytest.approx(expected[3:], rel=1e-5, abs=1e-5)
        elif julia:
            assert found.distance == pytest.approx(expected.distance, rel=1e-5)
            assert found.normal_x == found.normal_y == 0
        else:
            assert found.distance == -1
    assert escaped > 40


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_closed_forms_outside_the_unit_disc(degree: int) -> None:
    """With c = 0 the orbit is z^(degree^n): level, distance and normal are known exactly."""
    for z in (1.5 + 0j, -1.05 + 0.2j, 0.3 + 1.1j, 2 - 3j):
        found = escape_kernels.orbit(formula(degree=degree), z.real, z.imag)
        level = 1 - math.log(math.log(abs(z)) / LOG_R) / math.log(degree)
        assert found.level == pytest.approx(level, abs=1e-9)
        assert found.distance == pytest.approx(abs(z) * math.log(abs(z)), rel=1e-9)
        assert complex(found.normal_x, found.normal_y) == pytest.approx(z / abs(z), abs=1e-9)


def test_levels_and_stripes_have_no_steps() -> None:
    """Along a line outside the Mandelbrot set, across bands."""
    kind = formula(julia=False)
    samples = [escape_kernels.orbit(kind, x, 1.2) for x in np.linspace(-1.5, 1.5, 20001)]
    levels = np.array([sample.level for sample in samples])
    assert np.ptp(np.floor(levels)) >= 2
    for values in (levels, np.array([sample.stripe for sample in samples])):
        assert np.abs(np.diff(values)).max() < 5e-3


def test_bounded_orbits_end_early_and_keep_their_trap() -> None:
    patient = formula(julia=False)._replace(limit=2**40)
    for c in (0j, -1 + 0j, -0.12 + 0.74j):
        found = escape_kernels.orbit(patient, c.real, c.imag)
        assert found.level == -1
        assert found.trap < 1


@pytest.mark.parametrize("degree", [3, 4])
def test_newton_finds_roots_smoothly(degree: int) -> None:
    kind = Formula(NEWTON, degree, True, 1.0, 0.0, 0.5, 0.5, 200)
    for k in range(degree):
        root = np.exp(2j * np.pi * (k + 0.02) / degree)
        found = escape_kernels.orbit(kind, root.real, root.imag)
        assert found.basin == pytest.approx(k / degree)
        assert 0 < found.level < 3
    far = [escape_kernels.orbit(kind, 5 + x, 1.0).level for x in np.linspace(0, 0.5, 500)]
    assert np.abs(np.diff(far)).max() < 0.01


def test_oklab() -> None:
    rgb = np.empty(3)
    for lab, expected in (
        ((1, 0, 0), (255, 255, 255)),
        ((0, 0, 0), (0, 0, 0)),
        ((0.627955, 0.224863, 0.125846), (255, 0, 0)),
        ((0.866440, -0.233888, 0.179498), (0, 255, 0)),
        ((0.452014, -0.032457, -0.311528), (0, 0, 255)),
    ):
        escape_colours.oklab_to_srgb(*map(float, lab), rgb)
        assert np.allclose(rgb, expected, atol=0.3)


def test_knot_palettes_pass_through_their_knots() -> None:
    knots = np.array([[0.3, 0.05, 0], [0.8, 0, 0.1], [0.5, -0.1, 0], [0.7, 0, -0.05]])
    palette, rgb = np.empty((1024, 3)), np.empty(3)
    escape_colours.fill_knot_palette(knots, palette)
    for k, knot in enumerate(knots):
        escape_colours.oklab_to_srgb(*knot, rgb)
        assert np.allclose(palette[256 * k], rgb)


def test_cosine_palettes() -> None:
    palette = np.empty((1024, 3))
    escape_colours.fill_cosine_palette(np.array([1.0, 1, 2]), np.array([0, 0.25, 0.5]), palette)
    turns = np.arange(1024)[:, None] / 1024 * [1, 1, 2] + [0, 0.25, 0.5]
    assert np.allclose(palette, 127.5 + 119.5 * np.cos(2 * np.pi * turns), atol=1e-9)


def test_tones_mix_rank_and_logarithm() -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    levels = 2 ** (3 + generator.beta(2, 5, 4000) * 3) - 1
    tones = np.zeros(escape_colours.TONE_FIELDS)
    assert escape_colours.fill_tones(np.append(levels, [-1.0] * 100), 2.0, tones)
    scale = np.log2(1 + levels)
    low, high = np.quantile(scale, (0.005, 0.99))
    rank = np.searchsorted(np.sort(scale), scale) / 4000
    expected = 2 * (0.7 * rank + 0.3 * (scale - low) / (high - low))
    turns = np.array([escape_kernels.turn_of_level(level, tones) for level in levels])
    middle = (scale > low) & (scale < high)
    assert np.abs(turns - expected)[middle].max() < 0.06
    assert np.all(np.diff(turns[np.argsort(levels)]) >= 0)


def test_tones_need_levels_that_differ() -> None:
    tones = np.zeros(escape_colours.TONE_FIELDS)
    assert not escape_colours.fill_tones(np.full(100, 5.0), 1.0, tones)
    assert not escape_colours.fill_tones(np.append(np.arange(20.0), [-1.0] * 80), 1.0, tones)


def test_scores_tell_structure_from_bands_noise_and_flats() -> None:
    side = 37
    generator = np.random.Generator(np.random.PCG64(1))
    columns = np.arange(side) * np.ones((side, 1))
    noise = generator.integers(0, 256, (side, side))
    bands = 127 + 120 * np.sin(columns / 4)
    rough = np.cumsum(np.cumsum(generator.normal(size=(side, side)), 0), 1)
    rough = 255 * (rough - rough.min()) / np.ptp(rough)
    rough = np.clip(0.8 * rough + 0.2 * noise, 0, 255)
    scores = [
        escape_colours.score_picture(np.repeat(grey[..., None], 3, 2).astype(np.uint8))
        for grey in (rough, bands, noise, np.full((side, side), 99))
    ]
    assert scores[0] > max(scores[1:]) + 0.5
    assert max(scores[2:]) < -3


def test_outlines_light_and_interiors() -> None:
    palette = np.full((escape_kernels.PALETTE_COLOURS, 3), 200.0)
    style = escape_kernels.Style(palette, 0.0, 0.0, 0.0, 1.0, 0.5, 10.0, 20.0, 30.0, 0.0, 1.0, 0.0)
    view = View(0.0, 0.0, 0.0, 2.0)  # turned by a right angle

    def colour(sample: Sample, style: escape_kernels.Style) -> list[float]:
        rgb = np.zeros(3)
        escape_kernels.add_colour(sample, 0.0, view, style, rgb)
        return rgb.tolist()

    edge = Sample(9.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert colour(edge, style) == [10, 20, 30]
    assert colour(edge._replace(distance=0.5), style) == [200, 200, 200]
    half = 1 - 0.5 ** (3 / 8)
    assert colour(edge._replace(distance=0.25), style)[0] == pytest.approx(200 - 190 * half)
    lit = style._replace(outline=0.0, relief=0.8)
    assert colour(edge, lit)[0] == pytest.approx(200)  # up in the plane is right in the view
    assert colour(edge._replace(normal_y=-1.0), lit)[0] == pytest.approx(40)
    assert colour(Sample(-1.0, 1.0, 0, -1.0, 0.0, 0.0, 0.0), style)[0] == pytest.approx(140)
