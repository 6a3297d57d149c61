"""Recipes are checked as a whole, and every complaint names field, value and what is allowed."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.identity import differences, recipe_hash, recipe_identity
from pipeline.recipe import Recipe, load_pictures, load_recipe, parse_recipe, preset_names


def complaint(*overrides: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_recipe("digits", overrides)
    return str(caught.value)


def test_presets_are_those_promised_and_all_load() -> None:
    training = ["cifar10", "cifar100", "digit-videos", "digits", "image-folder", "ucf101"]
    made = [f"{name}-{kind}" for name in ("cifar10", "cifar100") for kind in ("c", "c-bar", "p")]
    made += ["digits-c", "image-folder-c", "image-folder-c-bar"]
    made += [f"digit-videos-{kind}" for kind in ("c", "unknown", "windows")]
    made += [f"anomalies-{law}" for law in ("gaussian", "rademacher", "blobs")]
    assert preset_names() == sorted([*training, *(f"{name}-test" for name in training), *made])
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


@pytest.mark.parametrize("name", ["digits", "cifar10", "cifar100", "image-folder"])
def test_a_test_preset_leaves_nothing_to_chance_and_fits_its_training_preset(name: str) -> None:
    training, test = load_recipe(name), load_recipe(f"{name}-test")
    assert (test.epochs, test.augmentation.family, test.mixing_set) == (1, "clean", None)
    assert test.source.kind == training.source.kind
    assert test.transform.size == training.transform.size
    assert test.shards == training.shards
    if name == "image-folder":
        expected = {"kind": "center-crop", "size": 224, "resize": 256}
        assert test.source.model_dump()["path"] == "data/val"
    else:
        expected = {"kind": "pad-crop", "size": 32, "padding": 0, "flip": 0.0}
        assert test.source.model_dump()["split"] == "test"
    assert test.transform.model_dump() == expected


@pytest.mark.parametrize(
    ("name", "epochs"),
    [
        ("cifar10-c", 75),
        ("cifar10-c-bar", 50),
        ("cifar10-p", 10),
        ("cifar100-c", 75),
        ("cifar100-c-bar", 50),
        ("cifar100-p", 10),
        ("digits-c", 75),
        ("image-folder-c", 75),
        ("image-folder-c-bar", 50),
    ],
)
def test_a_made_test_set_is_of_the_same_clean_pictures_as_the_test_preset(
    name: str, epochs: int
) -> None:
    kind = name.partition("-c")[0].partition("-p")[0]
    made, clean = load_recipe(name), load_recipe(f"{kind}-test")
    assert (made.source, made.transform) == (clean.source, clean.transform)
    assert (made.epochs, made.mixing_set) == (epochs, None)
    codec = ("jpg", 85) if kind == "image-folder" else ("npy", None)
    assert (made.shards.codec, made.shards.quality) == codec


def test_a_central_crop_is_of_a_picture_a_seventh_larger_unless_told_otherwise() -> None:
    change = ["transform.kind=center-crop"]
    for more, size, resize in (
        ([], 224, 256),
        (["transform.size=32"], 32, 36),
        (["transform.size=32", "transform.resize=32"], 32, 32),
    ):
        transform = load_recipe("image-folder", [*change, *more]).transform.model_dump()
        assert transform == {"kind": "center-crop", "size": size, "resize": resize}


HASHES = {
    "digits": "0cbc245cb3a3fb497d4a85dbc0ce7bb8d46178120832f22af1059ed1a6063728",
    "image-folder": "d3b99a06ed74e03ec61cf143cc558b3b2dfc4b0652e8b60dad4eafc314a7b8b1",
}


@pytest.mark.parametrize("name", HASHES)
def test_a_recipe_without_a_count_keeps_its_hash(name: str) -> None:
    # May change with the format only: every root built before then counts as another recipe's.
    versions = {"pillow": "0", "simplejpeg": "0"}
    identity = recipe_identity(load_recipe(name))
    assert recipe_hash(identity | versions) == HASHES[name]
    given = recipe_identity(load_recipe(name, ["source.count=7"]))
    assert given == identity | {"source.count": 7}


def test_roots_of_other_counts_are_told_apart_whichever_lacks_one() -> None:
    whole, some = (
        recipe_identity(load_recipe("digits", fields)) for fields in ([], ["source.count=7"])
    )
    assert differences(whole, whole) == differences(some, some) == []
    line = "source.count: the root has {}, this recipe has {}"
    assert differences(whole, some) == [line.format(None, 7)]
    assert differences(some, whole) == [line.format(7, None)]


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
        ("augmentation={family: mixup, alpha: 0}", ["augmentation.alpha: got 0", "0.001 to 1000"]),
        ("augmentation={family: cutmix, probability: 2}", ["augmentation.probability: got 2"]),
        ("augmentation={family: mixup, k: 4}", ["augmentation.k: unknown field", "alpha"]),
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
        ("source.count=0", ["source.count: got 0", "whole number, 1 or more"]),
        ("source.count=1.5", ["source.count: got 1.5", "whole number"]),
        (
            "transform={kind: center-crop, size: 32, resize: 31}",
            ["transform.resize = 31 is smaller than transform.size = 32", "32 or more"],
        ),
        ("transform={kind: center-crop, flip: 0.5}", ["transform.flip: unknown field", "resize"]),
        ("transform.size=4", ["transform.size: got 4", "8 to 1024"]),
        ("transform.flip=2", ["transform.flip: got 2", "0 to 1"]),
        ("mixing_set=null", ["mixing_set", "needs one"]),
        ("mixing_set.size=20", ["mixing_set.size = 20", "transform.size = 32"]),
        ("mixing_set.count=0", ["mixing_set.count: got 0", "1 to"]),
        ("mixing_set.kind=librry", ["mixing_set.kind: got 'librry'", "did you mean 'library'"]),
        ("mixing_set.seeds=1", ["mixing_set.seeds: unknown field", "did you mean 'seed'"]),
        ("mixing_set.kind=npy", ["mixing_set.path: missing; add it, text"]),
        (
            "mixing_set.kind=blend",
            ["mixing_set.parts: missing", "such as {flame: 0.75, fvis: 0.25}"],
        ),
        ("mixing_set.parts={flame: 1}", ["mixing_set.parts: unknown field"]),
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


@pytest.mark.parametrize(
    ("family", "fields"),
    [("mixup", {"alpha": 1.0, "probability": 1.0}), ("cutmix", {"alpha": 1.0, "probability": 0.5})],
)
def test_families_of_pairs_keep_no_mixing_set(family: str, fields: dict[str, float]) -> None:
    for more in ([], ["mixing_set.count=7"]):
        recipe = load_recipe("cifar10", [f"augmentation.family={family}", *more])
        assert recipe.augmentation.model_dump() == {"family": family, **fields}
        assert recipe.mixing_set is None


def test_the_clean_family_keeps_no_mixing_set() -> None:
    recipe = load_recipe("cifar10", ["augmentation.family=clean"])
    assert recipe.augmentation.model_dump() == {"family": "clean"}
    assert recipe.mixing_set is None


def _blend(parts: str, *more: str) -> Recipe:
    return load_recipe("digits", ["mixing_set.kind=blend", f"mixing_set.parts={parts}", *more])


def test_parts_of_a_blend_are_kept_as_given_and_checked() -> None:
    recipe = _blend("{fractals: 0.75, fvis: 0.25}")
    assert recipe.mixing_set is not None
    assert recipe.mixing_set.model_dump() == {
        "kind": "blend",
        "count": 1000,
        "size": 36,
        "seed": 0,
        "parts": {"fractals": 0.75, "fvis": 0.25},
    }
    assert parse_recipe(recipe.model_dump(mode="json"), "again") == recipe
    with pytest.raises(UsageError, match=r"mixing_set: parts\.flme\.kind: .*did you mean 'flame'"):
        _blend("{flme: 1}")


def test_where_the_pictures_of_a_part_lie_is_no_identity() -> None:
    parts = "{flame: 1, mine: {kind: folder, path: photos, weight: 2, on_unreadable: skip}}"
    here = recipe_identity(_blend(parts))
    there = recipe_identity(_blend(parts, "mixing_set.parts.mine.path=elsewhere"))
    assert here == there
    assert here["mixing_set.parts.mine.weight"] == 2
    other = recipe_identity(_blend(parts, "mixing_set.parts.mine.weight=3"))
    assert here != other


def test_an_array_stays_as_it_is_unless_a_size_is_given() -> None:
    fields = ["mixing_set.kind=npy", "mixing_set.path=a.npy"]
    for more, size in (([], None), (["mixing_set.size=40"], 40)):
        recipe = load_recipe("digits", [*fields, *more])
        assert recipe.mixing_set is not None
        assert recipe.mixing_set.size == size


def test_pictures_of_a_kind_or_of_a_recipe() -> None:
    assert load_pictures("flame").model_dump() == {
        "kind": "flame",
        "count": 1000,
        "size": 64,
        "seed": 0,
    }
    changed = load_pictures("dead-leaves", ["shapes=mixed"], {"count": 5, "size": None, "seed": 2})
    assert changed.model_dump() == {
        "kind": "dead-leaves",
        "count": 5,
        "size": 64,
        "seed": 2,
        "shapes": "mixed",
    }
    assert (
        load_pictures("cifar10", (), {"count": 7})
        == load_recipe("cifar10", ["mixing_set.count=7"]).mixing_set
    )
    library = load_recipe("cifar10").mixing_set
    assert library is not None
    assert library.model_dump() == {"kind": "library", "count": 10000, "size": 36, "seed": 0}


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_override_crashes(text: str) -> None:
    with contextlib.suppress(UsageError):  # nothing else may come out
        load_recipe("digits", [text])


@given(
    st.dictionaries(
        st.sampled_from(["flame", "fvis", "x"]),
        st.none()
        | st.floats()
        | st.text(max_size=4)
        | st.dictionaries(
            st.sampled_from(["kind", "weight", "seed", "path", "parts"]),
            st.integers() | st.sampled_from(["flame", "folder", "blend", "library", ""]),
        ),
    )
)
def test_no_blend_crashes(parts: dict[str, object]) -> None:
    content = load_recipe("digits").model_dump(mode="json")
    content["mixing_set"] = {"kind": "blend", "parts": parts}
    with contextlib.suppress(UsageError):  # nothing else may come out
        parse_recipe(content, "test")


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
