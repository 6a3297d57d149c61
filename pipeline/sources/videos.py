"""Clips out of video files: which there are, and reading them frame by frame.

Owns the sampling of clips and the reading of what was scanned; the scan itself is `video_scan`'s.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import Executor
from pipeline.render.frames import is_plain
from pipeline.source_sections import VideoConfig
from pipeline.sources.clips import DRAWN, ClipSource, Cut
from pipeline.sources.folder_listing import Listing
from pipeline.sources.source import Skipped, digest_of, evenly
from pipeline.sources.video_files import Frame, OpenVideo, UnreadableVideo
from pipeline.sources.video_pixels import BoxWriter, whole_frame
from pipeline.sources.video_scan import WHOLE_BYTES, Keys, VideoScan, scan_videos

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

VideoListing = Listing
"""The videos of a source: ids are paths below its root."""


def open_videos(
    config: VideoConfig, root: Path, listing: VideoListing, executor: Executor
) -> VideoSource:
    """Decode every listed video once, so that a build meets no surprise in hour ten, and lay clips over them.

    With `config.count`, so many of the videos are taken, evenly spread over the list; only these are decoded.
    One that cannot be read, or has fewer frames than a clip spans, stops the build, or is left out and
    recorded under `on_unreadable: skip`.

    Args:
        config: the recipe's section.
        root: the folder that ids are paths below, absolute, the same on every node.
        listing: of the videos.
        executor: runs the scan.

    Raises:
        UsageError: more videos are asked for than there are, or a listed file is no video by its name.
        DreamshardsError: videos that cannot be read, all of them with reasons; a class without any.
    """
    assert root.is_absolute()
    skip = getattr(config, "on_unreadable", "stop") == "skip"
    if config.count is not None:
        listing = listing.take(_chosen(len(listing.ids), config.count, root))
    scan = scan_videos(root, listing, executor)
    offsets = _offsets(config, scan.rates)
    spans = offsets[:, -1] + 1 if len(offsets) else np.zeros(0, np.int64)
    reasons = _reasons(scan, spans)
    names = listing.ids.to_pylist()
    unreadable = [Skipped(name, why) for name, why in zip(names, reasons, strict=True) if why]
    unreadable = sorted([*listing.broken, *unreadable])
    if unreadable and not skip:
        total = len(names) + len(listing.broken)
        raise DreamshardsError(
            f"{len(unreadable):,} of {total:,} videos below {root} cannot be read; repair or remove "
            "them, or leave them out with --set source.on_unreadable=skip\n" + _lines(unreadable)
        )
    keep = np.flatnonzero([not why for why in reasons])
    _check_classes(listing, keep, root, unreadable)
    skipped = tuple(sorted([*unreadable, *listing.strays]))
    return _source(config, root, listing, scan, offsets, keep, skipped)


def _chosen(num_present: int, count: int, root: Path) -> Sequence[int]:
    if num_present < count:
        raise UsageError(
            f"source.path: {root} holds {num_present:,} videos, {count:,} are asked for; lower the "
            f"count to {num_present}, or add videos"
        )
    return evenly(num_present, count, f"source.path: {root}")


def _offsets(config: VideoConfig, rates: I64) -> I64:
    """Return the places of a clip's frames after its first, int64 [V, T], the first being 0."""
    steps = np.arange(config.frames)
    if config.frame_rate is None:
        return np.tile(steps * config.stride, (len(rates), 1))
    wanted = Fraction(str(config.frame_rate))
    rows = {}
    for pair in map(tuple, rates.tolist()):
        if pair not in rows:
            ratio = Fraction(*pair) / wanted
            rows[pair] = steps * ratio.numerator // ratio.denominator
    return np.array([rows[pair] for pair in map(tuple, rates.tolist())], np.int64).reshape(
        -1, config.frames
    )


def _reasons(scan: VideoScan, spans: I64) -> list[str | None]:
    """Return why each video cannot serve, None for those that can."""
    reasons: list[str | None] = scan.reasons.to_pylist()
    for row in np.flatnonzero(scan.num_frames < spans).tolist():
        if reasons[row] is None:
            has, needs = int(scan.num_frames[row]), int(spans[row])
            frames = "frame" if has == 1 else "frames"
            reasons[row] = f"{has:,} {frames}; a clip spans {needs:,}"
    return reasons


def _check_classes(
    listing: Listing, keep: npt.NDArray[np.intp], root: Path, unreadable: list[Skipped]
) -> None:
    lost = sorted(set(listing.labels.tolist()) - set(listing.labels[keep].tolist()))
    if lost or not len(keep):
        names = ", ".join(listing.class_names[label] for label in lost)
        raise DreamshardsError(
            f"classes below {root} without a readable video: {names}; repair or remove them\n"
            + _lines(unreadable)
        )


def _lines(skipped: list[Skipped]) -> str:
    return "\n".join(f"  {line.id}: {line.reason}" for line in skipped)


# ── clips ──


def _starts(config: VideoConfig, num_starts: int, span: int) -> list[int]:
    """Return the first frames of the clips of a video in which one may start at `num_starts` frames."""
    if config.starts == "random":
        return [DRAWN] * config.clips
    if config.starts == "uniform":
        return [(2 * j + 1) * num_starts // (2 * config.clips) for j in range(config.clips)]
    return list(range(0, num_starts, config.hop or span))


def _source(
    config: VideoConfig,
    root: Path,
    listing: Listing,
    scan: VideoScan,
    offsets: I64,
    keep: npt.NDArray[np.intp],
    skipped: tuple[Skipped, ...],
) -> VideoSource:
    spans = offsets[keep, -1] + 1
    num_starts = scan.num_frames[keep] - spans + 1
    starts = [
        _starts(config, *pair) for pair in zip(num_starts.tolist(), spans.tolist(), strict=True)
    ]
    videos = np.repeat(np.arange(len(keep)), [len(part) for part in starts])
    flat = np.array([start for part in starts for start in part], np.int32)
    names = listing.ids.take(pa.array(keep))
    ids = names.take(pa.array(videos))
    labels = listing.labels[keep][videos]
    digests, of_video = scan.digests[keep], offsets[keep].astype(np.int32)
    return VideoSource(
        class_names=listing.class_names,
        labels=labels,
        ids=ids,
        heights=scan.heights[keep][videos],
        widths=scan.widths[keep][videos],
        fingerprint=digest_of(
            "videos",
            listing.class_names,
            ids,
            labels.astype("<i4"),
            digests[videos],
            flat.astype("<i4"),
            of_video[videos].astype("<i4"),
        ),
        skipped=skipped,
        frames=config.frames,
        videos=videos.astype(np.int64),
        num_frames=scan.num_frames[keep][videos],
        spans=spans[videos].astype(np.int32),
        starts=flat,
        root=root,
        names=names,
        size_bytes=listing.size_bytes[keep],
        digests=digests,
        turns=scan.turns[keep],
        offsets=of_video,
        keys=scan.keys.take(keep),
    )


class _Wanted(NamedTuple):
    """A frame that is wanted: its number in the video, for which cut, and its place there."""

    number: int
    cut: int
    place: int


@dataclass(frozen=True, eq=False)
class VideoSource(ClipSource):
    """Clips of V video files that were all decoded once.

    Attributes beyond those of `ClipSource`:
        root: the folder that names are paths below, absolute, the same on every node.
        names: string [V], the videos.
        size_bytes: int64 [V], of each file.
        digests: uint8 [V, 32], SHA-256 of each file's bytes.
        turns: int8 [V], how frames are turned before they are shown.
        offsets: int32 [V, T], places of a clip's frames after its first, the first being 0.
        keys: where decoding may begin.
    """

    root: Path
    names: pa.StringArray
    size_bytes: I64
    digests: U8
    turns: npt.NDArray[np.int8]
    offsets: I32
    keys: Keys

    def cut(self, index: int, cuts: Sequence[Cut], out: Sequence[U8]) -> None:
        """Cut clips out of the video of sample `index`; as `ClipSource.cut`."""
        video = int(self.videos[index])
        for wanted, clip in zip(cuts, out, strict=True):
            self._check(index, wanted, clip.shape[1])
        turn = int(self.turns[video])
        writers = [BoxWriter(wanted[1:5], wanted.flip, turn) for wanted in cuts]
        numbers = [wanted.start + self.offsets[video] for wanted in cuts]
        for frame, targets in self._frames(video, numbers):
            for target in targets:
                writers[target.cut].write(frame, out[target.cut][target.place])

    def read_clip(self, index: int, start: int) -> U8:
        """Return the clip of sample `index` that starts at frame `start`; as `ClipSource.read_clip`."""
        video = int(self.videos[index])
        self._check_start(index, start)
        size = int(self.heights[index]), int(self.widths[index])
        clip = np.empty((self.frames, *size, 3), np.uint8)
        for frame, targets in self._frames(video, [start + self.offsets[video]]):
            pixels = whole_frame(frame, int(self.turns[video]))
            for target in targets:
                clip[target.place] = pixels
        return clip

    def _check(self, index: int, wanted: Cut, size: int) -> None:
        self._check_start(index, wanted.start)
        box = top, left, bottom, right = wanted[1:5]
        height, width = int(self.heights[index]), int(self.widths[index])
        inside = 0 <= top < bottom <= height and 0 <= left < right <= width
        if not inside and not is_plain(box, size):
            raise ValueError(
                f"plan: box {box} (top, left, bottom, right) leaves the frames of "
                f"{self.ids[index].as_py()}, {height}×{width} px (H×W)"
            )

    def _check_start(self, index: int, start: int) -> None:
        last = int(self.num_frames[index] - self.spans[index])
        if not 0 <= start <= last:
            raise ValueError(
                f"plan: start_frame {start} of a clip of {self.ids[index].as_py()}; allowed: 0 to {last}"
            )

    # ── decoding ──

    def _frames(self, video: int, numbers: Sequence[I32]) -> Iterator[tuple[Frame, list[_Wanted]]]:
        """Yield each frame that some cut wants, once, in order, with the places it is for."""
        wanted = sorted(
            _Wanted(number, cut, place)
            for cut, of_cut in enumerate(numbers)
            for place, number in enumerate(of_cut.tolist())
        )
        path = self.root / self.names[video].as_py()
        try:
            with OpenVideo(self._content(video, path)) as opened:
                yield from self._walk(opened, video, wanted)
        except UnreadableVideo as error:
            raise DreamshardsError(
                f"{path} could be decoded when the dataset was scanned, and now: {error.reason}; is FFmpeg "
                "the same on every machine?"
            ) from error

    def _walk(
        self, opened: OpenVideo, video: int, wanted: list[_Wanted]
    ) -> Iterator[tuple[Frame, list[_Wanted]]]:
        bounds = slice(*self.keys.bounds[video : video + 2].tolist())
        keys, pts = self.keys.frames[bounds], self.keys.pts[bounds]
        frames, following = opened.frames(), 0
        done = 0
        while done < len(wanted):
            number = wanted[done].number
            key = int(np.searchsorted(keys, number, "right")) - 1
            if key >= 0 and keys[key] > following:
                frames.close()
                frames, following = opened.frames_from(int(pts[key])), int(keys[key])
            frame = None
            while following <= number:
                frame = next(frames, None)
                following += 1
                if frame is None:
                    raise UnreadableVideo(f"it ends before frame {number}")
            assert frame is not None
            first = done
            while done < len(wanted) and wanted[done].number == number:
                done += 1
            yield frame, wanted[first:done]

    def _content(self, video: int, path: Path) -> io.BytesIO | Path:
        """Return a video's bytes, or where they lie if there are many; refuse a file that changed."""
        expected = int(self.size_bytes[video])
        large = expected > WHOLE_BYTES
        try:
            if large:
                got, data = path.stat().st_size, b""
            else:
                with path.open("rb") as file:
                    data = file.read(expected + 1)
                got = len(data)
        except OSError as error:
            raise DreamshardsError(
                f"cannot read {path}, which could be read when the dataset was scanned: "
                f"{error.strerror}; put it back, then run the same command to go on"
            ) from error
        scanned = self.digests[video].tobytes().hex()
        found = scanned if large else hashlib.sha256(data).hexdigest()
        if got != expected or found != scanned:
            what = f"SHA-256 {found}" if got == expected else _size(got, expected)
            raise DreamshardsError(
                f"{path} changed since the dataset was scanned: got {what}; expected {expected:,} bytes "
                f"with SHA-256 {scanned}; put the old file back, or start the build again in a new root"
            )
        return path if large else io.BytesIO(data)


def _size(got: int, expected: int) -> str:
    return f"more than {expected:,} bytes" if got > expected else f"{got:,} bytes"
