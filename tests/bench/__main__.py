"""`python -m tests.bench`: measure the sections asked for, then print one table.

A figure is the median of the rounds with the smallest and the largest in brackets; a ratio is taken round
by round. The render and ray sections work on the recipe; so does the stream section with raw pixels, and
with JPEGs on a recipe that has them or else, as the jpeg section, on the photographs inside scikit-learn.
"""

from __future__ import annotations

import argparse
import os

import torch

from pipeline.executor import InlineExecutor
from pipeline.inputs import open_inputs
from pipeline.recipe import load_recipe
from tests.bench import jpeg, render, stream, workers
from tests.bench.core import Row, machine, table
from tests.bench.served import peer_versions

SECTIONS = ("render", "jpeg", "stream", "ray")


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    inputs = open_inputs(load_recipe(options.recipe, options.overrides), InlineExecutor())
    peers = peer_versions()
    sections = {
        "render": lambda: render.measure(inputs, options.rounds),
        "jpeg": lambda: jpeg.measure(options.rounds),
        "stream": lambda: stream.measure(inputs, options.rounds, options.cores, peers),
        "ray": lambda: workers.measure(inputs, options.rounds),
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
        help=f"any of {', '.join(SECTIONS)} (default all), and a preset or file (default digits)",
    )
    parser.add_argument("--set", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--cores", type=int, default=len(os.sched_getaffinity(0)), help="that a reader may use"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is missed")
    options = parser.parse_args()
    recipes = [word for word in options.words if word not in SECTIONS]
    if len(recipes) > 1:
        parser.error(f"got {recipes}; allowed: one recipe, and sections {', '.join(SECTIONS)}")
    options.recipe = recipes[0] if recipes else "digits"
    options.sections = [name for name in SECTIONS if name in options.words] or list(SECTIONS)
    return options


if __name__ == "__main__":
    main()
