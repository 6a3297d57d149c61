from __future__ import annotations

import numpy as np
import pytest

from pipeline.corruptions import (
    C_BAR,
    CORRUPTIONS,
    C,
    Corruption,
    constants_of,
    corrupt,
    frost_pictures,
)
from pipeline.errors import UsageError
from tests.corruption_twins import flat, pictures, seeds

PUBLISHED = [
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
]
WITHOUT_CHANCE = {
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
}


def test_names_and_order_are_the_published_ones():
    assert list(C) == PUBLISHED
    assert [CORRUPTIONS[name].group for name in C] == (
        ["noise"] * 3 + ["blur"] * 4 + ["weather"] * 4 + ["digital"] * 4
    )
    assert list(CORRUPTIONS) == [*C, *C_BAR]


@pytest.mark.parametrize("name", C)
def test_every_corruption_has_five_severities_at_both_scales(name):
    corruption = CORRUPTIONS[name]
    assert isinstance(corruption, Corruption)
    assert corruption.name == name
    for table in (corruption.cifar, corruption.imagenet):
        assert len(table) == len(set(table)) == 5
        assert len({len(constants) for constants in table}) == 1


@pytest.mark.parametrize("size", [32, 72])
@pytest.mark.parametrize("name", C)
def test_samples_depend_on_nothing_but_themselves(name, size):
    images, numbers = pictures(4, size), seeds(4)
    before = images.copy()
    whole = corrupt(name, images, 3, numbers)
    assert (whole.shape, whole.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(corrupt(name, images, 3, numbers), whole)
    order = [2, 0, 3]
    np.testing.assert_array_equal(corrupt(name, images[order], 3, numbers[order]), whole[order])
    for i in range(4):
        alone = corrupt(name, images[i : i + 1], 3, numbers[i : i + 1])
        np.testing.assert_array_equal(alone[0], whole[i])
    assert (whole != images).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("name", C)
def test_other_seeds_give_other_samples_where_chance_plays(name):
    images = np.repeat(pictures(1, 32), 4, axis=0)
    out = corrupt(name, images, 4, seeds(4))
    distinct = len({sample.tobytes() for sample in out})
    assert distinct == (1 if name in WITHOUT_CHANCE else 4)


@pytest.mark.parametrize("name", C)
def test_any_layout_in_memory_gives_the_same_bytes(name):
    images = np.ascontiguousarray(pictures(2, 32))
    expected = corrupt(name, images, 2, seeds(2))
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(corrupt(name, channels_first, 2, seeds(2)), expected)
    frozen = images.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(corrupt(name, frozen, 2, seeds(2)), expected)


@pytest.mark.parametrize("name", C)
def test_no_pictures_and_tiny_pictures(name):
    assert corrupt(name, flat(9, 32, 0), 1, seeds(0)).shape == (0, 32, 32, 3)
    for severity in range(1, 6):
        out = corrupt(name, pictures(2, 12), severity, seeds(2), scale="cifar")
        assert out.shape == (2, 12, 12, 3)


def test_the_scale_is_told_by_the_size():
    assert constants_of("fog", 1, 64) == CORRUPTIONS["fog"].cifar[0]
    assert constants_of("fog", 1, 65) == CORRUPTIONS["fog"].imagenet[0]
    assert constants_of("fog", 5, 224, "cifar") == CORRUPTIONS["fog"].cifar[4]
    images = pictures(2, 32)
    auto, cifar, imagenet = (
        corrupt("fog", images, 2, seeds(2), scale=scale) for scale in ("auto", "cifar", "imagenet")
    )
    np.testing.assert_array_equal(auto, cifar)
    assert (auto != imagenet).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fogg", flat(0, 32), 1, seeds(2)), r"unknown corruption 'fogg' \(did you mean 'fog'\?\)"),
        (("fog", flat(0, 32), 0, seeds(2)), "severity is 0; it is a whole number of 1 to 5"),
        (("fog", flat(0, 32), 6, seeds(2)), "severity is 6"),
        (("fog", flat(0, 32), 1, seeds(3)), r"seeds are uint64 \[3\] for 2 pictures"),
        (("fog", flat(0, 32), 1, np.arange(2)), "seeds are int64"),
        (
            ("fog", flat(0, 32).astype(np.float32), 1, seeds(2)),
            r"images are float32 \[2, 32, 32, 3\]",
        ),
        (("fog", flat(0, 32)[:, 1:], 1, seeds(2)), r"\[2, 31, 32, 3\].*crop pictures to squares"),
        (("fog", flat(0, 32)[0], 1, seeds(2)), r"images are uint8 \[32, 32, 3\]"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        corrupt(*arguments)


def test_wrong_scales_are_refused():
    with pytest.raises(UsageError, match="scale is 'tiny'; it is one of auto, cifar, imagenet"):
        corrupt("fog", flat(0, 32), 1, seeds(2), scale="tiny")
    lacking = next(n for n in C_BAR if CORRUPTIONS[n].cifar is None)
    with pytest.raises(UsageError, match=f"{lacking}: has no severities for pictures of 32 px"):
        corrupt(lacking, flat(0, 32), 1, seeds(2))


def test_given_panes_replace_the_generated_ones():
    images, black = pictures(2, 32), np.zeros((400, 400, 3), np.uint8)
    panes = frost_pictures.FrostPictures([black])
    np.testing.assert_array_equal(corrupt("frost", images, 1, seeds(2), frost=panes), images)
    assert (corrupt("frost", images, 1, seeds(2)) != images).any()
    np.testing.assert_array_equal(
        corrupt("fog", images, 1, seeds(2), frost=panes), corrupt("fog", images, 1, seeds(2))
    )
