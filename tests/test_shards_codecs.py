"""Codecs: the bytes of a tar member are what their suffix says, the same each time, and close enough."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.recipe import PICTURE_CODECS
from pipeline.shards import tar
from pipeline.shards.codecs import CODECS, Encoding, npy_header, record_bytes
from pipeline.shards.layout import keys

LEAST_PSNR = {"jpg": 32, "webp": 26}
"""In dB at quality 95. WebP always halves the resolution of colour, which tells in small pictures."""
PILLOW_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


def smooth(num: int, size: int, seed: int = 0) -> np.ndarray:
    """Return colourful pictures without noise, uint8 [num, size, size, 3]: gradients and discs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    out = np.empty((num, size, size, 3))
    for i in range(num):
        weights = rng.uniform(-1, 1, (3, 3))
        disc = np.hypot(y - rng.uniform(), x - rng.uniform()) < 0.3
        for c in range(3):
            out[i, :, :, c] = weights[c, 0] * y + weights[c, 1] * x + weights[c, 2] * disc
    return np.clip(128 + 120 * out, 0, 255).astype(np.uint8)


def noise(num: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, size, size, 3), np.uint8)


def encode(name: str, pictures: np.ndarray, quality: int | None = None) -> list[bytes]:
    return [bytes(payload) for payload in CODECS[name].encode(pictures, Encoding(quality))]


def decode(name: str, payloads: list[bytes]) -> np.ndarray:
    return np.stack([CODECS[name].decode(payload) for payload in payloads])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.square(a.astype(float) - b).mean()
    return float(10 * np.log10(255**2 / error))


# ── npy ──


def test_npy_header_is_128_bytes_at_32_px():
    header = npy_header((32, 32, 3))
    assert len(header) == 128
    assert header[:8] == b"\x93NUMPY\x01\x00"
    assert header.endswith(b"\n")
    assert len(npy_header((1024, 1024, 3))) == 128
    (payload,) = encode("npy", noise(1, 32))
    assert len(payload) + tar.BLOCK == 3712
    assert record_bytes("npy", 32) == 5120


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 5), st.integers(1, 70), st.integers(1, 70))
def test_npy_is_what_numpy_saves_and_loads(num, height, width):
    pictures = np.random.default_rng(num).integers(0, 256, (num, height, width, 3), np.uint8)
    payloads = encode("npy", pictures)
    assert len(payloads) == num
    for picture, payload in zip(pictures, payloads, strict=True):
        buffer = io.BytesIO()
        np.save(buffer, picture)
        assert payload == buffer.getvalue()
        loaded = np.load(io.BytesIO(payload), allow_pickle=False)
        assert loaded.dtype == np.uint8
        assert loaded.flags.c_contiguous
        assert np.array_equal(loaded, picture)
        assert np.array_equal(CODECS["npy"].decode(payload), picture)


def test_npy_refuses_to_load_a_pickle():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        CODECS["npy"].decode(buffer.getvalue())


@pytest.mark.parametrize("size", [8, 31, 32, 33, 64, 224])
def test_record_bytes_is_exact_for_npy(size):
    payloads = CODECS["npy"].encode(noise(2, size), Encoding())
    records = tar.pack(keys(0, 0, 2), "npy", payloads, np.zeros(2, np.int32))
    assert 2 * record_bytes("npy", size) == len(records.content)


@pytest.mark.parametrize("name", PILLOW_FORMATS)
def test_record_bytes_is_of_the_right_order_for_the_others(name):
    quality = None if name == "png" else 95
    pictures = np.concatenate([smooth(3, 224), noise(3, 224)])
    payloads = encode(name, pictures, quality)
    records = tar.pack(keys(0, 0, 6), name, payloads, np.zeros(6, np.int32))
    assert 0.3 < len(records.content) / 6 / record_bytes(name, 224) < 3


# ── all codecs ──


@pytest.mark.parametrize("name", PICTURE_CODECS)
@pytest.mark.parametrize("size", [8, 32, 33])
def test_lossless_codecs_give_back_every_pixel_and_others_nearly(name, size):
    black, white = (
        np.zeros((1, size, size, 3), np.uint8),
        np.full((1, size, size, 3), 255, np.uint8),
    )
    stripes = np.where(np.arange(size)[:, None, None] % 2, white, black)
    quality = None if CODECS[name].lossless else 95
    pictures = np.concatenate([noise(3, size), smooth(3, size), black, white, stripes])
    found = decode(name, encode(name, pictures, quality))
    assert found.dtype == np.uint8
    assert found.shape == pictures.shape
    if CODECS[name].lossless:
        assert np.array_equal(found, pictures)
    else:
        assert np.abs(found[6:8].astype(int) - pictures[6:8]).max() <= 1  # black and white
        assert psnr(found[3:6], pictures[3:6]) > LEAST_PSNR[name]


@pytest.mark.parametrize("name", PICTURE_CODECS)
def test_encoding_is_deterministic_and_does_not_depend_on_the_batch(name):
    quality = None if CODECS[name].lossless else 90
    pictures = np.concatenate([noise(2, 32), smooth(2, 32)])
    payloads = encode(name, pictures, quality)
    assert encode(name, pictures.copy(), quality) == payloads
    assert [encode(name, pictures[i : i + 1], quality)[0] for i in range(4)] == payloads
    strided = np.ascontiguousarray(pictures.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    strided.flags.writeable = False
    assert encode(name, strided, quality) == payloads


@pytest.mark.parametrize("name", PICTURE_CODECS)
def test_no_pictures_give_no_payloads(name):
    assert encode(name, np.empty((0, 32, 32, 3), np.uint8)) == []


@pytest.mark.parametrize(("name", "kind"), PILLOW_FORMATS.items())
def test_members_are_what_their_suffix_says(name, kind):
    (payload,) = encode(name, smooth(1, 40))
    with Image.open(io.BytesIO(payload)) as image:
        image.load()
        assert (image.format, image.mode, image.size) == (kind, "RGB", (40, 40))
        assert not set(image.info) & {"exif", "icc_profile", "xmp", "comment", "Software"}


# ── lossy ones ──


@pytest.mark.parametrize("name", ["jpg", "webp"])
def test_quality_trades_size_for_likeness(name):
    pictures = smooth(4, 64) // 2 + noise(4, 64) // 8
    sizes, likeness = [], []
    for quality in (1, 30, 60, 80, 95, 100):
        payloads = encode(name, pictures, quality)
        sizes.append(sum(map(len, payloads)))
        likeness.append(psnr(decode(name, payloads), pictures))
    assert sizes == sorted(set(sizes))
    assert likeness == sorted(set(likeness))
    assert likeness[-2] > LEAST_PSNR[name]


def test_jpg_keeps_colour_at_full_resolution():
    (payload,) = encode("jpg", smooth(1, 48), 95)
    with Image.open(io.BytesIO(payload)) as image:
        assert [(h, v) for _, h, v, _ in image.layer] == [(1, 1)] * 3
    frame = payload.index(b"\xff\xc0")  # SOF0: baseline, not progressive
    height, width = (int.from_bytes(payload[frame + i : frame + i + 2]) for i in (5, 7))
    assert (height, width, payload[frame + 9]) == (48, 48, 3)
    assert [payload[frame + 11 + 3 * c] for c in range(3)] == [0x11] * 3


def test_jpg_at_95_loses_less_colour_than_with_halved_chroma():
    pictures = smooth(4, 64)
    pictures[:, ::2, :, 0] = 255 - pictures[:, ::2, :, 0]  # colour that alternates line by line
    ours = decode("jpg", encode("jpg", pictures, 95))
    halved = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling=2)
        halved.append(CODECS["jpg"].decode(buffer.getvalue()))
    assert psnr(ours, pictures) > psnr(np.stack(halved), pictures) + 10
