"""A line on stderr every few seconds, for work done before the build's own progress starts."""

from __future__ import annotations

import sys
import time


class Progress:
    """Prints `label: done of total unit` every `interval_s` seconds; short work prints nothing."""

    def __init__(
        self, label: str, total: int | None, unit: str, *, interval_s: float = 5.0
    ) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._interval_s = interval_s
        self._next_s = time.monotonic() + interval_s

    def show(self, done: int) -> None:
        """Print how far the work is, if it is time to."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._interval_s
        total = "" if self._total is None else f" of {self._total:,}"
        print(f"{self._label}: {done:,}{total} {self._unit}", file=sys.stderr, flush=True)
