"""The pixel kernels against their slow twins: every op bit for bit, both mixing modes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.render import apply_op, mix
from tests import reference
from tests.reference import OPS, SIGNED

SMALL_SIZES = ((17, 31), (33, 20), (45, 7), (7, 45), (1, 1), (2, 3), (3, 2), (1, 8), (8, 1))
ONE_LEVEL = 1 / 255  # one 8-bit step

# The integer parameter at level 10; translate's is a third of the side.
LARGEST = {"posterize": 4, "rotate": 30, "solarize": 256}


def images_of(
    height: int, width: int, num: int, seed: int
) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Yield `num` named pictures, cycling over the kinds that the ops may treat differently."""
    rng = np.random.default_rng((seed, height, width))
    shape = height, width, 3
    ramp = np.linspace(0, 255, height * width * 3).reshape(shape)

    def pixels(low: int, high: int) -> npt.NDArray[np.int64]:
        return rng.integers(low, high + 1, shape)

    def flat_channel() -> npt.NDArray[np.int64]:
        image = pixels(0, 255)
        image[..., rng.integers(3)] = rng.integers(256)
        return image

    def sparse() -> npt.NDArray[np.int64]:
        return np.where(rng.random(shape) < 0.02, pixels(200, 255), 0)

    def smooth() -> npt.NDArray[np.float64]:
        rows, columns, _ = np.ogrid[:height, :width, :1]
        phase = rows * rng.normal(0, 0.2, 3) + columns * rng.normal(0, 0.2, 3)
        return 127.5 + 127.5 * np.sin(phase + rng.uniform(0, 6, 3))

    kinds = {
        "noise": lambda: pixels(0, 255),
        "smooth": smooth,
        "narrow": lambda: pixels(*np.sort(rng.integers(0, 256, 2))),
        "constant": lambda: np.full(shape, rng.integers(256)),
        "two-valued": lambda: rng.choice(rng.integers(0, 256, 2), shape),
        "black and white": lambda: 255 * pixels(0, 1),
        "ramp": lambda: ramp if rng.random() < 0.5 else ramp[::-1, ::-1],
        "sparse": sparse,
        "flat channel": flat_channel,
        "near constant": lambda: np.clip(rng.integers(256) + pixels(-1, 1), 0, 255),
        "dark": lambda: pixels(0, 4),
        "bright": lambda: pixels(251, 255),
    }
    for kind, make in islice(cycle(kinds.items()), num):
        yield kind, np.ascontiguousarray(make(), dtype=np.uint8)


def boundary_levels(name: str, height: int, width: int) -> list[float]:
    """Return the levels at which the op's integer parameter steps, with their neighbours."""
    largest = {"translate_x": width / 3, "translate_y": height / 3, **LARGEST}.get(name)
    if largest is None:
        return []
    steps = np.arange(1, int(largest) + 1) * 10 / largest
    levels: list[float] = []
    for around in (steps, steps.astype(np.float32)):
        levels += around.tolist()
        levels += np.nextafter(around, around.dtype.type(0)).tolist()
        levels += np.nextafter(around, around.dtype.type(20)).tolist()
    return [level for level in levels if 0.1 <= level <= 10]


def assert_same_op(
    name: str, kind: str, image: npt.NDArray[np.uint8], level: float, negative: bool
) -> None:
    expected = reference.apply_op(name, image, level, negative)
    got = apply_op(name, image, level, negative)
    assert got.dtype == np.uint8
    assert got.shape == image.shape
    if not np.array_equal(got, expected):
        wrong = np.argwhere((got != expected).any(axis=-1))
        row, column = wrong[0]
        pytest.fail(
            f"{name} on {kind} {image.shape}, level {level!r}, negative {negative}: "
            f"{len(wrong)} of {image[..., 0].size} pixels differ, "
            f"first at ({row}, {column}): got {got[row, column]}, Pillow {expected[row, column]}"
        )


def assert_same_everywhere(
    name: str, height: int, width: int, levels: list[float], num_images: int
) -> None:
    """Run through all levels and all images, whichever are more, repeating the others."""
    num = max(len(levels), num_images)
    pairs = zip(cycle(levels), images_of(height, width, num, seed=OPS.index(name)), strict=False)
    for index, (level, (kind, image)) in enumerate(pairs):
        signs = (False, True) if name in SIGNED else (bool(index % 2),)
        for negative in signs:
            assert_same_op(name, kind, image, level, negative)


@pytest.mark.parametrize("name", OPS)
def test_every_op_is_pillows_bit_for_bit_at_32_px(name: str) -> None:
    levels = [*np.linspace(0.1, 10, 397).tolist(), *boundary_levels(name, 32, 32)]
    assert_same_everywhere(name, 32, 32, levels, num_images=2400)


@pytest.mark.parametrize("name", OPS)
def test_every_op_is_pillows_bit_for_bit_at_224_px(name: str) -> None:
    levels = [0.1, 0.5, 1.0, *np.random.default_rng(224).uniform(0.1, 10, 60).tolist(), 10.0]
    assert_same_everywhere(name, 224, 224, levels, num_images=96)


@pytest.mark.parametrize("name", OPS)
def test_every_op_is_pillows_bit_for_bit_at_odd_and_tiny_sizes(name: str) -> None:
    for height, width in SMALL_SIZES:
        levels = [*np.linspace(0.1, 10, 61).tolist(), *boundary_levels(name, height, width)]
        assert_same_everywhere(name, height, width, levels, num_images=200)


@settings(max_examples=600, deadline=None)
@given(
    name=st.sampled_from(OPS),
    image=hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3))),
    level=st.floats(0.1, 10),
    negative=st.booleans(),
)
def test_any_op_on_any_picture_is_pillows(
    name: str, image: npt.NDArray[np.uint8], level: float, negative: bool
) -> None:
    assert_same_op(name, "drawn", image, level, negative)


@pytest.mark.parametrize("name", OPS)
def test_an_op_leaves_its_input_untouched_and_returns_a_new_array(name: str) -> None:
    # 0.1 makes every integer parameter 0, where returning the input itself would be tempting.
    for level in (0.1, 5.0):
        for kind, image in images_of(9, 14, 24, seed=7):
            before = image.copy()
            result = apply_op(name, image, level, True)
            assert np.array_equal(image, before), kind
            assert not np.shares_memory(result, image), kind


@pytest.mark.parametrize("name", OPS)
def test_an_op_reads_a_view_as_it_reads_a_copy(name: str) -> None:
    ((_, wide),) = images_of(20, 40, 1, seed=3)
    view = wide[::2, ::-1]
    expected = reference.apply_op(name, np.ascontiguousarray(view), 4.2, True)
    assert np.array_equal(apply_op(name, view, 4.2, True), expected)


def test_an_unknown_op_is_refused_with_the_nearest_name() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"posterise.*posterize"):
        apply_op("posterise", image, 1.0)
    with pytest.raises(ValueError, match=r"mutliply.*multiply"):
        mix("mutliply", np.zeros(3, np.float32), np.zeros(3, np.float32), 0.5, 0.5)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["float32", "int64", "grey", "channels first", "RGBA", "batch", "no rows"],
)
def test_an_op_refuses_what_is_not_uint8_height_width_3(image: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        apply_op("rotate", image, 1.0)


@pytest.mark.parametrize("level", [0.0, 0.0999, 10.0001, -1.0, float("nan"), float("inf")])
def test_an_op_refuses_a_level_outside_its_range(level: float) -> None:
    with pytest.raises(ValueError, match=r"level.*0\.1.*10"):
        apply_op("rotate", np.zeros((4, 4, 3), np.uint8), level)


FIRST_BRANCH = [(0.75, 0.25), (0.5, 0.5), (0.999, 0.001), (0.01, 0.99), (1e-6, 0.3)]
SECOND_BRANCH = [(1.25, -0.25), (1.5, -0.5), (1.999, -0.999), (1.001, -0.001), (1.9, -0.01)]
BOUNDARIES = [(1.0, 0.0), (1.0, 1.0), (1.0, -1.0), (2.0, -1.0), (2.0, 0.0)]


def weights() -> list[tuple[float, float]]:
    """Return fixed weights and drawn ones of both branches, each a float32 value."""
    rng = np.random.default_rng(5)
    first = np.stack([rng.beta(3, 1, 40), rng.beta(1, 3, 40)], axis=1)
    second = np.stack([1 + rng.beta(1, 3, 40), -rng.beta(1, 3, 40)], axis=1)
    pairs = np.concatenate([first, second, FIRST_BRANCH, SECOND_BRANCH, BOUNDARIES])
    return [(float(a), float(b)) for a, b in pairs.astype(np.float32)]


def operands() -> dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Return pairs of float32 pictures in [0, 1], [32, 32, 3] but for the table of extremes."""
    rng = np.random.default_rng(6)
    shape = 32, 32, 3
    grid = rng.integers(0, 256, (2, *shape)).astype(np.float32) / np.float32(255)
    dark = rng.integers(0, 3, (2, *shape)).astype(np.float32) / np.float32(255)
    rough = rng.random((2, *shape), np.float32)
    # 1e-42 is subnormal; 5e-38 is where 2y meets the floor of 1e-37.
    edges = [0, 1e-42, 1e-38, 5e-38, 6e-38, 1e-30, 1e-12, 1e-6, 1 / 255, 0.499, 0.5, 0.501, 1]
    edges += [np.nextafter(np.float32(1), np.float32(0)), np.nextafter(np.float32(0.5), 1)]
    table = np.array(np.meshgrid(edges, edges), dtype=np.float32)
    return {
        "random": (rough[0], rough[1]),
        "8-bit": (grid[0], grid[1]),
        "random with 8-bit": (rough[0], grid[0]),
        "dark": (dark[0], dark[1]),
        "extremes": (table[0], table[1]),
    }


@pytest.mark.parametrize("kind", operands())
def test_add_is_the_float32_formula_bit_for_bit(kind: str) -> None:
    x, y = operands()[kind]
    for a, b in weights():
        expected = reference.mix("add", x, y, a, b)
        got = mix("add", x, y, a, b)
        assert got.dtype == np.float32
        assert np.array_equal(got, expected), (a, b, int((got != expected).sum()))


@pytest.mark.parametrize("kind", operands())
def test_multiply_is_within_one_8_bit_level_of_the_float32_formula(kind: str) -> None:
    x, y = operands()[kind]
    for a, b in weights():
        expected = reference.mix("multiply", x, y, a, b)
        got = mix("multiply", x, y, a, b)
        assert got.dtype == np.float32
        assert 0 <= got.min() <= got.max() <= 1
        error = np.abs(got - expected)
        worst = error.argmax()
        assert error.max() <= ONE_LEVEL, (a, b, x.flat[worst], y.flat[worst], error.max())


@pytest.mark.parametrize("name", ["add", "multiply"])
def test_a_weight_of_exactly_zero_makes_black_neutral(name: str) -> None:
    # 0^0 is 1 in torch; no draw gives a = 0, but a plan written by hand may.
    x, y = np.array([[0, 0, 0, 0.5], [0, 0.3, 1, 0.2]], np.float32)
    for b in (0.0, 0.5, 1.0):
        expected = reference.mix(name, x, y, 0.0, b)
        np.testing.assert_allclose(mix(name, x, y, 0.0, b), expected, atol=ONE_LEVEL, rtol=0)


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(["add", "multiply"]),
    pixels=hnp.arrays(
        np.float32, st.tuples(st.just(2), st.integers(1, 40)), elements=st.floats(0, 1, width=32)
    ),
    second_branch=st.booleans(),
    amount=st.tuples(st.floats(2**-20, 1, width=32), st.floats(0, 1, width=32)),
)
def test_any_mix_is_within_one_8_bit_level(
    name: str, pixels: npt.NDArray[np.float32], second_branch: bool, amount: tuple[float, float]
) -> None:
    a, b = (float(np.float32(1) + np.float32(amount[0])), -amount[1]) if second_branch else amount
    expected = reference.mix(name, pixels[0].copy(), pixels[1].copy(), a, b)
    assert np.abs(mix(name, pixels[0], pixels[1], a, b) - expected).max() <= ONE_LEVEL


@pytest.mark.parametrize("name", ["add", "multiply"])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 9), (4, 6, 3), (2, 4, 6, 3), (0, 3)])
def test_mix_takes_any_shape_and_leaves_its_inputs_untouched(
    name: str, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(8)
    x, y = (np.asarray(rng.random(shape), np.float32) for _ in range(2))
    before = x.copy(), y.copy()
    got = mix(name, x, y, 0.7, 0.2)
    assert got.shape == shape
    assert np.array_equal(x, before[0])
    assert np.array_equal(y, before[1])
    np.testing.assert_allclose(got, reference.mix(name, x, y, 0.7, 0.2), atol=ONE_LEVEL, rtol=0)


def test_mix_refuses_other_types_and_unequal_shapes() -> None:
    x = np.zeros((4, 4, 3), np.float32)
    with pytest.raises(ValueError, match="float32"):
        mix("add", x.astype(np.float64), x, 0.5, 0.5)
    with pytest.raises(ValueError, match=r"\[4, 3, 3\].*\[4, 4, 3\]"):
        mix("add", x, x[:, :3], 0.5, 0.5)
