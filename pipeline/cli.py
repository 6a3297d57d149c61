"""The `dreamshards` command: arguments in, one calm report out, an exit code that tells the truth.

Exit codes: 0 complete, 1 failed, 2 wrong usage or recipe, 3 complete with recorded losses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from evaluation import cli as cli_evaluation
from pipeline import __version__, cli_care, cli_execution, cli_pictures
from pipeline.arguments import named_store, positive
from pipeline.errors import DreamshardsError, PassingFault, UsageError, nearest, printable
from training import cli as cli_training

if TYPE_CHECKING:
    from pipeline.build import BuildReport
    from pipeline.recipe import Recipe
    from pipeline.store import Store

_LOSSES = 3
_ZOOM = "pictures zoom"
_MAX_FAULTS_SHOWN = 20
_PICTURES_TO_ESTIMATE = 256


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:2] == ["pictures", "zoom"]:  # its flags are its own, yet it belongs there
        given[:2] = [_ZOOM]
    try:
        options, unknown = _parser().parse_known_args(given)
        if (
            unknown
        ):  # the sub-command left them to its parent, which cannot name the nearest right one
            _SUBPARSERS[options.command].error(f"unrecognized arguments: {' '.join(unknown)}")
        return _COMMANDS[options.command](options)
    except DreamshardsError as error:
        print(f"dreamshards: error: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(
            "dreamshards: interrupted; what is committed is kept; run the same command to go on",
            file=sys.stderr,
        )
        return 130


class _Parser(argparse.ArgumentParser):
    """argparse with our wording: the nearest right flag, and the command that explains."""

    def error(self, message: str) -> NoReturn:
        flags = [flag for action in self._actions for flag in action.option_strings]
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            wrong = message.removeprefix(prefix).split()[0]
            name = wrong.partition("=")[0]
            message = f"unknown argument {wrong!r}{nearest(name, flags)}"
        raise UsageError(f"{message}; see {self.prog} --help")


_SUBPARSERS: dict[str, _Parser] = {}


def _parser() -> _Parser:
    parser = _Parser(
        prog="dreamshards",
        description="Materialise PixMix-augmented epochs into WebDataset shards, and train from them.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"dreamshards {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, summary: str) -> _Parser:
        sub: _Parser = commands.add_parser(
            name, help=summary, description=summary, allow_abbrev=False
        )
        _SUBPARSERS[name] = sub
        return sub

    build = command("build", "build a recipe's shards, or go on with a build that was stopped")
    _add_recipe(build)
    build.add_argument(
        "--out",
        type=named_store,
        metavar="ROOT",
        help="folder or URI of the dataset (default: datasets/NAME)",
    )
    cli_execution.add_arguments(build)

    estimate = command("estimate", "render a few hundred samples and say what a build would cost")
    _add_recipe(estimate)
    estimate.add_argument(
        "--workers", type=positive, metavar="N", help="also show this many workers (default: 64)"
    )

    pictures = command(
        "pictures", "make a mixing set, show it, measure it; `pictures zoom`: film one"
    )
    cli_pictures.add_arguments(pictures)
    _add_set(
        pictures, "change a field of the recipe, or of the kind's section, such as shapes=circles"
    )
    cli_execution.add_arguments(pictures)

    zoom: _Parser = commands.add_parser(  # without `help`, so that it is not listed twice
        _ZOOM,
        prog="dreamshards pictures zoom",
        description="write an endless zoom into a fractal as a video",
        allow_abbrev=False,
    )
    _SUBPARSERS[_ZOOM] = zoom
    cli_pictures.add_zoom_arguments(zoom)

    train = command("train", "train a model from shards, or go on with a run that was stopped")
    cli_training.add_arguments(train)
    _add_set(train, "change a field of the configuration, such as optimizer.lr=0.05")

    evaluate = command(
        "evaluate", "measure a trained model on clean, corrupted, perturbed and foreign test sets"
    )
    cli_evaluation.add_arguments(evaluate)
    _add_set(evaluate, "change a field of each recipe that is rendered live, such as source.path")

    compare = command("compare", "put evaluations side by side")
    cli_evaluation.add_compare_arguments(compare)

    verify = command("verify", "check every byte of a dataset")
    _add_root(verify)
    verify.add_argument(
        "--replay",
        type=_fraction,
        default=0.0,
        metavar="FRACTION",
        help="also render this share of the samples again and compare, 0 to 1",
    )

    replay = command("replay", "render one sample again from its manifest row and compare")
    _add_root(replay)
    replay.add_argument("key", metavar="KEY", help="the sample's key, such as 0000-0000000012")
    replay.add_argument(
        "--save",
        type=_local_folder,
        metavar="DIR",
        help="write its clean, mixing and result pictures there",
    )

    preview = command("preview", "make a contact sheet and a page that show what was done")
    _add_root(preview)
    preview.add_argument(
        "--out",
        type=_local_folder,
        metavar="DIR",
        help="where to write (default: ROOT.preview, of a URI ./NAME.preview)",
    )
    preview.add_argument(
        "--samples",
        type=positive,
        metavar="N",
        help="sources shown (default: 12 pictures, or 4 clips)",
    )

    doctor = command("doctor", "try stores and the nodes of a cluster, and say what mends them")
    cli_care.add_doctor_arguments(doctor)

    gc = command("gc", "remove what killed builds left behind")
    gc.add_argument("root", type=named_store, metavar="ROOT", help="folder or URI of a dataset")
    cli_care.add_gc_arguments(gc)
    return parser


def _add_recipe(parser: _Parser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a preset's name or a YAML file")
    _add_set(parser, "change a field of the recipe, such as augmentation.k=3")


def _add_root(parser: _Parser) -> None:
    parser.add_argument(
        "root", type=named_store, metavar="ROOT", help="folder or URI of the dataset"
    )
    _add_set(parser, "where the inputs lie now, such as source.path=/data/train")


def _add_set(parser: _Parser, summary: str) -> None:
    parser.add_argument(
        "--set",
        dest="overrides",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help=summary,
    )


def _local_folder(text: str) -> Path:
    if "://" in text:
        scheme = text.partition("://")[0]
        raise argparse.ArgumentTypeError(f"got {scheme}://…; allowed: a local folder")
    return Path(text)


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: 0 to 1")
    return value


def _recipe(options: argparse.Namespace) -> Recipe:
    from pipeline.recipe import load_recipe

    return load_recipe(options.recipe, options.overrides)


# ── commands ──


def _build(options: argparse.Namespace) -> int:
    recipe = _recipe(options)
    from pipeline.build import build
    from pipeline.executor import GO_ON
    from pipeline.store import open_store

    root = options.out or open_store(Path("datasets", recipe.name))
    with cli_execution.executor(options, recipe) as executor:
        try:
            report = build(recipe, root, executor)
        except PassingFault as error:
            raise PassingFault(f"{error}; {GO_ON}") from error
    return _print_build(report, root)


def _print_build(report: BuildReport, root: Store) -> int:
    from pipeline.progress import human_bytes, human_seconds, plural

    dataset = report.dataset
    skipped = len(dataset["source"]["skipped"]) + len(
        (dataset["mixing_set"] or {}).get("skipped", [])
    )
    print(
        f"{root}: complete; {plural(dataset['epochs'], 'epoch')} × "
        f"{plural(dataset['samples_per_epoch'], 'sample')} in "
        f"{plural(report.num_shards, 'shard')}, {human_bytes(dataset['bytes'])}"
    )
    print(f"digest {dataset['digest']}")
    if report.num_built:
        start_up, kernels = map(human_seconds, (report.start_up_seconds, report.kernel_seconds))
        print(
            f"made {report.num_samples:,} samples in {human_seconds(report.seconds)} "
            f"({report.num_samples / report.seconds:,.0f}/s) after {start_up} of start-up "
            f"({kernels} for kernels); {plural(report.num_found, 'shard')} found; "
            f"peak memory of a worker {human_bytes(report.peak_memory_bytes)}"
        )
    else:
        print("nothing was left to do")
    if skipped:
        print(f"skipped {plural(skipped, 'unreadable input')}; {root}/dataset.json lists them")
    lost = dataset.get("losses", [])
    if lost:
        print(
            f"lost {plural(len(lost), 'sample')} that kill the process that renders them, such as "
            f"{lost[0]['key']} of {lost[0]['source_id']}; {root}/dataset.json lists them"
        )
    print(f"next: dreamshards verify {root} --replay 0.01")
    print(f"      dreamshards preview {root}")
    return _LOSSES if skipped or lost else 0


def _estimate(options: argparse.Namespace) -> int:
    from pipeline.estimate import estimate
    from pipeline.executor import InlineExecutor

    recipe = _recipe(options)
    pictures = recipe.mixing_set
    if pictures is not None and pictures.count is not None:  # a sample costs the same with fewer
        fewer = pictures.model_copy(update={"count": min(pictures.count, _PICTURES_TO_ESTIMATE)})
        recipe = recipe.model_copy(update={"mixing_set": fewer})
    for line in estimate(recipe, InlineExecutor(), options.workers or 64):
        print(line)
    return 0


def _pictures(options: argparse.Namespace) -> int:
    with cli_execution.executor(options) as executor:
        return cli_pictures.run(options, executor)


def _verify(options: argparse.Namespace) -> int:
    from pipeline.executor import InlineExecutor
    from pipeline.progress import plural
    from pipeline.shards.layout import RECIPE_NAME
    from pipeline.verify import verify

    report = verify(options.root, options.replay, options.overrides, InlineExecutor())
    for _, faults in groupby(report.faults, key=lambda fault: fault.file):
        of_file = list(faults)
        for fault in of_file[:_MAX_FAULTS_SHOWN]:
            print(fault)
        if len(of_file) > _MAX_FAULTS_SHOWN:
            more = plural(len(of_file) - _MAX_FAULTS_SHOWN, "more fault")
            print(f"{of_file[0].file}: … and {more}")
    if report.faults:
        advice = "remove the files named and dataset.json, then run the same build command"
        if any(fault.file == RECIPE_NAME for fault in report.faults):
            advice = f"remove {RECIPE_NAME}, run the same build command, then verify again"
        count = plural(len(report.faults), "fault")
        raise DreamshardsError(
            f"{options.root}: {count}; {advice}: only what is missing is made anew"
        )
    replayed = f", {report.num_replayed:,} of them rendered again" if report.num_replayed else ""
    shards = plural(report.num_shards, "shard")
    print(
        f"{options.root}: {plural(report.num_samples, 'sample')} in {shards} as written{replayed}"
    )
    return 0


def _replay(options: argparse.Namespace) -> int:
    from pipeline.executor import InlineExecutor
    from pipeline.replay import replay

    for line in replay(
        options.root, options.key, options.save, options.overrides, InlineExecutor()
    ):
        print(line)
    return 0


def _preview(options: argparse.Namespace) -> int:
    from pipeline.executor import InlineExecutor
    from pipeline.preview import preview

    out = options.out or _beside(options.root, ".preview")
    for path in preview(options.root, out, options.samples, options.overrides, InlineExecutor()):
        print(path)
    return 0


def _beside(root: Store, suffix: str) -> Path:
    """Return a folder named after a root: beside a folder, in the working folder for a URI."""
    from pipeline.store import LocalStore

    if isinstance(root, LocalStore):
        return root.folder.with_name(root.folder.name + suffix)
    return Path(Path(str(root)).name + suffix)


_COMMANDS = {
    "build": _build,
    "estimate": _estimate,
    "pictures": _pictures,
    _ZOOM: cli_pictures.run_zoom,
    "train": cli_training.run,
    "evaluate": cli_evaluation.run,
    "compare": cli_evaluation.run_compare,
    "verify": _verify,
    "replay": _replay,
    "preview": _preview,
    "doctor": cli_care.run_doctor,
    "gc": cli_care.run_gc,
}

if __name__ == "__main__":
    sys.exit(main())
