"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from training.config import ConstantConfig, Cosine716Config, TrainConfig


def learning_rate(step: int, config: TrainConfig, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, counted from 0 over the whole run.

    cosine: final + (lr − final)·(1 + cos πt/T)/2, the schedule of PixMix. cosine-7-16: lr·cos(7π/16·t/T),
    that of FixMatch (Sohn et al., NeurIPS 2020) and of the V-PixMix experiment. t and T count the steps
    after the warm-up, in which the rate rises in equal steps to lr.
    """
    lr, schedule = config.optimizer.lr, config.schedule
    num_steps = config.epochs * steps_per_epoch
    num_warming = min(num_steps, round(schedule.warmup_epochs * steps_per_epoch))
    if step < num_warming:
        return lr * ((step + 1) / num_warming)  # of the last step exactly lr
    done = (step - num_warming) / max(1, num_steps - num_warming)
    if isinstance(schedule, ConstantConfig):
        return lr
    if isinstance(schedule, Cosine716Config):
        return lr * math.cos(7 * math.pi / 16 * done)
    return schedule.final_lr + (lr - schedule.final_lr) * (1 + math.cos(math.pi * done)) / 2
