"""A finished root so small that hundreds of faults can be planted in it: 24 samples of 8 px in 3 shards.

At 8 px an npy payload leaves padding in its tar record, so that every kind of byte occurs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.build import build
from pipeline.executor import InlineExecutor
from pipeline.recipe import load_recipe
from pipeline.shards.dataset import write_sealed
from pipeline.store import Root
from pipeline.verify import VerifyReport, verify

CLASSES = ("ant", "bee", "cat")
NUM_SAMPLES = 24
RECORD_BYTES = 512 + 512 + 1024
SHARD_BYTES = 8 * RECORD_BYTES + 1024
TAR = "epoch-0000/shard-000001.tar"
MANIFEST = "epoch-0000/shard-000001.parquet"
MERGED = "epoch-0000/manifest.parquet"
ROW = 3
KEY = "0000-0000000011"
"""A sample of `TAR` to do harm to, and its row there."""
RECIPE = """
name: tiny
epochs: 1
source: {{kind: image-folder, path: '{path}'}}
transform: {{kind: pad-crop, size: 8, padding: 1}}
augmentation: {{family: pixmix}}
mixing_set: {{kind: ifs, count: 5}}
shards: {{samples_per_shard: 8}}
"""


def build_tiny(folder: Path, *overrides: str) -> Path:
    """Write source pictures and a recipe below `folder` and build them; return the root."""
    source = folder / "pictures"
    if not source.exists():
        rng = np.random.default_rng(0)
        for number in range(NUM_SAMPLES):
            path = source / CLASSES[number % 3] / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE.format(path=source))
    root = folder / "-".join(["root", *overrides])
    build(load_recipe(str(recipe), overrides), root, InlineExecutor())
    return root


def check(root: Root, fraction: float = 0.0, *overrides: str) -> VerifyReport:
    """Verify in this process."""
    return verify(root, fraction, overrides, InlineExecutor())


@contextmanager
def planted(path: Path, content: bytes | None) -> Iterator[None]:
    """Give a file other content, or none, for a while."""
    before = path.read_bytes() if path.exists() else None
    try:
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        yield
    finally:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)


def found(root: Path, content: bytes | None, file: str = TAR) -> set[tuple[str, str | None]]:
    """Return the file and key of each fault that verify reports while a file has other content."""
    with planted(root / file, content):
        return {(fault.file, fault.key) for fault in check(root).faults}


def key(row: int, shard: int = 1) -> str:
    """Return the key of one row of a shard; shard 1 is that of `TAR` and `MANIFEST`."""
    return f"0000-{8 * shard + row:010d}"


def flipped(content: bytes, position: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


# ── edits ──

EDITS = {
    "label": lambda row: row.update(label=(row["label"] + 1) % 3),
    "rounds": lambda row: row["rounds"][0].update(a=row["rounds"][0]["a"] + 0.25),
    "crc32": lambda row: row.update(crc32=row["crc32"] ^ 1),
    "flip": lambda row: row.update(flip=not row["flip"]),
    "mixing_id": lambda row: row.update(mixing_id="other"),
    "start_level": lambda row: row.update(start_level=9.5),
    # values that no plan has, from which nothing could be rendered
    "source_index": lambda row: row.update(source_index=10**9),
    "mixing_picture": lambda row: row.update(mixing_picture=10**6),
    "mixing_y": lambda row: row.update(mixing_y=-5),
    "start_op": lambda row: row.update(start_op="nonsense"),
}


def edit(root: Path, change: Callable[[dict], object], *files: str) -> None:
    """Change the row of `KEY` and write the manifests again as anyone with pyarrow would."""
    for file in files or (MANIFEST, MERGED):
        table = pq.read_table(root / file)
        rows = table.to_pylist()
        (row,) = (row for row in rows if row["key"] == KEY)
        change(row)
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), root / file)


def patch(root: Path, row: int, position: int, content: bytes) -> None:
    """Change bytes of a record in the tar."""
    tar = bytearray((root / TAR).read_bytes())
    start = row * RECORD_BYTES + position
    tar[start : start + len(content)] = content
    (root / TAR).write_bytes(tar)


def seal(root: Path) -> None:
    """Make dataset.json agree with whatever the files are now."""

    def sha256(file: str) -> str:
        return hashlib.sha256((root / file).read_bytes()).hexdigest()

    dataset = json.loads((root / "dataset.json").read_bytes())
    for shard in dataset["shards"]:
        shard |= {
            "bytes": (root / shard["file"]).stat().st_size,
            "sha256": sha256(shard["file"]),
            "manifest_sha256": sha256(shard["manifest"]),
        }
    for merged in dataset["manifests"]:
        merged["sha256"] = sha256(merged["file"])
    write_sealed(root, "dataset.json", dataset)
    (root / ".partial").rmdir()
