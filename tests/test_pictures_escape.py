"""Escape-time pictures: the same bytes everywhere, alike at every size, and good to mix with."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest

from pipeline.pictures import escape, escape_kernels
from pipeline.pictures.draws import Draws
from pipeline.pictures.quality import FRACTAL_GATE, Cells
from tests.elsewhere import without_avx

# A change of these means that every mixing set and dataset made with them changes. They hold on any
# x86-64 processor.
GOLDEN = {
    36: "c31a42c059226fdcf340a6d11093bd0344f7c60bab21e0b2d1394bae86acf0ed",
    100: "2357b7592af89d697dacef17a2c13364b5ee0176d9fddb30177c6511c639a130",
}


def render(seed: int, index: int, size: int, attempt: int = 0) -> escape.U8:
    picture = np.empty((size, size, 3), np.uint8)
    escape.render_escape(seed, index, attempt, picture)
    return picture


def golden(size: int) -> str:
    pictures = [render(7, index, size) for index in range(12)]
    return hashlib.sha256(np.stack(pictures).data).hexdigest()


@pytest.fixture(scope="module")
def pictures() -> list[escape.U8]:
    return [render(0, index, 36) for index in range(160)]


@pytest.mark.parametrize("size", list(GOLDEN))
def test_golden_pictures(size: int) -> None:
    assert golden(size) == GOLDEN[size]


@pytest.mark.slow
def test_a_processor_without_avx_makes_the_same_bytes() -> None:
    """One process for pictures and zooms, as it compiles all kernels anew."""
    script = (
        "from tests import test_pictures_escape as stills, test_pictures_zoom as zooms;"
        "print(stills.golden(36), *map(zooms.golden, zooms.GOLDEN))"
    )
    from tests import test_pictures_zoom

    expected = [GOLDEN[36], *test_pictures_zoom.GOLDEN.values()]
    assert without_avx(script) == expected


def test_order_does_not_matter() -> None:
    forwards = [render(3, index, 24).tobytes() for index in range(6)]
    backwards = [render(3, index, 24).tobytes() for index in reversed(range(6))]
    assert forwards == backwards[::-1]


def test_seeds_indices_and_attempts_give_different_pictures() -> None:
    different = {
        render(seed, index, 24, attempt).tobytes()
        for seed in (0, 1, 2**64 - 1)
        for index in range(3)
        for attempt in range(3)
    }
    assert len(different) == 27


@pytest.mark.parametrize("size", [1, 8, 33])
def test_any_size(size: int) -> None:
    assert render(0, 1, size).shape == (size, size, 3)
    assert size == 1 or render(0, 1, size).std() > 8


def test_a_picture_looks_alike_at_every_size() -> None:
    """Area-averaged from 144 pixels it is what is rendered at 36, but for what 2×2 samples miss."""
    for index in range(8):
        fine = render(0, index, 144).reshape(36, 4, 36, 4, 3).mean(axis=(1, 3))
        coarse = render(0, index, 36).astype(float)
        assert np.abs(fine - coarse).mean() < 8
        assert np.corrcoef(fine.ravel(), coarse.ravel())[0, 1] > 0.95


def test_most_pictures_pass_the_gate(pictures: list[escape.U8]) -> None:
    passed = [FRACTAL_GATE.shortfall(Cells(picture)) == 0 for picture in pictures]
    assert np.mean(passed) >= 0.87


def test_no_picture_is_a_black_void(pictures: list[escape.U8]) -> None:
    black = np.array([(picture.max(axis=2) < 16).mean() for picture in pictures])
    assert black.max() < 0.5
    assert black.mean() < 0.02
    clipped = np.array([(picture.min(axis=2) == 255).mean() for picture in pictures])
    assert clipped.mean() < 0.01


def test_families_come_as_often_as_they_should() -> None:
    assert sum(family.share for family in escape.FAMILIES) == 100
    seen = Counter(
        escape._draw_family(Draws(0, escape._PURPOSE, index, 0)).name for index in range(4000)
    )
    for family in escape.FAMILIES:
        expected = 40 * family.share
        assert abs(seen[family.name] - expected) < 5 * np.sqrt(expected)


@pytest.mark.parametrize("family", escape.FAMILIES, ids=lambda family: family.name)
def test_every_family_finds_rich_places(family: escape.Family) -> None:
    places = [escape._draw_place(family, Draws(1, 0, index, 0)) for index in range(40)]
    interest = np.array([place.interest for place in places])
    assert interest.max() > 0.25
    assert (interest > 0).mean() > 0.15  # so that the best of ten is rich
    assert {place.formula.degree for place in places} == {family.degree}
    assert {place.formula.julia for place in places} == {family.julia}
    for place in places:
        view = place.view
        assert np.isclose(np.hypot(view.across, view.turned), place.half_width)


def test_choosing_takes_a_better_preview_than_the_first() -> None:
    scores = [escape.choose(Draws(0, escape._PURPOSE, index, 0)).score for index in range(60)]
    assert np.median(scores) > 4
    assert min(scores) > -100


def test_palettes_are_cyclic_and_vary() -> None:
    palettes = [escape.draw_palette(Draws(0, 1, index, 0)) for index in range(60)]
    for palette in palettes:
        assert palette.shape == (escape_kernels.PALETTE_COLOURS, 3)
        assert 0 <= palette.min() <= palette.max() <= 255
        steps = np.abs(np.diff(palette, axis=0, append=palette[:1]))
        assert steps.max() < 6
        luminance = palette @ [0.299, 0.587, 0.114]
        assert np.ptp(luminance) > 50
    assert len({palette.tobytes() for palette in palettes}) == 60


def test_log_uniform() -> None:
    draws = Draws(0, 0, 0, 0)
    numbers = np.log10([escape.log_uniform(draws, 1e-4, 1e-2) for _ in range(2000)])
    assert -4 <= numbers.min() <= numbers.max() <= -2
    assert abs(numbers.mean() + 3) < 0.05
