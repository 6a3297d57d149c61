"""The `pictures` command: make a mixing set, write it out, show it, measure it; or film a zoom."""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.arguments import named_store
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.executor import Executor
    from pipeline.export import Export
    from pipeline.picture_sections import PicturesConfig
    from pipeline.pictures.picture_set import Tally
    from pipeline.pictures.zoom_set import ZoomSet
    from pipeline.store import Store

_LOSSES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes beyond `--set` and how to execute."""
    parser.add_argument(
        "what",
        metavar="RECIPE|KIND",
        help="a recipe, for its mixing set, or a kind of pictures, such as library or flame",
    )
    for name, metavar, what in (
        ("count", "N", "pictures"),
        ("size", "S", "their side in pixels"),
        ("seed", "SEED", "of generated pictures"),
    ):
        parser.add_argument(f"--{name}", type=_whole, metavar=metavar, help=what)
    parser.add_argument(
        "--out",
        type=named_store,
        metavar="DIR",
        help="write the set into this folder or below this URI",
    )
    parser.add_argument(
        "--format",
        choices=("png", "jpg", "npy"),
        default="png",
        help="image files, or one array (default: png)",
    )
    parser.add_argument(
        "--sheet",
        type=_local_file,
        metavar="FILE.png",
        help="draw a contact sheet of up to 96 pictures",
    )
    parser.add_argument(
        "--table", action="store_true", help="print a table of measures for each kind"
    )


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a whole number") from None


def _local_file(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a local file")
    return Path(text)


def run(options: argparse.Namespace, executor: Executor) -> int:
    """Do what the command line asks for and return the exit code."""
    from pipeline.picture_sections import ZOOM_KINDS
    from pipeline.recipe import load_pictures

    if not (options.out or options.sheet or options.table):
        raise UsageError("nothing to do: give --out DIR, --sheet FILE.png or --table")
    if options.sheet and options.sheet.suffix.lower() != ".png":
        raise UsageError(f"--sheet: got {str(options.sheet)!r}; allowed: a name that ends in .png")
    fields = {name: getattr(options, name) for name in ("count", "size", "seed")}
    config = load_pictures(options.what, options.overrides, fields)
    if options.out:
        if config.kind in ZOOM_KINDS:
            raise UsageError(
                "--out: a set of zooms has no pictures to write; show their first frames with --sheet "
                "FILE.png, or film one: dreamshards pictures zoom --out FILE.mp4"
            )
        from pipeline.export import check_out

        check_out(options.out, config, options.format)
    return _make(options, config, executor)


def _make(options: argparse.Namespace, config: PicturesConfig, executor: Executor) -> int:
    from pipeline.pictures import open_pictures
    from pipeline.pictures.zoom_set import ZoomSet

    begun = time.perf_counter()
    pictures = open_pictures(config, executor)
    if isinstance(pictures, ZoomSet):
        shown, lines = pictures.stills(), _zoom_lines(pictures, time.perf_counter() - begun)
    else:
        shown, lines = pictures, []
    if options.out:
        from pipeline.export import export

        done = export(options.out, config, options.format, executor)
        lines = _closing(options.out, done, pictures.tallies, time.perf_counter() - begun)
    if options.sheet:
        from pipeline.publish import publish_bytes
        from pipeline.survey import draw_contact_sheet

        buffer = io.BytesIO()
        draw_contact_sheet(shown).save(buffer, "PNG")
        publish_bytes(options.sheet, buffer.getvalue())
        lines.append(f"sheet {options.sheet}")
    if options.table:
        from pipeline.survey import format_table, survey

        print("\n".join(format_table(survey(shown))))
    for line in lines:
        print(line)
    return _LOSSES if pictures.skipped else 0


def _zoom_lines(zooms: ZoomSet, seconds: float) -> list[str]:
    """Return what a set of zooms is, its digest, how it went, and what was skipped."""
    from pipeline.progress import human_bytes, human_seconds, plural

    work = f"opened in {human_seconds(seconds)}"
    if zooms.tallies:
        work += f"; accepted {', '.join(map(_accepted, zooms.tallies))}"
    lines = [
        f"{plural(len(zooms), 'zoom')}, {human_bytes(zooms.stored.pixels.nbytes)}",
        f"digest {zooms.digest}",
        work,
    ]
    return [*lines, *(f"skipped {name}: {reason}" for name, reason in zooms.skipped)]


def _closing(out: Store, done: Export, tallies: Sequence[Tally], seconds: float) -> list[str]:
    """Return at most six lines: what, where, its digest, how it went, what comes next."""
    from pipeline.progress import human_bytes, human_seconds, plural

    content = done.content
    form = content["format"]
    lines = [
        f"{out}: complete; {plural(content['pictures'], 'picture')} as {form}, "
        f"{human_bytes(done.num_bytes)}",
        f"digest {content['set_digest']}",
    ]
    work = f"made in {human_seconds(seconds)}" if done.num_written else "nothing was left to do"
    if tallies:
        work += f"; accepted {', '.join(map(_accepted, tallies))}"
    lines.append(work)
    if content["skipped"]:
        skipped = plural(len(content["skipped"]), "unreadable picture")
        lines.append(f"skipped {skipped}; {out}/pictures.json lists them")
    fields = f"mixing_set.kind=folder mixing_set.path={out}"
    if form == "npy":
        fields = f"mixing_set.kind=npy mixing_set.path={out}/pictures.npy"
    return [*lines, f"next: dreamshards build cifar10 --set {fields}"]


def _accepted(tally: Tally) -> str:
    """Return `flame 98% of 4,591 draws`, with what was kept all the same."""
    text = f"{tally.kind} {tally.kept / tally.drawn:.0%} of {tally.drawn:,}"
    return f"{text} ({tally.forced:,} at their best)" if tally.forced else text


# ── pictures zoom ──


def add_zoom_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `pictures zoom` takes."""
    parser.add_argument(
        "--out", type=_local_file, required=True, metavar="FILE.mp4", help="the video to write"
    )
    parser.add_argument(
        "--kind",
        choices=("mandelbrot", "julia"),
        default="mandelbrot",
        help="the set zoomed into (default: mandelbrot)",
    )
    for name, default, metavar, what in (
        ("seed", 0, "SEED", "of the place and its colours"),
        ("size", 256, "S", "side of a frame in pixels"),
        ("frames", None, "N", "how many; a multiple of a loop has no seam (default: one loop)"),
        ("fps", 25, "N", "frames a second"),
    ):
        shown = "" if default is None else f" (default: {default})"
        parser.add_argument(
            f"--{name}", type=_whole, default=default, metavar=metavar, help=what + shown
        )
    parser.add_argument(
        "--factor", type=float, default=1.02, metavar="F", help="growth a frame (default: 1.02)"
    )
    parser.add_argument("--outwards", action="store_true", help="zoom out instead of in")
    parser.add_argument(
        "--chroma",
        choices=("444", "420"),
        default="444",
        help="420 for players that know no other, at the cost of colours (default: 444)",
    )


def run_zoom(options: argparse.Namespace) -> int:
    """Write one zoom as a video and return the exit code."""
    from pipeline.pictures.zoom import make_zoom
    from pipeline.pictures.zoom_video import write_zoom_video
    from pipeline.progress import human_bytes

    if options.out.suffix.lower() != ".mp4":
        raise UsageError(f"--out: got {str(options.out)!r}; allowed: a name that ends in .mp4")
    if not 0 <= options.seed < 2**64:
        raise UsageError(f"--seed: got {options.seed}; allowed: 0 to {2**64 - 1}")
    begun = time.perf_counter()
    try:
        zoom = make_zoom(options.seed, 0, kind=options.kind, factor=options.factor)
        num_frames = zoom.num_frames if options.frames is None else options.frames
        write_zoom_video(
            options.out,
            zoom,
            size=options.size,
            num_frames=num_frames,
            direction=-1 if options.outwards else 1,
            frames_per_s=options.fps,
            chroma=options.chroma,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    print(
        f"{options.out}: {num_frames:,} frames of {options.size}×{options.size} px at "
        f"{options.fps}/s, {human_bytes(options.out.stat().st_size)}"
    )
    print(f"a loop is {zoom.num_frames:,} frames, each grows by {zoom.factor:.6g}")
    print(f"made in {time.perf_counter() - begun:.1f} s")
    return 0
