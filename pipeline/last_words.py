"""A line that is printed should this process end without having told how: killed, or ended by a library."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_WAITS = """trap '' INT TERM HUP QUIT
read -r _ && exit
[ -t 2 ] && echo >&2  # a line of progress may stand there
printf '%s\\n' "$0" >&2
"""
"""A shell's end of a pipe: a line through it means that all is told, its end without one that all is over."""


@contextmanager
def last_words(line: str) -> Iterator[None]:
    """Have `line` printed to the standard error if this process dies within the block, of whatever cause.

    Leaving the block in any way of Python's, by an exception too, is no death.
    """
    shell = subprocess.Popen(
        ["/bin/sh", "-c", _WAITS, line],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with suppress(BrokenPipeError):  # somebody killed it first
            shell.communicate(b"\n")
