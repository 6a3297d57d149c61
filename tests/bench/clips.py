"""What each way to store clips costs and keeps, on clips of real videos and on what mixing makes of them.

Clips are 16 frames of 112 px: shorter side resized to 128, middle cut out. Mixed ones met the frames of zooms
by turns of addition and multiplication, a = 0.8, b = 0.4. Columns: bytes a clip; PSNR of what is read back
against what was stored, over all values of all clips; clips encoded and read in a second of processor time of
one thread, median of the rounds. `kept` is what survives of the fine structure that was mixed in: with Y the
mixed clip, X the clean one, Y′ the mixed one read back and H what is left of a picture less the mean of each
block of 4×4, 1 − |H(Y′ − Y)|² / |H(Y − X)|², 100 % where nothing is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.pictures.zoom import KINDS, frame, make_zoom
from pipeline.render.mixing import MODES, mix
from pipeline.shards.clip_codecs import encode_mjpg, encode_mp4
from pipeline.shards.codecs import CODECS, Encoding
from pipeline.stream.decode import decoder_of

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

NUM_FRAMES, SIZE, RESIZE = 16, 112, 128
_CLIPS_EACH, _BLOCK = 8, 4
_HEAD = (
    "codec",
    "bytes a clip",
    "mixed",
    "PSNR dB",
    "mixed",
    "kept %",
    "encode /s",
    "read /s",
    "mixed",
)


class Way(NamedTuple):
    """One way to store clips."""

    name: str
    codec: str
    encode: Callable[[U8], bytes]


def ways() -> list[Way]:
    """Return the ways that the table compares."""
    found = [Way("npy", "npy", lambda clip: bytes(CODECS["npy"].encode(clip[None], Encoding())[0]))]
    for chroma in ("444", "420"):
        for quality in (90, 95):
            encode = partial(encode_mjpg, quality=quality, chroma=chroma)
            found.append(Way(f"mjpg q{quality} {chroma}", "mjpg", encode))
    for chroma in ("444", "420"):
        for crf in (14, 16, 18, 23):
            encode = partial(encode_mp4, crf=crf, chroma=chroma)
            found.append(Way(f"mp4 crf{crf} {chroma}", "mp4", encode))
    for preset in ("faster", "medium"):
        encode = partial(encode_mp4, crf=16, chroma="444", preset=preset)
        found.append(Way(f"mp4 crf16 444 {preset}", "mp4", encode))
    return found


def clips_of(videos: Path) -> U8:
    """Return clips spread over each video, uint8 [n, 16, 112, 112, 3]."""
    found = []
    for path in videos_below(videos):
        with av.open(str(path)) as container:
            pictures = [_cut(frame.to_image()) for frame in container.decode(video=0)]
        starts = np.linspace(0, len(pictures) - NUM_FRAMES, _CLIPS_EACH).astype(int)
        found += [np.stack(pictures[start : start + NUM_FRAMES]) for start in starts]
    return np.stack(found)


def videos_below(videos: Path) -> list[Path]:
    """Return a video by itself, or every one below a folder, sorted."""
    if videos.is_file():
        return [videos]
    return sorted(path for path in videos.rglob("*") if path.suffix in (".avi", ".mp4"))


def _cut(picture: Image.Image) -> U8:
    share = RESIZE / min(picture.size)
    width, height = (round(side * share) for side in picture.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))


def mixed_with_zooms(clips: U8) -> U8:
    """Return clips mixed with a zoom each, frame by frame."""
    out = np.empty_like(clips)
    for number, clip in enumerate(clips):
        zoom = make_zoom(0, number, kind=KINDS[number % len(KINDS)])
        for place, picture in enumerate(clip):
            fractal = frame(zoom, place, SIZE)
            pair = (part.astype(np.float32) / np.float32(255) for part in (picture, fractal))
            mixed = mix(MODES[number // 2 % 2], *pair, 0.8, 0.4)
            out[number, place] = np.rint(mixed * 255)
    return out


# ── figures ──


def psnr(one: U8, other: U8) -> float:
    """Return the peak signal-to-noise ratio in dB; infinite where nothing differs."""
    error = np.square(one.astype(np.float64) - other).mean()
    return float(np.inf if error == 0 else 10 * np.log10(255**2 / error))


def fine(clips: F64) -> F64:
    """Return clips [n, T, S, S, 3] less the mean of each block of 4×4 pixels."""
    num, frames, size, _, colours = clips.shape
    # axes: clip, frame, block row, row, block column, column, colour
    blocks = clips.reshape(num, frames, size // _BLOCK, _BLOCK, size // _BLOCK, _BLOCK, colours)
    return (blocks - blocks.mean(axis=(3, 5), keepdims=True)).reshape(clips.shape)


def kept(clean: U8, mixed: U8, read: U8) -> float:
    """Return the share of the energy of the mixed-in fine structure that reading gives back."""
    added, error = (
        part.astype(np.float64) - other for part, other in ((mixed, clean), (read, mixed))
    )
    return float(1 - np.square(fine(error)).sum() / np.square(fine(added)).sum())


def report(videos: Path, rounds: int) -> str:
    """Return the table."""
    clean = clips_of(videos)
    mixed = mixed_with_zooms(clean)
    lines = [_HEAD, *(_line(way, clean, mixed, rounds) for way in ways())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    rows = (
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )
    return f"{len(clean)} clips of {NUM_FRAMES} frames of {SIZE} px\n\n" + "\n".join(rows)


def _line(way: Way, clean: U8, mixed: U8, rounds: int) -> tuple[str, ...]:
    payloads = [[way.encode(clip) for clip in clips] for clips in (clean, mixed)]
    found = [_read(way.codec, part) for part in payloads]
    encoding = _rate(lambda: [way.encode(clip) for clip in mixed], len(mixed), rounds)
    reading = [_rate(partial(_read, way.codec, part), len(part), rounds) for part in payloads]
    sizes = [np.mean([len(payload) for payload in part]) for part in payloads]
    return (
        way.name,
        *(f"{size:,.0f}" for size in sizes),
        f"{psnr(clean, found[0]):.1f}",
        f"{psnr(mixed, found[1]):.1f}",
        f"{100 * kept(clean, mixed, found[1]):.1f}",
        f"{encoding:,.0f}",
        *(f"{rate:,.0f}" for rate in reading),
    )


def _read(codec: str, payloads: Sequence[bytes]) -> U8:
    out = np.empty((len(payloads), NUM_FRAMES, SIZE, SIZE, 3), np.uint8)
    if codec == "npy":
        for payload, clip in zip(payloads, out, strict=True):
            clip[:] = CODECS["npy"].decode(payload)
        return out
    decode = decoder_of(codec)
    for payload, clip in zip(payloads, out, strict=True):
        decode(payload, clip)
    return out


def _rate(work: Callable[[], object], num: int, rounds: int) -> float:
    rates = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        rates.append(num / (time.process_time() - begun))
    return median(rates)
