"""The five safety measures as pure functions of arrays; no file, no model, and torch only in `adversary`.

Every measure is a fraction, 0 to 1, also where the papers print percent; one divided by AlexNet's is 1 for
AlexNet. Two are not fractions: the top-5 distance goes from 0 to 18, and a count is a count.
"""

from evaluation.measures.anomaly import (
    AnomalyMean,
    Detection,
    anomaly_mean,
    aupr,
    auroc,
    choose_anomalies,
    detection,
    fpr95,
)
from evaluation.measures.calibration import (
    Bins,
    adaptive_bins,
    aurra,
    mean_calibration_error,
    rms_calibration_error,
    soft_f1,
)
from evaluation.measures.classification import (
    class_indices,
    confidence,
    cross_entropy,
    error,
    keep_classes,
    mce,
    probabilities,
)
from evaluation.measures.consistency import flip_probability, mfr, mt5d, t5d, top5
from evaluation.measures.video import Changes, changes_between_clips, js_divergence, video_means

__all__ = [
    "AnomalyMean",
    "Bins",
    "Changes",
    "Detection",
    "adaptive_bins",
    "anomaly_mean",
    "aupr",
    "auroc",
    "aurra",
    "changes_between_clips",
    "choose_anomalies",
    "class_indices",
    "confidence",
    "cross_entropy",
    "detection",
    "error",
    "flip_probability",
    "fpr95",
    "js_divergence",
    "keep_classes",
    "mce",
    "mean_calibration_error",
    "mfr",
    "mt5d",
    "probabilities",
    "rms_calibration_error",
    "soft_f1",
    "t5d",
    "top5",
    "video_means",
]
