"""The published arrays of CIFAR-10-C and CIFAR-100-C, of their C-bar, and of CIFAR-P.

A corruption is one `<name>.npy`, the test set at severity 1, then at 2, … 5; `labels.npy` beside it goes with
the same rows. A kind of sequences is one `<name>.npy` of clips in the order of the test set (Hendrycks &
Dietterich, ICLR 2019). All are mapped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import DreamshardsError, UsageError, nearest
from pipeline.executor import Executor
from pipeline.source_sections import CifarCSource
from pipeline.sources.cifar_names import CLASS_NAMES
from pipeline.sources.local_copy import local_copy, map_array
from pipeline.sources.source import ArraySource, evenly
from pipeline.store import LocalStore, Store, names_in, open_file, open_input

U8 = npt.NDArray[np.uint8]

_NUM_SEVERITIES = 5
_PICTURE = (32, 32, 3)
_LABELS = "labels"


def open_cifar_c(config: CifarCSource, executor: Executor) -> ArraySource:
    """Return one corruption at one severity, or `config.count` of its pictures, evenly spread.

    Ids are name, severity and row of the test set: fog-3-00000.

    Raises:
        UsageError: the files are not there, or hold fewer pictures than asked for.
        DreamshardsError: a file cannot be read, or is not of the published form.
    """
    folder = open_input(config.path)
    path, every = _load(folder, config.name)
    num_rows = len(every) if every.ndim else 0
    if every.dtype != np.uint8 or every.shape[1:] != _PICTURE or not _whole_sets(num_rows):
        raise DreamshardsError(
            f"{path} holds {every.dtype} {list(every.shape)}; allowed: uint8 [5·N, 32, 32, 3], N pictures at "
            "each of 5 severities, as CIFAR-10-C has them"
        )
    class_names = CLASS_NAMES[config.classes]
    labels = _labels(folder, num_rows, len(class_names))
    num = num_rows // _NUM_SEVERITIES
    first = (config.severity - 1) * num
    pixels, labels = every[first : first + num], labels[first : first + num]
    places = evenly(num, config.count, f"source.path: {path}, severity {config.severity},")
    ids = pa.array([f"{config.name}-{config.severity}-{place:05d}" for place in places])
    if config.count is not None:
        pixels, labels = pixels[places], labels[places]
    return ArraySource.of(
        class_names=class_names,
        labels=labels,
        ids=ids,
        pixels=np.ascontiguousarray(pixels).view(np.ndarray),
    )


def open_cifar_p(path: str | Path) -> U8:
    """Map a file of CIFAR-10-P or CIFAR-100-P: uint8 [N, F, 32, 32, 3], clips in the order of the test set.

    Raises:
        UsageError: there is no such file.
        DreamshardsError: it cannot be read, or is not of this form.
    """
    folder, name = open_file(str(path))
    path, clips = _load(folder, name.removesuffix(".npy"))
    if clips.dtype != np.uint8 or clips.ndim != 5 or clips.shape[2:] != _PICTURE or not clips.size:
        raise DreamshardsError(
            f"{path} holds {clips.dtype} {list(clips.shape)}; allowed: uint8 [N, F, 32, 32, 3], F frames of "
            "each of N pictures, as CIFAR-10-P has them"
        )
    return clips


def _whole_sets(num_rows: int) -> bool:
    return num_rows > 0 and num_rows % _NUM_SEVERITIES == 0


def _load(folder: Store, name: str) -> tuple[str, npt.NDArray[Any]]:
    """Return the address of an array, and the array mapped: its pages are read when they are used.

    Raises:
        UsageError: it is not there; names those that are.
        DreamshardsError: it is no .npy file.
    """
    file = f"{name}.npy"
    if not folder.exists(file):
        _refuse_missing(folder, file)
    path = folder.address(file)
    copy = local_copy(folder, file)
    try:
        return path, map_array(copy)
    except ValueError as error:
        raise DreamshardsError(
            f"{path} cannot be read as a .npy file: {error}; fetch it again"
        ) from error


def _refuse_missing(folder: Store, file: str) -> NoReturn:
    if isinstance(folder, LocalStore) and not folder.folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give the one that holds {file}")
    present = [name.removesuffix(".npy") for name in names_in(folder) if name.endswith(".npy")]
    found = f"it holds {', '.join(present)}" if present else "it holds no .npy files"
    raise UsageError(f"{folder} lacks {file}{nearest(file.removesuffix('.npy'), present)}; {found}")


def _labels(folder: Store, num_rows: int, num_classes: int) -> npt.NDArray[np.int32]:
    """Return the label of each row, int32 [num_rows]."""
    path, labels = _load(folder, _LABELS)
    if labels.dtype.kind not in "iu" or labels.shape != (num_rows,):
        raise DreamshardsError(
            f"{path} holds {labels.dtype} {list(labels.shape)}; allowed: whole numbers [{num_rows}], one for "
            "each row of the corruption's file"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise DreamshardsError(
            f"{path}: row {wrong[0]} is {labels[wrong[0]]}; allowed: 0 to {num_classes - 1}, for the "
            f"{num_classes} classes that source.classes names"
        )
    return labels.astype(np.int32)
