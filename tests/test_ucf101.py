"""UCF101 in miniature: its layout, its lists with all their oddities, and what is wrong with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.build import build
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.recipe import load_recipe
from pipeline.source_sections import Ucf101Source
from pipeline.sources import VideoSource, open_source

av = pytest.importorskip("av")

ARCHERY = Path(__file__).parents[2] / "shared" / "data" / "ucf101_v_Archery.avi"

CLASSES = ("Archery", "Hammering", "HammerThrow", "HandstandPushups")
"""By number: not in code-point order, in which HammerThrow comes first."""
TRAIN = (
    "HandstandPushups/v_HandStandPushups_g08_c01.avi 4",
    "Archery/v_Archery_g08_c02.avi 1",
    "Archery/v_Archery_g08_c01.avi 1",
    "Hammering/v_Hammering_g09_c01.avi 2",
    "HammerThrow/v_HammerThrow_g10_c01.avi 3",
)
TEST = ("HammerThrow/v_HammerThrow_g01_c01.avi", "Hammering/v_Hammering_g01_c02.avi")


def write_video(path: Path, num_frames: int = 20) -> None:
    """Write grey frames that get brighter, MPEG-4 in AVI of 64×48 px at 25 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(num_frames):
            picture = np.full((48, 64, 3), 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_lists(folder: Path, **lists: tuple[str, ...]) -> None:
    """Write lists by name with the official line ends."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_bytes("".join(f"{line}\r\n" for line in lines).encode())


@pytest.fixture
def ucf(tmp_path: Path) -> Path:
    """Return a folder laid out as UCF101, of four classes and seven videos."""
    for line in (*TRAIN, *TEST):
        write_video(tmp_path / "UCF-101" / line.split()[0])
    classes = tuple(f"{number} {name}" for number, name in enumerate(CLASSES, 1))
    lists = tmp_path / "ucfTrainTestlist"
    write_lists(lists, classInd=classes, trainlist01=TRAIN, testlist01=TEST, testlist03=TEST[:1])
    return tmp_path


def opened(path: Path, **fields: object) -> VideoSource:
    content = {"kind": "ucf101", "path": str(path), "frames": 4, **fields}
    source = open_source(Ucf101Source.model_validate(content), InlineExecutor())
    assert isinstance(source, VideoSource)
    return source


def refusal(path: Path, **fields: object) -> str:
    with pytest.raises(DreamshardsError) as caught:
        opened(path, **fields)
    return str(caught.value)


# ── the lists ──


def test_classes_are_those_of_the_list_and_a_class_is_its_folder(ucf: Path) -> None:
    source = opened(ucf)
    assert source.class_names == CLASSES
    assert source.ids.to_pylist() == [
        "Archery/v_Archery_g08_c01.avi",
        "Archery/v_Archery_g08_c02.avi",
        "Hammering/v_Hammering_g09_c01.avi",
        "HammerThrow/v_HammerThrow_g10_c01.avi",
        "HandstandPushups/v_HandStandPushups_g08_c01.avi",
    ]
    assert source.labels.tolist() == [0, 0, 1, 2, 3]
    assert source.num_frames.tolist() == [20] * 5
    assert source.skipped == ()


def test_splits_and_folds_have_lists_of_their_own(ucf: Path) -> None:
    test = opened(ucf, split="test", starts="windows")
    assert test.labels.tolist() == [1] * 5 + [2] * 5
    assert test.starts.tolist() == [0, 4, 8, 12, 16] * 2
    assert test.class_names == CLASSES
    assert opened(ucf, split="test", fold=3).labels.tolist() == [2]
    message = refusal(ucf, fold=2)
    assert "trainlist02.txt: No such file or directory" in message
    assert "UCF101TrainTestSplits-RecognitionTask.zip" in message


def test_plain_line_ends_and_empty_lines_do_no_harm(ucf: Path) -> None:
    path = ucf / "ucfTrainTestlist" / "trainlist01.txt"
    before = opened(ucf).fingerprint
    path.write_text("\n" + "\n".join(reversed(TRAIN)))
    assert opened(ucf).fingerprint == before


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ("Archery/v_Archery_g08_c01.avi 2",),
            r"line 1: .* number 2, but Archery is 1 in classInd",
        ),
        (
            ("Archery/v_Archery_g08_c01.avi one",),
            r"line 1: .* has the number one, but Archery is 1",
        ),
        ((*TRAIN, TRAIN[1]), r"line 6: Archery/v_Archery_g08_c02\.avi is named a second time"),
        (("Archerie/v_x.avi 1",), r"line 1: .*'Archerie', .*\(did you mean 'Archery'\?\)"),
        (("v_Archery_g08_c01.avi 1",), r"line 1: got 'v_Archery_g08_c01\.avi 1'; allowed: Class/"),
        (("Archery/../x.avi 1",), r"line 1: got 'Archery/\.\./x\.avi 1'"),
        (("Archery/a.avi 1 1",), r"line 1: got 'Archery/a\.avi 1 1'"),
        (("",), r"trainlist01\.txt is empty"),
    ],
)
def test_a_list_that_is_wrong_is_named_with_its_line(
    ucf: Path, lines: tuple[str, ...], message: str
) -> None:
    write_lists(ucf / "ucfTrainTestlist", trainlist01=lines)
    with pytest.raises(UsageError, match=message):
        opened(ucf)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("1 Archery", "3 Hammering"), "line 2: got '3 Hammering'; allowed: the number 2 and"),
        (("0 Archery",), "line 1: got '0 Archery'; allowed: the number 1"),
        (("1 Archery", "2 Archery"), "line 2: got '2 Archery'"),
        (("Archery",), "line 1: got 'Archery'"),
    ],
)
def test_class_numbers_that_are_wrong_are_refused(
    ucf: Path, lines: tuple[str, ...], message: str
) -> None:
    write_lists(ucf / "ucfTrainTestlist", classInd=lines)
    with pytest.raises(UsageError, match=message):
        opened(ucf)


def test_a_list_that_is_no_text_is_refused(ucf: Path) -> None:
    (ucf / "ucfTrainTestlist" / "classInd.txt").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(UsageError, match=r"cannot read .*classInd\.txt: it is not text"):
        opened(ucf)


# ── where they lie ──


@pytest.mark.parametrize(
    "place",
    [
        "UCF-101/ucfTrainTestlist",
        "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist",
    ],
)
def test_lists_may_lie_where_archives_put_them(ucf: Path, place: str) -> None:
    before = opened(ucf).fingerprint
    (ucf / place).parent.mkdir(exist_ok=True)
    (ucf / "ucfTrainTestlist").rename(ucf / place)
    assert opened(ucf).fingerprint == before


def test_the_path_may_be_the_folder_of_the_videos(ucf: Path) -> None:
    assert opened(ucf / "UCF-101").fingerprint == opened(ucf).fingerprint


def test_what_is_not_there_is_named_with_where_to_get_it(ucf: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no folder UCF-101 in .*; fetch UCF101\.rar from http"):
        opened(tmp_path / "nowhere")
    shutil.rmtree(ucf / "ucfTrainTestlist")
    with pytest.raises(UsageError, match=r"no folder ucfTrainTestlist in .*RecognitionTask\.zip"):
        opened(ucf)


# ── the videos ──


def test_missing_videos_are_all_counted_and_ten_named(ucf: Path) -> None:
    more = tuple(f"Archery/v_Archery_g11_c{number:02d}.avi 1" for number in range(12))
    write_lists(ucf / "ucfTrainTestlist", trainlist01=(*TRAIN, *more))
    lines = refusal(ucf).splitlines()
    assert lines[0].startswith("12 of the 17 videos that ")
    assert "on_unreadable=skip" in lines[0]
    assert lines[1] == "  Archery/v_Archery_g11_c00.avi: No such file or directory"
    assert len(lines) == 12
    assert lines[11] == "  and 2 more"
    source = opened(ucf, on_unreadable="skip")
    assert len(source.labels) == 5
    assert [line.id for line in source.skipped] == [line.split()[0] for line in more]


def test_a_class_of_which_nothing_is_there_stops_in_any_case(ucf: Path) -> None:
    (ucf / "UCF-101" / TRAIN[0].split()[0]).unlink()
    message = refusal(ucf, on_unreadable="skip")
    assert "1 of the 5 videos" in message
    assert "HandstandPushups/v_HandStandPushups_g08_c01.avi: No such file" in message


def test_a_video_that_cannot_be_decoded_is_named_or_skipped(ucf: Path) -> None:
    name = "Archery/v_Archery_g08_c02.avi"
    (ucf / "UCF-101" / name).write_bytes(b"RIFF" + bytes(60))
    assert f"{name}: " in refusal(ucf)
    source = opened(ucf, on_unreadable="skip")
    assert len(source.labels) == 4
    assert [line.id for line in source.skipped] == [name]


def test_a_folder_in_place_of_a_video_is_no_video(ucf: Path) -> None:
    path = ucf / "UCF-101" / "Archery" / "v_Archery_g08_c02.avi"
    path.unlink()
    path.mkdir()
    assert "v_Archery_g08_c02.avi: not a regular file" in refusal(ucf)


def test_files_that_no_list_names_are_of_no_concern(ucf: Path) -> None:
    before = opened(ucf).fingerprint
    (ucf / "UCF-101" / "Archery" / "v_Archery_g25_c01.avi").write_bytes(b"broken")
    (ucf / "UCF-101" / "Other").mkdir()
    assert opened(ucf).fingerprint == before


def test_a_count_is_spread_over_the_classes(ucf: Path) -> None:
    assert opened(ucf, count=2).labels.tolist() == [0, 1]


# ── roots ──


def test_the_presets_have_the_settings_of_the_experiment() -> None:
    train, test = load_recipe("ucf101"), load_recipe("ucf101-test")
    assert train.epochs == 10
    assert (train.source.split, train.source.starts, train.source.frames) == ("train", "random", 16)
    assert train.transform.model_dump() == {
        "kind": "scaled-crop",
        "size": 112,
        "scales": [1.0, 0.841, 0.707, 0.595, 0.5],
        "flip": 0.5,
    }
    assert train.augmentation.picture == "single"
    assert (train.augmentation.draws, train.augmentation.beta) == ("clip", 3)
    assert (train.mixing_set.kind, train.mixing_set.count) == ("library", 1000)
    assert (test.source.split, test.source.starts, test.source.hop) == ("test", "windows", None)
    assert (test.transform.size, test.transform.resize) == (112, 128)


@pytest.mark.skipif(not ARCHERY.exists(), reason="the real clip is not here")
def test_a_root_of_the_real_clip(tmp_path: Path) -> None:
    from pipeline.stream import ShardStream

    folder = tmp_path / "UCF-101" / "Archery"
    folder.mkdir(parents=True)
    shutil.copy(ARCHERY, folder / "v_Archery_g01_c01.avi")
    line = "Archery/v_Archery_g01_c01.avi"
    write_lists(tmp_path / "ucfTrainTestlist", classInd=("1 Archery",), testlist01=(line,))
    recipe = load_recipe("ucf101-test", [f"source.path={tmp_path}", "shards.codec=npy"])
    build(recipe, tmp_path / "root", InlineExecutor())
    stream = ShardStream(tmp_path / "root", batch_size=8)
    (batch,) = stream
    assert tuple(batch.images.shape) == (7, 16, 112, 112, 3)  # 125 frames: 7 whole windows of 16
    assert stream.videos().tolist() == [0] * 7
    assert 40 < batch.images.float().mean() < 200
