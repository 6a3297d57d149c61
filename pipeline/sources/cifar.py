"""CIFAR-10 and CIFAR-100 in the official Python layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import Executor
from pipeline.source_sections import CifarSource
from pipeline.sources.cifar_pickle import PickledArray, load_pickle
from pipeline.sources.download import fetch_archive
from pipeline.sources.source import ArraySource, evenly
from pipeline.store import LocalStore, Store, open_input

SIZE = 32
ROW_BYTES = 3 * SIZE * SIZE


class Layout(NamedTuple):
    """Where one CIFAR lies and how its files are called inside."""

    url: str
    md5: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    labels_key: str
    names_key: str


LAYOUTS = {
    "cifar10": Layout(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test=("test_batch",),
        meta="batches.meta",
        labels_key="labels",
        names_key="label_names",
    ),
    "cifar100": Layout(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        train=("train",),
        test=("test",),
        meta="meta",
        labels_key="fine_labels",
        names_key="fine_label_names",
    ),
}


def open_cifar(config: CifarSource, executor: Executor) -> ArraySource:
    """Read one split, or `config.count` of its pictures, evenly spread; ids are CIFAR's own file names.

    Subsets are accepted: any number of rows from one up, any number of classes that the meta file
    names. A file name met again gets `#2`, `#3` … in row order, the first number not yet taken.

    Raises:
        UsageError: the files are not there, or hold fewer pictures than asked for.
        DreamshardsError: a file is damaged, hostile or inconsistent, or the download failed.
    """
    layout = LAYOUTS[config.kind]
    names = layout.train if config.split == "train" else layout.test
    folder = _folder(config, layout, (*names, layout.meta))
    class_names = _class_names(folder, layout)
    batches = [_batch(folder, name, layout.labels_key, class_names) for name in names]
    labels = np.concatenate([batch.labels for batch in batches])
    if len(labels) == 0:
        raise DreamshardsError(
            f"{folder}: no pictures in {', '.join(names)}; at least one is needed"
        )
    planes = np.concatenate([batch.data for batch in batches]).reshape(-1, 3, SIZE, SIZE)
    ids = pa.array(_unique(name for batch in batches for name in batch.filenames), pa.string())
    if config.count is not None:
        places = evenly(len(labels), config.count, f"source.path: {folder}, split {config.split},")
        labels, planes, ids = labels[places], planes[places], ids.take(pa.array(places))
    return ArraySource.of(
        class_names=class_names,
        labels=labels,
        ids=ids,
        pixels=np.ascontiguousarray(planes.transpose(0, 2, 3, 1)),  # N C H W -> N H W C
    )


def _folder(config: CifarSource, layout: Layout, names: tuple[str, ...]) -> Store:
    """Find the folder that holds `names`, or fetch it.

    Raises:
        UsageError: it is not there, or lacks some; or it is to be fetched into an object store.
    """
    store = open_input(config.path)
    if not isinstance(store, LocalStore):
        return _objects(store, config, layout, names)
    path = store.folder
    below = path / layout.folder
    own = path.name == layout.folder or (path / layout.meta).is_file()
    folder = below if below.is_dir() or not own else path
    if not folder.exists():
        if not config.download:
            raise UsageError(
                f"source.path: no {config.kind} in {config.path!r}: looked for "
                f"{folder / names[0]}; fetch it from {layout.url} with "
                f"--set source.download=true, or set source.path to the folder that holds "
                f"{layout.folder}"
            )
        fetch_archive(layout.url, layout.md5, folder, (*layout.train, *layout.test, layout.meta))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UsageError(
            f"source.path: {folder} lacks {', '.join(missing)}; put the official files there, or "
            "move the folder away and fetch it with --set source.download=true"
        )
    return LocalStore(folder)


def _objects(store: Store, config: CifarSource, layout: Layout, names: tuple[str, ...]) -> Store:
    """Find what holds the objects `names`: the store, or a folder in it."""
    if config.download:
        raise UsageError(
            f"source.download = true with source.path = {str(store)!r}: an archive is fetched into a local "
            f"folder alone; fetch {layout.url}, unpack it and upload it there, or set source.path to a folder"
        )
    folder = next(
        (place for place in (store.below(layout.folder), store) if place.exists(layout.meta)), None
    )
    if folder is None:
        raise UsageError(
            f"source.path: no {config.kind} in {str(store)!r}: looked for {layout.meta} there and in "
            f"{layout.folder}; fetch {layout.url}, unpack it and upload it there"
        )
    missing = [name for name in names if not folder.exists(name)]
    if missing:
        raise UsageError(
            f"source.path: {folder} lacks {', '.join(missing)}; upload the official files there"
        )
    return folder


class _Batch(NamedTuple):
    data: npt.NDArray[np.uint8]  # [n, 3072]: the red, green and blue plane of each picture
    labels: npt.NDArray[np.int32]
    filenames: list[str]


def _batch(folder: Store, name: str, labels_key: str, class_names: list[str]) -> _Batch:
    content, path = load_pickle(folder, name), folder.address(name)
    data = _field(content, "data", path, _pixel_rows)
    labels = _field(content, labels_key, path, _whole_numbers)
    filenames = _field(content, "filenames", path, _texts)
    if not len(data) == len(labels) == len(filenames):
        raise DreamshardsError(
            f"{path}: {len(data)} rows of data, {len(labels)} {labels_key}, {len(filenames)} "
            "filenames; they must be equally many"
        )
    for row, label in enumerate(labels):
        if not 0 <= label < len(class_names):
            raise DreamshardsError(
                f"{path}: {labels_key}[{row}] = {label}; allowed: 0 to {len(class_names) - 1}, "
                "the classes of the meta file"
            )
    return _Batch(data, np.array(labels, np.int32), filenames)


def _class_names(folder: Store, layout: Layout) -> list[str]:
    key, path = layout.names_key, folder.address(layout.meta)
    names: list[str] = _field(load_pickle(folder, layout.meta), key, path, _texts)
    if not names or len(set(names)) < len(names) or "" in names:
        raise DreamshardsError(f"{path}: {key} = {names!r}; allowed: one or more different names")
    return names


def _field(content: dict[str, Any], key: str, path: str, check: Callable[[object], Any]) -> Any:
    if key not in content:
        raise DreamshardsError(
            f"{path} lacks {key!r}; it holds {', '.join(sorted(content)) or 'nothing'}; "
            "is it the CIFAR that source.kind names?"
        )
    try:
        return check(content[key])
    except ValueError as error:
        raise DreamshardsError(f"{path}: {key}: got {error}") from error


def _pixel_rows(value: object) -> npt.NDArray[np.uint8]:
    if not isinstance(value, PickledArray):
        raise ValueError(
            f"a {type(value).__name__}; allowed: a uint8 array of shape (n, {ROW_BYTES})"
        )
    rows = value.to_numpy()
    if rows.ndim != 2 or rows.shape[1] != ROW_BYTES:
        raise ValueError(f"an array of shape {rows.shape}; allowed: (n, {ROW_BYTES})")
    return rows


def _whole_numbers(value: object) -> list[int]:
    return _list_of(value, (int,), "whole numbers")


def _texts(value: object) -> list[str]:
    texts = _list_of(value, (str, bytes), "names")
    return [t.decode("utf-8", "backslashreplace") if isinstance(t, bytes) else t for t in texts]


def _list_of(value: object, types: tuple[type, ...], what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"a {type(value).__name__}; allowed: a list of {what}")
    for index, item in enumerate(value):
        if type(item) not in types:
            raise ValueError(f"a {type(item).__name__} at [{index}]; allowed: a list of {what}")
    return value


def _unique(names: Iterable[str]) -> list[str]:
    """Return the names, repeated ones told apart by `#2`, `#3` … in row order."""
    given = list(names)
    taken = set(given)
    if len(taken) == len(given):
        return given
    seen: dict[str, int] = {}
    for row, name in enumerate(given):
        number = seen.get(name, 0) + 1
        while number > 1 and f"{name}#{number}" in taken:
            number += 1
        seen[name] = number
        if number > 1:
            given[row] = f"{name}#{number}"
            taken.add(given[row])
    return given
