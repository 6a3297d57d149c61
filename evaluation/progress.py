"""What an evaluation shows on stderr: one live line on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from typing_extensions import Self

from pipeline.progress import human_seconds

_PLAIN_INTERVAL_S = 10.0


class EvaluationProgress:
    """Pictures through the network, their rate and the time left; a context manager.

    A frame counts as a picture, and so does each step of an attack on one three times.
    """

    def __init__(self, total: int) -> None:
        self._total, self._done, self._fresh = max(total, 1), 0, 0
        self._begun = self._last_line = time.monotonic()
        self._live: Progress | None = None
        console = Console(stderr=True)
        if console.is_terminal:
            self._live = Progress(
                TextColumn("{task.fields[head]}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[tail]}"),
                console=console,
            )
            self._task = self._live.add_task("", total=self._total, head="", tail="")

    def found(self, pictures: int) -> None:
        """Count pictures that an earlier run had done; rates are of this one alone."""
        self._done += pictures

    def advance(self, label: str, pictures: int) -> None:
        """Count pictures of this run; `label` says what they are of."""
        self._done += pictures
        self._fresh += pictures
        rate = self._fresh / max(time.monotonic() - self._begun, 1e-9)
        left = human_seconds((self._total - self._done) / rate)
        tail = f"{self._done:,}/{self._total:,} pictures  {rate:,.0f}/s  ETA {left}"
        if self._live is not None:
            self._live.update(self._task, completed=self._done, head=label, tail=tail)
            return
        now = time.monotonic()
        if now - self._last_line >= _PLAIN_INTERVAL_S:
            self._last_line = now
            print(f"{label}  {tail}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()
