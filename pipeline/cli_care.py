"""The `doctor` and `gc` commands: what is wrong with a store or a cluster, what killed builds left behind."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.garbage import Garbage

_MAX_SHOWN = 20
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_gc_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `gc` takes beyond its root."""
    parser.add_argument(
        "--older-than",
        type=duration,
        default=3600.0,
        metavar="AGE",
        help="leave alone what is younger, as builds may be at work: 90s, 30m, 1h, 2d (default: 1h)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be removed, remove nothing"
    )


def add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `doctor` takes."""
    parser.add_argument(
        "roots", nargs="*", metavar="URI|PATH", help="folders or URIs to write to and read from"
    )
    parser.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="of a running Ray cluster, whose nodes are looked at too",
    )


def duration(text: str) -> float:
    """Return a duration in seconds.

    Raises:
        argparse.ArgumentTypeError: the text is none.
    """
    found = re.fullmatch(r"([0-9]+)([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: 90s, 30m, 1h, 2d or the like")
    return float(found[1]) * _UNITS_S[found[2]]


def run_gc(options: argparse.Namespace) -> int:
    """Remove what killed builds left; say what and how much."""
    from pipeline.garbage import collect
    from pipeline.progress import human_seconds, plural

    counts: Counter[str] = Counter()
    for found in collect(options.root, options.older_than, dry_run=options.dry_run):
        kind = "kept" if found.kept else found.what
        counts[kind] += 1
        if not found.kept and counts[kind] <= _MAX_SHOWN:
            print(_line(found, options.dry_run))
        elif not found.kept and counts[kind] == _MAX_SHOWN + 1:
            print(f"… and more that is {found.what}")
    verb = "would be removed" if options.dry_run else "removed"
    parts = [f"{plural(counts['half-written'], 'half-written object')} {verb}"]
    if counts["not listed"]:
        parts.append(f"{plural(counts['not listed'], 'object')} that dataset.json lacks {verb}")
    if counts["kept"]:
        age = human_seconds(options.older_than)
        parts.append(f"{counts['kept']:,} younger than {age} kept")
    print(f"{options.root}: {', '.join(parts)}")
    return 0


def _line(found: Garbage, dry_run: bool) -> str:
    from pipeline.progress import human_seconds

    verb = "would remove" if dry_run else "removed"
    return f"{verb} {found.path}, {found.what}, {human_seconds(found.age_s)} old"


def run_doctor(options: argparse.Namespace) -> int:
    """Look at each store and the cluster; 1 if anything failed."""
    from pipeline.doctor import examine

    failed = 0
    for line in examine(options.roots, options.ray_address):
        print(line, flush=True)
        failed += line.is_failed
    if failed:
        print(f"{failed} failed")
    return 1 if failed else 0
