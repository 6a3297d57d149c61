"""Contrast, elastic transform, pixelation and JPEG compression (Hendrycks & Dietterich, ICLR 2019)."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from pipeline.corruptions.base import U8, U64, Constants, Corruption, finish, rows
from pipeline.corruptions.elastic import elastic_transform
from pipeline.render.jit import kernel

_K = 244.0  # the published generator's, whose pictures have 224 pixels


@kernel
def _flatten(images: U8, share: float, out: U8) -> None:
    """Bring the values of each channel nearer to its mean: uint8 [n, N] both."""
    means = np.empty(3)
    for i in range(len(images)):
        source, result = images[i], out[i]
        for channel in range(3):
            total = 0
            for k in range(channel, source.size, 3):
                total += int(source[k])
            means[channel] = total * 3 / source.size / 255.0
        for k in range(0, source.size, 3):
            for channel in range(3):
                mean = means[channel]
                result[k + channel] = finish((source[k + channel] / 255.0 - mean) * share + mean)


def contrast(images: U8, constants: Constants, seeds: U64) -> U8:
    """Bring each channel nearer to its mean; constants: (share of the difference kept,). Draws nothing."""
    out = np.empty(images.shape, np.uint8)
    _flatten(rows(images), constants[0], out.reshape(len(out), -1))
    return out


def pixelate(images: U8, constants: Constants, seeds: U64) -> U8:
    """Shrink pictures and enlarge them again, by boxes; constants: (share of the side,). Draws nothing."""
    size = images.shape[1]
    small = max(int(size * constants[0]), 1)
    out = np.empty(images.shape, np.uint8)
    for source, result in zip(images, out, strict=True):
        shrunk = Image.fromarray(source).resize((small, small), Image.Resampling.BOX)
        result[:] = np.asarray(shrunk.resize((size, size), Image.Resampling.BOX))
    return out


def jpeg_compression(images: U8, constants: Constants, seeds: U64) -> U8:
    """Encode pictures as JPEG, colours at half size, and decode; constants: (quality,). Draws nothing."""
    out = np.empty(images.shape, np.uint8)
    for source, result in zip(images, out, strict=True):
        with io.BytesIO() as file:
            Image.fromarray(source).save(file, "JPEG", quality=int(constants[0]))
            result[:] = np.asarray(Image.open(file))
    return out


DIGITAL = (
    Corruption(
        "contrast",
        "digital",
        ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
        ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
        contrast,
    ),
    Corruption(
        "elastic_transform",
        "digital",
        (
            (0.0, 0.0, 2.56),
            (1.6, 6.4, 2.24),
            (2.56, 1.92, 1.92),
            (3.2, 1.28, 1.6),
            (3.2, 0.96, 0.96),
        ),
        (
            (2 * _K, 0.7 * _K, 0.1 * _K),
            (2 * _K, 0.08 * _K, 0.2 * _K),
            (0.05 * _K, 0.01 * _K, 0.02 * _K),
            (0.07 * _K, 0.01 * _K, 0.02 * _K),
            (0.12 * _K, 0.01 * _K, 0.02 * _K),
        ),
        elastic_transform,
    ),
    Corruption(
        "pixelate",
        "digital",
        ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
        ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
        pixelate,
    ),
    Corruption(
        "jpeg_compression",
        "digital",
        ((80,), (65,), (58,), (50,), (40,)),
        ((25,), (18,), (15,), (10,), (7,)),
        jpeg_compression,
    ),
)
