"""What a run leaves to look at: log.csv, TensorBoard's events, and the curves as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.publish import publish, publish_bytes
from training.meter import Meter, Outcome

CSV_NAME, CURVES_NAME, EVENTS_NAME = "log.csv", "curves.png", "tensorboard"
COLUMNS = (
    "epoch",
    "step",
    "lr",
    "train_loss",
    "train_error",
    "test_loss",
    "test_error",
    "samples_per_s",
    "data_wait",
    "seconds",
)
"""Errors and `data_wait`, the share of the time spent waiting for data, are 0 to 1; `epoch` counts from 1."""

Row = dict[str, Any]
_MAX_PICTURES = 32


def log_row(epoch: int, step: int, lr: float, training: Meter, test: Outcome | None) -> Row:
    """Return the row of a finished epoch; the columns of a test are None where there was none."""
    return {
        "epoch": epoch + 1,
        "step": step,
        "lr": lr,
        "train_loss": training.mean_loss,
        "train_error": training.error,
        "test_loss": None if test is None else test.mean_loss,
        "test_error": None if test is None else test.error,
        "samples_per_s": training.rate,
        "data_wait": training.wait_share,
        "seconds": training.seconds,
    }


def write_csv(out: Path, history: Sequence[Row]) -> None:
    """Write log.csv, whole each time: a run that went on has each epoch once."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in history:
        values = [row[name] for name in COLUMNS]
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])
    publish_bytes(out / CSV_NAME, text.getvalue().encode())


def draw_curves(out: Path, history: Sequence[Row], title: str) -> None:
    """Draw loss and error over the epochs into curves.png."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    for axes, measure, unit, scale in zip(
        figure.subplots(1, 2), ("loss", "error"), ("loss", "error, %"), (1, 100), strict=True
    ):
        for part, colour in (("train", "tab:blue"), ("test", "tab:orange")):
            name = f"{part}_{measure}"
            points = [(row["epoch"], scale * row[name]) for row in history if row[name] is not None]
            if points:
                marker = "o" if len(points) < 30 else ""
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, ms=3, label=part)
                axes.annotate(
                    f"{points[-1][1]:.3g}",
                    points[-1],
                    xytext=(4, 0),
                    textcoords="offset points",
                    color=colour,
                    fontsize=8,
                )
        axes.set(xlabel="epoch", ylabel=unit)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.12)  # room for the last values
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    with publish(out / CURVES_NAME) as file:
        figure.savefig(file, format="png", metadata={"Software": None})


class Events:
    """TensorBoard's events of a run; with no folder, none are written."""

    def __init__(self, folder: Path | None, step: int) -> None:
        """Go on at `step`; what an earlier process wrote past it is no longer shown."""
        self._writer: Any = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=step)

    def scalars(self, step: int, values: dict[str, float | None]) -> None:
        """Write some values of a step; those that are None are left out."""
        if self._writer is not None:
            for name, value in values.items():
                if value is not None:
                    self._writer.add_scalar(name, value, step)

    def pictures(self, step: int, images: torch.Tensor) -> None:
        """Write the first pictures of a batch, uint8 [B, H, W, 3]; of clips the frames in their middle."""
        if self._writer is None:
            return
        from torchvision.utils import make_grid

        shown = images[:_MAX_PICTURES]
        if shown.ndim == 5:
            shown = shown[:, shown.shape[1] // 2]
        grid = make_grid(shown.permute(0, 3, 1, 2), nrow=8, padding=2, pad_value=255)
        self._writer.add_image("train/batch", grid, step)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
