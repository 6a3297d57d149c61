"""Types of command-line arguments that several commands take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pipeline.errors import DreamshardsError

if TYPE_CHECKING:
    from pipeline.store import Store


def positive(text: str) -> int:
    """Return a whole number from 1.

    Raises:
        argparse.ArgumentTypeError: the text is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a whole number, 1 or more")
    return int(text)


def named_store(text: str) -> Store:
    """Return the store that a folder or URI names.

    Raises:
        argparse.ArgumentTypeError: there is no such kind of store.
    """
    from pipeline.store import open_store

    try:
        return open_store(text)
    except DreamshardsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
