"""Picture files to pixels: one way to decode, for clean datasets and mixing sets alike.

Owns which files count as pictures and how every colour mode becomes 8-bit RGB. Embedded ICC
profiles are ignored, as by the usual training loaders: numbers in the file are taken as sRGB.
Damage that a format cannot detect (altered bits inside a JPEG scan) is not detected here either.

Pillow says what a file is and decodes it, but for the pixels of plain JPEGs: libjpeg-turbo, called directly,
gives the same ones in less than half the time, and on request at a fraction of their size.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL
import simplejpeg
from PIL import Image, UnidentifiedImageError

from pipeline.errors import DreamshardsError

Pixels = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)
"""Lower-case suffixes of the files that count as pictures; see `folder_listing.PICTURES`."""

MAX_PIXELS = 178_956_970
"""Largest picture decoded (Pillow's own limit against decompression bombs): 512 MiB of RGB."""

# No other of Pillow's formats: the content decides, not the name, and EPS would start Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

# Every mode that the formats above yield and that has one agreed meaning in RGB.
_EIGHT_BIT_MODES = frozenset(
    ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
)
_SIXTEEN_BIT_MODES = frozenset(("I;16", "I;16L", "I;16B", "I;16N"))

_EXIF_ORIENTATION = 0x0112
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_PHOTOMETRIC = 262

# EXIF orientation → the turn that makes the picture upright.
_UPRIGHT: dict[object, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}


FULL_SIZE = 8
"""A scale of decoding, in eighths of the file's own size, as JPEG's 8×8 blocks give them."""
SCALES = (1, 2, 4, FULL_SIZE)
"""Scales that save time; at others libjpeg-turbo has no vector code and takes longer than for the whole."""


class Scaled(NamedTuple):
    """A picture decoded at a scale.

    Attributes:
        pixels: uint8 [⌈H·scale/8⌉, ⌈W·scale/8⌉, 3], RGB, upright, C-contiguous; pixel (y, x) covers
            the square from (y, x)·8/scale to (y + 1, x + 1)·8/scale of the picture.
        scale: a member of `SCALES`.
    """

    pixels: Pixels
    scale: int


class UnreadableImage(DreamshardsError):  # noqa: N818 - it is what the file is
    """A file that does not decode to a picture.

    Attributes:
        name: the file, as given to `decode`.
        reason: one line, the same on every machine, without the name.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot read picture {self.name}: {self.reason}; repair it or take it out"


def decoder_versions() -> dict[str, str]:
    """Return the versions of the packages whose change may change pixels: part of what names them."""
    return {"pillow": PIL.__version__, "simplejpeg": simplejpeg.__version__}


def decode(data: bytes, name: str) -> Pixels:
    """Decode a picture file's bytes to uint8 [H, W, 3], RGB, upright, C-contiguous.

    The EXIF orientation is applied; one that cannot be parsed counts as upright. Transparency, in
    whatever form, is composited over white. Greyscale is replicated. Samples of 16 bits keep their
    high byte, as Pillow does in 16-bit colour PNGs, so that grey pixels are the same in both forms.
    CMYK and YCCK JPEGs hold inverted values, as Adobe writes them. Of several frames or pages the
    first is taken.

    Raises:
        UnreadableImage: `data` is empty, damaged, cut short, larger than `MAX_PIXELS`, of another
            format, or of samples without one agreed meaning in RGB (float, 32-bit, 12-bit, CIELAB).
    """
    return decode_scaled(data, name, FULL_SIZE).pixels


def decode_scaled(data: bytes, name: str, scale: int) -> Scaled:
    """Decode as `decode` does, but a plain JPEG (8 bits, grey or colour, upright) at `scale` eighths.

    Any other file, and a JPEG that libjpeg-turbo has something to say against, comes back at full size.
    Which it is depends on the file's bytes alone.

    Raises:
        UnreadableImage: as `decode`.
    """
    assert scale in SCALES
    try:
        with _unwarned():
            return _decode(data, name, scale)
    except (UnreadableImage, MemoryError):  # a full memory says nothing about the file
        raise
    except UnidentifiedImageError as error:
        formats = ", ".join(_FORMATS[:-1])
        raise UnreadableImage(name, f"its content is not {formats} or {_FORMATS[-1]}") from error
    except Exception as error:  # Pillow's decoders let a dozen types through
        raise UnreadableImage(name, _one_line(error)) from error


def resize_shorter_side(image: Pixels, size: int, name: str = "picture") -> Pixels:
    """Resize uint8 [H, W, 3] so that its shorter side is `size` pixels.

    Pillow's bilinear filter with antialiasing; the longer side is int(size · long / short), as in
    torchvision's Resize. The same array comes back when there is nothing to do.

    Raises:
        UnreadableImage: so narrow that the result would exceed `MAX_PIXELS`; it carries `name`.
    """
    height, width = image.shape[:2]
    short, long = min(height, width), max(height, width)
    if short == size:
        return image
    longer = int(size * long / short)
    if size * longer > MAX_PIXELS:
        raise UnreadableImage(
            name, f"{width}×{height} pixels would become {size}×{longer}; allowed: {MAX_PIXELS:,}"
        )
    target = (size, longer) if width <= height else (longer, size)
    return np.array(Image.fromarray(image).resize(target, Image.Resampling.BILINEAR))


def _decode(data: bytes, name: str, scale: int) -> Scaled:
    if not data:
        raise UnreadableImage(name, "the file is empty")
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UnreadableImage(name, f"{width}×{height} pixels; allowed: {MAX_PIXELS:,} in all")
        if width * height == 0:
            raise UnreadableImage(name, f"{width}×{height} pixels; allowed: 1×1 or more")
        if image.format == "JPEG" and image.mode in ("L", "RGB"):
            scaled = _decode_jpeg(image, data, scale)
            if scaled is not None:
                return scaled
        image.load()
        pixels = (
            np.array(_flat(image)) if image.mode in _EIGHT_BIT_MODES else _high_byte(image, name)
        )
        upright = _UPRIGHT.get(_orientation(image))
    if upright is not None:
        pixels = np.ascontiguousarray(upright(pixels))
    return Scaled(pixels, FULL_SIZE)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Silence Pillow where it warns of damaged metadata, which changes nothing here.

    In the main thread alone: filters are the whole process's, and of two threads that set them and put back
    what they found, the last may put back the other's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def _decode_jpeg(image: Image.Image, data: bytes, scale: int) -> Scaled | None:
    """Decode the plain JPEG that Pillow opened as `image`; None where only Pillow's answer will do."""
    if _orientation(image) in _UPRIGHT:
        return None
    if (
        max(image.size) < FULL_SIZE
    ):  # several scales give one shape, and simplejpeg is asked by shape
        scale = FULL_SIZE
    width, height = (-(-side * scale // FULL_SIZE) for side in image.size)
    sides = {"min_height": height, "min_width": width} if scale != FULL_SIZE else {}
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", **sides)
    except ValueError:  # damaged, or of a kind of its own: Pillow decides what becomes of it
        return None
    return Scaled(pixels, scale) if pixels.shape == (height, width, 3) else None


def _flat(image: Image.Image) -> Image.Image:
    """Return an image of 8-bit samples as RGB without transparency."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    # Over white: the colour stored under a transparent pixel is arbitrary, mostly black, and nobody
    # ever saw it; such pictures are made for white pages, and dark line art would vanish on black.
    layer = image.convert("RGBA")
    page = Image.new("RGB", image.size, (255, 255, 255))
    page.paste(layer.convert("RGB"), mask=layer.getchannel("A"))
    return page


def _high_byte(image: Image.Image, name: str) -> Pixels:
    """Return greyscale of 16 bits as uint8 [H, W, 3]; Pillow's own conversion clips it to white."""
    sixteen = image.mode in _SIXTEEN_BIT_MODES
    # Pillow opens 16-bit PGM, and in older versions PNG, in its 32-bit mode, scaled to 0..65535.
    if not sixteen and not (image.mode == "I" and image.format in ("PNG", "PPM")):
        raise UnreadableImage(
            name, f"samples of Pillow's mode {image.mode!r} have no agreed range; save it as 8-bit"
        )
    tags = getattr(image, "tag_v2", {})
    bits = int(np.ravel(tags.get(_TIFF_BITS_PER_SAMPLE, 16))[0])
    if bits != 16 or tags.get(_TIFF_PHOTOMETRIC, 1) != 1:
        raise UnreadableImage(name, f"a {bits}-bit or white-is-zero TIFF; save it as 8-bit")
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")  # PNG: one grey value stands for full transparency
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF: the pixels are whole, and viewers show them as stored
        return 1


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, (OSError, SyntaxError, ValueError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
