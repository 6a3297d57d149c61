"""Endless zooms: seamless, at a constant factor, the same from orbits and from strips."""

from __future__ import annotations

import hashlib
import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pictures import zoom as zooms
from pipeline.pictures import zoom_kernels, zoom_targets
from pipeline.pictures.quality import FRACTAL_GATE, Cells
from pipeline.pictures.zoom import Zoom, frame, frame_at, make_strip, make_zoom
from pipeline.pictures.zoom_strip import Strip, strip_frames

F64 = npt.NDArray[np.float64]

# A change of these means that every clip mixed with zooms changes. They hold on any x86-64 processor.
GOLDEN = {
    "mandelbrot": "d2efcbd67ee6bf2651a0767cc8084bcab932a5cc6d26df951946a6d1824576c5",
    "julia": "b196b08da2ce88a1ea30e780651c96caebcf7d9f48b8bbaaa6cdae8d7c558b54",
}


def golden(kind: str) -> str:
    hashed = hashlib.sha256()
    for index in range(2):
        zoom = make_zoom(7, index, kind=kind)
        hashed.update(frame(zoom, -1, 24).data)
        hashed.update(strip_frames(make_strip(zoom, 24), 0.25, 1.03, -1, 3, 20).data)
    return hashed.hexdigest()


@pytest.fixture(scope="module")
def some() -> list[Zoom]:
    return [make_zoom(0, index, kind=kind) for kind in zooms.KINDS for index in range(4)]


def _at(zoom: Zoom, position: float, size: int, supersampling: int = 2) -> zooms.U8:
    picture = np.empty((size, size, 3), np.uint8)
    frame_at(zoom, position, picture, supersampling=supersampling)
    return picture


def _difference(one: zooms.U8, other: zooms.U8) -> float:
    return float(np.abs(one.astype(float) - other).mean() / 255)


def _psnr(one: zooms.U8, other: zooms.U8) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


@pytest.mark.parametrize("kind", zooms.KINDS)
def test_golden_frames(kind: str) -> None:
    assert golden(kind) == GOLDEN[kind]


def test_zooms_depend_on_their_key_alone() -> None:
    one, other = make_zoom(0, 0), make_zoom(0, 0)
    assert (one.spiral, one.num_frames) == (other.spiral, other.num_frames)
    assert np.array_equal(one.style.palette, other.style.palette)
    points = {
        (make_zoom(s, i, kind=k).spiral.x) for s in (0, 1) for i in (0, 1) for k in zooms.KINDS
    }
    assert len(points) == 8


def test_frames_go_on_forever_in_both_directions(some: list[Zoom]) -> None:
    zoom = some[0]
    for number in (0, 3):
        first = frame(zoom, number, 20)
        for laps in (-5, -1, 1, 10**12):
            assert np.array_equal(frame(zoom, number + laps * zoom.num_frames, 20), first)
    assert not np.array_equal(frame(zoom, 1, 20), frame(zoom, 0, 20))


def test_the_seam_does_not_show(some: list[Zoom]) -> None:
    """A whole loop deeper the plane looks the same, far closer than adjacent frames do."""
    for zoom in some:
        first, last, beyond = _at(zoom, 0, 64), frame(zoom, -1, 64), _at(zoom, 1, 64)
        assert _difference(first, beyond) < 0.006
        assert _difference(first, beyond) < 0.15 * _difference(first, last)


def test_the_factor_is_constant_and_near_the_asked_one() -> None:
    for factor in (1.005, 1.02, 1.05, 1.2):
        for kind in zooms.KINDS:
            zoom = make_zoom(1, 0, kind=kind, factor=factor)
            assert abs(math.log(zoom.factor) / math.log(factor) - 1) < 0.021
            assert zoom.num_frames >= 24
            assert zooms.largest_size(zoom) >= 512


def test_a_magnified_frame_is_a_later_frame(some: list[Zoom]) -> None:
    """Twice as deep, without roll: the middle of the frame at twice the size, orbit for orbit."""
    for zoom in some:
        still = zoom._replace(spiral=zoom.spiral._replace(roll=0.0))
        deeper = _at(still, 0.1 + math.log(2) / zoom.spiral.growth, 32)
        assert _difference(_at(still, 0.1, 64)[16:48, 16:48], deeper) < 0.002


def test_frames_turn_as_the_loop_rolls(some: list[Zoom]) -> None:
    zoom = some[0]
    quarter = zoom._replace(spiral=zoom.spiral._replace(roll=math.pi / 2))
    unrolled = zoom._replace(
        spiral=zoom.spiral._replace(roll=0.0), style=zoom.style._replace(relief=0.0)
    )
    quarter = quarter._replace(style=unrolled.style)
    assert _difference(np.rot90(_at(unrolled, 1, 32), -1), _at(quarter, 1, 32)) < 0.01


def test_targets_are_what_they_should_be(some: list[Zoom]) -> None:
    for zoom in some:
        spiral = zoom.spiral
        point = complex(spiral.x, spiral.y)
        if zoom.kind == "julia":
            c = complex(zoom.formula.x, zoom.formula.y)
            assert point * point + c == pytest.approx(point, abs=1e-14)
            multiplier = 2 * point
            assert zoom.period == 1
        else:
            z = [0j]
            for _ in range(40):
                z.append(z[-1] * z[-1] + point)
            k = next(k for k in range(20) if abs(z[k + zoom.period] - z[k]) < 1e-6)
            multiplier = np.prod([2 * z[j] for j in range(k, k + zoom.period)])
        assert spiral.growth == pytest.approx(zoom.laps * math.log(abs(multiplier)), abs=1e-4)
        turned = np.exp(1j * (spiral.roll - zoom.laps * np.angle(multiplier)))
        assert turned == pytest.approx(1, abs=1e-3)
        assert spiral.shift == zoom.laps * zoom.period


@settings(max_examples=60, deadline=None)
@given(st.floats(0.15, 3.4), st.floats(-0.5, 0.5), st.floats(1.001, 1.25))
def test_loops_are_long_enough_and_roll_least(growth: float, angle: float, factor: float) -> None:
    laps, turns = zoom_targets._choose_laps(growth, angle, factor)
    least = max(1.2, 24 * math.log(factor))
    assert laps * growth >= least - 1e-9
    assert laps * growth <= max(6, least + growth) + 1e-9
    assert abs(turns) <= 0.5
    assert math.cos(2 * math.pi * (turns - laps * angle)) == pytest.approx(1)


def test_zooms_pass_the_gate(some: list[Zoom]) -> None:
    pictures = [_at(zoom, position, 64) for zoom in some for position in (0, 0.3, 0.7)]
    passed = [FRACTAL_GATE.shortfall(Cells(picture)) == 0 for picture in pictures]
    assert np.mean(passed) > 0.8


def test_depth_is_limited_by_float64(some: list[Zoom]) -> None:
    zoom = some[0]
    largest = zooms.largest_size(zoom)
    deepest = zoom.spiral.radius * math.exp(-zoom.spiral.growth)
    spacing = 2 * deepest / largest
    floor = 64 * 2.0**-52 * max(abs(zoom.spiral.x), abs(zoom.spiral.y))
    assert spacing >= floor * (1 - 1e-9) or largest == 10**6
    deep = zoom._replace(spiral=zoom.spiral._replace(radius=1e-12 * math.exp(zoom.spiral.growth)))
    limit = zooms.largest_size(deep)
    assert 100 < limit < 1000
    assert frame(deep, 0, 100).std() > 5
    for call in (frame, make_strip):
        with pytest.raises(ValueError, match=f"has 1 to {limit}, by its depth"):
            call(deep, *((0,) if call is frame else ()), limit + 1)  # type: ignore[operator]
    with pytest.raises(ValueError, match="frames of 0 pixels"):
        frame(zoom, 0, 0)


def test_wrong_kinds_and_factors() -> None:
    with pytest.raises(ValueError, match="'ship': choose one of mandelbrot, julia"):
        make_zoom(0, 0, kind="ship")
    for factor in (1.0, 0.5, 2.0, math.nan):
        with pytest.raises(ValueError, match=r"choose 1\.001 to 1\.25"):
            make_zoom(0, 0, factor=factor)


def test_strips_are_small_and_twisted_tori(some: list[Zoom]) -> None:
    """One loop deeper a strip shows itself, displaced by its twist."""
    for zoom in some:
        strip = make_strip(zoom, 48)
        rows, columns, _ = strip.cells.shape
        assert abs(columns - math.pi * 48) <= 8
        assert rows % 16 == columns % 16 == strip.twist % 16 == 0
        assert abs(rows - columns * strip.growth / (2 * math.pi)) <= 8
        one = zoom.spiral
        two = one._replace(
            growth=2 * one.growth, roll=2 * one.roll, shift=2 * one.shift, rings=2 * one.rings
        )
        both = np.empty((2 * rows, columns, 3), np.uint8)
        zoom_kernels.paint_strip(zoom.formula, two, zoom.style, 2 * strip.twist, 2, both)
        assert _difference(both[:rows], strip.cells) < 1e-3
        assert _difference(both[rows:], np.roll(strip.cells, -strip.twist, axis=1)) < 0.006


def test_strips_show_what_orbits_show(some: list[Zoom]) -> None:
    """Nearer to the truth of 4×4 orbits a pixel than one orbit a pixel is."""
    gains = []
    for zoom in some:
        strip = make_strip(zoom, 64)
        clip = strip_frames(strip, 0.3, 1.04, 1, 9, 64)
        for number in (0, 8):
            position = 0.3 + number * math.log(1.04) / strip.growth
            truth = _at(zoom, position, 64, supersampling=4)
            assert _psnr(clip[number], truth) > 22
            gains.append(_psnr(clip[number], truth) - _psnr(_at(zoom, position, 64, 1), truth))
    assert np.mean(gains) > 2
    assert min(gains) > 0


def _slow_clip(strip: Strip, start: float, step: float, num_frames: int, size: int) -> zooms.U8:
    """Read a strip as `read_clip` does, in floats: linear between cells and between levels."""
    levels = [strip.cells.astype(float)]
    for _ in range(4):
        rows, columns, _ = levels[-1].shape
        quarters = levels[-1].reshape(rows // 2, 2, columns // 2, 2, 3)
        levels.append(np.floor((quarters.sum(axis=(1, 3)) + 2) / 4))
    rows, columns, _ = strip.cells.shape
    y, x = np.mgrid[:size, :size] * 2.0 + 1 - size
    x[(x == 0) & (y == 0)] = 1
    fine = np.clip(np.log2(columns / (np.hypot(x, y) * np.pi)), 0, 4)
    clip = []
    for number in range(num_frames):
        position = start + number * step
        loops = position - np.log(np.hypot(x, y) / size) / strip.growth
        turned = np.arctan2(y, x) - position * strip.roll + strip.roll * loops
        u, v = turned * columns / (2 * np.pi) - strip.twist * loops, loops * rows
        frame = np.zeros((size, size, 3))
        for level, cells in enumerate(levels):
            weight = np.maximum(1 - np.abs(fine - level), 0)[..., None]
            frame += weight * _between_cells(cells, strip.twist >> level, v, u, 0.5**level)
        clip.append(frame + 0.5)
    return np.floor(clip).astype(np.uint8)


def _between_cells(cells: F64, twist: int, v: F64, u: F64, scale: float) -> F64:
    rows, columns, _ = cells.shape
    v, u = v * scale - 0.5, u * scale - 0.5
    down, right = (v - np.floor(v))[..., None], (u - np.floor(u))[..., None]

    def at(i: F64, j: F64) -> F64:
        loop, row = np.divmod(i, rows)
        return cells[row.astype(int), ((j + loop * twist) % columns).astype(int)]

    i, j = np.floor(v), np.floor(u)
    above = at(i, j) * (1 - right) + at(i, j + 1) * right
    below = at(i + 1, j) * (1 - right) + at(i + 1, j + 1) * right
    return above * (1 - down) + below * down


def test_clips_are_read_as_a_slow_twin_reads_them(some: list[Zoom]) -> None:
    for zoom, size in zip(some, (31, 48, 16, 80, 5, 64, 2, 33), strict=True):
        strip = make_strip(zoom, 48)
        for start, factor, direction in ((0.0, 1.02, 1), (0.97, 1.1, 1), (0.03, 3.0, -1)):
            clip = strip_frames(strip, start, factor, direction, 7, size)
            slow = _slow_clip(strip, start, direction * math.log(factor) / strip.growth, 7, size)
            off = np.abs(clip.astype(int) - slow)
            assert off.max() <= 3  # weights are of 8 bits
            assert off.mean() < 0.3


def test_clips_close_after_a_loop_at_any_factor(some: list[Zoom]) -> None:
    for zoom in some[::3]:
        strip = make_strip(zoom, 48)
        for num_frames in (7, 40):
            factor = math.exp(strip.growth / num_frames)
            clip = strip_frames(strip, 0.9, factor, 1, num_frames + 1, 40)
            assert np.abs(clip[0].astype(int) - clip[-1]).max() <= 1
            adjacent = [_difference(a, b) for a, b in itertools.pairwise(clip)]
            assert max(adjacent) < 2 * np.median(adjacent)


def test_outwards_is_inwards_backwards(some: list[Zoom]) -> None:
    strip = make_strip(some[5], 32)
    step = math.log(1.05) / strip.growth
    inwards = strip_frames(strip, 0.1, 1.05, 1, 5, 33)
    outwards = strip_frames(strip, 0.1 + 4 * step, 1.05, -1, 5, 33)
    assert np.abs(inwards[::-1].astype(int) - outwards).max() <= 1


def test_a_clip_starts_alike_whatever_its_length(some: list[Zoom]) -> None:
    strip = make_strip(some[1], 32)
    long = strip_frames(strip, 0.5, 1.02, 1, 300, 16)
    assert np.array_equal(long[:4], strip_frames(strip, 0.5, 1.02, 1, 4, 16))
    assert long.shape == (300, 16, 16, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_phase": 1.0}, "start_phase 1.0"),
        ({"start_phase": -0.1}, "start_phase -0.1"),
        ({"factor": 1.0}, "factor 1.0"),
        ({"factor": math.inf}, "factor inf"),
        ({"direction": 0}, "direction 0"),
        ({"num_frames": 0}, "0 frames of 8 pixels"),
        ({"size": 0}, "1 frames of 0 pixels"),
    ],
)
def test_wrong_clips(some: list[Zoom], change: dict[str, float], message: str) -> None:
    arguments = {"start_phase": 0.0, "factor": 1.02, "direction": 1, "num_frames": 1, "size": 8}
    with pytest.raises(ValueError, match=message):
        strip_frames(make_strip(some[0], 16), **{**arguments, **change})  # type: ignore[arg-type]
