"""Codecs of clips: what other readers see, the same bytes each time, and how close they come."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import av
import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from pipeline.build import build
from pipeline.errors import DreamshardsError
from pipeline.executor import InlineExecutor
from pipeline.inputs import open_inputs, reopen_inputs
from pipeline.recipe import parse_recipe
from pipeline.replay import render_rows, replay
from pipeline.shards import tar
from pipeline.shards.clip_codecs import (
    decode_mjpg,
    decode_mp4,
    encode_mjpg,
    encode_mp4,
    mjpg_into,
    mp4_into,
    split_jpegs,
)
from pipeline.shards.codecs import CODECS, Encoding, record_bytes
from pipeline.shards.dataset import read_dataset
from pipeline.shards.layout import keys
from pipeline.shards.yuv import from_planes, to_planes
from pipeline.store import open_store
from pipeline.stream import LiveStream, ShardDataset, ShardStream
from pipeline.stream.decode import decode_payloads
from pipeline.stream.index import read_index
from pipeline.verify import verify
from tests.stream_helpers import truth_of
from tests.test_clips import recipe
from tests.test_shards_codecs import noise, psnr

HOW = {"mjpg": Encoding(95, "444"), "mp4": Encoding(None, "444", 16)}
DECODERS = {"mjpg": decode_mjpg, "mp4": decode_mp4}
INTO = {"mjpg": mjpg_into, "mp4": mp4_into}
BOTH = pytest.mark.parametrize("codec", ["mjpg", "mp4"])


def moving(num: int, frames: int, size: int, saturated: bool = False) -> np.ndarray:
    """Return clips of waves that move, uint8 [num, frames, size, size, 3]; `saturated`: of bright colours."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:size, 0:size]
    out = np.empty((num, frames, size, size, 3))
    for clip in out:
        for colour in range(3):
            slope_y, slope_x, speed = rng.uniform(-0.5, 0.5, 3) * (2 if saturated else 0.5)
            phase = rng.uniform(0, 7) if saturated else 1
            for t in range(frames):
                clip[t, :, :, colour] = np.sin(slope_y * y + slope_x * x + speed * t + phase)
    return np.rint(127.5 + 127.5 * out).astype(np.uint8)


def encode(codec: str, clips: np.ndarray, how: Encoding | None = None) -> list[bytes]:
    return [bytes(payload) for payload in CODECS[codec].encode(clips, how or HOW[codec])]


# ── JPEGs end to end ──


@pytest.mark.parametrize(("chroma", "layer"), [("444", (1, 1)), ("420", (2, 2))])
def test_mjpg_is_baseline_jpegs_end_to_end(chroma, layer):
    clip = moving(1, 5, 40)[0]
    payload = encode_mjpg(clip, 90, chroma)
    jpegs = split_jpegs(payload)
    assert b"".join(jpegs) == payload
    assert len(jpegs) == 5
    found = []
    for jpeg in jpegs:
        assert bytes(jpeg).count(b"\xff\xc0") == 1  # SOF0
        with Image.open(io.BytesIO(jpeg)) as image:
            assert image.layer[0][1:3] == layer
            assert [part[1:3] for part in image.layer[1:]] == [(1, 1)] * 2
            found.append(np.asarray(image))
    decoded = decode_mjpg(payload)
    assert np.abs(decoded.astype(int) - np.stack(found)).max() <= 1
    assert psnr(decoded, clip) > 35
    with av.open(io.BytesIO(payload), format="mjpeg") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 5
    assert psnr(np.stack(frames), decoded) > 30


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 100), st.integers(1, 6), st.integers(1, 40), st.sampled_from(["444", "420"]))
def test_jpegs_are_told_apart_at_any_quality(quality, frames, size, chroma):
    clip = noise(frames, size)
    payload = encode_mjpg(clip, quality, chroma)
    alone = [encode_mjpg(clip[i : i + 1], quality, chroma) for i in range(frames)]
    assert list(map(bytes, split_jpegs(memoryview(payload)))) == alone


def test_an_end_marker_within_a_table_is_not_the_end():
    payload = encode_mjpg(noise(2, 16), 80, "444")
    comment = b"\xff\xfe\x00\x06\xff\xd9\xff\xd8"
    first, second = map(bytes, split_jpegs(payload))
    commented = first[:2] + comment + first[2:]
    assert list(map(bytes, split_jpegs(commented + second))) == [commented, second]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda payload: payload[:-2], "frame 2 has no end marker"),
        (lambda payload: payload + b"\x00", "frame 3 does not begin with the start marker"),
        (lambda payload: b"\x00" + payload, "frame 0 does not begin with the start marker"),
        (lambda payload: payload[:-2] + b"\x00\x00", "frame 2 has no end marker"),
        (lambda payload: payload[:30], "frame 0 has no scan"),
        (lambda payload: payload + payload, "it has 6 frames"),
        (lambda payload: payload[: payload.index(b"\xff\xd9") + 2], "it has 1 frames"),
        (lambda payload: b"", "it has 0 frames"),
    ],
)
def test_what_is_no_mjpg_of_three_frames_is_refused(change, words):
    payload = encode_mjpg(noise(3, 16), 80, "444")
    out = np.empty((3, 16, 16, 3), np.uint8)
    mjpg_into(payload, out)
    with pytest.raises(ValueError, match=words):
        mjpg_into(change(payload), out)


# ── H.264 in MP4 ──


def frames_of(payload: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(payload)) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize(("chroma", "size"), [("444", 40), ("444", 33), ("420", 40)])
def test_mp4_is_one_group_of_pictures_whose_colours_are_tagged(chroma, size):
    clip = moving(1, 18, size)[0]
    payload = encode_mp4(clip, 16, chroma)
    frames = frames_of(payload)
    assert len(frames) == 18
    assert [frame.key_frame for frame in frames] == [True] + [False] * 17
    for frame in frames:
        assert frame.format.name == f"yuv{chroma}p"
        assert (frame.width, frame.height) == (size, size)
        assert (frame.colorspace, frame.color_range) == (6, 1)  # BT.601, limited
    for note in (b"x264", b"Lav", b"crf="):
        assert note not in payload
    ours = decode_mp4(payload)
    theirs = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    assert psnr(ours, clip) > (38 if chroma == "444" else 30)
    if chroma == "444":
        assert np.abs(ours.astype(int) - theirs).max() <= 1
    else:  # FFmpeg takes the nearest colour
        assert psnr(ours, theirs) > 25
        assert psnr(ours, clip) > psnr(theirs, clip)


PROGRAM = """
import hashlib, sys, numpy as np
from pipeline.shards.clip_codecs import encode_mp4
for clip in np.load(sys.argv[1]):
    for chroma in ("444", "420"):
        print(hashlib.sha256(encode_mp4(clip, 16, chroma)).hexdigest())
"""


def test_mp4_does_not_depend_on_what_memory_held_before(tmp_path):
    """The C library fills what it hands out with the byte that the environment names."""
    clips, found = tmp_path / "clips.npy", []
    np.save(clips, moving(3, 16, 112, saturated=True))
    for filler in ("85", "170"):
        environment = os.environ | {"MALLOC_PERTURB_": filler}
        command = [sys.executable, "-c", PROGRAM, clips]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split())
    assert len(set(found[0])) == 6
    assert found[0] == found[1]


def test_a_lower_rate_factor_is_larger_and_closer():
    clip = moving(1, 8, 48, saturated=True)[0]
    sizes, likeness = [], []
    for crf in (40, 25, 10, 0):
        payload = encode_mp4(clip, crf, "444")
        sizes.append(len(payload))
        likeness.append(psnr(decode_mp4(payload), clip))
    assert sizes == sorted(set(sizes))
    assert likeness == sorted(set(likeness))
    assert likeness[-1] > 50  # what is left is the rounding of the conversion


def test_halved_chroma_takes_the_colour_of_fine_structure():
    clip = moving(1, 8, 48, saturated=True)[0]
    full, halved = (
        psnr(decode_mp4(encode_mp4(clip, 10, chroma)), clip) for chroma in ("444", "420")
    )
    assert full > halved + 5


@pytest.mark.parametrize("cut", [0, 10, 48, 1000, -200])
def test_a_truncated_mp4_is_refused(cut):
    clip = moving(1, 8, 48)[0]
    payload = encode_mp4(clip, 16, "444")
    mp4_into(payload, np.empty_like(clip))
    with pytest.raises(ValueError, match=r"Invalid data found|End of file"):
        mp4_into(payload[:cut], np.empty_like(clip))


def test_other_videos_are_refused():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv422p"
        picture = av.VideoFrame.from_ndarray(noise(1, 32)[0], format="rgb24")
        container.mux([*stream.encode(picture), *stream.encode()])
    with pytest.raises(ValueError, match="its frames are stored as yuv422p"):
        decode_mp4(file.getvalue())
    sound = io.BytesIO()
    with av.open(sound, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(ValueError, match="it holds no video"):
        decode_mp4(sound.getvalue())


@BOTH
def test_a_clip_of_another_shape_is_refused(codec):
    (payload,) = encode(codec, moving(1, 6, 32))
    wrong = {"mjpg": r"a frame of \(32, 32, 3\)|[Bb]uffer", "mp4": r"a frame of \(32, 32, 3\)"}[
        codec
    ]
    for frames, size, words in (
        (5, 32, "6 frames"),
        (7, 32, "6 frames"),
        (6, 30, wrong),
        (6, 40, wrong),
    ):
        with pytest.raises(ValueError, match=words):
            INTO[codec](payload, np.empty((frames, size, size, 3), np.uint8))


# ── colours ──


def planes_of(size: int, each: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return planes to fill, their rows padded."""
    halved = size // each, size // each + 3
    return tuple(np.zeros(shape, np.uint8) for shape in ((size, size + 5), halved, halved))


def formula(rgb: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return Y, Cb, Cr of BT.601 before they are rounded, each float64 [H, W]."""
    red, green, blue = np.moveaxis(rgb / 255, -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    colours = (128 + 112 * (blue - luma) / 0.886, 128 + 112 * (red - luma) / 0.701)
    return (16 + 219 * luma, *colours)


def means(plane: np.ndarray) -> np.ndarray:
    return (plane[::2, ::2] + plane[::2, 1::2] + plane[1::2, ::2] + plane[1::2, 1::2]) / 4


@pytest.mark.parametrize("each", [1, 2])
def test_planes_are_those_of_the_formula(each):
    picture = noise(1, 64)[0]
    picture[:8, :8] = [[[255, 0, 0]], [[0, 255, 0]], [[0, 0, 255]], [[255] * 3]] * 2
    planes = planes_of(64, each)
    to_planes(picture, planes, each)
    exact = formula(picture)
    if each == 2:
        exact = (exact[0], means(exact[1]), means(exact[2]))
    for plane, expected in zip(planes, exact, strict=True):
        inner = plane[:, : expected.shape[1]]
        assert np.abs(inner - expected).max() < 0.5001
        assert not plane[:, expected.shape[1] :].any()


def test_greys_stay_grey_and_colours_come_back_within_two_levels():
    greys = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    planes = planes_of(16, 1)
    to_planes(greys, planes, 1)
    assert (planes[1][:, :16] == 128).all()
    assert (planes[2][:, :16] == 128).all()
    out = np.empty_like(greys)
    from_planes(planes, 1, out)
    assert np.abs(out.astype(int) - greys).max() <= 1
    picture, planes, out = noise(1, 128)[0], planes_of(128, 1), np.empty((128, 128, 3), np.uint8)
    to_planes(picture, planes, 1)
    from_planes(planes, 1, out)
    assert np.abs(out.astype(int) - picture).max() <= 2


def test_halved_planes_are_read_with_a_triangle():
    size = 24
    planes = planes_of(size, 2)
    rng = np.random.default_rng(0)
    for plane in planes:
        plane[:] = rng.integers(100, 150, plane.shape)
    out = np.empty((size, size, 3), np.uint8)
    from_planes(planes, 2, out)
    wide = []
    for plane in planes[1:]:
        padded = np.pad(plane[:, : size // 2].astype(float), 1, "edge")
        tall = np.empty((size, size // 2 + 2))
        tall[0::2] = 0.75 * padded[1:-1] + 0.25 * padded[:-2]
        tall[1::2] = 0.75 * padded[1:-1] + 0.25 * padded[2:]
        full = np.empty((size, size))
        full[:, 0::2] = 0.75 * tall[:, 1:-1] + 0.25 * tall[:, :-2]
        full[:, 1::2] = 0.75 * tall[:, 1:-1] + 0.25 * tall[:, 2:]
        wide.append((full - 128) / 112)
    light = (planes[0][:, :size] - 16.0) / 219
    red, blue = light + 0.701 * wide[1], light + 0.886 * wide[0]
    green = (light - 0.299 * red - 0.114 * blue) / 0.587
    expected = 255 * np.stack([red, green, blue], axis=-1)
    assert np.abs(out - expected).max() < 0.501


# ── both codecs ──


@BOTH
def test_encoding_is_deterministic_and_does_not_depend_on_the_batch(codec):
    clips = moving(4, 6, 48, saturated=True)
    payloads = encode(codec, clips)
    assert encode(codec, clips.copy()) == payloads
    assert [encode(codec, clips[i : i + 1])[0] for i in (3, 0, 2, 1)] == [
        payloads[i] for i in (3, 0, 2, 1)
    ]
    strided = np.ascontiguousarray(clips.transpose(0, 1, 3, 2, 4)).transpose(0, 1, 3, 2, 4)
    strided.flags.writeable = False
    assert encode(codec, strided) == payloads
    assert encode(codec, clips[:0]) == []


@BOTH
def test_both_ways_to_decode_agree(codec):
    clips = moving(2, 6, 48)
    for clip, payload in zip(clips, encode(codec, clips), strict=True):
        out = np.empty_like(clip)
        INTO[codec](memoryview(payload), out)
        assert np.array_equal(out, CODECS[codec].decode(payload))
        assert psnr(out, clip) > 38


@BOTH
def test_record_bytes_is_of_the_right_order(codec):
    clips = np.concatenate([moving(2, 16, 112), moving(2, 16, 112, saturated=True)])
    records = tar.pack(keys(0, 0, 4), codec, encode(codec, clips), np.zeros(4, np.int32))
    assert 0.3 < len(records.content) / 4 / record_bytes(codec, 112, 16) < 3


@BOTH
def test_an_empty_payload_is_no_clip(codec):
    with pytest.raises(ValueError, match=r"holds no frame|Invalid data"):
        DECODERS[codec](b"")


# ── roots ──


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return finished roots by codec, 2 epochs × 3 shards of 12 clips of 5 frames of 16 px."""
    folder = tmp_path_factory.mktemp("clips")
    for codec in DECODERS:
        chosen = recipe(shards={"samples_per_shard": 5, "codec": codec})
        build(chosen, folder / codec, InlineExecutor())
    return {codec: folder / codec for codec in DECODERS}


@BOTH
def test_readers_agree_with_each_other_and_with_the_members(roots, codec):
    root = roots[codec]
    truth = truth_of(root)
    assert truth.images.shape == (12, 5, 16, 16, 3)
    for num_threads in (1, 2, 5):
        stream = ShardStream(str(root), batch_size=5, num_threads=num_threads, return_keys=True)
        batches = list(stream)
        assert [len(batch.labels) for batch in batches] == [5, 5, 2]
        assert np.array_equal(np.concatenate([batch.images for batch in batches]), truth.images)
        assert [key for batch in batches for key in batch.keys] == truth.keys
    dataset = ShardDataset(root, num_threads=2)
    order = [7, 0, 11, 7]
    samples = dataset.__getitems__(order)
    assert np.array_equal(np.stack([sample.image for sample in samples]), truth.images[order])
    live = LiveStream(str(root), batch_size=5)
    assert np.array_equal(np.concatenate([batch.images for batch in live]), truth.images)


@BOTH
def test_workers_of_a_loader_decode(roots, codec):
    loader = DataLoader(
        ShardStream(str(roots[codec]), batch_size=5), batch_size=None, num_workers=2
    )
    found = np.concatenate([images for images, _ in loader])
    assert np.array_equal(found, truth_of(roots[codec]).images)


@BOTH
def test_every_clip_is_made_again_byte_for_byte(roots, codec, tmp_path):
    root = roots[codec]
    report = verify(root, 1.0, (), InlineExecutor())
    assert (report.num_replayed, report.faults) == (24, [])
    dataset = read_dataset(root)
    assert dataset["sample"]["lossless"] is False
    assert ("av" in dataset["versions"]) == (codec == "mp4")
    row = pq.read_table(root / "epoch-0000" / "manifest.parquet").slice(3, 1)
    key = row["key"][0].as_py()
    assert "identical: " in replay(root, key, tmp_path, [], InlineExecutor())[-2]
    rendered = render_rows(reopen_inputs(root, dataset, [], InlineExecutor()), row)
    expected = {"replayed": rendered.samples[0], "stored": truth_of(root).images[3]}
    for what, clip in expected.items():
        with Image.open(tmp_path / f"{key}-{what}.png") as image:
            assert np.array_equal(np.asarray(image), np.concatenate(clip, axis=1))


@BOTH
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda payload: payload[: len(payload) // 2], ""),
        (lambda payload: bytes(len(payload)), ""),
        (lambda payload: None, "it has 6 frames"),
    ],
)
def test_a_payload_that_is_no_such_clip_is_named(roots, codec, change, words):
    store = open_store(roots[codec])
    index = read_index(store, read_dataset(store), 0)
    (whole,) = encode(codec, moving(1, 5, 16))
    wrong = change(whole) or encode(codec, moving(1, 6, 16))[0]
    payloads = [whole, wrong]
    out = np.empty((2, *index.shape), np.uint8)
    with pytest.raises(DreamshardsError) as caught:
        decode_payloads(store, index, [8, 9], lambda position: payloads[position - 8], False, out)
    message = str(caught.value)
    said = f"shard-000002.tar: sample 0000-0000000009 is not a readable {codec} of (5, 16, 16, 3): "
    assert said + words in message
    with pytest.raises(DreamshardsError, match="sample 0000-0000000009 has CRC-32"):
        decode_payloads(store, index, [9], lambda position: wrong, True, out[:1])


def test_without_pyav_an_mp4_is_refused_before_work_and_when_read(roots, monkeypatch):
    chosen = recipe(shards={"codec": "mp4"})
    batches = iter(ShardStream(str(roots["mp4"]), batch_size=5, read_ahead=0))
    monkeypatch.setitem(sys.modules, "av", None)
    missing = r"shards\.codec = mp4 needs PyAV, .* install dreamshards\[video\]"
    with pytest.raises(DreamshardsError, match=missing):
        open_inputs(chosen, InlineExecutor())
    with pytest.raises(DreamshardsError, match=missing):
        next(batches)
    open_inputs(recipe(shards={"codec": "mjpg"}), InlineExecutor())


def test_clips_are_raw_up_to_64_px_and_jpegs_above():
    small, large = recipe().shards, recipe(transform={"size": 65}).shards
    assert small.model_dump() == {"codec": "npy", "quality": None, "samples_per_shard": None}
    assert large.model_dump() == {
        "codec": "mjpg",
        "quality": 95,
        "chroma": "444",
        "samples_per_shard": None,
    }
    mp4 = recipe(shards={"codec": "mp4"}).shards
    assert (mp4.crf, mp4.chroma, mp4.quality) == (16, "444", None)


@BOTH
def test_sequences_of_imagenet_p_may_be_stored_so(tmp_path, codec):
    rng = np.random.default_rng(0)
    (tmp_path / "photos/a").mkdir(parents=True)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 12, 3), np.uint8))
    coarse.resize((384, 256), Image.Resampling.BICUBIC).save(tmp_path / "photos/a/0.png")
    content = {
        "name": "sequences",
        "source": {"kind": "image-folder", "path": str(tmp_path / "photos")},
        "transform": {"kind": "center-crop", "size": 224},
        "augmentation": {"family": "perturbations", "names": ["brightness"]},
        "shards": {"codec": codec},
    }
    found = {}
    for name, shards in (("raw", {"codec": "npy"}), (codec, {"codec": codec})):
        chosen = parse_recipe(content | {"shards": shards}, "recipe")
        build(chosen, tmp_path / name, InlineExecutor())
        ((images, _),) = ShardStream(str(tmp_path / name), batch_size=1)
        found[name] = images.numpy()
    assert found[codec].shape == found["raw"].shape == (1, 31, 224, 224, 3)
    assert psnr(found[codec], found["raw"]) > 40
    sizes = [(tmp_path / name / "epoch-0000/shard-000000.tar").stat().st_size for name in found]
    assert sizes[1] < sizes[0] / 4
    assert verify(tmp_path / codec, 1.0, (), InlineExecutor()).faults == []


# ── other readers ──


def urls_of(root: Path) -> list[str]:
    return [str(path) for path in sorted(root.glob("epoch-0000/*.tar"))]


@BOTH
def test_webdataset_decodes_them_with_our_function(roots, codec):
    handler = webdataset.handle_extension(codec, DECODERS[codec])
    samples = webdataset.WebDataset(urls_of(roots[codec]), shardshuffle=False).decode(handler)
    found = [(sample["__key__"], sample["cls"], sample[codec]) for sample in samples]
    truth = truth_of(roots[codec])
    assert [key for key, *_ in found] == truth.keys
    assert [label for _, label, _ in found] == truth.labels
    assert np.array_equal(np.stack([clip for *_, clip in found]), truth.images)


@BOTH
def test_hugging_face_datasets_gives_their_bytes(roots, codec):
    samples = datasets.load_dataset(
        "webdataset", data_files=urls_of(roots[codec]), split="train", streaming=True
    )
    if codec == "mp4":  # it would decode them by itself, with torchcodec
        samples = samples.cast_column("mp4", datasets.Video(decode=False))
    found = []
    for sample in samples:
        content = sample[codec]["bytes"] if codec == "mp4" else sample[codec]
        found.append(DECODERS[codec](content))
    assert np.array_equal(np.stack(found), truth_of(roots[codec]).images)
