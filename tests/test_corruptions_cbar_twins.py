"""C-bar against plain slow twins: the formulas in NumPy, SciPy's splines and filters.

A twin may differ where a value falls on the edge between two bytes, which truncation makes visible.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from pipeline.corruptions import cbar_marks, cbar_patterns, cbar_spectral, cbar_splines
from pipeline.pictures.fields import twiddles
from pipeline.pictures.splitmix import next_unit
from tests.test_corruptions_cbar import U8, _apply, _pictures, _seeds

F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]


def _state(seed: np.uint64) -> U64:
    return np.array([seed], np.uint64)


def _bytes(values: F64) -> U8:
    return np.clip(values, 0, 255).astype(np.uint8)


def _check(made: U8, twins: list[F64]) -> None:
    difference = np.abs(made.astype(int) - _bytes(np.stack(twins)))
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.002


def _grid(side: int) -> tuple[F64, F64]:
    y, x = np.mgrid[:side, :side].astype(float)
    return y, x


def _bilinear(picture: F64, y: F64, x: F64) -> F64:
    channels = [
        ndimage.map_coordinates(picture[..., c], [y, x], order=1, mode="grid-constant")
        for c in range(3)
    ]
    return np.stack(channels, -1)


@pytest.mark.parametrize("side", [16, 32, 33, 36, 48, 112])
def test_inverse_transform(side: int) -> None:
    generator = np.random.Generator(np.random.PCG64(side))
    re, im = generator.normal(size=(2, side, side))
    expected = np.fft.ifft2(re + 1j * im).real
    inner, out = cbar_spectral.inner_side(side), np.empty((side, side))
    table, whole = twiddles(inner), cbar_spectral.waves(side)
    cbar_spectral.real_inverse(re, im, inner, table, whole, out)
    assert out == pytest.approx(expected, abs=1e-15)


def _spectral(state: U64, power: F64) -> F64:
    side = len(power)
    half = np.array(
        [[2 * math.pi * next_unit(state) for _ in range(side // 2)] for _ in range(side)]
    )
    phases = np.concatenate([half, half[::-1, ::-1]], axis=1)
    spectrum = np.roll(power * np.exp(1j * phases), (side // 2, side // 2), (0, 1))
    field = np.fft.ifft2(spectrum).real
    return field / field.std()  # type: ignore[no-any-return]


def test_spectral_noises() -> None:
    side = 24
    y, x = _grid(side)
    frequency = np.hypot(y - side / 2, x - side / 2)
    images, seeds = _pictures(6, side), _seeds(6)
    blue, brown = [], []
    for image, seed in zip(images, seeds, strict=True):
        kept = _spectral(_state(seed), frequency) > 0.3 * 3.5 - 2.5
        blue.append(image * kept[..., None].astype(float))
        state = _state(seed)
        noise = [_spectral(state, 1 / (frequency**2 + 1)) for _ in range(3)]
        brown.append(image + 6.4 * 3.5 * np.stack(noise, -1))
    _check(_apply("blue_noise_sample", images, 3.5, seeds), blue)
    _check(_apply("brownish_noise", images, 3.5, seeds), brown)


def test_waves() -> None:
    side = 20
    y, x = _grid(side)
    images, seeds = _pictures(12, side), _seeds(12)
    plane, rings = [], []
    for image, seed in zip(images, seeds, strict=True):
        state = _state(seed)
        u = [next_unit(state) for _ in range(5)]
        m = math.pi * (2 * u[0] - 1)
        pair = [m, abs(m) * (2 * u[1] - 1)]
        across, down = pair if u[2] < 0.5 else pair[::-1]
        wave = np.sin(across * x + down * y + 2 * math.pi * u[3])
        plane.append(image + 19.6 * 2 * wave[..., None])
        middle_x, middle_y, ring = side * u[0], side * u[1], side / 10 * (1 - u[4])
        angle = np.arctan2(x - middle_x, y - middle_y)
        radius = np.hypot(x - middle_x, y - middle_y)
        radius += side / 10 * u[3] * np.sin(10 * u[2] * angle)
        rings.append(image + 12.8 * 2 * ((radius % ring) / ring - 0.5)[..., None])
    _check(_apply("single_frequency_greyscale", images, 2, seeds), plane)
    _check(_apply("cocentric_sine_waves", images, 2, seeds), rings)


def test_plasma() -> None:
    side, s = 20, 7.0
    rows, columns = _grid(side)
    images, seeds = _pictures(8, side), _seeds(8)
    twins = []
    for image, seed in zip(images, seeds, strict=True):
        state = _state(seed)
        u = [next_unit(state) for _ in range(4)]
        time, num = 6 * math.pi * u[0], 4 + int(3 * u[1])
        sharp, scale = 0.5 + u[2] / 2, (0.075 + 0.125 * u[3]) * side
        place = np.stack([columns, rows]) / scale
        a = b = c = 1.0
        for _ in range(num):
            step = np.stack([np.cos(a * place[1] + time / b), np.sin(a * place[0] + time / b)]) / c
            place = place + step + 0.3 * np.stack([-step[1], step[0]])
            a, b, c = a * 1.93, b * 1.15, c * (2.25 - sharp)
        x, y = place
        green = np.sin((x + y + np.sin(time)) / 2)
        colours = np.stack([np.sin(x - time), green, np.sin(y + time)], -1)
        twins.append((1 - 6.4 * s / 255) * image + 6.4 * s * colours)
    _check(_apply("plasma_noise", images, s, seeds), twins)


def test_perlin_noise_is_the_gradients_mixed_smoothly() -> None:
    side, s = 12, 8.0
    images, seeds = _pictures(2, side), _seeds(2)
    twins = []
    for image, seed in zip(images, seeds, strict=True):
        gradients, places = np.empty((256, 2)), np.empty(256, np.int64)
        cbar_patterns.fill_gradients(_state(seed), gradients, places)
        assert sorted(places) == list(range(256))
        assert np.hypot(*gradients.T) == pytest.approx(np.ones(256))
        total = np.zeros((side, side))
        for frequency in (1, 2, 4, 8, 16):
            for row in range(side):
                for column in range(side):
                    point = np.array([column, row]) * 7 / side * frequency
                    corner = np.floor(point).astype(int)
                    value = 0.0
                    for offset in ((0, 0), (1, 0), (0, 1), (1, 1)):
                        at = corner + offset
                        far = point - at
                        fade = 1 - (3 * far**2 - 2 * np.abs(far) ** 3)
                        slope = gradients[places[(places[at[0] % 256] + at[1]) % 256]]
                        value += fade.prod() * (slope @ far)
                    total[row, column] += abs(1.5 * value) / frequency
        alpha = 0.05 * s
        light = np.clip(total / 2 + 0.5, 0, 1)[..., None]
        twins.append((1 - alpha) * image + 255 * alpha * light)
    _check(_apply("perlin_noise", images, s, seeds), twins)


def test_checkerboard() -> None:
    side, s = 30, 5
    y, x = _grid(side)
    images, seeds = _pictures(10, side), _seeds(10)
    twins = []
    for image, seed in zip(images, seeds, strict=True):
        state = _state(seed)
        turn, cell = 2 * math.pi * next_unit(state), (0.1 + 0.15 * next_unit(state)) * side
        num = int(4 * side // cell)
        marked = np.array([[next_unit(state) < s / 10 for _ in range(num)] for _ in range(num)])
        u = (math.cos(turn) * y + math.sin(turn) * x) / cell
        v = (-math.sin(turn) * y + math.cos(turn) * x) / cell
        board = (u % 2).astype(int) == (v % 2).astype(int)
        erased = board & marked[u.astype(int), v.astype(int)]
        twins.append(np.where(erased[..., None], 128.0, image))
    _check(_apply("checkerboard_cutout", images, s, seeds), twins)


def _draw_rays(state: U64, radius: float) -> F64:
    rays = np.empty(50 + int(150 * next_unit(state)))
    cbar_marks.fill_normals(state, rays)
    return radius * (1 + 0.25 * rays)


def _glow(rays: F64, y: F64, x: F64) -> tuple[F64, F64]:
    place = (np.arctan2(x, y) + math.pi) / (2 * math.pi) * len(rays)
    first = np.floor(place)
    between = place - first
    i = first.astype(int)
    length = (1 - between) * rays[i % len(rays)] + between * rays[(i + 1) % len(rays)]
    return length**2 / (y**2 + x**2 + 1e-4), 1 - (between - 0.5) ** 2


def test_sparkles() -> None:
    side, s = 24, 4.0
    rows, columns = _grid(side)
    images, seeds = _pictures(8, side), _seeds(8)
    five, one = [], []
    for image, seed in zip(images, seeds, strict=True):
        state = _state(seed)
        lit = image.astype(float)
        for _ in range(5):
            middle = [side * next_unit(state), side * next_unit(state)]
            rays = np.maximum(1.0, _draw_rays(state, 0.01 * s * side))
            glow, shape = _glow(rays, rows - middle[0], columns - middle[1])
            lit += np.clip(shape * glow, 0, 1)[..., None] * (255 - lit)
        five.append(lit)
        state = _state(seed)
        middle = [(0.25 + 0.5 * next_unit(state)) * side, (0.25 + 0.5 * next_unit(state)) * side]
        rays = _draw_rays(state, 0.25 * side)
        glow, shape = _glow(rays, rows - middle[0], columns - middle[1])
        weight = np.clip(shape * glow ** (0.13 * s), 0, 1)
        one.append(255 + weight[..., None] * (image - 255.0))
    _check(_apply("sparkles", images, s, seeds), five)
    _check(_apply("inverse_sparkles", images, s, seeds), one)


@pytest.mark.parametrize(
    "ends", [(3, 2, 25, 28), (28, 25, 3, 14), (5, 20, 5, 3), (2, 9, 20, 9), (4, 25, 26, 3)]
)
def test_a_line_covers_pixels_by_their_distance(ends: tuple[int, int, int, int]) -> None:
    picture = np.zeros((30, 30, 3))
    cbar_marks.draw_line(picture, *ends)
    coverage = picture[..., 0] / 128
    y, x = _grid(30)
    down, across = ends[2] - ends[0], ends[3] - ends[1]
    distance = np.abs((x - ends[1]) * down - (y - ends[0]) * across) / math.hypot(down, across)
    along = (x - ends[1]) * across + (y - ends[0]) * down
    between = (along >= 0) & (along <= across**2 + down**2)
    drawn = coverage > 0
    assert coverage[drawn] == pytest.approx(1 - distance[drawn])
    assert np.all(drawn[between & (distance < 0.5)])
    assert not np.any(drawn & ~between & (distance > 1))
    assert coverage[ends[0], ends[1]] == coverage[ends[2], ends[3]] == 1


def test_a_line_of_one_pixel_and_one_outside() -> None:
    picture = np.zeros((4, 4, 3))
    cbar_marks.draw_line(picture, 2, 1, 2, 1)
    assert picture[2, 1].tolist() == [128, 128, 128]
    assert picture.sum() == 3 * 128
    cbar_marks.draw_line(picture, -9, 7, 40, 7)
    assert picture.sum() == 3 * 128


def test_ripple() -> None:
    side, s = 28, 7.0
    images, seeds = _pictures(6, side), _seeds(6)
    twins = []
    for image, seed in zip(images, seeds, strict=True):
        state, places = _state(seed), np.arange(float(side))
        axes = []
        for _ in range(2):
            length, phase = (0.1 + 0.2 * next_unit(state)) * side, 2 * math.pi * next_unit(state)
            wave = np.sin(2 * math.pi * places / length + phase)
            axes.append(places + 0.0025 * s * side * wave)
        y, x = np.meshgrid(*axes, indexing="ij")
        twins.append(_bilinear(image.astype(float), y, x))
    _check(_apply("ripple", images, s, seeds), twins)


def test_pinch_and_twirl() -> None:
    side, s, num = 22, 8.0, 3
    images, seeds = _pictures(3, side), _seeds(3)
    twins = []
    cell, radius = side // num, side // num / 2
    for image, seed in zip(images, seeds, strict=True):
        state, warped = _state(seed), image.astype(float)
        for top in range(0, num * cell, cell):
            for left in range(0, num * cell, cell):
                angle = s / 10 * math.pi / 2 * (1 if next_unit(state) < 0.5 else -1)
                for row in range(top, top + cell):
                    for column in range(left, left + cell):
                        offset = np.array([row - top - radius, column - left - radius])
                        distance = float(np.hypot(*offset))
                        if distance > radius or np.round(distance) == 0:
                            continue
                        d = distance / radius
                        turn = angle * (1 - d) ** 2
                        c, n = math.cos(turn), math.sin(turn)
                        stretch = math.sin(math.pi * d / 2) ** -(0.04 * s + 0.1)
                        y, x = np.array([[c, -n], [n, c]]) @ (offset * stretch)
                        at = np.array([top + radius + y]), np.array([left + radius + x])
                        warped[row, column] = _bilinear(warped, *at)[0]
        twins.append(warped)
    _check(_apply("pinch_and_twirl", images, s, seeds), twins)


def _caustics(side: int, time: float, length: float) -> F64:
    p = 2 * math.pi * (np.stack(_grid(side)) / length % 1) - 250
    i, total = p, np.ones((side, side))
    for n in range(1, 6):
        t = time * (1 - 3.5 / n)
        i = p + np.stack([np.cos(t - i[0]) + np.sin(t + i[1]), np.sin(t - i[1]) + np.cos(t + i[0])])
        along = 0.005 * p / np.stack([np.sin(i[0] + t), np.cos(i[1] + t)])
        total += 1 / np.hypot(*along)
    light = np.clip(np.abs(1.17 - (total / 5) ** 1.4) ** 8, 0, 1)
    return ndimage.gaussian_filter(light, 1)  # type: ignore[no-any-return]


def test_caustic_refraction() -> None:
    side, s = 26, 4.9
    images, seeds = _pictures(8, side), _seeds(8)
    twins = []
    for image, seed in zip(images, seeds, strict=True):
        state = _state(seed)
        time, length = 0.5 + 1.5 * next_unit(state), (0.75 + 0.5 * next_unit(state)) * side
        light = np.pad(_caustics(side, time, length), 1)
        slopes = [light[2:, 1:-1] - light[:-2, 1:-1], light[1:-1, 2:] - light[1:-1, :-2]]
        normal = np.stack([*slopes, np.ones((side, side))])
        normal /= np.sqrt((normal**2).sum(0))
        sine = np.sqrt(1 - normal[2] ** 2)
        bent = np.sqrt(1 - sine**2 / 16) - normal[2] / 4
        moved = np.round(0.05 * s * side * normal[:2] * bent, 3) * (normal[2] < 0.999)
        y, x = np.stack(_grid(side)) + moved
        shine = 0.2 * s * (slopes[0] - slopes[1])
        twins.append(255 * (_bilinear(image / 255, y, x) + shine[..., None]))
    _check(_apply("caustic_refraction", images, s, seeds), twins)


@pytest.mark.parametrize("side", [17, 32])
def test_splines_go_through_their_samples_as_scipys(side: int) -> None:
    lines = np.random.Generator(np.random.PCG64(0)).normal(size=(side, 5))
    expected = ndimage.spline_filter1d(lines, 3, axis=0, mode="mirror")
    cbar_splines.spline_coefficients(lines)
    assert lines == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("side", "s"), [(24, 2.8), (25, 6.0)])
def test_circular_motion_blur(side: int, s: float) -> None:
    images = _pictures(66, side)
    made = _apply("circular_motion_blur", images, s, _seeds(66))
    turns = np.linspace(-1, 1, 21)
    weights = np.exp(-2 * turns**2)
    twins = []
    for image in images[::13]:
        turned = [
            ndimage.rotate(image.astype(float), 1.5 * s * u, reshape=False, order=3) for u in turns
        ]
        twins.append(np.average(turned, axis=0, weights=weights))
    _check(made[::13], twins)


@pytest.mark.parametrize(("side", "s"), [(32, 1), (32, 2), (32, 5), (32, 9), (32, 10), (45, 4)])
def test_chromatic_aberration(side: int, s: float) -> None:
    """Whichever channel got which factor: each is one of the three zooms that SciPy makes."""
    images = _pictures(6, side)
    made = _apply("transverse_chromatic_abberation", images, s, _seeds(6)).astype(int)
    for image, result in zip(images, made, strict=True):
        used = []
        for channel in range(3):
            for k in range(3):
                factor = 1 + 0.025 * s * k
                plane = image[..., channel].astype(float)
                zoomed = ndimage.zoom(plane, factor, order=3, prefilter=False)
                start = (len(zoomed) - side) // 2
                twin = _bytes(zoomed[start : start + side, start : start + side])
                if np.abs(twin - result[..., channel]).max() <= 1:
                    used.append(k)
        assert sorted(used) == [0, 1, 2]
