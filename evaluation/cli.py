"""`dreamshards evaluate` and `dreamshards compare`: arguments in, tables and files out."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.arguments import positive
from pipeline.errors import UsageError, extra_missing
from pipeline.progress import human_seconds, plural

if TYPE_CHECKING:
    from evaluation.results import Results
    from evaluation.tasks import Settings

_LOSSES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`, apart from --set."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="last.pt or best.pt of `dreamshards train`",
    )
    parser.add_argument(
        "--data",
        action="extend",
        nargs="+",
        required=True,
        metavar="SET",
        help="[NAME=][KIND:]PLACE: a root or a recipe, known by its recipe; of others say the KIND: "
        "clean, c, c-bar, p, windows, ood or r, as in svhn=ood:photos/svhn",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (default: beside the checkpoint)"
    )
    parser.add_argument(
        "--samples",
        type=positive,
        metavar="N",
        help="of each set only so many pictures, or videos with all their clips, evenly spread: the same "
        "ones in all sets of a source",
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=256,
        metavar="N",
        help="pictures at once, each frame of a clip being one (default: 256)",
    )
    parser.add_argument(
        "--cache-dir", metavar="DIR", help="keep here what was read of roots in object stores"
    )
    parser.add_argument(
        "--cache-bytes", type=positive, metavar="N", help="most bytes that the cache may take"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--seed",
        type=_whole,
        default=0,
        metavar="N",
        help="of random starts and of the choice of anomalies (default: 0)",
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="only as the code behind the published numbers measures: calibration without the last bin, "
        "PGD around its random start (default: both ways)",
    )
    parser.add_argument(
        "--pgd",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="attack the clean test set (default: yes)",
    )
    parser.add_argument(
        "--pgd-samples",
        type=positive,
        metavar="N",
        help="attack so many pictures, or videos with all their clips, evenly spread (default: 1000)",
    )
    parser.add_argument(
        "--pgd-eps",
        type=_share,
        metavar="X",
        help="greatest change of a pixel, of 1 (default: 2/255)",
    )
    parser.add_argument(
        "--pgd-steps", type=positive, metavar="N", help="gradient steps (default: 20)"
    )
    parser.add_argument(
        "--pgd-step",
        type=_share,
        metavar="X",
        help="how far one moves a pixel (default: 0.5/255)",
    )


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `compare`."""
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folder of an evaluation, or its results.json",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write a page there")


def run(options: argparse.Namespace) -> int:
    """Evaluate as the arguments say; return the exit code.

    Raises:
        DreamshardsError: the extra `train` is not installed, or what evaluating raises.
    """
    try:
        from evaluation.requests import parse_request
        from evaluation.run import RESULTS_NAME, evaluate
    except ImportError as error:
        raise extra_missing("evaluation", error) from error
    settings = _settings(options)
    requests = [parse_request(text, options.overrides) for text in options.data]
    if options.overrides and all(request.recipe is None for request in requests):
        raise UsageError(
            "--set changes recipes that are rendered live, and --data names none; leave it out"
        )
    cached = options.cache_dir is not None or options.cache_bytes is not None
    if cached and not any(request.is_remote for request in requests):
        raise UsageError(
            "--cache-dir and --cache-bytes are for roots in object stores, and --data names none; "
            "leave them out"
        )
    out = options.out or options.checkpoint.parent / f"evaluation-{options.checkpoint.stem}"
    report = evaluate(options.checkpoint, requests, out, settings)
    _print_tables(report.results)
    for name, reason in report.results.holes.items():
        print(f"not evaluated: {name}: {reason}")
    made = report.num_sets - report.num_found
    found = f", {report.num_found} found" if report.num_found else ""
    print(f"{out}: {plural(made, 'set')} evaluated{found}, in {human_seconds(report.seconds)}")
    print(f"{out / RESULTS_NAME} and predictions-*.parquet hold every measure and every sample")
    print(f"{report.page} shows them")
    return _LOSSES if report.results.holes else 0


def run_compare(options: argparse.Namespace) -> int:
    """Compare evaluations; return the exit code.

    Raises:
        DreamshardsError: the extra `train` is not installed, or there is nothing to compare.
    """
    try:
        from evaluation.compare import load_runs
        from evaluation.report import write_comparison
        from evaluation.report.comparison import pareto_statements
        from evaluation.tables import summary_table
    except ImportError as error:
        raise extra_missing("evaluation", error) from error
    runs = load_runs(options.runs)
    print(summary_table(runs))
    for line in pareto_statements({run.model: run.summary() for run in runs}):
        print(line)
    if options.out is not None:
        print(write_comparison(options.out, [(run.model, run) for run in runs]))
    holes = [(run.model, name, reason) for run in runs for name, reason in run.holes.items()]
    for model, name, reason in holes:
        print(f"not evaluated: {model}, {name}: {reason}")
    return _LOSSES if holes else 0


def _settings(options: argparse.Namespace) -> Settings:
    from evaluation.measures.adversary import Attack
    from evaluation.tasks import Settings

    given = {
        "eps": options.pgd_eps,
        "steps": options.pgd_steps,
        "step": options.pgd_step,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    if not options.pgd and (changed or options.pgd_samples):
        raise UsageError("--no-pgd attacks nothing; leave out the other flags of PGD")
    return Settings(
        samples=options.samples,
        batch_size=options.batch_size,
        device=options.device,
        seed=options.seed,
        attack=Attack(**changed) if options.pgd else None,
        attacked=options.pgd_samples or 1000,
        published=options.published,
        cache_dir=options.cache_dir,
        cache_bytes=options.cache_bytes,
    )


def _print_tables(results: Results) -> None:
    """Print the summary beside the published numbers, and as those were measured where that differs."""
    from dataclasses import replace

    from evaluation.tables import summary_table

    rows = [results]
    if results.measures_published and not results.published:
        alike = results.as_published()
        if alike.summary() != results.summary():
            told = tuple(  # the other notes are those of the row above
                part if part.kind == "pgd" else replace(part, settings={}) for part in alike.sets
            )
            rows.append(replace(alike, model=f"{results.model}, as published", sets=told))
    print(summary_table(rows))


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(
            f"got {text!r}; allowed: a whole number, 0 or more, below 2^63"
        )
    return int(text)


def _share(text: str) -> float:
    try:
        top, slash, bottom = text.partition("/")
        value = float(Fraction(top) / Fraction(bottom)) if slash else float(text)
    except (ValueError, ZeroDivisionError):
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(
            f"got {text!r}; allowed: above 0 to 1, also as a fraction such as 2/255"
        )
    return value
