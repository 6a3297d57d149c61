"""What a run shows on stderr: one live line on a terminal, and a line for each finished epoch."""

from __future__ import annotations

import time

from typing_extensions import Self

from pipeline.progress import LiveLine, human_seconds
from training.log import Row
from training.meter import Meter

_PLAIN_INTERVAL_S = 60.0


class TrainProgress:
    """Loss, error, samples/s, share of waiting and time left of a run; a context manager.

    Off a terminal a long epoch prints a line a minute. A rank other than the first shows nothing.
    """

    def __init__(self, num_epochs: int, steps_per_epoch: int, shown: bool) -> None:
        self._num_epochs, self._steps_per_epoch = num_epochs, steps_per_epoch
        self._shown, self._last_line = shown, time.monotonic()
        self._line = LiveLine(steps_per_epoch, bar_width=20, shown=shown)

    def show(self, epoch: int, step: int, meter: Meter) -> None:
        """Show how far an epoch is: `step` of its steps are done."""
        if not self._shown:
            return
        head = f"epoch {epoch + 1}/{self._num_epochs}"
        left = (self._num_epochs - epoch) * self._steps_per_epoch - step
        remaining = human_seconds(left * meter.seconds / max(step, 1))
        tail = (
            f"{step:,}/{self._steps_per_epoch:,}  loss {meter.mean_loss:.3f}  "
            f"accuracy {100 * (1 - meter.error):.1f}%  {meter.rate:,.0f} samples/s  "
            f"waiting {100 * meter.wait_share:.1f}%  ETA {remaining}"
        )
        if self._line.is_live:
            self._line.update(step, head, tail)
        elif time.monotonic() - self._last_line >= _PLAIN_INTERVAL_S:
            self._print(f"{head}  {tail}")

    def finished(self, row: Row) -> None:
        """Print the line of a finished epoch."""
        if not self._shown:
            return
        test = ""
        if row["test_error"] is not None:
            test = f"  test loss {row['test_loss']:.3f}  error {100 * row['test_error']:.2f}%"
        self._print(
            f"epoch {row['epoch']:>{len(str(self._num_epochs))}}/{self._num_epochs}  "
            f"loss {row['train_loss']:.3f}  error {100 * row['train_error']:.2f}%{test}  "
            f"{row['samples_per_s']:,.0f} samples/s  waiting {100 * row['data_wait']:.2f}%  "
            f"{human_seconds(row['seconds'])}"
        )

    def _print(self, line: str) -> None:
        self._last_line = time.monotonic()
        self._line.print(line)

    def __enter__(self) -> Self:
        self._line.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._line.__exit__(*error)
