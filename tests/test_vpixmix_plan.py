"""V-PixMix's decisions: which are drawn when, how they are distributed, and what depends on what."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.augmentation_sections import VPixMixConfig
from pipeline.plan.vpixmix import VPixMixPlan, draw_vpixmix, pixmix_constants
from pipeline.plan.vpixmix_columns import vpixmix_columns, vpixmix_fields, vpixmix_from_columns

FRAMES, SIZE, NUM_PICTURES = 5, 16, 9
SIDES = np.arange(SIZE, SIZE + NUM_PICTURES, dtype=np.int32)
IDS = pa.array([f"picture-{index}" for index in range(NUM_PICTURES)])
MODES = [
    {"picture": picture, "draws": draws, "method": method}
    for picture in ("single", "zoom", "frame")
    for draws in ("clip", "frame", "smooth")
    for method in ("mix", "pipeline")
]
EACH = pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))


def config_of(**fields: Any) -> VPixMixConfig:
    return VPixMixConfig.model_validate({"family": "vpixmix", **fields}).resolved()


def draw(
    config: VPixMixConfig, start: int = 0, stop: int = 40, *, frames: int = FRAMES, seed: int = 1
) -> VPixMixPlan:
    sides = np.full(NUM_PICTURES, SIZE, np.int32) if config.picture == "zoom" else SIDES
    place = {"seed": seed, "epoch": 2, "start": start, "stop": stop}
    return draw_vpixmix(config, sides, sides, frames=frames, size=SIZE, **place)


def table_of(plan: VPixMixPlan, config: VPixMixConfig) -> pa.Table:
    columns = vpixmix_columns(plan, config, IDS)
    table = pa.Table.from_arrays(columns, schema=pa.schema(vpixmix_fields(config)))
    table.validate(full=True)
    return table


def assert_same(found: VPixMixPlan, expected: VPixMixPlan) -> None:
    for name, ours, theirs in zip(VPixMixPlan._fields, found, expected, strict=True):
        assert ours.dtype == theirs.dtype, name
        assert np.array_equal(ours, theirs), name
        assert ours.flags.c_contiguous, name


# ── how often ──


@EACH
def test_pictures_and_decisions_are_drawn_as_often_as_the_section_says(
    mode: dict[str, str],
) -> None:
    config = config_of(**mode)
    plan = draw(config)
    k = 1 if mode["method"] == "mix" else 4
    each = FRAMES if mode["draws"] == "frame" else 1
    pictures = FRAMES if mode["picture"] == "frame" else 1
    weights = {"clip": 1, "frame": FRAMES, "smooth": 2}[mode["draws"]]
    assert plan.start_op.shape == plan.num_rounds.shape == (40, each)
    assert plan.picture.shape == plan.picture_y.shape == (40, pictures)
    assert plan.mode.shape == plan.operand_op.shape == (40, each, k)
    assert plan.a.shape == plan.b.shape == (40, weights, k)
    assert plan.zoom_phase.shape == (40,)
    if mode["picture"] == "frame":
        assert (
            (np.diff(plan.picture[(plan.picture >= 0).all(axis=1)], axis=1) != 0).any(axis=1).all()
        )


@EACH
@settings(deadline=None, max_examples=15)
@given(one=st.integers(0, 3000), other=st.integers(0, 3000))
def test_a_position_is_drawn_alike_whatever_is_drawn_with_it(
    mode: dict[str, str], one: int, other: int
) -> None:
    start, stop = min(one, other), min(max(one, other), min(one, other) + 50)
    config = config_of(**mode)
    whole = draw(config, max(0, start - 7), stop + 3)
    skip = start - max(0, start - 7)
    assert_same(
        draw(config, start, stop), VPixMixPlan(*(c[skip : skip + stop - start] for c in whole))
    )


@EACH
def test_what_a_clip_does_not_use_is_nothing(mode: dict[str, str]) -> None:
    plan = draw(config_of(**mode), stop=300)
    unused = np.arange(plan.mode.shape[2]) >= plan.num_rounds[..., None]
    for column in (plan.operand_level, plan.operand_negative, plan.mode):
        assert not column[unused].any()
    assert (plan.operand_op[unused] == -1).all()
    if plan.a.shape == plan.mode.shape:
        assert not plan.a[unused].any()
        assert not plan.b[unused].any()
    meets = ((plan.operand_op < 0) & ~unused).any(axis=2)
    if mode["picture"] == "frame":
        assert np.array_equal(plan.picture >= 0, np.broadcast_to(meets, plan.picture.shape))
    else:
        assert np.array_equal(plan.picture[:, 0] >= 0, meets.any(axis=1))
    absent = plan.picture < 0
    assert not plan.picture_y[absent].any()
    assert not plan.picture_x[absent].any()
    if mode["picture"] == "zoom":
        assert not plan.picture_y.any()
        assert not plan.zoom_phase[absent[:, 0]].any()
        assert np.array_equal(plan.zoom_direction != 0, ~absent[:, 0])
        assert np.array_equal(plan.zoom_factor > 0, ~absent[:, 0])
    else:
        assert not plan.zoom_direction.any()


# ── what depends on what ──


def test_choices_that_have_nothing_to_do_with_each_other_leave_each_other_alone() -> None:
    single, zoom = draw(config_of()), draw(config_of(picture="zoom"))
    framed, drifting = draw(config_of(picture="frame")), draw(config_of(draws="smooth"))
    redrawn = draw(config_of(draws="frame"))
    for name in ("mode", "a", "b", "num_rounds"):
        assert np.array_equal(getattr(zoom, name), getattr(single, name))
        assert np.array_equal(getattr(framed, name), getattr(single, name))
    assert np.array_equal(zoom.picture, single.picture)
    for name in ("picture", "picture_y", "picture_x"):
        assert np.array_equal(getattr(drifting, name), getattr(single, name))
        assert np.array_equal(getattr(redrawn, name), getattr(single, name))
    assert np.array_equal(drifting.a[:, :1], single.a)
    assert np.array_equal(drifting.b[:, :1], single.b)


def test_weights_drift_within_their_branch() -> None:
    plan = draw(config_of(draws="smooth", method="pipeline"), stop=2000)
    used = np.broadcast_to(np.arange(4) < plan.num_rounds[:, :1], (2000, 4))
    first, last = plan.a[:, 0][used], plan.a[:, 1][used]
    assert np.array_equal(first >= 1, last >= 1)
    assert np.array_equal(plan.b[:, 0][used] < 0, plan.b[:, 1][used] < 0)
    assert (first != last).all()
    assert abs(np.corrcoef(first[first < 1], last[first < 1])[0, 1]) < 0.06


@pytest.mark.parametrize("draws", ["clip", "frame"])
def test_a_mix_adds_or_multiplies_with_the_published_weights(draws: str) -> None:
    plan = draw(config_of(draws=draws), stop=8000 if draws == "clip" else 1600)
    assert (plan.num_rounds == 1).all()
    assert (plan.start_op == -1).all()
    assert (plan.operand_op == -1).all()
    assert plan.mode.mean() == pytest.approx(0.5, abs=0.02)
    inner = plan.a < 1
    assert inner.mean() == pytest.approx(0.5, abs=0.02)
    assert plan.a[inner].mean() == pytest.approx(3 / 4, abs=0.01)  # of Beta(3, 1)
    assert plan.b[inner].mean() == pytest.approx(1 / 4, abs=0.01)  # of Beta(1, 3)
    assert plan.a[~inner].mean() == pytest.approx(1 + 1 / 4, abs=0.01)
    assert plan.b[~inner].mean() == pytest.approx(-1 / 4, abs=0.01)


def test_zooms_start_anywhere_and_go_either_way_by_a_factor_between_the_two() -> None:
    plan = draw(config_of(picture="zoom", zoom_factor=[1.02, 1.05]), stop=6000)
    assert 1.02 <= plan.zoom_factor.min() < 1.0201
    assert 1.0499 < plan.zoom_factor.max() <= 1.05
    assert plan.zoom_factor.mean() == pytest.approx(1.035, abs=5e-4)
    assert (plan.zoom_direction == 1).mean() == pytest.approx(0.5, abs=0.02)
    assert plan.zoom_phase.mean() == pytest.approx(0.5, abs=0.02)
    assert np.bincount(plan.picture[:, 0], minlength=NUM_PICTURES).min() > 500
    still = draw(config_of(picture="zoom", zoom_factor=[1.03, 1.03]))
    assert (still.zoom_factor == 1.03).all()


def test_a_pipeline_takes_the_constants_of_its_section() -> None:
    fields = {"k": 6, "beta": 2, "severity": 7.0, "ops": "standard", "strategy": "mix-input"}
    config = config_of(method="pipeline", **fields)
    assert pixmix_constants(config).model_dump() == {"family": "pixmix", **fields}
    plan = draw(config, stop=2000)
    assert plan.num_rounds.max() == 6
    assert 3 < plan.operand_level.max() <= 7
    assert plan.operand_op.max() == 8
    assert (plan.picture == -1).all()  # mix-input meets none


GOLDEN = {
    "single-clip-mix": "be45e35e7fa43de0",
    "frame-frame-pipeline": "f54085c75476ef86",
    "zoom-smooth-pipeline": "e472e8671e4a1a8b",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_first_draws_are_pinned(name: str) -> None:
    """These change only with the format of datasets, for a stored manifest must be drawn again alike."""
    picture, draws, method = name.split("-")
    plan = draw(config_of(picture=picture, draws=draws, method=method), stop=8)
    digest = hashlib.sha256()
    for column in plan:
        digest.update(np.ascontiguousarray(column).tobytes())
    assert digest.hexdigest()[:16] == GOLDEN[name]


# ── as columns ──


FEW_ROUNDS = [{**mode, "k": k} for mode in MODES if mode["method"] == "pipeline" for k in (0, 2)]


@pytest.mark.parametrize(
    "mode", [*MODES, *FEW_ROUNDS], ids=lambda m: "-".join(map(str, m.values()))
)
def test_a_plan_comes_back_from_its_columns(mode: dict[str, Any]) -> None:
    config = config_of(**mode)
    plan = draw(config, stop=60)
    table = table_of(plan, config)
    assert_same(vpixmix_from_columns(table, config, FRAMES), plan)
    chunks = pa.concat_tables([table.slice(0, 7), table.slice(7, 30), table.slice(37)])
    order = np.random.default_rng(0).permutation(60)
    shuffled = vpixmix_from_columns(chunks.take(order), config, FRAMES)
    assert_same(shuffled, VPixMixPlan(*(column[order] for column in plan)))
    middle = vpixmix_from_columns(chunks.slice(5, 20), config, FRAMES)
    assert_same(middle, VPixMixPlan(*(column[5:25] for column in plan)))
    nothing = vpixmix_from_columns(table.slice(0, 0), config, FRAMES)
    assert nothing.start_op.shape == (0, *plan.start_op.shape[1:])


def test_columns_are_named_for_a_reader() -> None:
    def names(**fields: Any) -> list[str]:
        return [field.name for field in vpixmix_fields(config_of(**fields))]

    crop = ["mixing_picture", "mixing_id", "mixing_y", "mixing_x"]
    zoom = ["mixing_picture", "mixing_id", "zoom_phase", "zoom_factor", "zoom_direction"]
    start = ["start_op", "start_level", "start_negative"]
    assert names() == [*crop, "rounds"]
    assert names(method="pipeline") == [*crop, *start, "rounds"]
    assert names(picture="zoom") == [*zoom, "rounds"]
    assert names(picture="frame") == ["rounds", "frames"]
    assert names(draws="frame") == [*crop, "frames"]
    assert names(picture="frame", draws="frame", method="pipeline") == ["frames"]
    (frames,) = vpixmix_fields(config_of(picture="frame", draws="frame", method="pipeline"))
    assert [field.name for field in frames.type.value_type] == [*crop, *start, "rounds"]


def test_columns_say_what_the_plan_decides() -> None:
    config = config_of(picture="zoom", draws="smooth")
    plan = draw(config)
    row = table_of(plan, config).to_pylist()[3]
    assert row["mixing_id"] == f"picture-{plan.picture[3, 0]}"
    assert row["zoom_direction"] == {1: "in", -1: "out"}[plan.zoom_direction[3]]
    assert row["zoom_phase"] == plan.zoom_phase[3]
    (mix,) = row["rounds"]
    assert mix["operand"] == "mixing-picture"
    assert mix["mode"] == ("add", "multiply")[plan.mode[3, 0, 0]]
    assert (mix["a"], mix["end_a"]) == tuple(plan.a[3, :, 0].tolist())
    assert (mix["b"], mix["end_b"]) == tuple(plan.b[3, :, 0].tolist())
    config = config_of(picture="frame", draws="frame", method="pipeline")
    plan = draw(config)
    frame = table_of(plan, config)["frames"].to_pylist()[4][2]
    assert len(frame["rounds"]) == plan.num_rounds[4, 2]
    index = plan.picture[4, 2]
    assert frame["mixing_picture"] == (None if index < 0 else index)


def test_altered_columns_are_refused() -> None:
    config = config_of(picture="frame", draws="frame")
    table = table_of(draw(config), config)
    with pytest.raises(ValueError, match="5 frames in a row; allowed: 6"):
        vpixmix_from_columns(table, config, 6)
    config = config_of(picture="zoom")
    table = table_of(draw(config), config)
    sideways = table.set_column(4, "zoom_direction", pa.array(["left"] * len(table)))
    with pytest.raises(ValueError, match="unknown name 'left'"):
        vpixmix_from_columns(sideways, config, FRAMES)
    config = config_of(method="pipeline")
    table = table_of(draw(config), config)
    with pytest.raises(ValueError, match="4 rounds in a row; allowed: 0 to 2"):
        vpixmix_from_columns(table, config_of(method="pipeline", k=2), FRAMES)


def test_one_frame_draws_as_often_as_a_clip() -> None:
    config = config_of(picture="frame", draws="frame", method="pipeline")
    plan = draw(config, frames=1)
    assert plan.start_op.shape == plan.picture.shape == (40, 1)
    once = draw(config_of(method="pipeline"), frames=1)
    assert np.array_equal(plan.operand_op, once.operand_op)
