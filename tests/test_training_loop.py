"""Runs: they learn, go on exactly, stop when told to, and refuse what does not fit."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import training.loop
from pipeline.build import build
from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import InlineExecutor
from pipeline.recipe import load_recipe
from tests.conftest import stored
from tests.servers import Moto
from tests.training_helpers import (
    STEPS,
    command,
    one_thread,
    project,
    run_command,
    same_weights,
    small_config,
)
from training.checkpoint import load_trained
from training.config import load_config
from training.log import COLUMNS
from training.loop import train


@pytest.fixture(scope="module")
def train_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two epochs of 384 digits: six steps each."""
    root = tmp_path_factory.mktemp("train") / "digits"
    recipe = ("epochs=2", "source.count=384", "mixing_set.count=24", "shards.samples_per_shard=200")
    build(load_recipe("digits", recipe), root, InlineExecutor())
    return root


@pytest.fixture(scope="module")
def test_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root of the digits' test split."""
    root = tmp_path_factory.mktemp("test") / "digits-test"
    build(load_recipe("digits-test"), root, InlineExecutor())
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, train_root: Path, test_root: Path) -> Path:
    """Return the folder of a run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    config = small_config(train_root, test_root, "save.keep_best=true", "save.tensorboard=true")
    report = train(config, out)
    assert report.num_steps == 2 * STEPS
    assert report.signal is None
    return out


def test_a_run_leaves_model_log_curves_and_events(whole: Path, train_root: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    assert names == {"best.pt", "config.yaml", "curves.png", "last.pt", "log.csv", "tensorboard"}
    with (whole / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "6"), ("2", "12")]
    first, last = ({name: float(value) for name, value in row.items()} for row in rows)
    assert last["train_loss"] < first["train_loss"]
    assert 0 < last["data_wait"] < 0.5
    assert last["samples_per_s"] == pytest.approx(384 / last["seconds"], rel=1e-3)
    content = yaml.safe_load((whole / "config.yaml").read_text())
    assert content["data"]["train"] == str(train_root)
    assert load_config(str(whole / "config.yaml")).model.dropout == 0.3
    with Image.open(whole / "curves.png") as picture:
        assert picture.size == (1080, 432)


def test_events_hold_scalars_and_the_pictures_of_a_batch(whole: Path, train_root: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(whole / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    scalars = events.Tags()["scalars"]
    assert {"train/loss", "train/lr", "epoch/test_error", "epoch/data_wait"} <= set(scalars)
    assert [event.step for event in events.Scalars("train/lr")] == list(range(1, 2 * STEPS + 1))
    pictures = events.Images("train/batch")
    assert [picture.step for picture in pictures] == [0, STEPS]
    assert (pictures[0].width, pictures[0].height) == (8 * 34 + 2, 4 * 34 + 2)


def test_the_model_of_a_run_is_the_one_that_was_tested(whole: Path, test_root: Path) -> None:
    from pipeline.stream import ShardStream
    from training.setup import make_normalize

    trained = load_trained(whole / "last.pt")
    assert trained.shape == (32, 32, 3)
    assert trained.classes == [str(digit) for digit in range(10)]
    normalize = make_normalize(trained.config, torch.device("cpu"))
    wrong = total = 0
    with torch.inference_mode():
        for images, labels in ShardStream(test_root, batch_size=100):
            wrong += int((trained.net(normalize(images)).argmax(1) != labels).sum())
            total += len(labels)
    with (whole / "log.csv").open() as file:
        logged = float(list(csv.DictReader(file))[-1]["test_error"])
    assert total == 360
    assert wrong / total == pytest.approx(logged, abs=1.5 / 360)


def test_a_finished_run_has_nothing_left_to_do(
    whole: Path, train_root: Path, test_root: Path
) -> None:
    before = (whole / "last.pt").read_bytes()
    report = train(small_config(train_root, test_root), whole)
    assert report.num_steps == 0
    assert len(report.progress.history) == 2
    assert (whole / "last.pt").read_bytes() == before


def test_roots_in_an_object_store_train_the_same_model_and_their_secrets_stay_out(
    whole: Path, train_root: Path, test_root: Path, tmp_path: Path, moto: Moto
) -> None:
    uris = [stored(moto, root) for root in (train_root, test_root)]
    cache = [f"data.cache_dir={tmp_path / 'cache'}", "data.cache_bytes=10000000"]
    out = tmp_path / "run"
    train(small_config(*uris, "save.keep_best=true", "save.tensorboard=true", *cache), out)
    assert same_weights(whole / "last.pt", out / "last.pt")
    digests = {path.name.partition("-")[0] for path in (tmp_path / "cache").glob("*.tar-*")}
    assert len(digests) == 2  # of both roots
    for path in out.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert moto.secret_key.encode() not in content
        assert moto.endpoint.encode() not in content


def test_best_is_the_model_of_the_lowest_test_error(whole: Path) -> None:
    content = torch.load(whole / "best.pt", weights_only=True)["progress"]
    rows = torch.load(whole / "last.pt", weights_only=True)["progress"]["history"]
    lowest = min(rows, key=lambda row: row["test_error"])
    assert content["history"][-1] == lowest
    assert (content["best_error"], content["best_epoch"]) == (lowest["test_error"], lowest["epoch"])


# ── going on ──


class Killed(BaseException):
    """The end of a process, as far as this one can act it."""


@pytest.mark.parametrize("killed_after", [1, STEPS - 1, STEPS, STEPS + 3])
def test_a_run_killed_anywhere_goes_on_to_the_same_weights(
    whole: Path,
    train_root: Path,
    test_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_after: int,
) -> None:
    """Checkpoints after every step; the step that is under way at the end leaves nothing."""
    step, done = training.loop._train_step, []

    def dying(*arguments: object) -> None:
        step(*arguments)  # type: ignore[arg-type]
        done.append(1)
        if len(done) > killed_after:
            raise Killed

    config = small_config(train_root, test_root, "save.every_s=1e-9")
    monkeypatch.setattr(training.loop, "_train_step", dying)
    with pytest.raises(Killed):
        train(config, tmp_path / "run")
    monkeypatch.undo()
    torch.rand(3)  # generators of the next process stand elsewhere
    report = train(config, tmp_path / "run")
    assert report.num_steps in (2 * STEPS - killed_after, 2 * STEPS - killed_after + 1)
    assert same_weights(whole / "last.pt", tmp_path / "run" / "last.pt")


@pytest.mark.slow
def test_a_process_killed_in_mid_epoch_goes_on_to_the_same_weights(
    train_root: Path, test_root: Path, tmp_path: Path
) -> None:
    words = command(train_root, test_root, tmp_path / "whole")
    done = run_command(words, env=one_thread())
    assert done.returncode == 0, done.stderr
    out = tmp_path / "run"
    words = command(train_root, test_root, out, "save.every_s=1e-9")
    process = subprocess.Popen(words, cwd=project(), env=one_thread())
    while not (out / "last.pt").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    steps = torch.load(out / "last.pt", weights_only=True)["progress"]["step"]
    assert 0 < steps < 2 * STEPS
    assert run_command(words, env=one_thread()).returncode == 0
    assert same_weights(tmp_path / "whole" / "last.pt", out / "last.pt")
    leftovers = [path.name for path in out.iterdir() if path.name.endswith(".tmp")]
    assert len(leftovers) <= 1  # of the kill itself


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends(
    train_root: Path, test_root: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    words = command(
        train_root, test_root, out, "epochs=500", "test_every=1000", "save.every_s=0.01"
    )
    process = subprocess.Popen(
        words, cwd=project(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while not (out / "last.pt").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    said, complaint = process.communicate(timeout=180)
    assert process.returncode == 128 + number
    progress = torch.load(out / "last.pt", weights_only=True)["progress"]
    assert f"stopped by {number.name} after {progress['step']} step" in complaint
    assert "run the same command to go on" in complaint
    assert said == ""


# ── refusals ──


def test_another_configuration_is_refused_field_by_field(
    whole: Path, train_root: Path, test_root: Path
) -> None:
    config = small_config(train_root, test_root, "optimizer.lr=0.05", "epochs=3")
    with pytest.raises(DreamshardsError) as caught:
        train(config, whole)
    message = str(caught.value)
    assert "epochs: the run has 2, this configuration has 3" in message
    assert "optimizer.lr: the run has 0.1, this configuration has 0.05" in message
    assert "give --out another folder" in message


def test_a_checkpoint_of_another_model_is_refused(
    whole: Path, train_root: Path, test_root: Path
) -> None:
    config = small_config(train_root, test_root, "model.width=2")
    with pytest.raises(DreamshardsError, match=r"model.width: the run has 1, this .* has 2"):
        train(config, whole)


def test_other_data_are_refused(
    whole: Path, test_root: Path, tmp_path: Path, train_root: Path
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "last.pt").write_bytes((whole / "last.pt").read_bytes())
    with pytest.raises(DreamshardsError, match="the state is of another root"):
        train(small_config(test_root, test_root), out)


def test_a_head_of_other_classes_is_refused(
    whole: Path, tmp_path: Path, codec_roots: dict[str, Path], train_root: Path
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "last.pt").write_bytes((whole / "last.pt").read_bytes())
    with pytest.raises(DreamshardsError, match=r"its head has 10 classes, the data \d"):
        train(small_config(codec_roots["npy"], None), out)


def test_a_test_root_of_other_classes_is_refused(
    tmp_path: Path, codec_roots: dict[str, Path], train_root: Path
) -> None:
    with pytest.raises(DreamshardsError, match=r"its classes are not those of .*: \d, not 10"):
        train(small_config(train_root, codec_roots["npy"]), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_root_still_being_built_is_refused(tmp_path: Path, train_root: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "recipe.json").write_bytes((train_root / "recipe.json").read_bytes())
    with pytest.raises(DreamshardsError, match="the build is not complete"):
        train(small_config(root, None), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_for_a_network_of_clips_are_refused(tmp_path: Path, train_root: Path) -> None:
    words = ["hardware.device=cpu", f"data.train={train_root}", "data.test=null"]
    config = load_config("digits", [*words, "model={kind: torchvision, name: r3d_18}"])
    with pytest.raises(
        DreamshardsError, match=r"its samples have the shape \[32, 32, 3\], and r3d_18"
    ):
        train(config, tmp_path / "run")


def test_hardware_that_is_not_there_is_refused(tmp_path: Path, train_root: Path) -> None:
    with pytest.raises(UsageError, match=r"'fp16' is for GPUs"):
        train(small_config(train_root, None, "hardware.precision=fp16"), tmp_path / "run")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="torch finds no GPU here"):
            train(small_config(train_root, None, "hardware.device=cuda"), tmp_path / "run")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cut_checkpoint_is_refused(
    whole: Path, train_root: Path, test_root: Path, tmp_path: Path, share: float
) -> None:
    content = (whole / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DreamshardsError, match=r"last.pt: not a readable file of tensors \("):
        train(small_config(train_root, test_root), tmp_path)


def test_a_file_that_is_no_checkpoint_of_ours_is_refused(whole: Path, tmp_path: Path) -> None:
    torch.save({"model": load_trained(whole / "last.pt").net.state_dict()}, tmp_path / "other.pt")
    with pytest.raises(DreamshardsError, match="not a checkpoint of `dreamshards train`"):
        load_trained(tmp_path / "other.pt")


def test_two_runs_in_one_folder_are_refused(tmp_path: Path, train_root: Path) -> None:
    from pipeline.publish import claimed

    with (
        claimed(tmp_path / "run"),
        pytest.raises(DreamshardsError, match="another training run is"),
    ):
        train(small_config(train_root, None), tmp_path / "run")


def test_a_loss_that_is_no_number_stops_with_keys_and_keeps_the_last_checkpoint(
    tmp_path: Path, train_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, done = training.loop._train_step, []

    def poisoned(run: object, *rest: object) -> None:
        done.append(1)
        if len(done) == STEPS + 3:
            with torch.no_grad():
                run.learner.net.head.bias[0] = torch.nan  # type: ignore[attr-defined]
        step(run, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(training.loop, "_train_step", poisoned)
    with pytest.raises(DreamshardsError) as caught:
        train(small_config(train_root, None), tmp_path / "run")
    message = str(caught.value)
    assert "the loss is nan on the 64 samples from 0001-0000000128 to 0001-0000000191" in message
    assert "last.pt is the last good checkpoint" in message
    content = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert content["progress"]["step"] == STEPS
    assert all(value.isfinite().all() for value in content["model"].values())


# ── options ──


def test_fewer_epochs_than_are_trained_come_round(
    tmp_path: Path, train_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs were built, three are trained: keys say which was read."""
    seen: list[str] = []
    step = training.loop._train_step

    def noting(run: object, batch: object, *rest: object) -> None:
        seen.extend(batch.keys)  # type: ignore[attr-defined]
        step(run, batch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(training.loop, "_train_step", noting)
    train(small_config(train_root, None, "epochs=3"), tmp_path / "run")
    expected = [f"{epoch:04d}-{i:010d}" for epoch in (0, 1, 0) for i in range(384)]
    assert seen == expected


def test_clipping_bounds_the_step(tmp_path: Path, train_root: Path) -> None:
    """With gradients clipped to 1e-6 the weights move by no more than lr·steps·1e-6 or so."""
    overrides = (
        "optimizer={lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0, clip_grad_norm: 1e-6}",
        "schedule.kind=constant",
        "epochs=1",
    )
    config = small_config(train_root, None, *overrides)
    train(config, tmp_path / "run")
    torch.manual_seed(config.seed)
    from training.models import build_model

    first, _ = build_model(config.model, 10)
    last = load_trained(tmp_path / "run" / "last.pt").net
    moved = sum(
        (a - b).square().sum() for a, b in zip(first.parameters(), last.parameters(), strict=True)
    )
    assert 0 < moved.sqrt() <= 0.1 * STEPS * 1e-6 * 1.05


def test_smoothed_labels_keep_the_loss_up(tmp_path: Path, train_root: Path) -> None:
    """Cross-entropy against labels smoothed by 0.9 cannot fall below their own entropy."""
    report = train(small_config(train_root, None, "label_smoothing=0.9"), tmp_path / "run")
    share = 0.1 + 0.9 / 10
    entropy = -(share * torch.tensor(share).log() + 9 * 0.09 * torch.tensor(0.09).log())
    assert report.progress.history[-1]["train_loss"] > entropy
    assert report.progress.history[-1]["train_loss"] < 2.6


def test_bfloat16_learns_too(tmp_path: Path, train_root: Path) -> None:
    report = train(small_config(train_root, None, "hardware.precision=bf16"), tmp_path / "run")
    rows = report.progress.history
    assert rows[1]["train_loss"] < rows[0]["train_loss"]


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(
    tmp_path: Path, train_root: Path, test_root: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced by torch.compile, with its eager backend: the others need a C compiler and a minute."""
    import functools

    traced = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", traced)
    config = small_config(train_root, test_root, "hardware.compile=true")
    train(config, tmp_path / "run")
    assert same_weights(whole / "last.pt", tmp_path / "run" / "last.pt")


def test_memory_format_changes_no_loss_by_much(
    tmp_path: Path, train_root: Path, whole: Path
) -> None:
    plain = ("hardware.channels_last=false", "epochs=1")
    report = train(small_config(train_root, None, *plain), tmp_path / "run")
    assert report.progress.history[0]["train_loss"] < 3


def test_fine_tuning_from_a_run_starts_where_it_ended(
    tmp_path: Path, train_root: Path, test_root: Path, whole: Path
) -> None:
    overrides = (f"model.weights={whole / 'last.pt'}", "epochs=1", "optimizer.lr=1e-5")
    report = train(small_config(train_root, test_root, *overrides), tmp_path / "run")
    assert report.fresh == []
    before = torch.load(whole / "last.pt", weights_only=True)["progress"]["history"][-1]
    assert report.progress.history[0]["test_error"] < before["test_error"] + 0.3


# ── the command ──


@pytest.mark.slow
def test_the_command_trains_and_says_what_it_made(
    train_root: Path, test_root: Path, tmp_path: Path
) -> None:
    words = command(train_root, test_root, tmp_path / "run", "epochs=1")
    done = run_command([*words, "--keep-best"])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{tmp_path / 'run'}: complete; 1 epoch, 6 steps"
    assert "test error" in lines[1]
    assert "waited for data" in lines[2]
    assert len(lines) <= 6
    assert done.stderr.startswith("epoch 1/1  loss ")
    assert (tmp_path / "run" / "best.pt").exists()
    again = run_command([*words, "--keep-best"])
    assert "nothing was left to do" in again.stdout


def test_without_torch_the_command_names_the_extra(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from pipeline.cli import main\n"
        "sys.exit(main(['train', 'digits']))"
    )
    done = run_command([sys.executable, "-c", script])
    assert done.returncode == 1
    assert "training needs torch, which the base install leaves out" in done.stderr
    assert "dreamshards[train]" in done.stderr


@pytest.mark.slow
def test_several_processes_train_one_model(
    train_root: Path, test_root: Path, tmp_path: Path
) -> None:
    """Under torchrun: equal steps, every sample once, one set of files, and the run can be gone on with."""
    words = command(train_root, test_root, tmp_path / "run")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    launch += ["--master-port=29517", *words[1:]]
    done = run_command(launch, env=one_thread())
    assert done.returncode == 0, done.stderr
    content = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert content["progress"]["step"] == 2 * STEPS
    assert len(content["ranks"]) == 2
    assert done.stdout.count("complete; 2 epochs, 12 steps") == 1
    rows = content["progress"]["history"]
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    assert rows[1]["test_error"] * 360 == pytest.approx(round(rows[1]["test_error"] * 360))
    launch[launch.index("--out") + 1] += "-2"
    uneven = run_command([*launch, "batch_size=63"], env=one_thread())
    assert uneven.returncode != 0
    assert "batch_size = 63 does not share out equally among 2 ranks" in uneven.stderr


# ── live, soft labels ──


@pytest.mark.parametrize("workers", [0, 2])
def test_live_training_gives_the_weights_of_training_from_shards(
    whole: Path, train_root: Path, test_root: Path, tmp_path: Path, workers: int
) -> None:
    """The recipe of the root is rendered in the data workers."""
    config = small_config(
        train_root, test_root, "data.live=true", f"data.workers={workers}", "save.every_s=1e-9"
    )
    assert train(config, tmp_path / "run").num_steps == 2 * STEPS
    assert same_weights(whole / "last.pt", tmp_path / "run" / "last.pt")


@pytest.mark.slow
def test_a_live_run_killed_in_mid_epoch_goes_on_to_the_same_weights(
    whole: Path,
    train_root: Path,
    test_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step, done = training.loop._train_step, []

    def dying(*arguments: object) -> None:
        step(*arguments)  # type: ignore[arg-type]
        done.append(1)
        if len(done) == STEPS + 3:
            raise Killed

    options = ("data.live=true", "data.workers=1", "save.every_s=1e-9")
    config = small_config(train_root, test_root, *options)
    monkeypatch.setattr(training.loop, "_train_step", dying)
    with pytest.raises(Killed):
        train(config, tmp_path / "run")
    monkeypatch.undo()
    assert train(config, tmp_path / "run").num_steps == STEPS - 2
    assert same_weights(whole / "last.pt", tmp_path / "run" / "last.pt")


@pytest.mark.parametrize("live", ["false", "true"])
def test_shares_of_classes_train_with_their_own_loss(
    tmp_path: Path, test_root: Path, monkeypatch: pytest.MonkeyPatch, live: str
) -> None:
    """The loss of a mixup batch is λ·CE(first) + (1 − λ)·CE(second), by the manifest."""
    import pyarrow.parquet as pq
    from torch.nn import functional

    recipe = ("epochs=1", "source.count=64", "augmentation.family=mixup", "augmentation.alpha=1.0")
    build(load_recipe("digits", recipe), tmp_path / "mixup", InlineExecutor())
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    add = training.loop.Losses.add

    def noting(
        self: object, keys: object, loss: torch.Tensor, logits: torch.Tensor, *rest: object
    ) -> None:
        seen.append((loss.detach(), logits.detach()))
        add(self, keys, loss, logits, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(training.loop.Losses, "add", noting)
    options = ("epochs=1", f"data.live={live}", "data.workers=0")
    train(small_config(tmp_path / "mixup", test_root, *options), tmp_path / "run")
    rows = pq.read_table(tmp_path / "mixup" / "epoch-0000" / "manifest.parquet").to_pydict()
    weights = torch.tensor(rows["label_weight"])
    assert 0.1 < weights.std() < 0.4
    ((loss, logits),) = seen
    losses = [
        functional.cross_entropy(logits, torch.tensor(rows[name]).long(), reduction="none")
        for name in ("label", "second_label")
    ]
    expected = (weights * losses[0] + (1 - weights) * losses[1]).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_wrong_recipe_for_live_training_is_refused(tmp_path: Path) -> None:
    config = small_config(Path("digit"), None, "data.live=true")
    with pytest.raises(UsageError, match=r"unknown recipe or root 'digit'.*did you mean 'digits'"):
        train(config, tmp_path / "run")
