"""The columns of tables of safety measures: their names, headings, units and what is best.

A column's values are in percent, as the papers print them, but for the raw top-5 distance and the loss. Of a
network of clips errors, calibration and anomalies are of videos, by the mean softmax over the clips of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Column(NamedTuple):
    """One summary measure.

    Attributes:
        heading: as a table shows it.
        best: the value of a perfect model: 0 where lower is better, 100 where higher is.
        percent: whether values are percent; else they are raw distances or losses.
        meaning: one line for a legend.
    """

    heading: str
    best: float
    percent: bool
    meaning: str


COLUMNS: Mapping[str, Column] = {
    "clean_error": Column("Clean err", 0, True, "error on the clean test set"),
    "clean_clip_error": Column(
        "Clip err", 0, True, "error of the clean test set's clips by themselves"
    ),
    "clean_loss": Column(
        "Loss", 0, False, "mean cross-entropy of the clean test set's clips, nats"
    ),
    "c_mce": Column("C mCE", 0, True, "mean corruption error; on ImageNet divided by AlexNet's"),
    "c_bar_mce": Column("C-bar mCE", 0, True, "mean error on C-bar, never divided"),
    "r_error": Column("R err", 0, True, "error on ImageNet-R, over its classes alone"),
    "p_mfr": Column("mFR", 0, True, "mean flip rate; on ImageNet divided by AlexNet's"),
    "p_t5d": Column("mT5D", 0, False, "mean top-5 distance, 0 to 18"),
    "p_mt5d": Column("mT5D %", 0, True, "mean top-5 distance divided by AlexNet's"),
    "windows_flips": Column(
        "Flips", 0, True, "answers that change from a window of a video to the next"
    ),
    "windows_jsd": Column(
        "JSD", 0, True, "mean Jensen-Shannon divergence of the same, percent of a bit"
    ),
    "pgd_error": Column("PGD err", 0, True, "error under projected gradient descent"),
    "pgd_clip_error": Column("PGD clip err", 0, True, "the same of clips by themselves"),
    "clean_rms": Column("RMS", 0, True, "RMS calibration error on the clean test set"),
    "c_rms": Column("C RMS", 0, True, "mean RMS calibration error on C"),
    "c_bar_rms": Column("C-bar RMS", 0, True, "mean RMS calibration error on C-bar"),
    "r_rms": Column("R RMS", 0, True, "RMS calibration error on ImageNet-R"),
    "ood_auroc": Column("AUROC", 100, True, "mean over the sets of anomalies"),
    "ood_aupr": Column("AUPR", 100, True, "mean over the sets of anomalies, one for five normal"),
}
"""In the order in which tables show them."""
