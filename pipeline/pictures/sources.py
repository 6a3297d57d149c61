"""The source text behind generated pictures, so that a cache never hides a change of a generator."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

_FOLDER = Path(__file__).parent
_PREFIX = "pipeline.pictures."


@functools.cache
def source_digest(*modules: str) -> str:
    """Return the hex SHA-256 of modules of `pipeline.pictures` and of all that they import from there.

    What does not decide pixels is left out: the cache, recipes, and whatever lies outside.
    """
    found: dict[str, bytes] = {}
    pending = list(modules)
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = (_FOLDER / f"{name}.py").read_bytes()
            pending += [other for other in _imported(found[name]) if other not in _PLUMBING]
    hashed = hashlib.sha256()
    for name in sorted(found):
        hashed.update(f"{name} {len(found[name])}\n".encode() + found[name])
    return hashed.hexdigest()


_PLUMBING = {"cache", "chunks", "picture_set", "sources"}


def _imported(source: bytes) -> Iterator[str]:
    """Yield the names of modules of `pipeline.pictures` that a source text imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            part = name.removeprefix(_PREFIX).split(".")[0]
            if name.startswith(_PREFIX) and (_FOLDER / f"{part}.py").is_file():
                yield part
