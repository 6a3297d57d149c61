"""Shared by the tests of `pipeline.stream`: roots of every codec, their samples read without our reader."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from pipeline.shards.codecs import CODECS as CLIPS
from tests.tiny import build_tiny

CODECS = ("npy", "jpg", "png", "webp")


class Truth(NamedTuple):
    """One epoch as Python's tarfile and the decoders see it."""

    keys: list[str]
    labels: list[int]
    images: np.ndarray


def truth_of(root: Path, epoch: int = 0) -> Truth:
    """Read every member of an epoch's tars."""
    keys, labels, images = [], [], []
    for tar in sorted(root.glob(f"epoch-{epoch:04d}/*.tar")):
        with tarfile.open(tar) as archive:
            for member in archive:
                key, suffix = member.name.split(".")
                content = archive.extractfile(member).read()
                if suffix == "cls":
                    labels.append(int(content))
                else:
                    keys.append(key)
                    images.append(decoded(content, suffix))
    return Truth(keys, labels, np.stack(images))


def decoded(content: bytes, codec: str) -> np.ndarray:
    if codec == "npy":
        return np.load(io.BytesIO(content), allow_pickle=False)
    if codec == "jpg":
        return simplejpeg.decode_jpeg(content, "RGB")
    if codec in ("mjpg", "mp4"):
        return CLIPS[codec].decode(content)
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def build_codecs(folder: Path) -> dict[str, Path]:
    """Build a tiny root of two epochs with each codec."""
    return {codec: build_tiny(folder, "epochs=2", f"shards.codec={codec}") for codec in CODECS}
