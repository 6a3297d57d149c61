"""Clips of video files: sampling, reading frame-exactly, what is refused, left out, or changed since."""

from __future__ import annotations

import builtins
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from pipeline.cache import cache_folder
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor, RayExecutor
from pipeline.render.frames import cut_rgb
from pipeline.source_sections import VideoFolderSource
from pipeline.sources import Skipped, VideoSource, open_source, video_scan, video_source
from pipeline.sources.clips import DRAWN, Cut
from pipeline.sources.video_files import OpenVideo, video_versions
from pipeline.sources.video_pixels import Look, whole_frame
from tests.video_helpers import ARCHERY, OPEN_GOP, WRESTLING, decoded, encoded, moving, sound

av = pytest.importorskip("av")

U8 = npt.NDArray[np.uint8]

LOSSES = {
    "a/empty.mp4": (b"", "the file is empty"),
    "a/page.webm": (
        b"<html>" * 9,
        "cannot be opened as AVI, MP4 or Matroska (Invalid data found when processing input)",
    ),
    "b/short.mp4": (encoded(moving(3)), "3 frames; a clip spans 4"),
    "b/still.mp4": (encoded(moving(1)), "1 frame; a clip spans 4"),
    "b/sound.mp4": (sound(), "no video stream; found: audio"),
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Videos of 30, 20 and 12 frames, the first with B-frames and four key frames."""
    return {
        "a/x.mp4": encoded(moving(30), g="8", bf="3"),
        "a/y.avi": encoded(moving(20, 33, 41, seed=1), "avi", "mpeg4", bf="2"),
        "b/z.mkv": encoded(moving(12, seed=2), "matroska", rate=10),
    }


def write(root: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def opened(root: Path, executor: Any = None, **fields: Any) -> VideoSource:
    content = {"kind": "video-folder", "path": str(root), "frames": 4, **fields}
    config = VideoFolderSource.model_validate(content)
    source = open_source(config, executor or InlineExecutor())
    assert isinstance(source, VideoSource)
    return source


def message(root: Path, kind: type[DreamshardsError] = DreamshardsError, **fields: Any) -> str:
    with pytest.raises(DreamshardsError) as caught:
        opened(root, **fields)
    assert type(caught.value) is kind
    return str(caught.value)


def full(data: bytes) -> U8:
    """Return every frame of a video, decoded from the start, uint8 [n, H, W, 3]."""
    return np.stack([whole_frame(frame, Look(0, False)) for frame in decoded(data)])


def boxed(clip: U8, cut: Cut, size: int) -> U8:
    """Return what `cut` makes of whole frames, by the slow way."""
    out = np.empty((len(clip), size, size, 3), np.uint8)
    for frame, into in zip(clip, out, strict=True):
        cut_rgb(frame, cut[1:5], cut.flip, into)
    return out


# ── the clips of a folder ──


def test_videos_classes_and_sizes(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = opened(write(tmp_path, files))
    assert source.class_names == ("a", "b")
    assert source.ids.to_pylist() == source.names.to_pylist() == ["a/x.mp4", "a/y.avi", "b/z.mkv"]
    assert source.labels.tolist() == [0, 0, 1]
    assert source.heights.tolist() == [48, 33, 48]
    assert source.widths.tolist() == [64, 41, 64]
    assert source.num_frames.tolist() == [30, 20, 12]
    assert source.spans.tolist() == [4] * 3
    assert source.starts.tolist() == [DRAWN] * 3
    assert (source.frames, source.skipped) == (4, ())
    assert source.keys.bounds.tolist() == [0, 3, 4, 4]
    assert source.keys.frames.tolist() == [8, 16, 24, 12]
    dtypes = [getattr(source, name).dtype for name in ("labels", "heights", "num_frames", "starts")]
    assert dtypes == [np.int32] * 4
    assert source.videos.dtype == np.int64


def test_random_starts_are_as_many_as_asked_for(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = opened(write(tmp_path, files), clips=3)
    assert source.videos.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert source.ids.to_pylist()[2:4] == ["a/x.mp4", "a/y.avi"]
    assert source.labels.tolist() == [0] * 6 + [1] * 3
    assert source.starts.tolist() == [DRAWN] * 9


def test_uniform_starts_are_in_the_middle_of_equal_parts(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    source = opened(write(tmp_path, files), starts="uniform", clips=2)
    # 27, 17 and 9 possible starts.
    assert source.starts.tolist() == [6, 20, 4, 12, 2, 6]
    assert opened(tmp_path, starts="uniform").starts.tolist() == [13, 8, 4]
    assert opened(tmp_path, starts="uniform", frames=12).starts.tolist() == [9, 4, 0]


def test_windows_lie_one_behind_the_other(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = opened(write(tmp_path, files), starts="windows", frames=6)
    assert source.starts.tolist() == [0, 6, 12, 18, 24, 0, 6, 12, 0, 6]
    assert np.bincount(source.videos).tolist() == [5, 3, 2]
    source = opened(tmp_path, starts="windows", frames=6, hop=7)
    assert source.starts.tolist() == [0, 7, 14, 21, 0, 7, 14, 0]


def test_strides_and_rates_say_which_frames(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = opened(write(tmp_path, files), stride=3)
    assert source.offsets.tolist() == [[0, 3, 6, 9]] * 3
    assert source.spans.tolist() == [10] * 3
    source = opened(tmp_path, frame_rate=12.5)  # of 25, 25 and 10 frames a second
    assert source.offsets.tolist() == [[0, 2, 4, 6], [0, 2, 4, 6], [0, 0, 1, 2]]
    assert source.spans.tolist() == [7, 7, 3]
    source = opened(tmp_path, frame_rate=7.3)
    rates = (25, 25, 10)
    expected = [[int(i * rate / Fraction("7.3")) for i in range(4)] for rate in rates]
    assert source.offsets.tolist() == expected


def test_a_count_is_of_videos(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = opened(write(tmp_path, files), count=2, clips=2)
    assert source.ids.to_pylist() == ["a/x.mp4"] * 2 + ["a/y.avi"] * 2
    assert source.class_names == ("a", "b")
    text = message(tmp_path, UsageError, count=4)
    assert "holds 3 videos, 4 are asked for; lower the count to 3, or add videos" in text


def test_the_fingerprint_is_of_content_and_sampling(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    one, two = write(tmp_path / "one", files), write(tmp_path / "two", files)
    usual = opened(one).fingerprint
    assert opened(two).fingerprint == usual
    others = (
        {"stride": 2},
        {"frames": 5},
        {"clips": 2},
        {"starts": "uniform"},
        {"starts": "windows"},
        {"count": 2},
    )
    found = {opened(one, **fields).fingerprint for fields in others}
    assert len(found | {usual}) == 7
    (two / "b/z.mkv").write_bytes(encoded(moving(12, seed=3), "matroska", rate=10))
    assert opened(two).fingerprint not in found | {usual}


# ── reading ──

SEEKABLE = {
    "b-frames": lambda: encoded(moving(40), g="8", bf="3"),
    "open-gop": lambda: encoded(moving(40), **OPEN_GOP),
    "one-key": lambda: encoded(moving(40), "avi", "mpeg4"),
    "gaps": lambda: encoded(
        moving(40), g="9", bf="2", pts=[number + number // 5 * 2 for number in range(40)]
    ),
    "odd": lambda: encoded(moving(40, 33, 41), "avi", "mpeg4", g="10", bf="2"),
    "deep": lambda: encoded(moving(40), layout="yuv420p10le", g="10"),
}


@pytest.mark.parametrize("kind", SEEKABLE)
def test_every_frame_from_every_start_is_that_of_a_full_decode(tmp_path: Path, kind: str) -> None:
    data = SEEKABLE[kind]()
    name = "a/x.avi" if data[:4] == b"RIFF" else "a/x.mp4"
    source, whole = opened(write(tmp_path, {name: data}), stride=2), full(data)
    assert len(whole) == source.num_frames[0] == 40
    for start in range(34):
        clip = source.read_clip(0, start)
        assert np.array_equal(clip, whole[start : start + 7 : 2])
        out = np.empty((4, 24, 24, 3), np.uint8)
        cut = Cut(start, 3.0, -5.0, 27.0, 19.0, start % 2 == 1)
        source.cut(0, [cut], [out])
        assert np.array_equal(out, boxed(clip, cut, 24))


def test_many_cuts_of_a_video_decode_each_frame_once(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, whole = opened(write(tmp_path, files)), full(files["a/x.mp4"])
    numbers: list[int] = []
    real = OpenVideo._decoded

    def counting(self: OpenVideo, after: int | None) -> Any:
        for frame in real(self, after):
            numbers.append(frame.pts // 512)
            yield frame

    monkeypatch.setattr(OpenVideo, "_decoded", counting)
    starts = [17, 3, 25, 26, 4, 3]
    cuts = [Cut(start, 0.0, 0.0, 30.0, 30.0, False) for start in starts]
    out = [np.empty((4, 30, 30, 3), np.uint8) for _ in cuts]
    source.cut(0, cuts, out)
    for cut, clip in zip(cuts, out, strict=True):
        assert np.array_equal(clip, boxed(whole[cut.start : cut.start + 4], cut, 30))
    # From the start to frame 7, then from the key frames before 17 and 25 on.
    assert numbers == [*range(8), *range(16, 21), *range(24, 30)]


def test_boxes_are_resized_and_mirrored(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = opened(write(tmp_path, files))
    out, flipped = np.empty((2, 4, 20, 20, 3), np.uint8)
    box = 1.5, 2.0, 41.5, 42.0
    source.cut(0, [Cut(9, *box, False), Cut(9, *box, True)], [out, flipped])
    assert np.array_equal(flipped, out[:, :, ::-1])
    slow = boxed(source.read_clip(0, 9), Cut(9, *box, False), 20)
    assert np.abs(out.astype(int) - slow).mean() < 4  # colours of noise are clipped before or after


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_clips_are_turned_as_the_file_says(tmp_path: Path, degrees: int) -> None:
    frames = moving(8)
    data = {"a/x.mp4": encoded(frames, turned=degrees, g="4"), "a/y.mp4": encoded(frames, g="4")}
    source = opened(write(tmp_path, data))
    turned = np.rot90(source.read_clip(1, 3), degrees // 90, axes=(1, 2))
    assert np.array_equal(source.read_clip(0, 3), turned)
    assert (source.heights[0], source.widths[0]) == turned.shape[1:3]
    cut = Cut(3, 10.0, 20.0, 30.0, 40.0, False)
    out = np.empty((4, 20, 20, 3), np.uint8)
    source.cut(0, [cut], [out])
    assert np.array_equal(out, turned[:, 10:30, 20:40])


def test_one_frame_is_a_clip_of_one(tmp_path: Path) -> None:
    data = encoded(moving(1))
    source = opened(write(tmp_path, {"a/x.mp4": data}), frames=1, starts="windows")
    assert source.starts.tolist() == [0]
    assert np.array_equal(source.read_clip(0, 0), full(data))


@pytest.mark.parametrize("path", [ARCHERY, WRESTLING], ids=lambda path: path.stem)
def test_real_clips_are_read_exactly(tmp_path: Path, path: Path) -> None:
    if not path.exists():
        pytest.skip("the clip is not there")
    data = path.read_bytes()
    whole = full(data)
    source = opened(write(tmp_path, {f"a/{path.name}": data}), frames=16)
    last = len(whole) - 16
    for start in (last, 0, last // 2, 31, last - 1, last * 2 // 3):
        assert np.array_equal(source.read_clip(0, start), whole[start : start + 16])


def test_a_large_file_is_read_where_it_lies(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = opened(write(tmp_path, files))
    for module in (video_scan, video_source):
        monkeypatch.setattr(module, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(Path, "read_bytes", None)
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "other"))
    large = opened(tmp_path)
    assert large.fingerprint == small.fingerprint
    for index in range(3):
        assert np.array_equal(large.read_clip(index, 5), small.read_clip(index, 5))
    path = tmp_path / "a/x.mp4"
    path.write_bytes(files["a/x.mp4"] + b"more")
    with pytest.raises(DreamshardsError, match="changed since the dataset was scanned"):
        large.read_clip(0, 0)


def cut_all(source: VideoSource, index: int) -> U8:
    out = np.empty((2, 4, 24, 24, 3), np.uint8)
    boxes = (2.0, 3.0, 33.0, 34.0), (5.0, -9.0, 29.0, 15.0)
    source.cut(
        index, [Cut(5, *box, flip) for box, flip in zip(boxes, (0, 1), strict=True)], list(out)
    )
    return out


def test_workers_of_ray_cut_the_same_bytes(
    tmp_path: Path, files: dict[str, bytes], ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline = opened(write(tmp_path, files))
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "other"))
    with RayExecutor(ray_address) as executor:
        source = opened(tmp_path, executor)
        assert source.fingerprint == inline.fingerprint
        for name in ("turns", "num_frames", "offsets", "size_bytes", "digests"):
            assert np.array_equal(getattr(source, name), getattr(inline, name))
        assert all(map(np.array_equal, source.keys, inline.keys))
        by_content = {clip.tobytes() for clip in executor.map(cut_all, source, range(3))}
    assert by_content == {cut_all(inline, index).tobytes() for index in range(3)}


def test_a_source_travels(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = opened(write(tmp_path, files))
    again = pickle.loads(pickle.dumps(source))
    assert np.array_equal(cut_all(again, 1), cut_all(source, 1))


# ── requests that do not fit ──


def test_clips_and_boxes_that_leave_the_video(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = opened(write(tmp_path, files))
    out = [np.empty((4, 20, 20, 3), np.uint8)]
    for start in (-1, 27):
        wanted = f"plan: start_frame {start} of a clip of a/x.mp4; allowed: 0 to 26"
        with pytest.raises(ValueError, match=wanted):
            source.cut(0, [Cut(start, 0.0, 0.0, 20.0, 20.0, False)], out)
        with pytest.raises(ValueError, match=wanted):
            source.read_clip(0, start)
    for box in ((0.0, 0.0, 49.0, 49.0), (-1.0, 0.0, 30.0, 30.0), (9.0, 9.0, 9.0, 30.0)):
        with pytest.raises(
            ValueError, match=r"plan: box .* leaves the frames of a/x.mp4, 48×64 px"
        ):
            source.cut(0, [Cut(0, *box, False)], out)


# ── files that changed ──


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda data: data + b"x", "got more than"),
        (lambda data: data[:-1], "bytes; expected"),
        (lambda data: data[:-1] + b"x", "got SHA-256"),
    ],
)
def test_a_changed_file_is_refused(
    tmp_path: Path, files: dict[str, bytes], change: Callable[[bytes], bytes], found: str
) -> None:
    source = opened(write(tmp_path, files))
    path = tmp_path / "a/x.mp4"
    path.write_bytes(change(files["a/x.mp4"]))
    with pytest.raises(DreamshardsError) as caught:
        source.read_clip(0, 0)
    text = str(caught.value)
    assert text.startswith(f"{path} changed since the dataset was scanned: got ")
    assert found in text
    assert text.endswith("start the build again in a new root")
    path.unlink()
    with pytest.raises(
        DreamshardsError, match=r"x\.mp4, which could be read when .*: No such file"
    ):
        cut_all(source, 0)


def test_a_decoder_that_ends_early_is_noticed(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(write(tmp_path, files))
    real = OpenVideo._decoded

    def short(self: OpenVideo, after: int | None) -> Any:
        for _, frame in zip(range(3), real(self, after), strict=False):
            yield frame

    monkeypatch.setattr(OpenVideo, "_decoded", short)
    with pytest.raises(DreamshardsError, match="and now: it ends before frame 3; install the same"):
        source.read_clip(0, 0)


# ── what cannot be read ──


def test_stop_names_every_loss_with_its_reason(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path, files | {name: content for name, (content, _) in LOSSES.items()})
    (tmp_path / "a/gone.avi").symlink_to("nowhere")
    head, *lines = message(tmp_path).splitlines()
    assert head.startswith(f"6 of 9 videos below {tmp_path} cannot be read; repair or remove them")
    assert head.endswith("--set source.on_unreadable=skip")
    reasons = {name: why for name, (_, why) in LOSSES.items()}
    reasons["a/gone.avi"] = "a link to nothing: No such file or directory"
    assert lines == [f"  {name}: {reasons[name]}" for name in sorted(reasons)]


def test_skip_leaves_them_out_and_records_them(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path, files | {name: content for name, (content, _) in LOSSES.items()})
    (tmp_path / "a/notes.heic").write_bytes(b"")
    source = opened(tmp_path, on_unreadable="skip")
    assert source.names.to_pylist() == ["a/x.mp4", "a/y.avi", "b/z.mkv"]
    reasons = {name: why for name, (_, why) in LOSSES.items()} | {
        "a/notes.heic": "not a video: .heic"
    }
    assert source.skipped == tuple(Skipped(name, reasons[name]) for name in sorted(reasons))
    whole = full(files["b/z.mkv"])
    assert np.array_equal(source.read_clip(2, 8), whole[8:])
    assert source.fingerprint == opened(write(tmp_path / "else", files)).fingerprint


def test_what_is_too_short_depends_on_the_clip(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path, files)
    text = message(tmp_path, frames=16, stride=2)
    assert text.splitlines()[1:] == [
        "  a/x.mp4: 30 frames; a clip spans 31",
        "  a/y.avi: 20 frames; a clip spans 31",
        "  b/z.mkv: 12 frames; a clip spans 31",
    ]
    assert len(opened(tmp_path, frames=16, on_unreadable="skip", count=2).labels) == 2


def test_a_class_left_without_a_video(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path, files | {"c/one.mp4": encoded(moving(1))})
    text = message(tmp_path, on_unreadable="skip")
    assert text.splitlines() == [
        f"classes below {tmp_path} without a readable video: c; repair or remove them",
        "  c/one.mp4: 1 frame; a clip spans 4",
    ]


def test_layouts_that_are_none(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert "a folder with one sub-folder of videos per class" in message(
        tmp_path / "no", UsageError
    )
    write(tmp_path / "flat", {"x.mp4": b""})
    text = message(tmp_path / "flat", UsageError)
    assert (
        "has no sub-folders but 1 videos directly in it; allowed: one sub-folder per class" in text
    )
    write(tmp_path / "beside", files | {"q.avi": b""})
    assert "1 videos lie directly in" in message(tmp_path / "beside", UsageError)
    (write(tmp_path / "empty", files) / "d").mkdir()
    text = message(tmp_path / "empty", UsageError)
    assert "without a video: d; add videos (.avi, .m4v, .mkv" in text
    write(tmp_path / "mixed", files | {"a/p.ts": b"", "a/n.txt": b"", "b/.q.ts": b""})
    text = message(tmp_path / "mixed", UsageError)
    assert "that are no videos: 1 .ts (such as a/p.ts); allowed: .avi, .m4v" in text


def test_without_pyav(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "av":
            raise ImportError("No module named 'av'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    text = message(write(tmp_path, files))
    assert text == "reading videos needs PyAV, which is not installed; install dreamshards[video]"


# ── the scan and its cache ──


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the files that were decoded by a scan, in order."""
    sizes: list[int] = []
    real = video_scan.probe

    def counting(file: Any, size_bytes: int) -> Any:
        sizes.append(size_bytes)
        return real(file, size_bytes)

    monkeypatch.setattr(video_scan, "probe", counting)
    return sizes


def test_a_second_opening_decodes_nothing(
    tmp_path: Path, files: dict[str, bytes], scanned: list[int]
) -> None:
    write(tmp_path, files | {"b/still.mp4": b"x"})
    first = opened(tmp_path, on_unreadable="skip")
    assert len(scanned) == 4
    second = opened(tmp_path, on_unreadable="skip", frames=5)
    assert len(scanned) == 4  # another sampling needs no other scan
    assert second.skipped == first.skipped
    for name in ("heights", "widths", "num_frames", "turns", "size_bytes", "digests"):
        one, two = getattr(first, name), getattr(second, name)
        assert np.array_equal(one, two)
        assert one.dtype == two.dtype
    for one, two in zip(first.keys, second.keys, strict=True):
        assert np.array_equal(one, two)
        assert one.dtype == two.dtype
    assert opened(tmp_path, on_unreadable="skip").fingerprint == first.fingerprint


def test_another_decoder_or_a_changed_file_is_scanned_again(
    tmp_path: Path, files: dict[str, bytes], scanned: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(write(tmp_path, files))
    (tmp_path / "a/x.mp4").write_bytes(files["b/z.mkv"])
    opened(tmp_path)
    assert len(scanned) == 6
    monkeypatch.setattr(video_scan, "video_versions", lambda: {"pyav": "0"})
    opened(tmp_path)
    assert len(scanned) == 9


@pytest.mark.parametrize("how", ["cut", "column", "rows", "type"])
def test_a_broken_cache_entry_is_made_again(
    tmp_path: Path, files: dict[str, bytes], scanned: list[int], how: str
) -> None:
    first = opened(write(tmp_path, files))
    (entry,) = cache_folder("scans").iterdir()
    table = pq.read_table(entry)
    if how == "cut":
        entry.write_bytes(entry.read_bytes()[:-100])
    elif how == "column":
        pq.write_table(table.drop_columns(["key_pts"]), entry)
    elif how == "rows":
        pq.write_table(table.slice(1), entry)
    else:
        place = table.column_names.index("num_frames")
        column = table["num_frames"].cast("int64")
        pq.write_table(table.set_column(place, "num_frames", column), entry)
    assert opened(tmp_path).fingerprint == first.fingerprint
    assert len(scanned) == 6
    opened(tmp_path)
    assert len(scanned) == 6


def test_a_file_that_grows_during_the_scan(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, files)
    real = video_scan._scan

    def late(*arguments: Any) -> Any:
        (tmp_path / "a/x.mp4").write_bytes(b"longer" * 100)
        return real(*arguments)

    monkeypatch.setattr(video_scan, "_scan", late)
    assert "a/x.mp4 changed while the folder was scanned: got 600 bytes" in message(tmp_path)


def test_versions_name_the_decoder() -> None:
    from av import library_versions

    versions = video_versions()
    assert versions["pyav"] == av.__version__
    assert versions["libavcodec"].split(".")[0] == str(library_versions["libavcodec"][0])


def test_no_run_goes_on_beyond_the_next_key_frame(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run was compared with a full decode up to there; only that from the start goes on."""
    source = opened(write(tmp_path, files), frames=12)
    searched: list[int] = []
    real = OpenVideo.frames_from
    monkeypatch.setattr(
        OpenVideo,
        "frames_from",
        lambda self, pts: searched.append(pts // 512) or real(self, pts),  # type: ignore[func-returns-value]
    )
    whole = full(files["a/x.mp4"])
    for start, expected in ((3, []), (8, [8, 16]), (18, [16, 24])):
        searched.clear()
        assert np.array_equal(source.read_clip(0, start), whole[start : start + 12])
        assert searched == expected
