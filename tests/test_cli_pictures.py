"""`dreamshards pictures`: the same files for the same seed, resumed when stopped, and clear mistakes."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.cli import main
from pipeline.executor import InlineExecutor
from pipeline.pictures import open_pictures
from pipeline.pictures.picture_set import PictureSet
from pipeline.publish import claimed
from pipeline.recipe import load_pictures, load_recipe
from pipeline.survey import MAX_MEASURED, draw_contact_sheet, format_table, survey
from tests.conftest import tree
from tests.test_cli import failed

GABOR = ("pictures", "gabor", "--size", "16", "--count", "70", "--inline")


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "cache"))


def _set(count: int = 70, kind: str = "gabor") -> PictureSet:
    return open_pictures(load_pictures(kind, (), {"count": count, "size": 16}), InlineExecutor())


def _photos(num: int = 3) -> None:
    Path("photos").mkdir()
    generator = np.random.Generator(np.random.PCG64(0))
    for number in range(num):
        pixels = generator.integers(0, 256, (20, 20 + number, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(f"photos/{number}.png")


# ── what is written ──


def test_image_files_in_a_folder_for_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GABOR, "--out", "d"]) == 0
    pictures = _set()
    for place, name in enumerate(pictures.ids.to_pylist()):
        stored = np.asarray(Image.open(f"d/gabor/{name}.png"))
        assert np.array_equal(stored, pictures.picture(place))
    assert sorted(path.name for path in Path("d").iterdir()) == [
        "gabor",
        "pictures.json",
        "recipe.json",
    ]
    assert len(list(Path("d/gabor").iterdir())) == 70
    (tally,) = pictures.tallies
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("d: complete; 70 pictures as png, ")
    assert lines[1] == f"digest {pictures.digest}"
    assert lines[2].startswith("made in ")
    assert lines[2].endswith(f"; accepted gabor {70 / tally.drawn:.0%} of {tally.drawn}")
    assert lines[3:] == [
        "next: dreamshards build cifar10 --set mixing_set.kind=folder mixing_set.path=d"
    ]
    content = json.loads(Path("d/pictures.json").read_text())
    assert (content["pictures"], content["set_digest"]) == (70, pictures.digest)
    assert content["draws"] == [tally._asdict()]


def test_the_folder_is_a_mixing_set_itself() -> None:
    assert main([*GABOR, "--out", "d"]) == 0
    config = load_pictures("folder", ["path=d"], {"size": 16})
    again = open_pictures(config, InlineExecutor())
    assert np.array_equal(again.pixels, _set().pixels)


def test_jpegs_are_close() -> None:
    assert main([*GABOR, "--out", "d", "--format", "jpg"]) == 0
    pictures = _set()
    with Image.open("d/gabor/gabor-000003.jpg") as image:
        assert image.format == "JPEG"
        assert image.layer[0][1:3] == image.layer[1][1:3] == (1, 1)  # 4:4:4
        errors = np.asarray(image).astype(float) - pictures.picture(3)
    assert np.sqrt((errors**2).mean()) < 6


def test_one_array_and_its_ids(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GABOR, "--out", "d", "--format", "npy"]) == 0
    pictures = _set()
    array = np.load("d/pictures.npy", mmap_mode="r")
    assert (array.dtype, array.shape) == (np.uint8, (70, 16, 16, 3))
    assert np.array_equal(array.reshape(-1), pictures.pixels)
    assert pq.read_table("d/index.parquet")["id"].to_pylist() == pictures.ids.to_pylist()
    out = capsys.readouterr().out
    assert "mixing_set.kind=npy mixing_set.path=d/pictures.npy" in out
    config = load_pictures("npy", ["path=d/pictures.npy"])
    assert open_pictures(config, InlineExecutor()).picture(69).tolist() == array[69].tolist()


def test_ids_of_folders_keep_their_names() -> None:
    _photos()
    assert main(["pictures", "folder", "--inline", "--out", "d", "--set", "path=photos"]) == 0
    names = sorted(path.relative_to("d").as_posix() for path in Path("d").rglob("*.png"))
    assert names == ["pictures/0.png", "pictures/1.png", "pictures/2.png"]


def test_files_that_would_share_a_name_keep_their_own(tmp_path: Path) -> None:
    Path("photos/a-b").mkdir(parents=True)
    for name in ("a-b/x.png", "a-b/x.png.jpg", "c-000001.png"):
        Image.new("RGB", (16, 16)).save(f"photos/{name}")
    arguments = ["pictures", "folder", "--inline", "--format", "jpg", "--out", "d"]
    assert main([*arguments, "--set", "path=photos"]) == 0
    names = sorted(path.relative_to("d").as_posix() for path in Path("d").rglob("*.jpg"))
    assert names == ["a-b/x.png.jpg", "a-b/x.png.jpg.jpg", "pictures/c-000001.png.jpg"]


def test_the_set_of_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pictures", "digits", "--count", "7", "--seed", "3", "--inline", "--out", "d"]
    assert main([*arguments, "--set", "mixing_set.kind=gabor", "transform.size=16"]) == 0
    stored = json.loads(Path("d/pictures.json").read_text())["mixing_set"]
    assert stored == {"kind": "gabor", "count": 7, "size": 18, "seed": 3}
    recipe = load_recipe(
        "digits",
        ["mixing_set.kind=gabor", "transform.size=16", "mixing_set.count=7", "mixing_set.seed=3"],
    )
    assert recipe.mixing_set is not None
    assert open_pictures(recipe.mixing_set, InlineExecutor()).digest in capsys.readouterr().out


def test_ray_and_inline_write_the_same_files(
    ray_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = ["pictures", "blend", "--size", "16", "--count", "150"]
    arguments += ["--set", "parts={gabor: 2, ifs: 1}"]
    assert main([*arguments, "--inline", "--out", "a"]) == 0
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "other"))
    assert main([*arguments, "--ray-address", ray_address, "--workers", "2", "--out", "b"]) == 0
    assert tree(Path("a")) == tree(Path("b"))


# ── going on ──


def test_a_finished_folder_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GABOR, "--out", "d"]) == 0
    before = {path: path.stat().st_mtime_ns for path in Path("d").rglob("*")}
    capsys.readouterr()
    assert main([*GABOR, "--out", "d"]) == 0
    assert "nothing was left to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in Path("d").rglob("*")} == before


def test_only_missing_files_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GABOR, "--out", "d"]) == 0
    whole = tree(Path("d"))
    kept = Path("d/gabor/gabor-000001.png").stat().st_mtime_ns
    Path("d/gabor/gabor-000000.png").unlink()
    Path("d/pictures.json").unlink()
    assert main([*GABOR, "--out", "d"]) == 0
    assert tree(Path("d")) == whole
    assert Path("d/gabor/gabor-000001.png").stat().st_mtime_ns == kept


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """Killed while it makes pictures: what was made is kept, the result is that of a whole run."""
    arguments = ["pictures", "dead-leaves", "--size", "48", "--count", "1000", "--inline"]
    command = [sys.executable, "-m", "pipeline.cli", *arguments, "--out", "d"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cache = tmp_path / "cache" / "pictures"
    deadline = time.monotonic() + 120
    while len(list(cache.glob(".*.chunks/*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(cache.glob(".*.chunks/*.npz"))
    assert not Path("d/pictures.json").exists()
    assert main([*arguments, "--out", "d"]) == 0
    assert main([*arguments, "--out", "e"]) == 0
    assert tree(Path("d")) == tree(Path("e"))
    assert len(list(Path("d/dead-leaves").iterdir())) == 1000


def test_two_runs_do_not_share_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with claimed(Path("d")):
        message = failed(capsys, *GABOR, "--out", "d", code=1)
    assert "another build is at work in d; wait for it" in message
    assert list(Path("d").iterdir()) == []
    assert main([*GABOR, "--out", "d"]) == 0


def test_another_set_is_refused_with_the_fields_that_differ(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*GABOR, "--out", "d"]) == 0
    before = tree(Path("d"))
    capsys.readouterr()
    message = failed(capsys, *GABOR, "--out", "d", "--seed", "1", "--format", "jpg", code=1)
    assert "d holds another set; it was left as it is" in message
    assert "seed: the root has 0, this recipe has 1" in message
    assert "format: the root has 'png', this recipe has 'jpg'" in message
    assert "--out d-2" in message
    assert tree(Path("d")) == before


def test_other_content_of_the_same_section_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    _photos()
    arguments = ["pictures", "folder", "--inline", "--out", "d", "--set", "path=photos"]
    assert main(arguments) == 0
    Path("photos").rename("moved")
    assert main([*arguments[:-1], "path=moved"]) == 0  # where they lie does not matter
    Image.new("RGB", (20, 20)).save("moved/0.png")
    capsys.readouterr()
    assert "digest: the root has" in failed(capsys, *arguments[:-1], "path=moved", code=1)


# ── what is shown ──


def test_a_table_has_a_row_for_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pictures", "blend", "--size", "16", "--count", "20", "--inline", "--table"]
    assert main([*arguments, "--set", "parts={gabor: 1, ifs: 1}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0][:2] == ["kind", "pictures"]
    assert [row[:2] for row in cells[2:]] == [["gabor", "10"], ["ifs", "10"], ["all", "20"]]


def test_a_survey_tells_empty_pictures_and_twins() -> None:
    pixels = np.zeros((4, 16, 16, 3), np.uint8)
    pixels[0] = np.random.Generator(np.random.PCG64(0)).integers(0, 256, pixels[0].shape)
    np.save("a.npy", pixels)
    (row,) = survey(open_pictures(load_pictures("npy", ["path=a.npy"]), InlineExecutor()))
    assert (row.kind, row.pictures, row.empty, row.black) == ("pictures", 4, 0.75, 1.0)
    assert row.alike == 0.5  # three of six pairs
    assert MAX_MEASURED >= 1000
    assert len(format_table([row])) == 3


def test_a_sheet_shows_pictures_of_the_whole_set() -> None:
    assert main([*GABOR, "--sheet", "s/sheet.png"]) == 0
    with Image.open("s/sheet.png") as image:
        assert image.size == (12 * 116 + 4, 6 * 116 + 4)  # 70 tiles of 7 × 16 px
    sheet = draw_contact_sheet(_set(200))
    assert sheet.size == (12 * 116 + 4, 8 * 116 + 4)
    first = np.asarray(sheet)[4:116:7, 4:116:7]
    assert np.array_equal(first, _set(200).picture(0))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")


def test_a_zoom_is_a_video(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pictures", "zoom", "--out", "z.mp4", "--size", "32", "--frames", "5"]
    assert main([*arguments, "--kind", "julia", "--fps", "10", "--outwards", "--seed", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("z.mp4: 5 frames of 32×32 px at 10/s, ")
    av = pytest.importorskip("av")
    with av.open("z.mp4") as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert [frame.shape for frame in frames] == [(32, 32, 3)] * 5


# ── mistakes ──


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["flme", "--out", "d"], 2, "unknown recipe or kind 'flme' (did you mean 'flame'?)"),
        (["cifar1", "--out", "d"], 2, "did you mean 'cifar10'"),
        (["none.yaml", "--out", "d"], 2, "cannot read recipe none.yaml"),
        (["flame"], 2, "nothing to do: give --out DIR, --sheet FILE.png or --table"),
        (["flame", "--out", "d", "--size", "0"], 2, "size: got 0; allowed: a whole number, 8 to"),
        (["flame", "--out", "d", "--size", "x"], 2, "--size: got 'x'; allowed: a whole number"),
        (["flame", "--out", "d", "--count", "0"], 2, "count: got 0; allowed: a whole number, 1"),
        (["flame", "--out", "d", "--seed", "-1"], 2, "seed: got -1; allowed: a whole number, 0"),
        (["digits", "--out", "d", "--size", "0"], 2, "mixing_set.size: got 0"),
        (["digits", "--out", "d", "--size", "20"], 2, "mixing_set.size = 20 is smaller than"),
        (["flame", "--out", "d", "--format", "gif"], 2, "invalid choice: 'gif'"),
        (["flame", "--out", "d", "--set", "sides=3"], 2, "sides: unknown field"),
        (["dead-leaves", "--out", "d", "--set", "shapes=circle"], 2, "did you mean 'circles'"),
        (["folder", "--out", "d"], 2, "path: missing; add it, text"),
        (["folder", "--out", "d", "--set", "path=none"], 2, "'none' does not exist"),
        (["folder", "--out", "d", "--set", "path=few", "count=3"], 2, "holds 2 pictures, 3 are"),
        (["folder", "--inline", "--out", "d", "--set", "path=few"], 1, "2 of 2 pictures"),
        (["npy", "--out", "d", "--set", "path=few"], 2, "is a folder, not a file"),
        (["digits", "--out", "d", "--set", "augmentation.family=clean"], 2, "has no mixing set"),
        (["flame", "--out", "file"], 1, "file is a file; give --out a folder"),
        (["flame", "--out", "few"], 1, "few holds files that are not a set's"),
        (["flame", "--out", "ftp://x/y"], 2, "no such kind of store; allowed: a path, or a URI"),
        (["flame", "--sheet", "s3://x/y.png"], 2, "--sheet: got 's3://x/y.png'; allowed: a local"),
        (["zoom", "--out", "s3://x/y.mp4"], 2, "--out: got 's3://x/y.mp4'; allowed: a local file"),
        (["flame", "--sheet", "x.jpg"], 2, "allowed: a name that ends in .png"),
        (["flame", "--out", "d", "--inlin"], 2, "did you mean '--inline'"),
        (["flame", "--out", "d", "--inline", "--workers", "2"], 2, "--inline works in one process"),
        (["zoom"], 2, "required: --out; see dreamshards pictures zoom --help"),
        (["zoom", "--out", "z.avi"], 2, "allowed: a name that ends in .mp4"),
        (["zoom", "--out", "z.mp4", "--seed", "-1"], 2, "--seed: got -1; allowed: 0 to"),
        (["zoom", "--out", "z.mp4", "--size", "0"], 2, "frames of 0 pixels"),
        (["zoom", "--out", "z.mp4", "--factor", "9"], 2, "choose 1.001 to 1.25"),
        (["zoom", "--out", "z.mp4", "--frames", "0", "--size", "16"], 2, "0 frames at 25"),
        (["zoom", "--out", "z.mp4", "--kind", "ship"], 2, "invalid choice: 'ship'"),
        (["zoom", "--out", "z.mp4", "--frame", "9"], 2, "did you mean '--frames'"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    Path("file").write_text("x")
    Path("few").mkdir()
    for name in ("a", "b"):
        Path(f"few/{name}.png").write_text("no picture")
    before = tree(Path())
    assert words in failed(capsys, "pictures", *arguments, code=code)
    after = {name: digest for name, digest in tree(Path()).items() if not name.startswith("cache/")}
    assert after == before


def test_an_array_of_different_sizes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    _photos()
    arguments = ["pictures", "folder", "--inline", "--out", "d", "--format", "npy"]
    message = failed(capsys, *arguments, "--set", "path=photos", code=2)
    assert "pictures of 3 different sizes make no array; use --format png or jpg" in message
    assert not Path("d").exists()


def test_unreadable_pictures_are_recorded_and_end_in_exit_code_3(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _photos()
    Path("photos/bad.png").write_text("no picture")
    arguments = ["pictures", "folder", "--inline", "--out", "d", "--set", "path=photos"]
    message = failed(capsys, *arguments, code=1)
    assert "1 of 4 pictures" in message
    assert "bad.png" in message
    assert not Path("d").exists()
    assert main([*arguments, "on_unreadable=skip"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 6
    assert "skipped 1 unreadable picture; d/pictures.json lists them" in lines
    assert json.loads(Path("d/pictures.json").read_text())["skipped"][0]["id"] == "bad.png"


def test_a_checkpoint_without_convolutions_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"fc.weight": torch.zeros(3, 4)}, "linear.pt")
    arguments = ["pictures", "fvis", "--inline", "--out", "d", "--set", "checkpoint=linear.pt"]
    assert "linear.pt has no convolution" in failed(capsys, *arguments, code=2)
    assert not Path("d").exists()
