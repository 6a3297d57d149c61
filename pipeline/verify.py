"""Proving a finished root: every file, every byte, on request the decisions and pixels of some samples."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.ahead import ahead
from pipeline.damage import Fault, Held, in_form, place_faults, record_faults, row_faults
from pipeline.errors import DreamshardsError
from pipeline.executor import Executor
from pipeline.inputs import reopen_inputs
from pipeline.plan.rng import Purpose, uniform_rows
from pipeline.progress import ShardProgress
from pipeline.recipe import parse_recipe
from pipeline.replay import draw_rows, encode_rows
from pipeline.sampling import Inputs, plan_fields
from pipeline.shards import tar
from pipeline.shards.dataset import Json, read_dataset, read_sealed
from pipeline.shards.layout import DATASET_NAME, RECIPE_NAME
from pipeline.shards.lost import lost_positions, positions_of_shard
from pipeline.shards.manifest import PLACE_FIELDS, read_rows
from pipeline.shards.reader import shard_names
from pipeline.store import LocalStore, MissingObjectError, Root, Store, StoreError, open_store
from pipeline.variants import num_frames

T = TypeVar("T")
R = TypeVar("R")

_REPLAY_CHUNK = 256
"""Pictures rendered at a time."""
_REQUESTS = 8
"""Files read from an object store at a time."""


@dataclass
class VerifyReport:
    """What a verification looked at and found."""

    num_shards: int = 0
    num_samples: int = 0
    num_replayed: int = 0
    faults: list[Fault] = field(default_factory=list)


class _Epoch(NamedTuple):
    """What dataset.json says of one epoch's files."""

    merged: Json
    shards: tuple[Held, ...]
    entries: tuple[Json, ...]


class _Rows(NamedTuple):
    """A shard's manifest rows, and the file they were read from."""

    file: str
    rows: pa.Table


def verify(
    root: Root, fraction: float, overrides: Sequence[str], executor: Executor
) -> VerifyReport:
    """Check the root's files against dataset.json; with a `fraction`, plan and render that share again.

    Raises:
        DreamshardsError: there is no complete build to check, dataset.json is altered, or the inputs that a
            replay needs are not found.
    """
    store = open_store(root)
    dataset = read_dataset(store)
    inputs = reopen_inputs(store, dataset, overrides, executor) if fraction > 0 else None
    report = VerifyReport()
    report.faults += _check_recipe(store, dataset)
    report.faults += _check_listing(store, dataset)
    codec = dataset["sample"]["codec"]
    recipe = parse_recipe(dataset["recipe"], f"recipe of {store}")
    one_at_a_time = Lock()
    with ShardProgress(len(dataset["shards"]), dataset["samples"]) as progress:
        for epoch in _epochs(dataset):
            tables = _check_manifests(store, epoch, plan_fields(recipe), report)
            shards = list(zip(epoch.shards, epoch.entries, tables, strict=True))

            def check(shard: tuple[Held, Json, _Rows | None]) -> list[Fault]:
                return _check_tar(store, codec, *shard, one_at_a_time)

            found = _in_threads(store, check, shards)
            for (held, entry, table), faults in zip(shards, found, strict=True):
                report.faults += faults
                if inputs is not None and table is not None:
                    _replay_shard(store, inputs, held, table, fraction, report)
                report.num_shards += 1
                report.num_samples += entry["samples"]
                progress.advance(entry["samples"], entry["bytes"])
    return report


def _in_threads(store: Store, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield work(item) for each item, in order: as many at once as keep this machine or the network busy."""
    num_threads = len(os.sched_getaffinity(0))
    if not isinstance(store, LocalStore):
        num_threads = max(_REQUESTS, num_threads)
    return ahead(work, items, 2 * num_threads, num_threads)


def _epochs(dataset: Json) -> Iterator[_Epoch]:
    shards = zip(shard_names(dataset), dataset["shards"], strict=True)
    for epoch, of_epoch in groupby(shards, lambda shard: shard[0].epoch):
        names, entries = zip(*of_epoch, strict=True)
        lost = lost_positions(dataset, epoch)
        held = tuple(Held(name, positions_of_shard(name, lost)) for name in names)
        yield _Epoch(dataset["manifests"][epoch], held, entries)


def _check_recipe(root: Store, dataset: Json) -> list[Fault]:
    try:
        stored = read_sealed(root, RECIPE_NAME)
    except DreamshardsError as error:
        reason = str(error).removeprefix(f"{root.address(RECIPE_NAME)}: ")
        return [Fault(RECIPE_NAME, None, reason)]
    if stored is None:
        return [Fault(RECIPE_NAME, None, "is missing")]
    if stored["identity"] != dataset["identity"]:
        return [Fault(RECIPE_NAME, None, "is of another build than dataset.json")]
    return []


def _check_listing(root: Store, dataset: Json) -> list[Fault]:
    """Name what does not belong; what is missing is named where it is read."""
    expected = {DATASET_NAME, RECIPE_NAME}
    expected |= {entry["file"] for entry in dataset["manifests"]}
    for entry in dataset["shards"]:
        expected |= {entry["file"], entry["manifest"]}
    faults: list[Fault] = []
    if isinstance(root, LocalStore):
        own_folders = {file.split("/")[0] for file in expected if "/" in file}
        foreign = _names_in_folder(root.folder, faults) - expected - own_folders
    else:
        foreign = {entry.path for entry in root.entries() if entry.path not in expected}
    faults += [Fault(file, None, "does not belong to this dataset") for file in sorted(foreign)]
    return faults


def _names_in_folder(root: Path, faults: list[Fault]) -> set[str]:
    """Return what lies below a folder, links and empty folders too; what cannot be listed is a fault."""

    def unreadable(error: OSError) -> None:
        file = Path(error.filename).relative_to(root).as_posix()
        faults.append(Fault(file, None, f"cannot be read: {error.strerror}"))

    found: set[Path] = set()
    for name, folders, files in os.walk(root, onerror=unreadable):
        folder = Path(name)
        found |= {folder / file for file in files}
        found |= {folder / link for link in folders if (folder / link).is_symlink()}
        found |= set() if folders or files else {folder}
    return {path.relative_to(root).as_posix() for path in found}


def _asked(
    root: Store, file: str, faults: list[Fault], ask: Callable[..., R], *what: int
) -> R | None:
    """Return ask(file, *what), or None and a fault."""
    if isinstance(root, LocalStore):
        path = root.folder / file
        if path.exists() and not path.is_file():  # a pipe, say, from which to read is to wait
            faults.append(Fault(file, None, "is not a file"))
            return None
    try:
        return ask(file, *what)
    except MissingObjectError:
        faults.append(Fault(file, None, "is missing"))
    except StoreError as error:
        faults.append(Fault(file, None, f"cannot be read: {error.reason}"))
    return None


# ── manifests ──


def _check_manifests(
    root: Store, epoch: _Epoch, plan: Sequence[pa.Field], report: VerifyReport
) -> list[_Rows | None]:
    """Check one epoch's manifests; return each shard's rows, from an unaltered copy where there is one."""
    fields = (*PLACE_FIELDS, *plan)
    file, sha256, faults = epoch.merged["file"], epoch.merged["sha256"], report.faults
    num_rows = sum(len(held.positions) for held in epoch.shards)
    all_rows, all_whole = _read_rows(root, file, sha256, (num_rows, fields), faults)
    tables: list[_Rows | None] = []
    stop = 0
    for held, entry in zip(epoch.shards, epoch.entries, strict=True):
        name, start, stop = held.name, stop, stop + len(held.positions)
        form = stop - start, fields
        rows, whole = _read_rows(root, name.manifest, entry["manifest_sha256"], form, faults)
        twin = None if all_rows is None else all_rows.slice(start, stop - start)
        if rows is not None and twin is not None:
            pair = (file, twin, rows) if whole else (name.manifest, rows, twin)
            faults += row_faults(*pair)
        trusted = None
        if whole:
            trusted = _Rows(name.manifest, rows)
        elif all_whole:
            trusted = _Rows(file, twin)
        if trusted is not None:
            faults += place_faults(*trusted, held, entry["bytes"])
        tables.append(trusted)
    return tables


def _read_rows(
    root: Store, file: str, sha256: str, form: tuple[int, Sequence[pa.Field]], faults: list[Fault]
) -> tuple[pa.Table | None, bool]:
    """Return a manifest's rows if they have the form they should, and whether the file is as written."""
    content = _asked(root, file, faults, root.read)
    if content is None:
        return None, False
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        what = f"altered: SHA-256 {found[:16]}…, dataset.json says {sha256[:16]}…"
        faults.append(Fault(file, None, what))
    try:
        return in_form(read_rows(content), *form), found == sha256
    except ValueError as error:
        faults.append(Fault(file, None, str(error)))
        return None, False


# ── tars ──


def _check_tar(
    root: Store, suffix: str, held: Held, entry: Json, table: _Rows | None, alone: Lock
) -> list[Fault]:
    """Compare a tar with its digest; where they differ, find the samples and the part of each.

    Only a tar that differs is held in memory whole, one at a time, which `alone` sees to.
    """
    faults: list[Fault] = []
    name = held.name
    read = _asked(root, name.tar, faults, partial(_sum, root))
    if read is None:
        return faults
    if read.sha256 == entry["sha256"]:
        return [] if read.ends else [Fault(name.tar, None, "does not end as an archive does")]
    if read.num_bytes != entry["bytes"]:
        what = f"has {read.num_bytes:,} bytes, dataset.json says {entry['bytes']:,}"
        faults.append(Fault(name.tar, None, what))
    if table is None:
        what = "altered, and no manifest is left to say which samples"
        return [*faults, Fault(name.tar, None, what)]
    with alone:
        content = _asked(root, name.tar, faults, root.read)
        if content is not None:
            faults += record_faults(held, table.rows, content, suffix)
    return faults or [Fault(name.tar, None, "altered after its last sample")]


class _Sum(NamedTuple):
    """What a tar's bytes add up to: their number and SHA-256, and whether they end as an archive does."""

    num_bytes: int
    sha256: str
    ends: bool


def _sum(root: Store, file: str) -> _Sum:
    num_bytes, sha256, end = root.size(file), hashlib.sha256(), b""
    size = len(tar.END_OF_ARCHIVE)
    for piece in root.read_pieces(file, num_bytes):
        sha256.update(piece)
        end = (end + piece[-size:])[-size:]
        del piece  # before the next is read
    return _Sum(num_bytes, sha256.hexdigest(), end == tar.END_OF_ARCHIVE)


# ── replay ──


def _replay_shard(
    root: Store,
    inputs: Inputs,
    held: Held,
    table: _Rows,
    fraction: float,
    report: VerifyReport,
) -> None:
    """Draw and render a random share of a shard's samples again; compare rows and records with them."""
    name, kept = held.name, held.positions - held.name.start
    place = {"epoch": name.epoch, "start": name.start, "stop": name.stop}
    draws = uniform_rows(inputs.recipe.seed, Purpose.CHECK, **place, width=1)[kept, 0]
    chosen = np.flatnonzero(draws < fraction)
    if len(chosen) == 0 and report.num_replayed == 0:
        chosen = np.array([draws.argmin()])  # never none at all
    drawn = draw_rows(inputs, **place).take(kept)
    known = {(fault.file, fault.key) for fault in report.faults if fault.file == name.tar}
    together = max(1, _REPLAY_CHUNK // (num_frames(inputs.recipe, name.epoch) or 1))
    for start in range(0, len(chosen), together):
        part = chosen[start : start + together]
        for fault in _replay_rows(root, inputs, held, table, (part, drawn.take(part))):
            if (fault.file, fault.key) not in known:
                report.faults.append(fault)
    report.num_replayed += len(chosen)


def _replay_rows(
    root: Store,
    inputs: Inputs,
    held: Held,
    table: _Rows,
    part: tuple[npt.NDArray[np.int64], pa.Table],
) -> Iterator[Fault]:
    """Compare some rows of a shard, and their records, with what their decisions, drawn again, give."""
    places, drawn = part
    name, shard_keys = held.name, held.keys()[places]
    payloads = encode_rows(inputs, drawn)
    records = tar.pack(shard_keys, inputs.recipe.shards.codec, payloads, drawn["label"].to_numpy())
    found = table.rows.take(places).to_pylist()
    sizes = tar.record_bytes(records.sizes).tolist()
    spans = [
        (max(0, row["offset"] - tar.BLOCK), size) for row, size in zip(found, sizes, strict=True)
    ]
    stored = _in_threads(root, partial(_stored, root, name.tar), spans)
    for i, (decided, content) in enumerate(zip(drawn.to_pylist(), stored, strict=True)):
        key, payload = shard_keys[i].tobytes().decode(), payloads[i]
        expected = {**decided, "size": len(payload), "crc32": zlib.crc32(payload)}
        changed = [column for column in expected if expected[column] != found[i][column]]
        if changed:
            yield Fault(table.file, key, f"not what the recipe makes: {', '.join(changed)}")
        record = records.content[records.starts[i] :][: sizes[i]]
        if content is not None and content != record.tobytes():
            same = content[tar.BLOCK :][: len(payload)] == payload
            what = "other header, label or padding" if same else "other bytes"
            yield Fault(name.tar, key, f"rendered again gives {what}")


def _stored(root: Store, file: str, span: tuple[int, int]) -> bytes | None:
    """Return (start, size) bytes of a file, None where they cannot be read, which was reported before."""
    return _asked(root, file, [], root.read_range, *span)
