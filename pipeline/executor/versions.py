"""What of this code and of the packages that decide bytes is installed where; compared between nodes."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from pipeline import __version__

_PACKAGES = ("numpy", "numba", "pillow", "pyarrow", "simplejpeg", "scipy", "av")
"""Beside this code, what renders, encodes and writes samples."""

ABSENT = "absent"


@lru_cache(maxsize=1)
def installed() -> dict[str, str]:
    """Return the versions of this process by package; `dreamshards` has a digest of its source beside it."""
    found = {
        "dreamshards": f"{__version__} (source {source_digest()})",
        "python": ".".join(map(str, sys.version_info[:2])),
    }
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ABSENT
    return found


def source_digest() -> str:
    """Return 8 hex digits that change with any line of the `pipeline` package."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:8]


def differing(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """Return how a node differs from here, such as `numpy 2.1.0, here 2.2.0`; empty if it does not."""
    return ", ".join(
        f"{name} {theirs.get(name, ABSENT)}, here {version}"
        for name, version in ours.items()
        if theirs.get(name, ABSENT) != version
    )
