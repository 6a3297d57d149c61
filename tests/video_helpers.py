"""Small videos of every kind, made in memory, and decoding them without the package's own help."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]

DATA = Path(__file__).parents[2] / "shared" / "data"
ARCHERY = DATA / "ucf101_v_Archery.avi"
WRESTLING = DATA / "kinetics_arm_wrestling.mp4"

OPEN_GOP = {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0:b-pyramid=normal"}


def moving(num: int, height: int = 48, width: int = 64, seed: int = 0) -> U8:
    """Return frames [T, H, W, 3] of a smooth random pattern that moves by a pixel or two a frame."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height + num, width + 2 * num, 3)).astype(np.float32)
    for axis in (0, 1):
        for _ in range(3):
            coarse = (np.roll(coarse, 1, axis) + coarse + np.roll(coarse, -1, axis)) / 3
    wide = np.clip((coarse - 128) * 4 + 128, 0, 255).astype(np.uint8)
    return np.stack([wide[t : t + height, 2 * t : 2 * t + width] for t in range(num)])


def encoded(
    frames: U8,
    form: str = "mp4",
    codec: str = "libx264",
    *,
    layout: str = "yuv420p",
    rate: int = 25,
    pts: Sequence[int] | None = None,
    turned: int = 0,
    form_options: dict[str, str] | None = None,
    **options: str,
) -> bytes:
    """Return a video file; `pts` are in units of a frame at `rate`, `turned` degrees against the clock."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=form, options=form_options or {}) as container:
        settings = {"threads": "1", **options}
        if codec == "libx264":
            settings = {"preset": "veryfast", "mbtree": "0", **settings}
        stream: Any = container.add_stream(codec, rate=rate, options=settings)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = layout
        if turned:
            stream.set_display_rotation(turned)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = number if pts is None else pts[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def sound(form: str = "mp4") -> bytes:
    """Return a file with sound alone."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream: Any = container.add_stream("aac", rate=16000)
        for _ in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def decoded(data: bytes) -> list[Any]:
    """Return every frame of a video, decoded from the start, as PyAV's."""
    import av

    with av.open(io.BytesIO(data)) as container:
        return list(container.decode(video=0))


def planes(frame: Any) -> bytes:
    """Return all that a frame's planes hold."""
    return bytes(frame.to_ndarray().tobytes())


def psnr(one: U8, other: U8) -> float:
    """Return the peak signal-to-noise ratio of two pictures, in dB."""
    error = np.square(one.astype(np.float64) - other).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
