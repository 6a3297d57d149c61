"""Sequences: what their frames are, twins of torchvision, SciPy and plain NumPy, golden bytes."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy import ndimage
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tf

from pipeline.corruptions.perturbations import PERTURBATIONS, frame_side, perturb
from pipeline.corruptions.perturbations_geometry import tilt_back, warp_perspective
from pipeline.errors import UsageError
from tests.elsewhere import without_avx
from tests.test_corruptions_cbar import _flat, _pictures, _seeds

# A change of this means that every set of sequences made before differs from those made after: say so in the
# change log of the same commit. It holds on any x86-64 processor.
GOLDEN = "e0a5d03ce95854fef97d2e7cc0c5f25547269ed9fafb7c46e367ced5963ae167"

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

NOISES = ("gaussian_noise", "shot_noise", "speckle_noise")
DRAWN = (*NOISES, "snow", "spatter")


def _golden() -> str:
    digest = hashlib.sha256()
    for name in PERTURBATIONS:
        digest.update(perturb(name, _pictures(2, 32), _seeds(2)).data)
        digest.update(perturb(name, _pictures(1, 40), _seeds(1), scale="imagenet").data)
    return digest.hexdigest()


def test_golden_sequences() -> None:
    assert _golden() == GOLDEN


@pytest.mark.slow
def test_a_processor_without_avx_makes_the_same_bytes() -> None:
    script = "from tests.test_corruptions_perturbations import _golden; print(_golden())"
    assert without_avx(script) == [GOLDEN]


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_sequence_depends_on_its_picture_and_seed_alone(name: str) -> None:
    images, seeds = _pictures(4, 24), _seeds(4)
    together = perturb(name, images, seeds)
    assert together.dtype == np.uint8
    assert together.shape == (4, PERTURBATIONS[name].cifar_frames, 24, 24, 3)
    backwards = perturb(name, images[::-1], seeds[::-1])
    assert np.array_equal(together[::-1], backwards)
    assert np.array_equal(together[2:3], perturb(name, images[2:3], seeds[2:3]))
    assert perturb(name, images[:0], seeds[:0]).shape == (0, *together.shape[1:])
    same = perturb(name, images, seeds + np.uint64(1))
    assert np.array_equal(together, same) == (name not in DRAWN)


def test_frames_and_comparisons_are_those_published() -> None:
    ten = "gaussian_noise shot_noise motion_blur zoom_blur snow brightness translate rotate tilt scale"
    assert list(PERTURBATIONS)[:10] == ten.split()
    frames = {
        kind.name: (kind.cifar_frames, kind.imagenet_frames) for kind in PERTURBATIONS.values()
    }
    assert frames.pop("motion_blur") == (21, 31)
    assert frames.pop("translate") == (16, 41)
    assert set(frames.values()) == {(31, 31)}
    for kind in PERTURBATIONS.values():
        assert kind.noise == ("noise" in kind.name)
        assert len(kind.cifar) == len(kind.imagenet) == (3 if kind.noise else 1)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_frames_at_imagenets_scale(name: str) -> None:
    kind = PERTURBATIONS[name]
    made = perturb(name, _pictures(1, 72), _seeds(1))
    side = 63 if kind.margin else 72
    assert made.shape == (1, kind.imagenet_frames, side, side, 3)
    assert frame_side(name, 72, 72) == side
    assert frame_side(name, 256, 256) == (224 if kind.margin else 256)
    if kind.margin:
        wide = np.concatenate([_pictures(1, 72), _pictures(1, 72, seed=1)], axis=2)
        assert perturb(name, wide, _seeds(1)).shape == made.shape
    else:
        with pytest.raises(UsageError, match="cut out the middle"):
            frame_side(name, 72, 144)


# ---- noises


@pytest.mark.parametrize("name", NOISES)
def test_noises_have_a_clean_first_frame_and_fresh_noise_after(name: str) -> None:
    frames = perturb(name, _flat(1, 48, 100), _seeds(1))[0].astype(float)
    assert np.all(frames[0] == 100)
    noise = frames[1:].reshape(30, -1) - frames[1:].mean()
    assert abs(np.corrcoef(noise) - np.eye(30)).max() < 0.08


@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_noises_have_their_deviations(scale: str, difficulty: int) -> None:
    """One of quantisation, 1/√12, adds to that of the noise."""
    constants = {"cifar": (0.02, 0.04, 0.06, 700, 400, 200, 0.05, 0.07, 0.1)}
    constants["imagenet"] = (0.03, 0.05, 0.08, 300, 120, 60, 0.05, 0.1, 0.15)
    normal, photons, relative = constants[scale][difficulty - 1 :: 3]
    expected = (normal, math.sqrt(100 / 255 / photons), relative * 100 / 255)
    for name, deviation in zip(NOISES, expected, strict=True):
        frames = perturb(name, _flat(1, 48, 100), _seeds(1), difficulty=difficulty, scale=scale)
        assert frames[0, 1:].std() == pytest.approx(math.hypot(255 * deviation, 0.29), rel=0.02)


def test_difficulties_of_other_kinds_share_their_frames() -> None:
    images = _pictures(1, 24)
    first, third = (perturb("snow", images, _seeds(1), difficulty=d) for d in (1, 3))
    assert np.array_equal(first, third)


# ---- geometry


def _affine(image: U8, nearest: bool = False, **how: float) -> U8:
    mode = InterpolationMode.NEAREST if nearest else InterpolationMode.BILINEAR
    moved = tf.affine(
        Image.fromarray(image),
        angle=how.get("angle", 0.0),
        translate=[int(how.get("right", 0)), 0],
        scale=how.get("scale", 1.0),
        shear=[how.get("shear", 0.0), 0.0],
        interpolation=mode,
    )
    return np.asarray(moved)


def _cut(frame: U8, size: int) -> U8:
    return np.asarray(tf.center_crop(Image.fromarray(frame), [size, size]))


def _close(made: U8, expected: U8) -> None:
    """Angles have another last digit than torchvision's, so a truncated value may differ by one."""
    difference = np.abs(made.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.003


@pytest.mark.parametrize(("height", "width"), [(32, 32), (72, 90)])
@pytest.mark.parametrize("name", ["rotate", "scale", "shear", "translate"])
def test_affine_frames_are_torchvisions(name: str, height: int, width: int) -> None:
    image = _pictures(1, 96)[0, :height, :width]
    made = perturb(name, image[None], _seeds(1))[0]
    size = made.shape[1]
    small = height == 32
    assert size == (32 if small else 63)
    for k in range(0, len(made), 3):
        how: dict[str, dict[str, float]] = {
            "rotate": {"angle": k - 15},
            "scale": {"scale": (70 + 2 * k if small else 40 + 2.5 * k) / 100},
            "shear": {"shear": k - 15},
            "translate": {"right": k - (7 if small else 20), "nearest": True},
        }
        _close(made[k], _cut(_affine(image, **how[name]), size))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (80, 72)])
def test_zoom_blur_is_a_running_mean_of_scaled_pictures(height: int, width: int) -> None:
    image = _pictures(1, 96)[0, :height, :width]
    made = perturb("zoom_blur", image[None], _seeds(1))[0]
    size = made.shape[1]
    total = np.zeros((size, size, 3), np.float32)
    for k in range(31):
        total += _cut(_affine(image, scale=1 + 0.004 * k), size).astype(np.float32) / np.float32(
            255
        )
        mean = total / np.float32(k + 1)  # as tensors are averaged and made pictures again
        _close(made[k], (mean * np.float32(255)).astype(np.uint8))
    assert np.array_equal(made[0], _cut(image, size))


@pytest.mark.parametrize("name", ["brightness", "rotate", "scale", "shear"])
def test_the_middle_frame_is_the_picture(name: str) -> None:
    """But for a level lost on the way to HSV and back."""
    image = _pictures(1, 32)
    difference = image[0].astype(int) - perturb(name, image, _seeds(1))[0, 15]
    assert 0 <= difference.min() <= difference.max() <= (1 if name == "brightness" else 0)


def _tilt_matrix(height: int, width: int, degrees: float) -> F64:
    """Return the homography as a product of camera matrices, forwards."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    f = math.hypot(height, width)
    lift = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1], [0, 0, 1]])
    about_y = np.array([[c, 0, -s, 0], [0, 1, 0, 0], [s, 0, c, 0], [0, 0, 0, 1]])
    about_x = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    away = np.eye(4)
    away[2, 3] = f
    camera = np.array([[f, 0, width / 2, 0], [0, f, height / 2, 0], [0, 0, 1, 0]])
    return camera @ away @ about_x @ about_y @ lift


@pytest.mark.parametrize(("height", "width", "step"), [(32, 32, 0.75), (72, 96, 1.0)])
def test_tilts(height: int, width: int, step: float) -> None:
    """Against bilinear interpolation without rounded places: they differ by 1/64 px, and so by few levels."""
    image = _pictures(1, 96)[0, :height, :width]
    made = perturb("tilt", image[None], _seeds(1))[0].astype(float)
    size = made.shape[1]
    y, x = np.mgrid[:height, :width]
    for k in (0, 7, 20, 30):
        back = np.linalg.inv(_tilt_matrix(height, width, step * (k - 15)))
        assert tilt_back(height, width, step * (k - 15)) == pytest.approx(back, rel=1e-9)
        px, py, pz = np.einsum("ij,jhw->ihw", back, np.stack([x, y, np.ones_like(x)]))
        planes = [
            ndimage.map_coordinates(
                image[..., c].astype(float), [py / pz, px / pz], order=1, mode="grid-constant"
            )
            for c in range(3)
        ]
        top, left = round((height - size) / 2), round((width - size) / 2)
        expected = np.stack(planes, -1)[top : top + size, left : left + size]
        steps = np.abs(np.diff(np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0))), axis=0)).max()
        difference = np.abs(made[k] - expected)
        assert difference.max() <= 2 * steps / 64 + 0.5
        assert difference.mean() < 0.6


def test_a_shift_by_a_fraction_of_a_pixel_rounds_to_the_nearest_byte() -> None:
    image, out = _pictures(1, 12)[0], np.empty((12, 12, 3), np.uint8)
    back = np.array([[1, 0, 0.25], [0, 1, 0.5], [0, 0, 1]])
    warp_perspective(image, back, out)
    wide = np.pad(image.astype(int), ((0, 1), (0, 1), (0, 0)))
    across = 3 * wide[:, :-1] + wide[:, 1:]
    assert np.array_equal(out, (across[:-1] + across[1:] + 4) // 8)


# ---- blur, snow, brightness


@pytest.mark.parametrize(
    ("scale", "start", "step", "truncate"),
    [("cifar", 0.3, 0.015, 7.0), ("imagenet", 0.25, 0.035, 6.0)],
)
def test_gaussian_blur(scale: str, start: float, step: float, truncate: float) -> None:
    images = _pictures(2, 32)
    made = perturb("gaussian_blur", images, _seeds(2), scale=scale)
    for k in (0, 10, 30):
        sigma = (0, start + step * k, start + step * k, 0)
        blurred = ndimage.gaussian_filter(images / 255, sigma, mode="nearest", truncate=truncate)
        _close(made[:, k], (blurred * 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("scale", "radius", "sigma", "start", "step"),
    [("cifar", 6, 1.8, -180, 9), ("imagenet", 10, 3, -120, 4)],
)
def test_motion_blur_turns_a_point_into_a_ray(
    scale: str, radius: int, sigma: float, start: float, step: float
) -> None:
    image = np.zeros((1, 65, 65, 3), np.uint8)
    image[0, 32, 32] = 255
    made = perturb("motion_blur", image, _seeds(1), scale=scale)[0]
    i = np.arange(2 * radius + 1)
    weights = np.exp(-(i**2) / (2 * sigma**2))
    for k, frame in enumerate(made):
        angle = math.radians(start + step * k)
        expected = np.zeros((65, 65))
        # what a pixel reads in one direction, a point spreads in the other
        rows, columns = (
            32 - np.ceil(i * math.sin(angle) - 0.5),
            32 - np.ceil(i * math.cos(angle) - 0.5),
        )
        np.add.at(expected, (rows.astype(int), columns.astype(int)), weights / weights.sum())
        assert np.abs(frame - 255.0 * expected[..., None]).max() <= 0.51


def test_snow_is_one_layer_that_falls_in_other_directions() -> None:
    """On black, what is added is white haze and flakes with their mirror image."""
    made = perturb("snow", _flat(3, 64, 0), _seeds(3))
    haze = int(0.15 * 0.5 * 255)
    assert made.min() == haze
    assert np.ptp(made, axis=-1).max() == 0
    assert np.array_equal(made, made[:, :, ::-1, ::-1])
    flakes = made.astype(float).mean((2, 3, 4)) - haze
    assert np.all(flakes > 1)
    assert np.all(
        np.ptp(flakes, axis=1) < 0.25 * flakes.mean(1)
    )  # they come and go at borders alone
    assert (
        len({frame.tobytes() for frame in made[0]}) > 20
    )  # places are rounded: some directions agree


def test_brightness_moves_grey_by_its_step() -> None:
    for scale, step in (("cifar", 0.015), ("imagenet", 0.02)):
        made = perturb("brightness", _flat(1, 8, 128), _seeds(1), scale=scale)[0]
        for k, frame in enumerate(made):
            assert np.all(frame == int(128 + 255 * step * (k - 15) + 1e-9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rotat"}, "did you mean 'rotate'"),
        ({"scale": "mnist"}, "scale is 'mnist'"),
        ({"difficulty": 4}, "difficulty is 4"),
        ({"images": np.zeros((2, 8, 8, 3))}, "float64"),
        ({"images": np.zeros((2, 8, 8), np.uint8)}, "uint8 \\[2, 8, 8\\]"),
        ({"images": np.zeros((2, 8, 9, 3), np.uint8)}, "8 x 9 px"),
        ({"seeds": np.zeros(2, np.int64)}, "seeds are int64"),
        ({"seeds": np.zeros(3, np.uint64)}, "for 2 pictures"),
    ],
)
def test_impossible_orders(arguments: dict[str, object], message: str) -> None:
    complete: dict[str, object] = {"name": "rotate", "images": _flat(2, 8), "seeds": _seeds(2)}
    complete.update(arguments)
    with pytest.raises(UsageError, match=message):
        perturb(**complete)  # type: ignore[arg-type]
