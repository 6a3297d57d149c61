"""Proving a finished root: every file, every byte, and on request every decision and pixel of some samples."""

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
import pyarrow as pa

from pipeline.executor import Executor
from pipeline.inputs import reopen_inputs
from pipeline.plan.rng import Purpose, uniform_rows
from pipeline.replay import encode_rows
from pipeline.sampling import Inputs, draw_plan, plan_columns, plan_fields
from pipeline.shards import tar
from pipeline.shards.dataset import Json, read_dataset, read_sealed
from pipeline.shards.layout import DATASET_NAME, RECIPE_NAME, ShardName, keys
from pipeline.shards.manifest import read_rows
from pipeline.shards.reader import shard_names


_REPLAY_CHUNK = 256


class Fault(NamedTuple):
    """One thing wrong: the file below the root, the sample if one is concerned, and what was found."""

    file: str
    key: str | None
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.what}" if self.key else f"{self.file}: {self.what}"


@dataclass
class VerifyReport:
    """What a verification looked at and found."""

    num_shards: int = 0
    num_samples: int = 0
    num_replayed: int = 0
    faults: list[Fault] = field(default_factory=list)


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
    report.faults += _check_listing(root, dataset)
    stored = read_sealed(root, RECIPE_NAME)
    if stored is not None and stored["identity"] != dataset["identity"]:
        report.faults.append(Fault(RECIPE_NAME, None, "is of another build than dataset.json"))
    for epoch, names, entries in _by_epoch(dataset):
        tables = _check_manifests(root, dataset["manifests"][epoch], names, entries, report)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            for faults in threads.map(
                lambda shard: _check_tar(root, dataset["sample"]["codec"], *shard),
                zip(names, entries, tables, strict=True),
            ):
                report.faults += faults
        report.num_shards += len(names)
        report.num_samples += sum(entry["samples"] for entry in entries)
        if inputs is not None:
            for name, rows in zip(names, tables, strict=True):
                _replay_shard(root, inputs, name, rows, fraction, report)
    return report


def _by_epoch(dataset: Json) -> Iterator[tuple[int, list[ShardName], list[Json]]]:
    names = shard_names(dataset)
    for epoch in range(dataset["epochs"]):
        pairs = [
            (name, entry)
            for name, entry in zip(names, dataset["shards"], strict=True)
            if name.epoch == epoch
        ]
        yield epoch, [name for name, _ in pairs], [entry for _, entry in pairs]


def _check_listing(root: Path, dataset: Json) -> list[Fault]:
    expected = {DATASET_NAME, RECIPE_NAME}
    expected |= {entry["file"] for entry in dataset["manifests"]}
    for entry in dataset["shards"]:
        expected |= {entry["file"], entry["manifest"]}
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}
    missing = [Fault(file, None, "is missing") for file in sorted(expected - found)]
    foreign = [
        Fault(file, None, "does not belong to this dataset") for file in sorted(found - expected)
    ]
    return missing + foreign


# ── manifests ──


def _check_manifests(
    root: Path, merged: Json, names: list[ShardName], entries: list[Json], report: VerifyReport
) -> list[pa.Table | None]:
    """Check one epoch's manifests; return the rows of each shard, from an unaltered copy where there is one."""
    merged_rows, merged_whole = _read_checked(root, merged["file"], merged["sha256"], report)
    tables: list[pa.Table | None] = []
    for name, entry in zip(names, entries, strict=True):
        rows, whole = _read_checked(root, name.manifest, entry["manifest_sha256"], report)
        twin = None
        if merged_rows is not None and len(merged_rows) >= name.stop:
            twin = merged_rows.slice(name.start, name.stop - name.start)
        if rows is not None and twin is not None:
            altered = name.manifest if not whole else merged["file"] if not merged_whole else None
            if altered is not None:
                report.faults += _row_faults(altered, rows, twin)
        tables.append(rows if whole else twin if merged_whole else None)
    return tables


def _read_checked(
    root: Path, file: str, sha256: str, report: VerifyReport
) -> tuple[pa.Table | None, bool]:
    """Return a manifest's rows if they can be read, and whether the file is as written."""
    try:
        content = (root / file).read_bytes()
    except OSError as error:
        if not isinstance(error, FileNotFoundError):  # the listing names missing files
            report.faults.append(Fault(file, None, f"cannot be read: {error.strerror}"))
        return None, False
    found = hashlib.sha256(content).hexdigest()
    whole = found == sha256
    if not whole:
        what = f"altered: SHA-256 {found[:16]}…, dataset.json says {sha256[:16]}…"
        report.faults.append(Fault(file, None, what))
    try:
        return read_rows(content), whole
    except ValueError:
        return None, whole


def _row_faults(file: str, rows: pa.Table, twin: pa.Table) -> list[Fault]:
    """Name the samples and columns in which two copies of the same rows differ."""
    if rows.schema.names != twin.schema.names or len(rows) != len(twin):
        return [Fault(file, None, f"has {len(rows)} rows and other columns than its twin")]
    faults = []
    for ours, theirs in zip(rows.to_pylist(), twin.to_pylist(), strict=True):
        changed = [name for name in ours if ours[name] != theirs[name]]
        if changed:
            faults.append(Fault(file, theirs["key"], f"columns differ: {', '.join(changed)}"))
    return faults


# ── tars ──


def _check_tar(
    root: Path, suffix: str, name: ShardName, entry: Json, rows: pa.Table | None
) -> list[Fault]:
    """Compare a tar with its digest; where they differ, find the samples and the part of each."""
    try:
        content = (root / name.tar).read_bytes()
    except FileNotFoundError:
        return []  # the listing names it
    except OSError as error:
        return [Fault(name.tar, None, f"cannot be read: {error.strerror}")]
    if hashlib.sha256(content).hexdigest() == entry["sha256"]:
        return []
    faults = []
    if len(content) != entry["bytes"]:
        what = f"has {len(content):,} bytes, dataset.json says {entry['bytes']:,}"
        faults.append(Fault(name.tar, None, what))
    if rows is not None:
        faults += _record_faults(name, rows, content, suffix)
    else:
        faults.append(Fault(name.tar, None, "altered, and no manifest is left to say which samples"))
    return faults or [Fault(name.tar, None, "altered after its last sample")]


def _record_faults(
    name: ShardName, rows: pa.Table, content: bytes, suffix: str
) -> Iterator[Fault]:
    """Compare every record with the bytes that its manifest row implies."""
    shard_keys = keys(name.epoch, name.start, name.stop)
    labels = rows["label"].to_numpy()
    places = zip(*(rows[field].to_pylist() for field in ("key", "offset", "size", "crc32")), strict=True)
    for i, (key, offset, size, crc) in enumerate(places):
        payload = content[offset : offset + size]
        expected = tar.pack(shard_keys[i : i + 1], suffix, [payload], labels[i : i + 1]).content
        found = content[offset - tar.BLOCK :][: len(expected)]
        if len(found) < len(expected):
            yield Fault(name.tar, key, "cut off")
        elif zlib.crc32(payload) != crc:
            yield Fault(name.tar, key, f"altered pixels: CRC-32 {zlib.crc32(payload):08x}, not {crc:08x}")
        elif found != expected.tobytes():
            yield Fault(name.tar, key, "altered header, label or padding")


# ── replay ──


def _replay_shard(
    root: Path,
    inputs: Inputs,
    name: ShardName,
    rows: pa.Table | None,
    fraction: float,
    report: VerifyReport,
) -> None:
    """Draw and render a random share of a shard's samples again; compare decisions and bytes."""
    if rows is None:
        return
    place = {"epoch": name.epoch, "start": name.start, "stop": name.stop}
    draws = uniform_rows(inputs.recipe.seed, Purpose.CHECK, **place, width=1)[:, 0]
    chosen = np.flatnonzero(draws < fraction)
    if len(chosen) == 0 and report.num_replayed == 0:
        chosen = np.array([draws.argmin()])  # never none at all
    fields = plan_fields(inputs.recipe.augmentation.family)
    drawn = pa.Table.from_arrays(
        plan_columns(inputs, draw_plan(inputs, **place)), schema=pa.schema(fields)
    )
    stored = rows.select([field.name for field in fields])
    for start in range(0, len(chosen), _REPLAY_CHUNK):
        part = chosen[start : start + _REPLAY_CHUNK]
        expected, found = drawn.take(part).to_pylist(), stored.take(part).to_pylist()
        payloads = encode_rows(inputs, rows.take(part))
        for i, row in enumerate(part.tolist()):
            key = rows["key"][row].as_py()
            changed = [column for column in expected[i] if expected[i][column] != found[i][column]]
            if changed:
                what = f"not what the recipe draws: {', '.join(changed)}"
                report.faults.append(Fault(name.manifest, key, what))
            offset, size = rows["offset"][row].as_py(), rows["size"][row].as_py()
            with (root / name.tar).open("rb") as file:
                file.seek(offset)
                if file.read(size) != payloads[i]:
                    report.faults.append(Fault(name.tar, key, "rendered again gives other bytes"))
    report.num_replayed += len(chosen)
