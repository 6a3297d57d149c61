"""Writing a mixing set where others can use it, a folder or an object store: as image files, or as one array.

    ROOT/recipe.json              what the root is to hold; written first
        flame/flame-000000.png …  one folder for each kind: torchvision's ImageFolder reads it, and so does
                                  `kind: folder` here
        pictures.json             what it holds; written last: its presence means the root is complete

or, instead of the image files, pictures.npy, uint8 [N, h, w, 3], and index.parquet, the ids in order.

The set is made in the cache first, so a recipe that names the same set finds it there. A run that was
stopped goes on, in making as in writing.
"""

from __future__ import annotations

import io
import os
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.ahead import ahead
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import Executor
from pipeline.identity import PLACES, differences
from pipeline.picture_sections import PicturesConfig
from pipeline.pictures import open_pictures
from pipeline.pictures.picture_set import PictureSet, group_of
from pipeline.progress import PlainProgress
from pipeline.publish import PARTIAL_NAME
from pipeline.shards.codecs import CODECS, Encoding, npy_header
from pipeline.shards.dataset import Json, read_sealed, write_sealed
from pipeline.shards.layout import FORMAT_VERSION, RECIPE_NAME
from pipeline.store import Root, Store, open_store, stays_below

Format = Literal["png", "jpg", "npy"]

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


def check_out(out: Store, config: PicturesConfig, form: Format) -> None:
    """Refuse, before any work, a root that cannot take this set.

    Raises:
        DreamshardsError: it holds another set or foreign files, or cannot be written.
    """
    stored = read_sealed(out, RECIPE_NAME)
    if stored is not None:
        _refuse_other(out, stored.get("identity", {}), _identity(config, form))
    elif any(not entry.path.startswith(f"{PARTIAL_NAME}/") for entry in out.entries()):
        raise DreamshardsError(
            f"{out} holds files that are not a set's; give --out a new or empty folder"
        )
    out.check_writable()


def export(root: Root, config: PicturesConfig, form: Format, executor: Executor) -> Export:
    """Make the set of a resolved section and write it to `root`, or go on with that.

    Raises:
        UsageError: an array of pictures of different sizes.
        DreamshardsError: the root holds something else, is written by another process, or cannot be.
    """
    out = open_store(root)
    check_out(out, config, form)
    pictures = open_pictures(config, executor)
    assert isinstance(pictures, PictureSet), "zooms are no pictures"
    if form == "npy":
        _check_one_size(pictures, out)
    identity = {**_identity(config, form), "digest": pictures.digest}
    with out.claim():
        stored = read_sealed(out, RECIPE_NAME)
        if stored is None:
            write_sealed(out, RECIPE_NAME, {"format_version": FORMAT_VERSION, "identity": identity})
        else:
            _refuse_other(out, stored["identity"], identity)
        out.discard_unfinished()
        write = _write_array if form == "npy" else _write_files
        num_written, names = write(out, pictures, form)
        content = read_sealed(out, PICTURES_NAME)
        if content is None:
            content = write_sealed(out, PICTURES_NAME, _content(config, form, pictures))
        out.discard_unfinished()
    sizes = {entry.path: entry.num_bytes for entry in out.entries()}
    return Export(content, num_written, sum(sizes[name] for name in names))


def _identity(config: PicturesConfig, form: Format) -> dict[str, Any]:
    section = config.model_dump(mode="json", exclude=PLACES)
    return {"format": form, **section}


def _refuse_other(out: Store, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    changed = differences(stored, wanted)
    if changed:
        lines = "\n  ".join(changed)
        raise DreamshardsError(
            f"{out} holds another set; it was left as it is\n  {lines}\n"
            f"either write to a new folder:     --out {out}-2\n"
            f"or remove the old one first:      {out.removal()}"
        )


def _check_one_size(pictures: PictureSet, out: Store) -> None:
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


def _names(out: Store, pictures: PictureSet, form: Format) -> list[str]:
    """Return where each picture goes: an id without a folder goes into the folder of its kind.

    Raises:
        DreamshardsError: an id, of a damaged cache perhaps, would leave the root.
    """
    names = [
        name if "/" in name else f"{group_of(name)}/{name}" for name in pictures.ids.to_pylist()
    ]
    for name in names:
        if not stays_below(name):
            raise DreamshardsError(
                f"{out}: a picture named {name!r} is no file below it; rename it"
            )
    suffixed = [name if name.endswith(f".{form}") else f"{name}.{form}" for name in names]
    if len(set(suffixed)) < len(names):
        suffixed = [f"{name}.{form}" for name in names]
    return suffixed


def _write_files(out: Store, pictures: PictureSet, form: Format) -> tuple[int, list[str]]:
    """Write the files that are not there yet; return how many, and the names of all."""
    names = _names(out, pictures, form)
    present = {entry.path for entry in out.entries()}
    missing = [place for place, name in enumerate(names) if name not in present]
    progress = PlainProgress("mixing set: writing", len(names), "files")

    def write(place: int) -> None:
        out.write(names[place], _encode(pictures.picture(place), form))

    for count, _ in enumerate(ahead(write, missing, 2 * _THREADS, _THREADS)):
        progress.show(len(names) - len(missing) + count + 1)
    return len(missing), names


def _encode(picture: npt.NDArray[np.uint8], form: Format) -> bytes:
    if form == "png":
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        return buffer.getvalue()
    return bytes(CODECS["jpg"].encode(picture[None], Encoding(_JPEG_QUALITY))[0])


# ── one array ──


def _write_array(out: Store, pictures: PictureSet, form: Format) -> tuple[int, list[str]]:
    """Write pictures.npy and index.parquet where they are not; return how many, and the former's name."""
    missing = [name for name in (INDEX_NAME, ARRAY_NAME) if not out.exists(name)]
    if not missing:
        return 0, [ARRAY_NAME]
    height, width = int(pictures.heights[0]), int(pictures.widths[0])
    with out.create(ARRAY_NAME) as file:
        file.write(npy_header((len(pictures), height, width, 3)))
        for place in range(len(pictures)):
            file.write(np.ascontiguousarray(pictures.picture(place)).data)
    index = io.BytesIO()
    pq.write_table(pa.table({"id": pictures.ids}), index, write_page_checksum=True)
    out.write(INDEX_NAME, index.getvalue())
    return len(missing), [ARRAY_NAME]
