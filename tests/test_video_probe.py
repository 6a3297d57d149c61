"""One video decoded whole: what is found, what is refused and why, key frames that are proven exact."""

from __future__ import annotations

import io
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources import video_files, video_probe
from pipeline.sources.video_bytes import declared_bytes
from pipeline.sources.video_files import OpenVideo, UnreadableVideo
from pipeline.sources.video_probe import Found, probe
from tests.video_helpers import (
    ARCHERY,
    OPEN_GOP,
    WRESTLING,
    decoded,
    encoded,
    moving,
    planes,
    sound,
)

av = pytest.importorskip("av")

NUM = 60


@cache
def video(kind: str) -> bytes:
    """Return one of the videos that tests share."""
    frames = moving(NUM)
    gaps = [number + number // 7 * 3 for number in range(NUM)]
    return {
        "b-frames": lambda: encoded(frames, g="12", bf="3"),
        "open-gop": lambda: encoded(frames, **OPEN_GOP),
        "open-gop-mkv": lambda: encoded(frames, "matroska", **OPEN_GOP),
        "fragments": lambda: encoded(
            frames, g="12", bf="3", form_options={"movflags": "frag_keyframe+empty_moov"}
        ),
        "gaps": lambda: encoded(frames, g="12", bf="3", pts=gaps),
        "avi": lambda: encoded(frames, "avi", "mpeg4", g="12", bf="2"),
        "avi-h264": lambda: encoded(frames, "avi", **OPEN_GOP),
        "mpeg2": lambda: encoded(frames, "matroska", "mpeg2video", g="12", bf="2"),
        "vp8": lambda: encoded(frames, "webm", "libvpx", g="12"),
        "vp9": lambda: encoded(frames, "webm", "libvpx-vp9", g="12"),
        "mjpeg": lambda: encoded(frames, "avi", "mjpeg", layout="yuvj420p"),
        "refresh": lambda: encoded(frames, **{"x264-params": "intra-refresh=1:keyint=20"}),
        "lossless": lambda: encoded(frames[:20], "matroska", "ffv1"),
    }[kind]()


KINDS = (
    *("b-frames", "open-gop", "open-gop-mkv", "fragments", "gaps", "avi", "avi-h264", "mpeg2"),
    *("vp8", "vp9", "mjpeg", "refresh", "lossless"),
)


def probed(data: bytes) -> Found:
    return probe(io.BytesIO(data), len(data))


def reason(data: bytes) -> str:
    with pytest.raises(UnreadableVideo) as caught:
        probed(data)
    return caught.value.reason


# ── what is found ──


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("b-frames", [12, 24, 36, 48]),
        ("open-gop", [12, 24, 36, 48]),
        ("open-gop-mkv", [12, 24, 36, 48]),
        ("fragments", [12, 24, 36, 48]),
        ("gaps", [12, 24, 36, 48]),
        ("avi", [12, 24, 36, 48, 59]),
        ("vp8", [12, 24, 36, 48]),
        ("vp9", [12, 24, 36, 48]),
        ("mjpeg", [8, 16, 24, 32, 40, 48, 56]),
        ("refresh", []),
    ],
)
def test_size_length_rate_and_key_frames(kind: str, keys: list[int]) -> None:
    found = probed(video(kind))
    rate = (125, 7) if kind == "gaps" else (25, 1)
    assert found[:5] == (48, 64, 0, NUM, rate)
    assert [number for number, _ in found.keys] == keys


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_from_any_key_frame_gives_the_frames_of_a_full_decode(kind: str) -> None:
    data = video(kind)
    whole = [planes(frame) for frame in decoded(data)]
    found = probed(data)
    assert found.num_frames == len(whole)
    with OpenVideo(io.BytesIO(data)) as opened:
        assert [planes(frame) for frame in opened.frames()] == whole
        for number, pts in reversed(found.keys):
            assert [planes(frame) for frame in opened.frames_from(pts)] == whole[number:]


def test_a_key_frame_that_leads_elsewhere_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    data = video("b-frames")
    real = OpenVideo.frames_from

    def late(self: OpenVideo, pts: int):  # type: ignore[no-untyped-def]
        frames = real(self, pts)
        if pts == 24 * 512:
            next(frames)
        return frames

    monkeypatch.setattr(video_probe.OpenVideo, "frames_from", late)
    assert [number for number, _ in probed(data).keys] == [12, 36, 48]


def test_one_frame() -> None:
    assert probed(encoded(moving(1)))[:5] == (48, 64, 0, 1, (25, 1))


def test_odd_sizes() -> None:
    assert probed(encoded(moving(3, 33, 41), layout="yuv444p"))[:4] == (33, 41, 0, 3)
    assert probed(encoded(moving(3, 33, 41), "avi", "mpeg4"))[:4] == (33, 41, 0, 3)


@pytest.mark.parametrize(
    ("degrees", "size", "turn"), [(90, (64, 48), 2), (180, (48, 64), 4), (270, (64, 48), 6)]
)
def test_sizes_are_those_of_the_turned_picture(
    degrees: int, size: tuple[int, int], turn: int
) -> None:
    found = probed(encoded(moving(3), turned=degrees))
    assert ((found.height, found.width), found.turn) == (size, turn)


def test_the_cover_of_an_album_is_no_video() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 16, 16, "yuvj420p"
        cover.disposition = 1 << 10
        shown = container.add_stream("libx264", rate=25)
        shown.height, shown.width, shown.pix_fmt = 48, 64, "yuv420p"
        for stream, frames in ((cover, moving(1, 16, 16)), (shown, moving(5))):
            for pixels in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
    assert probed(file.getvalue())[:4] == (48, 64, 0, 5)


@pytest.mark.skipif(not ARCHERY.exists(), reason="the clip is not there")
def test_a_clip_of_ucf101() -> None:
    assert probed(ARCHERY.read_bytes()) == Found(240, 320, 0, 125, (25, 1), [])


@pytest.mark.skipif(not WRESTLING.exists(), reason="the clip is not there")
def test_a_clip_of_kinetics() -> None:
    keys = [(187, 95744), (230, 117760), (268, 137216)]
    assert probed(WRESTLING.read_bytes()) == Found(256, 340, 0, 280, (28, 1), keys)


# ── what is refused ──


def test_what_is_no_video() -> None:
    assert reason(b"") == "the file is empty"
    assert reason(sound()) == "no video stream; found: audio"
    unknown = "cannot be opened as AVI, MP4 or Matroska (Invalid data found when processing input)"
    assert reason(b"<html>" * 99) == unknown


def test_other_formats_of_ffmpeg_are_not_opened() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for pixels in moving(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    assert reason(file.getvalue()) == "its content is not AVI, MP4 or Matroska"


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "part.mp4").write_bytes(encoded(moving(2)))
    text = f"ffconcat version 1.0\nfile '{tmp_path}/part.mp4'\n".encode()
    assert reason(text).startswith(("its content is not", "cannot be opened"))


def test_no_frames() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()
    assert reason(file.getvalue()) == "no frames in its video stream"


def test_a_rate_of_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg guesses a rate where a file has none; where it finds none either, PyAV says None."""
    data, real = encoded(moving(2)), OpenVideo._video_stream

    def without(self: OpenVideo):  # type: ignore[no-untyped-def]
        stream = real(self)
        self.rate = self.rate * 0
        return stream

    monkeypatch.setattr(video_files.OpenVideo, "_video_stream", without)
    assert reason(data) == "a frame rate of 0"


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_files, "MAX_PIXELS", 48 * 64 - 1)
    assert reason(encoded(moving(1))) == "64×48 pixels; allowed: 3,071 in all"


def test_a_size_that_changes() -> None:
    """Two streams of one codec, one behind the other, as some cameras write them."""
    parts = [encoded(moving(4, 48, width), "avi", "mjpeg", layout="yuvj420p") for width in (64, 80)]
    pictures = []
    for part in parts:
        with av.open(io.BytesIO(part)) as container:
            pictures += [bytes(packet) for packet in container.demux(video=0) if packet.size]
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for number, content in enumerate(pictures):
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base = Fraction(1, 25)
            packet.is_keyframe = True
            container.mux(packet)
    assert reason(file.getvalue()) == "its size changes in frame 4: 64×48 to 80×48 pixels"


def test_an_angle_that_is_none_of_four() -> None:
    text = reason(encoded(moving(2), turned=45))
    assert text == "to be shown turned by 45 degrees; allowed: 0, 90, 180, 270"


# ── cut short, damaged ──


@pytest.mark.parametrize("kind", ["b-frames", "open-gop-mkv", "fragments", "avi", "vp9"])
def test_files_say_how_long_they_are(kind: str) -> None:
    data = video(kind)
    assert declared_bytes(io.BytesIO(data), len(data)) == len(data)
    assert declared_bytes(io.BytesIO(data[:-1]), len(data) - 1) == len(data)


def test_what_lies_behind_the_end_is_no_matter() -> None:
    for kind in ("b-frames", "open-gop-mkv", "avi"):
        data = video(kind) + b"\xff" * 100
        assert declared_bytes(io.BytesIO(data), len(data)) == len(data)
        assert probed(data).num_frames == NUM


def test_cut_short_is_said_with_numbers() -> None:
    data = video("b-frames")
    assert reason(data[:-1]) == f"cut short: {len(data) - 1:,} of {len(data):,} bytes are there"
    data = video("vp9")
    assert reason(data[:5000]) == f"cut short: 5,000 of {len(data):,} bytes are there"
    data = video("mjpeg")
    with av.open(io.BytesIO(data)) as container:
        (place,) = (
            packet.pos for number, packet in enumerate(container.demux(video=0)) if number == 40
        )
    assert reason(data[:place]) == "cut short: 40 of 60 frames are there"


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(KINDS), share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_gives_no_wrong_frame(kind: str, share: float) -> None:
    data = video(kind)
    part = data[: int(share * len(data))]
    try:
        found = probed(part)
    except UnreadableVideo:
        return
    whole = [planes(frame) for frame in decoded(data)]
    got = [planes(frame) for frame in decoded(part)]
    assert len(got) == found.num_frames
    assert got == whole[: len(got)]
    assert len(got) == len(whole)


@pytest.mark.parametrize("kind", ["b-frames", "avi"])
def test_a_hole_in_the_middle_is_noticed(kind: str) -> None:
    data = bytearray(video(kind))
    middle = len(data) // 2
    data[middle : middle + 600] = np.random.default_rng(0).bytes(600)
    assert reason(bytes(data)).startswith("damaged in frame ")
