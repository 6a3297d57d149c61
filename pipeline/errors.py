"""The errors a user sees. A message says what, where, what was found, what is allowed, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DreamshardsError(Exception):
    """A failure the user can act on; the command line prints its message alone and exits with `exit_code`."""

    exit_code = 1


class UsageError(DreamshardsError):
    """A wrong command line or recipe, found before any work was done."""

    exit_code = 2


class PassingFault(DreamshardsError):  # noqa: N818 - it is what it is
    """A failure that may be gone later or on another node: a store out of reach, a full disk."""


class UnreadableFile(DreamshardsError):  # noqa: N818 - it is what the file is
    """A file that cannot be read as what it should be.

    Attributes:
        reason: one line, the same on every machine, without its name.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the allowed name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def printable(text: str) -> str:
    """Return a text in which control characters, of a file's name perhaps, command no terminal."""
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode()
        for each in text
    )


def extra_missing(work: str, error: ImportError) -> DreamshardsError:
    """Return the error that `work` needs what the extra `train` installs."""
    package = (error.name or "torch").partition(".")[0]
    return DreamshardsError(
        f"{work} needs {package}, which the base install leaves out; install dreamshards[train]"
    )
