"""The training loop: what happens to a run, an epoch, a batch, in this order. Made to be read and edited."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from pipeline.errors import DreamshardsError
from pipeline.publish import check_writable
from pipeline.stream import KeyedBatch
from training.checkpoint import BEST_NAME, LAST_NAME, Progress
from training.config import TrainConfig
from training.data import training_batches
from training.log import EVENTS_NAME, Events, draw_curves, log_row, write_csv
from training.losses import Losses
from training.meter import Meter
from training.progress import TrainProgress
from training.schedule import learning_rate
from training.setup import Run, held, open_run
from training.stop import stop_on_signals
from training.testing import test_network
from training.world import joined_world


@dataclass(frozen=True)
class Report:
    """How a run ended.

    Attributes:
        progress: as saved.
        is_first: whether this process is the one that reports.
        signal: the signal that stopped it, or None.
        num_steps, seconds: of this process, tests and checkpoints included.
        fresh: parameters that the weights given did not have and that began at random.
    """

    progress: Progress
    is_first: bool
    signal: int | None
    num_steps: int
    seconds: float
    fresh: list[str]


def train(config: TrainConfig, out: Path) -> Report:
    """Train a model into the folder `out`, or go on with the run that was stopped there.

    Killed at any moment and started again, a run ends with the weights of one that never stopped, on a CPU
    bit for bit. Under torchrun every process calls this, and shares the samples of a step with the others.

    Raises:
        UsageError: the configuration cannot be run here.
        DreamshardsError: data, weights or `out` are not what they should be, or a loss is no number.
    """
    check_writable(out)
    with joined_world(config.hardware) as world, held(out, world), stop_on_signals() as stop:
        run = open_run(config, out, world, stop)
        begun, first_step = time.perf_counter(), run.progress.step
        folder = out / EVENTS_NAME if world.is_first and config.save.tensorboard else None
        events = Events(folder, run.progress.step)
        stopped = False
        with TrainProgress(config.epochs, run.steps_per_epoch, world.is_first) as shown:
            while run.progress.epoch < config.epochs and not stopped:
                stopped = _train_epoch(run, events, shown)
                if run.step_in_epoch == run.steps_per_epoch:
                    _finish_epoch(run, events, shown)
        events.close()
        if world.is_first and run.progress.history:
            write_csv(out, run.progress.history)
            draw_curves(out, run.progress.history, config.name)
        seconds, num_steps = time.perf_counter() - begun, run.progress.step - first_step
        signal = stop.signal if stopped else None
        return Report(run.progress, world.is_first, signal, num_steps, seconds, run.fresh)


# ── an epoch ──


def _train_epoch(run: Run, events: Events, shown: TrainProgress) -> bool:
    """Train for the rest of the stream's epoch; return whether to stop, for a signal to any rank."""
    config, progress, world = run.config, run.progress, run.world
    run.stream.set_epoch(progress.epoch)
    run.model.train()
    losses = Losses(progress.meter)
    pass_begun, saved_s, stopped = progress.step, time.monotonic(), False
    batches = training_batches(config, run.stream, world)
    if len(run.stream) > run.steps_per_epoch:  # another epoch is short of samples
        batches = islice(batches, run.steps_per_epoch - run.step_in_epoch)
    for batch in progress.meter.waiting(batches):
        if run.step_in_epoch == 0:
            events.pictures(progress.step, batch.images)
        lr = learning_rate(progress.step, config, run.steps_per_epoch)
        _train_step(run, batch, lr, losses)
        progress.step += 1

        # ── now and then, a look at how it goes ──
        last_one = run.step_in_epoch == run.steps_per_epoch
        if len(losses) < world.steps_between_looks and not last_one:
            continue
        fault = losses.look()
        progress.meter.count_time()
        late = time.monotonic() - saved_s > config.save.every_s
        stopped, late, faulty = world.any(run.stop.requested, late, fault is not None)
        if faulty:
            raise _no_number(run, fault, lr)
        shown.show(progress.epoch, run.step_in_epoch, progress.meter)
        events.scalars(progress.step, _scalars(progress.meter, losses.recent, lr))
        if (stopped or late) and not last_one:
            run.save(batches=progress.step - pass_begun)
            saved_s = time.monotonic()
        if stopped:
            break
    return stopped


def _train_step(run: Run, batch: KeyedBatch, lr: float, losses: Losses) -> None:
    """Change the weights by one batch."""
    net, optimizer, scaler = run.learner
    images = run.normalize(batch.images)
    labels = batch.labels.to(run.world.device, non_blocking=True)
    with run.world.autocast():
        logits = run.model(images)
    smoothing = run.config.label_smoothing
    loss = functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)

    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    if run.config.optimizer.clip_grad_norm is not None:
        scaler.unscale_(optimizer)
        clip_grad_norm_(net.parameters(), run.config.optimizer.clip_grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = lr
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    losses.add(batch.keys, loss, logits, labels)


def _finish_epoch(run: Run, events: Events, shown: TrainProgress) -> None:
    """Test, write the log, and save: what is on disk then belongs together."""
    config, progress, world = run.config, run.progress, run.world
    lr = run.learner.optimizer.param_groups[0]["lr"]
    training = progress.meter.summed(world)
    is_last = progress.epoch + 1 == config.epochs
    test = None
    if is_last or (progress.epoch + 1) % config.test_every == 0:
        test = test_network(run)
    row = log_row(progress.epoch, progress.step, lr, training, test)
    progress.history.append(row)
    is_best = test is not None and (progress.best_error is None or test.error < progress.best_error)
    if is_best:
        progress.best_error, progress.best_epoch = row["test_error"], row["epoch"]
    progress.epoch, progress.meter = progress.epoch + 1, Meter()
    run.stream.set_epoch(progress.epoch)
    run.save(batches=0)
    if is_best and config.save.keep_best:
        run.save(batches=0, name=BEST_NAME)
    if world.is_first:
        write_csv(run.out, progress.history)
    events.scalars(progress.step, {f"epoch/{name}": row[name] for name in _EVENTS})
    shown.finished(row)


_EVENTS = ("train_loss", "train_error", "test_loss", "test_error", "samples_per_s", "data_wait")


def _scalars(meter: Meter, loss: float, lr: float) -> dict[str, float | None]:
    return {
        "train/loss": loss,
        "train/lr": lr,
        "train/samples_per_s": meter.rate,
        "train/data_wait": meter.wait_share,
    }


def _no_number(run: Run, fault: str | None, lr: float) -> DreamshardsError:
    fault = fault or "the loss of another rank is no number"
    last = run.out / LAST_NAME
    kept = (
        f"{last} is the last good checkpoint" if last.exists() else "no checkpoint was due before"
    )
    return DreamshardsError(
        f"{fault}, in epoch {run.progress.epoch + 1} at a learning rate of {lr:.3g}; stopped. {kept}; "
        "look at the samples with `dreamshards replay`, or train into another --out with a lower "
        "optimizer.lr or optimizer.clip_grad_norm"
    )
