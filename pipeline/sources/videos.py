"""Clips laid over video files: which frames of which videos are the samples. `video_source` reads them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import DreamshardsError
from pipeline.executor import Executor
from pipeline.source_sections import VideoConfig
from pipeline.sources.ahead import Reader
from pipeline.sources.clips import DRAWN
from pipeline.sources.folder_listing import Listing
from pipeline.sources.source import Skipped, digest_of, evenly
from pipeline.sources.video_scan import VideoScan, scan_videos
from pipeline.sources.video_source import VideoSource
from pipeline.store import Store

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

__all__ = ["VideoListing", "VideoSource", "open_videos"]

VideoListing = Listing
"""The videos of a source: ids are paths below its root."""


def open_videos(
    config: VideoConfig, root: Store, listing: VideoListing, executor: Executor
) -> VideoSource:
    """Decode every listed video once, so that a build meets no surprise in hour ten, and lay clips over them.

    With `config.count`, so many of the videos are taken, evenly spread over the list; only these are decoded.
    One that cannot be read, or has fewer frames than a clip spans, stops the build, or is left out and
    recorded under `on_unreadable: skip`.

    Args:
        config: the recipe's section.
        root: what ids are paths below: an absolute folder, the same on every node, or an object store.
        listing: of the videos.
        executor: runs the scan.

    Raises:
        UsageError: more videos are asked for than there are, or a listed file is no video by its name.
        DreamshardsError: videos that cannot be read, all of them with reasons; a class without any.
    """
    skip = getattr(config, "on_unreadable", "stop") == "skip"
    if config.count is not None:
        where = f"source.path: {root}"
        places = evenly(len(listing.ids), config.count, where, "add videos", "videos")
        listing = listing.take(places)
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


def _offsets(config: VideoConfig, rates: I64) -> I64:
    """Return the places of a clip's frames after its first, int64 [V, T], the first being 0.

    With `frame_rate` the i-th is ⌊i · rate / frame_rate⌋, the rate being the video's on average.
    """
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
    listing: Listing, keep: npt.NDArray[np.intp], root: Store, unreadable: list[Skipped]
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
    root: Store,
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
        files=Reader(root),
        names=names,
        size_bytes=listing.size_bytes[keep],
        digests=digests,
        turns=scan.turns[keep],
        offsets=of_video,
        keys=scan.keys.take(keep),
    )
