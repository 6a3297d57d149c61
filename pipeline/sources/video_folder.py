"""A folder with one sub-folder of videos per class."""

from __future__ import annotations

import numpy as np

from pipeline.errors import UsageError
from pipeline.executor import Executor
from pipeline.source_sections import VideoFolderSource
from pipeline.sources.folder_listing import list_folder, strays_message
from pipeline.sources.video_files import VIDEOS
from pipeline.sources.video_source import VideoSource
from pipeline.sources.videos import open_videos
from pipeline.store import open_input


def open_video_folder(config: VideoFolderSource, executor: Executor) -> VideoSource:
    """List the folder and decode every video once; classes and what is ignored are as of image folders.

    Raises:
        UsageError: the folder is not laid out like this, or holds fewer videos than asked for.
        DreamshardsError: videos that cannot be read, all of them with reasons.
    """
    root = open_input(config.path)
    listing = list_folder(root, VIDEOS)
    if listing.strays and config.on_unreadable == "stop":
        raise UsageError(strays_message(root, listing.strays, VIDEOS))
    counts = np.bincount(listing.labels, minlength=len(listing.class_names))
    empty = [name for name, num in zip(listing.class_names, counts, strict=True) if not num]
    if empty:
        raise UsageError(
            f"source.path: class folders below {root} without a video: {', '.join(empty)}; add "
            f"videos ({', '.join(sorted(VIDEOS.suffixes))}) or remove the folders"
        )
    return open_videos(config, root, listing, executor)
