"""verify against people: stray and exchanged files, edited manifests, and edits sealed again with care."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.errors import DreamshardsError
from tests.tiny import (
    EDITS,
    KEY,
    MANIFEST,
    MERGED,
    RECORD_BYTES,
    ROW,
    TAR,
    build_tiny,
    check,
    edit,
    found,
    key,
    patch,
    planted,
    seal,
)

FIRST_TAR = TAR.replace("1.tar", "0.tar")


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("edits"))


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("other"), "seed=1")


@pytest.fixture
def root(original, tmp_path) -> Path:
    """Return a copy that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "root"))


def faults(root: Path, fraction: float = 0) -> list[str]:
    return [str(fault) for fault in check(root, fraction).faults]


def names(root: Path, fraction: float = 0) -> set[tuple[str, str | None]]:
    return {(fault.file, fault.key) for fault in check(root, fraction).faults}


# ── files of others ──


@pytest.mark.parametrize(
    "name", ["notes.txt", "epoch-0000/shard-000003.tar", "epoch-0001/x", ".DS"]
)
def test_a_stray_file_is_named(root, name):
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(b"stray")
    assert faults(root) == [f"{name}: does not belong to this dataset"]


@pytest.mark.parametrize("content", [None, b"half a shard"])
def test_a_left_over_partial_folder_is_named(root, content):
    (root / ".partial").mkdir()
    name = ".partial"
    if content is not None:
        name = ".partial/.shard-000000.tar.x.tmp"
        (root / name).write_bytes(content)
    assert faults(root) == [f"{name}: does not belong to this dataset"]


def test_links_are_followed_to_good_files_and_named_otherwise(root, original, tmp_path):
    (root / TAR).unlink()
    (root / TAR).symlink_to(original / TAR)
    assert faults(root, 1) == []
    (root / "epoch-0007").symlink_to(tmp_path)
    assert faults(root) == ["epoch-0007: does not belong to this dataset"]


def test_a_shard_of_another_build_is_named(root, other):
    tars = {(TAR, key(row)) for row in range(8)}
    assert found(root, (other / TAR).read_bytes()) == tars
    with planted(root / MANIFEST, (other / MANIFEST).read_bytes()):
        manifests = {(MANIFEST, key(row)) for row in range(8)} | {(MANIFEST, None)}
        assert names(root) == manifests
        assert found(root, (other / TAR).read_bytes()) == tars | manifests


def test_swapped_shards_are_named(root):
    first, second = (root / FIRST_TAR).read_bytes(), (root / TAR).read_bytes()
    (root / FIRST_TAR).write_bytes(second)
    (root / TAR).write_bytes(first)
    rows = {(FIRST_TAR, key(row, 0)) for row in range(8)} | {(TAR, key(row, 1)) for row in range(8)}
    assert names(root) == rows
    seal(root)  # the swap is found even so: records are not those of their manifest
    assert {file for file, _ in names(root, 1)} == {FIRST_TAR, TAR}


def test_a_recipe_of_another_build_is_named(root, other):
    (root / "recipe.json").write_bytes((other / "recipe.json").read_bytes())
    assert faults(root) == ["recipe.json: is of another build than dataset.json"]


# ── edited manifests ──


@pytest.mark.parametrize("column", EDITS)
@pytest.mark.parametrize("file", [MANIFEST, MERGED])
def test_an_edited_manifest_is_named_with_key_and_column(root, file, column):
    edit(root, EDITS[column], file)
    expected = [f"{file}: {KEY}: not as in the other manifest: {column}"]
    first, *rest = faults(root, 1)
    assert first.startswith(f"{file}: altered: SHA-256 ")
    assert rest == expected
    seal(root)  # the two manifests still contradict each other
    assert faults(root) == [f"{MERGED}: {KEY}: not as in the other manifest: {column}"]


@pytest.mark.parametrize("column", EDITS)
def test_an_edit_of_both_manifests_sealed_again_is_found_by_replay(root, column):
    edit(root, EDITS[column])
    seal(root)
    assert faults(root) == []
    assert faults(root, 1) == [f"{MANIFEST}: {KEY}: not what the recipe makes: {column}"]


@pytest.mark.parametrize("column", ["key", "epoch", "position", "offset", "size"])
def test_a_row_that_points_elsewhere_is_found_though_sealed_again(root, column):
    other = {"key": key(5), "epoch": 1, "position": 0, "offset": 8192, "size": 600}
    edit(root, lambda row: row.update({column: other[column]}))
    seal(root)
    places = {"offset": {KEY, key(ROW + 1)}, "size": {key(ROW + 1)}}.get(column, {KEY})
    assert names(root) == {(MANIFEST, place) for place in places}
    assert (MANIFEST, KEY) in names(root, 1)


def test_manifests_of_another_form_are_refused_though_sealed_again(root):
    for change in (
        lambda table: table.slice(0, len(table) - 1),
        lambda table: table.drop_columns(["rounds"]),
        lambda table: table.rename_columns({"crc32": "crc"}),
        lambda table: table.set_column(6, "source_index", pa.nulls(len(table), pa.int64())),
    ):
        for file in (MANIFEST, MERGED):
            content = (root / file).read_bytes()
            pq.write_table(change(pq.read_table(root / file)), root / file)
            seal(root)
            ((name, row),) = names(root, 1)
            assert (name, row) == (file, None)
            (root / file).write_bytes(content)
    seal(root)
    assert faults(root, 1) == []


# ── edited tars, sealed again ──


def test_changed_pixels_sealed_all_the_way_are_found_by_replay(root):
    patch(root, ROW, 700, b"\x00\xff\x80")
    payload = (root / TAR).read_bytes()[ROW * RECORD_BYTES + 512 :][:320]
    edit(root, lambda row: row.update(crc32=zlib.crc32(payload)))
    seal(root)
    assert faults(root) == []
    assert faults(root, 1) == [
        f"{MANIFEST}: {KEY}: not what the recipe makes: crc32",
        f"{TAR}: {KEY}: rendered again gives other bytes",
    ]


@pytest.mark.parametrize(("position", "content"), [(1536, b"7"), (101, b"777"), (900, b"hidden")])
def test_changed_labels_headers_and_padding_sealed_again_are_found_by_replay(
    root, position, content
):
    patch(root, ROW, position, content)
    seal(root)
    assert faults(root) == []
    expected = f"{TAR}: {KEY}: rendered again gives other header, label or padding"
    assert faults(root, 1) == [expected]


def test_a_sample_put_into_a_tar_is_found_though_sealed_again(root):
    content = (root / TAR).read_bytes()
    (root / TAR).write_bytes(content[: 8 * RECORD_BYTES] + content[7 * RECORD_BYTES :])
    seal(root)
    expected = f"{MANIFEST}: {key(7)}: its record ends at 16,384 in a tar of 19,456 bytes"
    assert faults(root) == [expected]


def test_an_archive_without_its_end_is_found_though_sealed_again(root):
    patch(root, 8, 1000, b"x")
    seal(root)
    assert faults(root) == [f"{TAR}: does not end as an archive does"]


# ── the command ──


def test_the_command_tells_a_clean_root_from_a_faulty_one(root, capsys):
    assert main(["verify", str(root), "--replay", "1"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{root}: 24 samples in 3 shards ")
    assert said.out.endswith("24 of them rendered again\n")
    assert said.err == ""

    edit(root, EDITS["label"])
    patch(root, 0, 700, b"\x00\xff\x80")
    assert main(["verify", str(root)]) == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].startswith(f"{MERGED}: altered: SHA-256 ")
    assert lines[1].startswith(f"{MANIFEST}: altered: SHA-256 ")
    assert lines[2] == f"{TAR}: altered, and no manifest is left to say which samples"
    assert said.err.startswith(f"dreamshards: error: {root}: 3 faults; ")


def test_the_command_needs_the_inputs_only_to_replay(original, tmp_path, capsys):
    moved = tmp_path / "elsewhere"
    shutil.copytree(original.parent / "pictures", moved)
    root = build_tiny(tmp_path / "here")
    shutil.rmtree(tmp_path / "here" / "pictures")
    assert main(["verify", str(root)]) == 0
    assert main(["verify", str(root), "--replay", "1"]) in (1, 2)
    assert str(tmp_path / "here" / "pictures") in capsys.readouterr().err
    assert main(["verify", str(root), "--replay", "1", "--set", f"source.path={moved}"]) == 0
    (moved / "ant" / "00.png").write_bytes((moved / "bee" / "01.png").read_bytes())
    assert main(["verify", str(root), "--replay", "1", "--set", f"source.path={moved}"]) == 1
    message = capsys.readouterr().err
    assert f"{root} was built from other inputs:\n  source.fingerprint: " in message


def test_the_command_in_a_process_of_its_own(root, dreamshards):
    patch(root, ROW, 700, b"\x00\xff\x80")
    done = dreamshards("verify", root)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{TAR}: {KEY}: altered pixels: CRC-32 ")
    assert done.stderr.startswith(f"dreamshards: error: {root}: 1 fault")
    assert dreamshards("verify", root, "--replay", "2").returncode == 2


def test_a_root_without_dataset_json_is_not_verified(root):
    (root / "dataset.json").unlink()
    with pytest.raises(DreamshardsError, match="the build is not complete; run the same build"):
        check(root)
