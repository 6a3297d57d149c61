"""What every section shares: sides that take turns, rows that compare two of them, one table.

A side is a callable that works for a while and returns its rate in samples/s. Ratios are taken round by
round, so that a machine whose speed drifts slows both sides of each.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import NamedTuple

Side = Callable[[], float]
Rates = dict[str, list[float]]

_PACKAGES = ("numba", "numpy", "pillow", "pyarrow", "ray", "simplejpeg", "torch", "webdataset")
_HEAD = ("what", "ours /s", "peer", "peer /s", "ours / peer", "target", "")


class Spread(NamedTuple):
    """The median of some rounds, with the smallest and the largest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


class Pair(NamedTuple):
    """Two sides to compare. `target` is the least ratio that passes; None where none is set."""

    what: str
    ours: str
    peer: str
    target: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table; `why` says why a row has no figures."""

    what: str
    peer: str
    target: float | None
    ours_rate: Spread | None = None
    peer_rate: Spread | None = None
    ratio: Spread | None = None
    why: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the median ratio reaches the target; None without a target or a figure."""
        if self.ratio is None or self.target is None:
            return None
        return self.ratio.median >= self.target

    @property
    def verdict(self) -> str:
        """`pass`, `FAIL`, nothing where no target is set, or why there is no figure."""
        if self.ratio is None:
            return f"— not measured: {self.why}"
        return {True: "pass", False: "FAIL", None: ""}[self.passed]


def alternate(sides: Mapping[str, Side], rounds: int, *, warm: bool = True) -> Rates:
    """Let sides take turns, each second round backwards; first run each once unmeasured if to `warm` them."""
    if warm:
        for run in sides.values():
            run()  # compiles, loads, fills caches
    rates: Rates = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            rates[name].append(sides[name]())
    return rates


def compare(pairs: Sequence[Pair], rates: Rates, missing: Mapping[str, str]) -> list[Row]:
    """Return a row for each pair; `missing` says why sides have no rates."""
    rows = []
    for pair in pairs:
        absent = [name for name in (pair.ours, pair.peer) if name in missing]
        ours, theirs = rates.get(pair.ours), rates.get(pair.peer)
        row = Row(
            pair.what,
            pair.peer,
            pair.target,
            ours_rate=Spread.of(ours) if ours else None,
            peer_rate=Spread.of(theirs) if theirs else None,
            ratio=None if absent else ratio_of(rates[pair.ours], rates[pair.peer]),
            why=missing[absent[0]] if absent else "",
        )
        rows.append(row)
    return rows


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the ratios of rates paired by round."""
    return Spread.of([one / other for one, other in zip(ours, theirs, strict=True)])


# ── the table ──


def table(rows: Sequence[Row], markdown: bool = False) -> str:
    """Return the rows as aligned plain text, or as a Markdown table."""
    cells = [_HEAD, *map(_cells, rows)]
    if markdown:
        lines = [f"| {' | '.join(line)} |" for line in cells]
        return "\n".join([lines[0], "|" + "---|" * len(_HEAD), *lines[1:]])
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    padded = (
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in cells
    )
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.what,
        _rate(row.ours_rate),
        row.peer,
        _rate(row.peer_rate),
        "" if row.ratio is None else "{:.2f} [{:.2f}, {:.2f}]".format(*row.ratio),
        "" if row.target is None else f"≥ {row.target:g}",
        row.verdict,
    )


def _rate(rate: Spread | None) -> str:
    return "" if rate is None else "{:,.0f} [{:,.0f}, {:,.0f}]".format(*rate)


# ── where it was measured ──


def machine(rounds: int, peers: Mapping[str, str] | None) -> str:
    """Return what a figure depends on: date, processor, Python and packages, ours and the peers'."""
    ours = {"python": platform.python_version(), **_installed()}
    lines = [
        f"{date.today():%d %B %Y}, {_processor()}, {os.cpu_count()} cores, {rounds} rounds",
        f"ours:  {_listed(ours)}",
    ]
    if peers:
        lines.append(f"peers: {_listed(peers)}")
    return "\n".join(lines)


def _listed(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in packages.items())


def _installed() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
