"""What hostile data may try: to run code, to fill the memory, to leave its folder, to command a terminal.

What else is tried where it belongs: names in pages in `test_preview`, `test_clip_preview` and
`test_evaluation_report`; archives and pickles in `test_sources_cifar`; credentials in builds in
`test_sources_remote`.
"""

from __future__ import annotations

import ast
import io
import os
import pickle
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from scipy.io import savemat

import evaluation.official
from evaluation.requests import parse_request
from pipeline import export as exporting
from pipeline.cli import main
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.picture_sections import FolderPictures, NpyPictures
from pipeline.pictures import open_pictures
from pipeline.pictures.fvis_net import load_network
from pipeline.pictures.picture_set import PictureSet
from pipeline.recipe import load_recipe
from pipeline.shards import clip_codecs
from pipeline.shards.codecs import CODECS, Encoding
from pipeline.source_sections import (
    CifarCSource,
    CifarSource,
    ImageFolderSource,
    SvhnSource,
    Ucf101Source,
)
from pipeline.sources import open_cifar_p, open_source
from pipeline.sources.folder_listing import list_folder
from pipeline.sources.images import UnreadableImage, decode
from pipeline.sources.video_files import VIDEOS
from pipeline.store import Entry, RemoteStore, open_store
from pipeline.stream.decode import decoder_of
from tests.test_sources_cifar import batch, write_cifar10
from tests.video_helpers import encoded, moving
from training.checkpoint import load_trained
from training.models.weights import read_tensors

EXECUTOR = InlineExecutor()
PROJECT = Path(__file__).parents[1]
MOST_BYTES = 64 << 20
"""Of memory that refusing a bomb may take."""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


# ── nothing runs what it reads ──


class Evil:
    """Whoever unpickles it makes a folder."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("pwned",)


@pytest.fixture
def unharmed() -> Iterator[None]:
    yield
    assert not Path("pwned").exists()


def test_the_attack_works() -> None:
    pickle.loads(pickle.dumps(Evil()))
    assert Path("pwned").is_dir()


def unsafe(source: str) -> list[str]:
    """Return the calls in a source text that could run what they read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if {"pickle", "shelve", "marshal", "dill", "joblib", "cloudpickle"} & set(names):
                found.append("import of an unpickler")
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {each.arg: ast.unparse(each.value) for each in node.keywords}
        needed = {"np.load": ("allow_pickle", "False"), "torch.load": ("weights_only", "True")}
        if called in needed and given.get(needed[called][0]) != needed[called][1]:
            found.append(called)
        if called in ("eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"):
            found.append(called)
        if called.endswith((".extractall", ".extract")) or given.get("shell") == "True":
            found.append(called)
        if called == "Image.open" and "formats" not in given:
            found.append(called)
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import pickle", ["import of an unpickler"]),
        ("from joblib import load", ["import of an unpickler"]),
        ("np.load(x)", ["np.load"]),
        ("np.load(x, allow_pickle=False)", []),
        ("torch.load(x, weights_only=False)", ["torch.load"]),
        ("torch.load(x, weights_only=True)", []),
        ("eval(x)", ["eval"]),
        ("yaml.load(x, Loader=L)", ["yaml.load"]),
        ("tar.extractall(x)", ["tar.extractall"]),
        ("run(x, shell=True)", ["run"]),
        ("Image.open(x)", ["Image.open"]),
    ],
)
def test_unsafe_calls_are_found(source: str, expected: list[str]) -> None:
    assert unsafe(source) == expected


def test_nothing_runs_what_it_reads() -> None:
    known = {
        "pipeline/sources/cifar_pickle.py": ["import of an unpickler"],  # restricted, tried below
        "pipeline/corruptions/digital.py": ["Image.open"],  # of a JPEG that was just made
    }
    found = {}
    for package in ("pipeline", "training", "evaluation"):
        for path in (PROJECT / package).rglob("*.py"):
            calls = unsafe(path.read_text())
            if calls:
                found[path.relative_to(PROJECT).as_posix()] = calls
    assert found == known


@pytest.mark.usefixtures("unharmed")
def test_a_hostile_cifar_is_refused_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_cifar10(Path("data"))
    content = batch() | {b"labels": Evil()}
    (folder / "data_batch_3").write_bytes(pickle.dumps(content, protocol=2))
    assert main(["build", "cifar10", "--inline", "--out", "root"]) == 1
    text = capsys.readouterr().err
    assert "data_batch_3 asks for posix.mkdir, which no CIFAR file needs" in text
    assert not Path("root").exists()


def hostile_array() -> np.ndarray:
    array = np.empty(10, object)
    array[:] = [Evil() for _ in range(10)]
    return array


def _mixing(path: Path) -> object:
    section = NpyPictures(kind="npy", path=str(path), size=None, count=None, padding=0)
    return open_pictures(section, EXECUTOR)


def _cifar_c(path: Path) -> object:
    section = CifarCSource(kind="cifar-c", path=str(path.parent), name="fog", severity=1)
    return open_source(section, EXECUTOR)


def _labels(path: Path) -> object:
    path.rename(path.parent / "labels.npy")
    np.save(path, np.zeros((10, 32, 32, 3), np.uint8))
    return _cifar_c(path)


def _payload(path: Path) -> object:
    try:
        return CODECS["npy"].decode(path.read_bytes())
    except ValueError as error:
        raise DreamshardsError(str(error)) from error


def _official(path: Path) -> object:
    return evaluation.official._map(open_store(path.parent), path.name)


ARRAYS = [_mixing, _cifar_c, _labels, open_cifar_p, _payload, _official]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("read", ARRAYS, ids=lambda read: read.__name__.strip("_"))
def test_an_array_of_objects_is_refused(read: Any) -> None:
    np.save("fog.npy", hostile_array(), allow_pickle=True)
    with pytest.raises(DreamshardsError, match=r"[Oo]bject|python data"):
        read(Path("fog.npy"))


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    "read",
    [lambda path: load_network(checkpoint=path), read_tensors, load_trained],
    ids=["fvis", "weights", "evaluate and resume"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_checkpoint_is_refused(read: Any, zipped: bool) -> None:
    path = Path("evil.pt")
    torch.save({"model": Evil()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        DreamshardsError, match=r"cannot read the checkpoint|not a readable file of"
    ):
        read(path)
    path.write_bytes(b"\x80\x02cposix\nmkdir\nX\x05\x00\x00\x00pwned\x85R.")
    with pytest.raises(
        DreamshardsError, match=r"cannot read the checkpoint|not a readable file of"
    ):
        read(path)


# ── nothing fills the memory ──


@pytest.fixture
def frugal() -> Iterator[None]:
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES


def png(width: int, height: int) -> bytes:
    def part(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 16))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


def tiff(width: int, height: int) -> bytes:
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, width * height % 2**32)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)


def webp(width: int, height: int) -> bytes:
    head = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", len(head)) + head
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


@pytest.mark.usefixtures("frugal")
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(60_000, 60_000), "pixels"),
        (png(15_000, 15_000), "pixels"),
        (tiff(60_000, 60_000), "pixels"),
        (webp(16_384, 16_384), "."),
        (b"P6 100000 100000 255\n", "pixels"),
    ],
    ids=["png", "png below Pillow's own limit", "tiff", "webp", "ppm"],
)
def test_a_picture_that_says_it_is_huge(content: bytes, expected: str) -> None:
    with pytest.raises(UnreadableImage, match=expected):
        decode(content, "bomb")
    out = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises((ValueError, OSError, Image.DecompressionBombError)):
        decoder_of("png")(content, out)
    with pytest.raises((ValueError, OSError, Image.DecompressionBombError)):
        CODECS["png"].decode(content)


def test_a_payload_is_no_picture_of_another_kind() -> None:
    """Of Pillow's readers that of PostScript starts a program."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "EPS")
    out = np.zeros((8, 8, 3), np.uint8)
    for read in (lambda data: decoder_of("webp")(data, out), CODECS["png"].decode):
        with pytest.raises(OSError, match="cannot identify"):
            read(file.getvalue())


def huge_npy(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(100)


@pytest.mark.usefixtures("frugal")
@pytest.mark.parametrize(
    "shape", ["(1000000000000,)", "(10, 1000000, 32, 3)", "(1099511627776, 3)"]
)
@pytest.mark.parametrize("read", ARRAYS, ids=lambda read: read.__name__.strip("_"))
def test_an_array_that_says_it_is_huge(read: Any, shape: str) -> None:
    Path("fog.npy").write_bytes(huge_npy(shape))
    with pytest.raises(DreamshardsError, match=r"fog\.npy|labels\.npy|header"):
        read(Path("fog.npy"))


def test_a_clip_that_holds_more_than_it_seems(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = CODECS["mp4"].encode(np.zeros((1, 40, 16, 16, 3), np.uint8), Encoding(90, "444", 16))[
        0
    ]
    assert CODECS["mp4"].decode(bytes(payload)).shape == (40, 16, 16, 3)
    monkeypatch.setattr(clip_codecs, "MAX_BYTES", 20 * 16 * 16 * 3)
    with pytest.raises(ValueError, match="it has 21 frames of 16×16 and more"):
        CODECS["mp4"].decode(bytes(payload))
    stills = CODECS["mjpg"].encode(np.zeros((1, 40, 16, 16, 3), np.uint8), Encoding(90, "444"))[0]
    with pytest.raises(ValueError, match="it has 21 frames of 16×16 and more"):
        CODECS["mjpg"].decode(bytes(stills))
    monkeypatch.setattr(clip_codecs, "MAX_PIXELS", 16 * 15)
    with pytest.raises(ValueError, match=r"Invalid|size|pixels|data"):
        decoder_of("mp4")(payload, np.zeros((40, 16, 16, 3), np.uint8))


def test_a_video_whose_frames_are_huge_is_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.sources import video_files

    monkeypatch.setitem(video_files._DECODER, "max_pixels", str(48 * 64 - 1))
    content = encoded(moving(4))  # its head is believed; the decoder is told as well
    with pytest.raises(DreamshardsError), video_files.OpenVideo(io.BytesIO(content)) as video:
        list(video.frames())


@pytest.mark.usefixtures("frugal")
def test_a_matlab_file_that_says_it_is_huge() -> None:
    savemat("train_32x32.mat", {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.ones((2, 1))})
    content = Path("train_32x32.mat").read_bytes()
    sizes = struct.pack("<4i", 32, 32, 3, 2)
    assert content.count(sizes) == 1
    bomb = content.replace(sizes, struct.pack("<4i", 32, 32, 3, 2_000_000_000))
    Path("train_32x32.mat").write_bytes(bomb)
    with pytest.raises(DreamshardsError, match=r"X is said to be \[32, 32, 3, 2000000000\]"):
        open_source(SvhnSource(kind="svhn", path=".", count=None), EXECUTOR)


@pytest.mark.usefixtures("frugal")
def test_a_pickle_that_makes_room() -> None:
    folder = write_cifar10(Path("data"))
    for put in (b"r\xff\xff\xff\x7f", b"p4000000000\n"):
        (folder / "test_batch").write_bytes(b"\x80\x02}" + put + b".")
        with pytest.raises(DreamshardsError, match=r"asks for place \d+ of the memo"):
            open_source(CifarSource(kind="cifar10", path="data", split="test"), EXECUTOR)


def aliases(depth: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, depth):
        names = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{names}]")
    return "\n".join(lines)


@pytest.mark.usefixtures("frugal")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (aliases(12), "aliases that stand for 100,000 values or more"),
        (aliases(9).replace("[", "{").replace("]", "}").replace("x, ", ""), "."),
        ("seed: &s [*s]", "for themselves"),
        ("seed: " + "[\n" * 1500, "nested too deeply"),
        ("seed: " + "9" * 5000, "limit"),
        ("seed: 2020-99-99", "month must be"),
    ],
    ids=["aliases", "merges", "itself", "depth", "digits", "date"],
)
def test_a_recipe_that_is_a_bomb(text: str, expected: str) -> None:
    Path("bomb.yaml").write_text(text)
    with pytest.raises(UsageError, match=f"recipe bomb.yaml.*{expected}"):
        load_recipe("bomb.yaml")


def test_aliases_that_help_are_taken() -> None:
    Path("fine.yaml").write_text("seed: &s 3\nepochs: *s\nname: x\n")
    with pytest.raises(UsageError) as caught:
        load_recipe("fine.yaml")
    assert "seed" not in str(caught.value)
    assert "source: missing" in str(caught.value)


# ── nothing leaves its folder ──


BAD_NAMES = ["../x.png", "a/../../x.png", "/etc/x.png", "a//x.png", "a/./x.png", "a/\0.png", "a/.."]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_an_object_named_to_leave_its_folder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(open_store("s3://bucket/set"))

    def entries(self: RemoteStore, folder: str = "") -> Iterator[Entry]:
        return iter([Entry("a/fine.png", 1, 0), Entry(name, 1, 0)])

    monkeypatch.setattr(real, "entries", entries)
    refused = (
        r"s3://bucket/set holds an object named .*, which no file below a folder could be named"
    )
    with pytest.raises(UsageError, match="source.path: " + refused):
        open_source(ImageFolderSource(kind="image-folder", path="s3://bucket/set"), EXECUTOR)
    with pytest.raises(UsageError, match="source.path: " + refused):
        list_folder("s3://bucket/set", VIDEOS)
    section = FolderPictures(kind="folder", path="s3://bucket/set", size=16)
    with pytest.raises(UsageError, match="mixing_set.path: " + refused):
        open_pictures(section, EXECUTOR)


def picture_set(*names: str) -> PictureSet:
    num = len(names)
    return PictureSet(
        pixels=np.zeros(num * 48, np.uint8),
        offsets=np.arange(num) * 48,
        heights=np.full(num, 4, np.int32),
        widths=np.full(num, 4, np.int32),
        ids=pa.array(names),
        digest="0" * 64,
    )


@pytest.mark.parametrize("name", [*BAD_NAMES, "/tmp/x.png"])
def test_a_picture_named_to_leave_the_root_is_not_written(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = FolderPictures(kind="folder", path="set", size=16)
    monkeypatch.setattr(exporting, "open_pictures", lambda *_: picture_set("a/b.png", name))
    with pytest.raises(DreamshardsError, match=r"out: a picture named .* is no file below it"):
        exporting.export("out", section, "png", EXECUTOR)
    assert {path.name for path in Path().rglob("*")} <= {"out", "recipe.json", "cache"}


def test_odd_names_stay_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a\\..\\b.png", "new\nline/x.png", "c/ \t.png", "~/x.png", "-rf/$(x).png"]
    monkeypatch.setattr(exporting, "open_pictures", lambda *_: picture_set(*names))
    section = FolderPictures(kind="folder", path="set", size=16)
    exporting.export("out", section, "png", EXECUTOR)
    found = {path.relative_to("out").as_posix() for path in Path("out").rglob("*.png")}
    assert found == {"pictures/" + names[0], *names[1:]}
    monkeypatch.setattr(exporting, "open_pictures", lambda *_: picture_set("x" * 300 + "/a.png"))
    with pytest.raises(DreamshardsError, match=r"cannot write .*File name too long"):
        exporting.export("long", section, "png", EXECUTOR)


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../x"])
def test_a_class_of_ucf101_named_to_leave_its_folder(name: str) -> None:
    for folder in ("UCF-101", "ucfTrainTestlist"):
        Path(folder).mkdir()
    Path("ucfTrainTestlist/classInd.txt").write_text(f"1 {name}\n")
    Path("ucfTrainTestlist/trainlist01.txt").write_text(f"{name}/secret.avi 1\n")
    Path("secret.avi").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"classInd\.txt, line 1: got .* take the official file"):
        open_source(Ucf101Source(kind="ucf101", path="."), EXECUTOR)


@pytest.mark.parametrize("name", ["A/..", "A/.", "A/x\0.avi"])
def test_a_video_of_ucf101_named_to_leave_its_folder(name: str) -> None:
    for folder in ("UCF-101", "ucfTrainTestlist"):
        Path(folder).mkdir()
    Path("ucfTrainTestlist/classInd.txt").write_text("1 A\n")
    Path("ucfTrainTestlist/trainlist01.txt").write_text(f"{name} 1\n")
    with pytest.raises(UsageError, match=r"trainlist01\.txt, line 1: got .* allowed: Class/video"):
        open_source(Ucf101Source(kind="ucf101", path="."), EXECUTOR)


@pytest.mark.parametrize("key", ["../../x", "/etc/passwd", "00-000000000/../x", "a\0b"])
def test_a_key_is_never_a_path(
    key: str, small_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(small_root), "--key", key, "--save", "out"]) != 0
    assert "dreamshards: error: " in capsys.readouterr().err
    assert not [path for path in Path().rglob("*") if path.is_file() and "cache" not in path.parts]


# ── nothing is told, and nothing commands ──


def test_names_command_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Path("set/a").mkdir(parents=True)
    Path("set/a/\x1b]0;owned\x07\x1b[2J\u202e.png").write_bytes(b"no picture")
    arguments = ["--inline", "--out", "x", "--set", "source.kind=image-folder", "source.path=set"]
    assert main(["build", "digits", *arguments, "transform.size=32"]) != 0
    text = capsys.readouterr().err
    assert "\\x1b]0;owned\\x07\\x1b[2J\\u202e.png" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


SECRET_URI = (
    "s3://AKIDEXAMPLE:verysecret@bucket/root?endpoint=http%3A%2F%2F127.0.0.1%3A9&patience_s=1"
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "digits", "--inline", "--out", SECRET_URI, "--set", "source.kind=nonsense"],
        ["verify", SECRET_URI],
        ["preview", SECRET_URI],
        ["replay", SECRET_URI, "--key", "x"],
        ["pictures", "gabor", "--inline", "--out", SECRET_URI],
        ["pictures", "folder", "--inline", "--out", "d", "--set", f"path={SECRET_URI}"],
        ["pictures", "npy", "--inline", "--out", "d", "--set", f"path={SECRET_URI}"],
        ["build", "cifar10", "--inline", "--out", "d", "--set", f"source.path={SECRET_URI}"],
        ["train", "digits", "--out", "d", "--data", SECRET_URI],
        ["evaluate", "none.pt", "--out", "d", "--data", SECRET_URI],
        ["evaluate", "none.pt", "--out", "d", "--data", f"X Y={SECRET_URI}"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]).split(":", 1)[0],
)
def test_credentials_are_in_no_message(
    arguments: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMSHARDS_STORE_PATIENCE_S", "1")
    assert main(arguments) != 0
    told = "".join(capfd.readouterr())
    assert "dreamshards: error: " in told
    assert "verysecret" not in told
    assert "AKIDEXAMPLE" not in told
    for path in Path().rglob("*"):
        assert path.is_dir() or b"verysecret" not in path.read_bytes()


def test_credentials_are_in_no_configuration_of_a_run(tmp_path: Path) -> None:
    from training.config import load_config

    places = [f"data.train={SECRET_URI}", f"data.test={SECRET_URI}", "data.live=true"]
    config = load_config("digits", [*places, f"data.inputs=['source.path={SECRET_URI}']"])
    for text in (repr(config), config.model_dump_json(), str(config.model_dump(mode="json"))):
        assert "s3://bucket/root" in text
        assert "verysecret" not in text
    assert config.data.train == SECRET_URI
    assert "verysecret" not in parse_request(f"ood:{SECRET_URI}").text


def test_credentials_are_in_no_recipe_that_is_kept() -> None:
    parts = f"{{gabor: 1, mine: {{kind: folder, weight: 2, path: '{SECRET_URI}'}}}}"
    recipe = load_recipe("digits", ["mixing_set.kind=blend", f"mixing_set.parts={parts}"])
    for text in (repr(recipe), recipe.model_dump_json(), str(recipe.model_dump(mode="json"))):
        assert "s3://bucket/root" in text
        assert "verysecret" not in text
    assert recipe.mixing_set is not None
    assert SECRET_URI in str(recipe.mixing_set.model_dump())
    with pytest.raises(UsageError) as caught:
        load_recipe("digits", ["mixing_set.kind=blend", f"mixing_set.parts={parts[:-2]}, x: 1}}}}"])
    assert "unknown field" in str(caught.value)
    assert "verysecret" not in str(caught.value)
