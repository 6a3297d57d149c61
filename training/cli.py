"""`dreamshards train` and `python -m training`: arguments in, a trained model out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING

from pipeline.errors import extra_missing
from pipeline.progress import human_seconds, plural

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.loop import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, apart from --set."""
    parser.add_argument("config", metavar="CONFIG", help="a preset's name or a YAML file")
    parser.add_argument(
        "--data", metavar="ROOT", help="what to train on: a root, with --live also a recipe"
    )
    parser.add_argument("--test", metavar="ROOT", help="what to test with after each epoch")
    parser.add_argument(
        "--live", action="store_true", help="render the epochs while training, not from shards"
    )
    parser.add_argument(
        "--weights", metavar="NAME", help="weights to begin with: torchvision's name or a file"
    )
    parser.add_argument(
        "--keep-best", action="store_true", help="also keep the model of the lowest test error"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the run (default: runs/NAME)"
    )


def run(options: argparse.Namespace) -> int:
    """Train as the arguments say; return the exit code.

    Raises:
        DreamshardsError: the extra `train` is not installed, or what training raises.
    """
    from training.config import load_config

    given = {
        "data.train": options.data,
        "data.test": options.test,
        "data.live": options.live or None,
        "model.weights": options.weights,
        "save.keep_best": options.keep_best or None,
    }
    flags = [f"{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    config = load_config(options.config, [*options.overrides, *flags])
    out = options.out or Path("runs") / config.name
    try:
        from training.loop import train
    except ImportError as error:
        raise extra_missing("training", error) from error
    report = train(config, out)
    return _print(report, config, out) if report.is_first else 0


def _print(report: Report, config: TrainConfig, out: Path) -> int:
    progress = report.progress
    for name in report.fresh:
        print(f"{name}: not in {config.model.weights}, or of another size; began at random")
    if report.signal is not None:
        print(
            f"dreamshards: stopped by {Signals(report.signal).name} after "
            f"{plural(progress.step, 'step')}; saved in {out}; run the same command to go on",
            file=sys.stderr,
        )
        return 128 + report.signal
    row = progress.history[-1]
    print(f"{out}: complete; {plural(config.epochs, 'epoch')}, {plural(progress.step, 'step')}")
    test = ""
    if progress.best_error is not None:
        test = (
            f"; test error {100 * row['test_error']:.2f}%, "
            f"lowest {100 * progress.best_error:.2f}% in epoch {progress.best_epoch}"
        )
    print(f"train loss {row['train_loss']:.4f}, error {100 * row['train_error']:.2f}%{test}")
    if report.num_steps == 0:
        print("nothing was left to do")
    else:
        seconds = sum(past["seconds"] for past in progress.history)
        waited = sum(past["seconds"] * past["data_wait"] for past in progress.history)
        print(
            f"took {human_seconds(report.seconds)} for {plural(report.num_steps, 'step')}; "
            f"{row['samples_per_s']:,.0f} samples/s; "
            f"waited for data {100 * waited / max(seconds, 1e-9):.2f}% of the training time"
        )
    print(f"{out}/last.pt is the model; log.csv and curves.png show how it learned")
    if config.save.tensorboard:
        print(f"next: tensorboard --logdir {out}")
    return 0
