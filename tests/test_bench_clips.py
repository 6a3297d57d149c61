"""The bench of clips: its figures by hand, and that both ways to V-PixMix make what they say."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.bench import clips, vpixmix


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a video of 20 frames of 160×120 px that move to the left."""
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    wide = Image.fromarray(rng.integers(0, 256, (15, 40, 3), np.uint8)).resize((320, 120))
    with av.open(str(folder / "one.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for place in range(20):
            frame = av.VideoFrame.from_image(wide.crop((4 * place, 0, 4 * place + 160, 120)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return folder


def test_psnr_and_fine_structure_by_hand():
    black = np.zeros((1, 1, 8, 8, 3), np.uint8)
    assert clips.psnr(black, black) == np.inf
    assert clips.psnr(black, black + np.uint8(255)) == 0
    assert clips.psnr(black, black + np.uint8(51)) == pytest.approx(13.979, abs=1e-3)
    flat = np.full((1, 1, 8, 8, 3), 70.0)
    flat[:, :, 4:] = 20  # blocks of 4×4 that differ have no fine structure
    assert not clips.fine(flat).any()
    flat[0, 0, 1, 2, 0] += 16  # one pixel of sixteen: 15 stay, the mean takes 1
    fine = clips.fine(flat)
    assert fine[0, 0, 1, 2, 0] == 15
    assert np.count_nonzero(fine) == 16
    assert fine.sum() == 0


def test_kept_counts_the_fine_structure_that_was_mixed_in():
    rng = np.random.default_rng(0)
    clean = rng.integers(100, 110, (2, 3, 8, 8, 3)).astype(np.uint8)
    mixed = clean.copy()
    mixed[..., ::2, :] += np.uint8(40)
    assert clips.kept(clean, mixed, mixed) == 1
    half = mixed.copy()
    half[..., ::2, :] -= np.uint8(20)
    assert clips.kept(clean, mixed, half) == pytest.approx(0.75)  # half of the amplitude is lost
    assert clips.kept(clean, mixed, mixed + np.uint8(9)) == 1  # lighter, no less fine


@pytest.mark.slow
def test_clips_come_from_the_videos_and_every_way_gives_them_back(videos):
    clean = clips.clips_of(videos)
    assert clean.shape == (8, 16, 112, 112, 3)
    assert np.array_equal(clean, clips.clips_of(videos / "one.avi"))
    mixed = clips.mixed_with_zooms(clean[:2])
    assert 5 < np.abs(mixed.astype(int) - clean[:2]).mean() < 80
    assert len({way.name for way in clips.ways()}) == 15
    for way in clips.ways()[:6]:
        read = clips._read(way.codec, [way.encode(clip) for clip in mixed])
        assert np.array_equal(read, mixed) if way.codec == "npy" else clips.psnr(read, mixed) > 20
    lines = clips.report(videos, 1).splitlines()
    assert lines[0] == "8 clips of 16 frames of 112 px"
    assert [len(line) for line in lines[2:]] == [len(lines[2])] * 16
    assert lines[3].split()[:6] == ["npy", "602,240", "602,240", "inf", "inf", "100.0"]


def test_the_authors_way_makes_a_video_of_the_same_form(videos, tmp_path):
    (tmp_path / "mixing").mkdir()
    Image.fromarray(np.full((40, 50, 3), 255, np.uint8)).save(tmp_path / "mixing/white.png")
    side = vpixmix.authors(videos, tmp_path / "mixing", tmp_path / "out.avi")
    assert side() > 0
    with av.open(str(tmp_path / "out.avi")) as made:
        stream = made.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("mjpeg", 25)
        frames = [frame.to_ndarray(format="rgb24") for frame in made.decode(stream)]
    assert len(frames) == 20
    assert frames[0].shape == (120, 160, 3)
    # operation and weights are drawn for each frame, so that the brightness jumps
    assert np.std([frame.mean() for frame in frames]) > 10


def test_our_side_makes_the_shards_of_every_epoch(videos, tmp_path):
    (tmp_path / "mixing").mkdir()
    Image.fromarray(np.full((140, 150, 3), 255, np.uint8)).save(tmp_path / "mixing/white.png")
    folder = vpixmix.copies(videos, tmp_path / "copies")
    assert len(list((folder / "a").iterdir())) == vpixmix.NUM_VIDEOS
    inputs = vpixmix.inputs_of(folder, tmp_path / "mixing", "single", 32, 2)
    assert vpixmix.ours(inputs, tmp_path / "root")() > 0
    made = sorted(path.relative_to(tmp_path / "root") for path in tmp_path.rglob("*.parquet"))
    assert list(map(str, made)) == [f"epoch-{i:04d}/shard-000000.parquet" for i in range(2)]
    steps = vpixmix.profile(inputs, tmp_path / "root", 1)
    assert list(steps) == ["plan", "decode and cut", "mix", "encode", "all"]
    assert steps["all"] > 0
