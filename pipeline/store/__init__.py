"""Where roots, sources and mixing sets lie: a local folder, or below a URI of an object store.

One interface for both, `Store`: whole objects, ranges, listings, and writing that shows an object under its
name only once it is whole. Knows nothing of what is in the objects.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import DreamshardsError
from pipeline.store.base import (
    Entry,
    Leftover,
    MissingObjectError,
    SpoolError,
    Store,
    StoreError,
    UnreachableError,
    Writing,
    stays_below,
)
from pipeline.store.local import LocalStore
from pipeline.store.remote import RemoteStore
from pipeline.store.settings import StoreSettings, public_text, with_settings

__all__ = [
    "Entry",
    "Leftover",
    "LocalStore",
    "MissingObjectError",
    "RemoteStore",
    "Root",
    "SpoolError",
    "Store",
    "StoreError",
    "StoreSettings",
    "UnreachableError",
    "Writing",
    "is_uri",
    "names_in",
    "open_file",
    "open_input",
    "open_store",
    "stays_below",
    "with_settings",
]

Root = str | os.PathLike[str] | Store
"""What names a root: a path, a URI or a store."""

_OF_ARROW = ("gs", "gcs", "abfs", "abfss", "hdfs")


def is_uri(text: str) -> bool:
    """Tell whether a text is a URI and not a path."""
    return "://" in text


def open_store(root: Root) -> Store:
    """Return the store of a path or URI. Nothing is read, and no folder made.

    Raises:
        DreamshardsError: the scheme of a URI is not supported, it has no bucket, or an option is wrong.
    """
    if isinstance(root, Store):
        return root
    text = os.fspath(root)
    if isinstance(root, os.PathLike) or not is_uri(text):
        return LocalStore(Path(text))
    parts = urlsplit(text)
    if parts.scheme == "file":
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme not in ("s3", *_OF_ARROW):
        raise DreamshardsError(
            f"{parts.scheme}://…: no such kind of store; allowed: a path, or a URI of "
            "file, s3, gs, abfs or hdfs"
        )
    if not parts.netloc.rpartition("@")[2]:
        raise DreamshardsError(
            f"{public_text(text)}: no bucket; allowed: {parts.scheme}://BUCKET/…"
        )
    if parts.scheme == "s3":  # their clients take a while to import
        from pipeline.store.s3 import S3Store

        return S3Store(text)
    from pipeline.store.arrow import ArrowStore

    return ArrowStore(text)


def open_input(path: str) -> Store:
    """Return the store that a recipe's path or URI names; a folder is made absolute, `~` the user's own.

    Raises:
        DreamshardsError: the scheme of a URI is not supported.
    """
    store = open_store(path)
    return (
        LocalStore(store.folder.expanduser()).absolute() if isinstance(store, LocalStore) else store
    )


def open_file(path: str) -> tuple[Store, str]:
    """Return the store and the name of the one file that a recipe's path or URI names; as `open_input`.

    Raises:
        DreamshardsError: the scheme of a URI is not supported.
    """
    if not is_uri(path):
        file = Path(path)
        return open_input(str(file.parent)), file.name
    parts = urlsplit(path)
    folder, _, name = parts.path.rstrip("/").rpartition("/")
    return open_input(parts._replace(path=f"{folder}/").geturl()), unquote(name)


def names_in(store: Store) -> list[str]:
    """Return names directly in a store, for advice: of an object store those of its first 1,000 objects."""
    if isinstance(store, LocalStore):
        folder = store.folder
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [entry.path for entry in islice(store.entries(), 1000) if "/" not in entry.path]
