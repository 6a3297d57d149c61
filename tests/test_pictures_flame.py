"""Flame fractals: the same bytes everywhere, the formulas of the paper, dense and colourful pictures."""

from __future__ import annotations

import cmath
import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.pictures import flame
from pipeline.pictures import flame_colours as colouring
from pipeline.pictures import flame_kernels as kernels
from pipeline.pictures.draws import Draws
from pipeline.pictures.flame_kernels import System
from pipeline.pictures.quality import FRACTAL_GATE, Cells, Gate
from pipeline.pictures.splitmix import next_word
from tests.elsewhere import without_avx

# A change of these means that every set and dataset made with flames changes: give the generator a new
# version in the same commit. They hold on any x86-64 processor.
GOLDEN = {
    36: "7c4bbbc66034b56d94d9e763dd0038e59c14e00b7bf3e93dd84ed80802a6fb72",
    100: "d8b78d4bad6a1270262196ab4dbada08d828f32fa0e1df712fc0f8591474975c",
}

COORDINATES = st.floats(-4, 4)

unhurried = settings(deadline=None)  # a first call compiles


def _render(index: int, size: int, seed: int = 0, attempt: int = 0) -> flame.U8:
    picture = np.empty((size, size, 3), np.uint8)
    flame.render_flame(seed, index, attempt, picture)
    return picture


def _golden(size: int) -> str:
    pictures = [_render(index, size, seed=7) for index in range(6)]
    return hashlib.sha256(np.stack(pictures).data).hexdigest()


@pytest.mark.parametrize("size", list(GOLDEN))
def test_golden_pictures(size: int) -> None:
    assert _golden(size) == GOLDEN[size]


@pytest.mark.slow
def test_a_processor_without_avx_makes_the_same_bytes() -> None:
    script = "from tests.test_pictures_flame import _golden; print(_golden(36), _golden(100))"
    assert without_avx(script) == [GOLDEN[36], GOLDEN[100]]


def test_seeds_indices_and_attempts_give_different_pictures() -> None:
    keys = [(s, i, a) for s in (0, 1, 2**64 - 1) for i in (0, 1, 2) for a in (0, 1)]
    pictures = {_render(i, 16, seed=s, attempt=a).tobytes() for s, i, a in keys}
    assert len(pictures) == len(keys)


def test_a_picture_does_not_depend_on_what_was_made_before() -> None:
    first = _render(5, 24)
    _render(6, 40)
    assert np.array_equal(_render(5, 24), first)


@pytest.mark.parametrize("size", [8, 9, 33, 64])
def test_any_size(size: int) -> None:
    assert _render(1, size).std() > 8


def test_another_size_is_the_same_scene() -> None:
    """Pictures of 144 pixels, reduced to 24 by area, resemble those made at 24 pixels."""
    likeness = []
    for index in range(12):
        large = Image.fromarray(_render(index, 144)).resize((24, 24), Image.Resampling.BOX)
        small = [_render(other, 24) for other in (index, index + 1)]
        likeness.append([np.corrcoef(np.ravel(large), one.ravel())[0, 1] for one in small])
    same, others = np.array(likeness).T
    assert np.median(same) > 0.75
    assert same.min() > 0.45
    assert np.abs(others).max() < 0.45


def test_nearly_every_picture_passes_the_gate_of_fractals() -> None:
    """At least 93 % pass at first; none is near empty or mostly black."""
    pictures = [Cells(_render(index, 36, seed=3)) for index in range(100)]
    assert np.mean([FRACTAL_GATE.shortfall(cells) == 0 for cells in pictures]) >= 0.93
    assert min(cells.quality().entropy for cells in pictures) > 3.8
    looks = [cells.look() for cells in pictures]
    assert max(look.black for look in looks) < 0.3
    assert np.median([look.colour for look in looks]) > 25


def test_after_the_last_try_the_best_scene_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flame, "_PREVIEW_GATE", Gate(entropy=(6.1, 7.0)))
    preview = np.empty((48, 48, 3), np.uint8)
    entropies = []
    for number in range(flame._MAX_TRIES):
        scene = flame._draw_scene(Draws(0, flame._PURPOSE, 9, 2 * flame._MAX_TRIES + number))
        cover = flame._paint(scene, flame._PREVIEW_POINTS_PER_PIXEL, preview)
        lacking = max(flame._MIN_COVER - cover, 0)
        entropies.append(Cells(preview).quality().entropy / 0.9 - lacking)
    best = flame._best_scene(0, 9, 2)
    flame._paint(best, flame._PREVIEW_POINTS_PER_PIXEL, preview)
    assert Cells(preview).quality().entropy / 0.9 == pytest.approx(max(entropies))


def _paper(variation: int, x: float, y: float, half: int) -> tuple[float, float]:
    """The appendix of Draves & Reckase, with libm."""
    r, t = math.hypot(x, y), math.atan2(x, y)
    root = cmath.rect(math.sqrt(r), t / 2 + math.pi * half)
    p, q = math.sin(t + r) ** 3, math.cos(t - r) ** 3
    formulas = {
        kernels.SINUSOIDAL: (math.sin(x), math.sin(y)),
        kernels.SWIRL: (
            x * math.sin(r * r) - y * math.cos(r * r),
            x * math.cos(r * r) + y * math.sin(r * r),
        ),
        kernels.HORSESHOE: ((x - y) * (x + y) / r, 2 * x * y / r),
        kernels.POLAR: (t / math.pi, r - 1),
        kernels.HANDKERCHIEF: (r * math.sin(t + r), r * math.cos(t - r)),
        kernels.HEART: (r * math.sin(t * r), -r * math.cos(t * r)),
        kernels.DISC: (t / math.pi * math.sin(math.pi * r), t / math.pi * math.cos(math.pi * r)),
        kernels.JULIA: (root.real, root.imag),
        kernels.SPIRAL: ((math.cos(t) + math.sin(r)) / r, (math.sin(t) - math.cos(r)) / r),
        kernels.DIAMOND: (math.sin(t) * math.cos(r), math.cos(t) * math.sin(r)),
        kernels.EX: (r * (p + q), r * (p - q)),
        kernels.BUBBLE: (4 * x / (r * r + 4), 4 * y / (r * r + 4)),
        kernels.EYEFISH: (2 * x / (r + 1), 2 * y / (r + 1)),
        kernels.CYLINDER: (math.sin(x), y),
        kernels.SPHERICAL: (x / (r * r), y / (r * r)),
    }
    return formulas[variation]


@pytest.mark.parametrize("variation", range(kernels.SPHERICAL + 1))
@unhurried
@given(x=COORDINATES, y=COORDINATES, half=st.integers(0, 1))
def test_variations_are_those_of_the_paper(variation: int, x: float, y: float, half: int) -> None:
    x, y = x + 0.0, y + 0.0  # no negative zeros, whose angle is another
    if math.hypot(x, y) < 0.1:
        return
    found = kernels.vary(variation, x, y, half)
    expected = _paper(variation, x, y, half)
    # Both are held away from a singularity: at the centre, and of a root at 0.
    tolerance = {kernels.SPHERICAL: 2e-4, kernels.JULIA: 2e-6}.get(variation, 1e-9)
    assert found == pytest.approx(expected, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("variation", range(kernels.SPHERICAL + 1))
def test_variations_are_finite_at_the_centre(variation: int) -> None:
    assert all(map(math.isfinite, kernels.vary(variation, 0.0, 0.0, 0)))


def _system(num_maps: int = 3) -> System:
    """Small maps of three variations, with a symmetry of order 2."""
    generator = np.random.Generator(np.random.PCG64(5))
    maps = np.empty((num_maps, 9))
    maps[:, :6] = generator.uniform(-0.6, 0.6, (num_maps, 6))
    maps[:, 6] = generator.uniform(0.2, 1, num_maps)
    maps[:, 7] = [kernels.SINUSOIDAL, kernels.JULIA, kernels.BUBBLE][:num_maps]
    maps[:, 8] = generator.integers(0, 65536, num_maps)
    pick = generator.integers(0, num_maps, kernels.PICK_SLOTS).astype(np.uint8)
    return System(maps, pick, np.array([[1.0, 0, 0, 1], [-1, 0, 0, -1]]))


def _twin_orbit(system: System, state: int, num_steps: int) -> list[tuple[float, float, float]]:
    """x, y and colour after each step, the first 20 left out."""
    states = np.array([state], np.uint64)
    x = y = 0.1
    colour, orbit = 32768.0, []
    for _ in range(num_steps + 20):
        word = int(next_word(states))
        a, b, c, d, e, f, weight, variation, own = system.maps[system.pick[word & 255]].tolist()
        u, v = a * x + b * y + e, c * x + d * y + f
        p, q = kernels.vary(int(variation), u, v, word >> 8 & 1)
        u, v = (1 - weight) * u + weight * p, (1 - weight) * v + weight * q
        a, b, c, d = system.copies[(word >> 48) * len(system.copies) >> 16].tolist()
        x, y = a * u + b * v, c * u + d * v
        colour = (colour + own) / 2
        orbit.append((x, y, colour))
    return orbit[20:]


def test_trace_follows_the_maps() -> None:
    points = np.empty((200, 2))
    kernels.trace(_system(), np.array([11], np.uint64), points)
    expected = np.array(_twin_orbit(_system(), 11, 200))[:, :2]
    assert np.allclose(points, expected, rtol=0, atol=1e-9)


def test_splat_counts_every_copy_and_its_colour() -> None:
    side = 12
    places = np.array([[3.0, 1, -1, 3, 6, 6], [-3.0, -1, 1, -3, 6, 6]])
    cells = np.zeros((side, side), np.uint64)
    kernels.splat(_system(), places, np.array([11], np.uint64), 500, cells)
    counts, sums = np.zeros((2, side, side), np.int64)
    for x, y, colour in _twin_orbit(_system(), 11, 500):
        for a, b, c, d, e, f in places:
            column = int(min(max(a * x + b * y + e, 0), side - 1))
            row = int(min(max(c * x + d * y + f, 0), side - 1))
            counts[row, column] += 1
            sums[row, column] += int(colour) >> 8
    assert counts.sum() == 1000
    assert np.array_equal(cells >> np.uint64(32), counts)
    assert np.array_equal(cells & np.uint64(0xFFFFFFFF), sums)
    density, colours = np.empty((2, side - 2, side - 2))
    colouring.unpack(cells, density, colours)
    assert np.array_equal(density, counts[1:-1, 1:-1])
    assert np.array_equal(colours, sums[1:-1, 1:-1] / 256)


def test_an_orbit_that_escapes_begins_anew() -> None:
    system = _system()
    system.maps[:, :4] *= 1e4
    system.maps[:, 6] = 0.1
    points = np.empty((300, 2))
    kernels.trace(system, np.array([1], np.uint64), points)
    assert np.abs(points).max() < 1e6
    assert np.abs(points).min(axis=1).max() > 1e3
    cells = np.zeros((9, 9), np.uint64)
    kernels.splat(system, np.full((1, 6), 1e4), np.array([1], np.uint64), 300, cells)
    assert (cells >> np.uint64(32)).sum() == 300


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_smooth_is_one_two_one_with_lasting_borders(reach: int) -> None:
    source = np.random.Generator(np.random.PCG64(0)).random((9, 9))
    out = np.empty_like(source)
    colouring.smooth(source, reach, out)
    expected = source
    for axis in (0, 1):
        padded = np.pad(expected, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], "edge")
        parts = [np.take(padded, np.arange(9) + k * reach, axis) for k in range(3)]
        expected = (parts[0] + 2 * parts[1] + parts[2]) / 4
    assert np.allclose(out, expected, rtol=0, atol=1e-14)


def _estimate(fine: float, middle: float, coarse: float, tint: float = 0.5) -> tuple[float, float]:
    planes = np.empty((2, 3, 1, 1))
    planes[0, :, 0, 0] = fine, middle, coarse
    planes[1] = tint * planes[0]
    density, colour = np.empty((2, 1, 1))
    enough = np.array([[6.0, 1.5], [20.0, 5.0]])
    colouring.estimate(planes, enough, density, colour)
    return float(density[0, 0]), float(colour[0, 0])


def test_estimate_is_as_fine_as_the_points_allow() -> None:
    assert _estimate(7.0, 4.0, 3.0)[0] == 7
    assert _estimate(0.0, 1.5, 0.9)[0] == 1.5
    assert _estimate(0.0, 0.75, 0.5)[0] == 0.5 * 0.75 + 0.5 * 0.5
    assert _estimate(3.0, 2.0, 1.0)[0] == 0.5 * 3 + 0.5 * 2
    assert _estimate(0.0, 0.0, 0.0) == (0, 0)


def test_estimate_keeps_dense_shapes_from_glowing() -> None:
    assert _estimate(0.0, 0.0, 0.4)[0] == 0
    assert _estimate(0.0, 0.03, 10.0)[0] == pytest.approx(0.02 * 0.03 + 0.98 * 0.09)


@unhurried
@given(st.floats(0, 50), st.floats(0, 50), st.floats(0, 50), st.floats(0, 1))
def test_estimate_keeps_a_colour_that_all_points_share(
    fine: float, middle: float, coarse: float, tint: float
) -> None:
    density, colour = _estimate(fine, middle, coarse, tint)
    assert 0 <= density <= max(fine, middle, coarse) + 1e-9
    if density > 1e-6:
        assert colour == pytest.approx(tint, abs=1e-5)


def test_levels_are_logarithms_up_to_the_percentile() -> None:
    density = np.random.Generator(np.random.PCG64(0)).exponential(2.0, (60, 60))
    density[:10] = 0
    density[-1, -1] = 900
    levels, counts = np.empty((60, 60), np.uint8), np.empty(256, np.int64)
    colouring.fill_levels(density, 4.0, flame._logarithms(), levels, counts)
    logs = np.log2(1 + np.floor(64 * density) / 16)
    top = np.quantile(logs[logs > 0], 0.995)
    assert np.abs(levels - np.minimum(256 * logs / top, 255)).max() < 3
    assert (levels[:10] == 0).all()
    assert np.array_equal(counts, np.bincount(levels.ravel(), minlength=256))


def test_levels_of_an_empty_picture_are_zero() -> None:
    levels, counts = np.empty((8, 8), np.uint8), np.empty(256, np.int64)
    colouring.fill_levels(np.zeros((8, 8)), 4.0, flame._logarithms(), levels, counts)
    assert levels.max() == 0
    addresses = np.empty((8, 8), np.uint8)
    colouring.fill_addresses(np.zeros((8, 8)), levels, 2.5, addresses)
    assert addresses.min() == addresses.max()


def test_addresses_stretch_the_middle_of_the_colours() -> None:
    colour = np.linspace(0.3, 0.8, 2500).reshape(50, 50)
    levels, addresses = np.full((50, 50), 9, np.uint8), np.empty((50, 50), np.uint8)
    colouring.fill_addresses(colour, levels, 9.0, addresses)
    low, high = np.quantile(colour, [0.04, 0.96])
    expected = 256 * (colour - low) / (high - low)
    assert np.abs(addresses - np.clip(expected, 0, 255)).max() < 4
    colouring.fill_addresses(colour, levels, 1.5, addresses)
    assert abs(int(addresses.max()) - int(addresses.min()) - 1.5 * 0.5 * 256) < 3


def test_palette_is_a_cosine_in_each_channel() -> None:
    waves = np.array([[0.7, 0.1], [1.2, 0.4], [1.5, 0.9]])
    palette = np.empty((512, 3))
    colouring.fill_palette(waves, 0.0, palette)
    turns = np.arange(512)[:, None] / 256 * waves[:, 0] + waves[:, 1]
    expected = 0.5 + 0.5 * np.cos(2 * np.pi * turns)
    assert np.allclose(palette, expected, rtol=0, atol=1e-12)
    colouring.fill_palette(waves, 1.0, palette)
    assert np.allclose(palette, expected.mean(axis=1, keepdims=True), rtol=0, atol=1e-12)


def test_curve_mixes_a_power_with_the_rank() -> None:
    counts = np.random.Generator(np.random.PCG64(0)).integers(0, 50, 256)
    curve = np.empty(256)
    colouring.fill_curve(counts, 1.6, 0.0, curve)
    assert np.allclose(curve, (np.arange(256) / 255) ** (1 / 1.6), rtol=0, atol=1e-12)
    colouring.fill_curve(counts, 1.6, 1.0, curve)
    ranks = (np.cumsum(counts[1:]) - counts[1:] / 2) / counts[1:].sum()
    assert np.allclose(curve[1:], ranks, rtol=0, atol=1e-12)
    assert curve[0] == 0


def test_shade_blends_the_flame_over_the_ground_and_averages_four_cells() -> None:
    levels = np.array([[0, 0], [0, 255]], np.uint8)
    addresses = np.full((2, 2), 10, np.uint8)
    palettes = np.zeros((2, 512, 3))
    palettes[0, 10 + 64] = 1, 0.5, 0  # a quarter turn on at tone 1
    palettes[1, 128] = 0.2, 0.4, 0.6
    inks = np.array([0.25, 0.3, 1.5, 0.5, 0.9])
    out = np.empty((1, 1, 3), np.uint8)
    curve, grid = np.linspace(0, 1, 256), np.array([[0.5]])
    colouring.shade(levels, addresses, curve, inks, palettes, grid, out)
    ground = 0.7 * np.array([0.2, 0.4, 0.6])
    expected = 255 * (3 * ground + np.array([1, 0.5, 0])) / 4
    assert np.array_equal(out[0, 0], np.floor(expected + 0.5))


def test_maps_follow_their_distributions() -> None:
    sizes, variations = set(), set()
    for index in range(200):
        maps, pick = flame._draw_maps(Draws(0, 0, index, 0))
        sizes.add(len(maps))
        variations |= set(maps[:, 7])
        sigmas = np.linalg.svd(maps[:, :4].reshape(-1, 2, 2), compute_uv=False)
        assert (sigmas[:, 0] >= 0.45).all()
        assert (sigmas[:, 0] < 1.05).all()
        assert (sigmas[:, 1] / sigmas[:, 0] >= 0.6 - 1e-12).all()
        assert np.abs(maps[:, 4:6]).max() <= 1
        assert np.array_equal(np.floor(maps[:, 8] * len(maps) / 65536), np.arange(len(maps)))
        counts = np.bincount(pick)
        assert len(counts) == len(maps)
        assert counts.max() <= 3.2 * counts.min()
    assert sizes == {2, 3, 4}
    assert variations == set(range(kernels.SPHERICAL + 1))


def test_copies_form_a_group() -> None:
    orders = set()
    for index in range(100):
        copies = flame._draw_copies(Draws(0, 0, index, 0)).reshape(-1, 2, 2)
        orders.add(len(copies))
        assert np.array_equal(copies[0], np.eye(2))
        products = (copies[:, None] @ copies[None]).reshape(-1, 1, 4)
        gaps = np.abs(products - copies.reshape(1, -1, 4)).max(axis=2)
        assert gaps.min(axis=1).max() < 1e-12
    assert {1, 2, 3, 4, 5, 6, 8, 10, 12} >= orders > {1, 2, 3, 4, 5, 6}


def test_the_view_holds_the_middle_of_the_orbit() -> None:
    points = np.random.Generator(np.random.PCG64(0)).normal(size=(1000, 2)) * 3 + [5, -7]
    identity = np.array([[1.0, 0, 0, 1]])
    for index in range(20):
        view = flame._draw_view(Draws(0, 0, index, 0), points)
        # the middle 94 % of a normal distribution span 3.76 standard deviations
        assert 0.6 * 3.76 * 3 < view.width < 1.1 * 3.76 * 3
        places = flame._places(identity, view)
        assert 0.25 < flame._share_inside(places, points) < 0.95
        a, b, c, d, e, f = places[0]
        centre = a * 5 - b * 7 + e, c * 5 - d * 7 + f
        assert np.abs(np.array(centre) - 0.5).max() < 0.2
        assert abs(a * d - b * c) * view.width**2 == pytest.approx(1)


def test_places_apply_the_copy_first() -> None:
    copies = np.array([[1.0, 0, 0, 1], [0, -1, 1, 0]])
    view = flame._View((0.6, 0.8), (1.0, 2.0), 4.0)
    places = flame._places(copies, view)
    for copy, (a, b, c, d, e, f) in zip(copies.reshape(-1, 2, 2), places, strict=True):
        x, y = copy @ [0.3, -0.9]
        turned = np.array([0.6 * x - 0.8 * y, 0.8 * x + 0.6 * y])
        expected = (turned - [1, 2]) / 4 + 0.5
        assert np.allclose([a * 0.3 - b * 0.9 + e, c * 0.3 - d * 0.9 + f], expected)


def test_palettes_are_not_grey() -> None:
    for index in range(100):
        waves = flame._draw_waves(Draws(0, 0, index, 0), 1.0, 2.0)
        assert waves[:, 0].min() >= 0.7
        assert waves[:, 0].max() <= 2.6
        gaps = np.diff(np.sort(waves[:, 1]), append=np.sort(waves[:, 1])[0] + 1)
        assert gaps.max() < 0.8
