"""Any sample is made again from its manifest row, byte for byte; where it is not, the reason is named."""

from __future__ import annotations

import io
import shutil
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.captions import describe_base, describe_steps
from pipeline.cli import main
from pipeline.errors import DreamshardsError
from pipeline.executor import InlineExecutor
from pipeline.inputs import open_inputs, reopen_inputs
from pipeline.recipe import load_recipe
from pipeline.render.base import render_bases
from pipeline.replay import draw_rows, encode_rows, render_rows, replay
from pipeline.sampling import (
    Inputs,
    Plan,
    draw_plan,
    plan_columns,
    plan_fields,
    plan_from_rows,
    render_plan,
)
from pipeline.shards.codecs import CODECS
from pipeline.shards.dataset import read_dataset
from pipeline.shards.manifest import read_rows
from tests.tiny import (
    EDITS,
    KEY,
    MANIFEST,
    RECORD_BYTES,
    ROW,
    TAR,
    build_tiny,
    edit,
    patch,
    seal,
)

SHORT = ["epochs=1", "source.split=test", "mixing_set.count=24"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("replay"))


@pytest.fixture
def root(tiny, tmp_path) -> Path:
    """Return a copy that a test may spoil."""
    return Path(shutil.copytree(tiny, tmp_path / "root"))


def inputs_of(*overrides: str) -> Inputs:
    return open_inputs(load_recipe("digits", [*SHORT, *overrides]), InlineExecutor())


def table_of(inputs: Inputs, plan: Plan) -> pa.Table:
    fields = plan_fields(inputs.recipe.augmentation.family)
    return pa.Table.from_arrays(plan_columns(inputs, plan), schema=pa.schema(fields))


def flat(plan: Plan) -> list[np.ndarray]:
    return [plan.sources, *plan.base, *plan.augmentation]


def assert_same_plan(found: Plan, expected: Plan) -> None:
    assert type(found.augmentation) is type(expected.augmentation)
    for ours, theirs in zip(flat(found), flat(expected), strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert np.array_equal(ours, theirs)
        assert ours.flags.c_contiguous


# ── plan → columns → plan ──

FAMILIES = {
    "k=0": ["augmentation.k=0"],
    "k=1": ["augmentation.k=1"],
    "k=4": [],
    "k=6": ["augmentation.k=6", "augmentation.beta=1"],
    "k=16": ["augmentation.k=16", "augmentation.severity=10"],
    "mix-input": ["augmentation.strategy=mix-input"],
    "mix-aug": ["augmentation.strategy=mix-aug", "augmentation.ops=standard"],
    "clean": ["augmentation.family=clean"],
    "resized": ["transform.kind=random-resized-crop", "transform.size=24"],
}


@pytest.fixture(scope="module", params=FAMILIES)
def inputs(request) -> Inputs:
    return inputs_of(*FAMILIES[request.param])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 9999), st.integers(0, 360), st.integers(0, 360))
def test_a_plan_comes_back_from_its_columns(inputs, epoch, one, other):
    plan = draw_plan(inputs, epoch, min(one, other), max(one, other))
    assert_same_plan(plan_from_rows(inputs.recipe, table_of(inputs, plan)), plan)


def test_a_plan_comes_back_from_files_slices_and_selections(inputs):
    plan = draw_plan(inputs, 0, 0, 360)
    table = table_of(inputs, plan)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=50)
    stored = read_rows(buffer.getvalue())
    assert stored.equals(table)
    assert_same_plan(plan_from_rows(inputs.recipe, stored), plan)
    chunks = pa.concat_tables([stored.slice(0, 7), stored.slice(7, 100), stored.slice(107)])
    assert_same_plan(plan_from_rows(inputs.recipe, chunks), plan)
    middle = plan_from_rows(inputs.recipe, chunks.slice(5, 200))
    assert_same_plan(middle, plan.rows(5, 205))
    order = np.random.default_rng(0).permutation(360)
    shuffled = plan_from_rows(inputs.recipe, chunks.take(order))
    for ours, theirs in zip(flat(shuffled), flat(plan), strict=True):
        assert np.array_equal(ours, theirs[order])


def test_rows_render_as_the_plan_does(inputs):
    plan = draw_plan(inputs, 0, 100, 164)
    rendered = render_rows(inputs, draw_rows(inputs, 0, 100, 164))
    assert np.array_equal(rendered.samples, render_plan(inputs, plan))
    size = inputs.recipe.transform.size
    bases = render_bases(plan.base, plan.sources, inputs.source, size)
    assert np.array_equal(rendered.bases, bases)
    for place, index in enumerate(plan.sources.tolist()):
        assert np.array_equal(rendered.clean[place], inputs.source.read(index))


# ── every stored sample ──


def payloads_of(root: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(root.glob("epoch-*/shard-*.parquet")):
        content = path.with_suffix(".tar").read_bytes()
        for row in pq.read_table(path, columns=["key", "offset", "size"]).to_pylist():
            found[row["key"]] = content[row["offset"] :][: row["size"]]
    return found


def assert_replays(root: Path) -> None:
    """Make every sample again, in a random order and from merged manifests, and compare."""
    inputs = reopen_inputs(root, read_dataset(root), [], InlineExecutor())
    stored = payloads_of(root)
    assert len(stored) == read_dataset(root)["samples"]
    for path in sorted(root.glob("epoch-*/manifest.parquet")):
        rows = pq.read_table(path)
        rows = rows.take(np.random.default_rng(0).permutation(len(rows)))
        again = encode_rows(inputs, rows)
        assert again == [stored[key] for key in rows["key"].to_pylist()]


def test_every_sample_of_two_epochs_is_made_again(small_root):
    assert_replays(small_root)


@pytest.mark.parametrize("codec", ["jpg", "png", "webp"])
def test_every_sample_of_other_codecs_is_made_again(tmp_path, codec):
    assert_replays(build_tiny(tmp_path, f"shards.codec={codec}"))


def test_clean_samples_are_made_again(tmp_path):
    assert_replays(build_tiny(tmp_path, "augmentation.family=clean", "epochs=2"))


# ── the command ──


@pytest.mark.parametrize("position", [0, 478, 479, 1436])
def test_the_command_says_what_was_done(small_root, capsys, position):
    key = f"0001-{position:010d}"
    assert main(["replay", str(small_root), key]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    (row,) = pq.read_table(
        small_root / "epoch-0001" / "manifest.parquet", filters=[("key", "=", key)]
    ).to_pylist()
    label = row["label"]
    assert said.out.splitlines() == [
        f"{key}: source {row['source_id']}, label {label} ({label})",
        f"  {describe_base(row)}",
        *(f"  {line}" for line in describe_steps(row)),
        f"identical: 3,200 bytes, CRC-32 {row['crc32']:08x}",
    ]


@pytest.mark.parametrize("codec", ["npy", "jpg"])
def test_saved_pictures_are_those_of_the_sample(tmp_path, codec):
    root = build_tiny(tmp_path, f"shards.codec={codec}")
    inputs = reopen_inputs(root, read_dataset(root), [], InlineExecutor())
    rows, stored = pq.read_table(root / "epoch-0000" / "manifest.parquet"), payloads_of(root)
    met = [row["mixing_picture"] is not None for row in rows.to_pylist()]
    for place in (met.index(True), met.index(False)):
        key, out = rows["key"][place].as_py(), tmp_path / f"out-{place}"
        lines = replay(root, key, out, [], InlineExecutor())
        assert lines[-1] == f"pictures: {out}/{key}-*.png"
        rendered = render_rows(inputs, rows.slice(place, 1))
        expected = {
            "clean": rendered.clean[0],
            "base": rendered.bases[0],
            "mixing": rendered.mixing[0],
            "replayed": rendered.samples[0],
            "stored": CODECS[codec].decode(stored[key]),
        }
        if not met[place]:
            assert expected.pop("mixing") is None
        assert {path.name for path in out.iterdir()} == {f"{key}-{what}.png" for what in expected}
        for what, picture in expected.items():
            with Image.open(out / f"{key}-{what}.png") as image:
                assert image.format == "PNG"
                assert np.array_equal(np.asarray(image), picture)
        if codec == "npy":
            assert np.array_equal(expected["stored"], expected["replayed"])


def complaint(root: Path, key: str = KEY, *overrides: str) -> str:
    with pytest.raises(DreamshardsError) as caught:
        replay(root, key, None, overrides, InlineExecutor())
    return str(caught.value)


@pytest.mark.parametrize(
    "key",
    ["0000-0000000024", "0001-0000000000", "12", "", "0000-0000000003.npy", "٠٠٠٠-٠٠٠٠٠٠٠٠٠٠"],
)
def test_a_key_that_no_sample_has_is_told_with_those_that_are(root, key, capsys):
    expected = f"no sample has the key {key!r}; allowed: 0000-0000000000 to 0000-0000000023"
    assert complaint(root, key) == expected
    assert main(["replay", str(root), key]) == 1
    assert capsys.readouterr().err == f"dreamshards: error: {expected}\n"


def test_damage_is_named_with_file_key_found_and_expected(root):
    tar, manifest = root / TAR, root / MANIFEST
    whole = tar.read_bytes()
    patch(root, ROW, 700, b"\x00\xff\x80")
    message = complaint(root)
    assert message.startswith(f"{tar}: sample {KEY} has CRC-32 ")
    assert message.endswith("; the tar is altered")
    tar.write_bytes(whole[: ROW * RECORD_BYTES + 600])
    message = f"{tar}: sample {KEY} ends after 88 of 320 bytes; the tar is truncated"
    assert complaint(root) == message
    tar.unlink()
    assert complaint(root) == f"{tar}: No such file or directory, sample {KEY}"
    tar.write_bytes(whole)
    edit(root, EDITS["label"], MANIFEST)
    assert complaint(root).startswith(f"{manifest}: altered: SHA-256 ")
    manifest.unlink()
    assert complaint(root).startswith(f"{manifest}: No such file or directory; ")


@pytest.mark.parametrize("column", sorted(EDITS.keys() - {"crc32"}))
def test_a_decision_edited_and_sealed_again_is_named(root, column):
    edit(root, EDITS[column])
    seal(root)
    assert complaint(root) == (
        f"{root / MANIFEST}: sample {KEY} is not what the recipe draws: {column}; "
        f"`dreamshards verify {root} --replay 1` lists all that is wrong"
    )


def test_pixels_edited_and_sealed_again_are_named(root):
    patch(root, ROW, 700, b"\x00\xff\x80")
    payload = (root / TAR).read_bytes()[ROW * RECORD_BYTES + 512 :][:320]
    edit(root, lambda row: row.update(crc32=zlib.crc32(payload)))
    seal(root)
    assert complaint(root).startswith(
        f"{root / TAR}: sample {KEY} rendered again gives other bytes (320 against 320 stored); "
    )


def test_inputs_that_moved_or_changed_are_told(tmp_path):
    root = build_tiny(tmp_path)
    pictures, moved = tmp_path / "pictures", tmp_path / "moved"
    pictures.rename(moved)
    assert str(pictures) in complaint(root)
    lines = replay(root, KEY, None, [f"source.path={moved}"], InlineExecutor())
    assert lines[-1].startswith("identical: 320 bytes, CRC-32 ")
    (moved / "ant" / "00.png").unlink()
    message = complaint(root, KEY, f"source.path={moved}")
    assert message.startswith(f"{root} was built from other inputs:\n  source.fingerprint: ")
    shutil.copytree(moved, pictures)
    assert "mixing_set.seed: the root has 0, this recipe has 1" in complaint(
        root, KEY, "mixing_set.seed=1"
    )
