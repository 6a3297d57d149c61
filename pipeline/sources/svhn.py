"""SVHN, photographed house numbers cropped to digits, in its official Matlab files (Netzer et al., 2011)."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import Executor
from pipeline.source_sections import SvhnSource
from pipeline.sources.source import ArraySource, evenly
from pipeline.store import Store, open_input

_PICTURE = (32, 32, 3)
_NUM_CLASSES = 10
_MAX_NUMBERS = 1 << 32
"""Of one array; the largest official one, of `extra`, has 1.6 · 10⁹."""
_URL = "http://ufldl.stanford.edu/housenumbers/"


def open_svhn(config: SvhnSource, executor: Executor) -> ArraySource:
    """Return one split, or `config.count` of its pictures, evenly spread; ids are rows: test-00000.

    The files call the digit 0 ten; here it is class 0.

    Raises:
        UsageError: the file is not there, or holds fewer pictures than asked for.
        DreamshardsError: it cannot be read, or is not of the official form.
    """
    store, name = open_input(config.path), f"{config.split}_32x32.mat"
    if not store.exists(name):
        raise UsageError(
            f"source.path: no {name} in {str(store)!r}; fetch it from {_URL}, or set source.path to "
            "the folder that holds it"
        )
    columns, labels = _read(store, name)
    places = evenly(len(labels), config.count, f"source.path: {store.address(name)}")
    if config.count is not None:
        columns, labels = columns[..., places], labels[places]
    return ArraySource.of(
        class_names=[str(digit) for digit in range(_NUM_CLASSES)],
        labels=labels,
        ids=pa.array([f"{config.split}-{place:05d}" for place in places]),
        pixels=np.ascontiguousarray(columns.transpose(3, 0, 1, 2)),  # H W C N -> N H W C
    )


def _read(store: Store, name: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Return the pictures, uint8 [32, 32, 3, N], and their digits, int32 [N]."""
    # slow to import; workers get the pixels, not this
    from scipy.io import loadmat, whosmat  # type: ignore[import-untyped]

    path = store.address(name)
    data = io.BytesIO(store.read(name))
    try:
        for variable, shape, _ in whosmat(data):  # before it is unpacked: it may be a bomb
            if math.prod(shape) > _MAX_NUMBERS:
                raise ValueError(f"{variable} is said to be {list(shape)}")
        data.seek(0)
        content: dict[str, Any] = loadmat(data, variable_names=["X", "y"])
    except Exception as error:  # whatever SciPy's readers meet in a damaged file
        reason = str(error).partition("\n")[0]
        raise DreamshardsError(
            f"{path} cannot be read as a Matlab file: {reason}; fetch it again from {_URL}"
        ) from error
    pictures, digits = content.get("X"), content.get("y")
    if not isinstance(pictures, np.ndarray) or not isinstance(digits, np.ndarray):
        raise DreamshardsError(f"{path} lacks X or y; allowed: an official file of SVHN's format 2")
    num = pictures.shape[-1] if pictures.ndim else 0
    if pictures.dtype != np.uint8 or pictures.shape != (*_PICTURE, num) or num == 0:
        raise DreamshardsError(
            f"{path}: X holds {pictures.dtype} {list(pictures.shape)}; allowed: uint8 [32, 32, 3, N]"
        )
    if digits.dtype.kind not in "iuf" or digits.size != num:
        raise DreamshardsError(
            f"{path}: y holds {digits.dtype} {list(digits.shape)}; allowed: numbers [{num}, 1], the digit of "
            "each picture"
        )
    digits = digits.reshape(-1)
    wrong = np.flatnonzero(~np.isin(digits, range(1, _NUM_CLASSES + 1)))
    if len(wrong):
        raise DreamshardsError(
            f"{path}: y[{wrong[0]}] = {digits[wrong[0]]}; allowed: 1 to 10, which is 0"
        )
    return pictures, (digits % _NUM_CLASSES).astype(np.int32)
