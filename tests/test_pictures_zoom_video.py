"""Zooms as files, decoded again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DreamshardsError
from pipeline.pictures import zoom_video
from pipeline.pictures.zoom import Zoom, frame, make_zoom
from pipeline.pictures.zoom_video import write_zoom_video

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def zoom() -> Zoom:
    return make_zoom(0, 1, kind="julia", factor=1.05)


def _decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = [shown.to_ndarray(format="rgb24") for shown in container.decode(video=0)]
    return np.stack(frames)


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def test_a_video_holds_its_frames_across_the_seam(tmp_path: Path, zoom: Zoom) -> None:
    path = tmp_path / "made" / "zoom.mp4"
    length = zoom.num_frames + 4
    write_zoom_video(path, zoom, size=48, num_frames=length, frames_per_s=30)
    shown = _decoded(path)
    assert shown.shape == (length, 48, 48, 3)
    for number in (0, 1, length // 2, length - 1):
        assert _psnr(shown[number], frame(zoom, number, 48)) > 27
    steps = np.abs(np.diff(shown.astype(float), axis=0)).mean(axis=(1, 2, 3))
    seam = steps[zoom.num_frames - 1]
    assert seam < 1.5 * np.median(steps)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 30
        assert stream.codec_context.pix_fmt == "yuv444p"
    assert [entry.name for entry in path.parent.iterdir()] == ["zoom.mp4"]


def test_420_outwards(tmp_path: Path, zoom: Zoom) -> None:
    path = tmp_path / "zoom.mp4"
    write_zoom_video(path, zoom, size=48, num_frames=3, direction=-1, chroma="420")
    shown = _decoded(path)
    assert shown.shape == (3, 48, 48, 3)
    for number in range(3):
        assert _psnr(shown[number], frame(zoom, -number, 48)) > 16


def test_same_arguments_same_bytes(tmp_path: Path, zoom: Zoom) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_zoom_video(tmp_path / name, zoom, size=32, num_frames=5)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_each_frame_of_a_loop_is_drawn_once_if_memory_allows(
    zoom: Zoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(
        zoom_video, "frame", lambda zoom, number, size: drawn.append(number) or np.array([number])
    )
    numbers = range(0, -3 * zoom.num_frames, -1)
    shown = [int(picture[0]) for picture in zoom_video._frames(zoom, numbers, 8)]
    assert shown == [number % zoom.num_frames for number in numbers]
    assert len(drawn) == zoom.num_frames
    drawn.clear()
    monkeypatch.setattr(zoom_video, "_KEPT_BYTES", 0)
    assert len(list(zoom_video._frames(zoom, numbers, 8))) == len(drawn) == 3 * zoom.num_frames


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chroma": "422"}, "chroma '422': choose one of 444, 420"),
        ({"chroma": "420", "size": 33}, "chroma 420 needs an even number"),
        ({"num_frames": 0}, "0 frames at 25 per second"),
        ({"frames_per_s": 0}, "both are at least 1"),
        ({"direction": 2}, "direction 2"),
        ({"size": 0}, "frames of 0 pixels"),
    ],
)
def test_wrong_arguments_write_nothing(
    tmp_path: Path, zoom: Zoom, change: dict[str, object], message: str
) -> None:
    arguments = {"size": 32, "num_frames": 2, **change}
    with pytest.raises(ValueError, match=message):
        write_zoom_video(tmp_path / "zoom.mp4", zoom, **arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_failure_keeps_the_file_that_was_there(
    tmp_path: Path, zoom: Zoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "zoom.mp4"
    path.write_bytes(b"before")

    def broken(zoom: Zoom, number: int, size: int) -> np.ndarray:
        if number == 2:
            raise RuntimeError("broken on purpose")
        return frame(zoom, number, size)

    monkeypatch.setattr(zoom_video, "frame", broken)
    with pytest.raises(RuntimeError, match="on purpose"):
        write_zoom_video(path, zoom, size=32, num_frames=4)
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["zoom.mp4"]


def test_without_pyav(tmp_path: Path, zoom: Zoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DreamshardsError, match=r"PyAV, .* install dreamshards\[video\]"):
        write_zoom_video(tmp_path / "zoom.mp4", zoom, size=32, num_frames=2)
    assert not list(tmp_path.iterdir())
