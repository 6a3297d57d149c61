"""The slow twin of the pixel kernels: PixMix with Pillow and torch, one sample at a time.

Owns the published definition of each op, of the two mixing modes and of a whole sample, written for
reading rather than for speed. The tests hold the kernels to it; the benchmarks use
`published_sample` as the slow peer. It shares no code with the product.

Source: PixMix (Hendrycks et al., CVPR 2022) and the draw order of its reference implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance, ImageOps

from pipeline.pictures.picture_set import PictureSet

# The reference's order of ops, which is also the plan's numbering. The recipe without the last four
# (they resemble ImageNet-C corruptions) draws from the first nine.
OPS = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "color",
    "contrast",
    "brightness",
    "sharpness",
)
UNLEVELLED = frozenset(("autocontrast", "equalize"))
SIGNED = frozenset(("rotate", "shear_x", "shear_y", "translate_x", "translate_y"))
MODES = ("add", "multiply")

ENHANCERS = {
    "color": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "brightness": ImageEnhance.Brightness,
    "sharpness": ImageEnhance.Sharpness,
}

# Shorter side of a mixing picture before its random crop, by the size of the crop (pixels).
RESIZED = {32: 36, 64: 72, 224: 256}


def int_parameter(level: float, largest: float) -> int:
    """Return trunc(level · largest / 10)."""
    return int(level * largest / 10)


def float_parameter(level: float, largest: float) -> float:
    """Return level · largest / 10."""
    return level * largest / 10


def apply_op(
    name: str, image: npt.NDArray[np.uint8], level: float, negative: bool = False
) -> npt.NDArray[np.uint8]:
    """Return Pillow's answer for op `name` on uint8 [h, w, 3]; `level` is the drawn L, to 10."""
    return np.array(_augment(name, Image.fromarray(image), float(level), negative))


def _augment(name: str, picture: Image.Image, level: float, negative: bool) -> Image.Image:
    width, height = picture.size
    sign = -1 if negative else 1
    if name == "autocontrast":
        return ImageOps.autocontrast(picture)
    if name == "equalize":
        return ImageOps.equalize(picture)
    if name == "posterize":
        # At level 10 no bit is left: black by the formula, though some Pillow versions refuse it.
        bits = 4 - int_parameter(level, 4)
        return ImageOps.posterize(picture, bits) if bits else Image.new("RGB", picture.size)
    if name == "rotate":
        degrees = sign * int_parameter(level, 30)
        return picture.rotate(degrees, resample=Image.Resampling.BILINEAR)
    if name == "solarize":
        return ImageOps.solarize(picture, 256 - int_parameter(level, 256))
    if name == "shear_x":
        return _affine(picture, (1, sign * float_parameter(level, 0.3), 0, 0, 1, 0))
    if name == "shear_y":
        return _affine(picture, (1, 0, 0, sign * float_parameter(level, 0.3), 1, 0))
    if name == "translate_x":
        return _affine(picture, (1, 0, sign * int_parameter(level, width / 3), 0, 1, 0))
    if name == "translate_y":
        return _affine(picture, (1, 0, 0, 0, 1, sign * int_parameter(level, height / 3)))
    return ENHANCERS[name](picture).enhance(float_parameter(level, 1.8) + 0.1)


def _affine(picture: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
    )


def mix(
    name: str, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], a: float, b: float
) -> npt.NDArray[np.float32]:
    """Return x mixed with y, float32 in [0, 1], in torch's float32 arithmetic.

    add: (a(2x−1) + b(2y−1) + 1) / 2.  multiply: (2x)^a · max(2y, 1e-37)^b / 2.
    """
    return _mix(name, torch.from_numpy(x), torch.from_numpy(y), float(a), float(b)).numpy()


def _mix(name: str, x: torch.Tensor, y: torch.Tensor, a: float, b: float) -> torch.Tensor:
    if name == "add":
        x, y = x * 2 - 1, y * 2 - 1
        mixed = (a * x + b * y + 1) / 2
    else:
        assert name == "multiply", name
        x, y = x * 2, y * 2
        mixed = (x**a) * (y.clip(1e-37) ** b) / 2
    return mixed.clip(0, 1)


def as_float(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return uint8 as float32 in [0, 1]: v / 255, rounded once."""
    return image.astype(np.float32) / np.float32(255)


def render_pixmix(
    plan: Any, base: npt.NDArray[np.uint8], pictures: PictureSet, index: int
) -> npt.NDArray[np.float32]:
    """Return row `index` of `plan` rendered on `base`, uint8 [S, S, 3], as float32 in [0, 1].

    Augmented copies are 8-bit, results between rounds stay float32, each round ends with a clip.
    """
    size = base.shape[0]

    def augmented(op: int, level: float, negative: bool) -> npt.NDArray[np.float32]:
        return as_float(apply_op(OPS[op], base, level, bool(negative)))

    current = as_float(base)
    if plan.start_op[index] >= 0:
        current = augmented(
            plan.start_op[index], plan.start_level[index], plan.start_negative[index]
        )
    for turn in range(plan.num_rounds[index]):
        at = index, turn
        if plan.operand_op[at] >= 0:
            second = augmented(
                plan.operand_op[at], plan.operand_level[at], plan.operand_negative[at]
            )
        else:
            picture = pictures.picture(int(plan.picture[index]))
            top, left = int(plan.picture_y[index]), int(plan.picture_x[index])
            second = as_float(picture[top : top + size, left : left + size])
        current = mix(MODES[plan.mode[at]], current, second, plan.a[at], plan.b[at])
    return current


def published_sample(
    rng: np.random.RandomState,
    base: Image.Image,
    mixing: Sequence[Image.Image | Path],
    *,
    k: int,
    beta: float,
    severity: float,
    ops: Sequence[str],
) -> torch.Tensor:
    """Return one sample the published way, drawn and rendered: float32 [3, S, S] in [0, 1].

    `base` is S×S; members of `mixing` are RGB pictures or files of them. The reference takes the
    draws of flip and crops from torch's generator and the others from NumPy's; here all come from
    `rng`, in the same order. Normalisation is left to the trainer.
    """
    size = base.size[0]
    if rng.random_sample() < 0.5:
        base = ImageOps.mirror(base)
    base = _random_crop(rng, ImageOps.expand(base, 4), size)
    picture = mixing[rng.randint(0, len(mixing))]
    return published_mix(rng, base, picture, k=k, beta=beta, severity=severity, ops=ops)


def published_mix(
    rng: np.random.RandomState,
    base: Image.Image,
    picture: Image.Image | Path,
    *,
    k: int,
    beta: float,
    severity: float,
    ops: Sequence[str],
) -> torch.Tensor:
    """Return `base`, S×S and ready, mixed the published way with itself and one mixing picture."""
    size = base.size[0]
    picture = _random_crop(rng, _resized(picture, RESIZED.get(size, size * 9 // 8)), size)

    def drawn_augment() -> torch.Tensor:
        name = ops[rng.randint(0, len(ops))]
        level = 0.0 if name in UNLEVELLED else rng.uniform(0.1, severity)
        negative = name in SIGNED and rng.uniform() > 0.5
        return _to_tensor(_augment(name, base.copy(), level, negative))

    mixed = drawn_augment() if rng.random_sample() < 0.5 else _to_tensor(base)
    for _ in range(rng.randint(0, k + 1)):
        second = drawn_augment() if rng.random_sample() < 0.5 else _to_tensor(picture)
        mode = MODES[rng.randint(0, len(MODES))]
        a, b = get_ab(rng, beta)
        mixed = _mix(mode, mixed, second, a, b)
    return mixed


def get_ab(rng: np.random.RandomState, beta: float) -> tuple[float, float]:
    """Draw the two weights, float32 values: a in (0, 1) and b in (0, 1), or (1, 2) and (−1, 0)."""
    if rng.random_sample() < 0.5:
        a, b = np.float32(rng.beta(beta, 1)), np.float32(rng.beta(1, beta))
    else:
        a, b = np.float32(1) + np.float32(rng.beta(1, beta)), -np.float32(rng.beta(1, beta))
    return float(a), float(b)


def _resized(picture: Image.Image | Path, shorter: int) -> Image.Image:
    """Return the RGB picture with its shorter side at `shorter` pixels, bilinear with antialias."""
    if isinstance(picture, Path):
        with Image.open(picture) as file:
            picture = file.convert("RGB")
    width, height = picture.size
    if min(width, height) == shorter:
        return picture
    if width <= height:
        new_size = shorter, shorter * height // width
    else:
        new_size = shorter * width // height, shorter
    return picture.resize(new_size, Image.Resampling.BILINEAR)


def _random_crop(rng: np.random.RandomState, picture: Image.Image, size: int) -> Image.Image:
    width, height = picture.size
    if (width, height) == (size, size):
        return picture
    top = rng.randint(0, height - size + 1)
    left = rng.randint(0, width - size + 1)
    return picture.crop((left, top, left + size, top + size))


def _to_tensor(picture: Image.Image) -> torch.Tensor:
    """Return RGB as float32 [3, h, w] in [0, 1], contiguous."""
    pixels = torch.from_numpy(np.array(picture))
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)
