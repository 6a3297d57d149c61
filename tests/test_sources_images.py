"""Decoding: every colour mode against values worked out by hand, every kind of damage refused."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import DreamshardsError
from pipeline.sources import images
from pipeline.sources.folder_listing import PICTURES
from pipeline.sources.images import UnreadableImage, decode, resize_shorter_side


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pixels(data: bytes) -> list[Any]:
    decoded = decode(data, "x")
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3
    assert decoded.shape[2] == 3
    assert decoded.flags.c_contiguous
    return decoded.tolist()


def reason(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(data, "cat/x.jpg")
    assert caught.value.name == "cat/x.jpg"
    assert "0x" not in caught.value.reason  # an address would differ from run to run
    assert "\n" not in caught.value.reason
    return caught.value.reason


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def png(colour_type: int, rows: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """Write a 16-bit PNG, which Pillow cannot for colour; rows uint16 [H, W·samples]."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    height, width = rows.shape[0], rows.shape[1] // samples
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )


# ── modes ──


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_rgb_comes_back_exactly(form):
    original = noise(5, 7)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(original), form), "x"), original)


def test_lossless_webp_comes_back_exactly():
    original = noise(5, 7)
    data = encoded(Image.fromarray(original), "WEBP", lossless=True)
    np.testing.assert_array_equal(decode(data, "x"), original)


def test_decoded_pixels_may_be_written_to():
    assert decode(encoded(Image.new("RGB", (2, 2)), "PNG"), "x").flags.writeable


def test_grey_and_one_bit_are_replicated():
    grey = Image.fromarray(np.array([[0, 7, 255]], np.uint8))
    assert pixels(encoded(grey, "PNG")) == [[[0] * 3, [7] * 3, [255] * 3]]
    assert pixels(encoded(grey, "PPM")) == [[[0] * 3, [7] * 3, [255] * 3]]
    bits = Image.fromarray(np.array([[True, False]]))
    assert bits.mode == "1"
    assert pixels(encoded(bits, "PNG")) == [[[255] * 3, [0] * 3]]


def palette_image() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 0, 100, 1, 2, 3])
    image.putdata([0, 1, 2])
    return image


def test_palette():
    assert pixels(encoded(palette_image(), "PNG")) == [[[10, 20, 30], [200, 0, 100], [1, 2, 3]]]
    assert pixels(encoded(palette_image(), "GIF")) == [[[10, 20, 30], [200, 0, 100], [1, 2, 3]]]


def test_palette_with_alpha_goes_over_white():
    data = encoded(palette_image(), "PNG", transparency=bytes([0, 128, 255]))
    # (200·128 + 255·127) / 255 = 227.4, (0·128 + 255·127) / 255 = 127,
    # (100·128 + 255·127) / 255 = 177.2
    assert pixels(data) == [[[255, 255, 255], [227, 127, 177], [1, 2, 3]]]


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_palette_with_one_transparent_colour_goes_over_white(form):
    data = encoded(palette_image(), form, transparency=1)
    assert pixels(data) == [[[10, 20, 30], [255, 255, 255], [1, 2, 3]]]


def test_alpha_goes_over_white():
    grey = Image.fromarray(np.array([[[0, 0], [100, 128], [9, 255]]], np.uint8), "LA")
    assert pixels(encoded(grey, "PNG")) == [[[255] * 3, [177] * 3, [9] * 3]]
    colour = Image.fromarray(np.array([[[0, 0, 0, 0], [200, 0, 100, 128]]], np.uint8), "RGBA")
    assert pixels(encoded(colour, "PNG")) == [[[255, 255, 255], [227, 127, 177]]]
    assert pixels(encoded(colour, "WEBP", lossless=True, exact=True)) == [
        [[255, 255, 255], [227, 127, 177]]
    ]


def test_key_colours_go_over_white():
    grey = Image.fromarray(np.array([[5, 6]], np.uint8))
    assert pixels(encoded(grey, "PNG", transparency=5)) == [[[255] * 3, [6] * 3]]
    colour = Image.fromarray(np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8))
    assert pixels(encoded(colour, "PNG", transparency=(1, 2, 3))) == [[[255] * 3, [1, 2, 4]]]


SIXTEEN = np.array([[0, 255, 256, 0x8000, 0x80FF, 0xFFFF]], np.uint16)
HIGH_BYTES = [[[0] * 3, [0] * 3, [1] * 3, [128] * 3, [128] * 3, [255] * 3]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_the_high_byte(form):
    image = Image.fromarray(SIXTEEN)
    assert image.mode == "I;16"
    assert pixels(encoded(image, form)) == HIGH_BYTES


def test_sixteen_bit_grey_of_other_forms():
    assert pixels(b"P5 6 1 65535\n" + SIXTEEN.astype(">u2").tobytes()) == HIGH_BYTES
    big = Image.frombytes("I;16B", (6, 1), SIXTEEN.astype(">u2").tobytes())
    assert pixels(encoded(big, "TIFF")) == HIGH_BYTES


def test_sixteen_bit_grey_and_colour_agree():
    colour = png(2, np.repeat(SIXTEEN, 3, axis=1))
    assert pixels(colour) == pixels(png(0, SIXTEEN)) == HIGH_BYTES
    with_alpha = png(4, np.stack([SIXTEEN, np.full_like(SIXTEEN, 0xFFFF)], 2).reshape(1, -1))
    assert pixels(with_alpha) == HIGH_BYTES


def test_sixteen_bit_key_grey_goes_over_white():
    data = png(0, SIXTEEN, (b"tRNS", struct.pack(">H", 0x80FF)))
    assert [pixel[0] for pixel in pixels(data)[0]] == [0, 0, 1, 128, 255, 255]


def test_cmyk_jpeg_is_adobe_inverted():
    # R = (255 - C)(255 - K) / 255, so C 55, M 155, Y 255, K 0 is 200, 100, 0
    image = Image.new("CMYK", (16, 16), (55, 155, 255, 0))
    data = encoded(image, "JPEG", quality=100)
    assert np.abs(np.array(pixels(data)) - [200, 100, 0]).max() <= 1
    assert pixels(encoded(Image.new("CMYK", (1, 1), (0, 0, 0, 255)), "JPEG")) == [[[0, 0, 0]]]


def test_ycck_jpeg():
    # The Adobe marker's last byte says whether the components are CMYK (0) or YCCK (2). Stored are
    # 255 minus these values: 55, 128, 128, 255. As YCCK that is Y 55 without chroma, so 55, 55, 55,
    # of which the inverted C, M, Y are 255 minus it: C = M = Y = 55 and RGB is 200, 200, 200.
    data = encoded(Image.new("CMYK", (16, 16), (200, 127, 127, 0)), "JPEG", quality=100)
    place = data.index(b"Adobe") + 11
    assert data[place] == 0
    ycck = data[:place] + b"\x02" + data[place + 1 :]
    assert np.abs(np.array(pixels(data)) - [55, 128, 128]).max() <= 1
    assert np.abs(np.array(pixels(ycck)) - [200, 200, 200]).max() <= 1


def test_cmyk_tiff_is_not_inverted():
    data = encoded(Image.new("CMYK", (1, 1), (55, 155, 255, 0)), "TIFF")
    assert pixels(data) == [[[200, 100, 0]]]


@pytest.mark.parametrize(("form", "options"), [("GIF", {}), ("WEBP", {"lossless": True})])
def test_animations_give_the_first_frame(form, options):
    red, blue = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    data = encoded(red, form, save_all=True, append_images=[blue], duration=100, **options)
    assert pixels(data) == [[[255, 0, 0]] * 4] * 4


# ── orientation ──

UPRIGHT = {  # EXIF orientation → what the stored rows [[0, 1, 2], [3, 4, 5]] look like upright
    1: [[0, 1, 2], [3, 4, 5]],
    2: [[2, 1, 0], [5, 4, 3]],
    3: [[5, 4, 3], [2, 1, 0]],
    4: [[3, 4, 5], [0, 1, 2]],
    5: [[0, 3], [1, 4], [2, 5]],
    6: [[3, 0], [4, 1], [5, 2]],
    7: [[5, 2], [4, 1], [3, 0]],
    8: [[2, 5], [1, 4], [0, 3]],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.array([[0, 1, 2], [3, 4, 5]], np.uint8)
    options = {"lossless": True} if form == "WEBP" else {}
    colour = Image.fromarray(stored).convert("RGB")
    data = encoded(colour, form, exif=exif.tobytes() if form != "TIFF" else exif, **options)
    assert decode(data, "x")[:, :, 0].tolist() == UPRIGHT[orientation]


def test_exif_orientation_of_a_jpeg():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise: the left column comes on top
    stored = Image.new("RGB", (64, 16), (0, 0, 0))
    stored.paste((255, 255, 255), (0, 0, 32, 16))
    decoded = decode(encoded(stored, "JPEG", exif=exif, quality=95), "x")
    assert decoded.shape == (64, 16, 3)
    assert decoded[:30].min() > 240
    assert decoded[34:].max() < 15


def test_exif_orientation_of_sixteen_bit_grey():
    exif = Image.Exif()
    exif[0x0112] = 8
    data = encoded(Image.fromarray(SIXTEEN), "PNG", exif=exif.tobytes())
    assert decode(data, "x")[:, 0, 0].tolist() == [255, 128, 128, 1, 0, 0]


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_orientation_counts_as_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    original = noise(2, 3)
    data = encoded(Image.fromarray(original), "PNG", exif=exif.tobytes())
    np.testing.assert_array_equal(decode(data, "x"), original)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"])
def test_damaged_exif_counts_as_upright_in_silence(exif):
    data = encoded(Image.new("RGB", (3, 2), (9, 9, 9)), "JPEG", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data, "x").shape == (2, 3, 3)


# ── refusals ──


def test_an_empty_file():
    assert reason(b"") == "the file is empty"


@pytest.mark.parametrize(
    "data",
    [
        b"<html>not found</html>",
        bytes(1000),
        b"\xff\xd8\xff",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",  # Pillow would start Ghostscript
    ],
)
def test_what_is_no_picture(data):
    assert reason(data) == "its content is not JPEG, PNG, WEBP, BMP, GIF, TIFF or PPM"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_picture_cut_short(form, share):
    data = encoded(Image.fromarray(noise(64, 64)), form)
    assert reason(data[: int(len(data) * share)])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_no_beginning_of_a_file_decodes_to_other_pixels(form):
    data = encoded(Image.fromarray(np.kron(noise(8, 8), np.ones((4, 4, 1), np.uint8))), form)
    whole = decode(data, "x")
    for length in range(0, len(data), 13):
        with contextlib.suppress(UnreadableImage):  # what is cut may be no more than an end mark
            np.testing.assert_array_equal(decode(data[:length], "x"), whole)


def test_a_truncated_jpeg_names_its_reason():
    data = encoded(Image.fromarray(noise(64, 64)), "JPEG")
    assert "truncated" in reason(data[: len(data) // 2])


def test_a_png_with_a_flipped_byte():
    data = bytearray(encoded(Image.fromarray(noise(64, 64)), "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert reason(bytes(data))


def test_a_decompression_bomb(monkeypatch):
    data = encoded(Image.new("RGB", (10, 10)), "PNG")
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    assert reason(data) == "10×10 pixels; allowed: 99 in all"
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    assert decode(data, "x").shape == (10, 10, 3)


def test_pillows_own_bomb_check(monkeypatch):
    data = encoded(Image.new("RGB", (10, 10)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    assert "100 pixels" in reason(data)


def test_a_huge_header_costs_no_memory():
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
    data += struct.pack(">I", zlib.crc32(b"IHDR" + header)) + struct.pack(">I", 0) + b"IDAT"
    assert reason(data)


@pytest.mark.parametrize("values", [np.array([[0.5]], np.float32), np.array([[70000]], np.int32)])
def test_samples_without_an_agreed_range(values):
    assert "no agreed range; save it as 8-bit" in reason(encoded(Image.fromarray(values), "TIFF"))


def test_lab_is_refused():
    assert "no agreed range" in reason(encoded(Image.new("LAB", (2, 2)), "TIFF"))


def test_a_full_memory_is_no_fault_of_the_file(monkeypatch):
    def no_memory(*_arguments: object, **_options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", no_memory)
    with pytest.raises(MemoryError):
        decode(b"x", "x")


def test_the_error_crosses_process_borders():
    error = pickle.loads(pickle.dumps(UnreadableImage("a/b.png", "the file is empty")))
    assert isinstance(error, DreamshardsError)
    assert (error.name, error.reason) == ("a/b.png", "the file is empty")
    assert str(error) == "cannot read picture a/b.png: the file is empty; repair it or take it out"


# ── names and sizes ──


def test_names_of_pictures():
    names = ["a.jpg", "b.JPEG", "c.tar.Png", "d.webp", "e.bmp", "f.gif", "g.tif", "h.TIFF"]
    assert all(PICTURES.has(name) for name in [*names, "i.ppm", "j.pgm"])
    assert not any(PICTURES.has(name) for name in ["jpg", "a.jpg.txt", ".jpg", "a.npy", "a", ""])


@pytest.mark.parametrize(
    ("height", "width"), [(50, 100), (100, 50), (37, 53), (64, 64), (10, 333), (36, 90), (20, 20)]
)
def test_resizing_is_torchvisions(height, width):
    transforms = pytest.importorskip("torchvision.transforms")
    original = noise(height, width)
    expected = np.asarray(transforms.Resize(36)(Image.fromarray(original)))
    found = resize_shorter_side(original, 36)
    assert min(found.shape[:2]) == 36
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


def test_resizing_leaves_the_right_size_alone():
    original = noise(36, 90)
    assert resize_shorter_side(original, 36) is original


def test_resizing_refuses_what_would_become_a_bomb():
    line = np.zeros((1, 60_000, 3), np.uint8)
    with pytest.raises(
        UnreadableImage, match=r"line\.png: 60000×1 pixels would become 256×15360000"
    ):
        resize_shorter_side(line, 256, "line.png")
