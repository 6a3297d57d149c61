"""Recipes are checked as a whole, and every complaint names field, value and what is allowed."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.identity import recipe_identity
from pipeline.recipe import Recipe, load_recipe, parse_recipe, preset_names


def complaint(*overrides: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_recipe("digits", overrides)
    return str(caught.value)


def test_presets_are_the_four_promised_and_all_load() -> None:
    assert preset_names() == ["cifar10", "cifar100", "digits", "image-folder"]
    for name in preset_names():
        assert load_recipe(name).name == name


def test_presets_carry_the_published_constants() -> None:
    cifar, folder = load_recipe("cifar10").augmentation, load_recipe("image-folder").augmentation
    assert cifar.model_dump() == {
        "family": "pixmix",
        "k": 4,
        "beta": 3,
        "severity": 3.0,
        "ops": "all",
        "strategy": "both",
    }
    assert folder.model_dump() | {"beta": 4, "severity": 1.0} == folder.model_dump()


def test_a_resolved_recipe_leaves_nothing_implied() -> None:
    small, large = load_recipe("digits"), load_recipe("image-folder")
    assert (small.shards.codec, small.shards.quality) == ("npy", None)
    assert (large.shards.codec, large.shards.quality) == ("jpg", 95)
    assert small.mixing_set is not None
    assert large.mixing_set is not None
    assert (small.mixing_set.size, large.mixing_set.size) == (36, 256)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("augmentation.k=-1", ["augmentation.k: got -1", "0 to 16"]),
        ("augmentation.k=17", ["augmentation.k: got 17", "0 to 16"]),
        ("augmentation.k=1.5", ["augmentation.k: got 1.5", "whole number"]),
        ("augmentation.k='4'", ["augmentation.k: got '4'", "whole number"]),
        ("augmentation.beta=0", ["augmentation.beta: got 0", "1 to 64"]),
        ("augmentation.severity=11", ["augmentation.severity: got 11", "0.1 to 10"]),
        ("augmentation.severity=.nan", ["augmentation.severity: got nan"]),
        ("augmentation.ops=al", ["augmentation.ops: got 'al'", "did you mean 'all'", "'standard'"]),
        ("augmentation.family=pixmx", ["augmentation.family", "did you mean 'pixmix'", "'clean'"]),
        ("augmentation.kk=1", ["augmentation.kk: unknown field", "did you mean 'k'", "beta"]),
        ("epoch=2", ["epoch: unknown field", "did you mean 'epochs'"]),
        ("epochs=0", ["epochs: got 0", "1 to 10000"]),
        ("reuse=0", ["reuse: got 0", "1 to 10000"]),
        ("reuse=5", ["reuse = 5 is more than epochs = 4; allowed: 1 to 4"]),
        (
            "reuse=2",
            ["reuse = 2 does nothing for source.kind = 'digits'", "in memory", "remove it"],
        ),
        ("epochs=true", ["epochs: got True", "whole number"]),
        ("seed=-1", ["seed: got -1", f"0 to {2**64 - 1}"]),
        ("source.kind=cifar", ["source.kind: got 'cifar'", "'cifar10'", "'image-folder'"]),
        ("source.split=all", ["source.split: got 'all'", "'train' or 'test'"]),
        ("source.path=x", ["source.path: unknown field", "kind, split"]),
        ("transform.size=4", ["transform.size: got 4", "8 to 1024"]),
        ("transform.flip=2", ["transform.flip: got 2", "0 to 1"]),
        ("mixing_set=null", ["mixing_set", "needs one"]),
        ("mixing_set.size=20", ["mixing_set.size = 20", "transform.size = 32"]),
        ("mixing_set.count=0", ["mixing_set.count: got 0", "1 to"]),
        ("shards.codec=npz", ["shards.codec: got 'npz'", "did you mean 'npy'"]),
        ("shards.samples_per_shard=0", ["shards.samples_per_shard: got 0", "1 or more"]),
        ("shards.quality=90", ["shards", "quality does nothing", "'npy'"]),
        ("name=../x", ["name: got '../x'", "letters"]),
        ("source=digits", ["source: got 'digits'", "section"]),
    ],
)
def test_each_wrong_field_is_named_with_value_and_allowed(override: str, words: list[str]) -> None:
    message = complaint(override)
    for word in words:
        assert word in message
    assert "recipe digits is not valid; nothing was built" in message


def test_all_wrong_fields_are_named_at_once() -> None:
    message = complaint("augmentation.k=-1", "epochs=0", "transform.flip=2")
    assert message.count("\n") == 3


def test_an_unknown_recipe_names_the_nearest_preset() -> None:
    with pytest.raises(UsageError, match=r"unknown recipe 'cifar1' \(did you mean 'cifar10'\?\)"):
        load_recipe("cifar1")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read recipe .*nowhere\.yaml"):
        load_recipe(str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nname: y\n", "line 2 .*'name' is given twice"),
        ("a: [1\n", "line "),
        ("- 1\n", r"got \[1\]; allowed: a mapping"),
        ("", "got None; allowed: a mapping"),
        ("!!python/object:os.system {}", "could not determine a constructor"),
    ],
)
def test_broken_yaml_is_named_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        load_recipe(str(path))


@pytest.mark.parametrize("override", ["k", "=3", "", "a.b", "name.x=1"])
def test_an_override_that_is_not_one_is_refused(override: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        load_recipe("digits", [override])


def test_a_new_kind_starts_its_section_afresh(tmp_path: Path) -> None:
    recipe = load_recipe("cifar10", ["source.kind=image-folder", f"source.path={tmp_path}"])
    assert recipe.source.model_dump() == {
        "kind": "image-folder",
        "path": str(tmp_path),
        "on_unreadable": "stop",
    }


def test_a_folder_may_be_reused_for_as_many_epochs_as_there_are() -> None:
    for overrides, expected in (([], 1), (["reuse=4"], 4), (["reuse=7", "epochs=9"], 7)):
        recipe = load_recipe("image-folder", overrides)
        assert recipe.reuse == expected
        assert recipe_identity(recipe)["reuse"] == expected


def test_the_clean_family_keeps_no_mixing_set() -> None:
    recipe = load_recipe("cifar10", ["augmentation.family=clean"])
    assert recipe.augmentation.model_dump() == {"family": "clean"}
    assert recipe.mixing_set is None


@given(st.text(max_size=60))
def test_no_override_crashes(text: str) -> None:
    with contextlib.suppress(UsageError):  # nothing else may come out
        load_recipe("digits", [text])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.dictionaries(
                st.sampled_from([*Recipe.model_fields, "kind", "family", "x"]), inner, max_size=5
            )
            | st.lists(inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_no_content_crashes(content: object) -> None:
    if isinstance(content, dict):
        with pytest.raises(UsageError, match="test is not valid"):
            parse_recipe(content, "test")


def test_a_resolved_recipe_survives_its_own_json() -> None:
    for name in preset_names():
        recipe = load_recipe(name)
        assert parse_recipe(recipe.model_dump(mode="json"), name) == recipe
