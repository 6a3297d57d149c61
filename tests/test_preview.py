"""Previews: what is chosen, that the pixels shown are those stored, and that data cannot break the page."""

from __future__ import annotations

import base64
import io
import json
import shutil
import tarfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.build import build
from pipeline.captions import describe_base, describe_steps, printable
from pipeline.cli import main
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.inputs import reopen_inputs
from pipeline.preview import choose_sources, preview
from pipeline.preview.sheet import fit, tile_side
from pipeline.recipe import load_recipe
from pipeline.shards.dataset import read_dataset
from pipeline.verify import verify

EVIL_CLASS = "<script>alert(1) & 'x'"
EVIL_FILE = '"><img src=x onerror=alert(2)>\n\u202e<b>.png'


def built(root: Path, recipe: str, *overrides: str) -> Path:
    build(load_recipe(recipe, overrides), root, InlineExecutor())
    return root


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits") / "root"
    return built(root, "digits", "epochs=3", "mixing_set.count=20", "shards.samples_per_shard=500")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of 224 px JPEG samples of five pictures, some of whose names are hostile."""
    base = tmp_path_factory.mktemp("folder")
    rng = np.random.default_rng(0)
    names = ["tabby/1.png", "tabby/2.png", "tabby/3.png", f"{EVIL_CLASS}/{EVIL_FILE}", "日本/4.png"]
    for name, side in zip(names, (60, 700, 224, 90, 100), strict=True):
        path = base / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side + 20, 3), np.uint8)).save(path)
    return built(
        base / "root",
        "image-folder",
        f"source.path={base / 'pictures'}",
        "epochs=2",
        "mixing_set.count=3",
    )


def shown(root: Path, out: Path, num_samples: int = 12) -> tuple[Page, Image.Image]:
    sheet, page = preview(root, out, num_samples, (), InlineExecutor())
    assert (sheet, page) == (out / "contact-sheet.png", out / "index.html")
    assert sorted(out.iterdir()) == [sheet, page]
    with Image.open(sheet) as image:
        image.load()
    return Page(page.read_text(encoding="utf-8")), image


class Page(HTMLParser):
    """The page's elements, texts and pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.pictures: dict[str, np.ndarray] = {}
        self.attributes: set[tuple[str, str]] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}
        if tag == "img":
            values = dict(attrs)
            head, data = (values["src"] or "").split(",")
            assert head == "data:image/png;base64"
            picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            assert values["alt"] not in self.pictures
            self.pictures[values["alt"] or ""] = np.asarray(picture)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.setdefault(self.open[-1], []).append(data.strip())

    @property
    def keys(self) -> list[str]:
        return [text for text in self.texts["code"] if text[:4].isdigit()]


def stored(root: Path, key: str) -> tuple[np.ndarray, int]:
    """A sample as the standard library finds it."""
    for path in sorted((root / f"epoch-{key[:4]}").glob("*.tar")):
        with tarfile.open(path) as tar:
            names = [name for name in tar.getnames() if name.startswith(f"{key}.")]
            if names:
                payload, label = (tar.extractfile(name).read() for name in names)  # type: ignore[union-attr]
                if names[0].endswith(".npy"):
                    return np.load(io.BytesIO(payload)), int(label)
                return np.asarray(Image.open(io.BytesIO(payload))), int(label)
    raise AssertionError(key)


# ── what is chosen ──


def test_sources_cover_the_classes_first_then_spread() -> None:
    labels = np.array([2, 0, 0, 1, 0, 0, 2, 0, 0], np.int32)
    assert choose_sources(labels, 3) == [5, 3, 6]
    assert choose_sources(labels, 1) == [3]
    assert choose_sources(labels, 2) == [5, 6]
    assert choose_sources(labels, 6) == [2, 5, 8, 3, 0, 6]
    assert choose_sources(labels, 99) == [1, 2, 4, 5, 7, 8, 3, 0, 6]
    assert choose_sources(labels[:0], 5) == []


@pytest.mark.parametrize("num_samples", [1, 7, 12, 100, 101, 250])
def test_sources_are_balanced_and_different(num_samples: int) -> None:
    labels = np.random.default_rng(0).integers(0, 100, 1000).astype(np.int32)
    chosen = choose_sources(labels, num_samples)
    counts = np.bincount(labels[chosen], minlength=100)
    assert len(set(chosen)) == len(chosen) == num_samples
    assert counts.max() - counts.min() <= 1
    assert list(labels[chosen]) == sorted(labels[chosen])


# ── what is shown ──


def test_page_shows_the_stored_pixels(digits: Path, tmp_path: Path) -> None:
    page, _ = shown(digits, tmp_path / "out")
    assert len(page.keys) == len(set(page.keys)) == 12 * 3
    assert set(page.texts["h2"]) >= {f"class {digit}" for digit in range(10)}
    inputs = reopen_inputs(digits, read_dataset(digits), (), InlineExecutor())
    for key in page.keys:
        pixels, label = stored(digits, key)
        np.testing.assert_array_equal(page.pictures[f"stored sample {key}, class {label}"], pixels)
    for source_id in [text for text in page.texts["p"] if text.startswith("digit-")]:
        index = inputs.source.ids.to_pylist().index(source_id)
        label = inputs.source.labels[index]
        clean = page.pictures[f"clean picture {source_id}, class {label}"]
        np.testing.assert_array_equal(clean, inputs.source.read(index))
    num_mixing = sum(alt.startswith("crop of the mixing picture") for alt in page.pictures)
    assert len(page.pictures) == 12 + 36 + num_mixing
    assert page.texts["div"].count("none") == 36 - num_mixing
    assert 0 < num_mixing < 36


def test_page_says_what_the_dataset_is(digits: Path, tmp_path: Path) -> None:
    page, _ = shown(digits, tmp_path / "out", 4)
    assert page.texts["h1"] == ["digits"]
    assert "4 of 1,437 source pictures, 3 of 3 epochs" in page.texts["p"]
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=False))
    assert facts["augmentation"] == "pixmix, k 4, beta 3, severity 3, ops all, strategy both"
    assert facts["mixing set"] == "library, 20 pictures, size 36, seed 0"
    assert facts["samples"].startswith("3 epochs × 1,437 = 4,311, in 9 shards, ")
    assert facts["digest"] == json.loads((digits / "dataset.json").read_text())["digest"]
    assert page.texts["code"].count("dreamshards replay ROOT KEY") == 1


def test_sheet_shows_the_stored_pixels_enlarged(digits: Path, tmp_path: Path) -> None:
    page, sheet = shown(digits, tmp_path / "out", 3)
    assert sheet.mode == "RGB"
    assert sheet.width == 20 + 160 + 3 * (22 + 2 * 128 + 6) + 20
    pixels = np.asarray(sheet)
    for place, key in enumerate(page.keys):
        expected = stored(digits, key)[0].repeat(4, axis=0).repeat(4, axis=1)
        left = 20 + 160 + 22 + (place % 3) * (2 * 128 + 6 + 22) + 128 + 6
        column = pixels[:, left : left + 128]
        tops = np.flatnonzero((column[:, 64:68] == expected[0, 64:68]).all(axis=(1, 2)))
        found = [top for top in tops if np.array_equal(column[top : top + 128], expected)]
        assert len(found) == 1, key


def test_sheet_of_large_samples(folder: Path, tmp_path: Path) -> None:
    page, sheet = shown(folder, tmp_path / "out")
    assert sheet.width == 20 + 160 + 2 * (22 + 2 * 160 + 6) + 20
    assert len(page.keys) == 5 * 2
    for key in page.keys:
        pixels, _ = stored(folder, key)
        assert pixels.shape == (224, 224, 3)
        alts = [alt for alt in page.pictures if alt.startswith(f"stored sample {key}, ")]
        np.testing.assert_array_equal(page.pictures[alts[0]], pixels)
    assert page.pictures["clean picture tabby/1.png, class tabby"].shape == (60, 80, 3)
    assert page.pictures["clean picture tabby/2.png, class tabby"].shape == (311, 320, 3)


def test_tiles_are_whole_multiples_or_reduced() -> None:
    sides = [tile_side(size) for size in (8, 28, 32, 48, 64, 96, 128, 160, 161, 224, 1024)]
    assert sides == [112, 112, 128, 96, 128, 96, 128, 160, 160, 160, 160]
    assert fit(np.zeros((20, 30, 3), np.uint8), 128).size == (120, 80)
    assert fit(np.zeros((1000, 10, 3), np.uint8), 128).size == (1, 128)


def test_names_from_data_are_escaped(folder: Path, tmp_path: Path) -> None:
    page, _ = shown(folder, tmp_path / "out")
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert {name for tag, name in page.attributes if tag == "img"} <= {"src", "alt", "style"}
    assert f"class {EVIL_CLASS}" in page.texts["h2"]
    name = EVIL_FILE.replace("\n", "\\n").replace("\u202e", "\\u202e")
    assert f"{EVIL_CLASS}/{name}" in page.texts["p"]
    assert "class 日本" in page.texts["h2"]


def test_clean_family_has_no_mixing_tiles(tmp_path: Path) -> None:
    root = built(tmp_path / "root", "digits", "augmentation.family=clean", "epochs=1")
    page, sheet = shown(root, tmp_path / "out", 5)
    assert sheet.width == 20 + 160 + 22 + 220 + 20
    assert len(page.pictures) == 2 * 5
    assert "none" not in page.texts["div"]
    assert "5 of 1,437 source pictures, 1 of 1 epochs" in page.texts["p"]
    assert "a, b" not in page.texts["dt"]
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=False))
    assert (facts["augmentation"], facts["mixing set"]) == ("clean", "none")


@pytest.mark.parametrize("family", ["mixup", "cutmix"])
def test_pairs_are_shown_with_the_second_picture(tmp_path: Path, family: str) -> None:
    fields = [f"augmentation.family={family}", "augmentation.probability=0.5", "epochs=2"]
    root = built(tmp_path / "root", "digits", *fields)
    page, sheet = shown(root, tmp_path / "out", 12)
    num_seconds = sum(alt.startswith("crop of the second picture") for alt in page.pictures)
    assert 0 < num_seconds < 24
    assert len(page.pictures) == 12 + 24 + num_seconds
    assert page.texts["div"].count("none") == 24 - num_seconds
    assert sheet.width == 20 + 160 + 2 * (22 + 2 * 128 + 6) + 20
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=False))
    assert facts["augmentation"] == f"{family}, alpha 1, probability 0.5"
    assert facts["mixing set"] == "none"
    assert {"second", "labels"} < set(page.texts["dt"])
    assert "mixing" not in page.texts["dt"]
    for meaning in ("the other picture of the source", "the shares of the two labels"):
        assert any(text.startswith(meaning) for text in page.texts["dd"])


def test_first_four_epochs_of_many_are_shown(tmp_path: Path) -> None:
    root = built(tmp_path / "root", "digits", "augmentation.family=clean", "epochs=6")
    page, _ = shown(root, tmp_path / "out", 1)
    assert [key[:4] for key in page.keys] == ["0000", "0001", "0002", "0003"]
    assert "1 of 1,437 source pictures, 4 of 6 epochs" in page.texts["p"]


def test_long_sheets_show_every_nth_strip(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heights = [shown(digits, tmp_path / "four", 4)[1].height]
    monkeypatch.setattr("pipeline.preview.sheet.MAX_STRIPS", 2)
    page, sheet = shown(digits, tmp_path / "two", 4)
    assert len(page.keys) == 4 * 3
    assert sheet.height < heights[0] - 2 * 128


def test_same_dataset_same_bytes_wherever_it_lies(digits: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "copy"
    shutil.copytree(digits, other)
    first = preview(digits, tmp_path / "a", 5, (), InlineExecutor())
    second = preview(other, tmp_path / "b", 5, (), InlineExecutor())
    again = preview(digits, tmp_path / "a", 5, (), InlineExecutor())
    for paths in zip(first, second, again, strict=True):
        assert len({path.read_bytes() for path in paths}) == 1


# ── words ──


def test_captions() -> None:
    row: dict[str, Any] = {"crop_h": 32, "crop_w": 30, "crop_y": -1, "crop_x": 2, "flip": True}
    assert describe_base(row) == "crop 32×30 px at row −1, column 2, mirrored"
    assert describe_steps(row) == []
    row |= {"start_op": None, "start_level": None, "start_negative": None, "rounds": []}
    assert describe_steps(row) == ["start: the crop itself", "no mixing"]
    row |= {
        "start_op": "rotate",
        "start_level": 2.5,
        "start_negative": True,
        "mixing_id": "ifs-000003",
    }
    mixed = {"operand": "mixing-picture", "level": None, "negative": None}
    copied = {"operand": "equalize", "level": None, "negative": None}
    row["rounds"] = [
        {**mixed, "mode": "add", "a": 0.5, "b": 0.25},
        {**copied, "mode": "multiply", "a": 1.5, "b": -0.25},
    ]
    assert describe_steps(row) == [
        "start: augmented copy, rotate −2.50",
        "add mixing picture ifs-000003 (a=0.50, b=0.25)",
        "multiply by augmented copy, equalize (a=1.50, b=−0.25)",
    ]
    assert printable("a\tb\u202eé日") == "a\\tb\\u202eé日"


# ── refusals ──


@pytest.mark.parametrize("inside", ["", "preview", "epoch-0000/../deep/er"])
def test_out_inside_the_root_is_refused(digits: Path, inside: str) -> None:
    with pytest.raises(UsageError, match=r"lies inside the dataset .* verify"):
        preview(digits, digits / inside, 2, (), InlineExecutor())
    assert verify(digits, 0.0, (), InlineExecutor()).faults == []


def test_out_through_a_link_into_the_root_is_refused(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(digits)
    with pytest.raises(UsageError, match="lies inside the dataset"):
        preview(digits, tmp_path / "link" / "preview", 2, (), InlineExecutor())


def test_pages_of_others_are_left_alone(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>mine</h1>")
    with pytest.raises(UsageError, match=r"index.html was not made by a preview"):
        preview(digits, tmp_path, 2, (), InlineExecutor())
    assert (tmp_path / "index.html").read_text() == "<h1>mine</h1>"
    with pytest.raises(UsageError, match="is a file"):
        preview(digits, tmp_path / "index.html", 2, (), InlineExecutor())
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_incomplete_root_is_refused(digits: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(digits, root)
    (root / "dataset.json").unlink()
    with pytest.raises(DreamshardsError, match="the build is not complete"):
        preview(root, tmp_path / "out", 2, (), InlineExecutor())
    assert not (tmp_path / "out").exists()


def test_altered_pixels_are_refused(digits: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(digits, root)
    for path in root.glob("epoch-0001/*.tar"):
        content = np.fromfile(path, np.uint8)
        content[1000::512] ^= 1
        content.tofile(path)
    with pytest.raises(DreamshardsError, match=r"epoch-0001/.*tar: sample 0001-\d{10} has CRC-32"):
        preview(root, tmp_path / "out", 2, (), InlineExecutor())
    assert not (tmp_path / "out").exists()


def test_altered_manifest_is_refused(digits: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(digits, root)
    shutil.copy(root / "epoch-0002/shard-000000.parquet", root / "epoch-0002/manifest.parquet")
    with pytest.raises(
        DreamshardsError, match=r"epoch-0002/manifest\.parquet: no row has .*verify"
    ):
        preview(root, tmp_path / "out", 12, (), InlineExecutor())


# ── the command ──


def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, pictures = tmp_path / "root", tmp_path / "moved"
    shutil.copytree(folder, root)
    shutil.copytree(folder.parent / "pictures", pictures)
    assert main(["preview", str(root), "--samples", "2", "--set", f"source.path={pictures}"]) == 0
    out = tmp_path / "root.preview"
    assert capsys.readouterr().out.split() == [
        str(out / "contact-sheet.png"),
        str(out / "index.html"),
    ]
    assert len(Page((out / "index.html").read_text(encoding="utf-8")).keys) == 2 * 2
    assert main(["preview", str(root), "--out", str(root / "x")]) == 2
    assert "lies inside the dataset" in capsys.readouterr().err
