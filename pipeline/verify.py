"""Proving a finished root: every file, every byte, on request the decisions and pixels of some samples."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.damage import Fault, in_form, place_faults, record_faults, row_faults
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
from pipeline.shards.layout import DATASET_NAME, RECIPE_NAME, ShardName, keys
from pipeline.shards.manifest import PLACE_FIELDS, read_rows
from pipeline.shards.reader import shard_names
from pipeline.variants import num_frames

_REPLAY_CHUNK = 256
"""Pictures rendered at a time."""


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
    names: list[ShardName]
    entries: list[Json]


class _Rows(NamedTuple):
    """A shard's manifest rows, and the file they were read from."""

    file: str
    rows: pa.Table


def verify(
    root: Path, fraction: float, overrides: Sequence[str], executor: Executor
) -> VerifyReport:
    """Check the root's files against dataset.json; with a `fraction`, plan and render that share again.

    Raises:
        DreamshardsError: there is no complete build to check, dataset.json is altered, or the inputs that a
            replay needs are not found.
    """
    dataset = read_dataset(root)
    inputs = reopen_inputs(root, dataset, overrides, executor) if fraction > 0 else None
    report = VerifyReport()
    report.faults += _check_recipe(root, dataset)
    report.faults += _check_listing(root, dataset)
    codec, recipe = dataset["sample"]["codec"], parse_recipe(dataset["recipe"], f"recipe of {root}")
    progress = ShardProgress(len(dataset["shards"]), dataset["samples"])
    with progress, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        for epoch in _epochs(dataset):
            tables = _check_manifests(root, epoch, plan_fields(recipe), report)
            shards = list(zip(epoch.names, epoch.entries, tables, strict=True))
            found = threads.map(lambda shard: _check_tar(root, codec, *shard), shards)
            for (name, entry, table), faults in zip(shards, found, strict=True):
                report.faults += faults
                if inputs is not None and table is not None:
                    _replay_shard(root, inputs, name, table, fraction, report)
                report.num_shards += 1
                report.num_samples += entry["samples"]
                progress.advance(entry["samples"], entry["bytes"])
    return report


def _epochs(dataset: Json) -> Iterator[_Epoch]:
    names = shard_names(dataset)
    for epoch, merged in enumerate(dataset["manifests"]):
        shards = zip(names, dataset["shards"], strict=True)
        pairs = [(name, entry) for name, entry in shards if name.epoch == epoch]
        yield _Epoch(merged, [name for name, _ in pairs], [entry for _, entry in pairs])


def _check_recipe(root: Path, dataset: Json) -> list[Fault]:
    try:
        stored = read_sealed(root, RECIPE_NAME)
    except DreamshardsError as error:
        return [Fault(RECIPE_NAME, None, str(error).removeprefix(f"{root / RECIPE_NAME}: "))]
    if stored is None:
        return [Fault(RECIPE_NAME, None, "is missing")]
    if stored["identity"] != dataset["identity"]:
        return [Fault(RECIPE_NAME, None, "is of another build than dataset.json")]
    return []


def _check_listing(root: Path, dataset: Json) -> list[Fault]:
    """Name what does not belong; what is missing is named where it is read."""
    expected = {DATASET_NAME, RECIPE_NAME}
    expected |= {entry["file"] for entry in dataset["manifests"]}
    for entry in dataset["shards"]:
        expected |= {entry["file"], entry["manifest"]}
    own_folders = {file.split("/")[0] for file in expected if "/" in file}
    found: set[Path] = set()
    faults: list[Fault] = []

    def unreadable(error: OSError) -> None:
        file = Path(error.filename).relative_to(root).as_posix()
        faults.append(Fault(file, None, f"cannot be read: {error.strerror}"))

    for name, folders, files in os.walk(root, onerror=unreadable):
        folder = Path(name)
        found |= {folder / file for file in files}
        found |= {folder / link for link in folders if (folder / link).is_symlink()}
        found |= set() if folders or files else {folder}
    foreign = {path.relative_to(root).as_posix() for path in found} - expected - own_folders
    faults += [Fault(file, None, "does not belong to this dataset") for file in sorted(foreign)]
    return faults


def _read(root: Path, file: str, faults: list[Fault]) -> bytes | None:
    """Return a file's content, or None and a fault."""
    path = root / file
    try:
        if path.is_file():  # not a pipe, say, from which to read is to wait
            return path.read_bytes()
        faults.append(Fault(file, None, "is not a file" if path.exists() else "is missing"))
    except OSError as error:
        faults.append(Fault(file, None, f"cannot be read: {error.strerror}"))
    return None


# ── manifests ──


def _check_manifests(
    root: Path, epoch: _Epoch, plan: Sequence[pa.Field], report: VerifyReport
) -> list[_Rows | None]:
    """Check one epoch's manifests; return each shard's rows, from an unaltered copy where there is one."""
    fields = (*PLACE_FIELDS, *plan)
    file, sha256, faults = epoch.merged["file"], epoch.merged["sha256"], report.faults
    all_rows, all_whole = _read_rows(root, file, sha256, (epoch.names[-1].stop, fields), faults)
    tables: list[_Rows | None] = []
    for name, entry in zip(epoch.names, epoch.entries, strict=True):
        form = name.stop - name.start, fields
        rows, whole = _read_rows(root, name.manifest, entry["manifest_sha256"], form, faults)
        twin = None if all_rows is None else all_rows.slice(name.start, name.stop - name.start)
        if rows is not None and twin is not None:
            pair = (file, twin, rows) if whole else (name.manifest, rows, twin)
            faults += row_faults(*pair)
        trusted = None
        if whole:
            trusted = _Rows(name.manifest, rows)
        elif all_whole:
            trusted = _Rows(file, twin)
        if trusted is not None:
            faults += place_faults(*trusted, name, entry["bytes"])
        tables.append(trusted)
    return tables


def _read_rows(
    root: Path, file: str, sha256: str, form: tuple[int, Sequence[pa.Field]], faults: list[Fault]
) -> tuple[pa.Table | None, bool]:
    """Return a manifest's rows if they have the form they should, and whether the file is as written."""
    content = _read(root, file, faults)
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
    root: Path, suffix: str, name: ShardName, entry: Json, table: _Rows | None
) -> list[Fault]:
    """Compare a tar with its digest; where they differ, find the samples and the part of each."""
    faults: list[Fault] = []
    content = _read(root, name.tar, faults)
    if content is None:
        return faults
    if hashlib.sha256(content).hexdigest() == entry["sha256"]:
        ends = content.endswith(tar.END_OF_ARCHIVE)
        return [] if ends else [Fault(name.tar, None, "does not end as an archive does")]
    if len(content) != entry["bytes"]:
        what = f"has {len(content):,} bytes, dataset.json says {entry['bytes']:,}"
        faults.append(Fault(name.tar, None, what))
    if table is not None:
        faults += record_faults(name, table.rows, content, suffix)
    else:
        what = "altered, and no manifest is left to say which samples"
        faults.append(Fault(name.tar, None, what))
    return faults or [Fault(name.tar, None, "altered after its last sample")]


# ── replay ──


def _replay_shard(
    root: Path,
    inputs: Inputs,
    name: ShardName,
    table: _Rows,
    fraction: float,
    report: VerifyReport,
) -> None:
    """Draw and render a random share of a shard's samples again; compare rows and records with them."""
    place = {"epoch": name.epoch, "start": name.start, "stop": name.stop}
    draws = uniform_rows(inputs.recipe.seed, Purpose.CHECK, **place, width=1)[:, 0]
    chosen = np.flatnonzero(draws < fraction)
    if len(chosen) == 0 and report.num_replayed == 0:
        chosen = np.array([draws.argmin()])  # never none at all
    drawn = draw_rows(inputs, **place)
    known = {(fault.file, fault.key) for fault in report.faults if fault.file == name.tar}
    together = max(1, _REPLAY_CHUNK // (num_frames(inputs.recipe, name.epoch) or 1))
    for start in range(0, len(chosen), together):
        part = chosen[start : start + together]
        for fault in _replay_rows(root, inputs, name, table, (part, drawn.take(part))):
            if (fault.file, fault.key) not in known:
                report.faults.append(fault)
    report.num_replayed += len(chosen)


def _replay_rows(
    root: Path,
    inputs: Inputs,
    name: ShardName,
    table: _Rows,
    part: tuple[npt.NDArray[np.int64], pa.Table],
) -> Iterator[Fault]:
    """Compare some rows of a shard, and their records, with what their decisions, drawn again, give."""
    places, drawn = part
    shard_keys = keys(name.epoch, name.start, name.stop)[places]
    payloads = encode_rows(inputs, drawn)
    records = tar.pack(shard_keys, inputs.recipe.shards.codec, payloads, drawn["label"].to_numpy())
    found = table.rows.take(places).to_pylist()
    for i, decided in enumerate(drawn.to_pylist()):
        key, payload = shard_keys[i].tobytes().decode(), payloads[i]
        expected = {**decided, "size": len(payload), "crc32": zlib.crc32(payload)}
        changed = [column for column in expected if expected[column] != found[i][column]]
        if changed:
            yield Fault(table.file, key, f"not what the recipe makes: {', '.join(changed)}")
        record = records.content[records.starts[i] :][: int(tar.record_bytes(records.sizes)[i])]
        stored = _read_at(root / name.tar, found[i]["offset"] - tar.BLOCK, len(record))
        if stored is not None and stored != record.tobytes():
            same = stored[tar.BLOCK :][: len(payload)] == payload
            what = "other header, label or padding" if same else "other bytes"
            yield Fault(name.tar, key, f"rendered again gives {what}")


def _read_at(path: Path, offset: int, size: int) -> bytes | None:
    """Return bytes of a file, None where it cannot be read, which was reported before."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            file.seek(max(0, offset))
            return file.read(size)
    except OSError:
        return None
