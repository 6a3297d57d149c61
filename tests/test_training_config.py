"""Configurations of training: presets carry the published settings, and complaints name what is allowed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.settings import preset_names
from training.config import TrainConfig, identity, load_config
from training.schedule import learning_rate


@pytest.mark.parametrize("name", preset_names("training"))
def test_presets_are_valid(name: str) -> None:
    assert load_config(name).name == name


def test_presets_carry_the_published_settings() -> None:
    cifar = load_config("cifar10")
    assert cifar.model.model_dump() == {
        "kind": "wide-resnet",
        "depth": 40,
        "width": 4,
        "dropout": 0.3,
        "weights": None,
        "feature_extract": False,
    }
    assert (cifar.epochs, cifar.batch_size, cifar.normalize) == (100, 128, "cifar")
    assert cifar.optimizer.model_dump() == {
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "clip_grad_norm": None,
    }
    assert cifar.schedule.model_dump() == {
        "kind": "cosine",
        "final_lr": 1e-6,
        "warmup_epochs": 0.0,
    }
    imagenet = load_config("imagenet")
    assert (imagenet.epochs, imagenet.batch_size, imagenet.optimizer.lr) == (90, 512, 0.01)
    assert imagenet.model.weights == "IMAGENET1K_V1"
    ucf = load_config("ucf101")
    assert (ucf.epochs, ucf.optimizer.lr, ucf.schedule.kind) == (10, 0.03, "cosine-7-16")
    assert ucf.model.feature_extract
    assert ucf.normalize == "kinetics"
    assert ucf.model.model_dump() == {
        "kind": "torchvision",
        "name": "r3d_18",
        "weights": "KINETICS400_V1",
        "feature_extract": True,
    }
    assert (ucf.batch_size, ucf.optimizer.nesterov, ucf.optimizer.weight_decay) == (32, True, 0)
    assert load_config("digit-videos").model.kind == "small3d"


def config(**fields: object) -> TrainConfig:
    return load_config("cifar10", [f"{name}={value}" for name, value in fields.items()])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=0", "optimizer.lr: got 0"),
        ("optimiser.lr=1", "optimiser: unknown field (did you mean 'optimizer'?)"),
        ("optimizer.momentun=0.9", "(did you mean 'momentum'?)"),
        ("model.depth=15", "depth = 15; allowed: 6n + 4"),
        ("model.kind=resnet", "model.kind: got 'resnet'"),
        ("schedule.kind=cosin", "(did you mean 'cosine'?)"),
        ("model.feature_extract=true", "give model.weights"),
        ("data.inputs=[source.path=data]", "inputs are of live training alone"),
        ("epochs=0", "epochs: got 0"),
        ("normalize=imagnet", "normalize"),
        ("save={keep_best: true, every_s: 0}", "save.every_s: got 0"),
    ],
)
def test_a_wrong_field_is_named(override: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config("cifar10", [override])
    assert message in str(caught.value)
    assert "nothing was trained" in str(caught.value)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown configuration 'cifar1'.*did you mean 'cifar10"):
        load_config("cifar1")


def test_keep_best_needs_a_test_root() -> None:
    with pytest.raises(UsageError, match=r"keep_best goes by the test error: give data\.test"):
        load_config("cifar10", ["data.test=null", "save.keep_best=true"])


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", "+1e-3", "1.e-3", "10e-4"])
def test_numbers_may_have_exponents(text: str) -> None:
    assert load_config("cifar10", [f"optimizer.lr={text}"]).optimizer.lr == 0.001


def test_normalisation_may_be_given_in_numbers() -> None:
    found = load_config("cifar10", ["normalize={mean: [0.1, 0.2, 0.3], std: [1, 1, 1]}"])
    assert found.normalize.model_dump() == {"mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}


def test_places_and_hardware_are_not_identity_and_all_else_is() -> None:
    base = identity(config())
    for field, value in {
        "data.train": "elsewhere",
        "data.test": "there",
        "data.workers": 3,
        "hardware.device": "cpu",
        "hardware.compile": "true",
        "save.every_s": 3.0,
        "save.keep_best": "true",
    }.items():
        assert identity(config(**{field: value})) == base, field
    for field, value in {
        "seed": 1,
        "epochs": 99,
        "batch_size": 64,
        "optimizer.lr": 0.2,
        "model.depth": 16,
        "schedule.final_lr": 0.5,
        "label_smoothing": 0.1,
        "data.live": "true",
        "normalize": "imagenet",
    }.items():
        assert identity(config(**{field: value})) != base, field


# ── the learning rate ──


def test_cosine_follows_the_published_formula() -> None:
    chosen = config()
    rates = [learning_rate(step, chosen, 391) for step in range(39100)]
    for step in (0, 1, 1000, 20000, 39099):
        published = 1e-5 + (1 - 1e-5) * 0.5 * (1 + math.cos(step / 39100 * math.pi))
        assert math.isclose(rates[step], 0.1 * published, rel_tol=1e-12)
    assert rates[0] == 0.1
    assert rates[-1] < 1.2e-6


def test_cosine_7_16_ends_at_a_fifth() -> None:
    chosen = load_config("ucf101")
    assert learning_rate(0, chosen, 299) == 0.03
    assert math.isclose(learning_rate(2990, chosen, 299), 0.03 * math.cos(7 * math.pi / 16))
    assert math.isclose(learning_rate(2990, chosen, 299) / 0.03, 0.195, abs_tol=1e-3)


def test_warm_up_rises_in_equal_steps() -> None:
    chosen = config(**{"schedule.warmup_epochs": 2, "epochs": 10})
    rates = [learning_rate(step, chosen, 5) for step in range(50)]
    assert rates[:10] == pytest.approx([0.01 * (step + 1) for step in range(10)])
    assert rates[10] == 0.1
    assert rates[10:] == sorted(rates[10:], reverse=True)


@given(st.integers(1, 50), st.integers(1, 40), st.floats(0, 60), st.data())
def test_rates_stay_within_their_bounds(
    epochs: int, steps: int, warmup: float, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["cosine", "cosine-7-16", "constant"]))
    chosen = config(epochs=epochs, schedule=f"{{kind: {kind}, warmup_epochs: {warmup}}}")
    step = data.draw(st.integers(0, epochs * steps - 1))
    assert 0 < learning_rate(step, chosen, steps) <= 0.1
