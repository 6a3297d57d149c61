"""A finished root so small that hundreds of faults can be planted in it: 24 samples of 8 px in 3 shards.

At 8 px an npy payload leaves padding in its tar record, so that every kind of byte occurs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.build import build
from pipeline.executor import InlineExecutor
from pipeline.recipe import load_recipe
from pipeline.verify import VerifyReport, verify

CLASSES = ("ant", "bee", "cat")
NUM_SAMPLES = 24
RECORD_BYTES = 512 + 512 + 1024
RECIPE = """
name: tiny
epochs: 1
source: {{kind: image-folder, path: '{path}'}}
transform: {{kind: pad-crop, size: 8, padding: 1}}
augmentation: {{family: pixmix}}
mixing_set: {{kind: ifs, count: 5}}
shards: {{samples_per_shard: 8}}
"""


def build_tiny(folder: Path, *overrides: str) -> Path:
    """Write source pictures and a recipe below `folder` and build them; return the root."""
    source = folder / "pictures"
    if not source.exists():
        rng = np.random.default_rng(0)
        for number in range(NUM_SAMPLES):
            path = source / CLASSES[number % 3] / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE.format(path=source))
    root = folder / "-".join(["root", *overrides])
    build(load_recipe(str(recipe), overrides), root, InlineExecutor())
    return root


def check(root: Path, fraction: float = 0.0, *overrides: str) -> VerifyReport:
    return verify(root, fraction, overrides, InlineExecutor())
