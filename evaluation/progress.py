"""What an evaluation shows on stderr: one live line on a terminal, else a line now and then."""

from __future__ import annotations

import time

from typing_extensions import Self

from pipeline.progress import LiveLine, human_seconds

_PLAIN_INTERVAL_S = 10.0


class EvaluationProgress:
    """Pictures through the network, their rate and the time left; a context manager.

    A frame counts as a picture, and so does each step of an attack on one three times.
    """

    def __init__(self, total: int) -> None:
        self._total, self._done, self._fresh = max(total, 1), 0, 0
        self._begun = self._last_line = time.monotonic()
        self._line = LiveLine(self._total, bar_width=20)

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
        if self._line.is_live:
            self._line.update(self._done, label, tail)
            return
        now = time.monotonic()
        if now - self._last_line >= _PLAIN_INTERVAL_S:
            self._last_line = now
            self._line.print(f"{label}  {tail}")

    def __enter__(self) -> Self:
        self._line.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._line.__exit__(*error)
