"""A box of a frame's planes to RGB: against exact colours, plain NumPy, FFmpeg and Pillow."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.render.frames import cut_rgb
from pipeline.render.plane_kernels import Planes
from pipeline.render.planes import Layout, cut_planes, make_cutter, rgb_matrix
from pipeline.sources.video_files import OpenVideo, upright
from pipeline.sources.video_pixels import BoxWriter, Look, _converted, whole_frame
from tests.video_helpers import ARCHERY, WRESTLING, decoded, encoded, moving, psnr

av = pytest.importorskip("av")

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

PLAIN = Look(0, False)
BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)


def layout(height: int, width: int, down: int = 2, right: int = 2) -> Layout:
    chroma = -(-height // down), -(-width // right)
    matrix = rgb_matrix(*BT601, full=False)
    return Layout(height, width, *chroma, down, right, 0.0, (right - 1) / 2, matrix)


def noise(of: Layout, seed: int = 0) -> Planes:
    """Return random planes with junk behind each row."""
    rng = np.random.default_rng(seed)
    shapes = (of.height, of.width), *[(of.chroma_height, of.chroma_width)] * 2
    return Planes(*(rng.integers(0, 256, (rows, row + 7), np.uint8) for rows, row in shapes))


def cut(
    planes: Planes, of: Layout, box: Any, size: int | tuple[int, int], flip: bool = False
) -> U8:
    shape = (size, size) if isinstance(size, int) else size
    out = np.full((*shape, 3), 99, np.uint8)
    cut_planes(planes, make_cutter(of, box, shape, flip), out)
    return out


# ── a twin in plain NumPy ──


def triangle(first: float, last: float, low: int, high: int, size: int) -> F64:
    """Return the weights [size, high] of an antialiased triangle filter over inputs [low, high)."""
    scale = (last - first) / size
    centres = first + (np.arange(size) + 0.5) * scale
    distance = np.abs(np.arange(high) + 0.5 - centres[:, None])
    weights = np.clip(1 - distance / max(scale, 1), 0, None)
    weights[:, :low] = 0
    return weights / weights.sum(axis=1, keepdims=True)


def slow(planes: Planes, of: Layout, box: tuple[float, float, float, float], size: int) -> F64:
    """Return the box as RGB, not rounded."""
    top, left, bottom, right = box
    values = []
    for plane in planes:
        if plane is planes.luma:
            rows = triangle(top, bottom, int(top), int(np.ceil(bottom)), size)
            columns = triangle(left, right, int(left), int(np.ceil(right)), size)
        else:
            y = (top / of.step_y, bottom / of.step_y)
            x = ((left + of.shift_x) / of.step_x, (right + of.shift_x) / of.step_x)
            rows = triangle(*y, 0, of.chroma_height, size)
            columns = triangle(*x, 0, of.chroma_width, size)
        inner = plane[: rows.shape[1], : columns.shape[1]].astype(np.float64)
        values.append(rows @ inner @ columns.T)
    y, cb, cr = (values[0] - 16) / 219, (values[1] - 128) / 224, (values[2] - 128) / 224
    red, blue = y + 1.402 * cr, y + 1.772 * cb
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    return np.clip(np.stack([red, green, blue], -1) * 255, 0, 255)


@pytest.mark.parametrize("size", [1, 17, 32, 33, 112])
@pytest.mark.parametrize(
    "box", [(0, 0, 48, 64), (3, 5, 40, 61), (10.25, 20.5, 30.75, 44.125), (47, 63, 48, 64)]
)
@pytest.mark.parametrize(("down", "right"), [(2, 2), (1, 2), (1, 1), (2, 1), (4, 4)])
def test_any_box_of_noise_is_within_a_level_of_the_twin(
    size: int, box: tuple[float, float, float, float], down: int, right: int
) -> None:
    of = layout(48, 64, down, right)
    planes = noise(of, size)
    got = cut(planes, of, tuple(map(float, box)), size)
    assert np.abs(got - slow(planes, of, box, size)).max() < 0.51
    assert np.array_equal(cut(planes, of, tuple(map(float, box)), size, True), got[:, ::-1])


@pytest.mark.parametrize(("height", "width"), [(33, 41), (1, 1), (2, 3), (1, 64), (65, 1)])
def test_odd_sizes(height: int, width: int) -> None:
    of = layout(height, width)
    planes = noise(of)
    box = (0.0, 0.0, float(height), float(width))
    assert np.abs(cut(planes, of, box, 20) - slow(planes, of, box, 20)).max() < 0.51
    whole = cut(planes, of, box, (height, width))
    assert whole.shape == (height, width, 3)


def test_a_smooth_ramp_keeps_its_colours_wherever_samples_lie() -> None:
    """Colours that change evenly over the frame come out as at the middle of each output pixel."""

    def at(y: F64, x: F64) -> tuple[F64, F64, F64]:
        return 60 + 0.8 * y + 0.5 * x, 100 + 0.4 * y + 0.3 * x, 150 - 0.3 * y - 0.2 * x

    of = layout(80, 120)
    luma = np.meshgrid(np.arange(80) + 0.5, np.arange(120) + 0.5, indexing="ij")
    # One colour sample for four pixels: down in their middle, across on the first.
    chroma = np.meshgrid(np.arange(40) * 2 + 1.0, np.arange(60) * 2 + 0.5, indexing="ij")
    planes = Planes(*(np.rint(part).astype(np.uint8) for part in (at(*luma)[0], *at(*chroma)[1:])))
    for box, size in (((8.0, 12.0, 56.0, 60.0), 24), ((10.5, 30.0, 40.5, 60.0), 48)):
        got = cut(planes, of, box, size)
        places = [
            first + (np.arange(size) + 0.5) * (last - first) / size
            for first, last in ((box[0], box[2]), (box[1], box[3]))
        ]
        y, cb, cr = at(*np.meshgrid(*places, indexing="ij"))
        exact = np.stack([y, cb, cr], -1) @ rgb_matrix(*BT601, full=False)[:, :3].T.astype(float)
        exact += rgb_matrix(*BT601, full=False)[:, 3] - 0.5
        inner = slice(2, -2)
        error = (got - np.clip(exact, 0, 255))[inner, inner]
        assert np.abs(error).max() < 2.2  # 8 bits of each plane, and of the result
        assert np.abs(error.mean(axis=(0, 1))).max() < 0.5


@pytest.mark.parametrize(
    ("shares", "full", "colour", "expected"),
    [
        (BT601, False, (16, 128, 128), (0, 0, 0)),
        (BT601, False, (235, 128, 128), (255, 255, 255)),
        (BT601, False, (81, 90, 240), (254, 0, 0)),  # the red of BT.601's colour bars
        (BT709, False, (63, 102, 240), (255, 1, 0)),  # and of BT.709's
        (BT601, True, (0, 128, 128), (0, 0, 0)),
        (BT601, True, (255, 128, 128), (255, 255, 255)),
        (BT601, True, (76, 85, 255), (254, 0, 0)),  # JPEG's
    ],
)
def test_known_colours(shares: Any, full: bool, colour: Any, expected: Any) -> None:
    of = layout(4, 4)._replace(matrix=rgb_matrix(*shares, full=full))
    shapes = (4, 4), (2, 2), (2, 2)
    planes = Planes(
        *(np.full(shape, value, np.uint8) for shape, value in zip(shapes, colour, strict=True))
    )
    for box in ((0.0, 0.0, 4.0, 4.0), (1.0, 1.0, 3.0, 3.0)):
        assert cut(planes, of, box, 4).reshape(-1, 3).tolist() == [list(expected)] * 16


# ── boxes that are copied ──


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("place", [(0, 0), (5, 7), (-4, 3), (30, 50), (-9, -9), (-40, 0), (0, 64)])
def test_plain_boxes_are_cuts_of_the_whole_frame(place: tuple[int, int], flip: bool) -> None:
    of = layout(48, 64)
    planes = noise(of)
    whole = cut(planes, of, (0.0, 0.0, 48.0, 64.0), (48, 64))
    top, left = place
    box = float(top), float(left), float(top + 24), float(left + 24)
    expected = np.empty((24, 24, 3), np.uint8)
    cut_rgb(whole, box, flip, expected)
    assert np.array_equal(cut(planes, of, box, 24, flip), expected)


def test_a_box_that_is_resized_does_not_leave_the_frame() -> None:
    of = layout(48, 64)
    for box in ((-1.0, 0.0, 20.0, 20.0), (0.0, 50.0, 20.0, 65.0), (9.0, 9.0, 9.0, 12.0)):
        with pytest.raises(ValueError, match=r"does not lie in a frame of 48×64 px"):
            make_cutter(of, box, (30, 30), False)


# ── decoded frames ──


def frames_of(layout: str, **options: str) -> list[Any]:
    return decoded(encoded(moving(2, 48, 64), layout=layout, crf="4", **options))


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj444p"])
def test_formats_of_planes_agree_with_ffmpeg(name: str) -> None:
    frame = frames_of(name)[1]
    whole = whole_frame(frame, PLAIN)
    assert frame.format.name == name
    assert psnr(whole, _converted(frame)) > 50
    assert abs(whole.astype(float) - _converted(frame)).mean() < 0.5


@pytest.mark.parametrize(("codec", "form"), [("mjpeg", "avi"), ("mpeg1video", "matroska")])
def test_where_colours_lie_is_the_codecs_own(codec: str, form: str) -> None:
    layout = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    data = encoded(moving(2), form, codec, layout=layout, qmax="2")
    with OpenVideo(io.BytesIO(data)) as opened:
        assert opened.centred
        frame = next(opened.frames())
    assert psnr(whole_frame(frame, Look(0, True)), _converted(frame)) > 50
    assert psnr(whole_frame(frame, PLAIN), _converted(frame)) < 35


def test_grey() -> None:
    pixels = np.repeat(moving(1)[0][:, :, :1], 3, axis=2)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="gray")
    assert np.abs(whole_frame(frame, PLAIN).astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("name", ["yuv420p10le", "gbrp", "nv12", "rgb24"])
def test_other_formats_take_ffmpegs_way(name: str) -> None:
    pixels = moving(1)[0]
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=name)
    if name not in ("gbrp", "rgb24"):
        frame = frames_of("yuv420p10le")[0].reformat(format=name)
        pixels = whole_frame(frame.reformat(format="yuv420p"), PLAIN)
    whole = whole_frame(frame, PLAIN)
    assert psnr(whole, pixels) > (45 if frame.format.name == "yuv420p10le" else 50)
    out, expected = np.empty((2, 32, 32, 3), np.uint8)
    box = 4.0, 5.0, 44.0, 45.0
    BoxWriter(box, True, PLAIN).write(frame, out)
    cut_rgb(whole, box, True, expected)
    assert np.array_equal(out, expected)


def test_the_matrix_is_the_streams_own() -> None:
    frame = frames_of("yuv420p")[0]
    usual = whole_frame(frame, PLAIN)
    frame.colorspace = 1
    assert psnr(whole_frame(frame, PLAIN), _converted(frame)) > 50
    assert psnr(whole_frame(frame, PLAIN), usual) < 40
    frame.colorspace, frame.color_range = 5, 2
    assert psnr(whole_frame(frame, PLAIN), _converted(frame)) > 50
    assert psnr(whole_frame(frame, PLAIN), usual) < 40


@pytest.mark.parametrize("code", range(1, 8))
def test_turned_frames(code: int) -> None:
    frame = frames_of("yuv420p")[0]
    shown = upright(whole_frame(frame, PLAIN), code)
    assert shown.shape == ((64, 48, 3) if code // 2 % 2 else (48, 64, 3))
    assert np.array_equal(whole_frame(frame, Look(code, False)), shown)
    out, expected = np.empty((2, 20, 20, 3), np.uint8)
    BoxWriter((3.0, 4.0, 40.0, 41.0), False, Look(code, False)).write(frame, out)
    cut_rgb(shown, (3.0, 4.0, 40.0, 41.0), False, expected)
    assert np.array_equal(out, expected)


def test_upright_turns_against_the_clock_after_mirroring() -> None:
    corner = np.array([[1, 2], [3, 4]], np.uint8)
    turned = [upright(corner, code).tolist() for code in range(8)]
    assert turned[0::2] == [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]
    assert turned[1::2] == [[[2, 1], [4, 3]], [[1, 3], [2, 4]], [[3, 4], [1, 2]], [[4, 2], [3, 1]]]


def test_one_writer_follows_a_change_of_format() -> None:
    first, second = frames_of("yuv420p")[0], frames_of("yuv444p")[0]
    writer = BoxWriter((0.0, 0.0, 48.0, 48.0), False, PLAIN)
    out, alone = np.empty((2, 16, 16, 3), np.uint8)
    for frame in (first, second, first):
        writer.write(frame, out)
        BoxWriter((0.0, 0.0, 48.0, 48.0), False, PLAIN).write(frame, alone)
        assert np.array_equal(out, alone)


@pytest.mark.parametrize("path", [ARCHERY, WRESTLING], ids=lambda path: path.stem)
def test_real_clips_agree_with_ffmpeg_and_pillow(path: Any) -> None:
    if not path.exists():
        pytest.skip("the clip is not there")
    with av.open(io.BytesIO(path.read_bytes())) as container:
        for frame in itertools.islice(container.decode(video=0), 0, 90, 15):
            side, out = frame.height, np.empty((112, 112, 3), np.uint8)
            BoxWriter((0.0, 0.0, side, side), False, PLAIN).write(frame, out)
            assert psnr(whole_frame(frame, PLAIN), _converted(frame)) > 60
            for pixels, least in ((_converted(frame), 45), (frame.to_ndarray(format="rgb24"), 40)):
                resized = Image.fromarray(pixels).resize((112, 112), 2, box=(0, 0, side, side))
                assert psnr(out, np.asarray(resized)) > least
