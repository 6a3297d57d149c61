"""Files that kill the process that decodes them, on real Ray: named, recorded, and the rest is taken."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import DreamshardsError
from pipeline.executor import RayExecutor
from pipeline.picture_sections import FolderPictures, ZoomVideoPictures
from pipeline.pictures import folder, open_pictures, zoom_videos
from pipeline.source_sections import ImageFolderSource, VideoFolderSource
from pipeline.sources import open_source, scan, video_scan
from pipeline.sources.deadly import DEADLY
from tests.test_sources_image_folder import picture, write
from tests.video_helpers import encoded, moving

pytestmark = pytest.mark.slow  # many processes die in them

POISON = b"poison"


class Fatal:
    """Stands for a decoder that some content makes crash; it travels to the workers by value."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __call__(self, file: Any, *rest: Any) -> Any:
        content = file if isinstance(file, bytes) else file.getvalue()
        if content.startswith(POISON):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.real(file, *rest)


class Poisoned:
    """A job's function whose module's decoder crashes of poison, wherever it runs."""

    def __init__(self, module: Any, decoder: str, function: str) -> None:
        self.module, self.decoder, self.function = module, decoder, function

    def __call__(self, shared: Any, job: Any) -> Any:
        real = getattr(self.module, self.decoder)
        if not isinstance(real, Fatal):
            setattr(self.module, self.decoder, Fatal(real))
        return getattr(self.module, self.function)(shared, job)  # in a worker, its own


def poison(monkeypatch: pytest.MonkeyPatch, module: Any, decoder: str, function: str) -> None:
    monkeypatch.setattr(module, function, Poisoned(module, decoder, function))


@pytest.fixture
def executor(
    ray_address: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RayExecutor]:
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path_factory.mktemp("cache")))
    with RayExecutor(ray_address, 2) as found:
        yield found


PICTURES = {f"{'ab'[row % 2]}/{row:02d}.png": picture(row) for row in range(10)}


def test_pictures_of_a_source(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, scan, "decode", "run_job")
    monkeypatch.setattr(scan, "FILES_PER_JOB", 4)
    write(tmp_path, PICTURES | {"a/bad.png": POISON + b"1", "b/bad.png": POISON + b"2"})

    def opened(what: str) -> Any:
        section = {"kind": "image-folder", "path": str(tmp_path), "on_unreadable": what}
        return open_source(ImageFolderSource.model_validate(section), executor)

    with pytest.raises(
        DreamshardsError, match=rf"2 of 12 pictures .*\n  a/bad\.png: {DEADLY}\n  b/bad"
    ):
        opened("stop")
    source = opened("skip")
    assert list(source.skipped) == [("a/bad.png", DEADLY), ("b/bad.png", DEADLY)]
    assert source.ids.to_pylist() == sorted(PICTURES)


def test_videos_of_a_source(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, video_scan, "probe", "run_job")
    files = {f"a/{seed}.mp4": encoded(moving(8, seed=seed)) for seed in range(3)}
    write(tmp_path, files | {"a/bad.mp4": POISON})
    section = {"kind": "video-folder", "path": str(tmp_path), "frames": 4, "on_unreadable": "skip"}
    source = open_source(VideoFolderSource.model_validate(section), executor)
    assert list(source.skipped) == [("a/bad.mp4", DEADLY)]
    assert source.ids.to_pylist() == sorted(files)


def test_pictures_of_a_mixing_set(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, folder, "decode", "_decode_chunk")
    monkeypatch.setattr(folder, "chunk_length", lambda size: 4)
    write(tmp_path, PICTURES | {"bad.png": POISON})
    section = FolderPictures(kind="folder", path=str(tmp_path), size=8, on_unreadable="skip")
    pictures = open_pictures(section, executor)
    assert list(pictures.skipped) == [("bad.png", DEADLY)]
    assert pictures.ids.to_pylist() == sorted(PICTURES)
    for row in range(10):
        place = pictures.ids.to_pylist().index(f"{'ab'[row % 2]}/{row:02d}.png")
        assert pictures.picture(place)[0, 0].tolist() == [row, 0, 255]


def test_zooms_of_a_mixing_set(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, zoom_videos, "decode_video", "_decode_chunk")
    files = {f"{seed}.mp4": encoded(moving(4, seed=seed)) for seed in range(2)}
    write(tmp_path, files | {"bad.mp4": POISON})
    section = ZoomVideoPictures(
        kind="zoom-videos", path=str(tmp_path), size=16, on_unreadable="skip"
    )
    zooms = open_pictures(section, executor)
    assert list(zooms.skipped) == [("bad.mp4", DEADLY)]
    assert zooms.ids.to_pylist() == sorted(files)
    assert np.array_equal(zooms.num_frames, [4, 4])


def test_a_job_that_dies_though_no_file_is_to_blame_is_told(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = scan.run_job

    def run_job(root: Any, job: Any) -> Any:
        if len(job.ids) > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(root, job)

    monkeypatch.setattr(scan, "run_job", run_job)
    write(tmp_path, PICTURES)
    section = {"kind": "image-folder", "path": str(tmp_path), "on_unreadable": "skip"}
    with pytest.raises(DreamshardsError, match=r"Ray lost a job 3 times .*run the same command"):
        open_source(ImageFolderSource.model_validate(section), executor)
