"""Small runs: a network of 80,000 weights on digits, seconds an epoch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from training.config import TrainConfig, load_config

SMALL = (
    "epochs=2",
    "batch_size=64",
    "model.dropout=0.3",
    "hardware.device=cpu",
    "save.tensorboard=false",
)
STEPS = 6
"""Of an epoch of 384 digits with `SMALL`."""


def small_config(train: Path | str, test: Path | str | None, *overrides: str) -> TrainConfig:
    """Return the digits preset with `SMALL` and some overrides."""
    places = [f"data.train={train}", f"data.test={test or 'null'}"]
    return load_config("digits", [*SMALL, *places, *overrides])


def command(train: Path, test: Path | None, out: Path, *overrides: str) -> list[str]:
    """Return the command for the same run."""
    places = [f"data.train={train}", f"data.test={test or 'null'}"]
    words = [sys.executable, "-m", "training", "digits", "--out", str(out)]
    return [*words, "--set", *SMALL, *places, *overrides]


def run_command(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command from the project's root and return what it said."""
    settings: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 300}
    return subprocess.run(words, check=False, cwd=project(), **(settings | options))


def project() -> Path:
    """Return the project's root."""
    return Path(__file__).parents[1]


def one_thread() -> dict[str, str]:
    """Return an environment in which torch computes with one thread, as under torchrun."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def same_weights(first: Path, second: Path) -> bool:
    """Tell whether two checkpoints hold the same network, optimiser and log, bit for bit."""
    one, other = (torch.load(path, weights_only=True) for path in (first, second))
    for name in ("model", "optimizer"):
        if _bits(one[name]) != _bits(other[name]):
            return False
    columns = ("epoch", "step", "lr", "train_loss", "train_error", "test_loss", "test_error")
    rows = [
        [[row[name] for name in columns] for row in content["progress"]["history"]]
        for content in (one, other)
    ]
    return rows[0] == rows[1]


def _bits(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: _bits(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_bits(inner) for inner in value]
    return value
