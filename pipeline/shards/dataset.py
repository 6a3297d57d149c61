"""A root's two JSON files: recipe.json, its identity from the start; dataset.json, proof of completion."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.errors import DreamshardsError
from pipeline.shards.layout import DATASET_NAME, FORMAT_VERSION, RECIPE_NAME
from pipeline.store import (
    LocalStore,
    MissingObjectError,
    Root,
    StoreError,
    UnreachableError,
    open_store,
)

Json = dict[str, Any]
Rows = Callable[[], Iterator[Json]]
"""Makes the rows of a long table, each time it is asked, one after another."""


def canonical(content: Json) -> bytes:
    """Return JSON with sorted keys and no spaces: equal content, equal bytes."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(content: Json) -> str:
    """Return the hex SHA-256 of `content` without its own `digest`."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(canonical(rest)).hexdigest()


def _text(content: Json) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def write_table_sealed(root: Root, name: str, content: Json, key: str, rows: Rows) -> str:
    """Publish what `write_sealed` would with `rows()` as a list under `key`, and hold one row at a time.

    `key` is already in `content`, at the place where it is to stand. Returns the digest.
    """
    mark = uuid.uuid4().hex
    marked = {**content, key: [mark]}
    sha256 = hashlib.sha256()
    for piece in _filled(canonical(marked).decode(), mark, ",", map(_compact, rows())):
        sha256.update(piece.encode())
    sealed = _text({**marked, "digest": sha256.hexdigest()}).decode()
    with open_store(root).create(name) as file:
        for piece in _filled(sealed, mark, ",\n    ", map(_indented, rows())):
            file.write(piece.encode())
    return sha256.hexdigest()


def _filled(text: str, mark: str, between: str, items: Iterator[str]) -> Iterator[str]:
    """Yield a JSON text in pieces, with some items in place of the marked one."""
    head, tail = text.split(f'"{mark}"')
    yield head
    for number, item in enumerate(items):
        yield f"{between}{item}" if number else item
    yield tail


def _compact(row: Json) -> str:
    return canonical(row).decode()


def _indented(row: Json) -> str:
    return json.dumps(row, indent=2, ensure_ascii=False).replace("\n", "\n    ")


def write_sealed(root: Root, name: str, content: Json) -> Json:
    """Publish `content` under `name` with its digest added; return it so."""
    sealed = {**content, "digest": digest_of(content)}
    open_store(root).write(name, _text(sealed))
    return sealed


def read_sealed(root: Root, name: str) -> Json | None:
    """Return the content of a sealed file, or None where there is none. Every byte counts, spaces too.

    Raises:
        UnreachableError: the store does not answer.
        DreamshardsError: the file is unreadable, altered, or of another format version.
    """
    store = open_store(root)
    address = store.address(name)
    try:
        stored = store.read(name)
        content = json.loads(stored)
        digest = digest_of(content) if isinstance(content, dict) else None
        whole = digest is not None and digest == content.get("digest") and stored == _text(content)
    except MissingObjectError:
        return None
    except UnreachableError:
        raise
    except (StoreError, ValueError) as error:
        if isinstance(error, StoreError) and not isinstance(store, LocalStore):
            raise  # it says what to do
        reason = error.reason if isinstance(error, StoreError) else error
        raise DreamshardsError(
            f"{address}: unreadable ({reason}); restore it from a copy, or build again in a new root"
        ) from error
    if not whole:
        expected = content.get("digest") if isinstance(content, dict) else None
        raise DreamshardsError(
            f"{address}: altered since it was written (digest {expected} in the file, {digest} found); "
            "restore it from a copy, or build again in a new root"
        )
    assert isinstance(content, dict)
    if content.get("format_version") != FORMAT_VERSION:
        raise DreamshardsError(
            f"{address}: format version {content.get('format_version')}; this release reads {FORMAT_VERSION}"
        )
    return content


def sample_shape_of(dataset: Json, epoch: int) -> tuple[int, ...]:
    """Return the shape of an epoch's decoded samples, uint8; past the last epoch they come again."""
    sample = dataset["sample"]
    shapes = sample.get("shapes") or [sample["shape"]]
    return tuple(shapes[epoch % len(shapes)])


def read_dataset(root: Root) -> Json:
    """Return dataset.json of a complete build.

    Raises:
        DreamshardsError: there is no complete build at `root`.
    """
    store = open_store(root)
    if isinstance(store, LocalStore) and not store.folder.is_dir():
        raise DreamshardsError(f"{store}: no such folder; give the root of a build")
    content = read_sealed(store, DATASET_NAME)
    if content is None:
        advice = (
            "the build is not complete; run the same build command again to go on"
            if store.exists(RECIPE_NAME)
            else "this is not the root of a build"
        )
        raise DreamshardsError(f"{store}: no {DATASET_NAME}; {advice}")
    return content
