"""Where prepared inputs are kept between runs: mixing sets, scans of image folders.

Entries are named by a hash of their content or of what makes it, written whole or not at all, and may be
deleted at any time.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(part: str) -> Path:
    """Return the folder for one kind of entry: below $DREAMSHARDS_CACHE, else the user's cache folder."""
    named = os.environ.get("DREAMSHARDS_CACHE")
    if named:
        return Path(named) / part
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dreamshards" / part
