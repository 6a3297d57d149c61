"""What a network answers, held to the network itself, and what files of predictions keep of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from evaluation.measures import t5d, top5
from evaluation.measures.adversary import Attack, normaliser, pgd
from evaluation.predict import LogitError, Network
from evaluation.predictions import (
    About,
    Samples,
    picture_table,
    read_about,
    read_variants,
    sequence_table,
    write_predictions,
)
from pipeline.errors import DreamshardsError
from pipeline.executor import InlineExecutor
from pipeline.recipe import load_recipe
from pipeline.sources import ArraySource, open_source
from pipeline.stream import CIFAR
from tests.evaluation_helpers import CPU, break_network, save_network
from training.checkpoint import Trained, load_trained


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint that knows digits a little."""
    return save_network(tmp_path_factory.mktemp("run") / "last.pt")


@pytest.fixture
def trained(checkpoint: Path) -> Trained:
    """Return its network."""
    return load_trained(checkpoint)


def digits(*shape: int) -> torch.Tensor:
    """Return digits of the test split as uint8 [*shape, 32, 32, 3], the first of them."""
    source = open_source(load_recipe("digits-test").source, InlineExecutor())
    assert isinstance(source, ArraySource)
    return torch.from_numpy(source.pixels[: math.prod(shape)].copy()).reshape(*shape, 32, 32, 3)


def direct_logits(trained: Trained, images: torch.Tensor) -> torch.Tensor:
    """Return what the network says of pictures [n, H, W, 3], by the definition of the normalisation."""
    with torch.inference_mode():
        floats = (images.permute(0, 3, 1, 2).double() / 255 - 0.5) / 0.5
        return trained.net.eval()(floats.float())


# ── answers ──


def test_answers_are_those_of_the_network(trained: Trained) -> None:
    images = digits(40)
    logits = direct_logits(replace(trained, net=copy.deepcopy(trained.net)), images)
    trained.net.train()  # as it might come; dropout and batch norms must not show
    answers = Network(trained, CPU).classify(images)
    assert answers.prediction.tolist() == logits.argmax(1).tolist()
    assert len(set(answers.prediction.tolist())) > 1
    expected = logits.double().softmax(1).max(1).values
    assert answers.confidence == pytest.approx(expected.numpy(), abs=1e-5)
    assert answers.confidence.dtype == np.float64


def test_answers_over_some_classes_are_named_by_the_networks(trained: Trained) -> None:
    images = digits(30)
    kept = np.array([7, 2, 5], np.int64)
    answers = Network(trained, CPU).classify(images, kept)
    some = direct_logits(trained, images)[:, kept]
    assert answers.prediction.tolist() == kept[some.argmax(1).numpy()].tolist()
    assert set(answers.prediction.tolist()) <= {2, 5, 7}
    expected = some.double().softmax(1).max(1).values.numpy()
    assert answers.confidence == pytest.approx(expected, abs=1e-5)
    assert answers.logits[:, kept] == pytest.approx(some.numpy(), abs=1e-4)
    assert np.isneginf(np.delete(answers.logits, kept, axis=1)).all()


def test_clips_are_answered_frame_by_frame(trained: Trained) -> None:
    clips = digits(5, 4)
    network = Network(trained, CPU)
    for sequence, is_noise in (("tilt", False), ("shot_noise", True)):
        found = network.follow(clips, sequence)
        for clip, predictions, distance in zip(clips, *found, strict=True):  # type: ignore[arg-type]
            logits = direct_logits(trained, clip)
            assert predictions.tolist() == logits.argmax(1).tolist()
            best = top5(logits.numpy()[None])
            assert distance == t5d(best, noise=is_noise)
    before, first = (network.follow(clips, name).t5d for name in ("tilt", "shot_noise"))
    assert before is not None
    assert first is not None
    assert before.tolist() != first.tolist()
    skipped = network.follow(clips, "tilt", difficulty=2).t5d
    assert skipped is not None
    best = top5(direct_logits(trained, clips[0]).numpy()[None])
    assert skipped[0] == t5d(best, difficulty=2)


def test_few_classes_have_no_top_five(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    trained = load_trained(save_network(tmp_path / "last.pt", classes=names))
    found = Network(trained, CPU).follow(digits(2, 3), "tilt")
    assert found.predictions.shape == (2, 3)
    assert found.t5d is None


@pytest.mark.parametrize("centre", ["clean", "noisy"])
def test_an_attack_is_projected_gradient_descent(trained: Trained, centre: str) -> None:
    images, labels = digits(12), np.arange(12) % 10
    attack = Attack(eps=8 / 255, steps=3, step=4 / 255, centre=centre)  # type: ignore[arg-type]
    network = Network(trained, CPU)
    answers = network.attack(images, labels, attack, torch.Generator().manual_seed(5))
    normalise = normaliser(*CIFAR)
    adversarial = pgd(
        trained.net,
        images.permute(0, 3, 1, 2),
        torch.from_numpy(labels),
        normalise=normalise,
        generator=torch.Generator().manual_seed(5),
        attack=attack,
    )
    with torch.inference_mode():
        logits = trained.net(normalise(adversarial))
    assert answers.prediction.tolist() == logits.argmax(1).tolist()
    clean = network.classify(images)
    assert answers.prediction.tolist() != clean.prediction.tolist()


def test_logits_that_are_no_numbers_name_the_first_such_row(trained: Trained) -> None:
    class Broken(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            logits = inputs.flatten(1)[:, :10].clone()
            logits[logits[:, 0] > 0.9] = float("nan")
            return logits

    network = Network(replace(trained, net=Broken()), CPU)
    images = torch.zeros(6, 32, 32, 3, dtype=torch.uint8)
    network.classify(images)
    images[4] = 255
    with pytest.raises(LogitError, match="logits of 1 of 6 inputs are NaN") as caught:
        network.classify(images)
    assert caught.value.row == 4
    with pytest.raises(LogitError) as caught:
        network.follow(images.reshape(2, 3, 32, 32, 3), "tilt")
    assert caught.value.row == 1  # the clip that the frame is of


def test_a_broken_weight_is_seen(checkpoint: Path, tmp_path: Path) -> None:
    broken = load_trained(break_network(checkpoint, tmp_path / "last.pt"))
    with pytest.raises(LogitError, match="Look whether the network's weights are"):
        Network(broken, CPU).classify(digits(3))


# ── files of predictions ──

ABOUT = About("mine", "c", ("fog", "snow"), ("a", "b"), "root", {"checkpoint": "x", "n": [1, 2]})


def samples(variant: str, severity: int | None, index: list[int]) -> Samples:
    """Return samples with labels 0 and 1 in turn."""
    at = np.array(index, np.int64)
    return Samples(
        variant, severity, [f"k{i}" for i in index], at, [f"id{i}" for i in index], at % 2
    )


def test_predictions_come_back_by_variant_in_the_order_of_their_source(tmp_path: Path) -> None:
    path = tmp_path / "predictions-mine.parquet"
    first = picture_table(
        "mine", samples("fog", 1, [4, 0, 2]), np.array([1, 0, 1]), np.array([0.5, 0.1, 1.0])
    )
    second = picture_table("mine", samples("snow", 5, [1]), np.array([0]), np.array([0.25]))
    write_predictions(path, ABOUT, [first, second])
    assert read_about(path) == ABOUT
    fog, snow = read_variants(path)
    assert fog.to_pydict() == {
        "set": ["mine"] * 3,
        "variant": ["fog"] * 3,
        "severity": [1] * 3,
        "key": ["k0", "k2", "k4"],
        "source_index": [0, 2, 4],
        "source_id": ["id0", "id2", "id4"],
        "label": [0, 0, 0],
        "prediction": [0, 1, 1],
        "confidence": [0.1, 1.0, 0.5],
    }
    assert snow["severity"].to_pylist() == [5]
    again = tmp_path / "again.parquet"
    write_predictions(again, ABOUT, iter([first, second]))
    assert again.read_bytes() == path.read_bytes()


def test_clips_keep_each_frame_and_what_is_not_there_is_null(tmp_path: Path) -> None:
    path = tmp_path / "predictions-p.parquet"
    found = samples("tilt", None, [1, 0])._replace(keys=None, labels=None)
    table = sequence_table("p", found, np.array([[1, 2, 3], [4, 5, 6]]), np.array([0.5, 1.5]))
    bare = sequence_table("p", found, np.array([[1], [2]]), None)
    write_predictions(path, replace(ABOUT, kind="p", difficulty=2), [table, bare])
    about = read_about(path)
    assert about is not None
    assert about.difficulty == 2
    whole, without = read_variants(path)
    assert whole["predictions"].to_pylist() == [[4, 5, 6], [1, 2, 3]]
    assert whole["t5d"].to_pylist() == [1.5, 0.5]
    for name in ("key", "label", "severity"):
        assert whole[name].null_count == 2
    assert without["t5d"].null_count == 2


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "predictions-mine.parquet"

    def tables() -> Iterator[pa.Table]:
        yield picture_table("mine", samples("fog", 1, [0]), np.array([1]), np.array([0.5]))
        raise DreamshardsError("cut")

    with pytest.raises(DreamshardsError, match="cut"):
        write_predictions(path, ABOUT, tables())
    assert list(tmp_path.iterdir()) == []
    assert read_about(path) is None


def test_files_that_are_damaged_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions-mine.parquet"
    many = samples("fog", 1, list(range(500)))
    table = picture_table("mine", many, np.arange(500) % 2, np.linspace(0, 1, 500))
    write_predictions(path, ABOUT, [table])
    content = bytearray(path.read_bytes())
    place = content.index(np.linspace(0, 1, 500)[250:252].tobytes()[:6])
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DreamshardsError, match="evaluate again"):
        list(read_variants(path))
    path.write_bytes(content[:-9])
    with pytest.raises(DreamshardsError, match="not a readable file of predictions"):
        read_about(path)
    pa.parquet.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(DreamshardsError, match="not a readable file of predictions"):
        read_about(path)
