"""The bytes of every corruption of CIFAR-C and ImageNet-C, pinned.

A digest may change with the definition of its corruption alone; those of pixelate and jpeg_compression also
with Pillow's or libjpeg-turbo's arithmetic. Evaluations made before and after are then of different pictures.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pipeline.corruptions import C, corrupt, generated_frost
from tests.corruption_twins import pictures, seeds
from tests.elsewhere import without_avx

PINNED = {
    "gaussian_noise": "918623edef2a0469",
    "shot_noise": "a13597b61f49b5ff",
    "impulse_noise": "c179e81aefd585dc",
    "defocus_blur": "0e7602f646c96cca",
    "glass_blur": "1fd35b6ede9a08cf",
    "motion_blur": "e8987cc14523414f",
    "zoom_blur": "fdb9b00361ebaf4e",
    "snow": "139546de52c41fc6",
    "frost": "4da17b7c602eb5f4",
    "fog": "f53040292bce8a63",
    "brightness": "c5777bb2e922af05",
    "contrast": "90045bbc0203414d",
    "elastic_transform": "5217a1816dd648f3",
    "pixelate": "f3d5c013fef75d1e",
    "jpeg_compression": "d466f127377f6a92",
    "panes": "082bb5df2e19b075",
}


def digests() -> dict[str, str]:
    """Return a digest of three pictures of 32 and two of 72 pixels for each corruption, all severities."""
    found = {}
    for name in C:
        digest = hashlib.sha256()
        for num, size in ((3, 32), (2, 72)):
            for severity in range(1, 6):
                digest.update(
                    corrupt(name, pictures(num, size), severity, seeds(num, 10 * severity))
                )
        found[name] = digest.hexdigest()[:16]
    panes = hashlib.sha256()
    for pane in generated_frost().whole:
        panes.update(pane)
    found["panes"] = panes.hexdigest()[:16]
    return found


def test_bytes_are_pinned():
    assert digests() == PINNED


@pytest.mark.slow
def test_bytes_are_the_same_without_avx():
    script = "from tests.test_corruptions_bytes import digests; print(*digests().values())"
    assert without_avx(script) == list(PINNED.values())


@pytest.mark.parametrize("name", C)
def test_bytes_at_full_size(name):
    """The published size runs through every corruption at the mildest and the worst."""
    images = pictures(1, 224)
    for severity in (1, 5):
        out = corrupt(name, images, severity, seeds(1))
        assert out.shape == images.shape
        assert 0.2 < np.abs(out.astype(int) - images).mean() < 120
