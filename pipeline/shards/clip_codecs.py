"""How a clip becomes the bytes of one tar member, and back: JPEGs end to end, or H.264 in MP4.

Owns the two payloads. `mjpg` is a raw Motion-JPEG stream, as `ffmpeg -f mjpeg` reads it. `mp4` needs PyAV,
which the base install leaves out.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from pipeline.pyav import pyav_with_h264
from pipeline.shards.yuv import Planes, from_planes, to_planes

U8 = npt.NDArray[np.uint8]
Payload = bytes | memoryview

MAX_BYTES = 1 << 30
"""Of one decoded clip: what a payload holds may be far more than what it seems."""
MAX_PIXELS = 1 << 26
"""Of one of its frames."""

# ── JPEGs end to end ──

_START, _SCAN, _END = b"\xff\xd8", 0xDA, b"\xff\xd9"


def encode_mjpg(clip: U8, quality: int, chroma: str) -> bytes:
    """Encode a clip, uint8 [T, H, W, 3], as T baseline JPEGs; `chroma` is "444" or "420"."""
    clip = np.ascontiguousarray(clip)
    return b"".join(
        simplejpeg.encode_jpeg(frame, quality, "RGB", colorsubsampling=chroma, fastdct=False)
        for frame in clip
    )


def decode_mjpg(payload: Payload) -> U8:
    """Return the frames of a `mjpg` payload, uint8 [T, H, W, 3].

    Raises:
        ValueError: it is none, or its frames differ in size.
    """
    frames: list[U8] = []
    for frame in split_jpegs(payload):
        height, width, _, _ = simplejpeg.decode_jpeg_header(frame)
        _check_bytes(len(frames) + 1, height, width)
        frames.append(simplejpeg.decode_jpeg(frame, "RGB"))
    if not frames:
        raise ValueError("it holds no frame")
    return np.stack(frames)


def mjpg_into(payload: Payload, out: U8) -> None:
    """Decode a `mjpg` payload into `out`, uint8 [T, H, W, 3].

    Raises:
        ValueError: it is not a clip of this shape.
    """
    frames = split_jpegs(payload)
    check_count(len(frames), out)
    for frame, picture in zip(frames, out, strict=True):
        decoded = simplejpeg.decode_jpeg(frame, "RGB", buffer=picture)
        if decoded.shape != picture.shape:
            raise ValueError(f"it has a frame of {decoded.shape}")


def split_jpegs(payload: Payload) -> list[memoryview]:
    """Return the JPEGs that lie end to end in `payload`, each from its start marker to its end marker.

    Each has one scan, in which a byte 0xFF is never followed by that of the end marker (ITU-T T.81, B.1).

    Raises:
        ValueError: between two of them, or at an end, are other bytes.
    """
    content, view = bytes(payload), memoryview(payload)
    found: list[memoryview] = []
    start = 0
    while start < len(content):
        end = content.find(_END, _first_scan(content, start, len(found)))
        if end < 0:
            raise ValueError(f"frame {len(found)} has no end marker")
        found.append(view[start : end + 2])
        start = end + 2
    return found


def _first_scan(content: bytes, start: int, number: int) -> int:
    """Return where the entropy-coded data of the JPEG at `start`, frame `number`, begins."""
    if content[start : start + 2] != _START:
        raise ValueError(f"frame {number} does not begin with the start marker of a JPEG")
    place, kind = start + 2, 0
    while kind != _SCAN:
        if content[place : place + 1] != b"\xff" or place + 4 > len(content):
            raise ValueError(f"frame {number} has no scan")
        kind = content[place + 1]
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return place


# ── H.264 in MP4 ──

PRESET = "veryfast"
"""Of x264: three times as fast as the next slower one, whose clips are half a dB closer."""
_FRAMES_PER_S = 25
_SAME_BYTES = {"threads": "1", "flags": "+bitexact", "mbtree": "0"}
"""Of x264: its tree of macroblocks reads memory that it never wrote, and bytes change from call to call."""
_FOR_NETWORKS = {"tune": "fastdecode", "psy": "0", "aq-mode": "0"}
"""Decoded half as fast again, for half a dB in clips of one size; bits go to differences, not to looks."""
_SMPTE_170M, _LIMITED = 6, 1
"""What FFmpeg calls the matrix of BT.601 and its range."""


def encode_mp4(clip: U8, crf: int, chroma: str, preset: str = PRESET) -> bytes:
    """Encode a clip, uint8 [T, H, W, 3], as one group of pictures at 25 frames/s.

    Same clip and versions, same bytes: one thread, no time, and neither name nor version of the encoder.

    Args:
        crf: x264's rate factor, 0 (none lost but by the conversion to YCbCr) to 51.
        chroma: "444", or "420" for players that know no other; H and W are then even.
        preset: x264's.

    Raises:
        DreamshardsError: PyAV is not installed, or has no x264.
    """
    av = pyav_with_h264("shards.codec = mp4")
    each = 2 if chroma == "420" else 1
    layout = f"yuv{chroma}p"
    num, height, width = clip.shape[:3]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        options = {"crf": str(crf), "preset": preset, **_FOR_NETWORKS, **_SAME_BYTES}
        if chroma == "420":
            options["chroma_sample_location"] = "center"
        stream = container.add_stream("libx264", rate=_FRAMES_PER_S, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, layout, num
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _SMPTE_170M
        context.color_range = _LIMITED
        send = _without_notes(container, stream)
        for picture in clip:
            frame = av.VideoFrame(width, height, layout)
            to_planes(picture, _planes(frame), each)
            send(stream.encode(frame))
        send(stream.encode())
        send([None])
    return file.getvalue()


def _without_notes(container: Any, stream: Any) -> Callable[[list[Any]], None]:
    """Return what writes packets less the notes in them, in which x264 says its version and options."""
    from av.bitstream import BitStreamFilterContext

    filters: list[Any] = []  # made after the encoder was opened

    def send(packets: list[Any]) -> None:
        for packet in packets:
            if not filters:
                filters.append(BitStreamFilterContext("filter_units=remove_types=6", stream))
            for kept in filters[0].filter(packet):
                kept.stream = stream
                container.mux(kept)

    return send


def decode_mp4(payload: Payload) -> U8:
    """Return the frames of a `mp4` payload, uint8 [T, H, W, 3].

    Raises:
        ValueError: it is none.
        DreamshardsError: PyAV is not installed.
    """
    frames: list[U8] = []
    for frame in _frames(payload):
        _check_bytes(len(frames) + 1, frame.height, frame.width)
        picture = np.empty((frame.height, frame.width, 3), np.uint8)
        _to_rgb(frame, picture)
        frames.append(picture)
    if not frames:
        raise ValueError("it holds no frame")
    return np.stack(frames)


def mp4_into(payload: Payload, out: U8) -> None:
    """Decode a `mp4` payload into `out`, uint8 [T, H, W, 3].

    Raises:
        ValueError: it is not a clip of this shape.
        DreamshardsError: PyAV is not installed.
    """
    num = 0
    for frame in _frames(payload):
        if num < len(out):
            if (frame.height, frame.width, 3) != out.shape[1:]:
                raise ValueError(f"it has a frame of {(frame.height, frame.width, 3)}")
            _to_rgb(frame, out[num])
        num += 1
    check_count(num, out)


def _frames(payload: Payload) -> Iterator[Any]:
    av = pyav_with_h264("shards.codec = mp4")
    try:
        with av.open(io.BytesIO(payload), format="mp4") as container:
            if not container.streams.video:
                raise ValueError("it holds no video")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # clips are decoded side by side instead
            stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise ValueError("it has a damaged frame")
                yield frame
    except av.FFmpegError as error:
        raise ValueError(error.strerror) from error


def _to_rgb(frame: Any, out: U8) -> None:
    layout = frame.format.name
    if layout not in ("yuv444p", "yuv420p"):
        raise ValueError(f"its frames are stored as {layout}")
    from_planes(_planes(frame), 2 if layout == "yuv420p" else 1, out)


def _planes(frame: Any) -> Planes:
    """Return a frame's planes, views of uint8 [rows, bytes of a row], padding included."""
    y, cb, cr = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
        for plane in frame.planes
    )
    return y, cb, cr


def _check_bytes(num: int, height: int, width: int) -> None:
    if 3 * num * height * width > MAX_BYTES:
        raise ValueError(f"it has {num} frames of {width}×{height} and more")


def check_count(num: int, out: U8) -> None:
    """Refuse a clip of `num` frames for `out`, uint8 [T, …].

    Raises:
        ValueError: it has others than T.
    """
    if num != len(out):
        raise ValueError(f"it has {num} frames")
