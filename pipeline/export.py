"""Writing a mixing set where others can use it: as image files, or as one array.

    DIR/recipe.json               what the folder is to hold; written first
        flame/flame-000000.png …  one folder for each kind: torchvision's ImageFolder reads it, and so does
                                  `kind: folder` here
        pictures.json             what it holds; written last: its presence means the folder is complete

or, instead of the image files, pictures.npy, uint8 [N, h, w, 3], and index.parquet, the ids in order.

The set is made in the cache first, so a recipe that names the same set finds it there. A run that was
stopped goes on, in making as in writing.
"""

from __future__ import annotations

import io
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import Executor
from pipeline.identity import PLACES, differences
from pipeline.picture_sections import PicturesConfig
from pipeline.pictures import open_pictures
from pipeline.pictures.picture_set import PictureSet, group_of
from pipeline.progress import PlainProgress
from pipeline.publish import (
    PARTIAL_NAME,
    check_writable,
    claimed,
    fsync_folder,
    publish,
    storage_error,
)
from pipeline.shards.codecs import CODECS, Encoding, npy_header
from pipeline.shards.dataset import Json, read_sealed, write_sealed
from pipeline.shards.layout import FORMAT_VERSION, RECIPE_NAME

Format = Literal["png", "jpg", "npy"]
FORMATS: tuple[Format, ...] = ("png", "jpg", "npy")

PICTURES_NAME, ARRAY_NAME, INDEX_NAME = "pictures.json", "pictures.npy", "index.parquet"

_JPEG_QUALITY = 95  # 4:4:4: saturated colours suffer from less
_THREADS = 2 * (os.cpu_count() or 1)


class Export(NamedTuple):
    """What was written.

    Attributes:
        content: of pictures.json.
        num_written: files written now; 0 if nothing was left to do.
        num_bytes: size of all pictures there.
    """

    content: Json
    num_written: int
    num_bytes: int


def check_folder(out: Path, config: PicturesConfig, form: Format) -> None:
    """Refuse, before any work, a folder that cannot take this set.

    Raises:
        DreamshardsError: it holds another set or foreign files, or cannot be written.
    """
    if out.is_dir():
        stored = read_sealed(out, RECIPE_NAME)
        if stored is not None:
            _refuse_other(out, stored.get("identity", {}), _identity(config, form))
        elif any(entry.name != PARTIAL_NAME for entry in out.iterdir()):
            raise DreamshardsError(
                f"{out} holds files that are not a set's; give --out a new or empty folder"
            )
    check_writable(out)


def export(out: Path, config: PicturesConfig, form: Format, executor: Executor) -> Export:
    """Make the set of a resolved section and write it to the folder `out`, or go on with that.

    Raises:
        UsageError: an array of pictures of different sizes.
        DreamshardsError: the folder holds something else, is written by another process, or cannot be.
    """
    check_folder(out, config, form)
    pictures = open_pictures(config, executor)
    assert isinstance(pictures, PictureSet), "zooms are no pictures"
    if form == "npy":
        _check_one_size(pictures, out)
    identity = {**_identity(config, form), "digest": pictures.digest}
    with claimed(out):
        stored = read_sealed(out, RECIPE_NAME)
        if stored is None:
            write_sealed(out, RECIPE_NAME, {"format_version": FORMAT_VERSION, "identity": identity})
        else:
            _refuse_other(out, stored["identity"], identity)
        write = _write_array if form == "npy" else _write_files
        num_written, paths = write(out, pictures, form)
        content = read_sealed(out, PICTURES_NAME)
        if content is None:
            content = write_sealed(out, PICTURES_NAME, _content(config, form, pictures))
        shutil.rmtree(out / PARTIAL_NAME, ignore_errors=True)
    return Export(content, num_written, sum(path.stat().st_size for path in paths))


def _identity(config: PicturesConfig, form: Format) -> dict[str, Any]:
    section = config.model_dump(mode="json", exclude=PLACES)
    return {"format": form, **section}


def _refuse_other(out: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    changed = differences(stored, wanted)
    if changed:
        lines = "\n  ".join(changed)
        raise DreamshardsError(
            f"{out} holds another set; it was left as it is\n  {lines}\n"
            f"either write to a new folder:     --out {out}-2\n"
            f"or remove the old one first:      rm -r {out}"
        )


def _check_one_size(pictures: PictureSet, out: Path) -> None:
    shapes = {*zip(pictures.heights.tolist(), pictures.widths.tolist(), strict=True)}
    if len(shapes) > 1:
        raise UsageError(
            f"{out}: pictures of {len(shapes)} different sizes make no array; use --format png or jpg"
        )


def _content(config: PicturesConfig, form: Format, pictures: PictureSet) -> Json:
    return {
        "format_version": FORMAT_VERSION,
        "format": form,
        "mixing_set": config.model_dump(mode="json"),
        "pictures": len(pictures),
        "set_digest": pictures.digest,
        "draws": [tally._asdict() for tally in pictures.tallies],
        "skipped": [skip._asdict() for skip in pictures.skipped],
    }


# ── image files ──


def _paths(out: Path, pictures: PictureSet, form: Format) -> list[Path]:
    """Return where each picture goes: an id without a folder goes into the folder of its kind."""
    names = [
        name if "/" in name else f"{group_of(name)}/{name}" for name in pictures.ids.to_pylist()
    ]
    suffixed = [name if name.endswith(f".{form}") else f"{name}.{form}" for name in names]
    if len(set(suffixed)) < len(names):
        suffixed = [f"{name}.{form}" for name in names]
    return [out / name for name in suffixed]


def _write_files(out: Path, pictures: PictureSet, form: Format) -> tuple[int, list[Path]]:
    """Write the files that are not there yet; return how many, and all."""
    paths = _paths(out, pictures, form)
    folders = sorted({path.parent for path in paths})
    scratch = out / PARTIAL_NAME
    try:
        for folder in (scratch, *folders):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(out, error) from error
    present = {path for folder in folders for path in folder.iterdir()}
    missing = [place for place, path in enumerate(paths) if path not in present]
    progress = PlainProgress("mixing set: writing", len(paths), "files")
    stop = threading.Event()

    def write(place: int) -> None:
        if not stop.is_set():
            content = _encode(pictures.picture(place), form)
            _write_durably(scratch / f"{place}.{form}", paths[place], content)

    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            for count, _ in enumerate(threads.map(write, missing)):
                progress.show(len(paths) - len(missing) + count + 1)
        finally:
            stop.set()
    for folder in folders:
        fsync_folder(folder)
    return len(missing), paths


def _encode(picture: npt.NDArray[np.uint8], form: Format) -> bytes:
    if form == "png":
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        return buffer.getvalue()
    return bytes(CODECS["jpg"].encode(picture[None], Encoding(_JPEG_QUALITY))[0])


def _write_durably(temporary: Path, path: Path, content: bytes) -> None:
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error


# ── one array ──


def _write_array(out: Path, pictures: PictureSet, form: Format) -> tuple[int, list[Path]]:
    """Write pictures.npy and index.parquet where they are not; return how many, and the former."""
    array, index = out / ARRAY_NAME, out / INDEX_NAME
    missing = [path for path in (index, array) if not path.is_file()]
    if not missing:
        return 0, [array]
    height, width = int(pictures.heights[0]), int(pictures.widths[0])
    scratch = out / PARTIAL_NAME
    with publish(array, scratch) as file:
        file.write(npy_header((len(pictures), height, width, 3)))
        for place in range(len(pictures)):
            file.write(np.ascontiguousarray(pictures.picture(place)).data)
    with publish(index, scratch) as file:
        pq.write_table(pa.table({"id": pictures.ids}), file, write_page_checksum=True)
    return len(missing), [array]
