"""`python -m tests.bench`: measure the sections asked for, then print one table.

A figure is the median of the rounds with the smallest and the largest in brackets; a ratio is taken round
by round. The render, remote and ray sections work on the recipe; so does the stream section with raw pixels,
and with JPEGs on a recipe that has them or else, as the jpeg section, on the photographs inside scikit-learn.
The vpixmix section and the table of clip-codecs, which comes by itself, need videos.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from pipeline.executor import InlineExecutor
from pipeline.inputs import open_inputs
from pipeline.recipe import load_recipe
from tests.bench import clips, jpeg, remote, render, stream, vpixmix, workers
from tests.bench.core import Row, machine, table
from tests.bench.served import peer_versions

SECTIONS = ("render", "jpeg", "stream", "remote", "ray", "vpixmix")
CODECS = "clip-codecs"


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    if options.codecs:
        print(f"{machine(options.rounds, None)}\n\n{clips.report(options.videos, options.rounds)}")
        return
    inputs = open_inputs(load_recipe(options.recipe, options.overrides), InlineExecutor())
    peers = peer_versions()
    sections = {
        "render": lambda: render.measure(inputs, options.rounds),
        "jpeg": lambda: jpeg.measure(options.rounds),
        "stream": lambda: stream.measure(inputs, options.rounds, options.cores, peers),
        "remote": lambda: remote.measure(inputs, options.rounds),
        "ray": lambda: workers.measure(inputs, options.rounds),
        "vpixmix": lambda: vpixmix.measure(options.videos, options.rounds),
    }
    rows: list[Row] = []
    for name in options.sections:
        rows += sections[name]()
    print(machine(options.rounds, peers))
    print(f"readers on {options.cores} core(s), one process each\n")
    print(table(rows, options.markdown))
    if options.strict and any(row.passed is False for row in rows):
        raise SystemExit(1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="SECTION|RECIPE",
        help=f"any of {', '.join(SECTIONS)} (default all there is data for), or {CODECS}; and a preset "
        "or file (default digits)",
    )
    parser.add_argument("--set", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--videos", type=Path, help="an .avi or .mp4 file, or a folder of them")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--cores", type=int, default=len(os.sched_getaffinity(0)), help="that a reader may use"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is missed")
    options = parser.parse_args()
    options.codecs = CODECS in options.words
    recipes = [word for word in options.words if word not in (*SECTIONS, CODECS)]
    if len(recipes) > 1:
        parser.error(f"got {recipes}; allowed: one recipe, and sections {', '.join(SECTIONS)}")
    options.recipe = recipes[0] if recipes else "digits"
    wanted = [name for name in SECTIONS if name in options.words]
    if options.videos is None and (options.codecs or "vpixmix" in wanted):
        parser.error("give --videos FILE or FOLDER, of .avi or .mp4")
    options.sections = wanted or [name for name in SECTIONS if options.videos or name != "vpixmix"]
    return options


if __name__ == "__main__":
    main()
