"""The embedded videos: what moves how, pixels and planes, files that decode, the cache, a root of them."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.build import build
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.pictures.draws import Draws
from pipeline.recipe import load_recipe
from pipeline.source_sections import DigitVideosSource
from pipeline.sources import VideoSource, digit_videos, open_source
from pipeline.sources.digit_motions import MOTIONS, NUM_FRAMES, SIZE, UNKNOWN, draw_places
from pipeline.sources.digit_scenes import draw_scene, render_scene, to_yuv420
from pipeline.sources.digit_videos import (
    NUM_VIDEOS,
    Job,
    class_names,
    make_frames,
    make_videos,
    video_names,
)
from pipeline.sources.digits import load_rows

av = pytest.importorskip("av")

F64 = npt.NDArray[np.float64]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make splits of 20, 10 and 8 videos, and return an empty cache."""
    monkeypatch.setattr(
        digit_videos, "NUM_VIDEOS", {"train": 20, "test": 10, "unknown": 8}, raising=True
    )
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(split: str = "test", **fields: object) -> VideoSource:
    content = {"kind": "digit-videos", "split": split, "frames": 12, "stride": 2} | fields
    source = open_source(DigitVideosSource.model_validate(content), InlineExecutor())
    assert isinstance(source, VideoSource)
    return source


def folder(cache: Path) -> Path:
    (found,) = (cache / "digit-videos").iterdir()
    return found


# ── motions ──


def drawn(motion: str) -> list[F64]:
    return [draw_places(motion, Draws(5, 9, index, 0)) for index in range(30)]


def turns(places: F64) -> F64:
    """Return by which angle a digit turns from each frame to the next, clockwise as it is seen."""
    angles = np.unwrap(np.arctan2(places[:, 3], places[:, 2]))
    return np.diff(angles)


def sides(places: F64) -> F64:
    return 2 * np.hypot(places[:, 2], places[:, 3])


STRAIGHT = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@pytest.mark.parametrize("motion", STRAIGHT)
def test_straight_motions_go_one_way_at_one_speed(motion: str) -> None:
    for places in drawn(motion):
        steps = np.diff(places, axis=0)
        speed = np.hypot(*steps[0, :2])
        assert 0.5 <= speed <= 0.9
        np.testing.assert_allclose(steps[:, :2], [np.array(STRAIGHT[motion]) * speed] * 31, 0, 1e-9)
        assert not steps[:, 2:].any()


@pytest.mark.parametrize(("motion", "sign"), [("clockwise", 1), ("counter-clockwise", -1)])
def test_digits_turn_on_the_spot(motion: str, sign: int) -> None:
    for places in drawn(motion):
        angles = sign * turns(places)
        assert 4 <= np.degrees(angles[0]) <= 8.1
        np.testing.assert_allclose(angles, angles[0], 1e-9)
        np.testing.assert_allclose(sides(places), sides(places)[0], 1e-9)
        assert not np.diff(places[:, :2], axis=0).any()


@pytest.mark.parametrize(
    ("motion", "sign"), [("orbit-clockwise", 1), ("orbit-counter-clockwise", -1)]
)
def test_digits_go_round_upright(motion: str, sign: int) -> None:
    for places in drawn(motion):
        first, second = np.diff(places[:, :2], axis=0)[:2]
        # x to the right and y down: a positive cross product is clockwise as it is seen
        assert sign * (first[0] * second[1] - first[1] * second[0]) > 0
        angle = np.degrees(np.arccos(first @ second / np.hypot(*first) / np.hypot(*second)))
        assert 5 <= angle <= 9.3
        assert 7 <= np.hypot(*first) / (2 * np.sin(np.radians(angle) / 2)) <= 10
        assert not np.diff(places[:, 2:], axis=0).any()


@pytest.mark.parametrize(("motion", "sign"), [("grow", 1), ("shrink", -1)])
def test_digits_change_their_size(motion: str, sign: int) -> None:
    for places in drawn(motion):
        rates = sign * np.diff(np.log(sides(places)))
        assert (rates > 0.0155).all()
        assert (rates < 0.032).all()
        assert np.ptp(places[:, :2], axis=0).max() == 0


def test_unknown_motions_come_back() -> None:
    """Each changes something to and fro, and in the others' measure stays as it is."""
    for index in range(10):
        shake, zigzag, pulse, swing = (
            draw_places(motion, Draws(5, 9, index, 0))
            for motion in ("shake", "zigzag", "pulse", "swing")
        )
        assert np.ptp(sides(pulse)) > 0.3 * sides(pulse).mean()
        assert len(set(np.sign(np.diff(sides(pulse))))) == 2
        assert 25 <= np.degrees(np.abs(np.cumsum(turns(swing))).max()) <= 100
        assert len(set(np.sign(turns(swing)))) == 2
        centre = shake[:, :2] - shake[:, :2].mean(axis=0)
        assert np.linalg.svd(centre, compute_uv=False)[1] < 1e-9  # on a line
        along = np.diff(shake[:, 0]) * np.sign(shake[0, 0] - shake[:, 0].mean())
        assert (np.diff(np.sign(along)) != 0).sum() >= 4
        total = np.linalg.norm(zigzag[-1, :2] - zigzag[0, :2])
        path = np.linalg.norm(np.diff(zigzag[:, :2], axis=0), axis=1).sum()
        assert path > 1.3 * total
        for places in (shake, zigzag):
            assert not np.diff(places[:, 2:], axis=0).any()
        for places in (pulse, swing):
            assert not np.diff(places[:, :2], axis=0).any()


def test_directions_share_their_middle_frames() -> None:
    """In the middle of the video two directions of one motion look the same."""
    for one, other in (("left", "right"), ("up", "down"), ("grow", "shrink")):
        for first, second in zip(drawn(one), drawn(other), strict=True):
            np.testing.assert_allclose(first[15] + first[16], second[15] + second[16], 1e-3)
            np.testing.assert_allclose(first, second[::-1], 1e-9)


# ── pixels ──


def test_a_scene_without_motion_has_its_digit_where_the_place_says() -> None:
    draws = Draws(1, 2, 3, 0)
    scene = draw_scene(draws)._replace(corners=np.zeros((2, 8, 8, 3)))
    digit = np.zeros((32, 32), np.uint8)
    digit[:8] = 255  # a bar along its upper edge
    places = np.array([[20.0, 24.0, 8.0, 0.0], [20.0, 24.0, 0.0, 8.0], [20.0, 24.0, 4.0, 0.0]])
    shares = np.empty((3, SIZE, SIZE))
    for frame, picture in enumerate(render_scene(scene, places, digit).astype(float)):
        span = scene.ink - scene.ground
        shares[frame] = ((picture - scene.ground) @ span) / (span @ span)
    assert abs(shares[0, 17:19, 13:27].mean() - 1) < 0.05  # above: rows 16 to 20 of 16 to 32
    assert abs(shares[0, 22:40, 13:27].mean()) < 0.05
    assert abs(shares[1, 17:31, 25:27].mean() - 1) < 0.05  # turned clockwise: to the right
    assert abs(shares[1, 17:31, 8:22].mean()) < 0.05
    assert shares[0].sum() == pytest.approx(16 * 4, rel=0.1)
    assert shares[2].sum() == pytest.approx(8 * 2, rel=0.2)


def test_colours_stand_out_and_grounds_differ() -> None:
    scenes = [draw_scene(Draws(1, 2, index, 0)) for index in range(50)]
    luma = np.array([0.299, 0.587, 0.114])
    gaps = [(scene.ink - scene.ground) @ luma for scene in scenes]
    assert min(gaps) >= 80
    assert len({scene.noise[0] for scene in scenes}) == 50
    assert np.std([scene.ground for scene in scenes], axis=0).min() > 20


def test_the_ground_drifts_and_noise_is_new_in_each_frame() -> None:
    (grey,), _ = load_rows([1500])
    scene = draw_scene(Draws(1, 2, 3, 0))
    far = np.array([[500.0, 500.0, 9.0, 0.0]] * NUM_FRAMES)  # no digit to be seen
    frames = render_scene(scene, far, grey).astype(float)
    np.testing.assert_array_equal(frames, render_scene(scene, far, grey))
    apart = [np.abs(frames[0] - frame).mean() for frame in (frames[1], frames[31])]
    assert apart[1] > apart[0] + 1
    noise = (frames[1] - frames[0]).std() / np.sqrt(2)
    assert 4.5 < noise < 5.5
    assert frames[0].std(axis=(0, 1)).min() > 10


def test_planes_are_those_of_ffmpeg() -> None:
    frames = make_frames("test", 0, load_rows([1500])[0][0])[:4]
    planes = to_yuv420(frames)
    assert planes.shape == (4, 72, 48)
    for picture, plane in zip(frames, planes, strict=True):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        expected = frame.reformat(format="yuv420p", interpolation="AREA").to_ndarray()
        assert np.abs(plane.astype(int) - expected).max() <= 2
    grey = np.full((1, 4, 4, 3), 255, np.uint8)
    assert to_yuv420(grey)[0].tolist() == [[235] * 4] * 4 + [[128] * 4] * 2


# ── splits ──


def test_splits_share_no_digit_and_classes_are_equal() -> None:
    names = {split: video_names(split) for split in NUM_VIDEOS}
    rows = {split: [int(name[-8:-4]) for name in found] for split, found in names.items()}
    for split, found in names.items():
        assert len(found) == len(set(rows[split])) == NUM_VIDEOS[split]
        counts = Counter(name.partition("/")[0] for name in found)
        assert sorted(counts) == list(class_names(split))
        assert set(counts.values()) == {len(found) // len(counts)}
    assert max(rows["train"]) < 1437
    assert min(rows["test"] + rows["unknown"]) >= 1437
    assert not set(MOTIONS) & set(UNKNOWN)
    assert len(MOTIONS) == 10


def test_no_motion_favours_a_digit() -> None:
    names = video_names("train")
    _, digits = load_rows([int(name[-8:-4]) for name in names])
    table = np.zeros((10, 10))
    for name, digit in zip(names, digits, strict=True):
        table[class_names("train").index(name.partition("/")[0]), digit] += 1
    expected = table.sum(0) * table.sum(1)[:, None] / table.sum()
    chi_square = ((table - expected) ** 2 / expected).sum()
    assert chi_square < 113.5  # 99 % of tables with 81 degrees of freedom


# ── files ──


def test_files_are_of_a_real_codec_and_come_back(few: Path) -> None:
    grey, _ = load_rows([1437 + place for place in range(3)])
    made = make_videos("test", Job(0, grey))
    assert made == make_videos("test", Job(0, grey))
    assert [name for name, _ in made] == video_names("test")[:3]
    for place, (_, content) in enumerate(made):
        with av.open(io.BytesIO(content)) as container:
            (stream,) = container.streams
            assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
            assert (stream.average_rate, stream.width, stream.height) == (25, 48, 48)
            frames = list(container.decode(video=0))
        kinds = [av.video.frame.PictureType(frame.pict_type).name for frame in frames]
        assert [number for number, kind in enumerate(kinds) if kind == "I"] == [0, 12, 24]
        assert kinds[1:4] == ["B", "B", "P"]
        wanted = make_frames("test", place, grey[place]).astype(float)
        found = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
        error = np.mean((found - wanted) ** 2)
        assert 10 * np.log10(255**2 / error) > 26
        assert found.shape == (NUM_FRAMES, SIZE, SIZE, 3)


def test_a_split_is_made_once_and_read_like_any_videos(few: Path) -> None:
    source = opened()
    root = folder(few)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert source.class_names == tuple(sorted(MOTIONS))
    assert source.labels.tolist() == list(range(10))
    assert source.ids.to_pylist() == sorted(video_names("test"))
    assert source.num_frames.tolist() == [32] * 10
    assert source.spans.tolist() == [23] * 10
    assert (source.starts == -1).all()
    assert source.heights.tolist() == source.widths.tolist() == [48] * 10
    assert opened().fingerprint == source.fingerprint
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    luma = np.array([0.299, 0.587, 0.114])  # FFmpeg interpolates colour otherwise, and rounds down
    clip = source.read_clip(0, 5) @ luma
    with av.open(str(root / source.ids[0].as_py())) as container:
        whole = [frame.to_ndarray(format="rgb24") @ luma for frame in container.decode(video=0)]
    apart = [np.abs(clip - np.stack(whole[s : s + 23 : 2])).mean() for s in range(10)]
    assert apart[5] < 1.5
    assert np.argmin(apart) == 5


def test_splits_are_kept_apart_and_a_count_takes_as_many_of_each_class(few: Path) -> None:
    train, test, unknown = (
        opened("train"),
        opened("test"),
        opened("unknown", clips=3, starts="uniform"),
    )
    assert len({train.fingerprint, test.fingerprint, unknown.fingerprint}) == 3
    assert unknown.class_names == ("pulse", "shake", "swing", "zigzag")
    assert unknown.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6 + [3] * 6
    assert opened("train", count=10).labels.tolist() == list(range(10))
    with pytest.raises(UsageError, match=r"holds 10 videos, 11 are asked for"):
        opened("test", count=11)


@pytest.mark.slow
def test_another_process_makes_the_same_bytes(few: Path) -> None:
    source = opened("unknown")
    code = (
        "from pipeline.sources import digit_videos as d\n"
        "from pipeline.executor import InlineExecutor\n"
        "d.NUM_VIDEOS['unknown'] = 8\n"
        "print(d._made('unknown', InlineExecutor()))"
    )
    elsewhere = {**os.environ, "DREAMSHARDS_CACHE": str(few / "other")}
    run = subprocess.run(
        [sys.executable, "-c", code], env=elsewhere, capture_output=True, text=True, check=True
    )
    other = Path(run.stdout.strip())
    assert other.parent == few / "other" / "digit-videos"
    for name in source.names.to_pylist():
        assert (other / name).read_bytes() == (source.root / name).read_bytes()
    assert (other / "SHA256SUMS").read_text() == (source.root / "SHA256SUMS").read_text()
    lines = (other / "SHA256SUMS").read_text().splitlines()
    name = source.names[0].as_py()
    assert f"{hashlib.sha256((other / name).read_bytes()).hexdigest()}  {name}" in lines


@pytest.mark.parametrize("damage", ["altered", "missing", "no sums", "a file"])
def test_damage_is_found_and_the_videos_made_again(
    few: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = opened()
    root, name = folder(few), source.names[3].as_py()
    content = (root / name).read_bytes()
    if damage == "altered":
        (root / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "missing":
        (root / name).unlink()
    elif damage == "no sums":
        (root / "SHA256SUMS").unlink()
    else:
        root.rename(few / "aside")
        root.write_bytes(b"")
    again = opened()
    assert "videos in the cache are broken, making them again" in caplog.text
    assert (root / name).read_bytes() == content
    assert again.fingerprint == source.fingerprint
    assert [path.name for path in (few / "digit-videos").iterdir()] == [
        root.name
    ]  # nothing is left


def test_a_cache_that_cannot_be_written_is_named(few: Path) -> None:
    few.parent.mkdir(exist_ok=True)
    few.write_text("in the way")
    with pytest.raises(DreamshardsError, match=r"cannot store videos in .*digit-videos: Not a dir"):
        opened()


def test_without_pyav_the_extra_is_named(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DreamshardsError, match=r"PyAV.*install dreamshards\[video\]"):
        opened()
    assert not few.exists()


def test_a_stop_half_way_leaves_nothing(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(split: str, job: Job) -> list[tuple[str, bytes]]:
        if job.start:
            raise KeyboardInterrupt
        return make_videos(split, job)

    monkeypatch.setattr(digit_videos, "_VIDEOS_PER_JOB", 5)
    monkeypatch.setattr(digit_videos, "make_videos", fail)
    with pytest.raises(KeyboardInterrupt):
        opened()
    assert list((few / "digit-videos").iterdir()) == []


# ── a root ──


def test_a_root_of_the_test_preset(few: Path, tmp_path: Path) -> None:
    from pipeline.stream import ShardStream

    build(load_recipe("digit-videos-test"), tmp_path / "root", InlineExecutor())
    stream = ShardStream(tmp_path / "root", batch_size=20, return_keys=True)
    (batch,) = stream
    assert tuple(batch.images.shape) == (20, 12, 32, 32, 3)
    assert sorted(batch.labels.tolist()) == sorted([*range(10)] * 2)
    videos = stream.videos()
    assert sorted(videos.tolist()) == sorted([*range(10)] * 2)
    for video in range(10):  # clips of one video are of one class
        assert len(set(batch.labels[videos == video].tolist())) == 1


@pytest.mark.parametrize(
    ("name", "num"), [("digit-videos-windows", 50), ("digit-videos-unknown", 16)]
)
def test_other_presets_have_their_clips(few: Path, name: str, num: int) -> None:
    source = open_source(load_recipe(name).source, InlineExecutor())
    assert len(source.labels) == num


def test_presets_keep_directions_apart() -> None:
    for name in ("digit-videos", "digit-videos-test", "digit-videos-c"):
        assert getattr(load_recipe(name).transform, "flip", 0.0) == 0.0
