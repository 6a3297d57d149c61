"""A folder with one sub-folder of pictures per class."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import Executor
from pipeline.source_sections import ImageFolderSource
from pipeline.sources.folder_listing import PICTURES, Listing, list_folder, strays_message
from pipeline.sources.images import IMAGE_SUFFIXES
from pipeline.sources.scan import Scan, scan_folder
from pipeline.sources.source import FileSource, Skipped, evenly
from pipeline.store import Store, open_input


def open_image_folder(config: ImageFolderSource, executor: Executor) -> FileSource:
    """List the folder and decode every file once, so that a build meets no surprise in hour ten.

    Class names are the sorted names of the sub-folders; files are taken at any depth below each.
    Names starting with a dot and the companions of pictures (.txt, .json, .xml, Thumbs.db …) are
    ignored. A picture that does not decode and a file of any other kind stop the build, or are left
    out and recorded under `on_unreadable: skip`. A class without a picture always stops it.

    With `config.count`, so many of the files are taken, evenly spread over the list of them by class and
    id; only these are decoded, and a class may get none. Unreadable ones are not replaced.

    Raises:
        UsageError: the folder is not laid out like this, or holds fewer pictures than asked for.
        DreamshardsError: pictures that cannot be read, all of them with reasons.
    """
    root = open_input(config.path)
    skip = config.on_unreadable == "skip"
    listing = list_folder(root)
    if listing.strays and not skip:
        raise UsageError(strays_message(root, listing.strays, PICTURES))
    empty = _classes_without(listing, np.ones(len(listing.ids), bool))
    if empty:
        raise UsageError(
            f"source.path: class folders below {root} without a picture: {', '.join(empty)}; add "
            f"pictures ({', '.join(sorted(IMAGE_SUFFIXES))}) or remove the folders"
        )
    if config.count is not None:
        places = evenly(len(listing.ids), config.count, f"source.path: {root}")
        listing = listing.take(places)
    scan = scan_folder(root, listing, executor)
    unreadable = sorted([*listing.broken, *_unreadable(listing, scan)])
    if unreadable and not skip:
        num_files = len(listing.ids) + len(listing.broken)
        raise DreamshardsError(_unreadable_message(root, unreadable, num_files))
    return _readable(root, listing, scan, tuple(sorted([*unreadable, *listing.strays])))


def _readable(
    root: Store, listing: Listing, scan: Scan, skipped: tuple[Skipped, ...]
) -> FileSource:
    keep = scan.reasons.is_null().to_numpy(zero_copy_only=False)
    unchosen = _classes_without(listing, np.ones(len(keep), bool))
    empty = [name for name in _classes_without(listing, keep) if name not in unchosen]
    if empty:
        reasons = [line for line in skipped if line.id.split("/")[0] in empty]
        raise DreamshardsError(
            f"class folders below {root} without a readable picture: {', '.join(empty)}; repair or "
            "remove them\n" + _lines(reasons)
        )
    return FileSource.of(
        class_names=listing.class_names,
        labels=listing.labels[keep],
        ids=listing.ids.filter(pa.array(keep)),
        heights=scan.heights[keep],
        widths=scan.widths[keep],
        skipped=skipped,
        store=root,
        size_bytes=listing.size_bytes[keep],
        digests=scan.digests[keep],
    )


def _classes_without(listing: Listing, keep: np.typing.NDArray[np.bool_]) -> list[str]:
    """Return the classes none of whose files is kept."""
    counts = np.bincount(listing.labels[keep], minlength=len(listing.class_names))
    return [listing.class_names[label] for label in np.flatnonzero(counts == 0)]


def _unreadable(listing: Listing, scan: Scan) -> list[Skipped]:
    rows = scan.reasons.is_valid()
    names, reasons = listing.ids.filter(rows).to_pylist(), scan.reasons.filter(rows).to_pylist()
    return [Skipped(name, reason) for name, reason in zip(names, reasons, strict=True)]


def _unreadable_message(root: Store, unreadable: list[Skipped], num_files: int) -> str:
    return (
        f"{len(unreadable):,} of {num_files:,} pictures below {root} cannot be read; repair or "
        "remove them, or leave them out with --set source.on_unreadable=skip\n"
    ) + _lines(unreadable)


def _lines(skipped: list[Skipped]) -> str:
    return "\n".join(f"  {line.id}: {line.reason}" for line in skipped)
