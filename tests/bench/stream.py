"""Reading samples into a trainer's batches: our streams beside other people's readers.

Every reader delivers batches of 128 of the same samples from a warm page cache, in one process that may
use `cores` cores. FFCV and simplejpeg decode JPEGs on as many threads. FFCV reads raw pixels fastest with
one: on two cores a second made it ten times slower. webdataset, LitData and MosaicML decode on one.

Each is first asked for the checksum of a whole pass: a reader that delivers other samples is an error, not a
figure. JPEG decoders differ: FFCV takes libjpeg-turbo's fast DCT, 0.7 % darker in the mean at quality 95. So
there the labels must be equal and the mean pixel within 1 %.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from pipeline.sampling import Inputs
from tests.bench.core import Pair, Row, Side, alternate, compare
from tests.bench.peers import Batch, checksum, keep_to, turn
from tests.bench.roots import LEAST_JPEGS, LEAST_RAW, build_root, photographs, write_input
from tests.bench.served import NO_ENVIRONMENT, Served, prepare

BATCH_SIZE = 128
SECONDS = 1.0
"""How long one turn of a reader lasts."""

KINDS = {
    "FFCV": "ffcv",
    "LitData": "litdata",
    "MosaicML": "mosaicml",
    "webdataset": "webdataset",
    "numpy.take": "numpy-take",
    "simplejpeg": "simplejpeg",
}
Opener = Callable[[Path], Iterable[Batch]]


class Race(NamedTuple):
    """Readers that take turns on one root.

    Attributes:
        what: what is read, the start of each row's name.
        shuffle: random order, or that of the shards.
        ours: name → opener.
        targets: peer → the least ratio that passes.
        exact: every reader must give the very pixels.
    """

    what: str
    shuffle: bool
    ours: Mapping[str, Opener]
    targets: Mapping[str, float]
    exact: bool


# ── ours ──


def shard_stream(root: Path) -> Iterable[Batch]:
    from pipeline.stream import ShardStream

    stream: Iterable[Batch] = ShardStream(root, batch_size=BATCH_SIZE)
    return stream


def data_loader(root: Path) -> Iterable[Batch]:
    from pipeline.stream import ShardDataset

    dataset = ShardDataset(root, epoch=0)
    return torch.utils.data.DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=0)


class Items:
    """`__getitems__` with a sampler of ours, without a DataLoader; collated as one would."""

    def __init__(self, root: Path) -> None:
        from pipeline.stream import ShardDataset

        self._dataset = ShardDataset(root, epoch=0)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self._dataset)).tolist()
        for start in range(0, len(order), BATCH_SIZE):
            items = self._dataset.__getitems__(order[start : start + BATCH_SIZE])
            yield torch.utils.data.default_collate(items)


LOADER = "ShardDataset in a DataLoader"
"""Half of its time is the loader's and the sampler's own: shown, but no target is set for torch's part."""
RAW = (
    Race(
        "in order",
        False,
        {"ShardStream": shard_stream},
        {"FFCV": 1, "numpy.take": 0.6, "webdataset": 150, "LitData": 1, "MosaicML": 1},
        exact=True,
    ),
    Race(
        "random",
        True,
        {LOADER: data_loader, "ShardDataset.__getitems__": Items},
        {"FFCV": 1, "numpy.take": 0.6, "LitData": 1, "MosaicML": 1},
        exact=True,
    ),
)
JPEG = (
    Race(
        "in order",
        False,
        {"ShardStream": shard_stream},
        {"simplejpeg": 0.9, "webdataset": 2, "FFCV": 1, "LitData": 1, "MosaicML": 1},
        exact=False,
    ),
)

# ── the section ──


def measure(inputs: Inputs, rounds: int, cores: int, peers: Mapping[str, str] | None) -> list[Row]:
    """Return the rows of this section: on `inputs` and, by its codec, on the embedded other one."""
    rows: list[Row] = []
    raw = inputs if inputs.recipe.shards.codec == "npy" else None
    jpeg = inputs if inputs.recipe.shards.codec == "jpg" else photographs()
    if raw is not None:
        rows += _measure_codec(raw, LEAST_RAW, RAW, rounds, cores, peers)
    rows += _measure_codec(jpeg, LEAST_JPEGS, JPEG, rounds, cores, peers)
    return rows


def _measure_codec(
    inputs: Inputs,
    least: int,
    races: Iterable[Race],
    rounds: int,
    cores: int,
    peers: Mapping[str, str] | None,
) -> list[Row]:
    recipe = inputs.recipe
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="dreamshards-bench-") as name:
        work = Path(name)
        num = build_root(inputs, least, work / "root")
        write_input(work / "root", work / "input")
        what = f"{recipe.name}, {num:,} × {recipe.transform.size} px {recipe.shards.codec}"
        for race in races:
            named = race._replace(what=f"{what}, {race.what}")
            rows += run_race(named, work, rounds, cores, peers)
    return rows


def run_race(
    race: Race, work: Path, rounds: int, cores: int, peers: Mapping[str, str] | None
) -> list[Row]:
    """Let the readers of a race take turns; return a row for each of ours against each peer."""
    sides: dict[str, Side] = {}
    sums: dict[str, dict[str, int]] = {}
    reasons = {peer: why_absent(KINDS[peer], peers) for peer in race.targets}
    missing = {peer: reason for peer, reason in reasons.items() if reason}
    present = [peer for peer in race.targets if peer not in missing]
    folders = {peer: _folder_for(KINDS[peer], work) for peer in present}
    options: dict[str, Any] = {"shuffle": race.shuffle, "batch_size": BATCH_SIZE}
    options |= {"cores": cores, "threads": 1 if race.exact else cores}
    with ExitStack() as stack:
        served = {
            peer: stack.enter_context(Served(KINDS[peer], folder, **options))
            for peer, folder in folders.items()
        }
        for peer, reader in served.items():
            reader.start()
            sums[peer] = reader.check()
            sides[peer] = partial(reader.run, SECONDS)
        for ours, opener in race.ours.items():
            try:
                batches = opener(work / "root")
            except ModuleNotFoundError as error:
                missing[ours] = str(error)
                continue
            sums[ours] = checksum(_whole(batches))
            sides[ours] = _side(batches)
        same_samples(sums, race.exact)
        with _on_cores(cores):
            rates = alternate(sides, rounds, warm=False)  # by the checks
    targets: dict[str, float | None] = dict(race.targets)
    if "FFCV" in sides:  # numpy.take stands in for it
        targets = {peer: None if peer == "numpy.take" else least for peer, least in targets.items()}
    pairs = [
        Pair(f"{race.what}: {ours}", ours, peer, None if ours == LOADER else target)
        for ours in race.ours
        for peer, target in targets.items()
    ]
    return compare(pairs, rates, missing)


def why_absent(kind: str, peers: Mapping[str, str] | None) -> str:
    """Return why a reader cannot be measured here, or nothing where it can."""
    package = {"ffcv": "ffcv", "litdata": "litdata", "mosaicml": "mosaicml-streaming"}.get(kind)
    if package is None:
        return ""
    if peers is None:
        return NO_ENVIRONMENT
    return "" if package in peers else f"{package} is not in .venv-peers; `make peers` says why"


def same_samples(sums: Mapping[str, Mapping[str, int]], exact: bool) -> None:
    """Check that every reader delivered the same samples.

    Raises:
        RuntimeError: one did not.
    """
    first = next(iter(sums.values()))
    for name, found in sums.items():
        same = found["samples"] == first["samples"] and found["labels"] == first["labels"]
        if exact:
            same &= found == first
        else:
            same &= abs(found["pixels"] - first["pixels"]) < first["pixels"] // 100
        if not same:
            raise RuntimeError(f"{name} delivers other samples: {found}, where others give {first}")


def _folder_for(kind: str, work: Path) -> Path:
    if kind == "webdataset":
        return work / "root" / "epoch-0000"
    if kind in ("numpy-take", "simplejpeg"):
        return work / "input"
    out = work / kind
    return out if out.exists() else prepare(kind, work / "input", out)


def _side(batches: Iterable[Batch]) -> Side:
    def run() -> float:
        samples, seconds = turn(batches, SECONDS)
        return samples / seconds

    return run


def _whole(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Pass batches on, seeing to it that each is one: a view of a file would leave its copy undone."""
    for images, labels in batches:
        assert images.dtype == torch.uint8
        assert images.is_contiguous()
        assert labels.dtype == torch.int64
        yield np.asarray(images), labels


@contextmanager
def _on_cores(num: int) -> Iterator[None]:
    """Keep this process to as many cores as each peer, so that no reader has more than another."""
    before = os.sched_getaffinity(0)
    keep_to(num)
    try:
        yield
    finally:
        keep_to(len(before), before)
