"""Mixing sets of zooms: consecutive frames, the same bytes whoever made them, and one's own videos."""

from __future__ import annotations

import io
import itertools
import math
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.cli import main
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor, RayExecutor
from pipeline.inputs import open_inputs
from pipeline.picture_sections import ZoomPictures, ZoomVideoPictures
from pipeline.pictures import open_pictures, zoom_making, zoom_videos
from pipeline.pictures.zoom import KINDS, frame, make_strip, make_zoom
from pipeline.pictures.zoom_set import ZoomSet
from pipeline.pictures.zoom_video import write_zoom_video
from pipeline.recipe import load_recipe
from pipeline.sources.source import Skipped
from tests.test_cli import failed

av = pytest.importorskip("av")

U8 = npt.NDArray[np.uint8]

# A change of it means that every clip mixed with zooms changes. It holds on any x86-64 processor.
GOLDEN = "e72bcf0c462ca20f74b3184e26220f673c7e060b9d2de21260216ddb95aeb933"

RECIPE = """
name: zooms
source: {kind: synthetic, law: blobs, size: 32, frames: 4, count: 10}
transform: {kind: pad-crop, size: 32}
augmentation: {family: vpixmix, picture: zoom}
mixing_set: {kind: zoom, count: 3, size: 32}
"""


@pytest.fixture(scope="module")
def zooms() -> ZoomSet:
    return _generated(12)


def _generated(count: int, seed: int = 0, size: int = 32) -> ZoomSet:
    found = open_pictures(
        ZoomPictures(kind="zoom", count=count, size=size, seed=seed), InlineExecutor()
    )
    assert isinstance(found, ZoomSet)
    return found


def _clip(
    zooms: ZoomSet,
    index: int,
    phase: float,
    *,
    factor: float = 1.02,
    direction: int = 1,
    frames: int = 16,
    size: int = 32,
) -> U8:
    out = np.empty((frames, size, size, 3), np.uint8)
    zooms.fill(index, phase, factor, direction, out)
    return out


def _correlation(one: U8, other: U8) -> float:
    a, b = (x - x.mean(axis=(0, 1)) for x in (one.astype(float), other.astype(float)))
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


class _NoWork(InlineExecutor):
    def map(self, function: object, shared: object, jobs: object) -> Iterator[object]:  # type: ignore[override]
        assert list(jobs) == []  # type: ignore[call-overload]
        return iter(())


# ── generated ──


def test_what_a_set_holds(zooms: ZoomSet) -> None:
    assert len(zooms) == 12
    assert zooms.ids.to_pylist()[::11] == ["zoom-000000", "zoom-000011"]
    assert zooms.heights.tolist() == zooms.widths.tolist() == [32] * 12
    assert zooms.num_frames.tolist() == [0] * 12
    assert zooms.skipped == ()
    (tally,) = zooms.tallies
    assert (tally.kind, tally.kept, tally.drawn - tally.dull) == ("zoom", 12, 12)
    assert zooms.digest == GOLDEN


def test_even_zooms_are_mandelbrot_odd_ones_julia(zooms: ZoomSet) -> None:
    for index in (4, 7):
        found = zoom_making.draw_until_good(0, index)
        assert found.zoom.kind == KINDS[index % 2]
        assert np.array_equal(zooms.stored.picture(index), make_strip(found.zoom, 32).cells)


def test_a_smaller_set_is_the_start_of_a_larger_one(zooms: ZoomSet) -> None:
    for count in (3, 9):  # within the first job, and within the second
        smaller = _generated(count)
        for index in range(count):
            assert np.array_equal(_clip(smaller, index, 0.4), _clip(zooms, index, 0.4))
    other = _generated(1, seed=1)
    assert not np.array_equal(_clip(other, 0, 0.4), _clip(zooms, 0, 0.4))


def test_a_set_is_made_once(zooms: ZoomSet) -> None:
    again = open_pictures(ZoomPictures(kind="zoom", count=12, size=32), _NoWork())
    assert again.digest == zooms.digest
    assert again.tallies == zooms.tallies


def test_the_same_bytes_on_ray(
    ray_address: str, zooms: ZoomSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path))
    with RayExecutor(ray_address) as ray:
        made = open_pictures(ZoomPictures(kind="zoom", count=12, size=32), ray)
        assert made.digest == zooms.digest
        clips = dict(ray.map(_clip_job, made, range(3)))
    for index in range(3):
        assert np.array_equal(clips[index], _clip(zooms, index, 0.25))


def _clip_job(zooms: ZoomSet, index: int) -> tuple[int, U8]:
    return index, _clip(zooms, index, 0.25)


def test_a_set_can_be_sent(zooms: ZoomSet) -> None:
    sent = pickle.loads(pickle.dumps(zooms))
    assert (sent.digest, len(sent)) == (zooms.digest, 12)
    assert np.array_equal(_clip(sent, 5, 0.1), _clip(zooms, 5, 0.1))


def test_verify_finds_what_was_altered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zooms: ZoomSet
) -> None:
    zooms.verify()
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path))
    _generated(2)
    (pixels,) = tmp_path.glob("pictures/*/pixels.npy")
    content = bytearray(pixels.read_bytes())
    content[5000] ^= 1
    pixels.write_bytes(content)
    with pytest.raises(DreamshardsError, match="the mixing set is damaged"):
        _generated(2).verify()
    altered = pickle.loads(pickle.dumps(zooms))
    altered.stored.details["growth"][3] *= 1.0001
    with pytest.raises(DreamshardsError, match="the mixing set is damaged"):
        altered.verify()


def test_loops_have_no_seam(zooms: ZoomSet) -> None:
    """As many frames as take a whole loop end where they began."""
    for index in range(4):
        growth = float(zooms.stored.details["growth"][index])
        clip = _clip(zooms, index, 0.7, factor=math.exp(growth / 50), frames=51).astype(int)
        assert np.abs(clip[50] - clip[0]).max() <= 1
        assert np.abs(clip[49] - clip[0]).mean() > 1


def test_a_clip_is_the_same_read_backwards(zooms: ZoomSet) -> None:
    for index in range(4):
        growth = float(zooms.stored.details["growth"][index])
        last = (0.2 + 15 * math.log(1.02) / growth) % 1
        inwards = _clip(zooms, index, 0.2).astype(int)
        outwards = _clip(zooms, index, last, direction=-1).astype(int)
        assert np.abs(inwards[::-1] - outwards).max() <= 1
        assert np.abs(inwards - outwards).mean() > 1


def test_any_factor_goes_through_the_same_frames(zooms: ZoomSet) -> None:
    slow, fast = _clip(zooms, 1, 0.5, factor=1.01), _clip(zooms, 1, 0.5, factor=1.01**3, frames=6)
    assert np.abs(slow[::3].astype(int) - fast).max() <= 1


def test_a_clip_starts_alike_whatever_its_length(zooms: ZoomSet) -> None:
    assert np.array_equal(_clip(zooms, 2, 0.9, frames=40)[:5], _clip(zooms, 2, 0.9, frames=5))


def test_adjacent_frames_are_alike(zooms: ZoomSet) -> None:
    for index in range(len(zooms)):
        clip = _clip(zooms, index, 0.3, frames=9)
        adjacent = [_correlation(a, b) for a, b in itertools.pairwise(clip)]
        assert np.mean(adjacent) > 0.9
        assert not np.array_equal(clip[0], clip[1])


def test_no_zoom_is_dull(zooms: ZoomSet) -> None:
    assert zooms.tallies[0].forced == 0
    for index in range(len(zooms)):
        clip = _clip(zooms, index, 0.0, factor=1.2, frames=8)
        assert clip.astype(float).std(axis=(1, 2, 3)).min() > 15


def test_dull_draws_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_zoom(3, 1, kind="julia", factor=1.02)
    seen: list[float] = []

    def shortfall(zoom: object, phase: float) -> float:
        seen.append(phase)
        return 1.0 if len(seen) == 3 else 0.0  # the third frame of the first draw is dull

    monkeypatch.setattr(zoom_making, "_shortfall", shortfall)
    found = zoom_making.draw_until_good(3, 1)
    assert (found.drawn, found.dull, seen) == (2, 1, [0.0, 0.25, 0.5, 0.75] * 2)
    assert found.zoom.spiral != first.spiral
    assert (
        found.zoom.spiral
        == make_zoom(3, 1, kind="julia", factor=zoom_making.FACTOR, attempt=1).spiral
    )


def test_of_nothing_but_dull_draws_the_best_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = iter(float(max(9 - number // 4, number // 4)) for number in range(32))
    monkeypatch.setattr(zoom_making, "_shortfall", lambda zoom, phase: next(refused))
    found = zoom_making.draw_until_good(0, 0)
    assert (found.drawn, found.dull) == (8, 8)
    assert found.zoom.spiral == make_zoom(0, 0, factor=1.02, attempt=4).spiral


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": 12}, "plan: zoom 12 is out of range; allowed: 0 to 11"),
        ({"index": -1}, "plan: zoom -1 is out of range"),
        ({"phase": 1.0}, "start_phase 1.0"),
        ({"factor": 1.0}, "factor 1.0"),
        ({"direction": 2}, "direction 2"),
        ({"out": np.empty((2, 8, 9, 3), np.uint8)}, r"allowed: uint8 \[T, S, S, 3\]"),
        ({"out": np.empty((2, 8, 8, 3), np.float32)}, r"float32 .* allowed: uint8"),
        ({"out": np.empty((0, 8, 8, 3), np.uint8)}, r"allowed: uint8 \[T, S, S, 3\]"),
    ],
)
def test_wrong_clips(zooms: ZoomSet, change: dict[str, object], message: str) -> None:
    given = {"index": 0, "phase": 0.0, "factor": 1.02, "direction": 1}
    out = np.empty((2, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        zooms.fill(**{**given, "out": out, **change})  # type: ignore[arg-type]


# ── videos ──


def _frames(num: int, height: int, width: int) -> list[U8]:
    """Return frames that tell their number in red, their row in green, their column in blue."""
    rows, columns = np.mgrid[:height, :width]
    return [
        np.stack([np.full((height, width), 9 * number), rows, columns], axis=2).astype(np.uint8)
        for number in range(num)
    ]


def _lossless(frames: list[U8]) -> bytes:
    """Encode frames so that they come back bit for bit: FFV1 of RGB."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "videos"
    path.mkdir()
    return path


def _videos(path: Path, *, skip: bool = False, size: int = 16, count: int | None = None) -> ZoomSet:
    config = ZoomVideoPictures(
        kind="zoom-videos",
        path=str(path),
        size=size,
        count=count,
        on_unreadable="skip" if skip else "stop",
    )
    found = open_pictures(config, InlineExecutor())
    assert isinstance(found, ZoomSet)
    return found


def _numbers(clip: U8) -> list[int]:
    return (clip[:, 0, 0, 0] // 9).tolist()


def test_videos_play_from_end_to_end_and_back(folder: Path) -> None:
    (folder / "a.mkv").write_bytes(_lossless(_frames(5, 16, 20)))
    zooms = _videos(folder)
    assert zooms.num_frames.tolist() == [5]
    assert (zooms.heights.tolist(), zooms.widths.tolist()) == ([16], [20])
    assert _numbers(_clip(zooms, 0, 0.0, frames=11, size=16)) == [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2]
    backwards = _clip(zooms, 0, 0.0, direction=-1, frames=6, size=16)
    assert _numbers(backwards) == [0, 1, 2, 3, 4, 3]
    assert _numbers(_clip(zooms, 0, 0.59, direction=-1, frames=5, size=16)) == [2, 1, 0, 1, 2]
    assert _numbers(_clip(zooms, 0, 0.6, frames=4, size=16)) == [3, 4, 3, 2]
    assert _numbers(_clip(zooms, 0, 0.999, factor=9.0, frames=2, size=16)) == [4, 3]


def test_the_middle_of_a_frame_is_taken(folder: Path) -> None:
    (folder / "a.mkv").write_bytes(_lossless(_frames(2, 16, 20)))
    clip = _clip(_videos(folder), 0, 0.0, frames=2, size=10)
    assert np.array_equal(clip, [frame[3:13, 5:15] for frame in _frames(2, 16, 20)])


def test_frames_are_resized_by_their_shorter_side(folder: Path) -> None:
    (folder / "tall.mkv").write_bytes(_lossless(_frames(3, 48, 32)))
    (folder / "wide.MKV").write_bytes(_lossless(_frames(2, 8, 12)))
    zooms = _videos(folder)
    assert zooms.ids.to_pylist() == ["tall.mkv", "wide.MKV"]
    assert list(zip(zooms.heights, zooms.widths, zooms.num_frames, strict=True)) == [
        (24, 16, 3),
        (16, 24, 2),
    ]
    resized = Image.fromarray(_frames(3, 48, 32)[2]).resize((16, 24), Image.Resampling.BILINEAR)
    frames = zooms.stored.picture(0).reshape(3, 24, 16, 3)
    assert np.array_equal(frames[2], np.asarray(resized))
    zooms.verify()


def test_videos_that_dreamshards_films(folder: Path) -> None:
    zoom = make_zoom(0, 0)
    write_zoom_video(folder / "deep" / "z.mp4", zoom, size=32, num_frames=6)
    zooms = _videos(folder, size=32)
    assert zooms.ids.to_pylist() == ["deep/z.mp4"]
    filmed = _clip(zooms, 0, 0.0, frames=6, size=32).astype(float)
    truth = np.stack([frame(zoom, number, 32) for number in range(6)]).astype(float)
    assert 10 * math.log10(255**2 / np.square(filmed - truth).mean()) > 28


def test_a_video_set_is_named_by_its_content(folder: Path) -> None:
    (folder / "a.mkv").write_bytes(_lossless(_frames(2, 16, 16)))
    (folder / "b.mkv").write_bytes(_lossless(_frames(3, 16, 16)))
    first = _videos(folder)
    moved = folder.rename(folder.parent / "moved")
    config = ZoomVideoPictures(kind="zoom-videos", path=str(moved), size=16)
    assert open_pictures(config, _NoWork()).digest == first.digest
    (moved / "b.mkv").write_bytes(_lossless(_frames(4, 16, 16)))
    assert _videos(moved).digest != first.digest
    assert _videos(moved, count=1).ids.to_pylist() == ["a.mkv"]


def test_videos_on_ray(folder: Path, ray_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, num in (("a.mkv", 2), ("b.mkv", 5), ("c.avi", 3)):
        (folder / name).write_bytes(_lossless(_frames(num, 16, 18)))
    inline = _videos(folder)
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(folder.parent / "other"))
    config = ZoomVideoPictures(kind="zoom-videos", path=str(folder), size=16)
    with RayExecutor(ray_address) as ray:
        assert open_pictures(config, ray).digest == inline.digest


def _spoil(folder: Path) -> None:
    (folder / "good.mkv").write_bytes(_lossless(_frames(2, 16, 16)))
    (folder / "still.mkv").write_bytes(_lossless(_frames(1, 16, 16)))
    (folder / "text.mp4").write_text("no video")
    (folder / "empty.avi").write_bytes(b"")
    (folder / "gone.webm").symlink_to(folder / "nothing")
    (folder / "notes.txt").write_text("not looked at")
    with av.open(str(folder / "sound.mov"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))


NO_VIDEO = "cannot be opened as AVI, MP4 or Matroska (Invalid data found when processing input)"
BAD = {
    "empty.avi": "the file is empty",
    "gone.webm": "No such file or directory",
    "sound.mov": "no video stream; found: audio",
    "still.mkv": "1 frame; a zoom has 2 or more",
    "text.mp4": NO_VIDEO,
}


def test_unreadable_videos_stop_and_are_named(folder: Path) -> None:
    _spoil(folder)
    with pytest.raises(DreamshardsError, match=r"5 of 6 videos in mixing_set\.path") as caught:
        _videos(folder)
    assert str(caught.value).splitlines()[1:] == [f"  {n}: {why}" for n, why in BAD.items()]
    assert "on_unreadable=skip" in str(caught.value)


def test_unreadable_videos_can_be_left_out(folder: Path) -> None:
    _spoil(folder)
    for _ in range(2):  # made, then from the cache
        zooms = _videos(folder, skip=True)
        assert zooms.ids.to_pylist() == ["good.mkv"]
        assert zooms.skipped == tuple(Skipped(*item) for item in BAD.items())
    (folder / "good.mkv").unlink()
    with pytest.raises(DreamshardsError, match="not one can be used"):
        _videos(folder, skip=True)


def test_a_video_that_is_cut_short(folder: Path) -> None:
    write_zoom_video(folder / "z.mp4", make_zoom(0, 0), size=32, num_frames=6)
    content = (folder / "z.mp4").read_bytes()
    (folder / "z.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(DreamshardsError, match=r"1 of 1 videos .*\n  z\.mp4: cannot be opened"):
        _videos(folder)


def test_a_video_whose_end_is_missing(folder: Path) -> None:
    content = _lossless(_frames(4, 16, 16))
    (folder / "a.mkv").write_bytes(content[:-40])
    with pytest.raises(DreamshardsError, match=r"a\.mkv: cut short: [\d,]+ of [\d,]+ bytes are"):
        _videos(folder)


def test_a_video_that_would_fill_the_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.mkv").write_bytes(_lossless(_frames(4, 16, 16)))
    monkeypatch.setattr(zoom_videos, "MAX_VIDEO_BYTES", 3 * 16 * 16 * 3)
    with pytest.raises(DreamshardsError, match=r"a\.mkv: 4 frames of 16×16 and more; allowed"):
        _videos(folder)


def test_a_large_set_is_said_to_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "a.mkv").write_bytes(_lossless(_frames(4, 16, 16)))
    _videos(folder)
    assert caplog.text == ""
    monkeypatch.setattr(zoom_videos, "_LARGE_SET_BYTES", 4 * 16 * 16 * 3 - 1)
    _videos(folder)
    assert "1 zoom video, 3.07 kB, which every node holds in memory" in caplog.text


def test_folders_without_videos(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no videos at any depth; accepted: \.avi, "):
        _videos(folder)
    with pytest.raises(UsageError, match="does not exist; allowed: a folder of videos"):
        _videos(folder / "none")
    (folder / "a.mkv").write_bytes(_lossless(_frames(2, 16, 16)))
    with pytest.raises(UsageError, match="count"):
        _videos(folder, count=2)


def test_wrong_clips_of_videos(folder: Path) -> None:
    (folder / "a.mkv").write_bytes(_lossless(_frames(2, 16, 20)))
    zooms = _videos(folder)
    for change, message in (
        ({"size": 17}, r"clip of a\.mkv, 20×16, with size 17"),
        ({"phase": 1.0}, "with phase 1.0"),
        ({"direction": 0}, "with direction 0"),
    ):
        given = {"phase": 0.0, "size": 16, **change}
        phase = given.pop("phase")
        with pytest.raises(ValueError, match=message):
            _clip(zooms, 0, phase, **given)  # type: ignore[arg-type]


# ── recipes and the command line ──


def test_a_recipe_opens_its_zooms(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    inputs = open_inputs(load_recipe(str(tmp_path / "r.yaml")), InlineExecutor())
    assert isinstance(inputs.pictures, ZoomSet)
    assert len(inputs.pictures) == 3


def test_first_frames_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        (folder / f"{number}.mkv").write_bytes(_lossless(_frames(2 + number, 64, 80)))
    (folder / "text.mp4").write_text("no video")
    sheet = folder.parent / "s.png"
    sets = ["--set", f"path={folder}", "--set", "on_unreadable=skip"]
    shown = ["--sheet", str(sheet), "--table", "--inline", "--size", "64"]
    assert main(["pictures", "zoom-videos", *sets, *shown]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| pictures |        3 |")
    assert lines[3] == "3 zooms, 138 kB"
    assert lines[4] == f"digest {_videos(folder, skip=True, size=64).digest}"
    assert lines[5].startswith("opened in ")
    assert lines[6:] == [
        f"skipped text.mp4: {NO_VIDEO}",
        f"sheet {sheet}",
    ]
    with Image.open(sheet) as image:
        assert np.array_equal(np.asarray(image)[4:132:2, 4:132:2], _frames(1, 64, 80)[0][:, 8:72])


def test_a_recipe_shows_its_zooms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    arguments = ["pictures", str(tmp_path / "r.yaml"), "--inline"]
    assert main([*arguments, "--sheet", str(tmp_path / "s.png")]) == 0
    assert "accepted zoom " in capsys.readouterr().out
    error = failed(capsys, *arguments, "--out", str(tmp_path / "d"), code=2)
    assert "--out: a set of zooms has no pictures to write" in error
    assert "dreamshards pictures zoom --out FILE.mp4" in error
    assert not (tmp_path / "d").exists()
