"""One calm progress line for long work, on stderr: live on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from typing_extensions import Self

_PLAIN_INTERVAL_S = 10.0


def human_bytes(count: float) -> str:
    """Return a size in decimal units: 999 B, 1.5 kB, 2.3 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if count < 999.5 or unit == "PB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: 1 shard, 1,200 shards."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def human_seconds(seconds: float) -> str:
    """Return a duration: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class PlainProgress:
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


class LiveLine:
    """A bar between two texts, drawn again in place; a context manager. Off a terminal it is nothing."""

    def __init__(self, total: int, *, bar_width: int = 40, shown: bool = True) -> None:
        self._live: Progress | None = None
        console = Console(stderr=True)
        if shown and console.is_terminal:
            self._live = Progress(
                TextColumn("{task.fields[head]}"),
                BarColumn(bar_width=bar_width),
                TextColumn("{task.fields[tail]}"),
                console=console,
            )
            self._task = self._live.add_task("", total=total, head="", tail="")

    @property
    def is_live(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self._live is not None

    def update(self, completed: int, head: str, tail: str) -> None:
        """Draw the line."""
        if self._live is not None:
            self._live.update(self._task, completed=completed, head=head, tail=tail)

    def print(self, text: str) -> None:
        """Print a line that stays, on a terminal above the live one."""
        if self._live is not None:
            self._live.console.print(text, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()


class ShardProgress:
    """Shards, samples per second, bytes and time left, of a build or a check; a context manager.

    Off a terminal, work shorter than some seconds prints nothing.
    """

    def __init__(self, total_shards: int, total_samples: int, done_shards: int = 0) -> None:
        """Count from `done_shards` that an earlier run committed; rates are of this run alone."""
        self.total_shards, self.total_samples = total_shards, total_samples
        self.done_shards, self.samples, self.bytes = done_shards, 0, 0
        self._begun = self._last_line = time.monotonic()
        self._line = LiveLine(total_shards)
        self._line.update(0, *self._texts())

    def advance(self, samples: int, size_bytes: int) -> None:
        """Count one more shard of this run."""
        self.done_shards += 1
        self.samples += samples
        self.bytes += size_bytes
        self._show()

    def _show(self) -> None:
        head, tail = self._texts()
        if self._line.is_live:
            self._line.update(self.done_shards, head, tail)
            return
        now = time.monotonic()
        if now - self._last_line >= _PLAIN_INTERVAL_S:
            self._last_line = now
            self._line.print(f"{head}  {tail}")

    def _texts(self) -> tuple[str, str]:
        elapsed = max(time.monotonic() - self._begun, 1e-9)
        rate = self.samples / elapsed
        head = f"shards {self.done_shards:,}/{self.total_shards:,}"
        left = self.total_samples - self.samples
        eta = human_seconds(left / rate) if rate else "-"
        tail = f"{rate:,.0f} samples/s  {human_bytes(self.bytes)}  ETA {eta}"
        return head, tail

    def __enter__(self) -> Self:
        self._line.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._line.__exit__(*error)
