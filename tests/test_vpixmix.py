"""V-PixMix from recipe to shards and back: built, verified, replayed, streamed live, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.build import build
from pipeline.captions import describe_base, describe_captions, describe_steps
from pipeline.errors import DreamshardsError
from pipeline.executor import InlineExecutor, RayExecutor
from pipeline.inputs import open_inputs
from pipeline.recipe import Recipe, parse_recipe
from pipeline.replay import draw_rows, render_rows, replay
from pipeline.sampling import draw_plan, render_plan
from pipeline.shards.dataset import read_dataset
from pipeline.stream import LiveStream, ShardStream
from pipeline.verify import verify
from tests.conftest import tree
from tests.test_vpixmix_plan import EACH, MODES

FRAMES, SIZE = 4, 24
KEY = "0001-0000000004"


def recipe_of(**section: Any) -> Recipe:
    zooms = section.get("picture") == "zoom"
    content = {
        "name": "dreams",
        "epochs": 2,
        "source": {"kind": "synthetic", "law": "blobs", "count": 7, "size": 30, "frames": FRAMES},
        "transform": {"kind": "scaled-crop", "size": SIZE, "scales": [1.0, 0.8]},
        "augmentation": {"family": "vpixmix", **section},
        "mixing_set": {"kind": "zoom", "count": 3} if zooms else {"kind": "ifs", "count": 5},
        "shards": {"samples_per_shard": 3},
    }
    return parse_recipe(content, "recipe")


@EACH
def test_shards_are_what_the_recipe_makes(mode: dict[str, str], tmp_path: Path) -> None:
    recipe, root = recipe_of(**mode), tmp_path / "dreams"
    build(recipe, root, InlineExecutor())
    report = verify(root, 1.0, (), InlineExecutor())
    assert (report.faults, report.num_replayed) == ([], 14)
    lines = replay(root, KEY, None, (), InlineExecutor())
    assert lines[-1].startswith(f"identical: {128 + FRAMES * SIZE * SIZE * 3:,} bytes")
    stored, live = ShardStream(root, batch_size=4), LiveStream(recipe, batch_size=4)
    for epoch in (0, 1):
        stored.set_epoch(epoch)
        live.set_epoch(epoch)
        for ours, theirs in zip(stored, live, strict=True):
            assert np.array_equal(ours.images, theirs.images)
            assert np.array_equal(ours.labels, theirs.labels)
    assert len({image.numpy().tobytes() for batch in stored for image in batch.images}) == 7


@pytest.mark.parametrize(
    "mode", [MODES[0], MODES[7], MODES[15]], ids=lambda m: "-".join(m.values())
)
def test_ray_gives_the_same_bytes(mode: dict[str, str], tmp_path: Path, ray_address: str) -> None:
    recipe = recipe_of(**mode)
    build(recipe, tmp_path / "one", InlineExecutor())
    with RayExecutor(ray_address, 2) as executor:
        build(recipe, tmp_path / "other", executor)
    assert tree(tmp_path / "one") == tree(tmp_path / "other")


@EACH
def test_what_frames_met_is_shown(mode: dict[str, str]) -> None:
    inputs = open_inputs(recipe_of(**mode), InlineExecutor())
    rendered = render_rows(inputs, draw_rows(inputs, 0, 0, 7))
    assert np.array_equal(rendered.samples, render_plan(inputs, draw_plan(inputs, 0, 0, 7)))
    assert rendered.bases.shape == (7, FRAMES, SIZE, SIZE, 3)
    met = [clip for clip in rendered.mixing if clip is not None]
    assert len(met) == 7 or mode["method"] == "pipeline"
    assert len(met) > 2
    for clip in met:
        assert (clip.dtype, clip.shape) == (np.uint8, (FRAMES, SIZE, SIZE, 3))
        moves = (clip[1:] != clip[:-1]).any()
        assert moves == (mode["picture"] != "single")


def test_an_altered_manifest_is_found_out(tmp_path: Path) -> None:
    recipe, root = recipe_of(picture="zoom"), tmp_path / "dreams"
    build(recipe, root, InlineExecutor())
    path = root / "epoch-0001" / "shard-000001.parquet"
    table = pq.read_table(path)
    phases = table["zoom_phase"].to_pylist()
    place = table.column_names.index("zoom_phase")
    changed = table.set_column(place, table.field(place), [[phases[0] / 2, *phases[1:]]])
    pq.write_table(changed, path)
    faults = verify(root, 1.0, (), InlineExecutor()).faults
    assert any("shard-000001.parquet" in fault.file for fault in faults)
    with pytest.raises(DreamshardsError, match=r"shard-000001\.parquet"):
        replay(root, table["key"][0].as_py(), None, (), InlineExecutor())


# ── in words ──


def words_of(**section: Any) -> tuple[dict[str, Any], list[str]]:
    inputs = open_inputs(recipe_of(**section), InlineExecutor())
    row = draw_rows(inputs, 0, 2, 3).to_pylist()[0]
    return row, describe_steps(row)


def weight(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def test_one_mix_is_one_line() -> None:
    row, lines = words_of()
    (mix,) = row["rounds"]
    verb = "add" if mix["mode"] == "add" else "multiply by"
    text = f"(a={weight(mix['a'])}, b={weight(mix['b'])})"
    assert lines == [f"{verb} mixing picture {row['mixing_id']} {text}"]
    assert describe_base(row).endswith(", from frame 0")


def test_a_zoom_says_how_it_moves_and_weights_how_they_drift() -> None:
    row, lines = words_of(picture="zoom", draws="smooth")
    (mix,) = row["rounds"]
    direction = f"{row['zoom_direction']}wards by {row['zoom_factor']:.4f} a frame"
    assert lines[0] == f"zoom {row['mixing_id']}: {direction}, from phase {row['zoom_phase']:.2f}"
    drift = f"a={weight(mix['a'])} to {weight(mix['end_a'])}"
    assert f"zoom {row['mixing_id']} ({drift}, b=" in lines[1]
    assert len(lines) == 2


def test_a_pipeline_has_a_line_for_the_start_and_each_round() -> None:
    row, lines = words_of(method="pipeline")
    assert len(lines) == 1 + max(1, len(row["rounds"]))
    assert lines[0].startswith("start: ")


def test_the_first_frames_are_told_and_others_counted() -> None:
    row, lines = words_of(picture="frame")
    ids = [frame["mixing_id"] for frame in row["frames"]]
    assert "the mixing picture of each frame (a=" in lines[0]
    assert lines[1:4] == [f"frame {t}: mixing picture {ids[t]}" for t in range(3)]
    assert lines[4:] == ["1 more frame, with its own"]
    row, lines = words_of(draws="frame", method="pipeline")
    starts = [line.partition(":")[0] for line in lines]
    assert starts == ["frame 0", "frame 1", "frame 2", "1 more frame, with its own"]
    assert "start: " in lines[0]
    used = [mix for frame in row["frames"][:3] for mix in frame["rounds"]]
    told = sum(line.count("(a=") for line in lines)
    assert told == len(used)


def test_captions_are_explained(tmp_path: Path) -> None:
    def words(**section: Any) -> list[str]:
        root = tmp_path / "-".join(["root", *map(str, section.values())])
        build(recipe_of(**section), root, InlineExecutor())
        return [word for word, _ in describe_captions(read_dataset(root))]

    assert words() == ["key", "crop", "add, multiply", "a, b"]
    assert words(method="pipeline") == ["key", "crop", "start", "add, multiply", "a, b"]
    assert words(picture="zoom")[-1] == "zoom"
    assert words(picture="frame")[-1] == "frame"
