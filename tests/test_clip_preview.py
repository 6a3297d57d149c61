"""Previews of clips: films of the very pixels stored, the modes of V-PixMix, videos beside the page."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.build import build
from pipeline.cli import main
from pipeline.coherence import coherence
from pipeline.errors import UsageError
from pipeline.executor import InlineExecutor
from pipeline.inputs import open_inputs, reopen_inputs
from pipeline.preview import preview
from pipeline.preview.chart import Series, draw_chart
from pipeline.preview.clip_page import clip_side, render_clip_page
from pipeline.preview.content import About, ClipPreview, Film, Take
from pipeline.preview.modes import compare_modes
from pipeline.preview.player import film, frames_shown
from pipeline.preview.sheet import frame_numbers
from pipeline.preview.videos import side_by_side
from pipeline.recipe import Recipe, parse_recipe
from pipeline.replay import render_rows
from pipeline.sampling import Inputs
from pipeline.shards.dataset import read_dataset
from pipeline.shards.layout import epoch_manifest
from pipeline.shards.reader import read_manifest
from pipeline.sources.clips import ArrayClips

T, S = 6, 32
EVIL = '<b>"x"</b>'


def recipe(augmentation: dict[str, Any], **fields: Any) -> Recipe:
    content: dict[str, Any] = {
        "name": "clips",
        "epochs": 2,
        "source": {"kind": "synthetic", "law": "blobs", "frames": T, "count": 6, "size": 40},
        "transform": {"kind": "pad-crop", "size": S},
        "augmentation": augmentation,
        "shards": {"codec": "npy"},
    }
    if augmentation["family"] == "vpixmix":
        zooms = augmentation.get("picture") == "zoom"
        content["mixing_set"] = {"kind": "zoom", "count": 2} if zooms else {"kind": "gabor"}
        content["mixing_set"] |= {"count": 2}
    return parse_recipe(content | fields, "the test's recipe")


def built(root: Path, augmentation: dict[str, Any], **fields: Any) -> Path:
    build(recipe(augmentation, **fields), root, InlineExecutor())
    return root


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("single") / "root"
    return built(root, {"family": "vpixmix", "picture": "single"})


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("clean") / "root", {"family": "clean"})


def films_of(page: str) -> dict[str, np.ndarray]:
    """The films of a page by their texts, [T, S, S, 3]."""
    found = {}
    pattern = r'<img src="data:image/webp;base64,([^"]+)" alt="([^"]+)" data-frames="(\d+)">'
    for data, alt, frames in re.findall(pattern, page):
        assert alt not in found
        tall = np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))
        assert len(tall) == int(frames) * tall.shape[1]
        found[alt] = tall.reshape(int(frames), tall.shape[1], tall.shape[1], 3)
    return found


def shown(root: Path, out: Path, num_samples: int | None = None) -> tuple[str, list[Path]]:
    sheet, page, *videos = preview(root, out, num_samples, (), InlineExecutor())
    assert (sheet.name, page.name) == ("contact-sheet.png", "index.html")
    assert sorted(out.iterdir()) == sorted([sheet, page, *videos])
    return page.read_text(encoding="utf-8"), videos


# ── the page ──


def test_films_hold_the_pixels_stored_and_what_they_were_made_from(
    single: Path, tmp_path: Path
) -> None:
    page, _ = shown(single, tmp_path / "out", 2)
    films = films_of(page)
    keys = re.findall(r"<code>(\d{4}-\d{10})</code>", page)
    assert [key[:4] for key in keys] == ["0000", "0001"] * 2
    inputs = reopen_inputs(single, read_dataset(single), (), InlineExecutor())
    for key in keys:
        rows = read_manifest(single, epoch_manifest(int(key[:4])))
        rows = rows.filter(pa.compute.equal(rows["key"], key))
        rendered = render_rows(inputs, rows)
        sample = f"sample {key}, class anomaly"
        np.testing.assert_array_equal(films[f"stored {sample}"], rendered.samples[0])
        np.testing.assert_array_equal(films[f"clean clip of {sample}"], rendered.bases[0])
        mixing = rendered.mixing[0]
        assert mixing is not None
        still = films[f"what {sample} was mixed with"]
        assert still.shape == (1, S, S, 3)
        np.testing.assert_array_equal(np.broadcast_to(still, mixing.shape), mixing)
    assert len(films) == 4 * 3 + 3 * 4
    assert "2 of 6 source clips, 2 of 2 epochs" in page
    assert f'<input type="range" min="1" max="{T}"' in page


def test_a_page_needs_nothing_and_runs_its_own_script_only(single: Path, tmp_path: Path) -> None:
    page, videos = shown(single, tmp_path / "out", 1)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1] == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    assert "prefers-reduced-motion: reduce" in script
    assert not re.search(r"https?:|\bon[a-z]+=", page)
    assert {source[:5] for source in re.findall(r'src="([^"]+)"', page)} == {"data:"}
    assert re.findall(r'href="([^"]+)"', page) == [path.name for path in videos]


def test_clean_clips_have_no_partner_and_no_modes(clean: Path, tmp_path: Path) -> None:
    page, videos = shown(clean, tmp_path / "out")
    films = films_of(page)
    assert len(videos) == 8  # 4 clips by default, 2 epochs
    assert len(films) == 16
    assert {alt.split(" sample")[0] for alt in films} == {"clean clip of", "stored"}
    for alt in [alt for alt in films if alt.startswith("stored")]:
        np.testing.assert_array_equal(films[alt], films[alt.replace("stored", "clean clip of")])
    assert 'class="mode"' not in page
    assert "<svg" not in page


def test_second_clips_are_shown(tmp_path: Path) -> None:
    root = built(tmp_path / "root", {"family": "videomix", "cuboid": "both"}, epochs=1)
    page, videos = shown(root, tmp_path / "out", 3)
    films = films_of(page)
    seconds = [clip for alt, clip in films.items() if alt.startswith("what sample ")]
    assert {clip.shape for clip in seconds} == {(T, S, S, 3)}
    assert page.count(">second</div>") == len(videos) == 3
    assert "<dt>second</dt> <dd>the other clip of the source" in page


def test_clips_of_one_frame_stand_still(tmp_path: Path) -> None:
    source = {"kind": "synthetic", "law": "blobs", "frames": 1, "count": 1, "size": 40}
    root = built(tmp_path / "root", {"family": "vpixmix"}, source=source, epochs=1)
    page, videos = shown(root, tmp_path / "out")
    assert {clip.shape for clip in films_of(page).values()} == {(1, S, S, 3)}
    assert page.count('class="mode"') == 3
    assert "<svg" not in page
    assert "Of 1 clip it is" in page
    with av.open(str(videos[0])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 75  # 3 s


def test_same_dataset_same_bytes(single: Path, tmp_path: Path) -> None:
    first, second = (
        preview(single, tmp_path / name, 1, (), InlineExecutor()) for name in ("a", "b")
    )
    for paths in zip(first, second, strict=True):
        assert len({path.read_bytes() for path in paths}) == 1


def test_names_are_escaped_and_long_clips_cut() -> None:
    clip = np.zeros((70, S, S, 3), np.uint8)
    take = Take("0000-0000000000", clip, None, clip, [EVIL])
    about = About(EVIL, EVIL, S, "second clip", [(EVIL, EVIL)], [])
    still = np.zeros((S, S, 3), np.uint8)
    shown = ClipPreview(about, 12.5, [Film(EVIL, EVIL, still, [take])], None, "none: no reason")
    page = render_clip_page(shown)
    assert "<b>" not in page
    assert page.count("&lt;b&gt;") == 12
    assert '<div class="none">none</div>second</div>' in page
    assert "12.5 frames a second, the first 64 of up to 70 frames." in page
    assert "<dt>videos</dt> <dd>none: no reason.</dd>" in page
    assert "<a " not in page


def test_films_are_exact_up_to_256_px() -> None:
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (3, 256, 256, 3), np.uint8)
    np.testing.assert_array_equal(films_of(film(clip, "a"))["a"], clip)
    large = np.full((2, 300, 300, 3), 77, np.uint8)
    np.testing.assert_array_equal(films_of(film(large, "a"))["a"], large[:, :256, :256])
    assert [frames_shown(100, size) for size in (32, 255, 256, 1024)] == [64, 64, 63, 63]
    assert [clip_side(size) for size in (8, 32, 64, 112, 128, 200, 224, 512)] == [
        *(200, 192, 192, 224, 256, 200, 224, 256)
    ]


# ── the modes ──


def drifting(num: int, frames: int) -> ArrayClips:
    """Smooth clips that move by half a pixel a frame."""
    axes = np.arange(frames), np.arange(40), np.arange(40)
    t, y, x = np.meshgrid(*axes, indexing="ij")
    phases = np.arange(num)[:, None, None, None, None] + np.arange(3) * 2.0
    waves = np.sin((x + 0.5 * t)[None, ..., None] / 9 + phases) * np.cos(y / 7)[None, ..., None]
    return ArrayClips.of(
        class_names=["drift"],
        labels=np.zeros(num, np.int32),
        ids=pa.array([f"drift-{i}" for i in range(num)]),
        fingerprint="0" * 64,
        pixels=(128 + 90 * waves).astype(np.uint8),
    )


@pytest.mark.parametrize("picture", ["single", "zoom", "frame"])
def test_single_and_zoom_are_steady_where_frame_flickers(picture: str) -> None:
    draws = "frame" if picture == "frame" else "clip"
    inputs = open_inputs(
        recipe({"family": "vpixmix", "picture": picture, "draws": draws}), InlineExecutor()
    )
    inputs = Inputs(inputs.recipe, drifting(14, T), inputs.pictures)
    found = compare_modes(inputs, 0, InlineExecutor())
    assert [mode.picture for mode in found.modes] == ["single", "zoom", "frame"]
    assert [mode.draws for mode in found.modes] == ["clip", "clip", "frame"]
    assert [mode.picture for mode in found.modes if mode.built] == [picture]
    assert found.class_name == "drift"
    for mode in found.modes:
        assert mode.changes.shape == (12, T - 1)
        ratios = [one.change_ratio for one in mode.coherences]
        np.testing.assert_allclose(mode.changes.mean(axis=1), ratios, rtol=1e-6)
        added = mode.result.astype(float) - found.clean
        steps = np.abs(added[1:] - added[:-1]).mean(axis=(1, 2, 3)) / np.abs(added).mean()
        assert np.isclose(mode.changes, steps).all(axis=1).sum() == 1
        assert mode.mixing is not None
        assert mode.mixing.shape == (T, S, S, 3)
    single, zoom, frame = (
        float(np.median([one.change_ratio for one in mode.coherences])) for mode in found.modes
    )
    assert single < 0.15
    assert zoom < 0.3
    assert frame > 1.2
    weakest = np.min(
        [[one.perturbation for one in mode.coherences] for mode in found.modes], axis=0
    )
    sizes = [coherence(found.clean, mode.result).perturbation for mode in found.modes]
    assert min(sizes) == pytest.approx(weakest.max())


@pytest.mark.parametrize(
    ("picture", "draws", "expected"),
    [
        ("single", "frame", "single clip, zoom clip, frame frame, single frame*"),
        ("single", "smooth", "single smooth*, zoom clip, frame frame"),
        ("frame", "clip", "single clip, zoom clip, frame frame, frame clip*"),
        ("zoom", "smooth", "single clip, zoom smooth*, frame frame"),
    ],
)
def test_the_recipes_own_mode_is_among_them(picture: str, draws: str, expected: str) -> None:
    own = {"family": "vpixmix", "picture": picture, "draws": draws}
    found = compare_modes(open_inputs(recipe(own), InlineExecutor()), 1, InlineExecutor())
    names = [f"{mode.picture} {mode.draws}{'*' * mode.built}" for mode in found.modes]
    assert ", ".join(names) == expected


def test_the_mode_of_the_dataset_is_what_its_shards_hold(
    single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.preview.gather.why_no_videos", lambda: "none: not looked at")
    page, _ = shown(single, tmp_path / "out", 6)
    films = films_of(page)
    result = films["result of mode single, draws per clip"]
    stored = [clip for alt, clip in films.items() if alt.startswith("stored sample 0000-")]
    assert sum(np.array_equal(result, clip) for clip in stored) == 1
    clean = films["clean clip beside mode zoom, draws per clip"]
    added = films["what mixing added in mode single, draws per clip"]
    expected = (result.astype(int) - clean + 255) // 2
    np.testing.assert_array_equal(added, expected)
    assert page.count("The mode of this dataset: one mixing picture for the whole clip") == 1
    assert page.count("Rendered here for comparison: ") == 2
    rows = re.findall(r'<tr><th scope="row">(\w+)</th><td>([\d.]+)</td>', page)
    assert [name for name, _ in rows] == ["single", "zoom", "frame"]


def test_a_chart_draws_medians_between_quartiles() -> None:
    values = np.array([[0.0, 1.0], [0.5, 1.0], [1.0, 1.0], [np.nan, np.nan]])
    empty = np.full((1, 2), np.nan)
    chart = draw_chart(
        [Series("a<b", values), Series("nothing", empty)],
        x_label="t",
        y_label="change",
        level=(1.4, "level"),
        alt='say "it"',
    )
    bottom, top, left, right = 274.0, 16.0, 58.0, 570.0
    height = bottom - top  # 0 to 1.5
    middle = [round(bottom - value / 1.5 * height, 1) for value in (0.5, 1.0)]
    assert f'points="{left},{middle[0]} {right},{middle[1]}"' in chart
    assert chart.count("<polyline") == chart.count("<polygon") == 1
    low, high = (round(bottom - value / 1.5 * height, 1) for value in (0.25, 0.75))
    band = f"{left},{low} {right},{middle[1]} {right},{middle[1]} {left},{high}"
    assert f'<polygon points="{band}"' in chart
    assert ">a&lt;b</text>" in chart
    assert 'aria-label="say &quot;it&quot;"' in chart
    assert "nothing" not in chart


# ── videos and the sheet ──


def test_videos_show_clean_partner_and_result(single: Path, tmp_path: Path) -> None:
    page, videos = shown(single, tmp_path / "out", 1)
    films = films_of(page)
    key = videos[0].stem.removeprefix("strip-")
    with av.open(str(videos[0])) as container:
        (stream,) = container.streams.video
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 25
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) % T == 0
    assert len(frames) >= 72
    side = 256
    assert frames[0].shape == (side, 3 * side + 2 * 8, 3)
    stored = films[f"stored sample {key}, class anomaly"]
    factor = side // S
    for place in (0, 4, T + 4):
        expected = stored[place % T].repeat(factor, axis=0).repeat(factor, axis=1)
        difference = frames[place][:, 2 * (side + 8) :].astype(float) - expected
        assert np.abs(difference).mean() < 8


def test_side_by_side_is_even_and_grey_where_nothing_is() -> None:
    clip = np.full((2, 131, 131, 3), 7, np.uint8)
    take = Take("k", clip[:1], None, clip, [])
    frames = side_by_side(take, "mixing picture")
    assert frames.shape == (2, 132, 3 * 132 + 16, 3)
    assert (frames[:, :131, :131] == 7).all()
    assert (frames[:, :131, 280:411] == 7).all()
    assert (frames[:, :, 131:280] == 128).all()
    assert side_by_side(take, None).shape == (2, 132, 2 * 132 + 8, 3)


def test_videos_of_an_earlier_preview_go(clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    mine = out / "strip-0000-mine.mp4"
    mine.write_bytes(b"")
    _, *_, last = preview(clean, out, 2, (), InlineExecutor())
    assert mine.exists()  # there was no page of ours yet
    mine.unlink()
    _, videos = shown(clean, out, 1)
    assert last not in videos


def test_without_pyav_the_page_says_so(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    page, videos = shown(clean, tmp_path / "out", 1)
    assert videos == []
    assert (
        "<dd>none: a video of each sample needs PyAV, which is not installed; "
        "install dreamshards[video].</dd>" in page
    )
    assert ">video</a>" not in page


def test_a_sheet_has_rows_of_frames(clean: Path, tmp_path: Path) -> None:
    page, _ = shown(clean, tmp_path / "out", 1)
    with Image.open(tmp_path / "out/contact-sheet.png") as image:
        sheet = np.asarray(image)
    side, gap, left = 128, 6, 20 + 160 + 22
    assert sheet.shape[1] == left + 2 * (6 * side + 5 * gap) + 22 + 20
    films = films_of(page)
    key = re.findall(r"<code>(0000-\d{10})</code>", page)[0]
    stored = films[f"stored sample {key}, class anomaly"]
    for place, number in enumerate(frame_numbers(T)):
        expected = stored[number].repeat(4, axis=0).repeat(4, axis=1)
        column = sheet[:, left + place * (side + gap) :][:, :side]
        tops = [
            top
            for top in range(len(column) - side)
            if np.array_equal(column[top : top + side], expected)
        ]
        assert len(tops) == 2  # clean above stored: this family changes nothing
        assert tops[1] - tops[0] == side + gap


def test_frames_on_the_sheet_are_spread_over_the_clip() -> None:
    assert frame_numbers(16) == [0, 3, 6, 9, 12, 15]
    assert frame_numbers(6) == [0, 1, 2, 3, 4, 5]
    assert frame_numbers(2) == [0, 1]
    assert frame_numbers(1) == [0]


# ── the command ──


def test_command(clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["preview", str(clean), "--out", str(out), "--samples", "1"]) == 0
    lines = capsys.readouterr().out.split()
    assert lines[:2] == [str(out / "contact-sheet.png"), str(out / "index.html")]
    assert [Path(line).name[:11] for line in lines[2:]] == ["strip-0000-", "strip-0001-"]
    with pytest.raises(UsageError, match="lies inside the dataset"):
        preview(clean, clean / "out", 1, (), InlineExecutor())
