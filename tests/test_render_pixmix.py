"""Whole PixMix samples against the slow twin, from plans drawn here rather than by the planner."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from pipeline.pictures.picture_set import PictureSet
from pipeline.plan.pixmix import PixMixPlan
from pipeline.render.pixmix import render_pixmix, render_pixmix_into
from pipeline.render.slots import Slots
from tests import reference
from tests.elsewhere import without_avx
from tests.reference import OPS, SIGNED, UNLEVELLED

ADD, MULTIPLY = 0, 1
ROUNDING = 0.5 + 1e-3  # 8-bit levels: to the nearest, and float32 noise at 255


def random_plan(
    rng: np.random.Generator,
    num: int,
    size: int,
    pictures: PictureSet,
    *,
    k: int = 4,
    severity: float = 3,
    modes: tuple[int, ...] = (ADD, MULTIPLY),
) -> PixMixPlan:
    """Draw `num` samples as the published recipe distributes them; what is not used is 0 or −1."""

    def augment(shape: tuple[int, ...]) -> tuple[npt.NDArray[np.generic], ...]:
        op = np.where(rng.random(shape) < 0.5, rng.integers(0, len(OPS), shape), -1).astype(np.int8)
        levelled = (op >= 0) & ~np.isin(op, [OPS.index(name) for name in UNLEVELLED])
        signed = np.isin(op, [OPS.index(name) for name in SIGNED])
        level = np.where(levelled, rng.uniform(0.1, severity, shape), 0).astype(np.float32)
        return op, level, signed & (rng.random(shape) < 0.5)

    start, operand = augment((num,)), augment((num, k))
    num_rounds = rng.integers(0, k + 1, num).astype(np.int8)
    unused = np.arange(k) >= num_rounds[:, None]
    uses_picture = ((operand[0] < 0) & ~unused).any(axis=1)
    picture = np.where(uses_picture, rng.integers(0, len(pictures), num), -1).astype(np.int32)
    spare_y, spare_x = (pictures.heights - size)[picture], (pictures.widths - size)[picture]
    crop = [np.where(uses_picture, rng.integers(0, spare + 1), 0) for spare in (spare_y, spare_x)]

    second_branch = rng.random((num, k)) < 0.5
    beta = 3
    a = np.where(second_branch, 1 + rng.beta(1, beta, (num, k)), rng.beta(beta, 1, (num, k)))
    b = np.where(second_branch, -rng.beta(1, beta, (num, k)), rng.beta(1, beta, (num, k)))
    mode = rng.choice(np.array(modes, np.int8), (num, k))
    operand[0][unused] = -1
    for column in (operand[1], operand[2], mode, a, b):
        column[unused] = 0
    return PixMixPlan(
        *start,
        num_rounds,
        picture,
        *(corner.astype(np.int32) for corner in crop),
        *operand,
        mode,
        a.astype(np.float32),
        b.astype(np.float32),
    )


def random_images(
    rng: np.random.Generator, sizes: list[tuple[int, int]]
) -> list[npt.NDArray[np.uint8]]:
    """Return one picture a size: noise, waves, and waves with black and white areas, in turn."""
    images = []
    for index, (height, width) in enumerate(sizes):
        image = rng.integers(0, 256, (height, width, 3)).astype(np.float64)
        if index % 3:
            rows, columns, _ = np.ogrid[:height, :width, :1]
            phase = rows * rng.normal(0, 0.2, 3) + columns * rng.normal(0, 0.2, 3)
            contrast = 127 if index % 3 == 1 else 400
            image = 128 + contrast * np.sin(phase + rng.uniform(0, 6, 3))
        images.append(image.clip(0, 255).astype(np.uint8))
    return images


def picture_set(images: list[npt.NDArray[np.uint8]]) -> PictureSet:
    sizes = np.array([image.size for image in images], np.int64)
    return PictureSet(
        pixels=np.concatenate([image.ravel() for image in images]),
        offsets=np.cumsum(sizes) - sizes,
        heights=np.array([image.shape[0] for image in images], np.int32),
        widths=np.array([image.shape[1] for image in images], np.int32),
        ids=pa.array([f"picture-{index}" for index in range(len(images))]),
        digest="0" * 64,
    )


def random_pictures(rng: np.random.Generator, size: int) -> PictureSet:
    """Return twelve mixing pictures: one of exactly `size`, the others up to 8 px larger."""
    sizes = [(size, size), *((size + rng.integers(0, 9, (11, 2))).tolist())]
    return picture_set(random_images(rng, sizes))


def random_bases(rng: np.random.Generator, num: int, size: int) -> npt.NDArray[np.uint8]:
    return np.stack(random_images(rng, [(size, size)] * num))


def errors(
    plan: PixMixPlan,
    bases: npt.NDArray[np.uint8],
    pictures: PictureSet,
    rendered: npt.NDArray[np.uint8],
) -> npt.NDArray[np.float64]:
    """Return each sample's largest difference from the slow twin, in 8-bit levels."""
    assert rendered.shape == bases.shape
    assert rendered.dtype == np.uint8
    worst = np.zeros(len(bases))
    for index, base in enumerate(bases):
        exact = reference.render_pixmix(plan, base, pictures, index).astype(np.float64)
        worst[index] = np.abs(rendered[index] - 255 * exact).max()
    return worst


def described(plan: PixMixPlan, index: int) -> dict[str, object]:
    return {name: column[index].tolist() for name, column in plan._asdict().items()}


def rows(plan: PixMixPlan, chosen: npt.NDArray[np.intp]) -> PixMixPlan:
    return PixMixPlan(*(column[chosen] for column in plan))


@pytest.mark.parametrize(
    ("size", "num", "k", "severity"),
    [
        (32, 4000, 4, 3.0),
        (32, 1500, 6, 10.0),
        (32, 500, 1, 1.0),
        (33, 400, 6, 10.0),
        (7, 600, 5, 10.0),
        (224, 60, 4, 1.0),
        (224, 30, 6, 10.0),
    ],
)
def test_a_sample_is_within_one_8_bit_level_of_the_float32_arithmetic(
    size: int, num: int, k: int, severity: float
) -> None:
    rng = np.random.default_rng((size, k))
    pictures = random_pictures(rng, size)
    bases = random_bases(rng, num, size)
    plan = random_plan(rng, num, size, pictures, k=k, severity=severity)
    worst = errors(plan, bases, pictures, render_pixmix(plan, bases, pictures))
    index = int(worst.argmax())
    assert worst[index] <= 1, (f"{(worst > 1).sum()} samples", worst[index], described(plan, index))


@pytest.mark.parametrize(("size", "num"), [(32, 2000), (224, 30)])
def test_a_sample_of_adds_alone_is_the_float32_arithmetic_rounded_to_nearest(
    size: int, num: int
) -> None:
    rng = np.random.default_rng(size)
    pictures = random_pictures(rng, size)
    bases = random_bases(rng, num, size)
    plan = random_plan(rng, num, size, pictures, k=6, severity=10, modes=(ADD,))
    worst = errors(plan, bases, pictures, render_pixmix(plan, bases, pictures))
    index = int(worst.argmax())
    assert worst[index] <= ROUNDING, (worst[index], described(plan, index))


def test_products_too_small_for_a_normal_float32_grow_back_as_its_arithmetic_has_them() -> None:
    # A black operand gives 1e-37^b in the first rounds and 1e37^-b in the later ones: what went
    # below 2^-126, subnormal or 0, decides whether the area ends black, grey or white.
    rng = np.random.default_rng(17)
    num, size, k = 2000, 8, 6
    dark = rng.choice(np.array([0, 0, 0, 1, 5, 128], np.uint8), (9, size, size, 3))
    pictures = picture_set(list(dark))
    bases = rng.choice(np.array([0, 1, 2, 30, 128, 255], np.uint8), (num, size, size, 3))
    plan = random_plan(rng, num, size, pictures, k=k, modes=(MULTIPLY,))
    second_branch = (np.arange(k) >= 2) & (plan.num_rounds[:, None] > np.arange(k))
    lost, regained = rng.beta(3, 1, (num, k)), rng.beta(1, 3, (num, k))
    a, b = np.where(second_branch, 1 + regained, lost), rng.beta(1, 3, (num, k))
    b[:, :2] = rng.uniform(0.3, 0.9, (num, 2))
    plan = plan._replace(
        a=a.astype(np.float32), b=np.where(second_branch, -b, b).astype(np.float32)
    )
    worst = errors(plan, bases, pictures, render_pixmix(plan, bases, pictures))
    index = int(worst.argmax())
    assert worst[index] <= 1, (f"{(worst > 1).sum()} samples", worst[index], described(plan, index))


@pytest.mark.parametrize("size", [32, 33])
def test_no_rounds_give_exactly_the_8_bit_starting_picture(size: int) -> None:
    rng = np.random.default_rng(4)
    pictures = random_pictures(rng, size)
    bases = random_bases(rng, 400, size)
    plan = random_plan(rng, 400, size, pictures, k=1, severity=10)
    none = np.zeros_like(plan.num_rounds)
    plan = plan._replace(num_rounds=none, picture=none.astype(np.int32) - 1)
    rendered = render_pixmix(plan, bases, pictures)
    assert (plan.start_op < 0).any()
    for index, op in enumerate(plan.start_op):
        level, negative = plan.start_level[index], bool(plan.start_negative[index])
        base = bases[index]
        expected = base if op < 0 else reference.apply_op(OPS[op], base, level, negative)
        assert np.array_equal(rendered[index], expected), described(plan, index)


def test_a_sample_depends_on_its_own_row_alone() -> None:
    rng = np.random.default_rng(11)
    pictures = random_pictures(rng, 32)
    bases = random_bases(rng, 100, 32)
    plan = random_plan(rng, 100, 32, pictures)
    given = bases.copy(), pictures.pixels.copy()
    rendered = render_pixmix(plan, bases, pictures)
    order = rng.permutation(100)
    assert np.array_equal(render_pixmix(rows(plan, order), bases[order], pictures), rendered[order])
    for index in range(5):
        one = np.array([index])
        alone = render_pixmix(rows(plan, one), bases[one], pictures)
        assert np.array_equal(alone[0], rendered[index])
    assert np.array_equal(bases, given[0])
    assert np.array_equal(pictures.pixels, given[1])


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("start_op", 13, "op out of range; allowed: 0 to 12"),
        ("start_level", 10.5, "level out of range; allowed: 0 to 10"),
        ("start_level", float("nan"), "level out of range"),
        ("operand_op", 13, "op out of range"),
        ("operand_level", -0.5, "level out of range"),
        ("num_rounds", 5, "rounds out of range; allowed: 0 to 4"),
        ("num_rounds", -1, "rounds out of range"),
        ("picture", 12, "mixing picture out of range; allowed: 0 to 11"),
        ("picture_y", 9, "a crop leaves its mixing picture"),
        ("picture_x", -1, "a crop leaves its mixing picture"),
    ],
)
def test_a_plan_that_names_what_does_not_exist_is_refused_and_nothing_written(
    column: str, value: float, words: str
) -> None:
    rng = np.random.default_rng(3)
    pictures, bases = random_pictures(rng, 8), random_bases(rng, 40, 8)
    plan = random_plan(rng, 40, 8, pictures)
    rows_with = {
        "start_level": plan.start_op >= 0,
        "operand_op": plan.num_rounds > 0,
        "operand_level": (plan.operand_op[:, 0] >= 0) & (plan.num_rounds > 0),
        "picture_y": plan.picture >= 0,
        "picture_x": plan.picture >= 0,
    }
    row = int(np.flatnonzero(rows_with.get(column, plan.start_op > -2))[-1])
    altered = getattr(plan, column).copy()
    altered[(row, 0) if altered.ndim == 2 else row] = value
    flat = np.full(40 * 200, 77, np.uint8)
    with pytest.raises(ValueError, match=words):
        render_pixmix_into(plan._replace(**{column: altered}), bases, pictures, Slots(flat, 4, 200))
    assert (flat == 77).all()


def test_slots_take_samples_and_nothing_between_them_changes() -> None:
    rng = np.random.default_rng(4)
    pictures, bases = random_pictures(rng, 8), random_bases(rng, 40, 8)
    plan = random_plan(rng, 40, 8, pictures)
    flat = np.full(40 * 200, 77, np.uint8)
    render_pixmix_into(plan, bases, pictures, Slots(flat, 4, 200))
    slots = flat.reshape(40, 200)
    assert np.array_equal(
        slots[:, 4:196].reshape(bases.shape), render_pixmix(plan, bases, pictures)
    )
    assert (slots[:, :4] == 77).all()
    assert (slots[:, 196:] == 77).all()
    copied = flat.copy()
    Slots(copied, 4, 200).put(bases)
    assert np.array_equal(copied.reshape(40, 200)[:, 4:196].reshape(bases.shape), bases)


def test_no_samples_render_to_no_pictures() -> None:
    rng = np.random.default_rng(1)
    plan = random_plan(rng, 0, 32, random_pictures(rng, 32))
    bases = np.empty((0, 32, 32, 3), np.uint8)
    assert render_pixmix(plan, bases, random_pictures(rng, 32)).shape == (0, 32, 32, 3)


# Renders what the parent saved, for whatever processor the environment names.
ELSEWHERE = """
import hashlib, sys
import numba
import numpy as np
import pyarrow as pa
from pipeline.pictures.picture_set import PictureSet
from pipeline.plan.pixmix import PixMixPlan
from pipeline.render.pixmix import render_pixmix, render_pixmix_into
from pipeline.render.slots import Slots

saved = np.load(sys.argv[1])
ids = pa.array([str(index) for index in range(len(saved["offsets"]))])
columns = [saved[name] for name in ("pixels", "offsets", "heights", "widths")]
plan = PixMixPlan(*(saved[name] for name in PixMixPlan._fields))
rendered = render_pixmix(plan, saved["bases"], PictureSet(*columns, ids, ""))
assert "torch" not in sys.modules
print(numba.config.CPU_NAME, hashlib.sha256(rendered.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_processors_vector_width(tmp_path: Path) -> None:
    rng = np.random.default_rng(23)
    pictures = random_pictures(rng, 32)
    bases = random_bases(rng, 2000, 32)
    plan = random_plan(rng, 2000, 32, pictures, k=6, severity=10)
    columns = {name: getattr(pictures, name) for name in ("pixels", "offsets", "heights", "widths")}
    np.savez(tmp_path / "inputs.npz", bases=bases, **columns, **plan._asdict())
    here = hashlib.sha256(render_pixmix(plan, bases, pictures).tobytes()).hexdigest()
    assert without_avx(ELSEWHERE, str(tmp_path / "inputs.npz")) == ["generic", here]
