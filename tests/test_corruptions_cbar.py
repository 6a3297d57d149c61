"""C-bar: what each corruption does to flat pictures, what a sample depends on, golden bytes."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.corruptions import corrupt
from pipeline.corruptions.cbar import C_BAR_CIFAR, C_BAR_IMAGENET, CBAR
from tests.elsewhere import without_avx

# A change of this means that every C-bar set made before differs from those made after: say so in the
# change log of the same commit. It holds on any x86-64 processor.
GOLDEN = "2f606c68af09f53ac10ae894250c7ab77b69a31fee3cf34a647e1057fc1cf469"

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

BY_NAME = {corruption.name: corruption for corruption in CBAR}
NAMES = tuple(BY_NAME)
# Of eight pictures, four seeds at each of two severities: one draws nothing, one of six orders of channels.
FEWER = {"circular_motion_blur": 2, "transverse_chromatic_abberation": 6}


def _pictures(num: int, side: int, seed: int = 0) -> U8:
    """Return smooth pictures with some noise: differences of neighbours and all levels occur."""
    generator = np.random.Generator(np.random.PCG64(seed))
    coarse = generator.integers(0, 256, (num, 4, 4, 3))
    fine = coarse.repeat(-(-side // 4), 1).repeat(-(-side // 4), 2)[:, :side, :side]
    return np.clip(fine + generator.integers(-20, 21, fine.shape), 0, 255).astype(np.uint8)


def _flat(num: int, side: int, level: int = 128) -> U8:
    return np.full((num, side, side, 3), level, np.uint8)


def _seeds(num: int, first: int = 0) -> U64:
    return np.arange(first, first + num, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15 >> 3)


def _apply(name: str, images: U8, s: float, seeds: U64) -> U8:
    return BY_NAME[name].apply(images, (s,), seeds)


def _golden() -> str:
    digest = hashlib.sha256()
    for corruption in CBAR:
        scale = "imagenet" if corruption.cifar is None else "cifar"
        digest.update(corrupt(corruption.name, _pictures(3, 32), 3, _seeds(3), scale=scale).data)
    digest.update(corrupt("brownish_noise", _pictures(1, 96), 2, _seeds(1)).data)
    return digest.hexdigest()


def test_golden_pictures() -> None:
    assert _golden() == GOLDEN


@pytest.mark.slow
def test_a_processor_without_avx_makes_the_same_bytes() -> None:
    script = "from tests.test_corruptions_cbar import _golden; print(_golden())"
    assert without_avx(script) == [GOLDEN]


def test_each_benchmark_has_ten() -> None:
    assert len(C_BAR_CIFAR) == len(C_BAR_IMAGENET) == 10
    assert set(C_BAR_CIFAR) | set(C_BAR_IMAGENET) == set(NAMES)
    assert len(NAMES) == 15
    for corruption in CBAR:
        for names, constants in (
            (C_BAR_CIFAR, corruption.cifar),
            (C_BAR_IMAGENET, corruption.imagenet),
        ):
            assert (corruption.name in names) == (constants is not None)
            if constants is not None:
                assert len(constants) == 5
                assert list(constants) == sorted(constants)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_depends_on_its_picture_and_seed_alone(name: str) -> None:
    images, seeds = _pictures(70, 16), _seeds(70)
    together = _apply(name, images, 4.0, seeds)
    assert together.dtype == np.uint8
    assert together.shape == images.shape
    assert np.array_equal(together[::-1], _apply(name, images[::-1], 4.0, seeds[::-1]))
    for k in (0, 66):
        alone = _apply(name, images[k : k + 1], 4.0, seeds[k : k + 1])
        assert np.array_equal(together[k], alone[0])


@pytest.mark.parametrize("name", NAMES)
def test_seeds_and_severities_give_different_pictures(name: str) -> None:
    images = _pictures(1, 32).repeat(4, axis=0)
    images.flags.writeable = False
    seeds = np.array([0, 1, 2, 2**64 - 1], np.uint64)
    made = [_apply(name, images, s, seeds) for s in (3.0, 9.0)]
    different = {picture.tobytes() for batch in made for picture in batch}
    assert len(different) == FEWER.get(name, 8)
    assert images[0].tobytes() not in different


@pytest.mark.parametrize("name", NAMES)
def test_any_side_and_extreme_severities(name: str) -> None:
    """Nothing is left unwritten, and no number falls outside of bytes and wraps around."""
    for side in (9, 33):
        for s in (0.5, 10.0):
            dark, bright = (_apply(name, _flat(2, side, level), s, _seeds(2)) for level in (0, 255))
            assert float(np.mean(dark)) < float(np.mean(bright))


@pytest.mark.parametrize(
    ("name", "worst"),
    [
        ("blue_noise_sample", False),
        ("brownish_noise", True),
        ("checkerboard_cutout", False),
        ("inverse_sparkles", True),
        ("lines", False),
        ("cocentric_sine_waves", True),
        ("perlin_noise", True),
        ("plasma_noise", True),
        ("single_frequency_greyscale", True),
    ],
)
def test_damage_grows_with_severity(name: str, worst: bool) -> None:
    """The mean change of the same samples grows from severity to severity.

    Where the severity scales a pattern (`worst`) this holds for each single picture.
    """
    scale = "cifar" if name in C_BAR_CIFAR else "imagenet"
    images, seeds = _pictures(40, 32), _seeds(40)
    damages = []
    for severity in range(1, 6):
        made = corrupt(name, images, severity, seeds, scale=scale).astype(int)
        damages.append(np.abs(made - images).mean((1, 2, 3)))
    steps = np.diff(damages, axis=0)
    assert np.all((steps if worst else steps.mean(1)) > 0)


@pytest.mark.parametrize(
    ("scale", "shares"),
    [("cifar", (1.1, 1.9, 3.1, 7.4, 10.8)), ("imagenet", (1.2, 2.2, 3.8, 9.7, 20.6))],
)
def test_blue_noise_zeroes_the_share_below_a_normal_quantile(
    scale: str, shares: tuple[float, ...]
) -> None:
    for severity, percent in enumerate(shares, 1):
        made = corrupt("blue_noise_sample", _flat(60, 32), severity, _seeds(60), scale=scale)
        assert set(np.unique(made)) == {0, 128}
        assert np.ptp(made, axis=-1).max() == 0  # all channels alike
        assert 100 * np.mean(made == 0) == pytest.approx(percent, rel=0.1)


def test_blue_noise_keeps_zeroed_pixels_apart() -> None:
    zeroed = _apply("blue_noise_sample", _flat(100, 32), 4.2, _seeds(100))[..., 0] == 0
    share = zeroed.mean()
    beside = (zeroed[:, :, 1:] & zeroed[:, :, :-1]).mean()
    assert beside < 0.5 * share**2  # white noise: share²


def test_brownish_noise_has_a_deviation_of_its_severity() -> None:
    made = _apply("brownish_noise", _flat(200, 32), 2.0, _seeds(200)).astype(float)
    assert made.std((1, 2)).mean() == pytest.approx(12.8, abs=0.05)
    smooth = np.abs(np.diff(made, axis=1)).mean()
    assert smooth < 0.5 * 12.8
    channels = np.array([np.corrcoef(picture.reshape(-1, 3).T) for picture in made])
    assert abs(channels[:, 0, 1].mean()) < 0.2  # few frequencies: single pictures do correlate


def test_checkerboard_erases_a_twentieth_a_severity() -> None:
    for s in (1, 5):
        made = _apply("checkerboard_cutout", _flat(400, 32, 10), s, _seeds(400))
        assert set(np.unique(made)) == {10, 128}
        assert np.mean(made == 128) == pytest.approx(s / 20, rel=0.12)


def test_lines_are_as_many_as_the_side_and_severity_say() -> None:
    """One more line covers more: a picture crossed by none, then 1, 3, 4, 6 and 8."""
    assert np.array_equal(_apply("lines", _flat(1, 32), 0.3, _seeds(1)), _flat(1, 32))
    covered = []
    for severity in range(1, 6):
        made = corrupt("lines", _flat(300, 32, 0), severity, _seeds(300))
        covered.append(-np.log1p(-np.mean(made / 128.0)))  # lines hide one another: shares multiply
    assert np.array(covered) / covered[0] == pytest.approx([1, 3, 4, 6, 8], rel=0.12)


def test_sparkles_only_brighten_and_inverse_ones_spare_the_middle() -> None:
    images = _pictures(50, 32)
    made = _apply("sparkles", images, 3.0, _seeds(50))
    assert np.all(made >= images)
    assert np.any(made == 255)
    made = _apply("inverse_sparkles", _flat(200, 32, 0), 5.0, _seeds(200))
    assert made[:, 12:20, 12:20].mean() < 50
    assert made[:, :3].mean() > 150


@pytest.mark.parametrize("name", ["ripple", "pinch_and_twirl"])
def test_warps_leave_flat_pictures_alone_but_at_borders(name: str) -> None:
    made = _apply(name, _flat(20, 36), 6.0, _seeds(20))[:, 2:-2, 2:-2].astype(int)
    assert np.abs(made - 128).max() <= 1


def test_the_border_left_over_by_pinched_cells_stays() -> None:
    images = _pictures(5, 35)
    made = _apply("pinch_and_twirl", images, 8.0, _seeds(5))
    assert np.array_equal(made[:, 33:], images[:, 33:])
    assert np.array_equal(made[:, :, 33:], images[:, :, 33:])
    assert not np.array_equal(made[:, :33, :33], images[:, :33, :33])


def test_perlin_noise_fades_towards_grey_turbulence() -> None:
    made = _apply("perlin_noise", _flat(20, 32, 0), 20.0, _seeds(20))  # nothing of the picture left
    assert np.ptp(made, axis=-1).max() == 0
    assert made.min() >= 127
    assert 140 < made.mean() < 240


def test_chromatic_aberration_leaves_one_channel_its_size() -> None:
    """One channel is softened alone, the others are larger; which is which depends on the seed."""
    images = _pictures(1, 32).repeat(60, axis=0)
    made = _apply("transverse_chromatic_abberation", images, 5.0, _seeds(60))
    errors = np.abs(made.astype(int) - images).mean((1, 2))
    orders = {tuple(order) for order in np.argsort(errors, axis=1).tolist()}
    assert len({order[0] for order in orders}) == 3
