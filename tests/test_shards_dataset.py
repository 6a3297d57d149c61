"""The two sealed JSON files: what is written is read, and any other byte is refused with the file named."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import DreamshardsError
from pipeline.shards.dataset import canonical, digest_of, read_dataset, read_sealed, write_sealed
from pipeline.shards.reader import find_shard, shard_names
from tests.tiny import build_tiny

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=12),
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
)
contents = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), values, max_size=5)
CONTENT = {
    "format_version": 1,
    "name": "größe",
    "small": 1e-05,
    "ratio": 4 / 3,
    "list": [1, None, True],
}


def refusal(root: Path, name: str = "dataset.json") -> str:
    with pytest.raises(DreamshardsError) as caught:
        read_sealed(root, name)
    assert caught.value.exit_code == 1
    return str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(contents)
def test_any_content_is_read_back(tmp_path: Path, content):
    content = {**content, "format_version": 1}
    sealed = write_sealed(tmp_path, "dataset.json", content)
    assert read_sealed(tmp_path, "dataset.json") == sealed
    assert sealed == {**content, "digest": digest_of(content)}
    first = (tmp_path / "dataset.json").read_bytes()
    assert write_sealed(tmp_path, "dataset.json", sealed) == sealed
    assert (tmp_path / "dataset.json").read_bytes() == first


def test_the_digest_is_of_content_not_of_order():
    assert digest_of({"a": 1, "b": [1.5]}) == digest_of({"b": [1.5], "a": 1, "digest": "x"})
    assert digest_of({"a": 1}) != digest_of({"a": 1.0})
    assert canonical({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()


def test_every_flipped_bit_is_refused(tmp_path: Path):
    write_sealed(tmp_path, "dataset.json", CONTENT)
    path = tmp_path / "dataset.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in range(8):
            content = bytearray(whole)
            content[position] ^= 1 << bit
            path.write_bytes(content)
            assert refusal(tmp_path).startswith(f"{path}: "), (position, bit)
    path.write_bytes(whole)
    assert read_sealed(tmp_path, "dataset.json") is not None


def test_equal_values_in_other_bytes_are_refused(tmp_path: Path):
    sealed = write_sealed(tmp_path, "dataset.json", CONTENT)
    path = tmp_path / "dataset.json"
    text = path.read_text()
    others = [
        json.dumps(sealed),
        text.rstrip("\n"),
        text + "\n",
        text.replace("1e-05", "1E-05"),
        text.replace("1e-05", "0.00001"),
        text.replace("ö", "\\u00f6"),
        text.replace('"list"', '"list": 0, "list"'),
    ]
    for other in others:
        assert other != text
        path.write_text(other)
        assert "altered since it was written" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "unreadable (Expecting value"),
        (b"{", "unreadable (Expecting"),
        (b"\xff\xfe\x00", "unreadable ("),
        (b"[]", "altered since it was written (digest None in the file"),
        (b'"text"', "altered since it was written (digest None in the file"),
        (b"{}", "altered since it was written (digest None in the file"),
        (b'{"a": "\\ud800"}', "unreadable ("),  # half a character: no text at all
        (b'{"a": ' + b"9" * 5000 + b"}", "unreadable ("),
    ],
)
def test_what_is_not_sealed_is_refused(tmp_path: Path, content, reason):
    (tmp_path / "dataset.json").write_bytes(content)
    assert refusal(tmp_path).startswith(f"{tmp_path / 'dataset.json'}: {reason}")
    assert refusal(tmp_path).endswith("restore it from a copy, or build again in a new root")


def test_a_cut_file_is_refused(tmp_path: Path):
    write_sealed(tmp_path, "recipe.json", CONTENT)
    path = tmp_path / "recipe.json"
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert refusal(tmp_path, "recipe.json").startswith(f"{path}: ")


def test_another_format_version_is_refused(tmp_path: Path):
    write_sealed(tmp_path, "dataset.json", {**CONTENT, "format_version": 2})
    assert refusal(tmp_path) == (
        f"{tmp_path / 'dataset.json'}: format version 2; this release reads 1"
    )


def test_a_folder_in_its_place_is_refused(tmp_path: Path):
    (tmp_path / "dataset.json").mkdir()
    assert refusal(tmp_path).startswith(f"{tmp_path / 'dataset.json'}: unreadable (")


def test_what_is_no_complete_build_is_told_apart(tmp_path: Path):
    def message(root: Path) -> str:
        with pytest.raises(DreamshardsError) as caught:
            read_dataset(root)
        return str(caught.value)

    missing = tmp_path / "nowhere"
    assert message(missing) == f"{missing}: no such folder; give the root of a build"
    assert message(tmp_path) == f"{tmp_path}: no dataset.json; this is not the root of a build"
    write_sealed(tmp_path, "recipe.json", CONTENT)
    assert message(tmp_path) == (
        f"{tmp_path}: no dataset.json; the build is not complete; "
        "run the same build command again to go on"
    )
    assert read_sealed(tmp_path / "recipe.json", "dataset.json") is None


# ── what dataset.json lists ──


def test_shards_are_listed_with_their_positions(small_root: Path):
    names = shard_names(read_dataset(small_root))
    edges = [(0, 479), (479, 958), (958, 1437)]
    assert [(name.epoch, name.shard, name.start, name.stop) for name in names] == [
        (epoch, shard, *edges[shard]) for epoch in range(2) for shard in range(3)
    ]


def test_a_key_is_found_in_its_shard(small_root: Path):
    dataset = read_dataset(small_root)
    rng = random.Random(0)
    for position in [0, 478, 479, 1436, *(rng.randrange(1437) for _ in range(20))]:
        name, row = find_shard(dataset, f"0001-{position:010d}")
        assert name.epoch == 1
        assert name.start + row == position
        assert row < name.stop - name.start
    for key in ("0000-0000001437", "0002-0000000000", "0000-1", "", "0001-0000000000.npy"):
        with pytest.raises(DreamshardsError) as caught:
            find_shard(dataset, key)
        assert str(caught.value) == (
            f"no sample has the key {key!r}; allowed: 0000-0000000000 to 0001-0000001436"
        )


def test_two_builds_of_one_recipe_are_the_same_bytes(tmp_path: Path):
    first = build_tiny(tmp_path)
    files = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    before = {file: (first / file).read_bytes() for file in files}
    first.rename(tmp_path / "first")
    again = build_tiny(tmp_path)
    assert {file: (again / file).read_bytes() for file in files} == before
    assert len(files) == 3 + 3 + 1 + 2
