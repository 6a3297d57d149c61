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
from pipeline.plan.base import BasePlan, resized_side
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
    check,
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
    fields = plan_fields(inputs.recipe)
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
    "mixup": ["augmentation.family=mixup", "augmentation.probability=0.8"],
    "cutmix": ["augmentation.family=cutmix", "augmentation.alpha=0.3"],
    "mixup-resized": [
        "augmentation.family=mixup",
        "transform.kind=random-resized-crop",
        "transform.size=24",
    ],
    "cutmix-centre": [
        "augmentation.family=cutmix",
        "transform.kind=center-crop",
        "transform.size=24",
    ],
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
    side = resized_side(inputs.recipe.transform)
    bases = render_bases(plan.base, plan.sources, inputs.source, size, resize=side)
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


PAIRS = pytest.mark.parametrize("family", ["mixup", "cutmix"])


@PAIRS
@pytest.mark.parametrize("transform", ["pad-crop", "random-resized-crop", "center-crop"])
def test_pairs_are_made_again_and_verify(tmp_path, family, transform):
    fields = [f"augmentation.family={family}", "epochs=2", "shards.codec=jpg"]
    change = [f"transform={{kind: {transform}, size: 8}}"]
    root = build_tiny(tmp_path, *fields, *change)
    assert_replays(root)
    report = check(root, 1.0)
    assert (report.faults, report.num_replayed) == ([], 48)
    assert read_dataset(root)["mixing_set"] is None


@PAIRS
def test_a_mixed_sample_is_made_of_the_two_pictures_its_row_names(tmp_path, family):
    root = build_tiny(tmp_path, f"augmentation.family={family}", "augmentation.probability=0.7")
    inputs = reopen_inputs(root, read_dataset(root), [], InlineExecutor())
    rows = pq.read_table(root / "epoch-0000/manifest.parquet")
    rendered, size = render_rows(inputs, rows), 8
    met = 0
    for i, row in enumerate(rows.to_pylist()):
        source = inputs.source
        assert row["second_source_id"] == source.ids[row["second_source_index"]].as_py()
        assert row["second_label"] == source.labels[row["second_source_index"]]
        box = [row[f"second_crop_{side}"] for side in "yxhw"]
        plan = BasePlan(
            *(np.array([side], np.int32) for side in box), np.array([row["second_flip"]])
        )
        index = np.array([row["second_source_index"]])
        second = render_bases(plan, index, source, size)[0].astype(float)
        first, share = rendered.bases[i].astype(float), row["label_weight"]
        if share == 1:
            assert rendered.mixing[i] is None
            assert row["second_source_index"] == row["source_index"]
            assert np.array_equal(rendered.samples[i], first)
            continue
        met += 1
        assert np.array_equal(rendered.mixing[i], second)
        expected = np.floor(share * first + (1 - share) * second + 0.5)
        if family == "cutmix":
            expected = first.copy()
            within = np.s_[row["box_y"] :, row["box_x"] :]
            part = np.s_[: row["box_h"], : row["box_w"]]
            expected[within][part] = second[within][part]
            assert share == pytest.approx(1 - row["box_h"] * row["box_w"] / size**2)
        assert np.array_equal(rendered.samples[i], expected)
    assert 3 < met < 24


@PAIRS
def test_the_command_names_and_saves_the_second_picture(tmp_path, family):
    root = build_tiny(tmp_path, f"augmentation.family={family}", "augmentation.probability=0.7")
    rows = pq.read_table(root / "epoch-0000/manifest.parquet").to_pylist()
    for mixed in (True, False):
        row = next(row for row in rows if (row["label_weight"] < 1) == mixed)
        key, out = row["key"], tmp_path / f"out-{mixed}"
        lines = replay(root, key, out, [], InlineExecutor())
        saved = ["clean", "base", "replayed", "stored", *(["second"] if mixed else [])]
        assert {path.name for path in out.iterdir()} == {f"{key}-{what}.png" for what in saved}
        assert (f"{row['second_source_id']}, label {row['second_label']}" in lines[2]) == mixed
        assert (lines[2] == "  no mixing") != mixed


PAIR_EDITS = {
    "second_source_index": lambda row: row.update(second_source_index=10**9),
    "second_source_id": lambda row: row.update(second_source_id="other"),
    "second_label": lambda row: row.update(second_label=(row["second_label"] + 1) % 3),
    "second_crop_y": lambda row: row.update(second_crop_y=row["second_crop_y"] + 1),
    "second_flip": lambda row: row.update(second_flip=not row["second_flip"]),
    "label_weight": lambda row: row.update(label_weight=2.0),
    "box_h": lambda row: row.update(box_h=10**6),
}


@pytest.mark.parametrize("column", PAIR_EDITS)
def test_an_edited_decision_of_a_pair_is_named(tmp_path, column):
    root = build_tiny(tmp_path, "augmentation.family=cutmix", "augmentation.probability=1")
    edit(root, PAIR_EDITS[column])
    seal(root)
    assert f"sample {KEY} is not what the recipe draws: {column};" in complaint(root)
    faults = check(root, 1.0).faults
    assert {(fault.key, fault.what) for fault in faults} == {
        (KEY, f"not what the recipe makes: {column}")
    }


def test_a_row_that_names_no_picture_is_refused_before_it_is_read(tmp_path):
    root = build_tiny(tmp_path, "augmentation.family=mixup")
    edit(root, PAIR_EDITS["second_source_index"])
    inputs = reopen_inputs(root, read_dataset(root), [], InlineExecutor())
    rows = pq.read_table(root / MANIFEST)
    with pytest.raises(ValueError, match="second_source_index out of range; allowed: 0 to 23"):
        render_rows(inputs, rows)


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
