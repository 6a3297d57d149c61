"""The 13 augmentation operations of PixMix on uint8, each bit-identical to the Pillow call it stands for.

Levels are as drawn, L in [0.1, 10]: integer parameters are trunc(L·max/10), float ones L·max/10.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.errors import nearest
from pipeline.render import affine, enhance, tables
from pipeline.render.jit import inlined, kernel
from pipeline.render.scratch import Scratch, new_scratch

U8 = npt.NDArray[np.uint8]

AUTOCONTRAST, EQUALIZE, POSTERIZE, ROTATE, SOLARIZE = 0, 1, 2, 3, 4
SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y = 5, 6, 7, 8
COLOR, CONTRAST, BRIGHTNESS, SHARPNESS = 9, 10, 11, 12

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
"""Names in the order of the published table; an op's index in a plan is its place here."""

NUM_STANDARD_OPS = 9
"""The first nine overlap no corruption of ImageNet-C."""

MAX_LEVEL = 10

SIGNED_OPS = tuple(range(ROTATE, ROTATE + 1)) + tuple(range(SHEAR_X, TRANSLATE_Y + 1))
LEVEL_OPS = tuple(range(POSTERIZE, SHARPNESS + 1))


POOLED_OPS = (AUTOCONTRAST, EQUALIZE, CONTRAST)
"""Of a clip these take their statistics from all frames together, so that one table serves every frame."""


@inlined
def is_pooled(op: int, tables: U8) -> bool:
    """Tell whether an op is done by a table of its clip; there are none where pictures have their own."""
    return len(tables) > 0 and op in POOLED_OPS


@inlined
def factor_of(level: float) -> np.float32:
    """Return how much of a picture color, contrast, brightness and sharpness keep at a level."""
    return np.float32(level * 1.8 / 10.0 + 0.1)


@kernel
def render_op(op: int, image: U8, level: float, negative: bool, scratch: Scratch, out: U8) -> None:
    """Apply op number `op` to `image` [H, W, 3] into `out`, another array of the same shape."""
    sign = -1 if negative else 1
    factor = factor_of(level)
    if op == AUTOCONTRAST:
        tables.autocontrast(image, scratch, out)
    elif op == EQUALIZE:
        tables.histograms(image, scratch.counts)
        tables.fill_equalize(scratch.counts, scratch.table)
        tables.apply_table(image, scratch.table, out)
    elif op == POSTERIZE:
        tables.posterize(image, 4 - int(level * 4 / 10), out)
    elif op == ROTATE:
        affine.rotate(image, sign * int(level * 30 / 10), scratch, out)
    elif op == SOLARIZE:
        tables.solarize(image, 256 - int(level * 256 / 10), out)
    elif op == SHEAR_X:
        shear = sign * (level * 0.3 / 10.0)
        affine.resample(image, 1.0, shear, 0.0, 0.0, 1.0, 0.0, scratch, out)
    elif op == SHEAR_Y:
        shear = sign * (level * 0.3 / 10.0)
        affine.resample(image, 1.0, 0.0, 0.0, shear, 1.0, 0.0, scratch, out)
    elif op == TRANSLATE_X:
        affine.translate(image, sign * int(level * (image.shape[1] / 3) / 10), 0, out)
    elif op == TRANSLATE_Y:
        affine.translate(image, 0, sign * int(level * (image.shape[0] / 3) / 10), out)
    elif op == COLOR:
        enhance.color(image, factor, scratch, out)
    elif op == CONTRAST:
        enhance.blend_constant(image, enhance.mean_luma(image, scratch), factor, out)
    elif op == BRIGHTNESS:
        enhance.blend_constant(image, 0, factor, out)
    else:
        enhance.sharpness(image, factor, scratch, out)


def apply_op(name: str, image: U8, level: float, negative: bool = False) -> U8:
    """Apply one operation to a picture; a reference entry point for checking single steps.

    Args:
        name: one of `OPS`.
        image: uint8 [H, W, 3], RGB; left as it is.
        level: L as drawn, in [0.1, 10]; autocontrast and equalize ignore it.
        negative: the sign of rotate, shear and translate; others ignore it.

    Returns:
        uint8 [H, W, 3]. Translation and shear act along one axis; the largest translation is a third of
        that axis, where the published code has one constant for its square pictures.

    Raises:
        ValueError: an unknown name, another dtype or shape, or a level out of range.
    """
    if name not in OPS:
        raise ValueError(f"op: got {name!r}{nearest(name, OPS)}; allowed: {', '.join(OPS)}")
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
        raise ValueError(f"image: got {_shape(image)}; allowed: a uint8 array of shape [H, W, 3]")
    if image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"image: got {_shape(image)}; allowed: a uint8 array of shape [H, W, 3]")
    if not 0.1 <= level <= MAX_LEVEL:
        raise ValueError(f"level: got {level}; allowed: 0.1 to {MAX_LEVEL}")
    out = np.empty(image.shape, np.uint8)
    source, scratch = np.ascontiguousarray(image), new_scratch(*image.shape[:2])
    render_op(OPS.index(name), source, float(level), bool(negative), scratch, out)
    return out


def _shape(image: object) -> str:
    if isinstance(image, np.ndarray):
        return f"{image.dtype} {list(image.shape)}"
    return type(image).__name__
