"""Plain JPEGs take the short way, which gives Pillow's very pixels and errors; others stay with Pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.sources import images
from pipeline.sources.images import FULL_SIZE, SCALES, UnreadableImage, decode, decode_scaled

FORMS: dict[str, dict[str, Any]] = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"subsampling": 2, "progressive": True},
    "progressive 4:4:4": {"subsampling": 0, "progressive": True},
    "restart markers": {"subsampling": 2, "restart_marker_blocks": 3},
    "optimised": {"subsampling": 2, "optimize": True},
    "quality 10": {"subsampling": 2, "quality": 10},
    "stored as RGB": {"keep_rgb": True},
}


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Return something between a photograph and noise."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 5 + 2, width // 5 + 2, 3))
    resized = Image.fromarray(small.astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = np.random.default_rng(seed + 1).integers(0, 24, (height, width, 3), np.uint8)
    return Image.fromarray(np.asarray(resized) // 10 * 9 + noise)


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **{"quality": 92, **options})
    return file.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


@pytest.fixture
def short_ways(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many JPEGs were decoded the short way so far, one entry each."""
    taken: list[int] = []
    whole = simplejpeg.decode_jpeg

    def counting(*arguments: Any, **options: Any) -> np.ndarray:
        pixels = whole(*arguments, **options)
        taken.append(1)
        return pixels

    monkeypatch.setattr(images.simplejpeg, "decode_jpeg", counting)
    return taken


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function: what `decode` makes of bytes, and what it would without the short way."""

    def one(data: bytes) -> bytes | str:
        try:
            return decode(data, "x").tobytes()
        except UnreadableImage as error:
            return error.reason

    def both(data: bytes) -> tuple[bytes | str, bytes | str]:
        ours = one(data)
        with monkeypatch.context() as patch:
            patch.setattr(images, "_decode_jpeg", lambda *_: None)
            return ours, one(data)

    return both


# ── full size ──


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("height", "width"), [(375, 500), (64, 48), (37, 53), (17, 16), (1, 1), (7, 5), (3, 90)]
)
def test_full_size_is_pillows_decode_bit_for_bit(form, height, width, short_ways):
    data = encoded(picture(height, width), **FORMS[form])
    np.testing.assert_array_equal(decode(data, "x"), by_pillow(data))
    assert len(short_ways) == 1


@pytest.mark.parametrize("subsampling", ["440", "411"])
def test_rarer_subsamplings_too(subsampling):
    pixels = np.ascontiguousarray(np.asarray(picture(61, 77)))
    data = simplejpeg.encode_jpeg(pixels, 90, "RGB", subsampling)
    np.testing.assert_array_equal(decode(data, "x"), by_pillow(data))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_grey_too(options, short_ways):
    data = encoded(picture(45, 66).convert("L"), **options)
    np.testing.assert_array_equal(decode(data, "x"), by_pillow(data))
    assert len(short_ways) == 1


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(0, 2), st.integers(1, 100), st.booleans()
)
def test_any_size_and_quality(height, width, subsampling, quality, progressive):
    image = picture(height, width, seed=height)
    data = encoded(image, subsampling=subsampling, quality=quality, progressive=progressive)
    np.testing.assert_array_equal(decode(data, "x"), by_pillow(data))


def test_the_pixels_may_be_written_to():
    assert decode(encoded(picture(20, 20)), "x").flags.writeable


# ── what stays with Pillow ──


def test_a_turned_picture_stays_with_pillow(short_ways):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(160, 320), exif=exif)
    found = decode_scaled(data, "x", 4)
    assert found.scale == FULL_SIZE
    np.testing.assert_array_equal(found.pixels, np.rot90(by_pillow(data), -1))
    assert short_ways == []


def test_an_upright_picture_with_exif_takes_the_short_way(short_ways):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 1, "maker"
    data = encoded(picture(160, 320), exif=exif)
    assert decode_scaled(data, "x", 4).pixels.shape == (80, 160, 3)
    assert len(short_ways) == 1


@pytest.mark.parametrize("mode", ["CMYK", "PNG"])
def test_other_colours_and_formats_come_at_full_size(mode, short_ways):
    image = picture(100, 120)
    data = encoded(image, "PNG") if mode == "PNG" else encoded(image.convert(mode))
    found = decode_scaled(data, "x", 1)
    assert found.scale == FULL_SIZE
    assert found.pixels.shape == (100, 120, 3)
    assert short_ways == []


# ── damage ──


@pytest.mark.parametrize("form", ["4:2:0", "progressive", "restart markers"])
def test_every_beginning_of_a_file_comes_out_as_with_pillow_alone(form, outcome):
    data = encoded(picture(40, 56), **FORMS[form])
    for length in range(len(data)):
        ours, theirs = outcome(data[:length])
        assert ours == theirs, length


@pytest.mark.parametrize("form", ["4:4:4", "4:2:0", "progressive", "restart markers", "optimised"])
def test_any_altered_byte_comes_out_as_with_pillow_alone(form, outcome):
    data = encoded(picture(40, 56), **FORMS[form])
    rng = np.random.default_rng(3)
    for place in rng.integers(2, len(data), 400).tolist():
        altered = bytearray(data)
        altered[place] ^= int(rng.integers(1, 256))
        ours, theirs = outcome(bytes(altered))
        assert ours == theirs, place


def test_bytes_after_the_end_change_nothing(outcome):
    data = encoded(picture(40, 56))
    for tail in (b"\0" * 100, b"garbage", data):
        ours, theirs = outcome(data + tail)
        assert ours == theirs


# ── scales ──


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("form", ["4:4:4", "4:2:2", "4:2:0", "progressive"])
@pytest.mark.parametrize(("height", "width"), [(160, 240), (161, 243), (375, 500), (9, 31)])
def test_a_scale_gives_what_pillows_draft_gives(scale, form, height, width):
    data = encoded(picture(height, width), **FORMS[form])
    found = decode_scaled(data, "x", scale)
    assert found.scale == scale
    assert found.pixels.shape == (-(-height * scale // 8), -(-width * scale // 8), 3)
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (max(1, width * scale // 8), max(1, height * scale // 8)))
        assert image.size == found.pixels.shape[1::-1]
        np.testing.assert_array_equal(found.pixels, np.asarray(image))


def test_a_picture_of_a_few_pixels_comes_at_full_size():
    data = encoded(picture(5, 7))
    found = decode_scaled(data, "x", 4)
    assert found.scale == FULL_SIZE
    np.testing.assert_array_equal(found.pixels, by_pillow(data))


def test_a_pixel_covers_its_square_of_the_picture():
    blocks = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8))
    data = encoded(Image.fromarray(blocks), quality=100)
    for scale in (1, 2, 4):
        side = 2 * scale
        found = decode_scaled(data, "x", scale).pixels
        for row in range(2):
            for column in range(3):
                part = found[row * side : (row + 1) * side, column * side : (column + 1) * side]
                assert np.abs(part.astype(int) - blocks[16 * row, 16 * column]).max() <= 1
