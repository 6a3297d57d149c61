"""Error, the mean corruption error, and what is read off logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from evaluation.benchmarks import (
    ALEXNET_ERROR,
    COMMON_CORRUPTIONS,
    SEVERITIES,
    check_names,
)
from evaluation.measures.arrays import F64, I64, Floats, floats, fraction, integers, same_length
from pipeline.errors import DreamshardsError, nearest

Normalise = Literal["none", "alexnet"]


def error(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the share of predictions that are wrong.

    Args:
        predictions: whole numbers [n], the class predicted of each sample.
        labels: whole numbers [n], its true class.

    Raises:
        DreamshardsError: arrays of another form.
    """
    predicted = integers("error: predictions", predictions, "[n]")
    true = integers("error: labels", labels, "[n]")
    same_length("error: predictions and labels", predicted, true)
    return float(np.mean(predicted != true))


def confidence(logits: npt.ArrayLike) -> F64:
    """Return the highest probability of the softmax of each row, float64 [n], computed in float64.

    Args:
        logits: floats [n, C].

    Raises:
        DreamshardsError: an array of another form, or a row whose highest logit is infinite.
    """
    highest: F64 = 1.0 / np.exp(_below_highest("confidence: logits", logits)).sum(axis=1)
    return highest


def probabilities(logits: npt.ArrayLike) -> F64:
    """Return the softmax of each row, float64 [n, C], computed in float64.

    Args:
        logits: floats [n, C]; −∞ of a class that is out of the question, whose probability is 0.

    Raises:
        DreamshardsError: an array of another form, or a row whose highest logit is infinite.
    """
    powers = np.exp(_below_highest("probabilities: logits", logits))
    softmax: F64 = powers / powers.sum(axis=1, keepdims=True)
    return softmax


def cross_entropy(logits: npt.ArrayLike, labels: npt.ArrayLike) -> F64:
    """Return minus the natural logarithm of the true class's probability, float64 [n].

    Args:
        logits: floats [n, C], as for `probabilities`.
        labels: whole numbers [n], the true class of each row, below C.

    Raises:
        DreamshardsError: arrays of another form, a label out of range, or a row whose highest logit is
            infinite.
    """
    values = _below_highest("cross_entropy: logits", logits)
    true = integers("cross_entropy: labels", labels, "[n]")
    same_length("cross_entropy: logits and labels", values, true)
    if true.max() >= values.shape[1]:
        raise DreamshardsError(
            f"cross_entropy: labels: got {true.max()}; allowed: 0 to {values.shape[1] - 1}"
        )
    losses: F64 = np.log(np.exp(values).sum(axis=1)) - values[np.arange(len(true)), true]
    return losses


def mce(
    errors: Mapping[str, Sequence[float]],
    *,
    normalise: Normalise = "none",
    names: Sequence[str] = COMMON_CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
) -> float:
    """Return the mean corruption error (Hendrycks & Dietterich, ICLR 2019).

    With `normalise="none"`, that of CIFAR-C and of every C-bar, it is the mean over corruptions of the mean
    over severities. With `"alexnet"`, that of ImageNet-C, the sum over the severities of a corruption is
    divided by AlexNet's first.

    Args:
        errors: of each corruption the error, 0 to 1, at each of `severities`.
        normalise: what to divide by.
        names: the corruptions to take the mean of, all of which have to be there and no other.
        severities: what the errors of a corruption belong to, in their order.

    Raises:
        DreamshardsError: a corruption or severity too few or too many, an error out of range, or a
            corruption of which AlexNet's errors are not known.
    """
    check_names("mce", errors, names)
    wrong = [level for level in severities if level not in SEVERITIES]
    if wrong or not severities or len(set(severities)) < len(severities):
        raise DreamshardsError(
            f"mce: severities = {list(severities)}; allowed: of 1 to 5, each once"
        )
    if normalise not in ("none", "alexnet"):
        raise DreamshardsError(f"mce: normalise = {normalise!r}; allowed: 'none' or 'alexnet'")
    ratios = []
    for name in names:
        if len(errors[name]) != len(severities):
            raise DreamshardsError(
                f"mce: {name}: got {len(errors[name])} errors; allowed: one for each of the severities "
                f"{', '.join(map(str, severities))}"
            )
        found = [fraction(f"mce: {name}", value) for value in errors[name]]
        divisor = float(len(found))
        if normalise == "alexnet":
            if name not in ALEXNET_ERROR:
                raise DreamshardsError(
                    f"mce: {name}: AlexNet's errors are not known; allowed with normalise='alexnet': "
                    f"{', '.join(ALEXNET_ERROR)}"
                )
            divisor = sum(ALEXNET_ERROR[name][level - 1] for level in severities)
        ratios.append(sum(found) / divisor)
    return float(np.mean(ratios))


def class_indices(kept: Sequence[str], names: Sequence[str]) -> I64:
    """Return where each of the class names `kept` stands among `names`, int64 [k], in the order of `kept`.

    With ImageNet-R, `kept` are the names of its 200 folders in order, and `names` the 1000 of ImageNet.

    Raises:
        DreamshardsError: a name that `names` lacks, or one given twice.
    """
    places = {name: place for place, name in enumerate(names)}
    unknown = [name for name in kept if name not in places]
    if unknown:
        raise DreamshardsError(
            f"class_indices: {len(unknown)} of {len(kept)} names are unknown, the first {unknown[0]!r}"
            f"{nearest(unknown[0], names)}; allowed: the {len(names)} class names of the network"
        )
    if len(set(kept)) < len(kept) or len(places) < len(names):
        raise DreamshardsError("class_indices: a name comes twice; allowed: each once")
    return np.array([places[name] for name in kept], np.int64)


def keep_classes(logits: npt.ArrayLike, classes: npt.ArrayLike) -> Floats:
    """Return the logits of some classes only, floats [n, k], for a test set without samples of the others.

    Predictions and confidences are then over these alone, as ImageNet-R wants it (Hendrycks et al., ICCV
    2021); class i of the result is `classes[i]`.

    Args:
        logits: floats [n, C].
        classes: whole numbers [k] below C, each once.

    Raises:
        DreamshardsError: arrays of another form, a class out of range or given twice.
    """
    values = floats("keep_classes: logits", logits, "[n, C]")
    places = integers("keep_classes: classes", classes, "[k]")
    if places.max() >= values.shape[1]:
        raise DreamshardsError(
            f"keep_classes: classes: got {places.max()}; allowed: 0 to {values.shape[1] - 1}, for logits "
            f"of {values.shape[1]} classes"
        )
    if len(np.unique(places)) < len(places):
        raise DreamshardsError("keep_classes: classes: one comes twice; allowed: each once")
    return values[:, places]


def _below_highest(what: str, logits: npt.ArrayLike) -> F64:
    """Return logits less the highest of each row, float64 [n, C]."""
    values = floats(what, logits, "[n, C]").astype(np.float64)
    highest = values.max(axis=1, keepdims=True)
    if not np.isfinite(highest).all():
        raise DreamshardsError(f"{what}: the highest of a row is infinite; allowed: finite")
    below: F64 = values - highest
    return below
