"""Published test files as sources, in miniature: CIFAR-C and CIFAR-P arrays, SVHN's Matlab files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pipeline.build import build
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.recipe import parse_recipe
from pipeline.source_sections import CifarCSource, SvhnSource
from pipeline.sources import ArraySource, open_cifar_p
from pipeline.sources.cifar_c import open_cifar_c
from pipeline.sources.cifar_names import CLASS_NAMES
from pipeline.sources.svhn import open_svhn
from pipeline.stream import ShardStream

CLEAN = {"kind": "pad-crop", "size": 32, "padding": 0, "flip": 0.0}
EXECUTOR = InlineExecutor()
NUM = 7


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 32, 32, 3), np.uint8)


# ── CIFAR-C ──


@pytest.fixture
def cifar_c(tmp_path: Path) -> Path:
    """Return a folder laid out as CIFAR-10-C, of 7 test pictures."""
    np.save(tmp_path / "fog.npy", pictures(5 * NUM))
    labels = np.tile(np.arange(NUM, dtype=np.uint8), 5)
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path


def opened(folder: Path, **fields: object) -> ArraySource:
    content = {"kind": "cifar-c", "path": str(folder), "name": "fog", "severity": 3} | fields
    return open_cifar_c(CifarCSource.model_validate(content), EXECUTOR)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_a_severity_is_its_fifth_of_the_rows(cifar_c: Path, severity: int) -> None:
    source, every = opened(cifar_c, severity=severity), pictures(5 * NUM)
    np.testing.assert_array_equal(source.pixels, every[NUM * (severity - 1) : NUM * severity])
    assert source.labels.tolist() == list(range(NUM))
    assert source.ids.to_pylist()[::6] == [f"fog-{severity}-00000", f"fog-{severity}-00006"]
    assert source.class_names == CLASS_NAMES["cifar10"]


def test_severities_and_classes_are_told_apart_by_the_fingerprint(cifar_c: Path) -> None:
    sources = [opened(cifar_c, severity=severity) for severity in (1, 2)]
    sources.append(opened(cifar_c, severity=2, classes="cifar100"))
    assert len({source.fingerprint for source in sources}) == 3
    assert len(sources[2].class_names) == 100


def test_a_count_is_spread_over_the_severity(cifar_c: Path) -> None:
    source = opened(cifar_c, severity=2, count=3)
    np.testing.assert_array_equal(source.pixels, pictures(5 * NUM)[[7, 9, 11]])
    assert source.ids.to_pylist() == ["fog-2-00000", "fog-2-00002", "fog-2-00004"]
    with pytest.raises(UsageError, match=r"fog\.npy, severity 2, holds 7 pictures, 8 are asked"):
        opened(cifar_c, severity=2, count=8)


def test_class_names_are_as_many_and_in_the_order_of_the_archives() -> None:
    for names, num in zip(CLASS_NAMES.values(), (10, 100), strict=True):
        assert len(set(names)) == num
        assert sorted(names) == list(names)
    fine = CLASS_NAMES["cifar100"]
    assert [fine[label] for label in (0, 47, 52, 99)] == ["apple", "maple_tree", "oak_tree", "worm"]


def test_a_severity_builds_and_streams(cifar_c: Path, tmp_path: Path) -> None:
    content = {
        "name": "fog",
        "epochs": 1,
        "source": {"kind": "cifar-c", "path": str(cifar_c), "name": "fog", "severity": 4},
        "transform": CLEAN,
        "augmentation": {"family": "clean"},
    }
    report = build(parse_recipe(content, "test"), tmp_path / "root", EXECUTOR)
    assert report.dataset["identity"]["source.severity"] == 4
    assert "source.path" not in report.dataset["identity"]
    ((images, labels),) = list(ShardStream(tmp_path / "root", batch_size=NUM))
    np.testing.assert_array_equal(images.numpy(), pictures(5 * NUM)[21 + labels.numpy()])


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("fog", pictures(34), r"fog\.npy holds uint8 \[34, 32, 32, 3\]; allowed: uint8 \[5·N, 32"),
        ("fog", pictures(35)[..., :1], r"holds uint8 \[35, 32, 32, 1\]"),
        ("fog", pictures(35).astype(np.float32), r"holds float32 \[35, 32, 32, 3\]"),
        ("fog", np.uint8(3), r"holds uint8 \[\]"),
        ("fog", pictures(0), r"holds uint8 \[0, 32, 32, 3\]"),
        ("labels", np.zeros(7, np.uint8), r"labels\.npy holds uint8 \[7\]; allowed: whole numbers"),
        ("labels", np.zeros(35), r"holds float64 \[35\]; allowed: whole numbers \[35\]"),
        ("labels", np.full(35, 10), r"row 0 is 10; allowed: 0 to 9, for the 10 classes"),
        ("labels", np.arange(35) - 1, r"row 0 is -1; allowed: 0 to 9"),
    ],
)
def test_files_of_another_form_are_refused(
    cifar_c: Path, file: str, content: np.ndarray, expected: str
) -> None:
    np.save(cifar_c / f"{file}.npy", content)
    with pytest.raises(DreamshardsError, match=expected):
        opened(cifar_c)


def test_a_damaged_file_is_named(cifar_c: Path) -> None:
    content = (cifar_c / "fog.npy").read_bytes()
    for damaged in (content[:40], content[:-1], b"", b"PK\x03\x04" + content):
        (cifar_c / "fog.npy").write_bytes(damaged)
        with pytest.raises(DreamshardsError, match=r"fog\.npy (cannot be read|is an archive)"):
            opened(cifar_c)


def test_objects_are_not_unpickled(cifar_c: Path) -> None:
    np.save(cifar_c / "labels.npy", np.array([print] * 35, dtype=object))
    with pytest.raises(DreamshardsError, match=r"labels\.npy cannot be read as a \.npy file"):
        opened(cifar_c)


def test_what_is_missing_is_named_with_what_is_there(cifar_c: Path) -> None:
    with pytest.raises(UsageError, match=r"lacks fogg\.npy \(did you mean 'fog'\?\); it holds fog"):
        opened(cifar_c, name="fogg")
    with pytest.raises(UsageError, match=r"nowhere: no such folder"):
        opened(cifar_c / "nowhere")
    (cifar_c / "labels.npy").unlink()
    with pytest.raises(UsageError, match=r"lacks labels\.npy; it holds fog"):
        opened(cifar_c)


def test_a_name_is_no_path() -> None:
    content = {
        "name": "fog",
        "source": {"kind": "cifar-c", "path": ".", "name": "../fog", "severity": 6},
        "transform": CLEAN,
        "augmentation": {"family": "clean"},
    }
    with pytest.raises(UsageError) as caught:
        parse_recipe(content, "test")
    assert "source.name: got '../fog'; allowed: the name of a file without .npy" in str(
        caught.value
    )
    assert "source.severity: got 6; allowed: a whole number, 1 to 5" in str(caught.value)


# ── CIFAR-P ──


def test_clips_are_mapped_as_they_are(tmp_path: Path) -> None:
    clips = pictures(4, 21)
    np.save(tmp_path / "motion_blur.npy", clips)
    found = open_cifar_p(tmp_path / "motion_blur.npy")
    np.testing.assert_array_equal(found, clips)
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable


@pytest.mark.parametrize("shape", [(84,), (0, 21), (4, 21, 1)])
def test_other_shapes_are_no_clips(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "tilt.npy", pictures(*shape))
    with pytest.raises(
        DreamshardsError, match=r"tilt\.npy holds uint8 .*allowed: uint8 \[N, F, 32"
    ):
        open_cifar_p(tmp_path / "tilt.npy")


def test_other_types_are_no_clips(tmp_path: Path) -> None:
    np.save(tmp_path / "tilt.npy", pictures(4, 21).astype(np.int16))
    with pytest.raises(DreamshardsError, match=r"holds int16 \[4, 21, 32, 32, 3\]"):
        open_cifar_p(tmp_path / "tilt.npy")
    with pytest.raises(UsageError, match=r"lacks tilr\.npy \(did you mean 'tilt'\?\)"):
        open_cifar_p(tmp_path / "tilr.npy")


# ── SVHN ──


def write_svhn(folder: Path, split: str = "test", **changed: object) -> np.ndarray:
    """Write a split of 12 pictures as the official file has it; return the pictures, [12, 32, 32, 3]."""
    every = pictures(12)
    digits = np.array([[1], [10], [2], [9], *[[5]] * 8], np.uint8)
    content = {"X": every.transpose(1, 2, 3, 0), "y": digits} | changed
    savemat(folder / f"{split}_32x32.mat", content, do_compression=True)
    return every


def svhn(folder: Path, **fields: object) -> ArraySource:
    content = {"kind": "svhn", "path": str(folder), "split": "test"} | fields
    return open_svhn(SvhnSource.model_validate(content), EXECUTOR)


def test_svhn_is_read_with_ten_as_zero(tmp_path: Path) -> None:
    every = write_svhn(tmp_path)
    source = svhn(tmp_path)
    np.testing.assert_array_equal(source.pixels, every)
    assert source.labels.tolist() == [1, 0, 2, 9, *[5] * 8]
    assert source.class_names == tuple("0123456789")
    assert source.ids.to_pylist()[:2] == ["test-00000", "test-00001"]


def test_svhn_has_its_training_split_and_a_count(tmp_path: Path) -> None:
    every = write_svhn(tmp_path, "train")
    source = svhn(tmp_path, split="train", count=4)
    np.testing.assert_array_equal(source.pixels, every[::3])
    assert source.ids.to_pylist() == [f"train-{row:05d}" for row in (0, 3, 6, 9)]
    with pytest.raises(UsageError, match=r"no test_32x32\.mat in .*; fetch it from http"):
        svhn(tmp_path)
    with pytest.raises(UsageError, match=r"holds 12 pictures, 13 are asked for"):
        svhn(tmp_path, split="train", count=13)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"X": pictures(12)}, r"X holds uint8 \[12, 32, 32, 3\]; allowed: uint8 \[32, 32, 3, N\]"),
        ({"X": np.zeros((32, 32, 3, 12))}, r"X holds float64 \[32, 32, 3, 12\]"),
        ({"y": np.ones((11, 1), np.uint8)}, r"y holds uint8 \[11, 1\]; allowed: numbers \[12, 1\]"),
        ({"y": np.zeros((12, 1), np.uint8)}, r"y\[0\] = 0; allowed: 1 to 10, which is 0"),
        ({"y": np.full((12, 1), 1.5)}, r"y\[0\] = 1\.5; allowed: 1 to 10"),
    ],
)
def test_svhn_of_another_form_is_refused(
    tmp_path: Path, changed: dict[str, np.ndarray], expected: str
) -> None:
    write_svhn(tmp_path, **changed)
    with pytest.raises(DreamshardsError, match=expected):
        svhn(tmp_path)


def test_damaged_svhn_is_named(tmp_path: Path) -> None:
    write_svhn(tmp_path)
    path = tmp_path / "test_32x32.mat"
    content = path.read_bytes()
    for damaged in (b"", content[:100], content[:2000], content[:200] + b"\xff" * 3000):
        path.write_bytes(damaged)
        with pytest.raises(DreamshardsError, match=r"test_32x32\.mat cannot be read as a Matlab"):
            svhn(tmp_path)
    savemat(path, {"other": np.zeros(3)})
    with pytest.raises(DreamshardsError, match=r"test_32x32\.mat lacks X or y"):
        svhn(tmp_path)
